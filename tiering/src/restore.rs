//! Restores a data directory from a bucket: takes the cluster's place there, so that whoever wrote to it before stops,
//! reads what the manifest names, and says up to which offset each partition reaches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::error::AppendError;
use chronik_engine::keys::log::LogValue;
use chronik_engine::keys::tier::TierStateValue;
use chronik_engine::keys::topic::TopicValue;
use chronik_engine::log::RemoteSegment;
use chronik_engine::restore::{ClampedOffset, Restored, RestoredLog, check_empty, topics_of};
use chronik_engine::store::{MemoryStore, Store, StoreError};
use futures_util::{StreamExt, stream};
use prost::Message;
use serde::Serialize;
use uuid::Uuid;

use crate::bucket::{Bucket, BucketError, Listed};
use crate::copy::{SEGMENTS, topic_folder};
use crate::limits::TAILS_AT_ONCE;
use crate::manifest::{
    ChainError, ChainState, Entry, TakeOverError, end_chain, newest_epoch, open_chain, read_chain,
};
use crate::meta;
use crate::read::{TailError, encode_index, read_tail};
use crate::segment::{Producers, Tail};

/// How to restore.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Which cluster, when the bucket has several.
    pub cluster_id: Option<String>,
    /// Find out what would come back; take no place and write nothing.
    pub dry_run: bool,
    /// How long an idle producer is remembered, ms; segments older than that are not asked for theirs.
    pub producer_expiration_ms: i64,
    /// The time, ms.
    pub now_ms: i64,
}

/// What came back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoreReport {
    /// The cluster.
    pub cluster_id: String,
    /// The epoch that was taken in the bucket.
    pub epoch: u64,
    /// When topics, groups and offsets were copied last, ms.
    pub copied_ms: i64,
    /// Partitions, by topic and index.
    pub partitions: Vec<RestoredPartition>,
    /// Committed offsets that lay behind the end of what came back.
    pub clamped: Vec<Clamped>,
    /// What is wrong with the bucket.
    pub faults: Vec<String>,
    /// Objects of these topics that did not come back: before a gap, left by copies that were cut short, or by a manifest that
    /// has lost its end. A broker deletes them once its grace time for orphans has passed since the restore.
    pub unnamed: Unnamed,
}

/// Objects that nothing names after a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unnamed {
    /// How many.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The first of them, by name.
    pub first: Vec<String>,
}

/// Names of objects that are told.
const UNNAMED_TOLD: usize = 100;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredPartition {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: u32,
    /// First offset there is.
    pub log_start_offset: i64,
    /// First offset that is lost, or was never written.
    pub end_offset: i64,
    /// Remote segments.
    pub segments: usize,
    /// Bytes of their batches.
    pub bytes: u64,
}

/// A committed offset that was clamped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clamped {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: u32,
    /// What was committed.
    pub committed: i64,
    /// What it is now.
    pub now: i64,
}

impl From<ClampedOffset> for Clamped {
    fn from(clamped: ClampedOffset) -> Self {
        let ClampedOffset { group, topic, partition, committed, now } = clamped;
        Self { group, topic, partition, committed, now }
    }
}

/// A transaction that has data in what came back, and whose end is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// Who wrote it.
    pub producer_id: i64,
    /// The epoch it was written in.
    pub producer_epoch: i16,
    /// The epoch of the coordinator that wrote its marker before.
    pub coordinator_epoch: i32,
    /// What had been decided: only what is decided is ever copied.
    pub committed: bool,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFailure {
    /// The bucket, or the manifest in it.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// No cluster, or several.
    #[error("{0}")]
    Which(String),
    /// There is no copy of topics and groups.
    #[error("the bucket has no copy of topics and groups of cluster {0}: there is nothing to restore from")]
    NoMeta(String),
    /// Somebody else takes the place at this moment.
    #[error(
        "another broker or restore has taken over the bucket meanwhile: see which of them is to live, and try again"
    )]
    TakenMeanwhile,
    /// The new directory.
    #[error(transparent)]
    Directory(#[from] chronik_engine::error::RestoreError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The end of a transaction.
    #[error("the transaction of producer {producer_id} on {topic}-{partition} could not be ended: {reason}")]
    Unended {
        /// The topic.
        topic: String,
        /// The partition's index.
        partition: i32,
        /// Who wrote it.
        producer_id: i64,
        /// What the log said.
        reason: AppendError,
    },
}

