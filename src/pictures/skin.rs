//! The skin: colour over the surface, and light on it.

use super::random::{nearest_point, noise};
use super::solid::{Hit, Vec3};

type Colour = [f64; 3];

/// How a class looks. Colours are display RGB from 0 to 1; strengths are from 0 to 1.
pub(super) struct Skin {
    pub(super) unripe: Colour,
    pub(super) ripe: Colour,
    /// A second colour, in blotches and streaks over the first.
    pub(super) blush: Colour,
    pub(super) blotches: f64,
    /// Stripes from pole to pole.
    pub(super) streaks: f64,
    /// Roughness of the surface.
    pub(super) pores: f64,
    pub(super) speckle: Colour,
    pub(super) speckles: f64,
    /// Colour of the poles (calyx, dry ends).
    pub(super) tips: Colour,
    /// How far it reaches from a pole, in cosine of latitude.
    pub(super) tip_reach: f64,
    pub(super) gloss: f64,
}

impl Skin {
    /// The colour of what a ray met, seen from the front in light from `light`.
    pub(super) fn shade(&self, hit: &Hit<'_>, light: Vec3, ripeness: f64, seed: u64) -> Colour {
        let (colour, gloss) = match hit.stem {
            Some(stem) => (stem.colour, 0.1),
            None => (self.colour(hit, ripeness, seed), self.gloss),
        };
        let normal = if hit.stem.is_none() && self.pores > 0.0 {
            self.roughened(hit, seed)
        } else {
            hit.normal
        };
        let facing = normal.2.max(0.0);
        let lit = (normal.dot(light) * 0.75 + 0.25).max(0.0);
        // Light is bounced back by the white ground, so that undersides never turn black.
        let ground = 0.10 * (1.0 - normal.1);
        let brightness = 0.30 + 0.72 * lit * (0.65 + 0.35 * facing) + ground;
        let halfway = light.plus(Vec3(0.0, 0.0, 1.0), 1.0).unit();
        let highlight = gloss * sixteenth_power(sharpened(normal.dot(halfway)));
        colour.map(|c| c * brightness + highlight)
    }

    fn colour(&self, hit: &Hit<'_>, ripeness: f64, seed: u64) -> Colour {
        let p = [hit.place.0, hit.place.1, hit.place.2];
        let scaled = |by: f64| p.map(|c| c * by);
        let mut colour = blend(self.unripe, self.ripe, ripeness);

        let broad = noise(seed, scaled(1.3)) * 0.7 + noise(seed ^ 1, scaled(3.1)) * 0.3;
        colour = blend(colour, self.blush, self.blotches * step(0.38, 0.74, broad));

        // Noise that hardly changes along the axis, by direction around it.
        let around = (p[0] * p[0] + p[2] * p[2]).sqrt().max(1e-6);
        if self.streaks > 0.0 {
            let stripe = noise(
                seed ^ 2,
                [p[0] / around * 9.0, p[1] * 0.8, p[2] / around * 9.0],
            );
            colour = blend(colour, self.blush, self.streaks * step(0.5, 0.85, stripe));
        }

        if self.speckles > 0.0 {
            let size = 0.02 + 0.05 * self.speckles;
            let speck = step(0.0, 0.02, size - nearest_point(seed ^ 3, scaled(7.0)));
            colour = blend(colour, self.speckle, speck * (0.3 + self.speckles).min(1.0));
        }

        // Fine grain, as of a photograph.
        let grain = 0.96 + 0.08 * noise(seed ^ 4, scaled(14.0));
        colour = colour.map(|c| c * grain);

        if self.tip_reach > 0.0 {
            let ragged = noise(seed ^ 5, [p[0] / around * 3.0, 0.0, p[2] / around * 3.0]);
            let reach = self.tip_reach * (0.4 + 1.2 * ragged);
            let depth = 1.0 - hit.latitude;
            colour = blend(colour, self.tips, step(0.0, 0.3 * reach, reach - depth));
        }
        colour
    }

    /// The normal, pushed about by fine noise.
    fn roughened(&self, hit: &Hit<'_>, seed: u64) -> Vec3 {
        let p = [hit.place.0, hit.place.1, hit.place.2].map(|c| c * 16.0);
        let push = |axis: u64| (noise(seed ^ (6 + axis), p) - 0.5) * 0.5 * self.pores;
        hit.normal.plus(Vec3(push(0), push(1), push(2)), 1.0).unit()
    }
}

fn blend(from: Colour, to: Colour, share: f64) -> Colour {
    [0, 1, 2].map(|i| from[i] + (to[i] - from[i]) * share)
}

/// 0 below `low`, 1 above `high`, smooth between.
fn step(low: f64, high: f64, value: f64) -> f64 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn sharpened(cosine: f64) -> f64 {
    let square = cosine.max(0.0) * cosine.max(0.0);
    square * square
}

fn sixteenth_power(value: f64) -> f64 {
    let fourth = value * value * value * value;
    fourth * fourth * fourth * fourth
}
