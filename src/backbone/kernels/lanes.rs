//! One register's worth of neighbouring channels, and what the kernels ask of it.
//!
//! Every kernel here (tile products, depthwise convolutions, Winograd's transforms, pooling) is one text, generic over [`Lanes`]. An instruction
//! set is an implementation of it: AVX-512 in f32 and bf16, AVX2 with FMA, and plain arrays. Each kernel enters through
//! [`Lanes::enter`], where the compiler may use the instruction set; all below is inlined into that one function.
//!
//! AVX-512 and AVX2 round alike (one fused multiply-add a step, in the same order), so their f32 results are equal bit
//! for bit. Plain arrays multiply and add in two roundings, as not every machine has a fused instruction.

/// A kernel with its arguments bound.
pub(super) trait Task {
    /// Runs the kernel. Implementations are `#[inline(always)]`, so that `enter` compiles them for its instruction set.
    ///
    /// # Safety
    /// The CPU must have the instructions of `L`, and every pointer bound must be valid for the task's extent.
    unsafe fn run<L: Lanes>(self);
}

/// `WIDTH` channels of sums in f32, and how activations of these channels are stored.
///
/// # Safety
/// All methods but the constants may only be called inside [`Lanes::enter`], on a CPU with the instructions.
/// Pointers need no alignment.
pub(super) trait Lanes: Copy {
    /// Channels in one register.
    const WIDTH: usize;
    /// Pixels whose sums (two registers each) fit in the register file beside two weights and an input.
    const PIXELS: usize;
    /// Bytes of one stored activation.
    const VALUE_BYTES: usize;

    /// Runs `task` with the instruction set enabled.
    unsafe fn enter<T: Task>(task: T);

    unsafe fn splat(value: f32) -> Self;
    /// `WIDTH` f32 values.
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `WIDTH` activations as stored, widened.
    unsafe fn read(from: *const u8) -> Self;
    /// Rounds to the stored type.
    unsafe fn write(self, to: *mut u8);

    /// Writes the lower and the upper half of `2 * WIDTH` neighbouring channels. What is stored in one block is adjacent.
    #[inline(always)]
    unsafe fn write_pair(pair: [Self; 2], to: [*mut u8; 2]) {
        // SAFETY: the caller vouches for both pointers.
        unsafe {
            pair[0].write(to[0]);
            pair[1].write(to[1]);
        }
    }

    /// A 4-byte word of input (one f32, or two bf16) in every lane.
    unsafe fn broadcast(word: *const u8) -> Self;
    /// `self` + the products of the words of `weights` and `input`.
    unsafe fn dot(self, weights: Self, input: Self) -> Self;

    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// The greater; `other` where either is not a number.
    unsafe fn max(self, other: Self) -> Self;
    /// The lesser; `other` where either is not a number.
    unsafe fn min(self, other: Self) -> Self;
    /// `a * b + self`, lane by lane.
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;
    /// `factor * x + self`.
    #[inline(always)]
    unsafe fn plus(self, factor: f32, x: Self) -> Self {
        // SAFETY: inside `enter`, by the contract of this trait.
        unsafe { self.multiply_add(Self::splat(factor), x) }
    }
    /// `self - factor * x`.
    unsafe fn minus(self, factor: f32, x: Self) -> Self;

    /// Asks for a line of memory in the second-level cache. Any address is allowed.
    unsafe fn prefetch(_line: *const u8) {}
}

/// Where `channel` lies in a pixel's blocks of 64 bytes: which block, and the byte in it.
#[inline(always)]
pub(super) const fn place(channel: usize, value_bytes: usize) -> (usize, usize) {
    (channel * value_bytes / 64, channel * value_bytes % 64)
}

/// Four f32 in plain Rust: as wide as the least vector unit in use (SSE2, NEON).
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY (of all blocks here): the caller vouches for the pointers; there are no instructions to have.
impl Lanes for Portable {
    const WIDTH: usize = 4;
    const PIXELS: usize = 4;
    const VALUE_BYTES: usize = 4;

    unsafe fn enter<T: Task>(task: T) {
        // SAFETY: see above.
        unsafe { task.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { Self::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: see above.
        unsafe { self.store(to.cast()) }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u8) -> Self {
        // SAFETY: see above.
        Self([unsafe { word.cast::<f32>().read_unaligned() }; 4])
    }
    #[inline(always)]
    unsafe fn dot(self, weights: Self, input: Self) -> Self {
        Self(std::array::from_fn(|i| {
            self.0[i] + weights.0[i] * input.0[i]
        }))
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| a.0[i] * b.0[i] + self.0[i]))
    }
    #[inline(always)]
    unsafe fn minus(self, factor: f32, x: Self) -> Self {
        self.zip(x, |a, b| a - factor * b)
    }
}
