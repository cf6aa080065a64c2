//! Kafka in: one consumer a worker, partition p on worker p mod peers, no consumer group to rebalance.
//!
//! A tick is the permission to take up to so many messages; their events leave at the tick's round. Where to begin comes
//! with round 0 from the table's last commit. A message that names no object becomes a reject with its place in the
//! topic, so that nothing is lost. Partitions that are added to the topic meanwhile are read from their beginning.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::clock::Tick;
use super::discovery::Discovery;
use super::latest::{Content, Latest};
use super::{Hint, Read, Report, Round, kafka};
use crate::config::Start;
use crate::event::{self, Change, ObjectEvent};
use crate::job::Job;
use crate::observe::{Lag, Outcome};
use crate::storage::{digest, key_of, path_of};
use crate::table::Reject;

/// How often it is told how much waits.
const MEASURE: Duration = Duration::from_secs(1);
/// Most of an undecodable message that is kept in its reject.
const EXCERPT_BYTES: usize = 1024;

/// Reads what the `ticks` permit, beginning at the (partition, next offset) pairs of `begin` at round 0.
pub fn source<'scope>(
    job: Arc<Job>,
    ticks: StreamVec<'scope, Round, Tick>,
    begin: StreamVec<'scope, Round, (i32, i64)>,
) -> (
    StreamVec<'scope, Round, Read>,
    StreamVec<'scope, Round, Report>,
) {
    let scope = ticks.scope();
    let (index, peers) = (scope.index(), scope.peers());
    let mut builder = OperatorBuilder::new("Source".to_owned(), scope);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut begin = builder.new_input(begin, Pipeline);
    let (reads_out, reads) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let mut reads_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Read>>>::from(reads_out);
    let mut reports_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Report>>>::from(reports_out);
    builder.build(move |_| {
        let mut offsets = BTreeMap::new();
        let mut reader = None;
        let mut due: Vec<(Capability<Round>, Capability<Round>, Tick)> = Vec::new();
        move |frontiers| {
            begin.for_each(|_, data| offsets.extend(data.drain(..)));
            ticks.for_each(|time, data| {
                due.extend(
                    data.drain(..)
                        .map(|tick| (time.retain(0), time.retain(1), tick)),
                )
            });
            if job.failure.is_set() {
                due.clear();
            }
            if due.is_empty() || frontiers[1].less_equal(&0) {
                return;
            }
            if reader.is_none() {
                match Reader::open(&job, index, peers, &offsets) {
                    Ok(opened) => reader = Some(opened),
                    // It is to end, so there is nothing to read any more.
                    Err(_) if job.stop.is_asked() => {}
                    Err(error) => return job.failure.set(error),
                }
            }
            let Some(reader) = &mut reader else {
                for (_, reports_at, _) in due.drain(..) {
                    reports_out
                        .activate()
                        .session(&reports_at)
                        .give(unread(index));
                }
                return;
            };
            for (reads_at, reports_at, tick) in due.drain(..) {
                let mut output = reads_out.activate();
                let mut session = output.session(&reads_at);
                match reader.round(&job, tick.quota, |read| session.give(read)) {
                    Ok(Some(report)) => reports_out.activate().session(&reports_at).give(report),
                    Ok(None) => {}
                    Err(error) => return job.failure.set(error),
                }
            }
        }
    });
    (reads, reports)
}

/// One worker's partitions.
struct Reader {
    worker: usize,
    peers: usize,
    topic: CString,
    consumer: Arc<kafka::Consumer>,
    discovery: Discovery,
    /// Of each partition.
    places: HashMap<i32, Place>,
    /// Whether the end of the topic at this moment is where the job begins.
    settles: bool,
    /// What was reported last; nothing yet at first.
    told: Option<[bool; 3]>,
    ended: bool,
    measured: Instant,
}

struct Place {
    next: i64,
    /// Where the partition ended when the job began.
    end: i64,
    /// Where it ends now, as far as the broker has told.
    high: i64,
    /// The timestamp of the newest message that was read.
    read_ms: Option<i64>,
}

impl Place {
    fn new(next: i64, end: i64) -> Self {
        Place {
            next,
            end,
            high: end,
            read_ms: None,
        }
    }

    fn lag(&self) -> Lag {
        Lag {
            next: self.next,
            high: self.high,
            read_ms: self.read_ms,
        }
    }
}

