//! Fruit-like pictures for a demonstration that downloads none.
//!
//! A picture is a small ray-traced solid in front of white, in the manner of the Fruits-360 photographs: a class has a
//! shape, a skin and a stem; a picture of it has its own size, pose, light and ripeness. All of it follows from
//! `(seed, class, index)`, by nothing but IEEE additions, multiplications, divisions and square roots in one fixed
//! order: no sine, no exponential, whose last bits differ between platforms. So the bytes are the same everywhere, for
//! one version of the JPEG encoder.

mod random;
mod skin;
mod solid;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use random::Random;
use skin::Skin;
use solid::{Fruit, Pose, Shape, Stem, Vec3};

/// Width and height of a picture in pixels, as Fruits-360.
pub const SIDE: usize = 100;

const JPEG_QUALITY: u8 = 90;

/// Rays per pixel in each direction.
const SUPERSAMPLING: usize = 2;
const RAYS: usize = SUPERSAMPLING * SUPERSAMPLING;

/// The names of the classes, by number. They are folder names as well, spaces included.
pub fn classes() -> &'static [&'static str] {
    &NAMES
}

/// Renders one picture as a JPEG of [`SIDE`] × [`SIDE`] pixels. Classes are numbered as [`classes`] lists them and
/// wrap around beyond.
pub fn render(seed: u64, class: usize, index: usize) -> Vec<u8> {
    let mut jpeg = Vec::new();
    // An encoder fails on wrong dimensions or on a failing writer; the dimensions are constant, and memory does not fail.
    let written = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).write_image(
        &pixels(seed, class, index),
        SIDE as u32,
        SIDE as u32,
        ExtendedColorType::Rgb8,
    );
    debug_assert!(written.is_ok(), "{written:?}");
    jpeg
}

/// The picture's `[SIDE, SIDE, 3]` bytes before encoding, the same on every platform.
pub fn pixels(seed: u64, class: usize, index: usize) -> Vec<u8> {
    let class = class % CLASSES.len();
    let (_, shape, skin, stem) = &CLASSES[class];
    let mut random = Random::of([seed, class as u64, index as u64]);
    let pose = Pose::random(shape, &mut random);
    let ripeness = random.between(0.0, 1.0);
    let light = Vec3(
        random.between(-0.7, 0.7),
        random.between(0.1, 0.9),
        random.between(0.7, 1.1),
    )
    .unit();
    let exposure = random.between(0.86, 1.06);
    let texture_seed = random.next();
    let fruit = Fruit { shape, stem, pose };

    let mut bytes = Vec::with_capacity(SIDE * SIDE * 3);
    let step = 2.0 / (SIDE * SUPERSAMPLING) as f64;
    for row in 0..SIDE {
        for column in 0..SIDE {
            let mut seen = None;
            let mut hits = 0;
            for ray in 0..RAYS {
                let (dy, dx) = (ray / SUPERSAMPLING, ray % SUPERSAMPLING);
                let x = ((column * SUPERSAMPLING + dx) as f64 + 0.5) * step - 1.0;
                let y = 1.0 - ((row * SUPERSAMPLING + dy) as f64 + 0.5) * step;
                if let Some(place) = fruit.trace(x, y) {
                    hits += 1;
                    seen = Some(place);
                }
            }
            // Edges are smoothed over all rays; the skin, the costly part, is looked at once.
            let colour = seen.map_or([1.0; 3], |place| {
                skin.shade(&fruit.describe(place), light, ripeness, texture_seed)
            });
            let coverage = hits as f64 / RAYS as f64;
            bytes.extend(colour.map(|channel| {
                let lit = (channel * exposure).clamp(0.0, 1.0);
                ((1.0 + (lit - 1.0) * coverage) * 255.0 + 0.5) as u8
            }));
        }
    }
    bytes
}

