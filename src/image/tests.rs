//! Limits, completeness, hostile mutations, and Pillow's pixels.

use std::{
    io::Cursor,
    path::Path,
    time::{Duration, Instant},
};

use ::image::{DynamicImage, ImageFormat, RgbImage};

use sha2::{Digest, Sha256};

use super::*;
use crate::shared::shared;

/// A picture with structure at every scale, so that a lost part shows.
fn pattern(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(2_246_822_519)) >> 27;
        ::image::Rgb([
            (x * 3 + noise) as u8,
            (y * 5 + noise) as u8,
            ((x + y) * 2 + noise) as u8,
        ])
    })
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(pattern(61, 47))
        .write_to(&mut bytes, format)
        .expect("encodes");
    bytes.into_inner()
}

const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::WebP,
    ImageFormat::Gif,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
];

fn reason(bytes: &[u8], limits: &Limits) -> &'static str {
    decode(bytes, limits)
        .as_ref()
        .map_or_else(DecodeError::reason, |_| "decode")
}

#[test]
fn every_format_decodes_and_the_lossless_ones_exactly() {
    let expected = pattern(61, 47).into_raw();
    for format in FORMATS {
        let picture = decode(&encoded(format), &Limits::default()).expect("a good image");
        assert_eq!((picture.width, picture.height), (61, 47), "{format:?}");
        assert_eq!(picture.rgb.len(), expected.len(), "{format:?}");
        if !matches!(format, ImageFormat::Jpeg | ImageFormat::Gif) {
            assert_eq!(picture.rgb, expected, "{format:?}");
        }
    }
}

/// A cut file is refused, or had lost nothing that counts. It never gives other pixels.
#[test]
fn a_cut_file_never_gives_other_pixels() {
    for format in FORMATS {
        let whole = encoded(format);
        let picture = decode(&whole, &Limits::default()).expect("a good image");
        for length in (0..whole.len()).step_by(1 + whole.len() / 300) {
            if let Ok(cut) = decode(&whole[..length], &Limits::default()) {
                assert_eq!(
                    cut,
                    picture,
                    "{format:?} cut to {length} of {} bytes",
                    whole.len()
                );
            }
        }
    }
}

#[test]
fn a_jpeg_is_complete_only_with_its_end_marker() {
    let jpeg = encoded(ImageFormat::Jpeg);
    assert_eq!(reason(&jpeg, &Limits::default()), "decode");
    for length in (2..jpeg.len())
        .step_by(37)
        .chain([jpeg.len() - 2, jpeg.len() - 1])
    {
        let refused = reason(&jpeg[..length], &Limits::default());
        let wanted = if length < 3 {
            "unsupported-format"
        } else {
            "truncated"
        };
        assert_eq!(refused, wanted, "{length} of {} bytes", jpeg.len());
    }
    let followed = [&jpeg[..], b"trailing \xFF\xD8 rubbish"].concat();
    assert_eq!(reason(&followed, &Limits::default()), "decode");
}

#[test]
fn each_limit_is_judged_with_its_own_reason() {
    let standard = Limits::default();
    for format in FORMATS {
        let bytes = encoded(format);
        let length = bytes.len() as u64;
        let with = |change: fn(&mut Limits)| {
            let mut limits = standard;
            change(&mut limits);
            reason(&bytes, &limits)
        };
        assert_eq!(
            reason(
                &bytes,
                &Limits {
                    bytes: length,
                    ..standard
                }
            ),
            "decode",
            "{format:?}"
        );
        assert_eq!(
            reason(
                &bytes,
                &Limits {
                    bytes: length - 1,
                    ..standard
                }
            ),
            "too-many-bytes"
        );
        assert_eq!(
            with(|limits| limits.pixels = 61 * 47),
            "decode",
            "{format:?}"
        );
        assert_eq!(
            with(|limits| limits.pixels = 61 * 47 - 1),
            "too-many-pixels",
            "{format:?}"
        );
        assert_eq!(with(|limits| limits.dimension = 61), "decode", "{format:?}");
        assert_eq!(
            with(|limits| limits.dimension = 60),
            "side-too-long",
            "{format:?}"
        );
        assert_eq!(
            with(|limits| limits.memory_bytes = 61 * 47 * 3 - 1),
            "too-much-memory",
            "{format:?}"
        );
    }
}

