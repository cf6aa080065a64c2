//! From maps of f32 to maps as later layers store them, where a network begins in f32.

use super::grid::Grid;
use super::isa::Isa;
use super::lanes::{LINE_BYTES, Lanes, Task, place};

/// Channels of a block of f32.
const BLOCK: usize = LINE_BYTES / size_of::<f32>();

/// All values of one map, rounded.
pub(super) struct Convert {
    from: Grid,
    to: Grid,
}

impl Convert {
    /// `from` holds f32, `to` what the kernels store that `run` is given.
    pub(super) fn new(from: Grid, to: Grid) -> Self {
        assert!((from.height, from.width) == (to.height, to.width));
        Self { from, to }
    }

    pub(super) fn run(&self, isa: Isa, input: &[u8], output: &mut [u8]) {
        let Self { from, to } = *self;
        assert!(from.blocks * BLOCK == to.blocks * isa.block_channels());
        assert!(input.len() >= from.bytes() && output.len() >= to.bytes());
        let task = Values {
            shape: self,
            input: input.as_ptr(),
            output: output.as_mut_ptr(),
        };
        // SAFETY: just asserted: the grids lie in the buffers and have as many channels; `new` asserted as many pixels.
        unsafe { isa.enter(task) }
    }
}

struct Values<'a> {
    shape: &'a Convert,
    input: *const u8,
    output: *mut u8,
}

impl Task for Values<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Convert { from, to } = *self.shape;
        for (y, channel) in (0..to.height).flat_map(|y| {
            (0..from.blocks * BLOCK)
                .step_by(L::WIDTH)
                .map(move |c| (y, c))
        }) {
            let [from_place, to_place] =
                [size_of::<f32>(), L::VALUE_BYTES].map(|b| place(channel, b));
            // SAFETY: `Convert::run` asserted the extents.
            unsafe {
                let input = self
                    .input
                    .add(from.at(y, 0) + from_place.0 * from.block_pitch() + from_place.1);
                let output = self
                    .output
                    .add(to.at(y, 0) + to_place.0 * to.block_pitch() + to_place.1);
                for x in 0..to.width {
                    let value = L::load(input.add(x * LINE_BYTES).cast());
                    value.write(output.add(x * L::PIXEL_BYTES));
                }
            }
        }
    }
}
