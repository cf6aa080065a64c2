//! k-means of all rows: every worker has some, worker 0 leads.
//!
//! ```text
//!   files ──> deal (every worker its files) ── rows, by key ──┐
//!                                                             v
//!            ┌──── asks, to all ────> answer (every worker: its rows) ────┐
//!   lead (worker 0)                                                       │
//!            ^──────────────── answers, a round later ────────────────────┘
//! ```
//! A round is a pass over the rows. What is asked and how answers add up is [`crate::clusters`]'; nothing depends on who has which rows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use anyhow::{Context, Result};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Capability, ConnectLoop, Feedback};

use super::models::{ModelFiles, Models};
use super::{Host, Round, Tasks};
use crate::clusters::{Answer, Ask, ClusterError, Lead, Members, Options, Outcome, Step};
use crate::job::{FILES_IN_FLIGHT, Points};
use crate::storage::{Key, key_of};
use crate::table::{DataFile, Point};

/// What is asked for, with m, the number of reduced features. Worker 0's.
pub type Wanted = (Options, usize);

/// The clusters of the rows of `files` under the projection of `models`, at worker 0. Nothing comes where nothing is `wanted`.
pub fn cluster<'scope, H: Host>(
    host: Arc<H>,
    files: StreamVec<'scope, Round, (usize, DataFile)>,
    models: StreamVec<'scope, Round, ModelFiles>,
    wanted: StreamVec<'scope, Round, Wanted>,
) -> StreamVec<'scope, Round, Result<Box<Outcome>, ClusterError>> {
    let scope = files.scope();
    let (back, answers) = scope.feedback(1);
    let led = lead(host.clone(), wanted, answers);
    let rows = deal(host.clone(), files, models);
    answer(host, rows, led.asks.broadcast()).connect_loop(back);
    led.found
}

/// A question, with the seed and m, so that whoever answers need know nothing else.
type Question = (Ask, u64, usize);

struct Led<'scope> {
    asks: StreamVec<'scope, Round, Question>,
    found: StreamVec<'scope, Round, Result<Box<Outcome>, ClusterError>>,
}

/// The answers of a round, and the rights to speak on either output.
type Came = ([Capability<Round>; 2], Vec<Answer>);

/// Asks one question a round, until nothing is left to ask.
fn lead<'scope, H: Host>(
    host: Arc<H>,
    wanted: StreamVec<'scope, Round, Wanted>,
    answers: StreamVec<'scope, Round, Answer>,
) -> Led<'scope> {
    let scope = wanted.scope();
    let peers = scope.peers();
    let mut builder = OperatorBuilder::new("Lead".to_owned(), scope);
    let mut wanted = builder.new_input(wanted, Exchange::new(|_: &Wanted| 0));
    let mut answers = builder.new_input(answers, Exchange::new(|_: &Answer| 0));
    let (asks_out, asks) = builder.new_output();
    let (found_out, found) = builder.new_output();
    let mut asks_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Question>>>::from(asks_out);
    let mut found_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(found_out);
    builder.build(move |_| {
        let mut leading: Option<(Lead, u64, usize)> = None;
        let mut came: BTreeMap<Round, Came> = BTreeMap::new();
        move |_frontiers| {
            wanted.for_each(|time, data| {
                for (options, width) in data.drain(..) {
                    let seed = options.seed;
                    match Lead::new(options, width) {
                        Ok((lead, ask)) => {
                            leading = Some((lead, seed, width));
                            let at = time.retain(0);
                            asks_out.activate().session(&at).give((ask, seed, width));
                        }
                        Err(error) => {
                            let at = time.retain(1);
                            found_out.activate().session(&at).give(Err(error));
                        }
                    }
                }
            });
            answers.for_each(|time, data| {
                let round = came
                    .entry(*time.time())
                    .or_insert_with(|| ([time.retain(0), time.retain(1)], Vec::new()));
                round.1.append(data);
            });
            while let Some(round) = came.first_entry()
                && round.get().1.len() == peers
                && let Some((lead, seed, width)) = &mut leading
                && !host.failure().is_set()
            {
                let ([asks_at, found_at], answers) = round.remove();
                match lead.take(answers) {
                    Ok(Step::Ask(ask)) => {
                        let question = (ask, *seed, *width);
                        asks_out.activate().session(&asks_at).give(question);
                    }
                    Ok(Step::Done(outcome)) => {
                        found_out.activate().session(&found_at).give(Ok(outcome));
                    }
                    Err(error) => found_out.activate().session(&found_at).give(Err(error)),
                }
            }
        }
    });
    Led { asks, found }
}

