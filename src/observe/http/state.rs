//! `/api/state`: how the job is, all processes together, and the lists of what it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State as Extracted;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::stream::News;
use super::{Site, json};
use crate::config::Components;
use crate::job::Job;
use crate::observe::board::{Board, Event, Heard};
use crate::observe::{Health, Vitals, now_ms};

/// Every process tells of itself once a second.
const SILENT: Duration = Duration::from_secs(5);
/// A job whose events wait longer than this, beyond the interval of its commits, is behind.
const BEHIND_S: f64 = 30.0;

/// The state and the lists.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    state: State<'a>,
    history: Vec<Fit>,
    rejects: Vec<Reject<'a>>,
}

/// How the job is at one moment.
#[derive(Serialize)]
pub struct State<'a> {
    now: i64,
    started: i64,
    job: About<'a>,
    health: Verdict,
    totals: Totals,
    rates: Rates,
    lag: Lag,
    epoch: Epoch,
    processes: Vec<Process>,
    projection: Option<Projection>,
}

#[derive(Serialize)]
struct About<'a> {
    version: &'static str,
    table: &'a str,
    topic: &'a str,
    backbone: &'a str,
    features: usize,
    components: usize,
}

#[derive(Debug, PartialEq, Serialize)]
struct Verdict {
    verdict: &'static str,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct Totals {
    events: u64,
    images: u64,
    rows: u64,
    rejects: u64,
    fetched_bytes: u64,
    failures: Failures,
}

#[derive(Serialize)]
struct Failures {
    store: u64,
    broker: u64,
}

#[derive(Serialize)]
struct Rates {
    images: f64,
    events: f64,
}

#[derive(Serialize)]
struct Lag {
    offsets: u64,
    seconds: Option<f64>,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    read: i64,
    high: i64,
}

#[derive(Serialize)]
struct Epoch {
    published: i64,
    commit: u64,
    committed: Option<i64>,
    rounds_in_flight: u64,
    frontier_age: f64,
}

#[derive(Serialize)]
struct Process {
    index: usize,
    resident_bytes: u64,
    heard: i64,
    workers: Vec<Worker>,
}

#[derive(Serialize)]
struct Worker {
    index: usize,
    images: u64,
    rate: f64,
    busy: f64,
}

#[derive(Serialize)]
struct Projection {
    version: i64,
    rows: u64,
    explained_variance_ratio: Vec<f64>,
}

#[derive(Serialize)]
struct Fit {
    version: i64,
    at: i64,
    rows: u64,
    drift_degrees: Option<f64>,
    explained: f64,
    tested: u64,
    correct: u64,
}

#[derive(Serialize)]
struct Reject<'a> {
    path: &'a str,
    reason: &'a str,
    at: i64,
}

/// The state and the lists, as JSON.
pub async fn answer(Extracted(site): Extracted<Arc<Site>>) -> Response {
    let (job, board) = match site.job() {
        Ok(known) => known,
        Err(refusal) => return refusal.into_response(),
    };
    let heard = board.look();
    let whole = Whole {
        state: state(job, board, &heard, &site.health),
        history: history(&heard),
        rejects: rejects(&heard),
    };
    // Numbers, texts and lists: there is nothing that JSON could not say.
    json(serde_json::to_string(&whole).unwrap_or_default())
}

/// The lists as news: those that have changed since `told`, or all.
pub fn lists(heard: &Heard, told: Option<&Heard>) -> Vec<serde_json::Result<News>> {
    let mut lists = Vec::new();
    if told.is_none_or(|told| !Arc::ptr_eq(&told.fitted, &heard.fitted)) {
        lists.push(News::new("history", &history(heard)));
    }
    if told.is_none_or(|told| !Arc::ptr_eq(&told.refused, &heard.refused)) {
        lists.push(News::new("rejects", &rejects(heard)));
    }
    lists
}

fn history(heard: &Heard) -> Vec<Fit> {
    heard.fitted.iter().map(fit).collect()
}

fn rejects(heard: &Heard) -> Vec<Reject<'_>> {
    heard.refused.iter().map(reject).collect()
}

/// Images a second, all processes together.
pub fn images_rate(heard: &Heard) -> f64 {
    let processes = heard.processes.values();
    processes
        .map(|records| rate(records, |v| images(v) as f64))
        .sum()
}

/// Messages that are not yet read.
pub fn waiting(heard: &Heard) -> u64 {
    let latest = heard.processes.values().filter_map(VecDeque::back);
    let partitions = latest.flat_map(|(_, event)| &event.what.partitions);
    partitions.map(|(_, lag)| lag.offsets()).sum()
}

