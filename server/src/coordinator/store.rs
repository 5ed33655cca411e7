//! Where group records go: a narrow trait, and its implementation over the engine's store.

use std::sync::Arc;

use chronik_engine::keys::group as keys;
use chronik_engine::store::{
    Durability, Keyspace, Store, StoreError, StoreFuture, Ticket, WriteBatch, scan_all,
};
use prost::Message;

use super::group::Record;

/// Persists records and gives them back after a restart.
///
/// Contract: records become durable in the order of the `persist` calls, those of one call all or none, and
/// [`GroupStore::load`] answers every durable record that no later one replaced, a group before its offsets.
pub trait GroupStore: Send + Sync + 'static {
    /// What was persisted. Called once, before the first `persist`.
    fn load(&self) -> StoreFuture<Vec<Record>>;

    /// Queues `records`; the ticket resolves once they are durable.
    fn persist(&self, records: Vec<Record>) -> Ticket;
}

/// Groups in a store's `meta` keyspace.
pub struct EngineGroupStore {
    store: Arc<dyn Store>,
}

impl EngineGroupStore {
    /// Groups in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

impl GroupStore for EngineGroupStore {
    fn load(&self) -> StoreFuture<Vec<Record>> {
        let store = self.store.clone();
        Box::pin(async move {
            let mut records = Vec::new();
            for (key, value) in scan_all(store.as_ref(), Keyspace::Meta, keys::all_groups()).await? {
                let value = keys::decode_group(&value)?;
                if value.kind != keys::KIND_CLASSIC {
                    let reason = format!("a group of kind {}, which this version does not know", value.kind);
                    return Err(StoreError::Corrupt(reason.into()));
                }
                records.push(Record::Group { group_id: keys::parse_group(&key)?.into(), value });
            }
            let mut last: Arc<str> = Arc::from("");
            for (key, value) in scan_all(store.as_ref(), Keyspace::Meta, keys::all_offsets()).await? {
                let (group_id, topic, partition) = keys::parse_offset(&key)?;
                // One group's offsets are neighbours: its name is held once.
                if *last != *group_id {
                    last = group_id.into();
                }
                let value = keys::decode_offset(&value)?;
                records.push(Record::Offset { group_id: last.clone(), topic, partition, value });
            }
            Ok(records)
        })
    }

    fn persist(&self, records: Vec<Record>) -> Ticket {
        let mut batch = WriteBatch::new();
        for record in records {
            match record {
                Record::Group { group_id, value } => {
                    batch.put(Keyspace::Meta, keys::group_key(&group_id), value.encode_to_vec());
                }
                Record::GroupRemoved { group_id } => batch.delete(Keyspace::Meta, keys::group_key(&group_id)),
                Record::Offset { group_id, topic, partition, value } => {
                    let key = keys::offset_key(&group_id, topic, partition);
                    batch.put(Keyspace::Meta, key, value.encode_to_vec());
                }
                Record::OffsetRemoved { group_id, topic, partition } => {
                    batch.delete(Keyspace::Meta, keys::offset_key(&group_id, topic, partition));
                }
            }
        }
        self.store.commit(batch, Durability::Sync)
    }
}