impl From<TakeOverError> for RestoreFailure {
    fn from(error: TakeOverError) -> Self {
        match error {
            TakeOverError::Chain(error) => Self::Chain(error),
            TakeOverError::Taken => Self::TakenMeanwhile,
        }
    }
}

impl From<BucketError> for RestoreFailure {
    fn from(error: BucketError) -> Self {
        ChainError::from(error).into()
    }
}

/// Restores into `store`, which must be empty; `None` for a dry run. Tells `progress` how many of how many segments were
/// looked at. Whoever opens the directory has to write the ends of the transactions that are returned, before anybody
/// else writes.
///
/// # Errors
/// [`RestoreFailure`].
pub async fn restore(
    bucket: &Bucket,
    store: Option<&dyn Store>,
    options: &RestoreOptions,
    progress: impl Fn(usize, usize),
) -> Result<(RestoreReport, Vec<Unfinished>), RestoreFailure> {
    let cluster_id = which_cluster(bucket, options.cluster_id.as_deref()).await?;
    let no_meta = || RestoreFailure::NoMeta(cluster_id.clone());
    // Before anybody is stopped for nothing.
    if let Some(store) = store {
        check_empty(store).await?;
    }
    meta::newest(bucket, &cluster_id).await?.ok_or_else(no_meta)?;
    let epoch = newest_epoch(bucket, &cluster_id).await?.ok_or_else(|| nothing_in(bucket))?;
    let claim = Uuid::new_v4().as_bytes().to_vec();
    let chain = match store {
        Some(_) => end_chain(bucket, &cluster_id, epoch, &claim, options.now_ms).await?,
        None => read_chain(bucket, &cluster_id, epoch).await?,
    };
    // Once the chain is sealed: every topic that it names was copied before its first segment.
    let (meta, copied_ms) = meta::newest(bucket, &cluster_id).await?.ok_or_else(no_meta)?;
    let mut report = RestoreReport { cluster_id, epoch: epoch + 1, copied_ms, ..RestoreReport::default() };
    let topics = topics_of(&meta)?;
    let starts = starts_of(&topics, &meta.logs)?;
    let mut gathered = gather(bucket, &chain, &topics, &starts, &mut report).await?;
    let unfinished = read_tails(bucket, &mut gathered, options, &mut report, progress).await?;
    report.partitions = partitions(&topics, &gathered.logs, &starts);
    let scratch = MemoryStore::new();
    if store.is_some() {
        // With what came back alone: what is missing must not be taken in later, in the place of what is written then.
        let kept: HashSet<&str> = gathered
            .logs
            .values()
            .flat_map(|log| log.segments.iter().map(|(segment, _)| &*segment.object))
            .chain(gathered.garbage.iter().map(String::as_str))
            .collect();
        let entries = chain.entries.values().filter(|entry| kept.contains(&*entry.segment.object));
        let entries = entries.cloned().collect();
        open_chain(bucket, &report.cluster_id, epoch + 1, &claim, entries, options.now_ms).await?;
    }
    // A dry run writes to memory, to find out what becomes of offsets.
    let store = store.unwrap_or(&scratch);
    {
        let tier = TierStateValue {
            epoch: epoch + 1,
            claim,
            reserved_delta: 1,
            restored_ms: options.now_ms,
            ..TierStateValue::default()
        };
        let restored = Restored { meta, logs: gathered.logs, garbage: gathered.garbage, tier };
        let clamped = chronik_engine::restore::restore(store, restored).await?;
        report.clamped = clamped.into_iter().map(Clamped::from).collect();
    }
    Ok((report, unfinished))
}

fn nothing_in(bucket: &Bucket) -> RestoreFailure {
    let place = bucket.place();
    RestoreFailure::Which(format!("{place} holds no manifest: is it the right bucket and prefix?"))
}

