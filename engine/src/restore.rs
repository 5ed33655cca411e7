//! Builds a data directory from what object storage has: the small keyspace as it was copied last, and logs that are
//! remote up to where they reach. Writes into an empty store; whoever opens it then finds logs like any others.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use crate::error::RestoreError;
use crate::keys::log::{EpochValue, LogValue, SegmentValue, TailValue};
use crate::keys::tier::TierStateValue;
use crate::keys::topic::TopicValue;
use crate::keys::{self, PartitionId, decode, system};
use crate::log::RemoteSegment;
use crate::producer::ProducerState;
use crate::store::{Durability, Keyspace, ScanLimit, Store, StoreError, WriteBatch};
use crate::tier::MetaCopy;

/// Producer ids that are passed over: what was handed out since the copy must not be handed out again.
const PRODUCER_IDS_SKIPPED: u64 = 1_000_000;

/// Leader epochs that are passed over: those that the lost directory may have begun since the copy.
const EPOCHS_SKIPPED: i32 = 100;

/// Entries of one write.
const BATCH_ENTRIES: usize = 10_000;

/// One log, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct RestoredLog {
    /// First offset there is.
    pub log_start_offset: i64,
    /// First offset that is lost; the log goes on with it.
    pub end_offset: i64,
    /// Leader epochs, oldest first.
    pub epochs: Vec<EpochValue>,
    /// Remote segments without a gap, oldest first, the last one up to `end_offset`; each with its index, if it was read.
    pub segments: Vec<(RemoteSegment, Option<Bytes>)>,
    /// Producers, as of the end.
    pub producers: Vec<(i64, ProducerState)>,
}

/// What is restored.
#[derive(Debug, Default)]
pub struct Restored {
    /// The small keyspace.
    pub meta: MetaCopy,
    /// Logs by topic and index; those that are missing are empty.
    pub logs: HashMap<(Uuid, u32), RestoredLog>,
    /// Objects that no log needs.
    pub garbage: Vec<String>,
    /// The place in the bucket's manifest.
    pub tier: TierStateValue,
}

/// A committed offset that lay behind the end of what could be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClampedOffset {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: u32,
    /// What was committed.
    pub committed: i64,
    /// What it is now: the end of the log.
    pub now: i64,
}

/// The topics of a copy of the small keyspace.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn topics_of(meta: &MetaCopy) -> Result<Vec<(Uuid, TopicValue)>, StoreError> {
    let topics = meta.entries.iter().filter_map(|(key, value)| {
        let id = keys::topic::parse(key).ok()?;
        Some(decode(value, "topic").map(|topic| (id, topic)))
    });
    topics.collect()
}

/// Whether a store can be restored into.
///
/// # Errors
/// [`RestoreError::NotEmpty`], and the store's.
pub async fn check_empty(store: &dyn Store) -> Result<(), RestoreError> {
    for keyspace in Keyspace::ALL {
        let everything = Bytes::new()..Bytes::from_static(&[0xff]);
        if !store.scan(keyspace, everything, ScanLimit::entries(1)).await?.entries.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
    }
    Ok(())
}

/// Writes everything into `store`, which must be empty. Returns the committed offsets that had to be clamped.
///
/// # Errors
/// [`RestoreError`]; what was written then is of no use.
pub async fn restore(store: &dyn Store, restored: Restored) -> Result<Vec<ClampedOffset>, RestoreError> {
    check_empty(store).await?;
    let topics = topics_of(&restored.meta)?;
    let mut writer = Writer { store, write: WriteBatch::new(), entries: 0 };
    let ends = write_logs(&mut writer, &topics, &restored).await?;
    let clamped = write_meta(&mut writer, &topics, &restored, &ends).await?;
    for object in &restored.garbage {
        writer.put(Keyspace::Index, keys::tier::garbage_key(object), Bytes::new()).await?;
    }
    let tier = restored.tier.encode_to_vec().into();
    writer.put(Keyspace::Meta, keys::tier::state_key(), tier).await?;
    writer.put(Keyspace::Meta, system::clean_stop(), Bytes::from_static(b"1")).await?;
    writer.finish(Durability::Sync).await?;
    Ok(clamped)
}

