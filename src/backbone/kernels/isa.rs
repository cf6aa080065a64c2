//! Which instruction set computes, decided once per model and at run time.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use super::bf16::to_bf16;
use super::lanes::{LINE_BYTES, Lanes, Portable, Task};
use super::layer::Activation;
use super::micro::{BLOCK_WORDS, Kernels, PANEL};
use super::quantise::BYTES;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx2Int8, Avx512, Avx512Bf16, Avx512Int8, Avx512Split};
use crate::backbone::{Architecture, BackboneError, Precision};
use std::fmt;
use std::str::FromStr;

/// A family of kernels: one instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Tiles of 16 x 16 sums beside 512-bit registers. In f32 they multiply numbers that are split into sums of bf16.
    Amx,
    /// 512-bit registers; bf16 needs AVX512-BF16 besides. Without AVX512-VNNI int8 is AVX2's.
    Avx512,
    /// 256-bit registers and fused multiply-add; f32 and int8.
    Avx2,
    /// Plain Rust, for any machine; f32 and int8.
    Portable,
}

impl Family {
    /// All families, the fastest first.
    pub const ALL: [Self; 4] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Portable];

    /// The fastest family of this CPU for a network in a precision; the portable one where there is none.
    pub fn detect(architecture: Architecture, precision: Precision) -> Self {
        let suits = |family: &Self| family.suits(architecture, precision);
        Self::fastest(Self::ALL.into_iter().filter(suits), precision)
    }

    /// Whether a network is computed in a precision on this family, where the CPU has it. In f32 tiles are for ResNets: MobileNetV2 would
    /// lose too much of its features to splitting (1.4e-5), and VGG-16 is faster by Winograd's algorithm.
    pub(super) fn suits(self, architecture: Architecture, precision: Precision) -> bool {
        let resnet = matches!(architecture, Architecture::ResNet(_));
        (self, precision) != (Self::Amx, Precision::F32) || resnet
    }

    /// The fastest in f32 that multiplies in registers.
    pub fn registers() -> Self {
        Self::fastest([Self::Avx512, Self::Avx2], Precision::F32)
    }

    fn fastest(families: impl IntoIterator<Item = Self>, precision: Precision) -> Self {
        let has = |family: &Self| Isa::new(*family, precision).is_ok();
        families.into_iter().find(has).unwrap_or(Self::Portable)
    }

    /// How sums in f32 are rounded, for an identity: alike in all families that have a fused multiply-add.
    pub(in crate::backbone) fn rounding(self) -> &'static str {
        match self {
            Self::Amx | Self::Avx512 | Self::Avx2 => "fused",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for Family {
    type Err = BackboneError;

    fn from_str(name: &str) -> Result<Self, BackboneError> {
        let named = |family: &Self| family.to_string() == name;
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| BackboneError::UnknownFamily(name.into()))
    }
}

/// The bf16 that a weight of f32 is split into: all of its bits.
const WEIGHT_PIECES: usize = 3;

/// Proof that this CPU can compute in a family and precision: there is no other way to make one than [`Isa::new`].
#[derive(Clone, Copy)]
pub(super) struct Isa(Implementation);

#[derive(Clone, Copy)]
enum Implementation {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    AmxLevels,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    AmxBf16,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    AmxInt8,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512Int8,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx2Int8,
    Portable,
    PortableInt8,
}