async fn which_cluster(bucket: &Bucket, asked: Option<&str>) -> Result<String, RestoreFailure> {
    let mut there = Vec::new();
    for folder in bucket.children("manifest").await? {
        // Other things may lie there, and a cluster is what has an epoch.
        if newest_epoch(bucket, &folder).await?.is_some() {
            there.push(folder);
        }
    }
    there.sort();
    let place = bucket.place();
    match (asked, &there[..]) {
        (_, []) => Err(nothing_in(bucket)),
        (Some(asked), _) if there.iter().any(|id| id == asked) => Ok(asked.to_owned()),
        (Some(asked), _) => {
            Err(RestoreFailure::Which(format!("{place} knows no cluster {asked}, but {there:?}")))
        }
        (None, [one]) => Ok(one.clone()),
        (None, _) => Err(RestoreFailure::Which(format!(
            "{place} has several clusters; choose one by --cluster: {there:?}"
        ))),
    }
}

/// Where each log began, by the copy.
fn starts_of(
    topics: &[(Uuid, TopicValue)],
    logs: &[(chronik_engine::keys::PartitionId, Bytes)],
) -> Result<HashMap<(Uuid, u32), i64>, StoreError> {
    let by_id: HashMap<u64, &Bytes> = logs.iter().map(|(id, value)| (id.0, value)).collect();
    let mut starts = HashMap::new();
    for (id, topic) in topics {
        for (index, place) in topic.partitions.iter().enumerate() {
            let Some(value) = by_id.get(&place.id) else { continue };
            let value = LogValue::decode(&***value)
                .map_err(|error| StoreError::Corrupt(format!("a log value: {error}").into()))?;
            starts.insert((*id, index as u32), value.log_start_offset);
        }
    }
    Ok(starts)
}

/// What the manifest comes to.
struct Gathered {
    logs: HashMap<(Uuid, u32), RestoredLog>,
    garbage: Vec<String>,
    names: HashMap<Uuid, String>,
}

/// Sorts the manifest's segments into logs, and leaves out what is not there or does not fit.
async fn gather(
    bucket: &Bucket,
    chain: &ChainState,
    topics: &[(Uuid, TopicValue)],
    starts: &HashMap<(Uuid, u32), i64>,
    report: &mut RestoreReport,
) -> Result<Gathered, RestoreFailure> {
    let mut sizes: HashMap<String, u64> = HashMap::new();
    let note = |object: Listed| {
        sizes.insert(object.name, object.size);
    };
    bucket.list(SEGMENTS, note).await?;
    let partitions: HashMap<Uuid, usize> =
        topics.iter().map(|(id, topic)| (*id, topic.partitions.len())).collect();
    let mut by_log: BTreeMap<(Uuid, u32), Vec<RemoteSegment>> = BTreeMap::new();
    let mut garbage = Vec::new();
    for Entry { topic_id, topic, partition, base_offset, segment } in chain.entries.values() {
        let id = Uuid::from_slice(topic_id).unwrap_or_default();
        let index = u32::try_from(*partition).unwrap_or(u32::MAX);
        if partitions.get(&id).is_none_or(|count| index as usize >= *count) {
            // Left alone: should the copy of the topics be older than it ought to be, the object is still there. Scrubbing
            // removes it after its grace time.
            if topic.is_empty() {
                garbage.push(segment.object.clone());
            } else {
                let place = format!("{topic}-{partition}");
                let fault =
                    format!("{} is of {place}, which the copy of topics does not know", segment.object);
                report.faults.push(fault);
            }
        } else if sizes.get(&segment.object) == Some(&segment.size) {
            by_log
                .entry((id, index))
                .or_default()
                .push(RemoteSegment::from_value(*base_offset, segment.clone()));
        } else {
            report.faults.push(format!("{} is missing, or has another size than it had", segment.object));
        }
    }
    let mut logs: HashMap<(Uuid, u32), RestoredLog> = HashMap::new();
    for (key, segments) in by_log {
        let start = starts.get(&key).copied().unwrap_or(0);
        if let Some(log) = whole_run(segments, start, &mut garbage, &mut report.faults) {
            logs.insert(key, log);
        }
    }
    let kept: HashSet<&str> = logs
        .values()
        .flat_map(|log: &RestoredLog| log.segments.iter().map(|(segment, _)| &*segment.object))
        .chain(garbage.iter().map(String::as_str))
        .collect();
    sizes.retain(|object, _| !kept.contains(&**object));
    report.unnamed = unnamed(&sizes, topics);
    let names = topics.iter().map(|(id, topic)| (*id, topic.name.clone())).collect();
    Ok(Gathered { logs, garbage, names })
}

