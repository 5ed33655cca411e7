//! Saves in the bucket what a restore begins with besides segments: topics, configs, groups and their offsets,
//! transactional ids, and of each log its start and its leader epochs.
//!
//! ```text
//! 0           8         10       14
//! | CHRONMET  | version | CRC-32C | zstd: protobuf MetaValue |     numbers are big-endian; the CRC covers what follows
//! ```

use std::collections::HashMap;
use std::io::Read;

use bytes::Bytes;
use chronik_engine::keys::PartitionId;
use chronik_engine::tier::MetaCopy;
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bucket::{Bucket, BucketError, Created};
use crate::copy::CopyError;
use crate::limits::MANIFEST_BYTES_MAX;
use crate::manifest::{ChainError, RecordError};
use crate::tier::{Standing, Tier};

const MAGIC: [u8; 8] = *b"CHRONMET";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 14;
/// Copies that are kept; the ones before the newest are for the eyes of people.
const KEPT: u64 = 3;

/// What is in a copy.
#[derive(Clone, PartialEq, Message)]
struct MetaValue {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    logs: Vec<LogPair>,
    #[prost(int64, tag = "3")]
    written_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct LogPair {
    #[prost(uint64, tag = "1")]
    partition: u64,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// What was saved last.
#[derive(Debug, Default)]
pub(crate) struct SavedMeta {
    copy: Option<MetaCopy>,
    /// Topics, and how many partitions each has.
    topics: HashMap<Uuid, usize>,
    next: u64,
    at: Option<Instant>,
}

fn name(cluster_id: &str, epoch: u64, number: u64) -> String {
    format!("meta/{cluster_id}/{epoch:010}/{number:020}.meta")
}

fn encode(copy: &MetaCopy, written_ms: i64) -> Bytes {
    let value = MetaValue {
        entries: copy
            .entries
            .iter()
            .map(|(key, value)| Pair { key: key.clone(), value: value.clone() })
            .collect(),
        logs: copy.logs.iter().map(|(id, value)| LogPair { partition: id.0, value: value.clone() }).collect(),
        written_ms,
    };
    let body = zstd::bulk::compress(&value.encode_to_vec(), 3).expect("compressing in memory does not fail");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}

fn decode(bytes: &[u8]) -> Result<(MetaCopy, i64), String> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES).ok_or("it is shorter than a head")?;
    if head[..8] != MAGIC {
        return Err("it does not begin with CHRONMET".to_owned());
    }
    if head[8..10] != VERSION.to_be_bytes() {
        return Err("it was written by a newer version".to_owned());
    }
    if head[10..14] != crc32c::crc32c(body).to_be_bytes() {
        return Err("its CRC-32C does not match".to_owned());
    }
    let mut raw = Vec::new();
    let decoder = zstd::stream::Decoder::new(body).map_err(|error| error.to_string())?;
    std::io::Read::take(decoder, MANIFEST_BYTES_MAX + 1)
        .read_to_end(&mut raw)
        .map_err(|error| error.to_string())?;
    if raw.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(format!("it has more than {MANIFEST_BYTES_MAX} bytes"));
    }
    let value = MetaValue::decode(&*raw).map_err(|error| error.to_string())?;
    let copy = MetaCopy {
        entries: value.entries.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        logs: value.logs.into_iter().map(|pair| (PartitionId(pair.partition), pair.value)).collect(),
    };
    Ok((copy, value.written_ms))
}

/// The newest copy of a cluster, and when it was written, ms; `None` when there is none.
///
/// # Errors
/// [`ChainError`]; among others when the newest copy is damaged: an older one does not know the newest topics, and their
/// segments would count as a deleted topic's. Who wants it all the same takes the damaged one away.
pub async fn newest(bucket: &Bucket, cluster_id: &str) -> Result<Option<(MetaCopy, i64)>, ChainError> {
    let mut epochs = bucket.children(&format!("meta/{cluster_id}")).await?;
    // Other things may lie there.
    epochs.retain(|epoch| epoch.parse::<u64>().is_ok());
    epochs.sort();
    while let Some(epoch) = epochs.pop() {
        let folder = format!("meta/{cluster_id}/{epoch}");
        let mut copies = bucket.children(&folder).await?;
        copies.retain(|copy| copy.strip_suffix(".meta").is_some_and(|number| number.parse::<u64>().is_ok()));
        copies.sort();
        if let Some(copy) = copies.pop() {
            let name = format!("{folder}/{copy}");
            let read = decode(&bucket.get(&name).await?);
            return read
                .map(Some)
                .map_err(|reason| ChainError::Record { name, error: RecordError::Damaged(reason) });
        }
    }
    Ok(None)
}

