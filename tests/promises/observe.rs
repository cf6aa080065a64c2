//! What a running job tells of itself over HTTP: it equals what the job did, and only who may see it does.

use std::collections::BTreeMap;
use std::io::Read;

use differential_dataflow::Hashable;
use eigenflow::table::Row;
use serde_json::Value;

use crate::backend::{Backend, keep_on_all_servers};
use crate::caller::{Listening, get, open};
use crate::promtool;
use crate::world::{Layout, SMALL_EPOCHS, World, picture};
use eigenflow::storage::key_of;

keep_on_all_servers!(
    metrics_and_state_equal_what_the_job_did_over_two_processes,
    a_process_without_keys_computes_images_of_another,
    the_map_is_the_published_table_and_its_pictures_are_of_nothing_else,
    what_a_browser_has_is_not_sent_again_and_a_restart_forgets_no_projection,
);

/// The job's processes, each with a server of its own.
fn listen(world: &World, layout: Layout, more: &str) -> Vec<Listening> {
    let processes = world.processes(layout, more, &[]);
    processes.into_iter().map(Listening::start).collect()
}

/// Ends the job in good order; its processes' logs.
fn end(processes: Vec<Listening>) -> Vec<String> {
    processes[0].process.signal(libc::SIGTERM);
    let ended = processes.into_iter().map(|listening| {
        let output = listening.process.wait();
        let log = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{}: {log}", output.status);
        log
    });
    ended.collect()
}

/// The samples of an exposition, summed over all processes.
fn scrape(processes: &[Listening]) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for process in processes {
        let answer = process.get("/metrics");
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .head
                .contains("application/openmetrics-text; version=1.0.0")
        );
        let text = answer.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert_eq!(promtool::complaint(&text), None, "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            *samples.entry(name.to_owned()).or_default() += value.parse::<f64>().expect("a number");
        }
    }
    samples
}

/// The sum of a metric over the values of its labels.
fn sum(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of = |(sample, _): &(&String, &f64)| sample.split('{').next() == Some(name);
    samples.iter().filter(of).map(|(_, value)| value).sum()
}

fn state(process: &Listening, what: impl Fn(&Value) -> bool) -> Value {
    let path = "/api/state";
    process
        .until(path, |answer| answer.status == 200 && what(&answer.json()))
        .json()
}

fn a_process_without_keys_computes_images_of_another(servers: Backend) {
    let world = servers.world(1);
    // An even hash is the first of two workers'.
    let of_first = |key: &String| key_of(&world.path_of(key)).hashed().is_multiple_of(2);
    let keys = (0..).map(|i| format!("a/{i}.png")).filter(of_first);
    for (i, key) in keys.take(12).enumerate() {
        world.upload(0, 1, &key, picture(i as u64));
    }
    let job = listen(&world, Layout::PROCESSES, "");
    world.wait_for(|state| state["rows"] == 12);
    let [first, second] = [&job[..1], &job[1..]].map(scrape);
    let keys = [&first, &second].map(|samples| sum(samples, "eigenflow_live_keys"));
    let images = [&first, &second].map(|samples| sum(samples, "eigenflow_images_total"));
    assert_eq!(keys, [12.0, 0.0]);
    assert_eq!(images[0] + images[1], 12.0);
    assert!(images[1] >= 4.0, "{images:?}");
    end(job);
}

