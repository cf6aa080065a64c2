use super::super::{Accumulator, RowError};
use super::*;
use proptest::prelude::*;

const WIDTH: usize = 35;

/// A row and whether it is added or retracted. Magnitudes go from zero to the ends of i32, so that features are multiplied
/// whole and in two digits.
fn rows() -> impl Strategy<Value = Vec<(Vec<i32>, Option<String>, bool)>> {
    let row = (0u32..32).prop_flat_map(|lose| {
        prop::collection::vec(any::<i32>().prop_map(move |q| q >> lose), WIDTH)
    });
    let label = prop::option::of(prop::sample::select(vec![
        "apple".to_owned(),
        "pear".to_owned(),
    ]));
    prop::collection::vec((row, label, any::<bool>()), 0..24)
}

/// The sums by their definition, in i128 all the way.
fn naive(rows: &[(Vec<i32>, Option<String>, bool)]) -> Vec<(Part, Sums)> {
    let layout = Layout::new(WIDTH).unwrap();
    let mut sums = BTreeMap::<Part, Vec<i128>>::new();
    for (row, label, added) in rows {
        let sign = if *added { 1 } else { -1 };
        let x = |j: usize| i128::from(row[j]);
        let mut put = |part, terms: Vec<i128>| {
            let total = sums.entry(part).or_insert_with(|| vec![0; terms.len()]);
            total
                .iter_mut()
                .zip(terms)
                .for_each(|(total, term)| *total += sign * term);
        };
        put(Part::Count, vec![1]);
        for block in 0..layout.blocks() {
            let column =
                |j: usize| std::iter::once(x(j)).chain((j..WIDTH).map(move |i| x(i) * x(j)));
            put(
                Part::Columns(block),
                layout.columns(block).flat_map(column).collect(),
            );
        }
        if let Some(label) = label {
            put(
                Part::Label(label.clone()),
                std::iter::once(1).chain((0..WIDTH).map(x)).collect(),
            );
        }
    }
    let parts = sums
        .into_iter()
        .map(|(part, sums)| (part, Sums::from(sums)));
    parts.filter(|(_, sums)| !sums.is_zero()).collect()
}

fn accumulate(rows: &[(Vec<i32>, Option<String>, bool)]) -> Vec<(Part, Sums)> {
    let mut accumulator = Accumulator::new(WIDTH).unwrap();
    take(&mut accumulator, rows);
    accumulator.drain()
}

fn take(accumulator: &mut Accumulator, rows: &[(Vec<i32>, Option<String>, bool)]) {
    for (row, label, added) in rows {
        match added {
            true => accumulator.add(row, label.as_deref()).unwrap(),
            false => accumulator.retract(row, label.as_deref()).unwrap(),
        }
    }
}

/// The sum of parts without the state's invariants, which differences need not satisfy.
fn sum(parts: impl IntoIterator<Item = (Part, Sums)>) -> Vec<(Part, Sums)> {
    let mut total = BTreeMap::<Part, Sums>::new();
    for (part, sums) in parts {
        total
            .entry(part)
            .or_insert_with(Sums::zero)
            .plus_assign(&sums);
    }
    total
        .into_iter()
        .filter(|(_, sums)| !sums.is_zero())
        .collect()
}

fn sums() -> impl Strategy<Value = Sums> {
    prop_oneof![
        Just(Sums::zero()),
        prop::collection::vec(-3i128..=3, 3).prop_map(Sums::from),
        prop::collection::vec(any::<i64>().prop_map(i128::from), 3).prop_map(Sums::from),
    ]
}

fn plus(left: &Sums, right: &Sums) -> Sums {
    let mut total = left.clone();
    total.plus_assign(right);
    total
}

