//! The owner's side again: what an answer makes of its key.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::Activator;

use super::Answer;
use super::keys::Keys;
use super::tally::{Tally, Work};
use crate::job::Job;
use crate::operators::{Change, Load, Report, Round};
use crate::storage::Key;

/// Turns `answers`, and what was `known` without, into changes and reports of them; `ask` is activated for what is next.
pub fn answer<'scope>(
    job: Arc<Job>,
    known: StreamVec<'scope, Round, (Key, Change)>,
    answers: StreamVec<'scope, Round, Answer>,
    keys: Rc<RefCell<Keys>>,
    ask: Activator,
    tally: Rc<Tally>,
) -> (
    StreamVec<'scope, Round, (Key, Change)>,
    StreamVec<'scope, Round, Report>,
) {
    let mut builder = OperatorBuilder::new("Answer".to_owned(), known.scope());
    let mut known = builder.new_input(known, Pipeline);
    let mut answers = builder.new_input(
        answers,
        Exchange::new(|answer: &Answer| answer.asker as u64),
    );
    let (rows_out, rows) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let mut rows_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<(Key, Change)>>>::from(rows_out);
    let mut reports_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Report>>>::from(reports_out);
    builder.build(move |_| {
        let features = job.features;
        move |_| {
            if job.failure.is_set() {
                return;
            }
            let mut give = |at: &[Capability<Round>; 2], key, change: Change, work: &Work| {
                tally.changed(*at[0].time(), &change, work);
                let load = Load {
                    count: 1,
                    bytes: change.bytes(features),
                };
                rows_out.activate().session(&at[0]).give((key, change));
                let report = Report::Extracted(load);
                reports_out.activate().session(&at[1]).give(report);
            };
            known.for_each(|time, data| {
                let at = [time.retain(0), time.retain(1)];
                for (key, change) in data.drain(..) {
                    give(&at, key, change, &Work::default());
                }
            });
            answers.for_each(|time, data| {
                let at = [time.retain(0), time.retain(1)];
                let mut keys = keys.borrow_mut();
                for answer in data.drain(..) {
                    let key = answer.key;
                    if let Some((change, work)) = keys.judge(answer) {
                        give(&at, key, change, &work);
                    }
                }
                ask.activate();
            });
        }
    });
    (rows, reports)
}
