//! The simplest backbone: the pixels of a 16x16 image are its features. It has no weights, so it shows the whole pipeline
//! where there are none, and its numbers can be checked by eye.

use super::{Backbone, BackboneError, Spec};

/// Input pixels on each side.
const SIDE: usize = 16;

/// Feature `(y * 16 + x) * 3 + c` is channel `c` (red, green, blue) of pixel (`y`, `x`), as value / 255.
pub(super) struct Pixels {
    spec: Spec,
}

impl Pixels {
    pub(super) fn new(spec: Spec) -> Self {
        Self { spec }
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "pixels".into(),
        features: SIDE * SIDE * 3,
        side: SIDE,
        identity: format!("pixels; side {SIDE}; rgb / 255"),
    }
}

impl Backbone for Pixels {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn extract(&mut self, pixels: &[u8], features: &mut [f32]) -> Result<(), BackboneError> {
        self.spec.check_lengths(pixels, features)?;
        for (feature, &value) in features.iter_mut().zip(pixels) {
            *feature = f32::from(value) / 255.0;
        }
        Ok(())
    }
}
