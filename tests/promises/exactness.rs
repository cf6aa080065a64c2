//! The published state is a function of the live objects alone.

use std::collections::BTreeMap;

use eigenflow::event::{Change, render};
use eigenflow::moments::{Moments, Part, Sums};
use eigenflow::table::Row;

use crate::world::{Layout, Published, World, event, picture};

const LAYOUTS: [Layout; 5] = [
    Layout {
        workers: 1,
        processes: 1,
    },
    Layout {
        workers: 2,
        processes: 1,
    },
    Layout {
        workers: 4,
        processes: 1,
    },
    Layout {
        workers: 1,
        processes: 2,
    },
    Layout {
        workers: 2,
        processes: 2,
    },
];

/// A history with everything that goes wrong with events, over 3 partitions; the pictures that live in the end.
fn history(world: &World) -> BTreeMap<String, u64> {
    let mut live = BTreeMap::new();
    let mut late = Vec::new();
    for i in 0..60 {
        let key = format!("class {}/{i}.png", i % 4);
        world.upload(i % 3, i64::from(i), &key, picture(i as u64));
        live.insert(key, i as u64);
    }
    for i in 0..60 {
        let key = format!("class {}/{i}.png", i % 4);
        let etag = |seed| Some(world.put(&key, picture(seed)).etag);
        match i % 6 {
            0 => {
                // Overwritten; the old event comes again, later and elsewhere.
                let old = etag(i);
                let new = etag(1000 + i);
                late.push((
                    (i as i32 + 1) % 3,
                    event(Change::Created, &key, new.clone(), 1000),
                ));
                late.push((i as i32 % 3, event(Change::Created, &key, new, 1000)));
                late.push((
                    (i as i32 + 2) % 3,
                    event(Change::Created, &key, old, i as i64),
                ));
                live.insert(key, 1000 + i);
            }
            1 => {
                // Deleted, and the delete overtakes a repeated create.
                world.remove(i as i32 % 3, 1000, &key);
                late.push((
                    i as i32 % 3,
                    event(Change::Created, &key, Some("gone".into()), i as i64),
                ));
                live.remove(&key);
            }
            2 => {
                // The same bytes once more.
                late.push((i as i32 % 3, event(Change::Created, &key, etag(i), 1000)));
            }
            _ => {}
        }
    }
    for (partition, event) in late {
        world.send(partition, &render(&event));
    }
    // Deleted before it was heard to be created.
    world.send(
        0,
        &render(&event(Change::Removed, "never/seen.png", None, 2000)),
    );
    world.send(
        1,
        &render(&event(
            Change::Created,
            "never/seen.png",
            Some("x".into()),
            1999,
        )),
    );
    live
}

/// The moments of a table's own rows by plain integer loops.
fn moments_of(rows: &BTreeMap<String, Row>) -> Moments {
    let d = 768;
    let (mut columns, mut labels) = (
        vec![Vec::new(); d / 32],
        BTreeMap::<String, Vec<i128>>::new(),
    );
    let on_grid = |row: &Row| -> Vec<i128> {
        row.features
            .iter()
            .map(|x| (f64::from(*x) * 4_194_304.0).round_ties_even() as i128)
            .collect()
    };
    let grid: Vec<Vec<i128>> = rows.values().map(on_grid).collect();
    for (block, sums) in columns.iter_mut().enumerate() {
        for j in block * 32..(block + 1) * 32 {
            sums.push(grid.iter().map(|x| x[j]).sum::<i128>());
            sums.extend((j..d).map(|i| grid.iter().map(|x| x[i] * x[j]).sum::<i128>()));
        }
    }
    for (row, x) in rows.values().zip(&grid) {
        let label = row.label.clone().expect("a label");
        let sums = labels.entry(label).or_insert_with(|| vec![0; d + 1]);
        sums[0] += 1;
        sums[1..].iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
    let count = std::iter::once((Part::Count, vec![rows.len() as i128]));
    let columns = columns
        .into_iter()
        .enumerate()
        .map(|(block, sums)| (Part::Columns(block as u32), sums));
    let labels = labels
        .into_iter()
        .map(|(label, sums)| (Part::Label(label), sums));
    let parts = count
        .chain(columns)
        .chain(labels)
        .map(|(part, sums)| (part, Sums::from(sums)));
    Moments::from_parts(d, parts).expect("sums of rows")
}

#[test]
fn state_and_rows_are_equal_for_every_layout_and_cut() {
    let mut first: Option<Published> = None;
    for layout in LAYOUTS {
        for rows in [7, 100_000] {
            let world = World::new(3);
            let live = history(&world);
            world.run(
                layout,
                &format!("[projection]\ncomponents = 5\n[publish]\nrows = {rows}\n"),
            );
            let published = Published::of(&world);
            let paths: Vec<_> = published.rows.iter().map(|row| row.path.clone()).collect();
            let expected: Vec<_> = live
                .keys()
                .map(|key| format!("s3://landing/{key}"))
                .collect();
            assert_eq!(paths, expected, "{layout:?}");
            assert_eq!(
                published.moments,
                moments_of(&world.rows()).sha256(),
                "{layout:?}"
            );
            let features = |seed| -> Vec<f32> {
                let decoded = image::load_from_memory(&picture(seed))
                    .expect("a picture")
                    .into_rgb8();
                decoded
                    .into_raw()
                    .into_iter()
                    .map(|v| f32::from(v) / 255.0)
                    .collect()
            };
            for (row, seed) in published.rows.iter().zip(live.values()) {
                assert_eq!(row.features, features(*seed), "{}", row.path);
            }
            match &first {
                None => first = Some(published),
                Some(first) => assert_eq!(first, &published, "{layout:?}, epochs of {rows} rows"),
            }
        }
    }
}

#[test]
fn deleting_everything_leaves_the_empty_state() {
    let world = World::new(2);
    for i in 0..20 {
        world.upload(i % 2, 1, &format!("a/{i}.png"), picture(i as u64));
    }
    world.run(LAYOUTS[1], "");
    assert_eq!(world.rows().len(), 20);
    for i in 0..20 {
        world.remove(i % 2, 2, &format!("a/{i}.png"));
    }
    world.run(LAYOUTS[0], "");
    assert!(world.rows().is_empty());
    assert_eq!(
        world.inspect()["moments_sha256"],
        Moments::empty(768).expect("a width").sha256()
    );
}

#[test]
fn a_wrong_clock_does_not_pin_a_row() {
    let world = World::new(1);
    let far_future_ms = 4_000_000_000_000;
    world.upload(0, far_future_ms, "a/1.png", picture(1));
    world.run(LAYOUTS[0], "");
    let old = world.rows();
    world.upload(0, 1, "a/1.png", picture(2));
    world.run(LAYOUTS[0], "");
    let new = world.rows();
    let path = "s3://landing/a/1.png";
    assert_ne!(old[path].features, new[path].features);
    world.remove(0, 2, "a/1.png");
    world.run(LAYOUTS[0], "");
    assert!(world.rows().is_empty());
}

#[test]
fn an_object_that_is_gone_leaves_neither_row_nor_reject() {
    let world = World::new(1);
    let created = event(Change::Created, "a/1.png", Some("e".into()), 1);
    world.send(0, &render(&created));
    world.upload(0, 1, "a/2.png", picture(2));
    world.run(LAYOUTS[1], "");
    assert_eq!((world.rows().len(), world.rejects().len()), (1, 0));
}
