//! Owns a data directory that no broker has open, as a source and as a target: its lock, its logs, what of them is in object
//! storage, and appends that are checked as a produce is.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chronik_engine::Engine;
use chronik_engine::log::{Isolation, PartitionLog};
use chronik_engine::store::Ticket;
use chronik_engine::topic::TopicOverrides;
use chronik_protocol::batch::{ValidateOptions, split_batches, validate};
use chronik_tiering::Tier;
use chronik_tiering::read::{Limits, RemoteError};

use super::Failure;
use super::client::{SentMark, Written};
use super::source::{Read, Topic};
use crate::cli::{Settings, engine::on_engine, probe};
use crate::config::BrokerConfig;
use crate::dynamic::settings;
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::runtime::Clock;
use crate::{internal_topics, tier, topic_rules};

/// Bytes that a read brings up.
const READ_BYTES: usize = 8 << 20;
/// Appends that are not known to be durable.
const IN_FLIGHT_MAX: usize = 64;

/// See the module.
pub struct Directory {
    engine: Arc<Engine>,
    tier: Arc<Tier>,
    clock: Clock,
    topic: String,
    in_flight: VecDeque<(Written, Ticket)>,
}

/// Locks and opens the directory of `settings`, works, and closes it in good order.
pub fn on_directory<T, W: Future<Output = Result<T, Failure>>>(
    settings: &Settings,
    topic: &str,
    work: impl FnOnce(Box<Directory>) -> W,
) -> Result<T, Failure> {
    let mut config = super::config(settings)?;
    let dir = config.node.data_dir.clone();
    if !crate::server::store_path(&dir).exists() {
        return Err(format!(
            "{} holds no data: give a broker's directory with -d, or a running broker's address with --bootstrap",
            dir.display()
        ));
    }
    let _lock = probe::lock_data_dir(&dir)
        .map_err(|(problem, _)| format!("{problem}: stop it, or ask it by its address with --bootstrap"))?;
    // Nothing is read twice.
    config.tier.cache_disk_bytes = 0;
    on_engine(&config, |engine, clock| async {
        super::until_interrupted(work(Box::new(Directory::open(&config, engine, clock, topic)?))).await
    })
}

impl Directory {
    fn open(config: &BrokerConfig, engine: Arc<Engine>, clock: Clock, topic: &str) -> Result<Self, Failure> {
        let settings = settings::Settings::new(Arc::new(config.clone()));
        let tier = tier::open(config, &settings, engine.clone(), clock.clone())
            .map_err(|error| error.to_string())?;
        Ok(Self { engine, tier, clock, topic: topic.to_owned(), in_flight: VecDeque::new() })
    }