fn unnamed(sizes: &HashMap<String, u64>, topics: &[(Uuid, TopicValue)]) -> Unnamed {
    let folders: HashSet<String> = topics.iter().map(|(id, topic)| topic_folder(&topic.name, *id)).collect();
    let is_of_a_topic = |name: &str| name.split('/').nth(1).is_some_and(|folder| folders.contains(folder));
    let mut found = Unnamed::default();
    for (name, size) in sizes {
        if is_of_a_topic(name) {
            found.count += 1;
            found.bytes += size;
            found.first.push(name.clone());
        }
    }
    found.first.sort_unstable();
    found.first.truncate(UNNAMED_TOLD);
    found
}

/// Of the segments of a log the newest run without a gap: what is before a gap cannot be reached by reading on.
fn whole_run(
    mut segments: Vec<RemoteSegment>,
    start: i64,
    garbage: &mut Vec<String>,
    faults: &mut Vec<String>,
) -> Option<RestoredLog> {
    segments.sort_by_key(|segment| segment.base_offset);
    segments.retain(|segment| {
        let is_deleted = segment.next_offset <= start;
        if is_deleted {
            garbage.push(segment.object.to_string());
        }
        !is_deleted
    });
    let after_gap = segments.windows(2).rposition(|pair| pair[0].next_offset != pair[1].base_offset);
    if let Some(gap) = after_gap {
        let (before, after) = (segments[gap].next_offset, segments[gap + 1].base_offset);
        let object = &segments[gap + 1].object;
        faults.push(format!(
            "offsets {before} to {after} are lost, and with them all before: the log begins with {object}"
        ));
        // Left alone, too, for whoever finds what is missing before the grace time is over.
        segments.drain(..=gap);
    }
    let (first, last) = (segments.first()?.base_offset, segments.last()?.next_offset);
    Some(RestoredLog {
        log_start_offset: start.max(first),
        end_offset: last,
        segments: segments.into_iter().map(|segment| (segment, None)).collect(),
        ..RestoredLog::default()
    })
}

/// Reads the tails of the newest segments of each log: epochs, producers that may still write, indexes, and what had been
/// decided of transactions whose ends are lost.
async fn read_tails(
    bucket: &Bucket,
    gathered: &mut Gathered,
    options: &RestoreOptions,
    report: &mut RestoreReport,
    progress: impl Fn(usize, usize),
) -> Result<Vec<Unfinished>, RestoreFailure> {
    let oldest_ms = options.now_ms.saturating_sub(options.producer_expiration_ms);
    let mut wanted = Vec::new();
    for (key, log) in &gathered.logs {
        let last = log.segments.len() - 1;
        for (place, (segment, _)) in log.segments.iter().enumerate() {
            // The newest in any case, for its epochs.
            if place == last || segment.appended_ms >= oldest_ms {
                wanted.push((*key, place, segment.object.clone(), segment.tail_bytes));
            }
        }
    }
    let all = wanted.len();
    let mut tails: HashMap<(Uuid, u32), BTreeMap<usize, Tail>> = HashMap::new();
    let mut reading = stream::iter(wanted.into_iter().map(|(key, place, object, length)| async move {
        let tail = read_tail(bucket, &object, Some(length)).await;
        (key, place, object, tail)
    }))
    .buffer_unordered(TAILS_AT_ONCE);
    let mut done = 0;
    while let Some((key, place, object, tail)) = reading.next().await {
        done += 1;
        progress(done, all);
        match tail {
            Ok((tail, _)) => drop(tails.entry(key).or_default().insert(place, tail)),
            // It can be asked again, and without its producers a retry would be written twice.
            Err(TailError::Bucket(error)) if !matches!(error, BucketError::NotFound(_)) => {
                return Err(error.into());
            }
            Err(error) => report.faults.push(format!("{object}: {error}")),
        }
    }
    drop(reading);
    let mut unfinished = Vec::new();
    for (key, tails) in tails {
        let Some(log) = gathered.logs.get_mut(&key) else { continue };
        let topic = gathered.names.get(&key.0).cloned().unwrap_or_default();
        unfinished.extend(take_tails(log, &topic, key.1, &tails));
    }
    Ok(unfinished)
}

