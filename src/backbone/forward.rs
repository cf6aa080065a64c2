//! The door from Candle: a whole network as one operation on tensors, with memory of its own.
//!
//! One operation for the network costs Candle's bookkeeping once a pass (microseconds), and no tensor is made in between.
//! It is an in-place one, as those write into a given tensor: a returning one would allocate its result every time.

use super::kernels::{Arena, Network};
use super::{BackboneError, Spec};
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Storage, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// `features.inplace_op2(&pixels, &forward)`: `pixels` `[…, side, side, 3]` u8 RGB to `features` `[…, d]` f32, both
/// contiguous.
pub struct Forward {
    network: Arc<Network>,
    spec: Spec,
    /// Operations are called through shared references; this one is used by one worker, so the lock is never waited for.
    arena: Mutex<Arena>,
}

impl Forward {
    pub(super) fn new(spec: Spec, network: Arc<Network>) -> Self {
        Self {
            spec,
            arena: Mutex::new(network.arena()),
            network,
        }
    }

    /// What it computes.
    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The images and their features as it takes them, a pass at a time.
    pub(super) fn passes<'a>(
        &self,
        pixels: &'a [u8],
        features: &'a mut [f32],
    ) -> impl Iterator<Item = (&'a [u8], &'a mut [f32])> + use<'a> {
        self.spec.passes(self.network.together(), pixels, features)
    }
}

impl InplaceOp2 for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn cpu_fwd(
        &self,
        features: &mut CpuStorage,
        features_layout: &Layout,
        pixels: &CpuStorage,
        pixels_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(features), CpuStorage::U8(pixels)) = (features, pixels) else {
            bail!(
                "{} takes u8 pixels and f32 features",
                InplaceOp2::name(self)
            );
        };
        let features = &mut features[contiguous(features_layout)?];
        let pixels = &pixels[contiguous(pixels_layout)?];
        if self.spec.check_lengths(pixels, features).is_err() {
            bail!(
                "{} needs [n, side, side, 3] pixels and [n, d] features",
                InplaceOp2::name(self)
            );
        }
        // After a panic elsewhere the arena is as good as before: every image writes all that it reads.
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        for (pixels, features) in self.passes(pixels, features) {
            self.network.forward(&mut arena, pixels, features, |_| ());
        }
        Ok(())
    }
}

fn contiguous(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("the tensor must be contiguous"),
    }
}

/// Overwrites a tensor, without making a new one.
struct Fill<'a>(&'a [u8]);

impl InplaceOp1 for Fill<'_> {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::U8(values) = storage else {
            bail!("{} takes a u8 tensor", InplaceOp1::name(self));
        };
        values[contiguous(layout)?].copy_from_slice(self.0);
        Ok(())
    }
}

/// Writes `values` into a u8 tensor of as many elements.
pub(super) fn fill(tensor: &Tensor, values: &[u8]) -> std::result::Result<(), BackboneError> {
    Ok(tensor.inplace_op1(&Fill(values))?)
}

/// Reads an f32 tensor of as many elements as `values`.
pub(super) fn take(tensor: &Tensor, values: &mut [f32]) -> std::result::Result<(), BackboneError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(from)) = &*storage else {
        return Err(candle_core::Error::Msg("features are f32 on the CPU".into()).into());
    };
    values.copy_from_slice(&from[contiguous(layout)?]);
    Ok(())
}
