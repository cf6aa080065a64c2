//! Sums over channels on AMX tiles: 32 positions x 32 outputs, in bf16, the whole of K in four registers of 16 x 16 sums.
//!
//! A tile of inputs is 16 neighbouring positions as they lie in memory, a constant step apart, times one run of K; a tile of
//! weights is that run for 16 outputs, as `Direct` packs them for every instruction set. Maps are planes (`Grid`), so that
//! positions run on from row to row, over the border between them, and few tiles are left half empty: sums in the border
//! are formed and dropped. Sums go through memory in the nearest cache to the ends of a convolution, in [`Lanes`].
//!
//! The order of summation per output: run by run; in a run the even and the odd channels by themselves, then both together to
//! the sum (Intel's manual, TDPBF16PS); the bias at the end. Denormal numbers are zeros, and no register of the CPU
//! changes how it rounds.

use super::conv::{Epilogue, Grid, Reading};
use super::isa::Isa;
use super::lanes::{Lanes, Task, place};
use super::micro::PANEL;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Positions of a tile: rows of a register.
const ROWS: usize = 16;
/// Sums of one tile of positions, all outputs of a panel.
const SUMS: usize = ROWS * PANEL;
const LINE_BYTES: usize = 64;
/// Bytes of inputs and outputs that are worked on with all weights before the next: what stays in a second-level cache.
const BLOCK_BYTES: usize = 512 << 10;

/// Whether this CPU has tiles of bf16, and this process may use them: the kernel gives the room for them in a thread's
/// saved state only to processes that ask for it.
pub(super) fn granted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    const TILES_AND_BF16: u32 = 1 << 24 | 1 << 22;
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(|| {
        let has = __cpuid_count(7, 0).edx & TILES_AND_BF16 == TILES_AND_BF16;
        // SAFETY: the call takes two numbers, and changes nothing but what this process may do.
        has && unsafe {
            libc::syscall(
                libc::SYS_arch_prctl,
                ARCH_REQ_XCOMP_PERM,
                XFEATURE_XTILEDATA,
            ) == 0
        }
    })
}

/// Up to 16 positions: those from (`y`, `x`) on of a plane that is `pitch` wide.
#[derive(Clone, Copy)]
struct Corner {
    input: u32,
    y: u32,
    x: u32,
    /// Positions that the tile before has written.
    written: u32,
}

/// The shapes of the eight registers, as `ldtilecfg` reads them: sums, inputs, weights.
#[repr(C, align(64))]
struct Shapes([u8; 64]);

/// The tiles of one convolution.
pub(super) struct Tiles {
    shapes: Shapes,
    /// Positions of each tile.
    rows: usize,
    /// Bytes of a run for all outputs of a panel.
    run_bytes: usize,
    step: usize,
    /// Positions from one row to the next, `width` of which are pixels.
    pitch: usize,
    pairs: Vec<[Corner; 2]>,
    /// Pairs that are worked on with all weights before the next.
    block: usize,
    isa: Isa,
    to: Grid,
}

/// What tiles multiply, with the outputs that they lead to.
pub(super) struct Product<'a> {
    pub(super) input: *const u8,
    pub(super) output: *mut u8,
    /// `[panel][run][word][32 outputs]`.
    pub(super) weights: &'a [u8],
    pub(super) bias: &'a [f32],
    /// Offsets in bytes.
    pub(super) runs: &'a [u32],
    pub(super) epilogue: Epilogue,
}

/// Sums of two tiles: `[position][output]` each.
#[repr(align(64))]
struct Sums([f32; 2 * SUMS]);

/// Memory to bring to the second-level cache meanwhile, lines a run. It may end past its buffer.
struct Fetch {
    start: *const u8,
    lines: usize,
}

impl Shapes {
    /// Sums 0 to 3 are rows x 16 f32; inputs 4 and 5 rows x words; weights 6 and 7 words x 16 outputs.
    fn new(rows: usize, words: usize) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        for register in 0..8 {
            let (rows, row_bytes) = match register {
                0..4 => (rows, 64),
                4..6 => (rows, 4 * words),
                _ => (words, 64),
            };
            bytes[16 + 2 * register] = row_bytes as u8;
            bytes[48 + register] = rows as u8;
        }
        Self(bytes)
    }
}