impl Reader {
    fn open(
        job: &Job,
        index: usize,
        peers: usize,
        begin: &BTreeMap<i32, i64>,
    ) -> anyhow::Result<Self> {
        let config = &job.config.kafka;
        let consumer = kafka::consumer(config)?;
        let mine: Vec<i32> = kafka::connect(&consumer, config, &job.stop)?
            .into_iter()
            .filter(|p| *p as usize % peers == index)
            .collect();
        let mut places = HashMap::new();
        for &partition in &mine {
            let (low, high) = kafka::watermarks(&consumer, &config.topic, partition, &job.stop)?;
            // A partition that the last commit does not know was added since: all of it is news.
            let committed = begin.get(&partition).copied();
            let committed = committed.or((!begin.is_empty()).then_some(low));
            let next = kafka::first_offset(config, partition, committed, low, high)?;
            places.insert(partition, Place::new(next, high));
        }
        tracing::debug!(worker = index, partitions = ?mine, "reading");
        let reader = Reader {
            worker: index,
            peers,
            topic: CString::new(config.topic.as_str())?,
            consumer: Arc::new(consumer),
            discovery: Discovery::new(config),
            places,
            settles: begin.is_empty() && config.start == Start::Latest,
            told: None,
            ended: false,
            measured: Instant::now(),
        };
        reader.tell_lags(job);
        reader.assign(&config.topic)?;
        Ok(reader)
    }

    /// Takes up to `quota` messages that are there; a report if there is anything to tell.
    fn round(
        &mut self,
        job: &Job,
        quota: usize,
        mut give: impl FnMut(Read),
    ) -> anyhow::Result<Option<Report>> {
        // The first report tells where every partition begins, so that the first commit does.
        let mut moved: BTreeSet<i32> = match self.told {
            None => self.places.keys().copied().collect(),
            Some(_) => BTreeSet::new(),
        };
        // A bounded run ends where the topic ended at the start, so what is added since is not its business.
        if !job.until_end {
            self.widen(job)?;
        }
        // What is news from now on is settled by the commit that says where that began: nothing is read before.
        let quota = match self.settles {
            true if self.told.is_none() => 0,
            _ => quota,
        };
        let mut taken = 0;
        while taken < quota && !(job.until_end && self.ended) {
            match self.consumer.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    job.broker.succeeds();
                    taken += read(job, &message, &mut give);
                    if let Some(place) = self.places.get_mut(&message.partition()) {
                        place.next = message.offset() + 1;
                        place.high = place.high.max(place.next);
                        place.read_ms = message.timestamp().to_millis();
                        moved.insert(message.partition());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(place) = self.places.get_mut(&partition) {
                        // Behind the last record there may be control records, which are never delivered.
                        let topic = &job.config.kafka.topic;
                        let behind = kafka::position(&self.consumer, topic, partition);
                        if let Some(next) = behind.filter(|next| *next > place.next) {
                            place.next = next;
                            moved.insert(partition);
                        }
                        place.end = place.end.min(place.next);
                    }
                }
                Some(Err(error)) => self.judge(job, error)?,
            }
        }
        if self.measured.elapsed() >= MEASURE {
            self.measure();
            self.tell_lags(job);
        }
        self.ended = self.places.values().all(|place| place.next >= place.end);
        let full = quota > 0 && taken >= quota;
        let (ended, stop) = (self.ended, job.stop.is_asked());
        let news = self.told.replace([ended, full, stop]) != Some([ended, full, stop])
            || !moved.is_empty();
        let offsets = moved
            .into_iter()
            .map(|partition| (partition, self.places[&partition].next))
            .collect();
        Ok(news.then_some(Report::Read {
            worker: self.worker,
            offsets,
            waiting: self
                .places
                .values()
                .map(|place| place.lag().offsets())
                .sum(),
            ended,
            full,
            stop,
        }))
    }

    /// Takes in where the partitions end now.
    fn measure(&mut self) {
        self.measured = Instant::now();
        for (partition, place) in &mut self.places {
            let high = kafka::high(&self.consumer, &self.topic, *partition);
            place.high = high.unwrap_or(place.high).max(place.next);
        }
    }

    fn tell_lags(&self, job: &Job) {
        for (partition, place) in &self.places {
            job.metrics.lags.set(*partition, place.lag());
        }
    }

    /// Reads this worker's partitions that were added since, from their beginning on: all of it is news.
    fn widen(&mut self, job: &Job) -> anyhow::Result<()> {
        let topic = &job.config.kafka.topic;
        let found = self.discovery.poll(&job.runtime, &self.consumer, topic);
        let mine = |partition: &i32| *partition as usize % self.peers == self.worker;
        let mut added = found.into_iter().filter(mine).collect::<Vec<_>>();
        added.retain(|partition| !self.places.contains_key(partition));
        if added.is_empty() {
            return Ok(());
        }
        tracing::info!(partitions = ?added, "partitions were added to the topic");
        let places = added.into_iter().map(|added| (added, Place::new(0, 0)));
        self.places.extend(places);
        self.assign(topic)
    }

    fn assign(&self, topic: &str) -> anyhow::Result<()> {
        let places = self.places.iter();
        kafka::assign(
            &self.consumer,
            topic,
            places.map(|(partition, place)| (*partition, place.next)),
        )
    }

    /// Errors that end the job are returned; the others pass by themselves, as librdkafka retries.
    fn judge(&self, job: &Job, error: KafkaError) -> anyhow::Result<()> {
        let reason = self.consumer.context().reason().unwrap_or_default();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Err(kafka::lost(&job.config.kafka.topic, &reason))
            }
            // The group is for the lag tools alone.
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                tracing::warn!(
                    group = job.config.kafka.group,
                    "this Kafka user may not show progress in kafka.group; grant it READ on the group"
                );
                Ok(())
            }
            // A topic that was there and is gone won't come back with its offsets.
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(refused(job, &error, &reason)),
            _ if kafka::stands(&error) => Err(refused(job, &error, &reason)),
            _ => {
                job.broker.fails(format_args!("{error}: {reason}"));
                Ok(())
            }
        }
    }
}