proptest! {
    #[test]
    fn sums_are_an_abelian_group(a in sums(), b in sums(), c in sums()) {
        prop_assert_eq!(plus(&a, &plus(&b, &c)), plus(&plus(&a, &b), &c), "associative");
        prop_assert_eq!(plus(&a, &b), plus(&b, &a), "commutative");
        prop_assert_eq!(&plus(&a, &Sums::zero()), &a, "neutral");
        let mut inverse = a.clone();
        inverse.negate();
        let nothing = plus(&a, &inverse);
        prop_assert!(nothing.is_zero());
        prop_assert_eq!(serde_json::to_vec(&nothing).unwrap(), serde_json::to_vec(&Sums::zero()).unwrap());
        let read: Sums = serde_json::from_slice(&serde_json::to_vec(&a).unwrap()).unwrap();
        prop_assert_eq!(read, a);
    }

    #[test]
    fn accumulated_sums_are_the_integers_by_definition(rows in rows()) {
        prop_assert_eq!(accumulate(&rows), naive(&rows));
    }

    #[test]
    fn neither_order_nor_workers_nor_epochs_matter(rows in rows(), swaps in prop::collection::vec(any::<prop::sample::Index>(), 24), cut in any::<prop::sample::Index>()) {
        let mut shuffled = rows.clone();
        for (i, swap) in swaps.iter().enumerate().take(rows.len()) {
            shuffled.swap(i, swap.index(rows.len()));
        }
        let cut = cut.index(rows.len() + 1);
        let mut one_worker = Accumulator::new(WIDTH).unwrap();
        take(&mut one_worker, &shuffled[..cut]);
        let first_epoch = one_worker.drain();
        take(&mut one_worker, &shuffled[cut..]);
        let second_epoch = one_worker.drain();
        prop_assert_eq!(sum(first_epoch.into_iter().chain(second_epoch)), accumulate(&rows));
    }

    #[test]
    fn what_is_retracted_leaves_no_trace(rows in rows(), more in rows()) {
        let mut accumulator = Accumulator::new(WIDTH).unwrap();
        take(&mut accumulator, &rows);
        take(&mut accumulator, &more);
        let opposite: Vec<_> = rows.iter().rev().map(|(row, label, added)| (row.clone(), label.clone(), !added)).collect();
        take(&mut accumulator, &opposite);
        prop_assert_eq!(accumulator.drain(), accumulate(&more));
    }

    #[test]
    fn merge_and_retract_are_each_others_inverse(left in rows(), right in rows()) {
        let state = |rows: &[(Vec<i32>, Option<String>, bool)]| {
            let added: Vec<_> = rows.iter().map(|(row, label, _)| (row.clone(), label.clone(), true)).collect();
            Moments::from_parts(WIDTH, accumulate(&added)).unwrap()
        };
        let (left, right) = (state(&left), state(&right));
        let both = left.clone().merge(&right).unwrap();
        prop_assert_eq!(&right.clone().merge(&left).unwrap(), &both);
        prop_assert_eq!(both.n(), left.n() + right.n());
        prop_assert_eq!(both.sha256() == left.sha256(), right.n() == 0);
        let again = both.retract(&right).unwrap();
        prop_assert_eq!(again.sha256(), left.sha256());
        prop_assert_eq!(&again, &left);
        let nothing = again.retract(&left).unwrap();
        prop_assert_eq!(nothing.parts().count(), 0);
        prop_assert_eq!(nothing.sha256(), Moments::empty(WIDTH).unwrap().sha256());
    }
}

#[test]
fn many_blocks_of_rows_stay_exact() {
    // Squares of 2^38 in the first column and of 2^46 in the last: a block of rows is beyond 2^53 in the last alone.
    let row = |i: i64| -> Vec<i32> {
        (0..5)
            .map(|j| (((i * 7919 + j * 104_729) % (1 << 20)) << j) as i32 - j as i32)
            .collect()
    };
    let mut accumulator = Accumulator::new(5).unwrap();
    let mut expected = vec![0i128; 20];
    let layout = Layout::new(5).unwrap();
    for i in 0..10_000 {
        let q = row(i);
        accumulator.add(&q, None).unwrap();
        for j in 0..5 {
            expected[layout.offset(j)] += i128::from(q[j]);
            (j..5).for_each(|i| {
                expected[layout.offset(j) + 1 + i - j] += i128::from(q[i]) * i128::from(q[j])
            });
        }
    }
    let parts = accumulator.drain();
    assert_eq!(parts[1], (Part::Columns(0), Sums::from(expected)));
    assert_eq!(accumulator.drain(), vec![]);
}

#[test]
fn the_extremes_of_the_grid_are_summed_exactly() {
    let mut accumulator = Accumulator::new(2).unwrap();
    for _ in 0..3 {
        accumulator.add(&[i32::MIN, i32::MAX], Some("x")).unwrap();
    }
    let (low, high) = (i128::from(i32::MIN), i128::from(i32::MAX));
    let sums = [low, low * low, low * high, high, high * high].map(|term| 3 * term);
    assert_eq!(
        accumulator.drain()[1],
        (Part::Columns(0), Sums::from(sums.to_vec()))
    );
}

