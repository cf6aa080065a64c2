//! Nothing a producer or an upload can say stops the job, and nothing of it is lost.

use crate::backend::{Backend, keep_on_all_servers};
use crate::shared::shared;
use crate::world::{Layout, picture};

keep_on_all_servers!(
    unreadable_messages_become_rejects_with_their_place,
    a_reject_gives_way_to_a_good_upload_and_back,
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

fn bad_images_meet_their_verdicts_and_good_ones_their_rows(servers: Backend) {
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
    let world = servers.world(2);
    let verdicts = std::fs::read_to_string(folder.join("EXPECT.tsv")).expect("the verdicts");
    let verdicts: Vec<Vec<&str>> = verdicts
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect())
        .collect();
    for (i, verdict) in verdicts.iter().enumerate() {
        let bytes = std::fs::read(folder.join(verdict[0])).expect("an input");
        world.upload(i as i32 % 2, 1, verdict[0], bytes);
    }
    world.run(Layout::TWO, "");
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