/// A scan costs a pass over all pixels and a handful of bytes.
#[test]
fn a_jpeg_of_endless_scans_is_refused_before_it_is_decoded() {
    let Some(file) = shared("data/bad-inputs/33_progressive.jpg") else {
        return;
    };
    let jpeg = std::fs::read(file).expect("file");
    let last_scan = jpeg
        .windows(2)
        .rposition(|pair| pair == [0xFF, 0xDA])
        .expect("a scan");
    let (head, scan) = (&jpeg[..jpeg.len() - 2], &jpeg[last_scan..jpeg.len() - 2]);
    let bomb = [head, &scan.repeat(100), b"\xFF\xD9"].concat();
    assert_eq!(reason(&bomb, &Limits::default()), "too-many-scans");
    let tight = Limits {
        pixels: 100 * 100,
        ..Limits::default()
    };
    let bomb = [head, &scan.repeat(15), b"\xFF\xD9"].concat();
    assert_eq!(reason(&bomb, &tight), "too-many-scans");
    assert_eq!(reason(&jpeg, &tight), "decode");
}

/// Flips, cuts, doubles and splices good files. Runs in the seconds it is given, and no single image takes long.
#[test]
fn mutated_files_never_panic_and_never_take_long() {
    let mut samples: Vec<_> = FORMATS.map(encoded).into();
    if let Some(folder) = shared("data/bad-inputs") {
        for entry in std::fs::read_dir(folder).expect("folder") {
            samples.push(std::fs::read(entry.expect("entry").path()).expect("sample"));
        }
    }
    samples.retain(|sample| (8..40_000).contains(&sample.len()));
    samples.sort();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    // Dimensions mutate too: a small limit keeps the honest cost of a large picture out of the measurement.
    let limits = Limits {
        pixels: 1_000_000,
        memory_bytes: 32 << 20,
        ..Limits::default()
    };
    let iterations = if cfg!(debug_assertions) {
        2_000
    } else {
        20_000
    };
    let (mut decoded, mut refused, mut panicked) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    for _ in 0..iterations {
        let mut bytes = samples[random(samples.len())].clone();
        for _ in 0..1 + random(6) {
            // Headers are short and decide most, so half of the changes go there.
            let length = bytes.len();
            let at = if random(2) == 0 {
                random(length.min(200))
            } else {
                random(length)
            };
            match random(6) {
                0 | 1 if length > 0 => bytes[at] ^= 1 << random(8),
                2 if length > 0 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF][random(6)],
                3 => bytes.truncate(at.max(4)),
                4 => {
                    let part = bytes[at..at + random(length - at)].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let end = at + random((length - at).min(16));
                    bytes.drain(at..end);
                }
            }
        }
        let start = Instant::now();
        match decode(&bytes, &limits) {
            Ok(picture) => {
                decoded += 1;
                assert_eq!(
                    picture.rgb.len() as u64,
                    u64::from(picture.width) * u64::from(picture.height) * 3
                );
            }
            Err(DecodeError::DecoderPanic(_)) => panicked += 1,
            Err(_) => refused += 1,
        }
        slowest = slowest.max(start.elapsed());
    }
    eprintln!(
        "{decoded} decoded, {refused} refused, {panicked} panics contained, slowest {slowest:?}"
    );
    assert!(
        decoded > 0 && refused > 0,
        "the mutations should be neither harmless nor hopeless"
    );
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

/// From the file's bytes to the network's input, level for level.
#[test]
fn the_square_is_pillows() {
    let (Some(reference), Some(data)) =
        (shared("reference/from_pixels.safetensors"), shared("data"))
    else {
        return;
    };
    let file = std::fs::read(reference).expect("reference");
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&file).expect("safetensors");
    let paths = metadata.metadata().as_ref().expect("metadata")["paths"].clone();
    let paths: Vec<String> = serde_json::from_str(&paths).expect("paths");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("safetensors");
    let pixels = tensors.tensor("pixels").expect("pixels");
    assert_eq!(pixels.shape(), [paths.len(), 224, 224, 3]);

    let stretch = Preprocess {
        side: 224,
        fit: Fit::Stretch,
        filter: Filter::Bilinear,
    };
    let (mut resizer, mut square) = (Resizer::new(), Vec::new());
    for (path, reference) in paths.iter().zip(pixels.data().chunks(224 * 224 * 3)) {
        let picture = decode_file(&data.join(path));
        resizer
            .apply(&picture, &stretch, &mut square)
            .expect("a good picture");
        assert!(square == reference, "{path}: not Pillow's pixels");
    }
}

