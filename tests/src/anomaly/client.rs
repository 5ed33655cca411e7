//! One process's librdkafka producer and consumer, and what their callbacks tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::history::{Key, Value};
use super::workload::{key_of, place_of};
use crate::ledger::RecordId;

/// A transaction without a word from its producer is aborted by the broker after this long.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(6);
/// A member without a heartbeat is dropped after this long; Kafka allows no less.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// One request waits no longer for its answer; librdkafka wants it below the transaction timeout.
const SOCKET_TIMEOUT_MS: u32 = 5_000;
/// A record outside of transactions is given up after this long: less than a pause, so that some end in doubt.
const MESSAGE_TIMEOUT_MS: u32 = 4_000;
/// Bytes of the longest value.
const VALUE_BYTES_MAX: usize = 300;

/// Locks, whatever became of who held it before.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(address: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address.to_string())
        .set("socket.timeout.ms", SOCKET_TIMEOUT_MS.to_string())
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("retry.backoff.ms", "50");
    config
}

/// What became of records handed to a producer.
#[derive(Debug, Default)]
pub struct Deliveries {
    told: Mutex<HashMap<Value, Option<i64>>>,
    news: Condvar,
}

impl Deliveries {
    /// The offset of a record; none while nobody knows, and when it failed.
    pub fn offset_of(&self, value: Value) -> Option<i64> {
        locked(&self.told).get(&value).copied().flatten()
    }

    /// Waits for what becomes of a record: its offset, or none when it failed or nobody knows.
    pub fn wait_for(&self, value: Value, timeout: Duration) -> Option<i64> {
        let deadline = Instant::now() + timeout;
        let mut told = locked(&self.told);
        loop {
            if let Some(offset) = told.remove(&value) {
                return offset;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            told = self.news.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Writes down what librdkafka tells of each record.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(pub Arc<Deliveries>);

impl ClientContext for Acknowledged {
    // Lost connections are the point.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {}
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<Value>;

    fn delivery(&self, result: &DeliveryResult<'_>, value: Self::DeliveryOpaque) {
        let offset = result.as_ref().ok().map(Message::offset);
        locked(&self.0.told).insert(*value, offset);
        self.0.news.notify_all();
    }
}

/// A producer; transactional with an id.
pub type Producing = ThreadedProducer<Acknowledged>;

/// Makes a producer. Always idempotent: each value is sent once, so that one that is there twice is the broker's.
///
/// # Panics
/// When librdkafka refuses the configuration.
pub fn producer(address: SocketAddr, transactional_id: Option<&str>) -> Producing {
    let mut config = config(address);
    config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "1");
    match transactional_id {
        Some(id) => config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string()),
        None => config.set("message.timeout.ms", MESSAGE_TIMEOUT_MS.to_string()),
    };
    config.create_with_context(Acknowledged::default()).expect("a good configuration")
}

/// The bytes that stand for a value.
pub fn payload(key: Key, value: Value) -> Vec<u8> {
    // As long as its number says: batches of all sizes.
    let length = (value.wrapping_mul(37) % VALUE_BYTES_MAX as u64) as usize;
    RecordId { producer: key, sequence: value }.encode(length)
}

/// Hands a value over; false when the producer takes none.
pub fn send(producer: &Producing, key: Key, value: Value) -> bool {
    let (topic, partition) = place_of(key);
    let payload = payload(key, value);
    let record: BaseRecord<'_, (), [u8], _> = BaseRecord::with_opaque_to(topic, Box::new(value));
    producer.send(record.partition(partition).payload(&payload)).is_ok()
}

/// What rebalances did since it was last asked for.
#[derive(Debug, Default)]
pub struct Rebalanced {
    /// Partitions that came or went.
    pub keys: BTreeSet<Key>,
    /// Whether any went.
    pub is_revoked: bool,
}

/// Writes rebalances down.
#[derive(Clone, Debug, Default)]
pub struct Rebalances(pub Arc<Mutex<Rebalanced>>);

impl Rebalances {
    /// What happened since the last call.
    pub fn take(&self) -> Rebalanced {
        std::mem::take(&mut locked(&self.0))
    }

    /// Whether partitions were taken away since the last [`take`](Self::take).
    pub fn is_revoked(&self) -> bool {
        locked(&self.0).is_revoked
    }
}

impl ClientContext for Rebalances {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {}
}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut seen = locked(&self.0);
        match rebalance {
            Rebalance::Assign(list) => seen.keys.extend(keys_in(list)),
            Rebalance::Revoke(list) => {
                seen.keys.extend(keys_in(list));
                seen.is_revoked = true;
            }
            Rebalance::Error(_) => seen.is_revoked = true,
        }
    }
}

