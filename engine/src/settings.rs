//! What an administrator changes while the broker runs, on the meta shard: configs of resources that are not topics,
//! and the finalized features. What a name or a level means is the server's business.

use std::collections::BTreeMap;

use crate::Engine;
use crate::keys::config::{self, ConfigValue};
use crate::keys::decode;
use crate::keys::system::{self, FeaturesValue};
use crate::store::{Durability, Keyspace, StoreError, WriteBatch, scan_all};

/// Configs set on one resource, by Kafka's names.
pub type ResourceConfigs = BTreeMap<String, String>;

impl Engine {
    /// Everything that is set, by the type's number and the resource's name.
    ///
    /// # Errors
    /// The store's, and [`StoreError::Corrupt`].
    pub async fn load_configs(&self) -> Result<BTreeMap<(u8, String), ResourceConfigs>, StoreError> {
        let mut found = BTreeMap::new();
        for (key, value) in scan_all(&**self.meta_store(), Keyspace::Meta, config::all()).await? {
            let (kind, name) = config::parse(&key)?;
            let value: ConfigValue = decode(&value, "config")?;
            found.insert((kind, name.to_owned()), value.configs);
        }
        Ok(found)
    }

    /// Replaces what is set on one resource; durable when this returns. Nothing set is nothing kept.
    ///
    /// # Errors
    /// The store's.
    pub async fn save_config(
        &self,
        kind: u8,
        name: &str,
        configs: &ResourceConfigs,
    ) -> Result<(), StoreError> {
        let mut write = WriteBatch::new();
        if configs.is_empty() {
            write.delete(Keyspace::Meta, config::key(kind, name));
        } else {
            let value = ConfigValue { configs: configs.clone() };
            write.put(Keyspace::Meta, config::key(kind, name), prost::Message::encode_to_vec(&value));
        }
        self.meta_store().commit(write, Durability::Sync).await
    }

    /// The features as they were last finalized; `None` before the first time.
    ///
    /// # Errors
    /// The store's, and [`StoreError::Corrupt`].
    pub async fn load_features(&self) -> Result<Option<FeaturesValue>, StoreError> {
        let value = self.meta_store().get(Keyspace::Meta, system::features()).await?;
        value.map(|value| decode(&value, "features")).transpose()
    }

    /// Keeps the features; durable when this returns.
    ///
    /// # Errors
    /// The store's.
    pub async fn save_features(&self, features: &FeaturesValue) -> Result<(), StoreError> {
        let mut write = WriteBatch::new();
        write.put(Keyspace::Meta, system::features(), prost::Message::encode_to_vec(features));
        self.meta_store().commit(write, Durability::Sync).await
    }
}
