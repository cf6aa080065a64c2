//! The solid: a bent, tapered ellipsoid with dimples or tips at its poles, and a stem, found by sphere tracing
//! (Hart, 1996).

use super::random::Random;

/// A vector; x to the right, y up, z towards the viewer. In a fruit's own coordinates y is its axis.
#[derive(Clone, Copy)]
pub(super) struct Vec3(pub(super) f64, pub(super) f64, pub(super) f64);

impl Vec3 {
    pub(super) fn dot(self, other: Vec3) -> f64 {
        self.0 * other.0 + self.1 * other.1 + self.2 * other.2
    }

    pub(super) fn plus(self, other: Vec3, times: f64) -> Vec3 {
        Vec3(
            self.0 + other.0 * times,
            self.1 + other.1 * times,
            self.2 + other.2 * times,
        )
    }

    pub(super) fn length(self) -> f64 {
        self.dot(self).sqrt()
    }

    pub(super) fn unit(self) -> Vec3 {
        let length = self.length().max(1e-12);
        Vec3(self.0 / length, self.1 / length, self.2 / length)
    }
}

/// The form of a class; lengths in units of the fruit's radius.
pub(super) struct Shape {
    /// Length of the axis over the width.
    pub(super) stretch: f64,
    /// How much wider the top is than the bottom.
    pub(super) cone: f64,
    /// Sideways shift of the poles.
    pub(super) bend: f64,
    /// Height of the tip at the top; negative is a dimple.
    pub(super) crown: f64,
    /// The same at the bottom.
    pub(super) base: f64,
    /// How narrow tips and dimples are.
    pub(super) sharpness: f64,
    /// The radius where the picture's half width is 1.
    pub(super) size: f64,
    /// How far the axis may lean, 1 being half way over.
    pub(super) tumble: f64,
}

/// The stem on top.
pub(super) struct Stem {
    pub(super) length: f64,
    pub(super) radius: f64,
    /// Sideways shift of its end.
    pub(super) lean: f64,
    pub(super) colour: [f64; 3],
}

/// Where a fruit lies in its picture.
pub(super) struct Pose {
    rotation: [Vec3; 3],
    radius: f64,
    x: f64,
    y: f64,
}

impl Pose {
    pub(super) fn random(shape: &Shape, random: &mut Random) -> Pose {
        let mut turn = |reach: f64| rotation_by(random.between(-reach, reach));
        let (spin, lean, roll) = (turn(1.0), turn(shape.tumble * 0.4), turn(shape.tumble));
        // Fruits are photographed from a little above: the stem's side leans to the viewer.
        let (cos, sin) = (lean.0, lean.1.abs());
        let rotation = [
            Vec3(1.0, 0.0, 0.0),
            Vec3(0.0, 1.0, 0.0),
            Vec3(0.0, 0.0, 1.0),
        ]
        .map(|v| {
            let v = Vec3(
                roll.0 * v.0 + roll.1 * v.1,
                roll.0 * v.1 - roll.1 * v.0,
                v.2,
            );
            let v = Vec3(v.0, cos * v.1 + sin * v.2, cos * v.2 - sin * v.1);
            Vec3(
                spin.0 * v.0 + spin.1 * v.2,
                v.1,
                spin.0 * v.2 - spin.1 * v.0,
            )
        });
        Pose {
            rotation,
            radius: shape.size * random.between(0.84, 1.0),
            x: random.between(-0.04, 0.04),
            y: random.between(-0.04, 0.04),
        }
    }

    /// From the picture's coordinates to the fruit's own directions.
    fn turn(&self, v: Vec3) -> Vec3 {
        let [x, y, z] = self.rotation;
        let sum = Vec3(0.0, 0.0, 0.0).plus(x, v.0).plus(y, v.1);
        sum.plus(z, v.2)
    }

    /// Back again.
    fn turn_back(&self, v: Vec3) -> Vec3 {
        let [x, y, z] = self.rotation;
        Vec3(x.dot(v), y.dot(v), z.dot(v))
    }
}

/// Cosine and sine of twice the angle whose tangent is `t`: a rotation by arithmetic alone.
fn rotation_by(t: f64) -> (f64, f64) {
    ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t))
}

/// What a ray met.
pub(super) struct Hit<'a> {
    /// The place in the fruit's coordinates.
    pub(super) place: Vec3,
    /// Where the place lies along the axis: −1 at the bottom, 1 at the top.
    pub(super) latitude: f64,
    /// The surface's direction in the picture's coordinates.
    pub(super) normal: Vec3,
    /// The stem, if it was that.
    pub(super) stem: Option<&'a Stem>,
}