/// A row: its key, its label, its reduced features.
type Dealt = (Key, Option<String>, Vec<f32>);

/// The rows of the files, each to the worker of its key: files are of all sizes, and a small table has one or two.
fn deal<'scope, H: Host>(
    host: Arc<H>,
    files: StreamVec<'scope, Round, (usize, DataFile)>,
    models: StreamVec<'scope, Round, ModelFiles>,
) -> StreamVec<'scope, Round, Dealt> {
    let scope = files.scope();
    let mut builder = OperatorBuilder::new("Deal".to_owned(), scope);
    let mut tasks: Tasks<Vec<Point>> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &host);
    let by_number = Exchange::new(|(number, _): &(usize, DataFile)| *number as u64);
    let mut files = builder.new_input(files, by_number);
    let mut models = builder.new_input(models, Pipeline);
    let (output, rows) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Dealt>>>::from(output);
    builder.build(move |_| {
        let mut queue: VecDeque<DataFile> = VecDeque::new();
        let mut under: Option<Points> = None;
        let mut right: Option<Capability<Round>> = None;
        move |frontiers| {
            files.for_each(|time, data| {
                right.get_or_insert_with(|| time.retain(0));
                queue.extend(data.drain(..).map(|(_, file)| file));
            });
            models.for_each(|_, data| {
                for files in data.drain(..) {
                    match Models::open(&files) {
                        Ok(models) => {
                            let files = || host.tables().rows.clone();
                            let projection = models.projection().cloned();
                            under = projection.map(|stored| Points::new(files(), stored));
                        }
                        Err(error) => host.failure().set(error),
                    }
                }
            });
            while let Some(read) = tasks.finished() {
                if let Some(right) = &right {
                    let mut output = output.activate();
                    output
                        .session(right)
                        .give_iterator(read.into_iter().filter_map(dealt));
                }
            }
            while tasks.running() < FILES_IN_FLIGHT
                && let Some(points) = &under
                && let Some(file) = queue.pop_front()
            {
                let points = points.clone();
                tasks.spawn(async move {
                    let name = file.name.clone();
                    points.of(file, false).await.context(name)
                });
            }
            let read = frontiers[0].is_empty() && queue.is_empty() && tasks.running() == 0;
            if read && !host.failure().is_set() {
                right = None;
            }
        }
    });
    rows
}

fn dealt(point: Point) -> Option<Dealt> {
    let (_, reduced) = point.reduced?;
    Some((key_of(&point.path), point.label, reduced))
}

/// Answers for the rows that come here.
fn answer<'scope, H: Host>(
    host: Arc<H>,
    rows: StreamVec<'scope, Round, Dealt>,
    asks: StreamVec<'scope, Round, Question>,
) -> StreamVec<'scope, Round, Answer> {
    let mut builder = OperatorBuilder::new("ClusterAnswer".to_owned(), rows.scope());
    let by_key = Exchange::new(|(key, ..): &Dealt| *key as u64);
    let mut rows = builder.new_input(rows, by_key);
    let mut asks = builder.new_input(asks, Pipeline);
    let (output, answers) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Answer>>>::from(output);
    builder.build(move |_| {
        let mut asked: VecDeque<(Capability<Round>, Question)> = VecDeque::new();
        let mut mine: Vec<Dealt> = Vec::new();
        let mut members: Option<Members> = None;
        move |frontiers| {
            rows.for_each(|_, data| mine.append(data));
            asks.for_each(|time, data| {
                asked.extend(data.drain(..).map(|question| (time.retain(0), question)));
            });
            if !frontiers[0].is_empty() || host.failure().is_set() {
                return;
            }
            while let Some((at, (ask, seed, width))) = asked.pop_front() {
                let members = members.get_or_insert_with(|| {
                    let mut members = Members::new(width, seed);
                    for (key, label, reduced) in mine.drain(..) {
                        members.push(key, label.as_deref(), &reduced);
                    }
                    members
                });
                let answer = members.answer(&ask);
                output.activate().session(&at).give(answer);
            }
        }
    });
    answers
}