struct Writer<'a> {
    store: &'a dyn Store,
    write: WriteBatch,
    entries: usize,
}

impl Writer<'_> {
    async fn put(&mut self, keyspace: Keyspace, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        self.write.put(keyspace, key, value);
        self.entries += 1;
        if self.entries < BATCH_ENTRIES {
            return Ok(());
        }
        self.entries = 0;
        let write = std::mem::replace(&mut self.write, WriteBatch::new());
        self.store.commit(write, Durability::Os).await
    }

    async fn finish(self, durability: Durability) -> Result<(), StoreError> {
        self.store.commit(self.write, durability).await
    }
}

/// Writes the logs. Returns where each ends.
async fn write_logs(
    writer: &mut Writer<'_>,
    topics: &[(Uuid, TopicValue)],
    restored: &Restored,
) -> Result<HashMap<(Uuid, u32), i64>, StoreError> {
    let copied: BTreeMap<PartitionId, Bytes> = restored.meta.logs.iter().cloned().collect();
    let mut ends = HashMap::new();
    for (id, topic) in topics {
        for (index, place) in topic.partitions.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let partition = PartitionId(place.id);
            let known: LogValue = match copied.get(&partition) {
                Some(value) => decode(value, "log")?,
                None => LogValue::default(),
            };
            let nothing = RestoredLog {
                log_start_offset: known.log_start_offset,
                end_offset: known.log_start_offset,
                ..RestoredLog::default()
            };
            let log = restored.logs.get(&(*id, index)).unwrap_or(&nothing);
            write_log(writer, partition, log, &known).await?;
            ends.insert((*id, index), log.end_offset);
        }
    }
    Ok(ends)
}

async fn write_log(
    writer: &mut Writer<'_>,
    partition: PartitionId,
    log: &RestoredLog,
    known: &LogValue,
) -> Result<(), StoreError> {
    let end = log.end_offset;
    let value = LogValue {
        log_start_offset: log.log_start_offset,
        epochs: raised_epochs(&log.epochs, &known.epochs, log.log_start_offset, end),
        local_start_offset: end,
    };
    writer.put(Keyspace::Index, keys::log::log_key(partition), value.encode_to_vec().into()).await?;
    let tail = TailValue {
        next_offset: end,
        active: Some(SegmentValue {
            next_offset: end,
            max_timestamp: -1,
            first_timestamp: -1,
            ..SegmentValue::default()
        }),
        active_base: end,
        time_indexed_to: end,
        time_indexed_max: i64::MIN,
        aborted_to: 0,
    };
    writer.put(Keyspace::Index, keys::log::tail_key(partition), tail.encode_to_vec().into()).await?;
    for (segment, blocks) in &log.segments {
        let key = keys::tier::segment_key(partition, segment.base_offset);
        writer.put(Keyspace::Index, key, segment.to_value().encode_to_vec().into()).await?;
        if let Some(blocks) = blocks {
            let key = keys::tier::blocks_key(partition, segment.base_offset);
            let value = keys::tier::blocks_value(blocks, &segment.object);
            writer.put(Keyspace::Index, key, value).await?;
        }
    }
    for (id, producer) in &log.producers {
        let key = keys::producer::key(partition, *id);
        writer.put(Keyspace::Index, key, producer.to_value().encode_to_vec().into()).await?;
    }
    Ok(())
}

/// The epochs of what is left, and a new one behind all that the lost directory may have begun: whoever has read what is
/// lost finds out that it is.
fn raised_epochs(own: &[EpochValue], copied: &[EpochValue], start: i64, end: i64) -> Vec<EpochValue> {
    let mut epochs: BTreeMap<i32, i64> = BTreeMap::new();
    for entry in own.iter().chain(copied) {
        let known = epochs.entry(entry.epoch).or_insert(entry.start_offset);
        *known = (*known).min(entry.start_offset);
    }
    let newest = epochs.keys().next_back().copied().unwrap_or(0);
    epochs.retain(|_, from| *from < end);
    let mut kept: Vec<EpochValue> =
        epochs.into_iter().map(|(epoch, from)| EpochValue { epoch, start_offset: from.max(start) }).collect();
    // Of those that begin before the start only the newest still has an offset.
    while kept.len() > 1 && kept.get(1).is_some_and(|second| second.start_offset <= start) {
        kept.remove(0);
    }
    kept.push(EpochValue { epoch: newest.saturating_add(EPOCHS_SKIPPED), start_offset: end });
    kept
}

