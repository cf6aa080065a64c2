use super::*;
use crate::moments::{Accumulator, Moments, quantise};
use crate::projection::{Components, Options, fit};

const WIDTH: usize = 4;

/// A projection of rows that vary most along `axis`, then along the next.
fn stored(version: i64, axis: usize) -> Arc<Stored> {
    let mut accumulator = Accumulator::new(WIDTH).unwrap();
    let mut grid = vec![0; WIDTH];
    for i in 0..64_usize {
        let feature = |j: usize| {
            let scale = [16.0, 4.0, 1.0, 0.25][(j + WIDTH - axis) % WIDTH];
            if i >> j & 1 == 0 { scale } else { -scale }
        };
        let features: Vec<f32> = (0..WIDTH).map(feature).collect();
        quantise(&features, &mut grid).unwrap();
        accumulator.add(&grid, None).unwrap();
    }
    let options = Options {
        components: Components::Count(WIDTH),
        standardise: false,
        ..Options::default()
    };
    let moments = Moments::from_parts(WIDTH, accumulator.drain()).unwrap();
    Arc::new(Stored {
        version,
        projection: fit(&moments, &options).unwrap(),
        drift: None,
    })
}

fn reduced(stored: &Stored, features: [f32; WIDTH]) -> Vec<f32> {
    let mut reduced = vec![0.0; WIDTH];
    stored.projection.reduce(&features, &mut reduced);
    reduced
}

fn row(path: &str, label: &str, stored: &Stored, features: [f32; WIDTH]) -> Reduction {
    Reduction {
        path: path.into(),
        label: Some(label.into()),
        reduced: Some((stored.version, reduced(stored, features))),
    }
}

fn file(name: &str, rows: Vec<Reduction>) -> File {
    File::new(name, rows, 0)
}

/// A commit of files of these names, of which some are new.
fn update(commit: u64, names: &[&str], new: Vec<File>, basis: &Arc<Stored>) -> Update {
    Update {
        commit,
        rows: 9,
        sample: 0,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        new,
        carries: HashMap::new(),
        basis: basis.clone(),
        turned: None,
    }
}

fn commit(points: &mut Points, names: &[&str], new: Vec<File>, basis: &Arc<Stored>) -> Change {
    points.apply(update(points.commit + 1, names, new, basis))
}

const A: [f32; WIDTH] = [3.0, 2.0, 0.0, 1.0];
const B: [f32; WIDTH] = [-1.0, 2.5, 7.0, 0.0];

#[test]
fn a_commit_tells_only_of_what_it_changed() {
    let basis = stored(1, 0);
    let mut points = Points::default();
    let first = vec![file(
        "f",
        vec![row("a", "x", &basis, A), row("b", "y", &basis, B)],
    )];
    assert!(matches!(
        commit(&mut points, &["f"], first, &basis),
        Change::All
    ));
    let (a, b) = (points.row("a").unwrap(), points.row("b").unwrap());

    // One row goes: the other comes in another file, as it was.
    let rewritten = vec![file("g", vec![row("a", "x", &basis, A)])];
    let Change::Some(delta) = commit(&mut points, &["g"], rewritten, &basis) else {
        panic!("a row went")
    };
    assert_eq!((delta.remove, delta.add.len()), (vec![b], 0));
    assert_eq!((points.row("a"), points.row("b")), (Some(a), None));

    // An overwrite moves it, under another number.
    let moved = vec![file("h", vec![row("a", "x", &basis, B)])];
    let Change::Some(delta) = commit(&mut points, &["h"], moved, &basis) else {
        panic!("a row moved")
    };
    assert_eq!(
        (delta.remove, delta.add.len(), delta.paths),
        (vec![a], 1, vec!["a".to_owned()])
    );
    assert_eq!((delta.labels.len(), delta.revision), (0, 3));

    // Of labels only those that are new.
    let labelled = vec![file("i", vec![row("c", "z", &basis, A)])];
    let Change::Some(delta) = commit(&mut points, &["h", "i"], labelled, &basis) else {
        panic!("a row came")
    };
    assert_eq!((delta.labels, delta.add[0].1), (vec!["z".to_owned()], 2));
    assert_eq!(points.all().labels, ["x", "y", "z"]);
    assert!(matches!(
        commit(&mut points, &["h", "i"], Vec::new(), &basis),
        Change::None
    ));

    // Rows that are not on the map are counted all the same.
    let more = Update {
        rows: 10,
        ..update(points.commit + 1, &["h", "i"], Vec::new(), &basis)
    };
    let Change::Some(delta) = points.apply(more) else {
        panic!("the table grew")
    };
    assert_eq!((delta.of, delta.add.len(), delta.remove.len()), (10, 0, 0));
    assert_eq!(delta.revision, points.all().revision);
}

