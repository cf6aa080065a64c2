//! What is tried: instruction sets, shapes, weights.

use super::super::grid::TOGETHER;
use super::super::isa::{Family, Isa};
use super::super::layer::{Activation, Folded};
use super::stored::stored;
use crate::backbone::Precision;
use proptest::prelude::*;

/// All kernels of floats on this CPU; the portable ones are among them everywhere.
pub(super) fn instruction_sets() -> Vec<(String, Isa)> {
    let precisions = [Precision::F32, Precision::Bf16];
    let all = Family::ALL
        .into_iter()
        .flat_map(|f| precisions.map(|p| (f, p)));
    all.filter_map(|(f, p)| Some((format!("{f} {p}"), Isa::new(f, p).ok()?)))
        .collect()
}

/// So many cases of a property; under Miri, which interprets, a few.
pub(super) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { count.min(2) } else { count },
        failure_persistence: None,
        ..Default::default()
    }
}

/// All of these; under Miri the first alone.
pub(super) fn all<T, const N: usize>(values: [T; N]) -> impl Iterator<Item = T> {
    let count = if cfg!(miri) { 1 } else { N };
    values.into_iter().take(count)
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) cin: usize,
    pub(super) cout: usize,
    pub(super) k: usize,
    pub(super) stride: usize,
    pub(super) activation: Activation,
    pub(super) accumulate: bool,
    pub(super) spare_border: usize,
}

pub(super) fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::None),
        Just(Activation::Relu),
        Just(Activation::Relu6)
    ]
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let most: [usize; 4] = match cfg!(miri) {
        true => [4, 6, 18, 35],
        false => [18, 32, 65, 97],
    };
    let size = most.map(|most| 1..most);
    let kind = (
        any::<bool>(),
        1..3usize,
        activation(),
        any::<bool>(),
        0..3usize,
        1..TOGETHER + 1,
    );
    (any::<u64>(), size, kind).prop_map(|(seed, size, kind)| Case {
        seed,
        images: kind.5,
        height: size[0],
        width: size[1],
        cin: size[2],
        cout: size[3],
        k: if kind.0 { 3 } else { 1 },
        stride: kind.1,
        activation: kind.2,
        accumulate: kind.3,
        spare_border: kind.4,
    })
}

pub(super) fn folded(
    isa: Isa,
    [cout, cin, k]: [usize; 3],
    random: &mut impl FnMut() -> f64,
) -> Folded {
    // A weight that is split keeps all of its bits.
    let mut weight = || match isa.splits() {
        true => random() as f32,
        false => stored(isa, random()) as f32,
    };
    Folded {
        weights: (0..cout * cin * k * k).map(|_| weight()).collect(),
        bias: (0..cout).map(|_| random() as f32).collect(),
        cin,
        cout,
        k,
    }
}