fn metrics_and_state_equal_what_the_job_did_over_two_processes(servers: Backend) {
    let world = servers.world(2);
    let job = listen(&world, Layout::PROCESSES, SMALL_EPOCHS);
    for i in 0..6 {
        world.upload(i % 2, 1, &format!("a/{i}.png"), picture(i as u64));
    }
    world.upload(1, 1, "a/broken.png", &b"no image"[..]);
    world.send(0, b"no event");
    world.wait_for(|state| state["rows"] == 6 && state["rejects"] == 2);
    world.remove(0, 2, "a/0.png");
    world.wait_for(|state| state["rows"] == 5);

    let read = |state: &Value| -> Option<i64> {
        let partitions = state["lag"]["partitions"].as_array()?;
        partitions
            .iter()
            .map(|partition| partition["read"].as_i64())
            .sum()
    };
    // Each process tells once a second.
    let told = state(&job[0], |state| {
        let totals = &state["totals"];
        totals["events"] == 8 && totals["rows"] == 5 && read(state) == Some(9)
    });
    let samples = scrape(&job);
    let inspected = world.inspect();
    let bytes: usize = (0..6).map(|i| picture(i).len()).sum::<usize>() + b"no image".len();
    for (name, expected) in [
        (
            "eigenflow_events_total{dialect=\"aws\",outcome=\"created\"}",
            7.0,
        ),
        (
            "eigenflow_events_total{dialect=\"aws\",outcome=\"removed\"}",
            1.0,
        ),
        (
            "eigenflow_events_total{dialect=\"unknown\",outcome=\"rejected\"}",
            1.0,
        ),
        ("eigenflow_rejects_total{reason=\"not-json\"}", 1.0),
        (
            "eigenflow_rejects_total{reason=\"unsupported-format\"}",
            1.0,
        ),
        ("eigenflow_fetch_duration_seconds_count", 7.0),
        ("eigenflow_fetched_bytes_total", bytes as f64),
        ("eigenflow_decode_duration_seconds_count", 6.0),
        ("eigenflow_extract_duration_seconds_count", 6.0),
        ("eigenflow_changes_total", 9.0),
        ("eigenflow_table_rows", 5.0),
        ("eigenflow_table_rejects", 2.0),
        (
            "eigenflow_epoch",
            inspected["epoch"].as_f64().expect("a number"),
        ),
    ] {
        assert_eq!(samples.get(name), Some(&expected), "{name}: {samples:#?}");
    }
    assert_eq!(sum(&samples, "eigenflow_images_total"), 6.0);
    assert_eq!(sum(&samples, "eigenflow_rejects_total"), 2.0);
    assert_eq!(sum(&samples, "eigenflow_live_keys"), 7.0);
    let commits = &samples["eigenflow_commit_duration_seconds_count"];
    assert_eq!(*commits, samples["eigenflow_epoch"]);
    // Both processes tell of their partition and their memory.
    state(&job[0], |state| state["lag"]["offsets"] == 0);
    let samples = scrape(&job);
    for partition in 0..2 {
        assert_eq!(
            samples[&format!("eigenflow_lag_offsets{{partition=\"{partition}\"}}")],
            0.0
        );
    }

    assert_eq!(told["totals"]["images"], 6);
    assert_eq!(told["totals"]["rows"], 5);
    assert_eq!(told["totals"]["rejects"], 2);
    assert_eq!(told["totals"]["fetched_bytes"], bytes);
    assert_eq!(told["epoch"]["published"], inspected["epoch"]);
    assert_eq!(told["health"]["verdict"], "well", "{told}");
    assert_eq!(told["job"]["backbone"], "pixels");
    let processes = told["processes"].as_array().expect("processes");
    assert_eq!(processes.len(), 2);
    assert!(
        processes
            .iter()
            .all(|process| process["resident_bytes"].as_u64() > Some(1 << 20))
    );
    let rejects = told["rejects"].as_array().expect("rejects");
    let mut reasons: Vec<&str> = rejects
        .iter()
        .filter_map(|r| r["reason"].as_str())
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["not-json", "unsupported-format"]);

    // The page is the first process's.
    for path in ["/", "/api/state", "/api/points", "/assets/page.js"] {
        assert_eq!(job[1].get(path).status, 404, "{path}");
    }
    let logs = end(job);
    let story = logs[0]
        .lines()
        .rfind(|line| line.contains("committed"))
        .expect("commits");
    let story: Value = serde_json::from_str(story).expect("JSON, where nobody looks");
    for (field, expected) in [("rows", 5), ("added", 0), ("removed", 1), ("rejects", 2)] {
        assert_eq!(story["fields"][field], expected, "{story}");
    }
}

/// The points of the map by path: label and place.
fn points(map: &Value) -> BTreeMap<String, (String, f64, f64)> {
    let (points, paths) = (&map["points"], &map["paths"]);
    let listed = points
        .as_array()
        .expect("points")
        .iter()
        .zip(paths.as_array().expect("paths"));
    let point = |(point, path): (&Value, &Value)| {
        let label = point[1].as_u64().expect("a label") as usize;
        let number = |at: usize| point[at].as_f64().expect("a number");
        let label = map["labels"][label].as_str().expect("a label").to_owned();
        (
            path.as_str().expect("a path").to_owned(),
            (label, number(2), number(3)),
        )
    };
    listed.map(point).collect()
}