/// The keys of a list.
pub fn keys_in(list: &TopicPartitionList) -> Vec<Key> {
    list.elements().iter().map(|element| key_of(element.topic(), element.partition())).collect()
}

/// A consumer that notes what is taken away from it.
///
/// It closes on a thread of its own: when an assignment arrives while it closes, librdkafka's answer to it never comes and
/// the close waits for ever, which must cost the suite a thread and not its end.
pub struct Consuming(Option<Inner>);

type Inner = BaseConsumer<Rebalances>;

impl Deref for Consuming {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        let consumer = self.0.take();
        std::thread::spawn(move || drop(consumer));
    }
}

/// Makes a consumer of a group that commits only what it is told to.
///
/// # Panics
/// When librdkafka refuses the configuration.
pub fn consumer(address: SocketAddr, group: &str, assignor: &str, is_transactional: bool) -> Consuming {
    let isolation = if is_transactional { "read_committed" } else { "read_uncommitted" };
    let consumer = config(address)
        .set("group.id", group)
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string())
        .set("heartbeat.interval.ms", "500")
        .set("partition.assignment.strategy", assignor)
        .set("fetch.wait.max.ms", "50")
        .set("enable.partition.eof", "true")
        .create_with_context(Rebalances::default())
        .expect("a good configuration");
    Consuming(Some(consumer))
}

/// What one round of polls brought.
#[derive(Debug, Default)]
pub struct Polled {
    /// Offset and value in the order in which they came.
    pub records: BTreeMap<Key, Vec<(i64, Value)>>,
    /// Partitions whose end was reached, of whatever topic.
    pub ends: BTreeSet<i32>,
    /// What librdkafka complained of.
    pub errors: Vec<String>,
}

/// A value that stands for bytes nobody sent.
pub const DAMAGED: Value = Value::MAX;

/// Polls until there are `max` records, no more come at once, `patience` is over or partitions are taken away.
pub fn poll(consumer: &Consuming, max: usize, patience: Duration) -> Polled {
    let deadline = Instant::now() + patience;
    let mut polled = Polled::default();
    let mut count = 0;
    while count < max && Instant::now() < deadline && !consumer.context().is_revoked() {
        match consumer.poll(Duration::from_millis(10)) {
            // Enough is there to go on with.
            None if count > 0 => break,
            None => {}
            Some(Ok(message)) => {
                let key = key_of(message.topic(), message.partition());
                let id = message.payload().and_then(RecordId::decode).filter(|id| id.producer == key);
                let value = id.map_or(DAMAGED, |id| id.sequence);
                polled.records.entry(key).or_default().push((message.offset(), value));
                count += 1;
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                polled.ends.insert(partition);
            }
            Some(Err(error)) => polled.errors.push(error.to_string()),
        }
    }
    polled
}

/// The positions behind what was polled.
pub fn positions(records: &BTreeMap<Key, Vec<(i64, Value)>>) -> BTreeMap<Key, Offset> {
    let behind = |records: &Vec<(i64, Value)>| records.last().map(|(offset, _)| Offset::Offset(offset + 1));
    records.iter().filter_map(|(key, records)| Some((*key, behind(records)?))).collect()
}

/// Positions as librdkafka takes them.
///
/// # Panics
/// For an offset that is none.
pub fn list(positions: impl IntoIterator<Item = (Key, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (key, offset) in positions {
        let (topic, partition) = place_of(key);
        list.add_partition_offset(topic, partition, offset).expect("a good offset");
    }
    list
}

/// Where the group stands in these partitions; the beginning where it has never committed.
///
/// # Errors
/// librdkafka's.
pub fn committed(
    consumer: &Consuming,
    keys: impl IntoIterator<Item = Key>,
    timeout: Duration,
) -> rdkafka::error::KafkaResult<Vec<(Key, Offset)>> {
    let asked = list(keys.into_iter().map(|key| (key, Offset::Invalid)));
    let found = consumer.committed_offsets(asked, timeout)?;
    let mut positions = Vec::new();
    for element in found.elements() {
        element.error()?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Offset::Offset(offset),
            _ => Offset::Beginning,
        };
        positions.push((key_of(element.topic(), element.partition()), offset));
    }
    Ok(positions)
}
