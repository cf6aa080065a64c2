//! A row of components -> a row of RGB, in libjpeg's arithmetic of 16 fractional bits.

use super::frame::Frame;

/// What the components of a pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// One brightness.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Brightness and two colour differences (ITU-R BT.601, full range), as JFIF has it.
    YCbCr,
    /// Four inks, stored as what they leave of the light: 255 is none. Adobe's habit, which others follow.
    Cmyk,
    /// The light that three inks leave as YCbCr, and the fourth ink as in `Cmyk`.
    Ycck,
}

/// What application segments say about the colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ColourHints {
    /// There is a JFIF header: three components are YCbCr.
    pub jfif: bool,
    /// Adobe's transform flag: 0 for none, 1 for YCbCr, 2 for YCCK.
    pub adobe_transform: Option<u8>,
}

impl Colour {
    /// The colours of a frame of 1, 3 or 4 components, by libjpeg's rules.
    pub fn of(frame: &Frame, hints: ColourHints) -> Self {
        let ids: Vec<u8> = frame.components.iter().map(|part| part.id).collect();
        match (ids.len(), hints.adobe_transform) {
            (1, _) => Self::Grey,
            (3, Some(0)) if !hints.jfif => Self::Rgb,
            (3, None) if !hints.jfif && ids == *b"RGB" => Self::Rgb,
            (3, _) => Self::YCbCr,
            (_, None | Some(0)) => Self::Cmyk,
            (_, Some(_)) => Self::Ycck,
        }
    }

    /// Fills `out`, `[width, 3]`, from one row of each component.
    pub fn row(self, rows: &[Vec<u8>], out: &mut [u8]) {
        let pixels = out.as_chunks_mut::<3>().0.iter_mut();
        match (self, rows) {
            (Self::Grey, [grey]) => pixels.zip(grey).for_each(|(out, &grey)| *out = [grey; 3]),
            (Self::Rgb, [r, g, b]) => pixels
                .zip(r.iter().zip(g).zip(b))
                .for_each(|(out, ((&r, &g), &b))| *out = [r, g, b]),
            (Self::YCbCr, [y, cb, cr]) => pixels
                .zip(y.iter().zip(cb).zip(cr))
                .for_each(|(out, ((&y, &cb), &cr))| *out = rgb(y, cb, cr)),
            (Self::Cmyk, [c, m, y, k]) => pixels
                .zip(c.iter().zip(m).zip(y).zip(k))
                .for_each(|(out, (((&c, &m), &y), &k))| *out = [c, m, y].map(|ink| under(ink, k))),
            (Self::Ycck, [y, cb, cr, k]) => pixels.zip(y.iter().zip(cb).zip(cr).zip(k)).for_each(
                |(out, (((&y, &cb), &cr), &k))| {
                    // The transform is of the inks themselves, which are stored as the light they leave.
                    *out = rgb(y, cb, cr).map(|light| under(255 - light, k));
                },
            ),
            _ => unreachable!("a colour is chosen by the number of components"),
        }
    }
}

/// Constants of BT.601 in 16 fractional bits.
const fn fixed(value: f64) -> i32 {
    (value * 65_536.0 + 0.5) as i32
}

fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = const { fixed(1.402) } * cr;
    let green = const { fixed(0.34414) } * cb + const { fixed(0.71414) } * cr;
    let blue = const { fixed(1.772) } * cb;
    [red, -green, blue].map(|shift| (y + ((shift + HALF) >> 16)).clamp(0, 255) as u8)
}

/// What `light` is left of when black ink lets only `black` through, rounded.
fn under(light: u8, black: u8) -> u8 {
    let product = u32::from(255 - light) * u32::from(black) + 128;
    black - (((product >> 8) + product) >> 8) as u8
}
