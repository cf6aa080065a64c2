//! The side of who is asked: looks, from whichever worker they come.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::featurise::reject;
use super::look::{Seen, look};
use super::{Answer, Found, Look};
use crate::job::Job;
use crate::operators::{Round, Tasks};
use crate::storage::{Key, digest};

/// Looks, and answers at the round of what was asked.
pub fn serve<'scope>(
    job: Arc<Job>,
    looks: StreamVec<'scope, Round, Look>,
) -> StreamVec<'scope, Round, Answer> {
    let scope = looks.scope();
    let mut builder = OperatorBuilder::new("Serve".to_owned(), scope);
    let mut tasks = Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut looks = builder.new_input(looks, Exchange::new(|look: &Look| look.asked as u64));
    let (output, answers) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Answer>>>::from(output);
    builder.build(move |_| {
        // A key is looked at once at a time.
        let mut looking: HashMap<Key, Capability<Round>> = HashMap::new();
        move |_| {
            looks.for_each(|time, data| {
                for look in data.drain(..) {
                    looking.insert(look.hint.key, time.retain(0));
                    let job = job.clone();
                    tasks.spawn(async move { found(&job, look).await });
                }
            });
            while let Some(answer) = tasks.finished() {
                if let Some(at) = looking.remove(&answer.key) {
                    output.activate().session(&at).give(answer);
                }
            }
        }
    });
    answers
}

/// What is seen comes to, beside the etag that the key's row holds. An image waits for a worker of this process.
async fn found(job: &Arc<Job>, look_at: Look) -> Result<Answer> {
    let Look {
        asker,
        asked,
        hint,
        version,
        known,
        held,
    } = look_at;
    let key = hint.key;
    let found = match look(job, &hint, known).await? {
        Seen::Same => Found::Same,
        Seen::Gone => Found::Gone,
        Seen::Unreadable(why) => {
            Found::Unreadable(Box::new(reject(job, &hint, version, None, why)))
        }
        Seen::Object(fetched) if held == Some(digest(fetched.upload.meta.etag.as_bytes())) => {
            Found::Same
        }
        Seen::Object(fetched) => Found::Other(job.images.featurise(hint, version, fetched).await?),
    };
    Ok(Answer {
        asker,
        asked,
        key,
        found,
    })
}