    /// The topic; `None` when there is none.
    pub fn topic(&self) -> Option<Topic> {
        let topic = self.engine.topics().get(&self.topic).cloned()?;
        Some(Topic {
            name: self.topic.clone(),
            id: topic.id,
            cluster_id: self.engine.cluster_id().to_owned(),
            partitions: (0..i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)).collect(),
        })
    }

    fn log(&self, partition: i32) -> Result<Arc<PartitionLog>, Failure> {
        let topics = self.engine.topics();
        let log = topics.get(&self.topic).and_then(|topic| topic.log(partition)).cloned();
        log.ok_or_else(|| format!("topic {} has no partition {partition}", self.topic))
    }

    /// First offset there is, and first that may not be seen.
    pub fn bounds(&self, partition: i32, committed: bool) -> Result<(i64, i64), Failure> {
        let offsets = self.log(partition)?.offsets();
        Ok((offsets.readable_from, offsets.visible_end(isolation(committed))))
    }

    /// The first offset whose record is at `timestamp` or later.
    pub async fn offset_at(&self, partition: i32, timestamp: i64) -> Result<Option<i64>, Failure> {
        let log = self.log(partition)?;
        let found = self.tier.reader().await.offset_for_timestamp(&log, timestamp).await;
        let found = found.map_err(|error| self.failed(partition, &error))?;
        Ok(found.map(|found| found.offset))
    }

    fn failed(&self, partition: i32, error: &dyn std::fmt::Display) -> Failure {
        format!("{}-{partition}: {error}", self.topic)
    }

    /// Whole batches from the one that contains `offset`.
    pub async fn read(&self, partition: i32, offset: i64, committed: bool) -> Result<Read, Failure> {
        let log = self.log(partition)?;
        let limits = Limits { max_bytes: READ_BYTES, at_least_one: true, isolation: isolation(committed) };
        let read = self.tier.read(&log, offset, limits).await;
        let read = read.map_err(|error| match error {
            RemoteError::Missing(_) | RemoteError::Store { .. } => self.failed(
                partition,
                &format!("{error}: see to it that the settings of the object store are those of the broker"),
            ),
            error => self.failed(partition, &error),
        })?;
        // Cut at any point, the chunks mean something together alone.
        let bytes: Bytes = match read.chunks.as_slice() {
            [one] => one.clone(),
            chunks => {
                let mut all = BytesMut::with_capacity(read.bytes);
                chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
                all.freeze()
            }
        };
        let batches: Vec<Bytes> = split_batches(bytes).collect();
        if batches.is_empty() {
            return Err(
                self.failed(partition, &format!("there is nothing at offset {offset}, where it should"))
            );
        }
        let aborted = read.aborted.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect();
        Ok(Read { batches, aborted })
    }

    /// Creates the topic, with the broker's default settings.
    pub async fn create(&mut self, partitions: i32) -> Result<(), Failure> {
        topic_rules::validate(&self.topic)?;
        let topics = self.engine.topics();
        if internal_topics::is_internal(&self.topic) || self.topic == topic_rules::CLUSTER_METADATA {
            return Err(format!("topic {} is the broker's own: choose another name", self.topic));
        }
        if let Some(other) = topic_rules::colliding(&self.topic, &topics) {
            return Err(format!("topic {} collides with {other}: choose another name", self.topic));
        }
        let count = usize::try_from(partitions).unwrap_or(0);
        let now_ms = self.clock.now_ms();
        let created = self.engine.create_topic(&self.topic, count, TopicOverrides::default(), now_ms).await;
        created.map(drop).map_err(|error| format!("topic {} was not created: {error}", self.topic))
    }

    /// Appends a batch. At most [`IN_FLIGHT_MAX`] are on their way to the disk: for more, the oldest is waited for, and what
    /// became of it is returned.
    pub async fn send(
        &mut self,
        partition: i32,
        batch: Bytes,
        records: i64,
        mark: SentMark,
    ) -> Result<Option<Written>, Failure> {
        let oldest = match self.in_flight.len() {
            IN_FLIGHT_MAX.. => self.acknowledged().await?,
            _ => None,
        };
        if internal_topics::find(&self.topic).is_some() {
            return Err(format!("topic {} is the broker's own: choose another", self.topic));
        }
        let log = self.log(partition)?;
        let config = log.config();
        let now_ms = self.clock.now_ms();
        let options = ValidateOptions {
            now_ms,
            max_batch_bytes: config.max_message_bytes,
            timestamp_type: config.timestamp_type,
            before_max_ms: config.timestamp_before_max_ms,
            after_max_ms: config.timestamp_after_max_ms,
            require_keys: config.cleanup_compact,
            compression: config.compression,
            max_decompressed_bytes: DECOMPRESSED_BATCH_BYTES_MAX,
        };
        let batch = validate(batch, &options).map_err(|error| self.failed(partition, &error))?;
        if batch.bytes.len() as u64 > config.segment_bytes {
            let bytes = batch.bytes.len();
            return Err(
                self.failed(partition, &format!("a batch of {bytes} bytes is larger than segment.bytes"))
            );
        }
        let appended = log.append(&batch, now_ms).map_err(|error| self.failed(partition, &error))?;
        let written = Written { partition, first_offset: appended.base_offset, records, mark };
        self.in_flight.push_back((written, appended.ticket));
        Ok(oldest)
    }

    /// What became of the oldest batch that is on its way; `None` when there is none.
    pub async fn acknowledged(&mut self) -> Result<Option<Written>, Failure> {
        let Some((written, ticket)) = self.in_flight.pop_front() else { return Ok(None) };
        ticket.await.map_err(|error| self.failed(written.partition, &error))?;
        Ok(Some(written))
    }
}

fn isolation(committed: bool) -> Isolation {
    if committed { Isolation::Committed } else { Isolation::Uncommitted }
}
