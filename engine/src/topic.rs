//! The catalogue of topics, on the meta shard: what exists, under which id, with which configs and partitions.
//!
//! Readers take an immutable [`TopicMap`]; changes are made one at a time, durable before they are shown. Names are
//! taken as they come: what Kafka calls a legal name is the server's business.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::ShardId;
use crate::keys::topic::{PartitionValue, TopicValue};
use crate::log::PartitionLog;

/// Configs set on a topic itself, by Kafka's names.
pub type TopicOverrides = BTreeMap<String, String>;

/// One topic at one moment.
#[derive(Debug)]
pub struct Topic {
    /// Identifies this incarnation for ever; a topic recreated under the same name has another.
    pub id: Uuid,
    /// The name.
    pub name: Arc<str>,
    /// Configs set on the topic itself.
    pub overrides: TopicOverrides,
    /// When it was created, ms since the epoch.
    pub created_ms: i64,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
}

/// One partition of a topic.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The shard that holds it.
    pub shard: ShardId,
    /// Its log.
    pub log: Arc<PartitionLog>,
}

impl Topic {
    /// The log of a partition, by Kafka's index.
    pub fn log(&self, index: i32) -> Option<&Arc<PartitionLog>> {
        let index = usize::try_from(index).ok()?;
        self.partitions.get(index).map(|partition| &partition.log)
    }

    pub(crate) fn to_value(&self) -> TopicValue {
        TopicValue {
            name: self.name.to_string(),
            partitions: self
                .partitions
                .iter()
                .map(|partition| PartitionValue { id: partition.log.id().0, shard: partition.shard.0 })
                .collect(),
            configs: self.overrides.clone(),
            created_ms: self.created_ms,
        }
    }
}

/// Every topic of one moment.
#[derive(Clone, Debug, Default)]
pub struct TopicMap {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl TopicMap {
    /// The topic of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn get_by_id(&self, id: &Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(id)
    }

    /// Every topic, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many partitions all topics have together.
    pub fn partition_count(&self) -> usize {
        self.iter().map(|topic| topic.partitions.len()).sum()
    }

    pub(crate) fn insert(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(topic.name.clone(), topic.clone());
        self.by_id.insert(topic.id, topic);
    }

    pub(crate) fn remove(&mut self, topic: &Topic) {
        self.by_name.remove(&topic.name);
        self.by_id.remove(&topic.id);
    }
}
