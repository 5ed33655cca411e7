//! Taking the next epoch. Ends the chain of whoever had the last one, with a seal in the place of its next delta: one of
//! the two creates it, and the other knows.

use chronik_engine::Engine;
use chronik_engine::keys::tier::TierStateValue;
use chronik_engine::store::StoreError;

use super::chain::{AppendError, Chain, ChainError, ChainState, newest_epoch, read, read_chain};
use super::record::{Entry, Kind, Record};
use super::{chain_folder, delta_name};
use crate::bucket::{Bucket, BucketError, Created};

/// Why an epoch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The manifest, or the store under it.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The directory's own store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else has taken over since.
    #[error(
        "another broker of this cluster has taken over the bucket (epoch {epoch}, active until {written_ms} ms): this data \
         directory is behind what the bucket holds, and neither uploads nor deletes. Stop one of the two brokers; to go on \
         from the bucket, restore it into an empty directory"
    )]
    Replaced {
        /// The newest epoch.
        epoch: u64,
        /// When its newest record was written.
        written_ms: i64,
    },
    /// The bucket does not know us.
    #[error(
        "the bucket has no manifest of this cluster, though epoch {epoch} was taken and segments are there: was the bucket \
         or the prefix changed? Set it back, or copy the objects over"
    )]
    Lost {
        /// The epoch that the directory has taken last.
        epoch: u64,
    },
    /// The directory is not the one that wrote to the bucket, though it has its name.
    #[error(
        "this data directory is an older state of the one that wrote to the bucket: {0}. Nothing is uploaded or deleted from \
         here. To go on with what the bucket holds, restore it into an empty directory, and take over what is here alone by \
         `segment export` and `segment import`"
    )]
    Refused(String),
}

impl From<BucketError> for ClaimError {
    fn from(error: BucketError) -> Self {
        ChainError::from(error).into()
    }
}

/// An epoch that was taken.
#[derive(Debug)]
pub struct Claim {
    /// Its chain, opened.
    pub chain: Chain,
    /// What the chain before it came to, which is what this one begins with.
    pub entries: Vec<Entry>,
}

/// Takes the next epoch for the directory that `engine` has open.
///
/// # Errors
/// [`ClaimError`]; after any but [`ClaimError::Replaced`] and [`ClaimError::Lost`] it is worth trying again.
pub async fn claim(engine: &Engine, bucket: &Bucket, now_ms: i64) -> Result<Claim, ClaimError> {
    let cluster_id = engine.cluster_id();
    let mut own = engine.tier_state().await?;
    let newest = newest_epoch(bucket, cluster_id).await?;
    let before = match newest {
        Some(epoch) => Some(read_chain(bucket, cluster_id, epoch).await?),
        None => None,
    };
    if !own.refusal.is_empty() {
        return Err(ClaimError::Refused(own.refusal));
    }
    check_ours(engine, &own, before.as_ref())?;
    let reason =
        before.as_ref().and_then(|before| unknown_changes(&own, before).or_else(|| behind(engine, before)));
    if let Some(reason) = reason {
        refuse(engine, &reason).await?;
        return Err(ClaimError::Refused(reason));
    }
    let epoch = newest.unwrap_or(own.epoch) + 1;
    // An attempt that was cut short is gone on with under its own id: what it has sent may still arrive.
    let goes_on = own.claiming_epoch == epoch && !own.claiming.is_empty();
    let id = if goes_on { own.claiming.clone() } else { new_id() };
    let mut state = before.unwrap_or_default();
    if newest.is_some() {
        // As it is ours, whether or not that had been noted.
        (own.epoch, own.claim) = (state.epoch, state.claim.clone());
        own.reserved_delta = own.reserved_delta.max(state.next);
    }
    own = TierStateValue { claiming_epoch: epoch, claiming: id.clone(), ..own };
    // Before anything is written: after a crash it must be known whose it is.
    engine.set_tier_state(&own).await?;
    if state.sealed_by.is_none() && newest.is_some() {
        seal(bucket, cluster_id, &mut state, &id, now_ms).await?;
    }
    let entries: Vec<Entry> = state.entries.into_values().collect();
    let mut chain = Chain::new(bucket.clone(), cluster_id.to_owned(), epoch, own.claiming.clone());
    match chain.append(Kind::Opening, entries.clone(), Vec::new(), now_ms).await {
        Ok(()) => {}
        Err(AppendError::Bucket(error)) => return Err(error.into()),
        Err(AppendError::Replaced) => {
            let there = read(bucket, delta_name(cluster_id, epoch, 0)).await?;
            return Err(if there.claim == own.claiming {
                // An earlier attempt of ours has arrived after all.
                BucketError::Failed("the epoch was opened by an earlier attempt".to_owned()).into()
            } else {
                ClaimError::Replaced { epoch, written_ms: there.written_ms }
            });
        }
    }
    let taken = TierStateValue {
        epoch,
        claim: own.claiming,
        claiming_epoch: 0,
        claiming: Vec::new(),
        reserved_delta: 1,
        ..own
    };
    engine.set_tier_state(&taken).await?;
    forget_old(bucket, cluster_id, epoch).await;
    Ok(Claim { chain, entries })
}

