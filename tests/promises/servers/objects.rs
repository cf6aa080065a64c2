//! What a real store does that a folder doesn't: versions, parts, prefixes without end, keys that it does not know.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use eigenflow::event::Change;
use futures::StreamExt;

use super::cluster::cluster;
use super::kafka::PLAINTEXT;
use super::streams::{expected, history, published};
use crate::process::{outcome, succeed};
use crate::world::{Layout, SMALL_EPOCHS, World, event, picture};

#[test]
fn a_versioned_bucket_has_the_rows_of_its_newest_versions() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 3);
    let enabled = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    world.block_on(async {
        let client = world.servers.s3.client().await.expect("a client");
        let bucket = client.put_bucket_versioning().bucket(&world.servers.bucket);
        let answer = bucket.versioning_configuration(enabled).send().await;
        answer.expect("a store that keeps versions");
    });
    assert!(world.put("probe", "x").version_id.is_some());
    world.delete("probe");
    history(&world);
    world.run(Layout::TWO, SMALL_EPOCHS);
    assert_eq!(published(&world), expected(history));
}

/// Uploads in parts; the etag that the store gave the whole.
async fn put_in_parts(world: &World, key: &str, parts: &[&[u8]]) -> String {
    let client = world.servers.s3.client().await.expect("a client");
    let bucket = &world.servers.bucket;
    let begun = client.create_multipart_upload().bucket(bucket).key(key);
    let begun = begun.send().await.expect("an upload in parts");
    let id = begun.upload_id().expect("its name");
    let mut sent = CompletedMultipartUpload::builder();
    for (number, part) in (1..).zip(parts) {
        let upload = client.upload_part().bucket(bucket).key(key).upload_id(id);
        let upload = upload.part_number(number).body(part.to_vec().into());
        let etag = upload.send().await.expect("a part").e_tag.expect("its tag");
        let part = CompletedPart::builder().part_number(number).e_tag(etag);
        sent = sent.parts(part.build());
    }
    let whole = client.complete_multipart_upload().bucket(bucket).key(key);
    let whole = whole.upload_id(id).multipart_upload(sent.build());
    let etag = whole.send().await.expect("the whole").e_tag;
    etag.expect("its tag").trim_matches('"').to_owned()
}

#[test]
fn an_object_of_parts_is_one_row_under_its_own_kind_of_etag() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 1);
    // A part but the last has 5 MiB at least; what follows a picture's end is no harm.
    let picture = picture(1);
    let padded = [&picture[..], &vec![0; 5 << 20]].concat();
    let etag = world.block_on(put_in_parts(&world, "a/parts.png", &[&padded, b"the end"]));
    assert!(etag.ends_with("-2"), "{etag}");
    let mut said = event(Change::Created, "a/parts.png", Some(etag.clone()), 1);
    said.bucket.clone_from(&world.servers.bucket);
    for _ in 0..2 {
        world.send(0, &eigenflow::event::render(&said));
        world.run(Layout::TWO, "");
    }
    let rows = world.rows();
    let etags: Vec<&str> = rows.values().map(|row| row.etag.as_str()).collect();
    assert_eq!((etags, world.rejects().len()), (vec![&*etag], 0));
}

#[test]
fn ten_thousand_objects_under_one_prefix_are_replayed_and_reconciled() {
    const OBJECTS: u64 = 10_000;
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 2);
    world.block_on(async {
        let client = world.servers.s3.client().await.expect("a client");
        let puts = futures::stream::iter((0..OBJECTS).map(|i| {
            let put = client.put_object().bucket(&world.servers.bucket);
            put.key(format!("many/{i}.png"))
                .body(picture(i % 100).into())
                .send()
        }));
        let answers: Vec<_> = puts.buffer_unordered(32).collect().await;
        assert!(answers.iter().all(Result::is_ok));
    });
    let config = world.config("");
    let bucket = format!("s3://{}/", world.servers.bucket);
    let ask = |command: &str| {
        let mut asked = world.command();
        asked.args([command, &bucket, "--config"]).arg(&config);
        String::from_utf8(succeed(&mut asked).stdout).expect("text")
    };
    ask("replay");
    world.run(Layout::TWO, "");
    assert_eq!(world.rows().len() as u64, OBJECTS);
    let found = ask("reconcile");
    let well = "0 missing, 0 changed, 0 gone, 0 rejected, 10000 as they should be";
    assert!(found.starts_with(well), "{found}");
}

#[test]
fn keys_that_the_store_does_not_know_are_said_and_not_repeated() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 1);
    world.upload(0, 1, "a/1.png", picture(1));
    let config = world.config("");
    for (name, wrong) in [
        ("AWS_SECRET_ACCESS_KEY", "open-barley"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
    ] {
        let mut command = world.command();
        command
            .args(["run", "--until-end", "--config"])
            .arg(&config);
        let output = outcome(command.env(name, wrong));
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("access denied"), "{log}");
        assert!(log.contains("check the AWS credentials"), "{log}");
        assert!(!log.contains("open-barley"), "{log}");
    }
}
