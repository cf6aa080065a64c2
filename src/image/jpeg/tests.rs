//! libjpeg's arithmetic, by hand and by Pillow.

use super::{
    super::{DecodeError, Limits, decode},
    colour::{Colour, ColourHints},
    frame::Frame,
    idct,
    upsample::{Samples, Upsampling},
};

// A picture of 6 x 5 pixels, chroma halved both ways: bytes written by Pillow 13, and the pixels that it reads from
// them (libjpeg-turbo).
const SEQUENTIAL: &str = concat!(
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b",
    "0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffdb00430103040405040509050509140d0b0d14141414",
    "14141414141414141414141414141414141414141414141414141414141414141414141414141414141414141414ffc00011080005000603",
    "012200021101031101ffc4001500010100000000000000000000000000000007ffc4001c1000020105010000000000000000000000000106",
    "0408234253d1ffc4001501010100000000000000000000000000000508ffc4001c1100010305000000000000000000000000060002040515",
    "243251ffda000c03010002110311003f00a3c0acee14a89e3d792f400496686a457e939afdba950aafd52c11721daf57ffd9",
);
#[rustfmt::skip]
const PIXELS: [[u8; 18]; 5] = [
    [6, 7, 209, 30, 10, 196, 72, 11, 167, 112, 10, 137, 152, 10, 110, 176, 14, 99],
    [27, 55, 216, 50, 58, 203, 93, 58, 174, 132, 58, 143, 173, 58, 117, 195, 62, 105],
    [35, 118, 198, 60, 121, 186, 101, 121, 154, 140, 121, 123, 181, 121, 97, 203, 125, 86],
    [47, 173, 185, 70, 177, 171, 111, 177, 141, 151, 176, 110, 191, 176, 81, 214, 180, 72],
    [66, 228, 181, 88, 231, 167, 131, 230, 137, 170, 230, 108, 210, 230, 79, 233, 234, 68],
];
const PROGRESSIVE: &str = concat!(
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b",
    "0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffdb00430103040405040509050509140d0b0d14141414",
    "14141414141414141414141414141414141414141414141414141414141414141414141414141414141414141414ffc20011080005000603",
    "012200021101031101ffc4001500010100000000000000000000000000000006ffc4001501010100000000000000000000000000000407ff",
    "da000c03010002100310000001a312557fffc400161001010100000000000000000000000000040612ffda00080101000105020470b1ffc4",
    "001b11000104030000000000000000000000000400010305142331ffda0008010301013f01a53cac08b63f17ffc4001a1100010501000000",
    "00000000000000000005000103142331ffda0008010201013f0134688df9367eafffc4001610000300000000000000000000000000000031",
    "a1ffda0008010100063f0250ffc4001510010100000000000000000000000000000081ffda0008010100013f21803fffda000c0301000200",
    "0300000010f7ffc40015110101000000000000000000000000000000b1ffda0008010301013f10ba0fffc400151101010000000000000000",
    "00000000000000b1ffda0008010201013f10a9cfffc4001710010003000000000000000000000000000100b1d1ffda0008010100013f102b",
    "a3b3ffd9",
);

