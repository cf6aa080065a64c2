use super::super::fit::tests::{moments_of, some_rows};
use super::super::{Components, Options, Projection, fit};
use super::*;

fn projection(rows: &[Vec<f32>], k: usize, standardise: bool) -> Projection {
    let options = Options {
        components: Components::Count(k),
        standardise,
        ..Options::default()
    };
    fit(&moments_of(rows), &options).unwrap()
}

fn reduced(projection: &Projection, row: &[f32]) -> Vec<f64> {
    projection.reduce_f64(&row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
}

#[test]
fn a_projection_does_not_drift_from_itself() {
    let same = projection(&some_rows(50, 8), 3, true);
    let still = drift(&same, &same).unwrap();
    assert!(
        still.angles_rad.iter().all(|angle| angle.abs() < 1e-14),
        "{:?}",
        still.angles_rad
    );
    for ((row, column), value) in still.rotation.indexed_iter() {
        assert!((value - f64::from(u8::from(row == column))).abs() < 1e-13);
    }
    assert!(still.shift.iter().all(|shift| shift.abs() < 1e-12));
}

#[test]
fn components_that_span_the_same_space_are_carried_over_exactly() {
    // All components of both: whatever moved, one is an affine map of the other.
    let (old_rows, new_rows) = (some_rows(50, 6), some_rows(90, 6)[30..].to_vec());
    let (old, new) = (
        projection(&old_rows, 6, true),
        projection(&new_rows, 6, true),
    );
    let step = drift(&old, &new).unwrap();
    assert!(step.angles_rad.iter().all(|angle| angle.abs() < 1e-12));
    for row in &new_rows {
        let (before, now) = (reduced(&old, row), reduced(&new, row));
        for (column, now) in now.iter().enumerate() {
            let carried: f64 = (0..6)
                .map(|i| before[i] * step.rotation[(i, column)])
                .sum::<f64>()
                + step.shift[column];
            assert!((carried - now).abs() < 1e-10);
        }
    }
}

/// Rows that vary along `directions` and, far less, along the other axes.
fn along(directions: [[f32; 3]; 2]) -> Vec<Vec<f32>> {
    let [a, b] = directions;
    (0..4)
        .map(|i| {
            let (s, t) = ([1.0, -1.0, 1.0, -1.0][i], [1.0, 1.0, -1.0, -1.0][i]);
            (0..3).map(|j| 4.0 * s * a[j] + 2.0 * t * b[j]).collect()
        })
        .collect()
}

#[test]
fn a_turned_plane_is_seen_as_its_angle() {
    // The plane of x and y against that of x and (0, 3, 4)/5.
    let old = projection(&along([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 2, false);
    let new = projection(&along([[1.0, 0.0, 0.0], [0.0, 0.75, 1.0]]), 2, false);
    let step = drift(&old, &new).unwrap();
    assert!(step.angles_rad[0].abs() < 1e-14);
    assert!(
        (step.angles_rad[1] - (4f64 / 3.0).atan()).abs() < 1e-12,
        "{:?}",
        step.angles_rad
    );
    assert!((step.rotation[[0, 0]].abs() - 1.0).abs() < 1e-12);
    assert!((step.rotation[[1, 1]].abs() - 0.6).abs() < 1e-12);
}

#[test]
fn a_lost_direction_is_a_right_angle() {
    let old = projection(&along([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 2, false);
    let new = projection(&along([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), 2, false);
    let angles = drift(&old, &new).unwrap().angles_rad;
    assert!(angles[0].abs() < 1e-14 && (angles[1] - std::f64::consts::FRAC_PI_2).abs() < 1e-12);
}

#[test]
fn versions_with_different_numbers_of_components_compare() {
    let rows = some_rows(50, 8);
    let (few, many) = (projection(&rows, 2, true), projection(&rows, 5, true));
    let step = drift(&few, &many).unwrap();
    assert_eq!(
        (step.angles_rad.len(), step.rotation.dim(), step.shift.len()),
        (2, (2, 5), 5)
    );
    assert!(
        step.angles_rad.iter().all(|angle| angle.abs() < 1e-12),
        "the few are among the many"
    );
    let other = projection(&some_rows(50, 9), 2, true);
    assert_eq!(
        drift(&few, &other),
        Err(ProjectionError::MixedWidths {
            previous: 8,
            current: 9
        })
    );
}

#[test]
fn projections_of_nothing_that_varies_still_compare() {
    let flat = projection(&vec![vec![1.0; 4]; 5], 2, true);
    let step = drift(&flat, &projection(&some_rows(20, 4), 2, true)).unwrap();
    assert!(
        step.rotation
            .iter()
            .chain(&step.shift)
            .all(|x| x.is_finite())
    );
}