#[test]
fn rows_of_an_older_projection_lie_where_the_newest_would_put_them() {
    let (old, new) = (stored(1, 0), stored(2, 1));
    let mut points = Points::default();
    commit(
        &mut points,
        &["f"],
        vec![file("f", vec![row("a", "x", &old, A)])],
        &old,
    );
    let turn = Carry::between(&old, &new).unwrap();
    assert!(turn.is_seen(&new) && !Carry::between(&new, &new).unwrap().is_seen(&new));

    let added = vec![file("g", vec![row("b", "x", &old, B)])];
    let change = points.apply(Update {
        turned: Some((new.clone(), turn)),
        ..update(2, &["f", "g"], added, &old)
    });
    assert!(matches!(change, Change::All));
    // And one that comes later still, by the way that was remembered.
    let late = [row("c", "x", &old, A)];
    assert_eq!(
        points.unknown(&[file("h", late.to_vec())], &new),
        Vec::<i64>::new()
    );
    commit(
        &mut points,
        &["f", "g", "h"],
        vec![file("h", late.to_vec())],
        &new,
    );
    for (path, features) in [("a", A), ("b", B), ("c", A)] {
        let (at, wanted) = (
            points.points[&key_of(path)].place(),
            reduced(&new, features),
        );
        let near = |a: f32, b: f32| (a - b).abs() < 1e-4;
        assert!(
            near(at.0, wanted[0]) && near(at.1, wanted[1]),
            "{path}: {at:?}, {wanted:?}"
        );
    }
    assert_eq!(points.all().projection_version, 2);
}

#[test]
fn a_projection_that_is_out_of_reach_leaves_its_rows_out() {
    let (old, new) = (stored(1, 0), stored(2, 1));
    let mut points = Points::default();
    let files = vec![file(
        "f",
        vec![row("a", "x", &old, A), row("b", "x", &new, A)],
    )];
    assert_eq!(points.unknown(&files, &new), [1]);
    commit(&mut points, &["f"], files, &new);
    assert_eq!(
        (points.row("a"), points.all().points.len(), points.all().of),
        (None, 1, 9)
    );
}

#[test]
fn a_large_table_is_sampled_by_its_paths() {
    assert_eq!([0, 1, 100_000].map(sample), [0, 0, 0]);
    assert_eq!(
        [100_001, 180_000, 180_001, 1_000_000].map(sample),
        [1, 1, 2, 4]
    );
    let basis = stored(1, 0);
    let rows: Vec<_> = (0..400)
        .map(|i| row(&i.to_string(), "x", &basis, A))
        .collect();
    let mut points = Points::default();
    let mut see = |sample, read: usize| {
        let unread = points.files(sample).is_empty();
        let new = unread.then(|| File::new("f", rows.clone(), sample));
        let new: Vec<File> = new.into_iter().collect();
        assert_eq!(new.len(), read);
        points.apply(Update {
            sample,
            ..update(1, &["f"], new, &basis)
        });
        points.points.len()
    };
    let (all, some) = (see(0, 1), see(2, 0));
    assert_eq!(all, 400);
    assert!((60..140).contains(&some), "{some}");
    // Back to all of them: they are read again.
    assert_eq!(see(0, 1), 400);
}

#[test]
fn of_a_file_only_what_the_map_keeps_is_held() {
    let wide = |i: usize| Reduction {
        path: i.to_string(),
        label: None,
        reduced: Some((1, vec![i as f32; 10 * KEPT])),
    };
    let file = File::new("f", (0..400).map(wide).collect(), 2);
    assert!((60..140).contains(&file.rows.len()));
    assert!(file.rows.capacity() < 200);
    for row in &file.rows {
        let (_, reduced) = row.reduced.as_ref().unwrap();
        assert_eq!((reduced.len(), reduced.capacity()), (KEPT, KEPT));
    }
}

#[test]
fn labels_are_bounded_whatever_keys_are_uploaded() {
    let basis = stored(1, 0);
    let mut points = Points::default();
    let labelled = |i: usize| row(&format!("{i}"), &format!("label {i}"), &basis, A);
    let rows = (0..LABELS_MAX + 3).map(labelled).collect();
    commit(&mut points, &["f"], vec![file("f", rows)], &basis);
    let labels = &points.labels;
    assert_eq!(labels.len(), LABELS_MAX + 1);
    assert_eq!(labels[LABELS_MAX], OTHER_LABELS);
    let of = |i: usize| points.points[&key_of(&i.to_string())].label;
    assert_eq!([0, LABELS_MAX - 1].map(of), [0, LABELS_MAX - 1]);
    assert_eq!([LABELS_MAX, LABELS_MAX + 2].map(of), [LABELS_MAX; 2]);
}