/// Writes the small keyspace: offsets clamped, producer ids passed over, open transactions past their time, so that the
/// coordinator aborts them.
async fn write_meta(
    writer: &mut Writer<'_>,
    topics: &[(Uuid, TopicValue)],
    restored: &Restored,
    ends: &HashMap<(Uuid, u32), i64>,
) -> Result<Vec<ClampedOffset>, RestoreError> {
    let mut clamped = Vec::new();
    let newest_epochs = newest_epochs(restored);
    for (key, value) in &restored.meta.entries {
        let mut value = value.clone();
        if *key == system::format_version() {
            check_format(&value)?;
        } else if *key == system::next_producer_id() {
            let next: u64 = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            value = Bytes::from((next + PRODUCER_IDS_SKIPPED).to_string());
        } else if let Ok((group, topic, partition)) = keys::group::parse_offset(key) {
            let mut offset = keys::group::decode_offset(&value)?;
            let end = ends.get(&(topic, partition)).copied();
            if let Some(end) = end.filter(|end| offset.offset > *end) {
                let name = topics.iter().find(|(id, _)| *id == topic);
                clamped.push(ClampedOffset {
                    group,
                    topic: name.map(|(_, topic)| topic.name.clone()).unwrap_or_default(),
                    partition,
                    committed: offset.offset,
                    now: end,
                });
                offset.offset = end;
                offset.leader_epoch = -1;
                value = offset.encode_to_vec().into();
            }
        } else if keys::txn::parse(key).is_ok() {
            let mut txn = keys::txn::decode_txn(&value)?;
            if txn.started_ms.is_some() {
                // Past any timeout.
                txn.started_ms = Some(1);
            }
            // The id may have been taken again since the copy: whoever takes it next must be newer than what the logs know.
            let seen = newest_epochs.get(&txn.producer_id).map(|epoch| i32::from(*epoch));
            txn.producer_epoch = txn.producer_epoch.max(seen);
            value = txn.encode_to_vec().into();
        }
        writer.put(Keyspace::Meta, key.clone(), value).await?;
    }
    clamped.sort_by(|a, b| (&a.group, &a.topic, a.partition).cmp(&(&b.group, &b.topic, b.partition)));
    Ok(clamped)
}

/// The newest epoch that any log knows of each producer.
fn newest_epochs(restored: &Restored) -> HashMap<i64, i16> {
    let mut newest: HashMap<i64, i16> = HashMap::new();
    for (id, producer) in restored.logs.values().flat_map(|log| &log.producers) {
        let known = newest.entry(*id).or_insert(producer.epoch);
        *known = (*known).max(producer.epoch);
    }
    newest
}

fn check_format(value: &[u8]) -> Result<(), RestoreError> {
    let found = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if found > system::FORMAT_VERSION { Err(RestoreError::NewerFormat(found)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Vec<EpochValue> {
        entries
            .iter()
            .map(|(epoch, start_offset)| EpochValue { epoch: *epoch, start_offset: *start_offset })
            .collect()
    }

    #[test]
    fn epochs_of_what_is_left_stay_and_a_new_one_begins_at_the_end() {
        let own = epochs(&[(1, 10), (2, 20)]);
        let copied = epochs(&[(0, 0), (1, 10), (2, 20), (3, 40)]);
        assert_eq!(raised_epochs(&own, &copied, 0, 30), epochs(&[(0, 0), (1, 10), (2, 20), (103, 30)]));
        assert_eq!(raised_epochs(&own, &copied, 15, 30), epochs(&[(1, 15), (2, 20), (103, 30)]));
        assert_eq!(raised_epochs(&own, &copied, 30, 30), epochs(&[(2, 30), (103, 30)]));
        assert_eq!(raised_epochs(&[], &[], 0, 0), epochs(&[(100, 0)]));
    }
}
