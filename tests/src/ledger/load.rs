//! Clients that work against a broker that is killed under them, and write into a [`History`] what they learn.
//!
//! Each producer sends a record once: librdkafka's idempotent one retries by itself and must not thereby duplicate, a
//! raw one never asks again for what it got no answer to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::codec::messages::offset_fetch_request::OffsetFetchRequestTopic;
use chronik_protocol::message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::reading::{Caller, records};
use super::{History, Place, Position, RecordId};
use crate::random::Random;
use crate::wire::{batch, produce_request};

/// The consumers' group.
pub const GROUP: &str = "ledger";
/// A client that cannot connect waits this long.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Records that wait in one librdkafka producer.
const QUEUE_MESSAGES: u32 = 2_000;
/// Retries after the last start come through within this.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest value.
const VALUE_BYTES_MAX: usize = 600;
/// Records in the largest raw batch.
const BATCH_RECORDS_MAX: usize = 20;

/// What the clients share.
#[derive(Clone)]
struct Shared {
    address: SocketAddr,
    topics: Arc<Vec<(String, i32)>>,
    history: Arc<Mutex<History>>,
    stop: Arc<AtomicBool>,
    complaints: Arc<Mutex<Vec<String>>>,
}

/// Clients at work.
pub struct Load {
    shared: Shared,
    threads: Vec<JoinHandle<()>>,
    producers: AtomicU32,
    dice: Random,
}

impl Load {
    /// Nobody yet. `topics` with their partitions exist.
    pub fn new(address: SocketAddr, topics: &[(&str, i32)], seed: u64) -> Self {
        let topics = topics.iter().map(|(name, partitions)| ((*name).to_owned(), *partitions)).collect();
        let shared = Shared {
            address,
            topics: Arc::new(topics),
            history: Arc::default(),
            stop: Arc::default(),
            complaints: Arc::default(),
        };
        Self { shared, threads: Vec::new(), producers: AtomicU32::new(1), dice: Random::new(seed) }
    }

    fn spawn(&mut self, run: impl FnOnce(Shared, Random) + Send + 'static) {
        let (shared, dice) = (self.shared.clone(), Random::new(self.dice.next_u64()));
        self.threads.push(std::thread::spawn(move || run(shared, dice)));
    }

    /// A raw producer without idempotence that waits for every answer.
    #[must_use]
    pub fn raw_producer(mut self, acks: i16, pause: Duration) -> Self {
        let producer = self.producers.fetch_add(1, Ordering::Relaxed);
        self.spawn(move |shared, dice| shared.produce_raw(producer, acks, pause, dice));
        self
    }

    /// librdkafka's idempotent producer, acks=all.
    #[must_use]
    pub fn idempotent_producer(mut self, codec: &'static str, pause: Duration) -> Self {
        let producer = self.producers.fetch_add(1, Ordering::Relaxed);
        self.spawn(move |shared, dice| shared.produce_idempotent(producer, codec, pause, dice));
        self
    }

    /// A member of the group that commits as it goes.
    #[must_use]
    pub fn group_member(mut self) -> Self {
        self.spawn(|shared, _| shared.consume());
        self
    }

    /// A reader at the end of every log, first to be shown what is new.
    #[must_use]
    pub fn tail_reader(mut self) -> Self {
        self.spawn(|shared, _| shared.read_tails());
        self
    }

    /// Deletes the oldest records of a topic's partitions now and then.
    #[must_use]
    pub fn trimmer(mut self, topic: &'static str, partitions: i32) -> Self {
        self.spawn(move |shared, dice| shared.trim(topic, partitions, dice));
        self
    }

