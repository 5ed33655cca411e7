//! What of tiered storage concerns the data directory as a whole: the objects that nothing needs any more, the place in
//! the bucket's manifest, and the small keyspace that a restore begins with.

use bytes::Bytes;

use crate::Engine;
use crate::keys::tier::{self, TierStateValue};
use crate::keys::{self, PartitionId, decode, system};
use crate::store::{Durability, Keyspace, ScanLimit, StoreError, WriteBatch, scan_all};

/// What a restore needs besides the segments, of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetaCopy {
    /// Keys and values of [`Keyspace::Meta`], but for what is of this directory alone.
    pub entries: Vec<(Bytes, Bytes)>,
    /// Of each partition: start and leader epochs, as stored.
    pub logs: Vec<(PartitionId, Bytes)>,
}

impl Engine {
    /// Objects that nothing needs any more, at most `max`.
    ///
    /// # Errors
    /// The store's.
    pub async fn garbage(&self, max: usize) -> Result<Vec<String>, StoreError> {
        let mut objects = Vec::new();
        for (_, store) in self.stores() {
            let limit = ScanLimit::entries(max - objects.len());
            let chunk = store.scan(Keyspace::Index, tier::all_garbage(), limit).await?;
            for (key, _) in chunk.entries {
                objects.push(tier::parse_garbage(&key)?);
            }
            if objects.len() >= max {
                break;
            }
        }
        Ok(objects)
    }

    /// Notes an object that nothing needs.
    ///
    /// # Errors
    /// The store's.
    pub async fn add_garbage(&self, object: &str) -> Result<(), StoreError> {
        let mut write = WriteBatch::new();
        write.put(Keyspace::Index, tier::garbage_key(object), Bytes::new());
        self.meta_store().commit(write, Durability::Sync).await
    }

    /// Forgets objects that were deleted.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_garbage(&self, objects: &[String]) -> Result<(), StoreError> {
        for (_, store) in self.stores() {
            let mut write = WriteBatch::new();
            for object in objects {
                write.delete(Keyspace::Index, tier::garbage_key(object));
            }
            store.commit(write, Durability::Os).await?;
        }
        Ok(())
    }

    /// The place in the bucket's manifest.
    ///
    /// # Errors
    /// The store's.
    pub async fn tier_state(&self) -> Result<TierStateValue, StoreError> {
        match self.meta_store().get(Keyspace::Meta, tier::state_key()).await? {
            Some(value) => decode(&value, "tier state"),
            None => Ok(TierStateValue::default()),
        }
    }

    /// Keeps the place in the bucket's manifest; durable when this returns.
    ///
    /// # Errors
    /// The store's.
    pub async fn set_tier_state(&self, state: &TierStateValue) -> Result<(), StoreError> {
        let mut write = WriteBatch::new();
        write.put(Keyspace::Meta, tier::state_key(), prost::Message::encode_to_vec(state));
        self.meta_store().commit(write, Durability::Sync).await
    }

    /// Copies what a restore needs besides the segments.
    ///
    /// # Errors
    /// The store's.
    pub async fn copy_meta(&self) -> Result<MetaCopy, StoreError> {
        let own = [system::clean_stop(), tier::state_key()];
        let everything = Bytes::new()..Bytes::from_static(&[0xff]);
        let mut copy = MetaCopy {
            entries: scan_all(&**self.meta_store(), Keyspace::Meta, everything).await?,
            logs: Vec::new(),
        };
        copy.entries.retain(|(key, _)| !own.contains(key));
        for (_, store) in self.stores() {
            for (key, value) in scan_all(&**store, Keyspace::Index, keys::log::all_logs()).await? {
                copy.logs.push((keys::log::parse_partition(&key)?, value));
            }
        }
        Ok(copy)
    }
}
