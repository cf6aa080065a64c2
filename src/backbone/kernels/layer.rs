//! What a convolution is, however it is computed: its weights, and what ends its sums.

/// Weights `[cout][cin][k][k]` and bias `[cout]`, the BatchNorm that follows folded in.
pub(super) struct Folded {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) cin: usize,
    pub(super) cout: usize,
    pub(super) k: usize,
}

impl Folded {
    /// Floating-point operations to compute `pixels` outputs directly.
    pub(super) fn flops(&self, pixels: usize) -> f64 {
        2.0 * (pixels * self.cin * self.k * self.k * self.cout) as f64
    }
}

/// What ends a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epilogue {
    /// Add what the output holds: the residual, in place.
    pub(super) accumulate: bool,
    pub(super) activation: Activation,
}

/// Between what bounds a sum is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Activation {
    None,
    Relu,
    /// From 0 to 6 (Sandler et al. 2018).
    Relu6,
}

pub(super) const LINEAR: Epilogue = ending(Activation::None);
pub(super) const RELU: Epilogue = ending(Activation::Relu);
pub(super) const RELU6: Epilogue = ending(Activation::Relu6);

const fn ending(activation: Activation) -> Epilogue {
    Epilogue {
        accumulate: false,
        activation,
    }
}

impl Epilogue {
    /// The same, with what the output holds added before.
    pub(super) const fn residual(self) -> Self {
        Self {
            accumulate: true,
            ..self
        }
    }
}

impl Activation {
    /// What outputs are clipped to.
    pub(super) fn bounds(self) -> [f32; 2] {
        match self {
            Self::None => [f32::NEG_INFINITY, f32::INFINITY],
            Self::Relu => [0.0, f32::INFINITY],
            Self::Relu6 => [0.0, 6.0],
        }
    }
}