/// The newest chain must be the one that this directory has taken, or was taking when it was cut short.
fn check_ours(engine: &Engine, own: &TierStateValue, newest: Option<&ChainState>) -> Result<(), ClaimError> {
    let Some(newest) = newest else {
        let copied = engine
            .topics()
            .iter()
            .any(|topic| topic.partitions.iter().any(|partition| partition.log.has_remote()));
        return if copied { Err(ClaimError::Lost { epoch: own.epoch }) } else { Ok(()) };
    };
    let taken = newest.epoch == own.epoch && newest.claim == own.claim;
    let taking = newest.epoch == own.claiming_epoch && newest.claim == own.claiming;
    let sealed_by_other = newest.sealed_by.as_ref().is_some_and(|id| *id != own.claiming);
    if (taken || taking) && !sealed_by_other {
        Ok(())
    } else {
        Err(ClaimError::Replaced { epoch: newest.epoch, written_ms: newest.written_ms })
    }
}

/// In what the chain has changes that this directory has never written, though it was written under its name.
fn unknown_changes(own: &TierStateValue, newest: &ChainState) -> Option<String> {
    let is_taken = newest.epoch == own.epoch && newest.claim == own.claim;
    let reserved = match (is_taken, own.reserved_delta) {
        // Of a version that did not note it.
        (true, 0) => return None,
        (true, reserved) => reserved,
        // Being taken when it was cut short: the opening.
        (false, _) => 1,
    };
    let own_seal = u64::from(newest.sealed_by.as_ref().is_some_and(|id| *id == own.claiming));
    (newest.next > reserved + own_seal).then(|| {
        format!(
            "the manifest of epoch {} has {} changes, and this directory knows of {reserved}",
            newest.epoch,
            newest.next - own_seal
        )
    })
}

/// In what the directory is behind the bucket, if it is: a copy from before, or one that a power loss has set back. The
/// objects may be all that there is of acknowledged records, and what is written here would get their offsets.
fn behind(engine: &Engine, newest: &ChainState) -> Option<String> {
    let topics = engine.topics();
    newest.entries.values().find_map(|entry| {
        let id = uuid::Uuid::from_slice(&entry.topic_id).ok()?;
        let end = topics.get_by_id(&id)?.log(entry.partition)?.offsets().next_offset;
        (entry.segment.next_offset > end).then(|| {
            format!(
                "{}-{} ends at offset {end} here, and at {} or later in the bucket",
                entry.topic, entry.partition, entry.segment.next_offset
            )
        })
    })
}

/// Notes that this directory must never write to the bucket: it may catch up with the offsets, but not with the records.
pub(crate) async fn refuse(engine: &Engine, reason: &str) -> Result<(), StoreError> {
    let state = engine.tier_state().await?;
    engine.set_tier_state(&TierStateValue { refusal: reason.to_owned(), ..state }).await
}

