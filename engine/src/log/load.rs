//! Logs as they were at the last durable moment: scans over small values, whatever the data's size.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::Segment;
use super::tier::{RemoteSegment, check_remote};
use crate::keys::clean::CleanValue;
use crate::keys::log::{EpochValue, LogValue, TailValue};
use crate::keys::producer::ProducerValue;
use crate::keys::{self, PartitionId, decode};
use crate::producer::ProducerState;
use crate::store::{Keyspace, Store, StoreError, scan_all};

/// What [`super::PartitionLog`] is made from.
#[derive(Debug)]
pub(crate) struct LoadedLog {
    pub(super) log_start_offset: i64,
    pub(super) local_start_offset: i64,
    pub(super) next_offset: i64,
    pub(super) epochs: Vec<EpochValue>,
    pub(super) sealed: VecDeque<Segment>,
    pub(super) active: Segment,
    pub(super) remote: VecDeque<Arc<RemoteSegment>>,
    pub(super) producers: HashMap<i64, ProducerState>,
    /// Producers with an open transaction, by its first offset.
    pub(super) open: BTreeMap<i64, i64>,
    /// Offset of the newest abort marker, -1 when there is none.
    pub(super) newest_aborted: i64,
    pub(super) clean: CleanValue,
    /// Why the partition cannot serve, if what is stored of it does not fit together.
    pub(crate) broken: Option<&'static str>,
}

impl Default for LoadedLog {
    /// A log that was never written.
    fn default() -> Self {
        Self {
            log_start_offset: 0,
            local_start_offset: 0,
            next_offset: 0,
            epochs: vec![EpochValue { epoch: 0, start_offset: 0 }],
            sealed: VecDeque::new(),
            active: Segment::empty(0),
            remote: VecDeque::new(),
            producers: HashMap::new(),
            open: BTreeMap::new(),
            newest_aborted: -1,
            clean: CleanValue::NEVER,
            broken: None,
        }
    }
}

impl LoadedLog {
    /// Opens a new leader epoch: what an unclean stop of a log that does not fsync calls for.
    pub(crate) fn raise_epoch(&mut self) -> LogValue {
        let epoch = self.epochs.last().map_or(0, |entry| entry.epoch) + 1;
        self.epochs.push(EpochValue { epoch, start_offset: self.next_offset });
        LogValue {
            log_start_offset: self.log_start_offset,
            epochs: self.epochs.clone(),
            local_start_offset: self.local_start_offset,
        }
    }
}

/// Every log of a store, by partition. A partition without an entry was never written.
pub(crate) async fn load_all(store: &dyn Store) -> Result<HashMap<PartitionId, LoadedLog>, StoreError> {
    let mut logs: HashMap<PartitionId, LoadedLog> = HashMap::new();
    for (key, value) in scan_all(store, Keyspace::Index, keys::log::all_logs()).await? {
        let value: LogValue = decode(&value, "log")?;
        let log = logs.entry(keys::log::parse_partition(&key)?).or_default();
        log.log_start_offset = value.log_start_offset;
        log.local_start_offset = value.local_start_offset;
        if !value.epochs.is_empty() {
            log.epochs = value.epochs;
        }
    }
    for (key, value) in scan_all(store, Keyspace::Index, keys::log::all_segments()).await? {
        let (partition, base_offset) = keys::log::parse_segment(&key)?;
        let segment = Segment::from_value(base_offset, decode(&value, "segment")?);
        logs.entry(partition).or_default().sealed.push_back(segment);
    }
    for (key, value) in scan_all(store, Keyspace::Index, keys::tier::all_segments()).await? {
        let (partition, base_offset) = keys::tier::parse_segment(&key)?;
        let segment = RemoteSegment::from_value(base_offset, decode(&value, "remote segment")?);
        logs.entry(partition).or_default().remote.push_back(Arc::new(segment));
    }
    for (key, value) in scan_all(store, Keyspace::Index, keys::log::all_tails()).await? {
        let value: TailValue = decode(&value, "log tail")?;
        let log = logs.entry(keys::log::parse_partition(&key)?).or_default();
        log.next_offset = value.next_offset;
        log.active = Segment::from_value(value.active_base, value.active.unwrap_or_default());
        log.active.time_indexed_to = value.time_indexed_to;
        log.active.time_indexed_max = value.time_indexed_max;
        log.newest_aborted = value.aborted_to - 1;
    }
    for (key, value) in scan_all(store, Keyspace::Index, keys::producer::all()).await? {
        let (partition, producer_id) = keys::producer::parse(&key)?;
        let state = ProducerState::from_value(decode::<ProducerValue>(&value, "producer")?);
        let log = logs.entry(partition).or_default();
        log.open.extend(state.txn_first_offset.map(|first_offset| (first_offset, producer_id)));
        log.producers.insert(producer_id, state);
    }
    for (key, value) in scan_all(store, Keyspace::Index, keys::clean::all()).await? {
        logs.entry(keys::log::parse_partition(&key)?).or_default().clean =
            decode(&value, "cleaner checkpoint")?;
    }
    for log in logs.values_mut() {
        log.broken = log.check().err();
    }
    Ok(logs)
}

impl LoadedLog {
    /// What must hold between the parts; they were written in one batch.
    fn check(&self) -> Result<(), &'static str> {
        if self.active.next_offset != self.next_offset {
            return Err("the active segment does not end where the log ends");
        }
        if self.log_start_offset > self.next_offset {
            return Err("the log starts behind its end");
        }
        let mut expected = self.sealed.front().map_or(self.active.base_offset, |first| first.base_offset);
        for segment in self.sealed.iter().chain([&self.active]) {
            if segment.base_offset != expected {
                return Err("there is a gap between two segments");
            }
            expected = segment.next_offset;
        }
        check_remote(&self.remote, self.local_start_offset)
    }
}
