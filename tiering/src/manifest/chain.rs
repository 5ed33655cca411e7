//! A chain: reading it to its end, and going on with it as long as nobody else has.

use std::collections::BTreeMap;

use super::record::{Entry, Kind, Record, RecordError};
use super::{chain_folder, delta_name, folder, snapshot_name};
use crate::bucket::{Bucket, BucketError, Created};
use crate::limits::SNAPSHOT_EVERY;

/// Why a chain cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The store.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An object of it.
    #[error("{name}: {error}")]
    Record {
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A number is missing.
    #[error("{0} is missing from the manifest")]
    Missing(String),
}

/// Why a chain was not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The store; the record may be there all the same, and must be tried again as it is.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Somebody else has taken the next epoch.
    #[error("another broker has taken over the bucket: this one uploads and deletes nothing any more")]
    Replaced,
}

/// A chain, read to its end.
#[derive(Clone, Debug, Default)]
pub struct ChainState {
    /// Its epoch.
    pub epoch: u64,
    /// Random id of whoever opened it.
    pub claim: Vec<u8>,
    /// When its newest record was written, ms.
    pub written_ms: i64,
    /// Segments, by object.
    pub entries: BTreeMap<String, Entry>,
    /// Number of the first delta that is not there.
    pub next: u64,
    /// Who has sealed it.
    pub sealed_by: Option<Vec<u8>>,
}

impl ChainState {
    pub(super) fn apply(&mut self, record: Record) {
        self.written_ms = record.written_ms;
        match record.kind() {
            Kind::Opening | Kind::Snapshot => {
                self.entries = by_object(record.added);
                self.claim = record.claim;
            }
            Kind::Changes => {
                for object in &record.removed {
                    self.entries.remove(object);
                }
                self.entries.extend(by_object(record.added));
            }
            Kind::Seal => self.sealed_by = Some(record.claim),
            Kind::Unknown => {}
        }
        self.next = record.number + 1;
    }
}

fn by_object(entries: Vec<Entry>) -> BTreeMap<String, Entry> {
    entries.into_iter().map(|entry| (entry.segment.object.clone(), entry)).collect()
}

/// The newest epoch that was opened of a cluster's manifest; `None` when there is none. A folder without a record is not one: in
/// a directory the folder comes first, and whoever made it may have been killed before it wrote the opening.
///
/// # Errors
/// [`BucketError`].
pub async fn newest_epoch(bucket: &Bucket, cluster_id: &str) -> Result<Option<u64>, BucketError> {
    let children = bucket.children(&folder(cluster_id)).await?;
    let mut epochs: Vec<u64> = children.iter().filter_map(|name| name.parse().ok()).collect();
    epochs.sort_unstable();
    while let Some(epoch) = epochs.pop() {
        let records = bucket.children(&chain_folder(cluster_id, epoch)).await?;
        if records.iter().any(|name| name.ends_with(".delta")) {
            return Ok(Some(epoch));
        }
    }
    Ok(None)
}

/// Reads a chain from its newest snapshot, or its opening, to its end.
///
/// # Errors
/// [`ChainError`].
pub async fn read_chain(bucket: &Bucket, cluster_id: &str, epoch: u64) -> Result<ChainState, ChainError> {
    let names = bucket.children(&chain_folder(cluster_id, epoch)).await?;
    let numbers = |suffix: &str| -> Vec<u64> {
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(suffix)?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    };
    let (deltas, mut snapshots) = (numbers(".delta"), numbers(".snapshot"));
    let mut state = ChainState { epoch, ..ChainState::default() };
    while let Some(number) = snapshots.pop() {
        match read(bucket, snapshot_name(cluster_id, epoch, number)).await {
            Ok(record) => {
                state.apply(record);
                break;
            }
            // An older one, with more deltas, says the same.
            Err(ChainError::Record { .. }) if !snapshots.is_empty() || deltas.first() == Some(&0) => {}
            Err(error) => return Err(error),
        }
    }
    for number in deltas.into_iter().filter(|number| *number >= state.next).collect::<Vec<_>>() {
        if number != state.next {
            return Err(ChainError::Missing(delta_name(cluster_id, epoch, state.next)));
        }
        state.apply(read(bucket, delta_name(cluster_id, epoch, number)).await?);
    }
    if state.next == 0 {
        return Err(ChainError::Missing(delta_name(cluster_id, epoch, 0)));
    }
    Ok(state)
}