impl Tiles {
    /// For runs of `words` words, and `bytes` of maps that are read and written.
    pub(super) fn new(isa: Isa, words: usize, reading: Reading, bytes: usize, to: Grid) -> Self {
        // A plane is one line of positions, where few enough of them lie in the border; or every row is one.
        let pitch = reading.row / reading.step;
        let plane = (to.height - 1) * pitch + to.width;
        let by_rows = to.height * to.width.div_ceil(ROWS);
        let whole = reading.row.is_multiple_of(reading.step) && plane.div_ceil(ROWS) < by_rows;
        let (lines, length, pitch) = match whole {
            true => (1, plane, pitch),
            false => (to.height, to.width, to.width),
        };
        let count = length.div_ceil(ROWS);
        let rows = length.div_ceil(count);
        let corner = |line: usize, tile: usize| {
            // The last of a line ends with it, and begins in the one before.
            let start = (tile * rows).min(length - rows);
            let (y, x) = (line + start / pitch, start % pitch);
            Corner {
                input: (reading.origin + y * reading.row + x * reading.step) as u32,
                y: y as u32,
                x: x as u32,
                written: (tile * rows - start) as u32,
            }
        };
        let corners = (0..lines).flat_map(|line| (0..count).map(move |tile| (line, tile)));
        let corners: Vec<Corner> = corners.map(|(line, tile)| corner(line, tile)).collect();
        let pair = |pair: &[Corner]| match *pair {
            [first, second] => [first, second],
            // The second is not written at all.
            _ => [
                pair[0],
                Corner {
                    written: rows as u32,
                    ..pair[0]
                },
            ],
        };
        let pairs: Vec<_> = corners.chunks(2).map(pair).collect();
        Self {
            shapes: Shapes::new(rows, words),
            rows,
            run_bytes: words * PANEL * 4,
            step: reading.step,
            pitch,
            block: (pairs.len() * BLOCK_BYTES / bytes).max(1),
            pairs,
            isa,
            to,
        }
    }

    /// Computes all outputs.
    ///
    /// # Safety
    /// Inputs must be readable and outputs writable for the grids this was made for; `runs`, weights and bias must be theirs.
    pub(super) unsafe fn run(&self, product: &Product) {
        let panels = product.bias.len() / PANEL;
        let panel_bytes = product.runs.len() * self.run_bytes;
        let mut sums = Sums([0.0; 2 * SUMS]);
        // Weights that the next block of pairs reads again stay where they are.
        let once = self.pairs.len() <= self.block;
        // SAFETY: that an `Isa` of tiles exists proves the instructions and the permission; the compiler uses no tiles, so that
        // they keep shapes and values between these blocks. The caller vouches for what the corners and runs lead to.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &self.shapes, options(nostack, preserves_flags));
            for pairs in self.pairs.chunks(self.block) {
                let calls = pairs.len() * product.runs.len();
                let lines = (panel_bytes / LINE_BYTES).div_ceil(calls);
                for panel in 0..panels {
                    let weights = product.weights.as_ptr().add(panel * panel_bytes);
                    let fetches = once && panel + 1 < panels;
                    for (i, pair) in pairs.iter().enumerate() {
                        let skip = i * product.runs.len() * lines * LINE_BYTES;
                        self.multiply(
                            pair,
                            weights,
                            product,
                            &mut sums,
                            Fetch {
                                start: weights.wrapping_add(panel_bytes + skip),
                                lines: if fetches { lines } else { 0 },
                            },
                        );
                        self.isa.enter(Finish {
                            tiles: self,
                            pair,
                            panel,
                            product,
                            sums: &sums,
                        });
                    }
                }
            }
            asm!("tilerelease", options(nomem, nostack, preserves_flags));
        }
    }

    /// The sums of two tiles of positions.
    #[inline(always)]
    unsafe fn multiply(
        &self,
        pair: &[Corner; 2],
        weights: *const u8,
        product: &Product,
        sums: &mut Sums,
        fetch: Fetch,
    ) {
        let [first, second] = pair.map(|corner| product.input.wrapping_add(corner.input as usize));
        let runs = product.runs.as_ptr_range();
        // SAFETY: the caller of `run` vouches for the inputs and weights; the sums are `rows` rows of a panel for each tile.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "mov {at:e}, dword ptr [{run}]",
                "add {run}, 4",
                "add {at}, {input}",
                "tileloadd tmm6, [{weights} + 1*{pitch}]",
                "tileloadd tmm4, [{at} + 1*{step}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + 1*{pitch} + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {at}, {second}",
                "tileloadd tmm5, [{at} + 1*{step}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {weights}, {run_bytes}",
                "mov {at}, {lines}",
                "test {at}, {at}",
                "jz 4f",
                "3:",
                "prefetcht1 [{fetch}]",
                "add {fetch}, 64",
                "dec {at}",
                "jnz 3b",
                "4:",
                "cmp {run}, {end}",
                "jne 2b",
                "tilestored [{sums} + 1*{pitch}], tmm0",
                "tilestored [{sums} + 1*{pitch} + 64], tmm1",
                "tilestored [{sums} + 1*{pitch} + 2048], tmm2",
                "tilestored [{sums} + 1*{pitch} + 2112], tmm3",
                at = out(reg) _,
                run = inout(reg) runs.start => _,
                end = in(reg) runs.end,
                input = in(reg) first,
                second = in(reg) second as isize - first as isize,
                step = in(reg) self.step,
                weights = inout(reg) weights => _,
                run_bytes = in(reg) self.run_bytes,
                // Bytes of all outputs of a panel: of a word of weights, and of a row of sums.
                pitch = in(reg) PANEL * 4,
                fetch = inout(reg) fetch.start => _,
                lines = in(reg) fetch.lines,
                sums = in(reg) sums.0.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// The ends of a convolution: bias, residual, activation.
struct Finish<'a> {
    tiles: &'a Tiles,
    pair: &'a [Corner; 2],
    panel: usize,
    product: &'a Product<'a>,
    sums: &'a Sums,
}

