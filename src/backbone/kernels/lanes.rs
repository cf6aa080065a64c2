//! One register's worth of neighbouring channels, and what the kernels ask of it.
//!
//! Every kernel here (tile products, depthwise convolutions, Winograd's transforms, pooling) is one text, generic over [`Lanes`]. An instruction
//! set is an implementation of it: AVX-512 in f32 and bf16, AVX2 with FMA, and plain arrays. Each kernel enters through
//! [`Lanes::enter`], where the compiler may use the instruction set; all below is inlined into that one function.
//!
//! AVX-512 and AVX2 round alike (one fused multiply-add a step, in the same order), so their f32 results are equal bit
//! for bit. Plain arrays multiply and add in two roundings, as not every machine has a fused instruction.
//!
//! In int8, `dot` adds integers, and what follows is one product and one or two additions in f32, each rounded by itself: all three
//! give the same bits.

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
    /// Whether a tile's parts are a loop, not a text each: smaller, and slower.
    const LOOPS: bool = false;
    /// Bytes of one stored activation; of each of its pieces where it is split.
    const VALUE_BYTES: usize;
    /// Bytes of a pixel's block of channels.
    const PIXEL_BYTES: usize = LINE_BYTES;
    /// Whether activations are the levels of a byte and the sums of `dot` 32-bit integers, in registers of the same type. Methods
    /// that do not name such sums see f32.
    const INTEGERS: bool = false;

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

    /// Writes the lower and the upper half of `2 * WIDTH` neighbouring channels, clipped to `bounds` (of integers: always 0 and 255).
    /// What is stored in one block is adjacent.
    #[inline(always)]
    unsafe fn write_pair(pair: [Self; 2], bounds: [Self; 2], to: [*mut u8; 2]) {
        // SAFETY: the caller vouches for both pointers.
        unsafe {
            pair[0].max(bounds[0]).min(bounds[1]).write(to[0]);
            pair[1].max(bounds[0]).min(bounds[1]).write(to[1]);
        }
    }

    /// A 4-byte word of input (one f32, two bf16 or u16, or four u8) in every lane.
    unsafe fn broadcast(word: *const u8) -> Self;
    /// `self` + the products of the words of `weights` (of integers: signed ones) and `input`.
    unsafe fn dot(self, weights: Self, input: Self) -> Self;
    /// What `dot`s have summed, as f32.
    #[inline(always)]
    unsafe fn total(self) -> Self {
        self
    }

    /// The sum of what `dot`s have summed.
    #[inline(always)]
    unsafe fn plus_sums(self, other: Self) -> Self {
        // SAFETY: inside `enter`, by the contract of this trait.
        unsafe { self.add(other) }
    }
    /// The difference of such.
    #[inline(always)]
    unsafe fn minus_sums(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { self.sub(other) }
    }

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

/// Bytes of a block of channels; where they are split, of each piece.
pub(super) const LINE_BYTES: usize = 64;

/// Where `channel` lies in a pixel's blocks: which block, and the byte in it.
#[inline(always)]
pub(super) const fn place(channel: usize, value_bytes: usize) -> (usize, usize) {
    let byte = channel * value_bytes;
    (byte / LINE_BYTES, byte % LINE_BYTES)
}

/// Four lanes in plain Rust: as wide as the least vector unit in use (SSE2, NEON). With `INTEGERS` activations are bytes.
#[derive(Clone, Copy)]
pub(super) struct Portable<const INTEGERS: bool = false>([f32; 4]);

impl<const INTEGERS: bool> Portable<INTEGERS> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

/// The sum with four products of bytes in it; each argument holds the bits of a word.
#[inline(always)]
fn dot_bytes(sum: f32, weights: f32, input: f32) -> f32 {
    let (weights, input) = (weights.to_bits(), input.to_bits());
    let products = (0..4).map(|i| {
        let [weight, input] = [weights >> (8 * i), input >> (8 * i)];
        i32::from(weight as i8) * i32::from(input as u8)
    });
    let sum = products.fold(sum.to_bits() as i32, i32::wrapping_add);
    f32::from_bits(sum as u32)
}

/// A number from 0 to 255 that is added to this is rounded to nearest even, as instructions round, and the last bits are the
/// integer.
const ROUNDING: f32 = (1 << 23) as f32;

// SAFETY (of all blocks here): the caller vouches for the pointers; there are no instructions to have.
impl<const INTEGERS: bool> Lanes for Portable<INTEGERS> {
    const WIDTH: usize = 4;
    // More of the longer products are left in memory by the compiler.
    const PIXELS: usize = if INTEGERS { 2 } else { 4 };
    const LOOPS: bool = true;
    const VALUE_BYTES: usize = if INTEGERS { 1 } else { 4 };
    const INTEGERS: bool = INTEGERS;

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
        if INTEGERS {
            // SAFETY: see above.
            Self(unsafe { from.cast::<[u8; 4]>().read_unaligned() }.map(f32::from))
        } else {
            // SAFETY: see above.
            unsafe { Self::load(from.cast()) }
        }
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        if INTEGERS {
            let bytes = self.0.map(|v| (v + ROUNDING).to_bits() as u8);
            // SAFETY: see above.
            unsafe { to.cast::<[u8; 4]>().write_unaligned(bytes) }
        } else {
            // SAFETY: see above.
            unsafe { self.store(to.cast()) }
        }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u8) -> Self {
        // SAFETY: see above.
        Self([unsafe { word.cast::<f32>().read_unaligned() }; 4])
    }
    #[inline(always)]
    unsafe fn dot(self, weights: Self, input: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if INTEGERS {
                dot_bytes(self.0[i], weights.0[i], input.0[i])
            } else {
                self.0[i] + weights.0[i] * input.0[i]
            }
        }))
    }
    #[inline(always)]
    unsafe fn total(self) -> Self {
        if INTEGERS {
            Self(self.0.map(|v| v.to_bits() as i32 as f32))
        } else {
            self
        }
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