    /// The history, locked.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.shared.history()
    }

    /// Asks the broker for the group's positions and writes them down.
    ///
    /// # Errors
    /// The connection's.
    pub fn note_positions(&self) -> std::io::Result<()> {
        let mut caller = Caller::connect(self.shared.address)?;
        // Held over the question: a commit written down before it must show in the answer.
        let mut history = self.shared.history();
        for (topic, partitions) in self.shared.topics.iter() {
            let asked = message!(OffsetFetchRequestTopic {
                name: topic.as_str().into(),
                partition_indexes: (0..*partitions).collect(),
            });
            let request =
                message!(messages::OffsetFetchRequest { group_id: GROUP.into(), topics: Some(vec![asked]) });
            let response = caller.call(&request, 5)?;
            if response.error_code != 0 {
                return Err(std::io::Error::other(format!("OffsetFetch: error {}", response.error_code)));
            }
            for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                let place = Place::new(topic, partition.partition_index);
                history.position(GROUP, &place, Position::Fetched(partition.committed_offset));
            }
        }
        Ok(())
    }

    /// Ends every client, after those with retries have got through; the broker must be up. Returns the history, and
    /// what clients complained of that no crash excuses.
    ///
    /// # Panics
    /// When a client did.
    pub fn finish(self) -> (History, Vec<String>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client panicked");
        }
        let history = self.shared.history().clone();
        let complaints = self.shared.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (history, complaints)
    }
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn complain(&self, what: String) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn any_place(&self, dice: &mut Random) -> Place {
        let (topic, partitions) = &self.topics[dice.below(self.topics.len())];
        Place::new(topic, dice.below(*partitions as usize) as i32)
    }

    /// Runs `work` with a connection, and with a new one whenever it fails.
    fn with_connection(&self, mut work: impl FnMut(&mut Caller) -> std::io::Result<()>) {
        while !self.stopping() {
            let Ok(mut caller) = Caller::connect(self.address) else {
                std::thread::sleep(RECONNECT_PAUSE);
                continue;
            };
            while !self.stopping() && work(&mut caller).is_ok() {}
        }
    }

    fn produce_raw(&self, producer: u32, acks: i16, pause: Duration, mut dice: Random) {
        let mut sequence = 0;
        self.with_connection(|caller| {
            let place = self.any_place(&mut dice);
            let ids: Vec<RecordId> = (0..=dice.below(BATCH_RECORDS_MAX))
                .map(|_| {
                    sequence += 1;
                    RecordId { producer, sequence }
                })
                .collect();
            let values: Vec<Vec<u8>> = ids.iter().map(|id| id.encode(dice.below(VALUE_BYTES_MAX))).collect();
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            {
                let mut history = self.history();
                ids.iter().for_each(|id| history.sent(&place, *id));
            }
            let request = produce_request(&place.topic, place.partition, acks, batch(&values));
            let response = caller.call(&request, 8)?;
            let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
            if let Some(answer) = answer.filter(|answer| answer.error_code == 0) {
                let mut history = self.history();
                for (id, offset) in ids.iter().zip(answer.base_offset..) {
                    history.acked(&place, *id, offset);
                }
            }
            std::thread::sleep(pause);
            Ok(())
        });
    }

    fn produce_idempotent(&self, producer: u32, codec: &str, pause: Duration, mut dice: Random) {
        let client: BaseProducer<Acknowledged> = ClientConfig::new()
            .set("bootstrap.servers", self.address.to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", codec)
            .set("message.timeout.ms", "0")
            .set("linger.ms", "2")
            .set("queue.buffering.max.messages", QUEUE_MESSAGES.to_string())
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .set("retry.backoff.ms", "50")
            .create_with_context(Acknowledged(self.clone()))
            .expect("a good configuration");
        let mut sequence = 0;
        while !self.stopping() {
            let place = self.any_place(&mut dice);
            sequence += 1;
            let id = RecordId { producer, sequence };
            let value = id.encode(dice.below(VALUE_BYTES_MAX));
            self.history().sent(&place, id);
            let opaque = Box::new((place.clone(), id));
            let mut record: BaseRecord<'_, (), [u8], _> =
                BaseRecord::with_opaque_to(&place.topic, opaque).partition(place.partition).payload(&value);
            while let Err((_, back)) = client.send(record) {
                record = back;
                client.poll(Duration::from_millis(10));
                if self.stopping() {
                    break;
                }
            }
            client.poll(Duration::ZERO);
            if dice.below(8) == 0 {
                std::thread::sleep(pause);
            }
        }
        if let Err(error) = client.flush(FLUSH_TIMEOUT) {
            self.complain(format!("idempotent producer {producer} did not get through: {error}"));
        }
        if let Some((code, reason)) = client.client().fatal_error() {
            self.complain(format!("idempotent producer {producer}: {code:?}: {reason}"));
        }
    }

    fn consume(&self) {
        let session = Arc::new(Mutex::new(self.history().session()));
        let consumer: BaseConsumer<Sessions> = ClientConfig::new()
            .set("bootstrap.servers", self.address.to_string())
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "500")
            .set("fetch.wait.max.ms", "50")
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .create_with_context(Sessions { shared: self.clone(), session: session.clone() })
            .expect("a good configuration");
        let topics: Vec<&str> = self.topics.iter().map(|(name, _)| name.as_str()).collect();
        consumer.subscribe(&topics).expect("good names");
        let mut positions: BTreeMap<Place, i64> = BTreeMap::new();
        let mut positions_of = 0;
        let mut committed = Instant::now();
        while !self.stopping() {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                let place = Place::new(message.topic(), message.partition());
                let id = message.payload().and_then(RecordId::decode);
                let now = *session.lock().unwrap_or_else(PoisonError::into_inner);
                if now != positions_of {
                    // Another assignment: what was read under the last one is not ours to commit any more.
                    positions.clear();
                    positions_of = now;
                }
                self.history().polled(&place, now, message.offset(), id);
                positions.insert(place, message.offset() + 1);
            }
            if committed.elapsed() > Duration::from_millis(100) && !positions.is_empty() {
                committed = Instant::now();
                self.commit(&consumer, &positions);
            }
        }
    }

    fn commit(&self, consumer: &BaseConsumer<Sessions>, positions: &BTreeMap<Place, i64>) {
        let mut list = TopicPartitionList::new();
        for (place, offset) in positions {
            list.add_partition_offset(&place.topic, place.partition, Offset::Offset(*offset))
                .expect("a good offset");
        }
        if consumer.commit(&list, CommitMode::Sync).is_ok() {
            let mut history = self.history();
            for (place, offset) in positions {
                history.position(GROUP, place, Position::Committed(*offset));
            }
        }
    }

    fn read_tails(&self) {
        let session = self.history().session();
        let mut next: BTreeMap<Place, i64> = BTreeMap::new();
        for (topic, partitions) in self.topics.iter() {
            next.extend((0..*partitions).map(|partition| (Place::new(topic, partition), 0)));
        }
        self.with_connection(|caller| {
            for (place, next) in &mut next {
                let (error, _, start, bytes) = caller.fetch(place, *next)?;
                if error == 1 {
                    *next = start.max(*next);
                }
                let found = records(bytes, *next).map_err(std::io::Error::other);
                let found = found.inspect_err(|error| self.complain(format!("{place:?}: {error}")))?;
                let mut history = self.history();
                for (offset, id) in found {
                    *next = offset + 1;
                    history.polled(place, session, offset, id);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
            Ok(())
        });
    }

    fn trim(&self, topic: &str, partitions: i32, mut dice: Random) {
        self.with_connection(|caller| {
            std::thread::sleep(Duration::from_millis(150));
            let place = Place::new(topic, dice.below(partitions as usize) as i32);
            let (_, end, start, _) = caller.fetch(&place, 0)?;
            let (start, end) = (start.max(0), end.max(0));
            let offset = start + dice.below((end - start) as usize / 2 + 1) as i64;
            self.history().trim_asked(&place, offset);
            let partition =
                message!(DeleteRecordsPartition { partition_index: place.partition, offset: offset });
            let asked = message!(DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] });
            let request =
                message!(messages::DeleteRecordsRequest { topics: vec![asked], timeout_ms: 10_000 });
            let response = caller.call(&request, 1)?;
            let answer = response.topics.first().and_then(|topic| topic.partitions.first());
            if let Some(answer) = answer.filter(|answer| answer.error_code == 0) {
                self.history().trimmed(&place, answer.low_watermark);
            }
            Ok(())
        });
    }
}

/// Writes down what librdkafka tells of each record.
struct Acknowledged(Shared);

impl ClientContext for Acknowledged {
    // Lost connections are the point; fatal errors are asked for at the end.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {}
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<(Place, RecordId)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        if let Ok(message) = result {
            self.0.history().acked(&opaque.0, opaque.1, message.offset());
        }
    }
}

/// Begins a session with each assignment.
struct Sessions {
    shared: Shared,
    session: Arc<Mutex<u64>>,
}

impl ClientContext for Sessions {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {}
}

impl ConsumerContext for Sessions {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = self.shared.history().session();
    }
}
