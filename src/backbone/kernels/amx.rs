//! The eight tile registers: leave to use them, their shapes, and the product of one pair of tiles with a panel's weights.
//!
//! The compiler knows no tiles without being told to, so their shapes and values last from one piece of assembly to the next.

use super::micro::PANEL;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Positions of a tile at most: rows of a register.
pub(super) const ROWS: usize = 16;
/// Sums of one tile of positions: all outputs of a panel.
pub(super) const SUMS: usize = ROWS * PANEL;
/// Bytes of the sums of a pair of tiles, `[tile][position][output]`.
pub(super) const PAIR_BYTES: usize = 2 * SUMS * size_of::<f32>();

/// What tiles hold and are multiplied by.
#[derive(Clone, Copy)]
pub(super) enum Values {
    /// A word is two bf16; sums are f32.
    Bf16,
    /// The same, an input being the sum of two pieces and a weight that of three.
    Split,
    /// The same with one piece of an input.
    Levels,
    /// A word is four u8 of inputs, or four i8 of weights; sums are i32.
    Int8,
}

/// Whether this CPU has tiles of these values and this process may use them. The kernel gives a thread's saved state the room
/// for them only in processes that ask for it.
pub(super) fn granted(values: Values) -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    const TILES: u32 = 1 << 24;
    let products = match values {
        Values::Bf16 | Values::Split | Values::Levels => 1 << 22,
        Values::Int8 => 1 << 25,
    };
    static GRANTED: OnceLock<bool> = OnceLock::new();
    __cpuid_count(7, 0).edx & products != 0
        && *GRANTED.get_or_init(|| {
            let has = __cpuid_count(7, 0).edx & TILES != 0;
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

/// The shapes of the registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
pub(super) struct Shapes([u8; 64]);

impl Shapes {
    /// 0 to 3: sums, rows x 16 f32; 4 and 5: inputs, rows x words; 6 and 7: weights, words x 16 outputs.
    pub(super) fn new(rows: usize, words: usize) -> Self {
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

    /// Gives this thread's registers these shapes, and zeros.
    ///
    /// # Safety
    /// The registers must be [`granted`].
    pub(super) unsafe fn enter(&self) {
        // SAFETY: the caller has the registers; their shapes are possible ones: 1 to 16 rows of 4 to 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(nostack, preserves_flags)) }
    }

    /// Gives the registers back, so that the thread has nothing of them to save.
    ///
    /// # Safety
    /// As for `enter`.
    pub(super) unsafe fn leave(&self) {
        // SAFETY: the caller has the registers.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }
}

/// What two tiles of positions and a panel's weights are multiplied over.
pub(super) struct Tensors<'a> {
    /// The first position of each tile.
    pub(super) inputs: [*const u8; 2],
    /// Bytes from one position to the next.
    pub(super) step: usize,
    /// `[run][word][32 outputs]`, or `[run][piece][word][32 outputs]`.
    pub(super) weights: *const u8,
    /// Bytes of a run's weights, or of a piece of them.
    pub(super) piece_bytes: usize,
    /// Offsets in bytes from the positions.
    pub(super) runs: &'a [u32],
    /// Behind the last run: the first inputs that are multiplied next.
    pub(super) next: *const u8,
    /// Memory to bring to the second-level cache meanwhile, `fetch_lines` lines a run. It may end past its buffer.
    pub(super) fetch: *const u8,
    pub(super) fetch_lines: usize,
}

/// Adds products of `values` to the sums of a pair; the `first` are added to zero.
///
/// # Safety
/// The registers must be granted for these values, and have shapes for these positions and words. Inputs and weights must be
/// readable; [`PAIR_BYTES`] of sums must be writable, and written but for the first.
#[inline(always)]
pub(super) unsafe fn multiply(values: Values, tensors: &Tensors, sums: *mut f32, first: bool) {
    let runs = tensors.runs.as_ptr_range();
    // Bytes of all outputs of a panel: of a word of weights, and of a position's sums.
    const PITCH: usize = PANEL * 4;
    // SAFETY: the caller vouches for registers, inputs and weights; a prefetch never faults. Rows of sums are as many as
    // positions, and lie within two tiles of 16.
    unsafe {
        if first {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nomem, nostack, preserves_flags),
            );
        } else {
            asm!(
                "tileloadd tmm0, [{sums} + 1*{pitch}]",
                "tileloadd tmm1, [{sums} + 1*{pitch} + 64]",
                "tileloadd tmm2, [{sums} + 1*{pitch} + 2048]",
                "tileloadd tmm3, [{sums} + 1*{pitch} + 2112]",
                sums = in(reg) sums,
                pitch = in(reg) PITCH,
                options(readonly, nostack, preserves_flags),
            );
        }
        // `$run` has {at} at a run of the first tile's inputs, and moves {weights} to the next run's.
        macro_rules! products {
            ($($run:expr),* ; $($operands:tt)*) => {
                asm!(
                    "2:",
                    "mov {at:e}, dword ptr [{run}]",
                    "add {run}, 4",
                    "add {at}, {input}",
                    $($run,)*
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
                    at = out(reg) _,
                    run = inout(reg) runs.start => _,
                    end = in(reg) runs.end,
                    input = in(reg) tensors.inputs[0],
                    tile = in(reg) tensors.inputs[1] as isize - tensors.inputs[0] as isize,
                    step = in(reg) tensors.step,
                    weights = inout(reg) tensors.weights => _,
                    piece_bytes = in(reg) tensors.piece_bytes,
                    pitch = in(reg) PITCH,
                    fetch = inout(reg) tensors.fetch => _,
                    lines = in(reg) tensors.fetch_lines,
                    $($operands)*
                    options(readonly, nostack),
                )
            };
        }
        macro_rules! whole {
            ($dot:literal) => {
                products!(
                    "tileloadd tmm6, [{weights} + 1*{pitch}]",
                    "tileloadd tmm4, [{at} + 1*{step}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{weights} + 1*{pitch} + 64]",
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    "add {at}, {tile}",
                    "tileloadd tmm5, [{at} + 1*{step}]",
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    concat!($dot, " tmm3, tmm5, tmm7"),
                    "add {weights}, {piece_bytes}";
                )
            };
        }
        // What 4 and 5 hold times what 6 and 7 hold of a piece of the weights, each of the four products followed by `$then`.
        macro_rules! four {
            ($then:expr) => {
                concat!(
                    "tdpbf16ps tmm0, tmm4, tmm6\n",
                    $then,
                    "tdpbf16ps tmm1, tmm4, tmm7\n",
                    $then,
                    "tdpbf16ps tmm2, tmm5, tmm6\n",
                    $then,
                    "tdpbf16ps tmm3, tmm5, tmm7\n",
                    $then
                )
            };
        }
        // The next piece of them.
        macro_rules! piece {
            () => {
                concat!(
                    "tileloadd tmm6, [{weights} + 1*{pitch}]\n",
                    "tileloadd tmm7, [{weights} + 1*{pitch} + 64]\n",
                    "add {weights}, {piece_bytes}"
                )
            };
        }
        macro_rules! near {
            () => {
                "prefetcht0 [{at}]\nprefetcht0 [{at} + 64]\nadd {at}, {step}\n"
            };
        }
        macro_rules! nearer {
            () => {
                concat!(near!(), near!(), near!(), near!())
            };
        }
        match values {
            Values::Bf16 => whole!("tdpbf16ps"),
            Values::Int8 => whole!("tdpbusd"),
            Values::Levels => products!(
                "tileloadd tmm4, [{at} + 1*{step}]",
                "add {at}, {tile}",
                "tileloadd tmm5, [{at} + 1*{step}]",
                piece!(),
                four!(""),
                piece!(),
                four!(""),
                piece!(),
                four!("");
            ),
            Values::Split => products!(
                // The inputs' second pieces times the weights' first ones.
                "add {at}, 64",
                "tileloadd tmm4, [{at} + 1*{step}]",
                "add {at}, {tile}",
                "tileloadd tmm5, [{at} + 1*{step}]",
                piece!(),
                four!(""),
                // The inputs' first pieces times all of the weights', while the next run's, 32 lines of each piece, come nearer.
                "sub {at}, 64",
                "tileloadd tmm5, [{at} + 1*{step}]",
                "sub {at}, {tile}",
                "tileloadd tmm4, [{at} + 1*{step}]",
                "mov {at}, {next}",
                "cmp {run}, {end}",
                "je 5f",
                "mov {at:e}, dword ptr [{run}]",
                "add {at}, {input}",
                "5:",
                four!(""),
                piece!(),
                four!(nearer!()),
                piece!(),
                four!(nearer!());
                next = in(reg) tensors.next,
            ),
        }
        asm!(
            "tilestored [{sums} + 1*{pitch}], tmm0",
            "tilestored [{sums} + 1*{pitch} + 64], tmm1",
            "tilestored [{sums} + 1*{pitch} + 2048], tmm2",
            "tilestored [{sums} + 1*{pitch} + 2112], tmm3",
            sums = in(reg) sums,
            pitch = in(reg) PITCH,
            options(nostack, preserves_flags),
        );
    }
}

// Offsets in the assembly: the second tile's sums, and the second half of a panel's outputs.
const _: () = assert!(SUMS * 4 == 2048 && PANEL * 2 == 64);