type Class = (&'static str, Shape, Skin, Stem);

const NAMES: [&str; CLASSES.len()] = {
    let mut names = [""; CLASSES.len()];
    let mut class = 0;
    while class < CLASSES.len() {
        names[class] = CLASSES[class].0;
        class += 1;
    }
    names
};

const ROUND: Shape = Shape {
    stretch: 1.0,
    cone: 0.0,
    bend: 0.0,
    crown: 0.0,
    base: 0.0,
    sharpness: 4.0,
    size: 0.86,
    tumble: 1.0,
};
const APPLE: Shape = Shape {
    stretch: 0.96,
    cone: 0.08,
    crown: -0.5,
    base: -0.22,
    sharpness: 5.0,
    tumble: 0.6,
    ..ROUND
};
const PLAIN: Skin = Skin {
    unripe: [0.5, 0.5, 0.5],
    ripe: [0.5, 0.5, 0.5],
    blush: [0.5, 0.5, 0.5],
    blotches: 0.0,
    streaks: 0.0,
    pores: 0.0,
    speckle: [0.5, 0.5, 0.5],
    speckles: 0.0,
    tips: [0.3, 0.22, 0.1],
    tip_reach: 0.0,
    gloss: 0.35,
};
const TWIG: Stem = Stem {
    length: 0.30,
    radius: 0.035,
    lean: 0.12,
    colour: [0.36, 0.25, 0.14],
};
const NO_STEM: Stem = Stem {
    length: 0.0,
    radius: 0.0,
    ..TWIG
};

#[rustfmt::skip]
const CLASSES: [Class; 12] = [
    ("Apple Granny Smith", APPLE,
        Skin { unripe: [0.42, 0.62, 0.12], ripe: [0.60, 0.74, 0.22], blush: [0.70, 0.72, 0.30], blotches: 0.4, speckle: [0.78, 0.86, 0.52], speckles: 0.10, gloss: 0.45, ..PLAIN },
        TWIG),
    ("Apple Red", APPLE,
        Skin { unripe: [0.70, 0.14, 0.10], ripe: [0.52, 0.05, 0.08], blush: [0.86, 0.62, 0.24], blotches: 0.45, streaks: 0.4, speckle: [0.88, 0.66, 0.44], speckles: 0.08, gloss: 0.5, ..PLAIN },
        TWIG),
    ("Banana", Shape { stretch: 3.4, bend: 1.15, size: 0.27, sharpness: 9.0, crown: 0.12, base: 0.08, tumble: 0.35, ..ROUND },
        Skin { unripe: [0.72, 0.74, 0.20], ripe: [0.94, 0.78, 0.20], blush: [0.86, 0.66, 0.14], blotches: 0.4, speckle: [0.36, 0.22, 0.08], speckles: 0.05, tip_reach: 0.10, gloss: 0.15, ..PLAIN },
        NO_STEM),
    ("Cherry", Shape { stretch: 0.94, crown: -0.28, size: 0.60, tumble: 0.4, ..ROUND },
        Skin { unripe: [0.66, 0.06, 0.10], ripe: [0.30, 0.02, 0.06], blush: [0.50, 0.03, 0.08], blotches: 0.5, gloss: 0.9, ..PLAIN },
        Stem { length: 1.0, radius: 0.035, lean: 0.45, colour: [0.42, 0.46, 0.16] }),
    ("Kiwi", Shape { stretch: 1.22, size: 0.74, crown: 0.04, base: 0.04, ..ROUND },
        Skin { unripe: [0.60, 0.48, 0.26], ripe: [0.50, 0.36, 0.18], blush: [0.64, 0.54, 0.30], blotches: 0.7, pores: 0.5, speckle: [0.26, 0.18, 0.08], speckles: 0.45, tip_reach: 0.02, gloss: 0.05, ..PLAIN },
        NO_STEM),
    ("Lemon", Shape { stretch: 1.22, size: 0.70, crown: 0.26, base: 0.16, sharpness: 9.0, ..ROUND },
        Skin { unripe: [0.80, 0.82, 0.22], ripe: [0.97, 0.84, 0.16], blush: [0.95, 0.78, 0.12], blotches: 0.3, pores: 0.35, tips: [0.48, 0.46, 0.16], tip_reach: 0.012, gloss: 0.3, ..PLAIN },
        NO_STEM),
    ("Orange", Shape { stretch: 0.97, crown: -0.05, base: -0.03, ..ROUND },
        Skin { unripe: [0.95, 0.60, 0.14], ripe: [0.94, 0.44, 0.05], blush: [0.96, 0.56, 0.10], blotches: 0.4, pores: 0.6, tips: [0.30, 0.36, 0.12], tip_reach: 0.012, gloss: 0.3, ..PLAIN },
        NO_STEM),
    ("Peach", Shape { stretch: 0.95, crown: -0.34, base: 0.05, ..ROUND },
        Skin { unripe: [0.94, 0.68, 0.34], ripe: [0.92, 0.52, 0.28], blush: [0.74, 0.18, 0.16], blotches: 1.0, streaks: 0.2, gloss: 0.04, ..PLAIN },
        NO_STEM),
    ("Pear", Shape { stretch: 1.38, cone: -0.44, size: 0.64, crown: -0.05, base: -0.12, tumble: 0.5, ..ROUND },
        Skin { unripe: [0.56, 0.66, 0.22], ripe: [0.82, 0.74, 0.30], blush: [0.70, 0.46, 0.20], blotches: 0.5, speckle: [0.46, 0.38, 0.16], speckles: 0.22, gloss: 0.2, ..PLAIN },
        Stem { length: 0.34, radius: 0.045, lean: 0.14, ..TWIG }),
    ("Plum", Shape { stretch: 1.14, size: 0.78, crown: -0.14, tumble: 0.8, ..ROUND },
        Skin { unripe: [0.40, 0.12, 0.28], ripe: [0.20, 0.08, 0.24], blush: [0.46, 0.40, 0.58], blotches: 0.55, speckle: [0.58, 0.48, 0.60], speckles: 0.05, gloss: 0.25, ..PLAIN },
        NO_STEM),
    ("Strawberry", Shape { stretch: 1.16, cone: 0.34, size: 0.74, crown: -0.10, tumble: 0.45, ..ROUND },
        Skin { unripe: [0.86, 0.22, 0.14], ripe: [0.74, 0.05, 0.07], blush: [0.90, 0.40, 0.24], blotches: 0.3, speckle: [0.94, 0.78, 0.36], speckles: 0.6, pores: 0.4, tips: [0.26, 0.48, 0.14], tip_reach: 0.16, gloss: 0.55, ..PLAIN },
        Stem { length: 0.26, radius: 0.04, lean: 0.1, colour: [0.34, 0.54, 0.18] }),
    ("Tomato", Shape { stretch: 0.86, crown: -0.24, base: -0.06, tumble: 0.7, ..ROUND },
        Skin { unripe: [0.92, 0.36, 0.10], ripe: [0.84, 0.10, 0.06], blush: [0.88, 0.22, 0.08], blotches: 0.5, tips: [0.22, 0.42, 0.12], tip_reach: 0.05, gloss: 0.7, ..PLAIN },
        Stem { length: 0.16, radius: 0.045, lean: 0.2, colour: [0.26, 0.46, 0.14] }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_a_function_of_seed_class_and_index() {
        let picture = render(1, 2, 3);
        assert_eq!(picture, render(1, 2, 3));
        assert_ne!(picture, render(2, 2, 3));
        assert_ne!(picture, render(1, 3, 3));
        assert_ne!(picture, render(1, 2, 4));
        assert_eq!(
            picture,
            render(1, 2 + classes().len(), 3),
            "classes wrap around"
        );
    }

    #[test]
    fn every_class_decodes_to_a_fruit_on_white() {
        for (class, name) in classes().iter().enumerate() {
            let jpeg = render(7, class, 0);
            let picture = image::load_from_memory(&jpeg).unwrap().to_rgb8();
            assert_eq!(picture.dimensions(), (SIDE as u32, SIDE as u32));
            let white = |p: &image::Rgb<u8>| p.0.iter().all(|c| *c > 245);
            assert!(white(picture.get_pixel(1, 1)), "{name}");
            let covered = picture.pixels().filter(|p| !white(p)).count();
            let share = covered as f64 / (SIDE * SIDE) as f64;
            assert!((0.10..0.85).contains(&share), "{name} covers {share}");
        }
    }

    /// FNV-1a, so that a change of any byte on any platform shows.
    fn fingerprint(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn pixels_are_the_same_on_every_platform() {
        let all: Vec<u8> = (0..classes().len())
            .flat_map(|class| pixels(42, class, 0))
            .collect();
        assert_eq!(fingerprint(&all), 0x17dc_e58f_f0c7_99e7);
    }
}
