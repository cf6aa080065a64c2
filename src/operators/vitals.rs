//! How every process is, told to process 0 while the job runs.
//!
//! Where somebody may ask process 0 for it (it has a board), worker 0 says so to all; from then on the first worker of each process
//! sends one record a second to worker 0. Otherwise nothing is ever sent. The stream leads nowhere else and belongs to no
//! round, so it holds up neither rounds nor epochs; it ends when the last epoch is committed, which is when the cuts end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::ToStream;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;

use super::{Cut, Round};
use crate::job::Job;
use crate::observe::Vitals;

const INTERVAL: Duration = Duration::from_secs(1);

/// Tells process 0's board how each process is, until the `cuts` end. Each process has so many `workers`.
pub fn vitals<'scope>(job: Arc<Job>, cuts: StreamVec<'scope, Round, Cut>, workers: usize) {
    let told = tell(job.clone(), cuts, workers);
    let mut builder = OperatorBuilder::new("Board".to_owned(), told.scope());
    let mut told = builder.new_input(told, Exchange::new(|_: &Vitals| 0));
    builder.build(move |_| {
        move |frontiers| {
            let Some(board) = &job.board else {
                return told.for_each(|_, data| data.clear());
            };
            told.for_each(|_, data| data.drain(..).for_each(|vitals| board.hear(vitals)));
            if frontiers[0].is_empty() {
                board.end();
            }
        }
    });
}

fn tell<'scope>(
    job: Arc<Job>,
    cuts: StreamVec<'scope, Round, Cut>,
    workers: usize,
) -> StreamVec<'scope, Round, Vitals> {
    let scope = cuts.scope();
    let index = scope.index();
    let asked = (index == 0 && job.board.is_some()).then_some(());
    let asked = asked.to_stream(scope).container::<Vec<_>>().broadcast();
    let mut builder = OperatorBuilder::new("Vitals".to_owned(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut cuts = builder.new_input_connection(cuts, Pipeline, []);
    let mut asked = builder.new_input_connection(asked, Pipeline, []);
    let (output, told) = builder.new_output_connection([]);
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Vitals>>>::from(output);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop().filter(|_| index.is_multiple_of(workers));
        let (mut wanted, mut due) = (false, Instant::now());
        move |frontiers| {
            cuts.for_each(|_, data| data.clear());
            asked.for_each(|_, data| wanted |= !std::mem::take(data).is_empty());
            let unasked = frontiers[1].is_empty() && !wanted;
            let Some(held) = capability.as_ref().filter(|_| !unasked) else {
                capability = None;
                return;
            };
            let last = frontiers[0].is_empty();
            if wanted && (last || Instant::now() >= due) {
                let vitals = Vitals::now(index / workers, &job.metrics, [&job.store, &job.broker]);
                output.activate().session(held).give(vitals);
                due = Instant::now() + INTERVAL;
                activator.activate_after(INTERVAL);
            }
            if last {
                capability = None;
            }
        }
    });
    told
}