fn take_tails(
    log: &mut RestoredLog,
    topic: &str,
    partition: u32,
    tails: &BTreeMap<usize, Tail>,
) -> Vec<Unfinished> {
    let mut producers = Producers::default();
    let mut aborted: HashSet<(i64, i64)> = HashSet::new();
    for (place, tail) in tails {
        producers.followed_by(&tail.producers);
        aborted.extend(
            tail.aborted
                .iter()
                .filter(|txn| txn.last_offset >= log.end_offset)
                .map(|txn| (txn.producer_id, txn.last_offset)),
        );
        log.epochs.extend(tail.epochs.iter().copied());
        if let Some((_, index)) = log.segments.get_mut(*place) {
            *index = Some(encode_index(tail));
        }
    }
    let aborted: HashSet<i64> = aborted.into_iter().map(|(producer, _)| producer).collect();
    let mut unfinished = Vec::new();
    for (producer_id, state) in producers.iter() {
        if state.txn_first_offset.is_some() {
            unfinished.push(Unfinished {
                topic: topic.to_owned(),
                partition: partition as i32,
                producer_id,
                producer_epoch: state.epoch,
                coordinator_epoch: state.coordinator_epoch,
                committed: !aborted.contains(&producer_id),
            });
        }
        log.producers.push((producer_id, state.clone()));
    }
    unfinished
}

fn partitions(
    topics: &[(Uuid, TopicValue)],
    logs: &HashMap<(Uuid, u32), RestoredLog>,
    starts: &HashMap<(Uuid, u32), i64>,
) -> Vec<RestoredPartition> {
    let mut found = Vec::new();
    for (id, topic) in topics {
        for index in 0..topic.partitions.len() as u32 {
            let start = starts.get(&(*id, index)).copied().unwrap_or(0);
            let log = logs.get(&(*id, index));
            found.push(RestoredPartition {
                topic: topic.name.clone(),
                partition: index,
                log_start_offset: log.map_or(start, |log| log.log_start_offset),
                end_offset: log.map_or(start, |log| log.end_offset),
                segments: log.map_or(0, |log| log.segments.len()),
                bytes: log.map_or(0, |log| log.segments.iter().map(|(segment, _)| segment.bytes).sum()),
            });
        }
    }
    found.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    found
}

/// An engine's log, by the topic's name.
pub fn log_of(
    engine: &chronik_engine::Engine,
    topic: &str,
    partition: i32,
) -> Option<Arc<chronik_engine::log::PartitionLog>> {
    engine.topics().get(topic).and_then(|topic| topic.log(partition)).cloned()
}

/// Writes the ends of transactions that were lost, into the directory that was just restored.
///
/// # Errors
/// The store's; and what a log says that cannot take a marker: a directory in which a transaction stays open for ever would keep
/// every reader of committed records from going on.
pub async fn finish(
    engine: &chronik_engine::Engine,
    unfinished: &[Unfinished],
    now_ms: i64,
) -> Result<(), RestoreFailure> {
    for txn in unfinished {
        let Some(log) = log_of(engine, &txn.topic, txn.partition) else { continue };
        let marker = chronik_engine::producer::Marker {
            producer_id: txn.producer_id,
            producer_epoch: txn.producer_epoch,
            coordinator_epoch: txn.coordinator_epoch.max(0),
            commit: txn.committed,
            raises_epoch: false,
        };
        let appended = log.append_marker(&marker, now_ms).map_err(|reason| RestoreFailure::Unended {
            topic: txn.topic.clone(),
            partition: txn.partition,
            producer_id: txn.producer_id,
            reason,
        })?;
        appended.ticket.await?;
    }
    Ok(())
}