/// How the job is, by what was `heard` of it.
pub fn state<'a>(job: &'a Job, board: &Board, heard: &Heard, health: &Health) -> State<'a> {
    let commit = board.commits().borrow().clone();
    let commit = commit.map(|event| event.what).unwrap_or_default();
    let lag = lag(heard);
    let latest = || {
        heard
            .processes
            .values()
            .filter_map(|records| Some(&records.back()?.1.what))
    };
    let total = |count: fn(&Vitals) -> u64| latest().map(count).sum();
    let config = &job.config;
    State {
        now: now_ms(),
        started: health.started_ms(),
        job: About {
            version: env!("CARGO_PKG_VERSION"),
            table: &config.table.uri,
            topic: &config.kafka.topic,
            backbone: &config.backbone.name,
            features: job.features,
            components: match (&commit.projection, config.projection.components) {
                (Some(fitted), _) => fitted.explained_variance_ratio.len(),
                (None, Components::Count(count)) => count,
                (None, Components::Ratio(_)) => 0,
            },
        },
        health: verdict(
            health,
            heard,
            &lag,
            config.publish.interval_ms as f64 / 1e3 + BEHIND_S,
        ),
        totals: Totals {
            events: total(|vitals| vitals.events),
            images: total(images),
            rows: commit.rows,
            rejects: commit.rejects,
            fetched_bytes: total(|vitals| vitals.fetched_bytes),
            failures: Failures {
                store: total(|vitals| vitals.store_failures),
                broker: total(|vitals| vitals.broker_failures),
            },
        },
        rates: Rates {
            images: images_rate(heard),
            events: heard
                .processes
                .values()
                .map(|records| rate(records, |v| v.events as f64))
                .sum(),
        },
        lag,
        epoch: Epoch {
            published: commit.epoch,
            commit: commit.version,
            committed: heard.committed_ms,
            rounds_in_flight: job.metrics.rounds_in_flight.get().unwrap_or(0.0) as u64,
            frontier_age: job.metrics.frontier_age.get().unwrap_or(0.0),
        },
        processes: heard.processes.values().filter_map(process).collect(),
        projection: commit.projection.map(|fitted| Projection {
            version: fitted.version,
            rows: fitted.rows,
            explained_variance_ratio: fitted.explained_variance_ratio,
        }),
    }
}

fn images(vitals: &Vitals) -> u64 {
    vitals.workers.iter().map(|worker| worker.images).sum()
}

fn fit(event: &Event<crate::observe::Fitted>) -> Fit {
    let fitted = &event.what;
    Fit {
        version: fitted.version,
        at: event.at_ms,
        rows: fitted.rows,
        drift_degrees: fitted.drift_rad.map(f64::to_degrees),
        explained: fitted.explained(),
        tested: fitted.tested,
        correct: fitted.correct,
    }
}

fn reject(refused: &crate::observe::Refused) -> Reject<'_> {
    Reject {
        path: &refused.path,
        reason: &refused.reason,
        at: refused.at_ms,
    }
}

type Records = VecDeque<(Instant, Event<Vitals>)>;

/// What a second brings of a count that only grows, over what is remembered; 0 of a process that is silent.
fn rate(records: &Records, count: impl Fn(&Vitals) -> f64) -> f64 {
    let (Some((first, then)), Some((last, now))) = (records.front(), records.back()) else {
        return 0.0;
    };
    let elapsed_s = last.duration_since(*first).as_secs_f64();
    if elapsed_s == 0.0 || last.elapsed() > SILENT {
        return 0.0;
    }
    (count(&now.what) - count(&then.what)) / elapsed_s
}

fn process(records: &Records) -> Option<Process> {
    let (_, latest) = records.back()?;
    let worker = |position: usize| {
        let of = move |vitals: &Vitals| vitals.workers.get(position).cloned().unwrap_or_default();
        let now = of(&latest.what);
        Worker {
            index: now.index,
            images: now.images,
            rate: rate(records, |vitals| of(vitals).images as f64),
            busy: rate(records, |vitals| of(vitals).cpu_s).clamp(0.0, 1.0),
        }
    };
    Some(Process {
        index: latest.what.process,
        resident_bytes: latest.what.resident_bytes,
        heard: latest.at_ms,
        workers: (0..latest.what.workers.len()).map(worker).collect(),
    })
}