fn decode_file(path: &Path) -> Picture {
    decode(&std::fs::read(path).expect("file"), &Limits::default()).expect("a good image")
}

fn pattern_picture(width: u32, height: u32) -> Picture {
    Picture {
        width,
        height,
        rgb: pattern(width, height).into_raw(),
    }
}

fn square(picture: &Picture, side: u32, fit: Fit) -> Vec<u8> {
    let filter = Filter::Bilinear;
    filtered(picture, &Preprocess { side, fit, filter })
}

fn filtered(picture: &Picture, preprocess: &Preprocess) -> Vec<u8> {
    let mut out = Vec::new();
    Resizer::new()
        .apply(picture, preprocess, &mut out)
        .expect("a good picture");
    out
}

/// Numbers from Pillow 13.
#[test]
fn scaling_up_and_down_is_pillows() {
    #[rustfmt::skip]
    const AT_3: [[u8; 3]; 3] = [
        [75, 127, 103],
        [130, 137, 99],
        [153, 146, 123],
    ];
    #[rustfmt::skip]
    const AT_9: [[u8; 9]; 9] = [
        [0, 25, 86, 132, 77, 79, 123, 122, 52],
        [18, 45, 109, 158, 106, 111, 110, 102, 92],
        [47, 78, 147, 201, 153, 163, 88, 70, 158],
        [77, 112, 135, 156, 201, 127, 79, 75, 110],
        [106, 145, 110, 88, 249, 69, 73, 89, 34],
        [135, 179, 148, 100, 155, 90, 130, 151, 100],
        [165, 194, 171, 118, 89, 118, 172, 185, 138],
        [194, 132, 130, 160, 136, 170, 150, 105, 62],
        [212, 95, 106, 186, 165, 202, 137, 57, 16],
    ];
    let grey = |x: u32, y: u32| ((x * x * 37 + y * 53 + x * y * 11) % 256) as u8;
    let rgb = RgbImage::from_fn(7, 5, |x, y| {
        let grey = grey(x, y);
        ::image::Rgb([grey, 255 - grey, grey / 2])
    });
    let picture = Picture {
        width: 7,
        height: 5,
        rgb: rgb.into_raw(),
    };
    let red = |side| -> Vec<u8> {
        let square = square(&picture, side, Fit::Stretch);
        square.into_iter().step_by(3).collect()
    };
    assert_eq!(red(3), AT_3.as_flattened());
    assert_eq!(red(9), AT_9.as_flattened());
}

/// Digests of what Pillow 13 makes of [`pattern`]: enlarged, reduced, and both.
#[test]
fn every_filter_is_pillows() {
    let squares = [
        (
            61,
            47,
            ["6744dd59f985ff26", "a01b05211a6d82b4", "65fba99df25171ae"],
        ),
        (
            100,
            100,
            ["508dd866bd0e3c40", "b34410661c15eba7", "27b39b50b344a8d9"],
        ),
        (
            400,
            300,
            ["0f46c4ec799c12e5", "ab8ac71524513205", "6bb808b017232419"],
        ),
        (
            1000,
            301,
            ["753f9b6f53c954c1", "94db192adb6a6045", "f19ba1d5f849ec4b"],
        ),
    ];
    let filters = [Filter::Bilinear, Filter::Bicubic, Filter::Nearest];
    for (width, height, digests) in squares {
        let picture = pattern_picture(width, height);
        for (filter, digest) in filters.into_iter().zip(digests) {
            let (side, fit) = (224, Fit::Stretch);
            let square = filtered(&picture, &Preprocess { side, fit, filter });
            let found = hex::encode(Sha256::digest(&square));
            assert_eq!(found[..16], *digest, "{filter:?} of {width} x {height}");
        }
    }
}