pub(super) async fn read(bucket: &Bucket, name: String) -> Result<Record, ChainError> {
    let bytes = bucket.get(&name).await?;
    let record = Record::decode_object(&bytes).and_then(|record| match names(&record, &name) {
        true => Ok(record),
        false => Err(RecordError::Damaged("it is of another place in the manifest".to_owned())),
    });
    record.map_err(|error| ChainError::Record { name, error })
}

/// Whether a record is of this epoch and number.
fn names(record: &Record, name: &str) -> bool {
    let mut parts = name.rsplit('/');
    let number = parts.next().and_then(|file| file.split('.').next()?.parse().ok());
    let epoch = parts.next().and_then(|folder| folder.parse().ok());
    (epoch, number) == (Some(record.epoch), Some(record.number))
}

/// The chain of the epoch that this broker has taken.
#[derive(Debug)]
pub struct Chain {
    bucket: Bucket,
    cluster_id: String,
    epoch: u64,
    claim: Vec<u8>,
    next: u64,
    /// A record whose create has not been answered for certain.
    pending: Option<Record>,
    last_snapshot: u64,
}

impl Chain {
    pub(super) fn new(bucket: Bucket, cluster_id: String, epoch: u64, claim: Vec<u8>) -> Self {
        Self { bucket, cluster_id, epoch, claim, next: 0, pending: None, last_snapshot: 0 }
    }

    /// Its epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of the next delta.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Writes the next delta. After [`AppendError::Bucket`] the same changes must be appended again: the record may be
    /// there, and its number cannot be used for another.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(
        &mut self,
        kind: Kind,
        added: Vec<Entry>,
        removed: Vec<String>,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        let mut record = match self.pending.take() {
            // As it was, its time included, or it would be another one.
            Some(pending) if pending.added == added && pending.removed == removed => pending,
            _ => Record {
                kind: kind.into(),
                epoch: self.epoch,
                number: self.next,
                claim: self.claim.clone(),
                written_ms: now_ms,
                added,
                removed,
            },
        };
        loop {
            record.number = self.next;
            let name = delta_name(&self.cluster_id, self.epoch, self.next);
            let created = match self.bucket.create(&name, record.encode_object()).await {
                // Whoever asked for an earlier record may have given up, and it has arrived all the same: what it says
                // of the logs is put right at the next start.
                Ok(Created::Taken) if kind == Kind::Opening => return Err(AppendError::Replaced),
                Ok(Created::Taken) => match self.is_own(name).await {
                    Ok(true) => {
                        self.next += 1;
                        continue;
                    }
                    Ok(false) => return Err(AppendError::Replaced),
                    Err(error) => Err(error),
                },
                created => created.map(drop),
            };
            return match created {
                Ok(()) => {
                    self.next += 1;
                    Ok(())
                }
                Err(error) => {
                    self.pending = Some(record);
                    Err(error.into())
                }
            };
        }
    }

    /// Whether the record of this name is one that we have written ourselves.
    async fn is_own(&self, name: String) -> Result<bool, BucketError> {
        match read(&self.bucket, name).await {
            Ok(there) => Ok(there.claim == self.claim && there.kind() != Kind::Seal),
            Err(ChainError::Bucket(error)) => Err(error),
            // Not ours, whatever it is.
            Err(_) => Ok(false),
        }
    }

    /// Whether a snapshot is due.
    pub fn wants_snapshot(&self) -> bool {
        self.next - self.last_snapshot > SNAPSHOT_EVERY
    }

    /// Writes what there is after the newest delta, and deletes the records that the snapshot before it has made needless.
    ///
    /// # Errors
    /// [`BucketError`]; the chain is as good as before.
    pub async fn snapshot(&mut self, entries: Vec<Entry>, now_ms: i64) -> Result<(), BucketError> {
        let number = self.next - 1;
        let record = Record {
            kind: Kind::Snapshot.into(),
            epoch: self.epoch,
            number,
            claim: self.claim.clone(),
            written_ms: now_ms,
            added: entries,
            removed: Vec::new(),
        };
        self.bucket
            .create(&snapshot_name(&self.cluster_id, self.epoch, number), record.encode_object())
            .await?;
        let before = std::mem::replace(&mut self.last_snapshot, number);
        let folder = chain_folder(&self.cluster_id, self.epoch);
        let old = |name: &String| {
            name.split('.')
                .next()
                .and_then(|number| number.parse().ok())
                .is_some_and(|number: u64| number < before)
        };
        let names = self.bucket.children(&folder).await?;
        let needless: Vec<String> =
            names.into_iter().filter(old).map(|name| format!("{folder}/{name}")).collect();
        self.bucket.delete(&needless).await.all()
    }
}