impl Tier {
    /// Saves, if there is something new and it is time.
    pub(crate) async fn save_meta_if_due(
        &self,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<(), CopyError> {
        let due = {
            let saved = self.saved_meta.lock().await;
            saved.at.is_none_or(|at| at.elapsed() >= self.options.meta_interval)
        };
        if due { self.save_meta(stopping).await } else { Ok(()) }
    }

    /// Saves, if the partition is not in what was saved: its segments must not be without it.
    pub(crate) async fn save_meta_for(
        &self,
        topic: Uuid,
        partition: i32,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<(), CopyError> {
        let count = self.saved_meta.lock().await.topics.get(&topic).copied().unwrap_or(0);
        let known = usize::try_from(partition).is_ok_and(|partition| partition < count);
        if known { Ok(()) } else { self.save_meta(stopping).await }
    }

    async fn save_meta(&self, stopping: &mut watch::Receiver<bool>) -> Result<(), CopyError> {
        let epoch = self.epoch();
        if epoch == 0 || matches!(self.standing(), Standing::Replaced(_)) {
            return Ok(());
        }
        let mut saved = self.saved_meta.lock().await;
        let copy = self.engine.copy_meta().await.map_err(|error| CopyError::Log(error.into()))?;
        if saved.copy.as_ref() == Some(&copy) {
            saved.at = Some(Instant::now());
            return Ok(());
        }
        let cluster_id = self.engine.cluster_id();
        let bytes = encode(&copy, self.now_ms());
        let name_of = |number| name(cluster_id, epoch, number);
        let object = name_of(saved.next);
        let create = self.bucket.create(&object, bytes);
        let created = tokio::select! {
            created = create => created,
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        };
        if created? == Created::Taken {
            // An answer that was lost: what is there is ours, of a moment before.
            saved.next += 1;
            return Err(BucketError::Failed("an earlier copy has arrived after all".to_owned()).into());
        }
        let number = saved.next;
        saved.next += 1;
        saved.at = Some(Instant::now());
        saved.topics = topics_of(&copy);
        saved.copy = Some(copy);
        drop(saved);
        let forgotten = match number.checked_sub(KEPT) {
            Some(old) => self.bucket.delete(&[name_of(old)]).await.all(),
            None if number == 0 => self.forget_old_meta(epoch).await,
            None => Ok(()),
        };
        if let Err(error) = forgotten {
            tracing::warn!(%error, "old copies of topics and groups stay in object storage");
        }
        Ok(())
    }
}

impl Tier {
    /// Deletes copies of earlier epochs, once there is one of this.
    async fn forget_old_meta(&self, epoch: u64) -> Result<(), BucketError> {
        let folder = format!("meta/{}", self.engine.cluster_id());
        let mut needless = Vec::new();
        for old in self.bucket.children(&folder).await? {
            if old.parse::<u64>().is_ok_and(|old| old < epoch) {
                let names = self.bucket.children(&format!("{folder}/{old}")).await?;
                needless.extend(names.iter().map(|name| format!("{folder}/{old}/{name}")));
            }
        }
        self.bucket.delete(&needless).await.all()
    }
}

fn topics_of(copy: &MetaCopy) -> HashMap<Uuid, usize> {
    let topics = chronik_engine::restore::topics_of(copy).unwrap_or_default();
    topics.into_iter().map(|(id, topic)| (id, topic.partitions.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_comes_back_and_damage_is_noticed() {
        let copy = MetaCopy {
            entries: vec![(Bytes::from_static(b"k"), Bytes::from_static(b"v"))],
            logs: vec![(PartitionId(3), Bytes::from_static(b"l"))],
        };
        let bytes = encode(&copy, 7);
        assert_eq!(decode(&bytes).unwrap(), (copy, 7));
        for index in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[index] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {index}");
        }
    }
}