fn the_map_is_the_published_table_and_its_pictures_are_of_nothing_else(servers: Backend) {
    let world = servers.world(1);
    for i in 0..12 {
        world.upload(0, 1, &format!("class {}/{i}.png", i % 3), picture(i));
    }
    world.upload(0, 1, "class 0/broken.png", &b"no image"[..]);
    world.put("class 0/unannounced.png", picture(77));
    world.run(Layout::TWO, "");
    let processes = listen(&world, Layout::ONE, SMALL_EPOCHS);
    let job = &processes[0];
    let map = job
        .until("/api/points", |answer| {
            answer.status == 200 && answer.json()["of"] == 12
        })
        .json();
    let places = points(&map);
    let rows = world.rows();
    assert!(places.keys().eq(rows.keys()), "{places:?}");
    for (path, row) in &rows {
        let reduced = row.reduced_features.as_ref().expect("reduced features");
        let place = (
            row.label.clone().unwrap_or_default(),
            f64::from(reduced[0]),
            f64::from(reduced[1]),
        );
        let shown = &places[path];
        assert_eq!(
            (&shown.0, shown.1 as f32, shown.2 as f32),
            (&place.0, place.1 as f32, place.2 as f32)
        );
        assert_eq!(map["projection_version"].as_i64(), row.projection_version);
    }

    let escape =
        |path: &str| url::form_urlencoded::byte_serialize(path.as_bytes()).collect::<String>();
    let thumbnail = |path: &str| job.get(&format!("/api/thumbnail?path={}", escape(path)));
    let known = thumbnail(&world.path_of("class 1/4.png"));
    assert_eq!(known.status, 200, "{}", known.text());
    assert!(known.head.contains("image/jpeg"), "{}", known.head);
    let drawn = image::load_from_memory(&known.body).expect("a picture");
    assert_eq!((drawn.width(), drawn.height()), (16, 16));
    for path in [
        world.path_of("class 0/broken.png"),
        world.path_of("class 0/unannounced.png"),
        world.path_of("class 1/../class 1/4.png"),
        format!("{}/_delta_log/00000000000000000000.json", world.servers.uri),
        "file:///etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        String::new(),
    ] {
        let refused = thumbnail(&path);
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (404, "no such row\n"),
            "{path}"
        );
    }
    assert_eq!(job.get("/api/thumbnail").status, 404);

    // What happens is told to who listens, until the end.
    let mut stream = open(&job.address, "/api/stream", "").expect("a stream");
    world.upload(0, 2, "class 4/new.png", picture(99));
    world.remove(0, 2, "class 0/0.png");
    let of = |map: &Value| {
        map["of"] == 12
            && map["labels"]
                .as_array()
                .is_some_and(|labels| labels.len() == 4)
    };
    let later = job.until("/api/points", |answer| of(&answer.json())).json();
    let now: Vec<String> = points(&later).into_keys().collect();
    let rows: BTreeMap<String, Row> = world.rows();
    assert!(now.iter().eq(rows.keys()));
    assert!(later["commit"].as_u64() > map["commit"].as_u64());
    // What was told is kept for the listener; the job's end is what has a limit.
    end(processes);
    let mut told = String::new();
    stream
        .read_to_string(&mut told)
        .expect("a stream that ends");
    let events: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(events.first(), Some(&"state"), "{told}");
    assert_eq!(events.last(), Some(&"end"), "{told}");
    assert!(
        events.contains(&"points") || events.contains(&"reload"),
        "{told}"
    );
    assert!(told.contains(r#"{"reason":"it was stopped"}"#), "{told}");
}

fn what_a_browser_has_is_not_sent_again_and_a_restart_forgets_no_projection(servers: Backend) {
    let world = servers.world(1);
    let upload = |epoch: u64| {
        for i in 0..6 {
            let name = format!("class {}/{epoch}-{i}.png", i % 2);
            world.upload(0, epoch as i64, &name, picture(10 * epoch + i));
        }
    };
    for epoch in 1..4 {
        upload(epoch);
        world.run(Layout::ONE, SMALL_EPOCHS);
    }
    let start = || listen(&world, Layout::ONE, SMALL_EPOCHS).remove(0);
    let job = start();
    let plain = job.until("/api/points", |answer| {
        answer.status == 200 && answer.json()["of"] == 18
    });
    let ask = |path: &str, header: &str| get(&job.address, path, header).expect("an answer");
    let gzip = ask("/api/points", "accept-encoding: gzip\r\n");
    assert!(
        gzip.head.contains("content-encoding: gzip"),
        "{}",
        gzip.head
    );
    let mut text = String::new();
    let mut unpacked = flate2::read::GzDecoder::new(&gzip.body[..]);
    unpacked.read_to_string(&mut text).expect("gzip");
    assert_eq!(text, plain.text());
    let bucket = &world.servers.bucket;
    let thumbnail = format!("/api/thumbnail?path=s3%3A%2F%2F{bucket}%2Fclass%201%2F2-1.png&row=1");
    for path in ["/api/points", &thumbnail] {
        let answer = ask(path, "");
        assert_eq!(answer.status, 200, "{path}");
        let etag = answer.head.lines().find_map(|l| l.strip_prefix("etag: "));
        let etag = etag.expect("an etag").replace("w/", "W/");
        let again = ask(path, &format!("if-none-match: {etag}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let other = ask(path, "if-none-match: W/\"0-0\"\r\n");
        assert_eq!(other.body, answer.body, "{path}");
    }

    // Nobody holds the stream: the map rests, and catches up when it is asked for.
    upload(4);
    world.wait_for(|state| state["rows"] == 24);
    job.until("/api/points", |answer| answer.json()["of"] == 24);
    let fits = |state: &Value| state["history"].as_array().map_or(0, Vec::len);
    let before = state(&job, |state| fits(state) >= 4);
    end(vec![job]);
    let job = start();
    let after = state(&job, |state| fits(state) >= fits(&before));
    let told = |state: &Value| -> Vec<Value> {
        let fits = state["history"].as_array().expect("projections").iter();
        let fit = |fit: &Value| serde_json::json!([fit["version"], fit["rows"], fit["tested"]]);
        fits.map(fit).collect()
    };
    assert_eq!(told(&after), told(&before));
    end(vec![job]);
}

#[test]
fn who_may_not_see_it_is_told_how_and_sees_nothing() {
    let world = World::new(1);
    let with = format!("{SMALL_EPOCHS}[observe]\ntoken = \"open-sesame\"\n");
    let job = listen(&world, Layout::ONE, &with);
    let [locked] = &job[..] else {
        panic!("one process")
    };
    locked.until("/readyz", |answer| answer.status == 200);
    for (path, free) in [
        ("/livez", true),
        ("/", true),
        ("/assets/page.css", true),
        ("/metrics", false),
        ("/api/state", false),
        ("/api/points", false),
        ("/api/stream", false),
        ("/api/thumbnail?path=s3://landing/a", false),
    ] {
        for (header, shown) in [
            ("", false),
            ("authorization: Bearer open-sesam\r\n", false),
            ("authorization: Bearer open-sesame\r\n", true),
        ] {
            // A stream would go on.
            if shown && path == "/api/stream" {
                continue;
            }
            let answer = get(&locked.address, path, header).expect("an answer");
            assert_eq!(answer.status != 401, free || shown, "{path} {header}");
            for header in [
                "content-security-policy: default-src 'none'",
                "x-content-type-options: nosniff",
            ] {
                assert!(answer.head.contains(header), "{path}: {}", answer.head);
            }
        }
    }
    let elsewhere = get(&locked.address, "/api/none", "").expect("an answer");
    assert_eq!(elsewhere.status, 404);
    for log in end(job) {
        assert!(!log.contains("sesame"), "{log}");
    }

    let job = listen(&world, Layout::ONE, SMALL_EPOCHS);
    let [open] = &job[..] else {
        panic!("one process")
    };
    open.until("/api/state", |answer| answer.status == 200);
    let foreign = get(&open.address, "/api/state", "host: page.example\r\n").expect("an answer");
    assert_eq!(foreign.status, 403);
    assert!(
        foreign.text().contains("observe.token"),
        "{}",
        foreign.text()
    );
    let huge = format!("x-huge: {}\r\n", "x".repeat(1 << 20));
    assert!(get(&open.address, "/livez", &huge).is_none_or(|answer| answer.status == 431));
    assert_eq!(open.get("/livez").status, 200);
    end(job);
}