impl Task for Finish<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (tiles, to) = (self.tiles, self.tiles.to);
        for (sums, corner) in self.sums.0.chunks_exact(SUMS).zip(self.pair) {
            let (mut row, mut y, mut x) = (0, corner.y as usize, corner.x as usize);
            while row < tiles.rows {
                let next = tiles.rows.min(row + tiles.pitch - x);
                let inside = next.min(row + to.width.saturating_sub(x));
                let first = row.max(corner.written as usize);
                if first < inside {
                    // SAFETY: these pixels lie in the output, for which the caller of `Tiles::run` vouches.
                    unsafe {
                        let output = self.product.output.add(to.at(y, x + first - row));
                        self.pixels::<L>(&sums[first * PANEL..inside * PANEL], output);
                    }
                }
                (row, y, x) = (next, y + 1, 0);
            }
        }
    }
}

impl Finish<'_> {
    /// Neighbouring pixels of one row.
    #[inline(always)]
    unsafe fn pixels<L: Lanes>(&self, sums: &[f32], output: *mut u8) {
        let (epilogue, to) = (self.product.epilogue, self.tiles.to);
        for channel in (0..PANEL).step_by(2 * L::WIDTH) {
            // SAFETY: the bias and the sums are a panel's; the output has all blocks of each of the pixels.
            unsafe {
                let [floor, ceiling] = [epilogue.floor(), epilogue.ceiling()].map(|v| L::splat(v));
                let bias = self.product.bias.as_ptr().add(self.panel * PANEL + channel);
                let bias = [L::load(bias), L::load(bias.add(L::WIDTH))];
                let places = [0, L::WIDTH].map(|j| {
                    let (block, byte) = place(self.panel * PANEL + channel + j, L::VALUE_BYTES);
                    output.add(block * to.block_pitch() + byte)
                });
                for (i, sums) in sums.chunks_exact(PANEL).enumerate() {
                    let places = places.map(|at| at.add(i * 64));
                    let mut sum = [0, 1]
                        .map(|j| L::load(sums.as_ptr().add(channel + j * L::WIDTH)).add(bias[j]));
                    if epilogue.accumulate {
                        sum = [0, 1].map(|j| sum[j].add(L::read(places[j])));
                    }
                    L::write_pair(sum.map(|s| s.max(floor).min(ceiling)), places);
                }
            }
        }
    }
}