/// Creates a seal as the next delta; what was written there first is part of what the chain comes to.
async fn seal(
    bucket: &Bucket,
    cluster_id: &str,
    state: &mut ChainState,
    id: &[u8],
    now_ms: i64,
) -> Result<(), ClaimError> {
    loop {
        let seal = Record {
            kind: Kind::Seal.into(),
            epoch: state.epoch,
            number: state.next,
            claim: id.to_vec(),
            written_ms: now_ms,
            added: Vec::new(),
            removed: Vec::new(),
        };
        let name = delta_name(cluster_id, state.epoch, state.next);
        if bucket.create(&name, seal.encode_object()).await? == Created::Ours {
            return Ok(());
        }
        state.apply(read(bucket, name).await?);
        match &state.sealed_by {
            // An earlier attempt of ours, which has arrived after all.
            Some(by) if by == id => return Ok(()),
            Some(_) => {
                return Err(ClaimError::Replaced { epoch: state.epoch, written_ms: state.written_ms });
            }
            None => {}
        }
    }
}

/// Why a restore could not take the cluster's place in the bucket.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The manifest, or the store under it.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Somebody else has taken it at the same time.
    #[error("somebody else has taken over meanwhile")]
    Taken,
}

/// Ends the chain of `epoch`, whoever has it, for a directory that is yet to be made, unless an earlier restore has. Returns
/// what it came to.
///
/// # Errors
/// [`TakeOverError`].
pub async fn end_chain(
    bucket: &Bucket,
    cluster_id: &str,
    epoch: u64,
    id: &[u8],
    now_ms: i64,
) -> Result<ChainState, TakeOverError> {
    let mut state = read_chain(bucket, cluster_id, epoch).await?;
    if state.sealed_by.is_none() {
        match seal(bucket, cluster_id, &mut state, id, now_ms).await {
            Ok(()) => {}
            Err(ClaimError::Chain(error)) => return Err(error.into()),
            Err(_) => return Err(TakeOverError::Taken),
        }
    }
    Ok(state)
}

/// Opens the chain of `epoch` with what there is.
///
/// # Errors
/// [`TakeOverError`].
pub async fn open_chain(
    bucket: &Bucket,
    cluster_id: &str,
    epoch: u64,
    id: &[u8],
    entries: Vec<Entry>,
    now_ms: i64,
) -> Result<(), TakeOverError> {
    let mut chain = Chain::new(bucket.clone(), cluster_id.to_owned(), epoch, id.to_vec());
    match chain.append(Kind::Opening, entries, Vec::new(), now_ms).await {
        Ok(()) => Ok(()),
        Err(AppendError::Bucket(error)) => Err(ChainError::from(error).into()),
        Err(AppendError::Replaced) => Err(TakeOverError::Taken),
    }
}

/// Deletes what older chains hold, but for this and the one before, which tells what happened. The seal of each stays for
/// ever: it is what keeps a broker that comes back after any time from going on with its chain. What stays otherwise does
/// no harm.
async fn forget_old(bucket: &Bucket, cluster_id: &str, epoch: u64) {
    let Ok(children) = bucket.children(&super::folder(cluster_id)).await else { return };
    for old in children.iter().filter_map(|name| name.parse::<u64>().ok()).filter(|old| old + 1 < epoch) {
        let folder = chain_folder(cluster_id, old);
        let Ok(names) = bucket.children(&folder).await else { continue };
        let seal = names.iter().filter(|name| name.ends_with(".delta")).max().cloned();
        let needless = names.into_iter().filter(|name| Some(name) != seal.as_ref());
        let objects: Vec<String> = needless.map(|name| format!("{folder}/{name}")).collect();
        if let Some(error) = bucket.delete(&objects).await.failed {
            tracing::debug!(%error, epoch = old, "an old part of the manifest stays");
        }
    }
}

/// 128 random bits.
fn new_id() -> Vec<u8> {
    uuid::Uuid::new_v4().as_bytes().to_vec()
}