fn lag(heard: &Heard) -> Lag {
    let latest = heard
        .processes
        .values()
        .filter_map(|records| records.back());
    let mut partitions: Vec<_> = latest
        .flat_map(|(_, event)| &event.what.partitions)
        .collect();
    partitions.sort_unstable_by_key(|(number, _)| *number);
    let partition = |(number, lag): &&(i32, crate::observe::Lag)| Partition {
        partition: *number,
        read: lag.next,
        high: lag.high,
    };
    Lag {
        offsets: waiting(heard),
        seconds: partitions
            .iter()
            .filter_map(|(_, lag)| lag.seconds())
            .reduce(f64::max),
        partitions: partitions.iter().map(partition).collect(),
    }
}

/// One word for the whole, the worst first, and why.
fn verdict(health: &Health, heard: &Heard, lag: &Lag, behind_s: f64) -> Verdict {
    let say = |verdict, reasons| Verdict { verdict, reasons };
    if health.is_stopping() {
        return say("stopping", health.obstacles());
    }
    if heard.over {
        let reason = "everything is read and published: the job ends";
        return say("stopping", vec![reason.to_owned()]);
    }
    let mut troubles = health.stalls();
    for (process, records) in &heard.processes {
        let Some((at, event)) = records.back() else {
            continue;
        };
        if at.elapsed() > SILENT {
            let silent_s = at.elapsed().as_secs();
            troubles.push(format!("process {process} is silent since {silent_s} s"));
        }
        let named = |trouble: &String| match heard.processes.len() {
            1 => trouble.clone(),
            _ => format!("process {process}: {trouble}"),
        };
        troubles.extend(event.what.troubles.iter().map(named));
    }
    if !troubles.is_empty() {
        return say("trouble", troubles);
    }
    let obstacles = health.obstacles();
    if !obstacles.is_empty() {
        return say("restoring", obstacles);
    }
    match lag.seconds.filter(|age| *age > behind_s) {
        Some(age) => {
            let waiting = lag.offsets;
            say(
                "behind",
                vec![format!(
                    "{waiting} messages wait; the newest that was read is {age:.0} s old"
                )],
            )
        }
        None => say("well", Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::WorkerVitals;

    fn vitals(process: usize, images: u64, lag: Option<(i64, i64, i64)>) -> Vitals {
        let partition = |(next, high, read_ms)| {
            let read_ms = Some(read_ms);
            (
                process as i32,
                crate::observe::Lag {
                    next,
                    high,
                    read_ms,
                },
            )
        };
        Vitals {
            process,
            workers: vec![WorkerVitals {
                index: process,
                images,
                cpu_s: 0.0,
            }],
            partitions: lag.into_iter().map(partition).collect(),
            ..Vitals::default()
        }
    }

    fn ready() -> Health {
        let health = Health::default();
        health.worker().restored();
        health
    }

    #[test]
    fn the_worst_is_said_first() {
        let (board, health) = (Board::default(), ready());
        let say = |health: &Health| {
            let heard = board.look();
            verdict(health, &heard, &super::lag(&heard), 60.0)
        };
        assert_eq!(say(&health).verdict, "well");
        board.hear(vitals(0, 1, Some((5, 5, 0))));
        assert_eq!(say(&health).verdict, "well");
        board.hear(vitals(1, 1, Some((5, 9, now_ms() - 61_000))));
        let behind = say(&health);
        assert!(
            behind.verdict == "behind" && behind.reasons[0].starts_with("4 messages"),
            "{behind:?}"
        );
        board.hear(Vitals {
            troubles: vec!["the store is unwell".to_owned()],
            ..vitals(1, 1, None)
        });
        assert_eq!(say(&health).reasons, ["process 1: the store is unwell"]);
        assert_eq!(say(&Health::default()).verdict, "trouble");
        board.hear(vitals(1, 1, None));
        assert_eq!(say(&Health::default()).verdict, "restoring");
        health.stop();
        assert_eq!(say(&health).verdict, "stopping");
    }

    #[test]
    fn a_rate_is_of_what_was_heard_and_nothing_before() {
        let board = Board::default();
        board.hear(vitals(0, 100, None));
        let rate = |board: &Board| super::rate(&board.look().processes[&0], |v| images(v) as f64);
        assert_eq!(rate(&board), 0.0);
        std::thread::sleep(Duration::from_millis(20));
        board.hear(vitals(0, 110, None));
        let rate = rate(&board);
        assert!(rate > 0.0 && rate <= 500.0, "{rate}");
    }
}
