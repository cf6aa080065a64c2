//! Every hostile or odd input of the shared collection meets its verdict, within a bound on memory.

use eigenflow::image::{DecodeError, Filter, Fit, Limits, Picture, Preprocess, Resizer, decode};

use crate::shared::shared;

fn decode_file(folder: &std::path::Path, file: &str) -> Result<Picture, DecodeError> {
    decode(
        &std::fs::read(folder.join(file)).expect(file),
        &Limits::default(),
    )
}

#[test]
fn every_verdict_is_met_for_the_reason_given() {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    let expect = std::fs::read_to_string(folder.join("EXPECT.tsv")).expect("EXPECT.tsv");
    let mut resizer = Resizer::new();
    let mut square = Vec::new();
    for line in expect.lines().skip(1) {
        let columns: Vec<_> = line.split('\t').collect();
        let (file, expected, rule) = (columns[0], columns[4], columns[5]);
        let verdict = decode_file(&folder, file);
        let reason = verdict
            .as_ref()
            .map_or_else(DecodeError::reason, |_| "decode");
        eprintln!("{file}: {reason}");
        match expected {
            "decode" => assert_eq!(reason, "decode", "{file}: {rule}"),
            "reject" => {
                let named = rule.split(',').next().unwrap_or_default();
                let named = if named.contains("pixel limit") {
                    "too-many-pixels"
                } else {
                    named
                };
                assert_eq!(reason, named, "{file}");
            }
            _ => assert_ne!(reason, "decoder-panic", "{file}"),
        }
        if let Ok(picture) = verdict {
            for fit in [Fit::Stretch, Fit::CenterCrop { resize: 256 }] {
                let filter = Filter::Bilinear;
                let side = 224;
                resizer
                    .apply(&picture, &Preprocess { side, fit, filter }, &mut square)
                    .unwrap_or_else(|error| panic!("{file}: {error}"));
                assert_eq!(square.len(), 224 * 224 * 3, "{file}");
            }
        }
    }
}

/// `decode-or-reject` leaves the choice to us; this is the choice, and it must stay the same.
#[test]
fn verdicts_that_are_ours_to_choose_stay_chosen() {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    for (file, chosen) in [
        ("06_missing_eoi_only.jpg", "truncated"),
        ("29_lossy.webp", "decode"),
        ("31_tiff.tif", "decode"),
        ("41_1x5000.png", "decode"),
        ("57_arithmetic_sof9.jpg", "unsupported-format"),
        ("59_png_bad_crc.png", "corrupt"),
    ] {
        let verdict = decode_file(&folder, file);
        assert_eq!(
            verdict
                .as_ref()
                .map_or_else(DecodeError::reason, |_| "decode"),
            chosen,
            "{file}"
        );
    }
}

#[test]
fn the_colour_of_invisible_pixels_does_not_show() {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    let picture = decode_file(&folder, "25_rgba_hidden_colour.png").expect("a good PNG");
    let magenta = picture
        .rgb
        .chunks(3)
        .filter(|rgb| rgb[0] > 200 && rgb[1] < 60 && rgb[2] > 200);
    assert_eq!(magenta.count(), 0);
    assert_eq!(picture.rgb[..3], [255, 255, 255]);
}

#[test]
fn an_orientation_tag_turns_nothing() {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    let mirrored = decode_file(&folder, "37_exif_orientation_2.jpg").expect("a good JPEG");
    let turned = decode_file(&folder, "37_exif_orientation_3.jpg").expect("a good JPEG");
    assert_eq!((mirrored.width, mirrored.height), (348, 288));
    assert_eq!((turned.width, turned.height), (348, 288));
}

#[test]
fn sixteen_bits_and_eight_are_the_same_picture() {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    let wide = decode_file(&folder, "23_rgb16.png").expect("a good PNG");
    let narrow = decode_file(&folder, "10_png_named.jpg").expect("a good PNG");
    assert_eq!(wide, narrow);
}

#[test]
fn of_two_images_in_one_file_the_first_counts() {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    let twice = std::fs::read(folder.join("51_jpeg_twice.jpg")).expect("file");
    let second = 2 + twice[2..]
        .windows(3)
        .position(|w| w == [0xFF, 0xD8, 0xFF])
        .expect("two images");
    let both = decode(&twice, &Limits::default()).expect("a good JPEG");
    assert_eq!(
        both,
        decode(&twice[..second], &Limits::default()).expect("a good JPEG")
    );
}