/// The report of a worker that was asked to stop before the brokers answered.
fn unread(worker: usize) -> Report {
    Report::Read {
        worker,
        offsets: Vec::new(),
        waiting: 0,
        ended: false,
        full: false,
        stop: true,
    }
}

fn refused(job: &Job, error: &KafkaError, reason: &str) -> anyhow::Error {
    anyhow::anyhow!("topic {}: {error}: {reason}", job.config.kafka.topic)
}

/// Turns a message into hints and rejects. What it counts for: its records, or itself where it has none.
fn read(job: &Job, message: &BorrowedMessage, give: &mut impl FnMut(Read)) -> usize {
    // A compacted topic's null value: the message was withdrawn, and with it what it said.
    let Some(payload) = message.payload() else {
        return 1;
    };
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    let place = format!("kafka://{topic}/{partition}/{offset}");
    // The producer may stamp anything.
    let stamped_ms = message.timestamp().to_millis();
    let time_ms = stamped_ms
        .filter(|ms| event::TIME_MS_RANGE.contains(ms))
        .unwrap_or(0);
    let reject = |dialect: &'static str, path: String, reason, detail: String| {
        job.metrics.heard(dialect, Outcome::Rejected, 1);
        job.metrics.refuse(reason, &path);
        malformed(path, reason, detail, time_ms, payload)
    };
    let message = match event::parse(payload) {
        Ok(message) => message,
        Err(error) => {
            give(reject("unknown", place, error.reason(), error.to_string()));
            return 1;
        }
    };
    let dialect = message.dialect.word();
    job.metrics
        .heard(dialect, Outcome::SetUp, u64::from(message.set_up));
    job.metrics
        .heard(dialect, Outcome::Unchanged, message.unchanged as u64);
    let count = message.records.len().max(1);
    for (number, record) in message.records.into_iter().enumerate() {
        let place = || format!("{place}#{number}");
        give(match record {
            Ok(event) if !job.config.s3.buckets.contains(&event.bucket) => {
                job.tell_of_bucket(&event.bucket);
                let path = path_of(&event.bucket, &event.key);
                let detail = format!("{path}: the bucket is not among s3.buckets");
                reject(
                    event.dialect.word(),
                    place(),
                    "bucket-not-configured",
                    detail,
                )
            }
            Ok(event) => {
                let outcome = match event.change {
                    Change::Created => Outcome::Created,
                    Change::Removed => Outcome::Removed,
                };
                job.metrics.heard(event.dialect.word(), outcome, 1);
                Read::Hint(hint(event))
            }
            Err(error) => reject(dialect, place(), error.reason(), error.to_string()),
        });
    }
    count
}

fn malformed(path: String, reason: &str, detail: String, time_ms: i64, payload: &[u8]) -> Read {
    let excerpt =
        String::from_utf8_lossy(&payload[..payload.len().min(EXCERPT_BYTES)]).into_owned();
    let key = key_of(&path);
    let reject = Reject {
        path,
        reason: reason.to_owned(),
        detail,
        etag: None,
        event_time_ms: time_ms,
        version: String::new(),
        event: Some(excerpt),
    };
    Read::Malformed(key, reject)
}

fn hint(event: ObjectEvent) -> Hint {
    let content = match (event.change, &event.etag) {
        (Change::Removed, _) => Content::Removed,
        (Change::Created, Some(etag)) => Content::Present(digest(etag.as_bytes())),
        // Without an etag every event may mean other content.
        (Change::Created, None) => Content::Present(digest(event.version.to_string().as_bytes())),
    };
    Hint {
        key: key_of(&path_of(&event.bucket, &event.key)),
        bucket: event.bucket,
        object: event.key,
        size_bytes: event.size,
        latest: Latest {
            version: event.version,
            content,
        },
    }
}