/// A fruit in its picture.
pub(super) struct Fruit<'a> {
    pub(super) shape: &'a Shape,
    pub(super) stem: &'a Stem,
    pub(super) pose: Pose,
}

const STEPS_MAX: usize = 64;
/// Distances are underestimated by this factor, for the bends' and tapers' sake.
const CAUTION: f64 = 0.6;
const TOUCH: f64 = 2e-3;

impl Fruit<'_> {
    /// The first place of the surface behind the point (x, y) of the picture, both from −1 to 1.
    pub(super) fn trace(&self, x: f64, y: f64) -> Option<Vec3> {
        let (x, y) = (
            (x - self.pose.x) / self.pose.radius,
            (y - self.pose.y) / self.pose.radius,
        );
        let reach = self.reach();
        let depth_squared = reach * reach - x * x - y * y;
        if depth_squared <= 0.0 {
            return None;
        }
        let depth = depth_squared.sqrt();
        let from = Vec3(x, y, depth);
        let start = self.pose.turn(from);
        let direction = self.pose.turn(Vec3(0.0, 0.0, -1.0));
        let mut travelled = 0.0;
        for _ in 0..STEPS_MAX {
            let place = start.plus(direction, travelled);
            let distance = self.distance(place);
            if distance < TOUCH {
                return Some(place);
            }
            travelled += distance * CAUTION;
            if travelled > 2.0 * depth {
                return None;
            }
        }
        None
    }

    /// Radius of a sphere that holds the whole fruit.
    fn reach(&self) -> f64 {
        let shape = self.shape;
        let tips = 1.0 + shape.crown.max(shape.base).max(0.0);
        let width = 1.0 + shape.cone.abs() + shape.bend;
        (shape.stretch * tips).max(width) + self.stem.length + self.stem.lean.abs()
    }

    /// What is to be seen at a place of the surface.
    pub(super) fn describe(&self, place: Vec3) -> Hit<'_> {
        const H: f64 = 1e-3;
        let slope = |v: Vec3| self.distance(place.plus(v, H)) - self.distance(place.plus(v, -H));
        let gradient = Vec3(
            slope(Vec3(1.0, 0.0, 0.0)),
            slope(Vec3(0.0, 1.0, 0.0)),
            slope(Vec3(0.0, 0.0, 1.0)),
        );
        let on_stem = self.to_stem(place) < self.to_body(place);
        let straight = self.straighten(place);
        Hit {
            place,
            latitude: straight.1 / straight.length().max(1e-12),
            normal: self.pose.turn_back(gradient).unit(),
            stem: on_stem.then_some(self.stem),
        }
    }

    /// A lower estimate, after `CAUTION`, of the distance to the surface.
    fn distance(&self, place: Vec3) -> f64 {
        let body = self.to_body(place);
        if self.stem.length > 0.0 {
            body.min(self.to_stem(place))
        } else {
            body
        }
    }

    /// Undoes bend, stretch and taper: the body becomes a sphere with tips and dimples.
    fn straighten(&self, p: Vec3) -> Vec3 {
        let shape = self.shape;
        let y = p.1 / shape.stretch;
        let bound = y.clamp(-1.2, 1.2);
        let width = 1.0 + shape.cone * bound;
        Vec3(
            (p.0 + shape.bend * (0.4 - bound * bound)) / width,
            y,
            p.2 / width,
        )
    }

    fn to_body(&self, place: Vec3) -> f64 {
        let p = self.straighten(place);
        let length = p.length().max(1e-12);
        let latitude = p.1 / length;
        let pole = |towards: f64| {
            let fall = 1.0 + self.shape.sharpness * (1.0 - towards);
            1.0 / (fall * fall)
        };
        length - 1.0 - self.shape.crown * pole(latitude) - self.shape.base * pole(-latitude)
    }

    /// A capsule from within the body's top, its radius a little larger at the end.
    fn to_stem(&self, place: Vec3) -> f64 {
        let stem = self.stem;
        if stem.length == 0.0 {
            return f64::INFINITY;
        }
        let foot = Vec3(
            0.0,
            self.shape.stretch * (1.0 + self.shape.crown) - 0.1,
            0.0,
        );
        let offset = place.plus(foot, -1.0);
        let height = stem.length + 0.1;
        let t = (offset.1 / height).clamp(0.0, 1.0);
        // The lean grows towards the end: a curve, not a stick.
        let middle = Vec3(stem.lean * t * t, height * t, 0.0);
        offset.plus(middle, -1.0).length() - stem.radius * (0.8 + 0.4 * t)
    }
}