/// Evaluates `$body` with `$lanes` as the implementation's type.
macro_rules! with_lanes {
    ($isa:expr, $lanes:ident => $body:expr) => {
        match $isa.0 {
            // Beside tiles, these registers.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Implementation::Amx => {
                type $lanes = Avx512Split;
                $body
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Implementation::AmxLevels => {
                type $lanes = Avx512;
                $body
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Implementation::AmxBf16 => {
                type $lanes = Avx512Bf16;
                $body
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Implementation::AmxInt8 => {
                type $lanes = Avx512Int8;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx512 => {
                type $lanes = Avx512;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx512Bf16 => {
                type $lanes = Avx512Bf16;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx512Int8 => {
                type $lanes = Avx512Int8;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2 => {
                type $lanes = Avx2;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2Int8 => {
                type $lanes = Avx2Int8;
                $body
            }
            Implementation::Portable => {
                type $lanes = Portable;
                $body
            }
            Implementation::PortableInt8 => {
                type $lanes = Portable<true>;
                $body
            }
        }
    };
}

/// How a kernel reads its inputs.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Blocked activations, neighbouring pixels.
    Unit,
    /// Blocked activations, every second pixel.
    Strided,
    /// Interleaved RGB, every `stride`th pixel, a run being a kernel row of `k` pixels: 7 by 2, 3 by 1 and 3 by 2.
    Interleaved { k: usize, stride: usize },
    /// As `Unit`, with sums kept in f32.
    Products,
}

impl Isa {
    /// The kernels of a family in a precision.
    ///
    /// # Errors
    /// [`BackboneError::Unsupported`] where this CPU or the family can't.
    pub(super) fn new(family: Family, precision: Precision) -> Result<Self, BackboneError> {
        let found = match (family, precision) {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (Family::Amx, Precision::F32 | Precision::Bf16)
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bf16")
                    && amx::granted(amx::Values::Bf16) =>
            {
                Some(match precision {
                    Precision::F32 => Implementation::Amx,
                    _ => Implementation::AmxBf16,
                })
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (Family::Amx, Precision::Int8)
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
                    && amx::granted(amx::Values::Int8) =>
            {
                Some(Implementation::AmxInt8)
            }
            #[cfg(target_arch = "x86_64")]
            (Family::Avx512, Precision::F32) if is_x86_feature_detected!("avx512f") => {
                Some(Implementation::Avx512)
            }
            #[cfg(target_arch = "x86_64")]
            (Family::Avx512, Precision::Bf16)
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bf16") =>
            {
                Some(Implementation::Avx512Bf16)
            }
            #[cfg(target_arch = "x86_64")]
            (Family::Avx2, Precision::F32)
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") =>
            {
                Some(Implementation::Avx2)
            }
            #[cfg(target_arch = "x86_64")]
            (Family::Avx512, Precision::Int8)
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni") =>
            {
                Some(Implementation::Avx512Int8)
            }
            // The bits are the same.
            #[cfg(target_arch = "x86_64")]
            (Family::Avx512 | Family::Avx2, Precision::Int8)
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") =>
            {
                Some(Implementation::Avx2Int8)
            }
            (Family::Portable, Precision::F32) => Some(Implementation::Portable),
            (Family::Portable, Precision::Int8) => Some(Implementation::PortableInt8),
            _ => None,
        };
        found
            .map(Self)
            .ok_or(BackboneError::Unsupported { family, precision })
    }

    /// Whether sums over channels are formed on tiles. Maps are planes there, and every convolution is direct.
    pub(super) fn tiles(self) -> bool {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Implementation::Amx
        | Implementation::AmxLevels
        | Implementation::AmxBf16
        | Implementation::AmxInt8 = self.0
        {
            return true;
        }
        false
    }

    /// Whether an f32 is stored as two bf16 that add up to it, all but its last bits, and a weight as three.
    pub(super) fn splits(self) -> bool {
        self.pixel_bytes() > LINE_BYTES
    }

    /// Whether inputs are an image's levels in bf16, which holds them exactly, outputs f32, and a weight is split as in `splits`.
    pub(super) fn levels(self) -> bool {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Implementation::AmxLevels = self.0 {
            return true;
        }
        false
    }

    /// Pieces of a weight.
    pub(super) fn weight_pieces(self) -> usize {
        if self.splits() || self.levels() {
            WEIGHT_PIECES
        } else {
            1
        }
    }

    /// What outputs behind an activation are clipped to.
    pub(super) fn bounds(self, activation: Activation) -> [f32; 2] {
        if self.integers() {
            BYTES
        } else {
            activation.bounds()
        }
    }

    /// The same registers with activations of f32, where these are bf16 or split.
    pub(super) fn of_f32(self) -> Self {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Implementation::Amx | Implementation::AmxBf16 => Self(Implementation::Avx512),
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx512Bf16 => Self(Implementation::Avx512),
            _ => self,
        }
    }

    /// Where these split their numbers, those of an image's [`Isa::levels`].
    pub(super) fn of_levels(self) -> Self {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Implementation::Amx => Self(Implementation::AmxLevels),
            _ => self,
        }
    }

    /// Bytes of a value of an input: of a stored activation, but for levels.
    pub(super) fn input_bytes(self) -> usize {
        if self.levels() { 2 } else { self.value_bytes() }
    }

    /// Bytes of a stored activation, or of a piece of it.
    pub(super) fn value_bytes(self) -> usize {
        with_lanes!(self, L => L::VALUE_BYTES)
    }

    /// Bytes of a pixel's block.
    pub(super) fn pixel_bytes(self) -> usize {
        with_lanes!(self, L => L::PIXEL_BYTES)
    }

    /// Whether activations are bytes and sums integers.
    pub(super) fn integers(self) -> bool {
        with_lanes!(self, L => L::INTEGERS)
    }

    /// Channels of a block.
    pub(super) fn block_channels(self) -> usize {
        LINE_BYTES / self.value_bytes()
    }

    /// Values of an input, or pieces of such, in a 4-byte word.
    pub(super) fn per_word(self) -> usize {
        4 / self.input_bytes()
    }

    /// Outputs whose weights lie together.
    pub(super) fn columns(self) -> usize {
        if self.tiles() {
            PANEL
        } else {
            with_lanes!(self, L => 2 * L::WIDTH)
        }
    }

    /// The bits that a value is stored as, of an input or a weight; of one that is split, its first piece.
    pub(super) fn bits(self, value: f32) -> u32 {
        match (self.integers(), self.input_bytes()) {
            (true, _) => value as i32 as u32,
            (false, 2) => u32::from(to_bf16(value)),
            (false, _) => value.to_bits(),
        }
    }

    /// The tile kernels for one way of reading.
    pub(super) fn kernels(self, access: Access) -> Kernels {
        with_lanes!(self, L => match access {
            Access::Unit => Kernels::new::<L, LINE_BYTES, BLOCK_WORDS, false>(),
            Access::Strided => Kernels::new::<L, { 2 * LINE_BYTES }, BLOCK_WORDS, false>(),
            // A pixel is three values; a run is rounded up to words.
            Access::Interleaved { k: 7, stride: 2 } => Kernels::new::<
                L,
                { 6 * <L as Lanes>::VALUE_BYTES },
                { (21 * <L as Lanes>::VALUE_BYTES).div_ceil(4) },
                false,
            >(),
            Access::Interleaved { k: 3, stride: 2 } => Kernels::new::<
                L,
                { 6 * <L as Lanes>::VALUE_BYTES },
                { (9 * <L as Lanes>::VALUE_BYTES).div_ceil(4) },
                false,
            >(),
            Access::Interleaved { k: 3, stride: 1 } => Kernels::new::<
                L,
                { 3 * <L as Lanes>::VALUE_BYTES },
                { (9 * <L as Lanes>::VALUE_BYTES).div_ceil(4) },
                false,
            >(),
            Access::Interleaved { k, stride } => {
                unreachable!("no network begins with a {k}x{k} of stride {stride}")
            }
            Access::Products => Kernels::new::<L, LINE_BYTES, BLOCK_WORDS, true>(),
        })
    }

    /// Runs a task with this instruction set.
    ///
    /// # Safety
    /// The task's pointers must be valid for its extent.
    pub(super) unsafe fn enter(self, task: impl Task) {
        // SAFETY: that `self` exists proves the instructions; the caller vouches for the pointers.
        with_lanes!(self, L => unsafe { L::enter(task) })
    }
}