#[test]
fn a_picture_of_the_right_size_is_left_alone() {
    let picture = pattern_picture(224, 224);
    assert_eq!(square(&picture, 224, Fit::Stretch), picture.rgb);
    assert_eq!(
        square(&picture, 224, Fit::CenterCrop { resize: 224 }),
        picture.rgb
    );
}

#[test]
fn a_centre_crop_is_the_middle_of_the_scaled_picture() {
    // 400 x 300 at half size, so that the crop's edges fall between source pixels that both ways can name.
    let picture = pattern_picture(400, 300);
    let cropped = square(&picture, 101, Fit::CenterCrop { resize: 150 });
    let tall = Picture {
        width: 300,
        height: 300,
        rgb: Vec::new(),
    };
    let rows = picture.rgb.chunks(400 * 3);
    let middle = Picture {
        rgb: rows
            .flat_map(|row| &row[50 * 3..350 * 3])
            .copied()
            .collect(),
        ..tall
    };
    let scaled = square(&middle, 150, Fit::Stretch);
    // torchvision rounds the odd margins (200 - 101) / 2 = 49.5 to 50 and (150 - 101) / 2 = 24.5 to 24.
    let left = 50 - 25;
    let expected: Vec<u8> = scaled
        .chunks(150 * 3)
        .skip(24)
        .take(101)
        .flat_map(|row| &row[left * 3..(left + 101) * 3])
        .copied()
        .collect();
    assert_eq!(cropped, expected);
}

#[test]
fn extreme_shapes_fit_any_square() {
    for (width, height) in [
        (1, 1),
        (1, 5000),
        (5000, 1),
        (1, 30_000),
        (2, 3),
        (223, 225),
    ] {
        let picture = pattern_picture(width, height);
        for fit in [
            Fit::Stretch,
            Fit::CenterCrop { resize: 256 },
            Fit::CenterCrop { resize: 224 },
        ] {
            for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Nearest] {
                let preprocess = Preprocess {
                    side: 224,
                    fit,
                    filter,
                };
                assert_eq!(
                    filtered(&picture, &preprocess).len(),
                    224 * 224 * 3,
                    "{width} x {height} {preprocess:?}"
                );
            }
        }
    }
}

#[test]
fn what_a_resizer_did_before_does_not_show() {
    let preprocess = Preprocess {
        side: 224,
        fit: Fit::Stretch,
        filter: Filter::Bilinear,
    };
    let (mut resizer, mut out) = (Resizer::new(), Vec::new());
    for (width, height) in [(700, 500), (10, 900), (61, 47), (300, 300)] {
        let picture = pattern_picture(width, height);
        resizer
            .apply(&picture, &preprocess, &mut out)
            .expect("a good picture");
        assert_eq!(out, square(&picture, 224, Fit::Stretch));
    }
}

#[test]
fn squares_that_cannot_be_are_errors() {
    let picture = pattern_picture(10, 10);
    let apply = |picture: &Picture, side, fit| {
        let filter = Filter::Bilinear;
        Resizer::new().apply(picture, &Preprocess { side, fit, filter }, &mut Vec::new())
    };
    let too_large = PreprocessError::CropTooLarge {
        side: 224,
        resize: 200,
    };
    assert_eq!(
        apply(&picture, 224, Fit::CenterCrop { resize: 200 }),
        Err(too_large)
    );
    assert_eq!(
        apply(&picture, 0, Fit::Stretch),
        Err(PreprocessError::Side { side: 0 })
    );
    let hollow = Picture {
        width: 10,
        height: 11,
        rgb: picture.rgb.clone(),
    };
    assert!(matches!(
        apply(&hollow, 8, Fit::Stretch),
        Err(PreprocessError::Picture { .. })
    ));
    let nothing = Picture {
        width: 0,
        height: 0,
        rgb: Vec::new(),
    };
    assert!(matches!(
        apply(&nothing, 8, Fit::Stretch),
        Err(PreprocessError::Picture { .. })
    ));
}
