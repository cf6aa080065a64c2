//! Nothing a producer or an upload can say stops the job, and nothing of it is lost.

use std::path::Path;

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::succeed;
use crate::shared::{loud, shared};
use crate::world::{Layout, World, picture};

keep_on_all_servers!(
    unreadable_messages_become_rejects_with_their_place,
    a_reject_gives_way_to_a_good_upload_and_back,
    a_reject_by_a_limit_is_a_row_once_the_limit_is_raised,
    bad_images_meet_their_verdicts_and_good_ones_their_rows,
    awkward_keys_are_kept_verbatim,
);

fn unreadable_messages_become_rejects_with_their_place(servers: Backend) {
    let world = servers.world(1);
    world.send(0, b"not json");
    world.send(0, br#"{"Event":"s3:TestEvent"}"#);
    world.send(0, br#"{"some":"thing"}"#);
    world.upload(0, 1, "a/1.png", picture(1));
    let elsewhere = br#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"2026-11-03T09:15:27.912Z","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"private"},"object":{"key":"k.png","size":1,"eTag":"e","sequencer":"01"}}}]}"#;
    world.send(0, elsewhere);
    world.run(Layout::TWO, "");
    let rejects = world.rejects();
    let place = |place: &str| format!("kafka://{}/0/{place}", world.servers.topic);
    assert!(rejects.keys().eq(&["0", "2", "4#0"].map(place)));
    assert_eq!(rejects[&place("4#0")].reason, "bucket-not-configured");
    assert_eq!(world.rows().len(), 1);
    // Rejects survive a restart, once.
    world.upload(0, 2, "a/2.png", picture(2));
    world.run(Layout::TWO, "");
    assert_eq!((world.rows().len(), world.rejects().len()), (2, 3));
}

fn a_reject_gives_way_to_a_good_upload_and_back(servers: Backend) {
    let world = servers.world(1);
    world.upload(0, 1, "a/1.png", &b"no image"[..]);
    world.run(Layout::TWO, "");
    assert_eq!((world.rows().len(), world.rejects().len()), (0, 1));
    world.upload(0, 2, "a/1.png", picture(1));
    world.run(Layout::TWO, "");
    assert_eq!((world.rows().len(), world.rejects().len()), (1, 0));
    world.upload(0, 3, "a/1.png", &b"no image again"[..]);
    world.run(Layout::TWO, "");
    assert_eq!((world.rows().len(), world.rejects().len()), (0, 1));
    world.remove(0, 4, "a/1.png");
    world.run(Layout::TWO, "");
    assert_eq!((world.rows().len(), world.rejects().len()), (0, 0));
}

fn a_reject_by_a_limit_is_a_row_once_the_limit_is_raised(servers: Backend) {
    let world = servers.world(1);
    world.upload(0, 1, "a/1.png", picture(1));
    world.upload(0, 1, "a/2.png", picture(2));
    world.run(Layout::TWO, "[limits]\nimage_pixels = 16\n");
    let rejects = world.rejects();
    assert_eq!((world.rows().len(), rejects.len()), (0, 2));
    // An event that says what was known: of the first it is judged anew, by the limits of this run.
    let replay = |key: &str| {
        let mut replay = world.command();
        replay.arg("replay").arg(world.path_of(key)).arg("--config");
        succeed(replay.arg(world.config("")));
    };
    replay("a/1.png");
    world.run(Layout::TWO, "");
    let of = |key: &str| world.path_of(key);
    assert!(world.rows().into_keys().eq([of("a/1.png")]));
    assert!(world.rejects().into_keys().eq([of("a/2.png")]));
    // Judged again by the same limits, a reject stays one.
    replay("a/2.png");
    world.run(Layout::TWO, "[limits]\nimage_pixels = 16\n");
    let again = &world.rejects()[&of("a/2.png")];
    let before = &rejects[&of("a/2.png")];
    assert_eq!((&again.reason, &again.etag), (&before.reason, &before.etag));
}

/// What poison may cost a job, in KiB.
const POISON_KIB_MAX: u64 = 200 << 10;

/// Runs a job over these files until each has its row or reject; the peak of its memory in KiB.
fn peak_of<'a>(
    servers: Backend,
    folder: &Path,
    files: impl Iterator<Item = &'a str>,
) -> (World, u64) {
    let world = servers.world(2);
    let mut sent = 0;
    for file in files {
        let bytes = std::fs::read(folder.join(file)).expect("an input");
        world.upload(sent % 2, 1, file, bytes);
        sent += 1;
    }
    let job = world.start(Layout::TWO, "", &[]).pop().expect("a process");
    world.wait_for(|state| {
        let of = |name: &str| state[name].as_i64().unwrap_or(0);
        of("rows") + of("rejects") == i64::from(sent)
    });
    let peak_kib = job.peak_kib();
    job.signal(libc::SIGTERM);
    let output = job.wait();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    (world, peak_kib)
}

fn bad_images_meet_their_verdicts_and_good_ones_their_rows(servers: Backend) {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    let verdicts = std::fs::read_to_string(folder.join("EXPECT.tsv")).expect("the verdicts");
    let verdicts: Vec<Vec<&str>> = verdicts
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect())
        .collect();
    // The job with all of them, and with the good ones alone.
    let good = verdicts.iter().filter(|verdict| verdict[4] == "decode");
    let (world, peak_kib) = peak_of(servers, &folder, verdicts.iter().map(|v| v[0]));
    let (_, baseline_kib) = peak_of(servers, &folder, good.map(|v| v[0]));
    let grown_kib = peak_kib.saturating_sub(baseline_kib);
    loud(&format!(
        "poison on {}: the job's memory peaks at {peak_kib} KiB, without it at {baseline_kib} KiB",
        servers.name()
    ));
    assert!(grown_kib < POISON_KIB_MAX, "{grown_kib} KiB more");
    let (rows, rejects) = (world.rows(), world.rejects());
    assert_eq!(rows.len() + rejects.len(), verdicts.len());
    for verdict in verdicts {
        let path = world.path_of(verdict[0]);
        match verdict[4] {
            "decode" => assert!(rows.contains_key(&path), "{path}: {:?}", rejects.get(&path)),
            "reject" => assert!(rejects.contains_key(&path), "{path} has a row"),
            _ => {}
        }
    }
}

fn awkward_keys_are_kept_verbatim(servers: Backend) {
    let Some(file) = shared("data/bad-inputs/KEYS.json") else {
        return;
    };
    let keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).expect("the keys")).expect("JSON");
    let keys: Vec<&str> = keys["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| key.as_str().expect("text"))
        .collect();
    let world = servers.world(2);
    for (i, key) in keys.iter().enumerate() {
        world.upload(i as i32 % 2, 1, key, picture(i as u64));
    }
    world.run(Layout::TWO, "");
    let rows = world.rows();
    for key in keys {
        let row = rows
            .get(&world.path_of(key))
            .unwrap_or_else(|| panic!("{key:?} has no row"));
        let label = key.rsplit('/').nth(1).map(str::to_owned);
        assert_eq!(row.label, label);
    }
}
