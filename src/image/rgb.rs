//! Samples of any layout -> 8-bit RGB, within one buffer, so that an image is never in memory twice.

/// How a decoder lays out its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    pub channels: usize,
    /// 1, or 2 in the machine's byte order.
    pub bytes_per_sample: usize,
}

impl Layout {
    /// Bytes of the buffer that [`to_rgb`] works in: room for what the decoder writes and for what comes out.
    pub fn buffer_bytes(self, pixels: u64) -> u64 {
        pixels * (self.channels * self.bytes_per_sample).max(3) as u64
    }
}

/// Turns the `pixels` that lie at the start of `buffer` into `[pixels, 3]`, and cuts the buffer to that.
pub(super) fn to_rgb(buffer: &mut Vec<u8>, layout: Layout, pixels: usize) {
    if layout.bytes_per_sample == 2 {
        for i in 0..pixels * layout.channels {
            buffer[i] = narrow(u16::from_ne_bytes([buffer[2 * i], buffer[2 * i + 1]]));
        }
    }
    match layout.channels {
        // These grow, so they are moved from the back: no pixel is overwritten before it is read.
        1 => {
            for i in (0..pixels).rev() {
                let grey = buffer[i];
                buffer[3 * i..3 * i + 3].fill(grey);
            }
        }
        2 => {
            for i in (0..pixels).rev() {
                let grey = over_white(buffer[2 * i], buffer[2 * i + 1]);
                buffer[3 * i..3 * i + 3].fill(grey);
            }
        }
        4 => {
            for i in 0..pixels {
                let alpha = buffer[4 * i + 3];
                for channel in 0..3 {
                    buffer[3 * i + channel] = over_white(buffer[4 * i + channel], alpha);
                }
            }
        }
        _ => {}
    }
    buffer.truncate(3 * pixels);
}

/// 16 bits to 8, rounded: 65535 is 255.
fn narrow(sample: u16) -> u8 {
    ((u32::from(sample) * 255 + 32_767) / 65_535) as u8
}

/// A sample seen through its opacity before white, rounded.
fn over_white(sample: u8, alpha: u8) -> u8 {
    let (sample, alpha) = (u32::from(sample), u32::from(alpha));
    ((sample * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(layout: Layout, samples: &[u8], pixels: usize) -> Vec<u8> {
        let mut buffer = samples.to_vec();
        buffer.resize(layout.buffer_bytes(pixels as u64) as usize, 0xAA);
        to_rgb(&mut buffer, layout, pixels);
        buffer
    }

    #[test]
    fn every_layout_becomes_rgb_in_place() {
        let layout = |channels, bytes_per_sample| Layout {
            channels,
            bytes_per_sample,
        };
        assert_eq!(
            rgb(layout(1, 1), &[1, 2, 3], 3),
            [1, 1, 1, 2, 2, 2, 3, 3, 3]
        );
        assert_eq!(
            rgb(layout(2, 1), &[9, 255, 9, 0], 2),
            [9, 9, 9, 255, 255, 255]
        );
        assert_eq!(
            rgb(layout(3, 1), &[1, 2, 3, 4, 5, 6], 2),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(
            rgb(layout(4, 1), &[0, 0, 0, 128, 7, 8, 9, 255], 2),
            [127, 127, 127, 7, 8, 9]
        );
        let wide: Vec<u8> = [0_u16, 65_535, 128, 129, 32_768, 257]
            .into_iter()
            .flat_map(u16::to_ne_bytes)
            .collect();
        assert_eq!(rgb(layout(3, 2), &wide, 2), [0, 255, 0, 1, 128, 1]);
        assert_eq!(rgb(layout(1, 2), &wide, 2), [0, 0, 0, 255, 255, 255]);
        assert_eq!(rgb(layout(2, 2), &wide, 2), [0, 0, 0, 254, 254, 254]);
    }
}