#[test]
fn a_row_of_another_width_is_refused_and_leaves_no_trace() {
    let mut accumulator = Accumulator::new(2).unwrap();
    assert_eq!(
        accumulator.add(&[1], Some("x")),
        Err(RowError::Width {
            expected: 2,
            found: 1
        })
    );
    assert_eq!(accumulator.drain(), vec![]);
}

fn state(rows: &[[i32; 2]]) -> Moments {
    let mut accumulator = Accumulator::new(2).unwrap();
    rows.iter()
        .for_each(|row| accumulator.add(row, Some("x")).unwrap());
    Moments::from_parts(2, accumulator.drain()).unwrap()
}

#[test]
fn owners_of_slices_get_the_digest_of_the_whole() {
    let whole = state(&[[1, 2], [3, 5]]);
    let mut reports: Vec<_> = whole
        .parts()
        .map(|(part, sums)| (part.clone(), part_digest(&part, &sums)))
        .collect();
    reports.reverse();
    assert_eq!(combine(2, reports), whole.sha256());
    assert_ne!(state(&[[1, 2], [3, 6]]).sha256(), whole.sha256());
    assert_ne!(
        Moments::empty(2).unwrap().sha256(),
        Moments::empty(3).unwrap().sha256()
    );
}

#[test]
fn sums_of_no_rows_are_named() {
    let refused = |parts: Vec<(Part, Vec<i128>)>| {
        let parts = parts
            .into_iter()
            .map(|(part, sums)| (part, Sums::from(sums)));
        state(&[[1, 2], [3, 5]]).apply(parts).unwrap_err()
    };
    let block = Part::Columns(0);
    assert_eq!(
        refused(vec![(Part::Count, vec![-3])]),
        MomentsError::Count(-1)
    );
    assert_eq!(
        refused(vec![(Part::Count, vec![1 << 32])]),
        MomentsError::Count((1 << 32) + 2)
    );
    assert_eq!(
        refused(vec![(block.clone(), vec![0, -11, 0, 0, 0])]),
        MomentsError::ImpossibleColumn { column: 0, rows: 2 }
    );
    assert_eq!(
        refused(vec![(block.clone(), vec![0, 0, 99, 0, 0])]),
        MomentsError::ImpossibleColumn { column: 0, rows: 2 }
    );
    assert_eq!(
        refused(vec![(block.clone(), vec![0, 0, 0, 99, 0])]),
        MomentsError::ImpossibleColumn { column: 1, rows: 2 }
    );
    assert_eq!(
        refused(vec![(block.clone(), vec![-1, 0, 0, 0, 0])]),
        MomentsError::LabelTotal
    );
    assert_eq!(
        refused(vec![(Part::Label("x".into()), vec![-2, 0, 0])]),
        MomentsError::ImpossibleLabel("x".into())
    );
    assert_eq!(
        refused(vec![(Part::Label("y".into()), vec![1, 0, 0])]),
        MomentsError::LabelTotal
    );
    assert_eq!(
        refused(vec![(Part::Columns(1), vec![1])]),
        MomentsError::UnknownBlock { width: 2, block: 1 }
    );
    let length = MomentsError::PartLength {
        part: block.clone(),
        width: 2,
        found: 1,
        expected: 5,
    };
    assert_eq!(refused(vec![(block.clone(), vec![1])]), length);
    let overflow = vec![(block.clone(), vec![i128::MAX, 0, 0, 0, 0]); 2];
    assert_eq!(refused(overflow), MomentsError::Overflow(block));
    let wider = Moments::empty(3).unwrap();
    assert_eq!(
        wider.merge(&state(&[])),
        Err(MomentsError::MixedWidths { left: 3, right: 2 })
    );
}

#[test]
fn retracting_a_row_that_was_never_there_is_noticed() {
    assert_eq!(
        state(&[]).retract(&state(&[[1, 2]])),
        Err(MomentsError::Count(-1))
    );
    assert!(state(&[[1, 2]]).retract(&state(&[[9, 9]])).is_err());
}