/// A frame as Motion JPEG has it, without tables of codes.
const WITHOUT_TABLES: &str = concat!(
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b",
    "0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffdb00430103040405040509050509140d0b0d14141414",
    "14141414141414141414141414141414141414141414141414141414141414141414141414141414141414141414ffc00011080005000603",
    "012200021101031101ffda000c03010002110311003f00ebbc11fb26f83bec67e4fe1ff9e43fc68a28afcff8a33bccbfb5ebfefe5bf73e27",
    "84b89b39fec5c3ff00b54b6ee7ffd9",
);
#[rustfmt::skip]
const PIXELS_WITHOUT_TABLES: [[u8; 18]; 5] = [
    [5, 17, 181, 25, 20, 174, 57, 21, 153, 89, 21, 132, 124, 21, 112, 144, 25, 105],
    [21, 60, 197, 40, 64, 188, 72, 65, 169, 104, 65, 146, 140, 66, 129, 159, 69, 120],
    [21, 118, 197, 41, 122, 188, 74, 122, 170, 106, 122, 147, 139, 122, 128, 160, 127, 120],
    [24, 168, 202, 43, 172, 193, 77, 172, 174, 109, 172, 151, 142, 173, 132, 163, 177, 124],
    [36, 219, 217, 56, 222, 208, 88, 223, 190, 120, 223, 167, 153, 224, 148, 174, 228, 140],
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

#[test]
fn pixels_are_libjpegs() {
    for hex in [SEQUENTIAL, PROGRESSIVE] {
        let picture = decode(&bytes(hex), &Limits::default()).expect("a good JPEG");
        assert_eq!((picture.width, picture.height), (6, 5));
        assert_eq!(picture.rgb, PIXELS.as_flattened());
    }
}

#[test]
fn an_end_marker_behind_a_cut_scan_deceives_nobody() {
    let whole = bytes(SEQUENTIAL);
    for lost in 1..20 {
        let cut = [&whole[..whole.len() - 2 - lost], b"\xFF\xD9"].concat();
        let refused = decode(&cut, &Limits::default());
        assert!(
            matches!(refused, Err(DecodeError::Truncated(_))),
            "{lost} bytes lost: {refused:?}"
        );
    }
}

#[test]
fn an_end_marker_in_place_of_the_last_scans_deceives_nobody() {
    let whole = bytes(PROGRESSIVE);
    let scans: Vec<usize> = (0..whole.len() - 1)
        .filter(|at| whole[*at..].starts_with(b"\xFF\xDA"))
        .collect();
    assert_eq!(scans.len(), 10);
    for &scan in &scans[1..] {
        let cut = [&whole[..scan], b"\xFF\xD9"].concat();
        let refused = decode(&cut, &Limits::default());
        assert!(
            matches!(refused, Err(DecodeError::Truncated(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_file_without_tables_of_codes_has_the_standards() {
    let picture = decode(&bytes(WITHOUT_TABLES), &Limits::default()).expect("as libjpeg");
    assert_eq!(picture.rgb, PIXELS_WITHOUT_TABLES.as_flattened());
}

#[test]
fn components_of_one_name_are_meant_in_turn() {
    for names in [[1, 1, 1], [0, 0, 0], [1, 2, 2]] {
        let mut file = bytes(SEQUENTIAL);
        let after = |file: &[u8], marker: [u8; 2]| {
            let found = file.windows(2).position(|pair| pair == marker);
            found.expect("a marker") + 4
        };
        let (frame, scan) = (after(&file, [0xFF, 0xC0]), after(&file, [0xFF, 0xDA]));
        for (part, name) in names.into_iter().enumerate() {
            file[frame + 6 + 3 * part] = name;
            file[scan + 1 + 2 * part] = name;
        }
        let picture = decode(&file, &Limits::default()).expect("as libjpeg");
        assert_eq!(picture.rgb, PIXELS.as_flattened(), "{names:?}");
    }
}

struct Plane(Vec<Vec<u8>>);

impl Samples for Plane {
    fn width(&self) -> usize {
        self.0[0].len()
    }

    fn height(&self) -> usize {
        self.0.len()
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.0[y]
    }
}

fn upsampled(plane: &Plane, across: usize, down: usize) -> Vec<Vec<u8>> {
    let upsampling = Upsampling::new(across, down, plane.width());
    let row = |y| {
        let mut out = vec![0; plane.width() * across];
        upsampling.row(plane, y, &mut out);
        out
    };
    (0..plane.height() * down).map(row).collect()
}

/// Three quarters and one, by hand. 10 and 12 meet at 10.5, which is 11 to the left and 10 would be to the right.
#[test]
fn halves_go_up_and_down_in_turn() {
    let row = Plane(vec![vec![10, 12, 20]]);
    // 10 | 10.5 11.5 | 14 18 | 20
    assert_eq!(upsampled(&row, 2, 1), [[10, 11, 11, 14, 18, 20]]);
    let column = Plane(vec![vec![10], vec![12], vec![20]]);
    // 10 | 10.5 11.5 | 14 18 | 20
    let levels = upsampled(&column, 1, 2).concat();
    assert_eq!(levels, [10, 11, 11, 14, 18, 20]);
}

/// In sixteenths, rounded once: 9 parts of the nearest sample, 3 of each neighbour, 1 of the corner.
#[test]
fn both_axes_are_rounded_once() {
    let plane = Plane(vec![vec![0, 8, 8], vec![0, 8, 40]]);
    let rows = upsampled(&plane, 2, 2);
    assert_eq!(rows[0], [0, 2, 6, 8, 8, 8]);
    // The last two columns hold 3 * 8 + 8 = 32 and 3 * 8 + 40 = 64 quarters: (3 * 32 + 64 + 7) / 16 = 10, ...
    assert_eq!(rows[1], [0, 2, 6, 10, 14, 16]);
    assert_eq!(rows[2], [0, 2, 6, 14, 26, 32]);
    assert_eq!(rows[3], [0, 2, 6, 16, 32, 40]);
}

#[test]
fn other_ratios_and_narrow_planes_repeat_their_samples() {
    let narrow = Plane(vec![vec![3, 9]]);
    assert_eq!(upsampled(&narrow, 2, 1), [[3, 3, 9, 9]]);
    assert_eq!(upsampled(&narrow, 4, 2), [[3, 3, 3, 3, 9, 9, 9, 9]; 2]);
}

/// Against the transform's definition (ITU-T T.81, A.3.3) in floating point: no further off than the rounding.
#[test]
fn the_inverse_transform_is_the_definitions() {
    let mut state = 1_u32;
    for _ in 0..200 {
        let coefficients: [i16; 64] = std::array::from_fn(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i16 / (1 + i as i16) - 8 / (1 + i as i16)
        });
        let mut samples = [0; 64];
        idct::block(&coefficients, &[2; 64], &mut samples, 8);
        for (i, &sample) in samples.iter().enumerate() {
            let basis = |at: usize, k: usize| {
                let scale = if k == 0 { 0.125_f64.sqrt() } else { 0.5 };
                scale * ((2 * at + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos()
            };
            let terms = coefficients.iter().enumerate().map(|(k, &coefficient)| {
                2.0 * f64::from(coefficient) * basis(i / 8, k / 8) * basis(i % 8, k % 8)
            });
            let exact = (terms.sum::<f64>() + 128.0).clamp(0.0, 255.0);
            assert!(
                (f64::from(sample) - exact).abs() < 0.6,
                "{sample} for {exact}"
            );
        }
    }
}

#[test]
fn colours_follow_the_headers() {
    let header = |ids: &[u8]| {
        let parts = ids.iter().flat_map(|&id| [id, 0x11, 0]);
        let segment: Vec<u8> = [8, 0, 1, 0, 1, ids.len() as u8]
            .into_iter()
            .chain(parts)
            .collect();
        Frame::read(0xC0, &segment).expect("a good header")
    };
    let colour = |ids: &[u8], jfif, adobe_transform| {
        let hints = ColourHints {
            jfif,
            adobe_transform,
        };
        Colour::of(&header(ids), hints)
    };
    assert_eq!(colour(&[1], true, None), Colour::Grey);
    assert_eq!(colour(&[1, 2, 3], false, None), Colour::YCbCr);
    assert_eq!(colour(b"RGB", false, None), Colour::Rgb);
    assert_eq!(colour(b"RGB", true, None), Colour::YCbCr);
    assert_eq!(colour(&[1, 2, 3], false, Some(0)), Colour::Rgb);
    assert_eq!(colour(&[1, 2, 3, 4], false, None), Colour::Cmyk);
    assert_eq!(colour(&[1, 2, 3, 4], false, Some(2)), Colour::Ycck);

    let painted = |colour: Colour, pixel: &[u8]| {
        let rows: Vec<_> = pixel.iter().map(|&value| vec![value]).collect();
        let mut out = [0; 3];
        colour.row(&rows, &mut out);
        out
    };
    // 76 + 1.402 * 127 = 254.05, 76 + 0.34414 * 43 - 0.71414 * 127 = 0.1, 76 - 1.772 * 43 = -0.2
    assert_eq!(painted(Colour::YCbCr, &[76, 85, 255]), [254, 0, 0]);
    assert_eq!(painted(Colour::Cmyk, &[255, 128, 0, 200]), [200, 100, 0]);
}
