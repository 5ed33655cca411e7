//! The engine: shards, the catalogue, and the few facts of the whole data directory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::error::TopicError;
use crate::keys::{self, PartitionId, decode, system};
use crate::limits::{PARTITIONS_PER_TOPIC_MAX, PRODUCER_ID_BLOCK};
use crate::log::{LogConfig, PartitionLog, RingBudget, load_all};
use crate::store::{Durability, Keyspace, Store, StoreError, WriteBatch, scan_all};
use crate::topic::{Partition, Topic, TopicMap, TopicOverrides};

/// A shard: one store with its committer, and the partitions placed on it. Shard 0 also holds the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl ShardId {
    /// Where topics, configs and groups live.
    pub const META: ShardId = ShardId(0);
}

/// What the engine is told at open.
pub struct EngineOptions {
    /// Bytes that the tail ring of one shard may take.
    pub ring_bytes: usize,
    /// The settings that a topic's own configs amount to.
    pub resolve: Box<dyn Fn(&TopicOverrides) -> LogConfig + Send + Sync>,
}

struct Shard {
    store: Arc<dyn Store>,
    budget: Arc<RingBudget>,
}

/// See the module.
pub struct Engine {
    shards: Vec<Shard>,
    options: EngineOptions,
    cluster_id: String,
    topics: RwLock<Arc<TopicMap>>,
    /// Held while the catalogue changes; its value is the next partition id.
    catalogue: Mutex<u64>,
    producer_ids: Mutex<Range<i64>>,
    unclean: bool,
    writable: AtomicBool,
}

/// Why the data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer version.
    #[error(
        "the data directory has format version {found}, this binary knows up to {known}: start it with the newer \
         chronik-server that wrote it"
    )]
    NewerFormat {
        /// In the directory.
        found: u64,
        /// The newest this binary knows.
        known: u64,
    },
    /// The store failed, or holds what it must not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Opens every log of `stores`, one a shard, the meta shard first.
    ///
    /// # Errors
    /// [`OpenError::NewerFormat`], and what the store reports.
    ///
    /// # Panics
    /// When `stores` is empty.
    pub async fn open(stores: Vec<Arc<dyn Store>>, options: EngineOptions) -> Result<Arc<Self>, OpenError> {
        let meta = stores.first().expect("an engine has at least one shard").clone();
        let fresh = check_format(&*meta).await?;
        let clean = fresh || meta.get(Keyspace::Meta, system::clean_stop()).await?.is_some();
        let cluster_id = open_cluster_id(&*meta).await?;
        let shards: Vec<Shard> = stores
            .into_iter()
            .map(|store| Shard { store, budget: RingBudget::new(options.ring_bytes) })
            .collect();
        let topics = open_topics(&shards, &options, clean).await?;
        let next_partition = read_counter(&*meta, system::next_partition_id()).await?.unwrap_or(1);
        // From here on the directory counts as in use: a stop that does not say so was not clean.
        let mut write = WriteBatch::new();
        write.delete(Keyspace::Meta, system::clean_stop());
        meta.commit(write, Durability::Sync).await?;
        Ok(Arc::new(Self {
            shards,
            options,
            cluster_id,
            topics: RwLock::new(Arc::new(topics)),
            catalogue: Mutex::new(next_partition),
            producer_ids: Mutex::new(0..0),
            unclean: !clean,
            writable: AtomicBool::new(true),
        }))
    }

    /// The cluster id: 22 characters, made once per data directory.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Whether the last stop was a crash.
    pub fn started_unclean(&self) -> bool {
        self.unclean
    }

    /// The store of the meta shard: groups and other small state.
    pub fn meta_store(&self) -> &Arc<dyn Store> {
        &self.shards[0].store
    }

    /// Every shard's store.
    pub fn stores(&self) -> impl Iterator<Item = (ShardId, &Arc<dyn Store>)> {
        self.shards.iter().enumerate().map(|(index, shard)| (ShardId(index as u32), &shard.store))
    }

    /// Whether appends are taken; see [`Self::set_writable`].
    pub fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    /// Whoever watches the disk says here whether there is room. Callers ask [`Self::is_writable`] before they append.
    pub fn set_writable(&self, writable: bool) {
        self.writable.store(writable, Ordering::Relaxed);
    }

    /// Waits until the commit queues have room, before bulk appends.
    ///
    /// # Errors
    /// The store's, when it takes no more writes.
    pub async fn ready(&self) -> Result<(), StoreError> {
        for shard in &self.shards {
            shard.store.ready().await?;
        }
        Ok(())
    }

    /// The topics of this moment.
    pub fn topics(&self) -> Arc<TopicMap> {
        self.topics.read().clone()
    }

    /// Bytes held by the tail rings.
    pub fn ring_bytes_used(&self) -> usize {
        self.shards.iter().map(|shard| shard.budget.used_bytes()).sum()
    }

    /// Bytes that the tail rings may hold.
    pub fn ring_bytes_max(&self) -> usize {
        self.shards.iter().map(|shard| shard.budget.limit_bytes()).sum()
    }

    /// Creates a topic; durable when this returns.
    ///
    /// # Errors
    /// [`TopicError::AlreadyExists`], [`TopicError::PartitionCount`], and the store's.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: usize,
        overrides: TopicOverrides,
        now_ms: i64,
    ) -> Result<Arc<Topic>, TopicError> {
        check_partition_count(partitions)?;
        let mut next_partition = self.catalogue.lock().await;
        if self.topics().get(name).is_some() {
            return Err(TopicError::AlreadyExists(name.to_owned()));
        }
        let mut topic = Topic {
            id: new_topic_id(),
            name: name.into(),
            overrides,
            created_ms: now_ms,
            partitions: Vec::with_capacity(partitions),
        };
        self.add_logs(&mut topic, partitions, *next_partition);
        let topic = Arc::new(topic);
        self.commit_topic(&topic, Some(*next_partition + partitions as u64)).await?;
        *next_partition += partitions as u64;
        self.change_topics(|topics| topics.insert(topic.clone()));
        Ok(topic)
    }

    /// Grows a topic to `count` partitions.
    ///
    /// # Errors
    /// [`TopicError::NotFound`], [`TopicError::PartitionsNotMore`], [`TopicError::PartitionCount`], and the store's.
    pub async fn create_partitions(&self, name: &str, count: usize) -> Result<Arc<Topic>, TopicError> {
        check_partition_count(count)?;
        let mut next_partition = self.catalogue.lock().await;
        let old = self.find(name)?;
        let current = old.partitions.len();
        if count <= current {
            return Err(TopicError::PartitionsNotMore { topic: name.to_owned(), current, asked: count });
        }
        let mut topic = copy_topic(&old);
        self.add_logs(&mut topic, count - current, *next_partition);
        let topic = Arc::new(topic);
        self.commit_topic(&topic, Some(*next_partition + (count - current) as u64)).await?;
        *next_partition += (count - current) as u64;
        self.change_topics(|topics| topics.insert(topic.clone()));
        Ok(topic)
    }

    /// Replaces the topic's own configs by what `change` makes of them; in force when this returns.
    ///
    /// # Errors
    /// [`TopicError::NotFound`] and the store's.
    pub async fn alter_topic(
        &self,
        name: &str,
        change: impl FnOnce(&mut TopicOverrides),
    ) -> Result<Arc<Topic>, TopicError> {
        let _catalogue = self.catalogue.lock().await;
        let mut topic = copy_topic(&*self.find(name)?);
        change(&mut topic.overrides);
        let topic = Arc::new(topic);
        self.commit_topic(&topic, None).await?;
        let config = Arc::new((self.options.resolve)(&topic.overrides));
        topic.partitions.iter().for_each(|partition| partition.log.set_config(config.clone()));
        self.change_topics(|topics| topics.insert(topic.clone()));
        Ok(topic)
    }

    /// Deletes a topic with all its data; gone when this returns, its space later. Returns what it was.
    ///
    /// # Errors
    /// [`TopicError::NotFound`] and the store's.
    pub async fn delete_topic(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        let _catalogue = self.catalogue.lock().await;
        let topic = self.find(name)?;
        // Appends stop before the data goes, so nothing is written behind the removal.
        topic.partitions.iter().for_each(|partition| partition.log.mark_deleted());
        // The catalogue entry goes first and alone: were the process to end before the data is gone, the data of an
        // unknown partition is swept at the next open.
        let mut write = WriteBatch::new();
        write.delete(Keyspace::Meta, keys::topic::key(topic.id));
        self.meta_store().commit(write, Durability::Sync).await?;
        self.change_topics(|topics| topics.remove(&topic));
        // Queued together, so that thousands of partitions take a few commits, not one each.
        let removals = topic.partitions.iter().map(|partition| {
            let mut write = WriteBatch::new();
            partition.log.remove_all(&mut write);
            self.shard(partition.shard).store.commit(write, Durability::Sync)
        });
        for removed in removals.collect::<Vec<_>>() {
            removed.await?;
        }
        Ok(topic)
    }

    /// Applies settings that changed for every topic (a broker default did) to their logs.
    pub fn refresh_configs(&self) {
        for topic in self.topics().iter() {
            let config = Arc::new((self.options.resolve)(&topic.overrides));
            topic.partitions.iter().for_each(|partition| partition.log.set_config(config.clone()));
        }
    }

    /// Applies retention to every log and forgets producers idle for `producer_expiration_ms`; for a caller with a
    /// timer. Returns how many segments went.
    pub fn apply_retention(&self, now_ms: i64, producer_expiration_ms: i64) -> usize {
        let mut dropped = 0;
        for topic in self.topics().iter() {
            for partition in &topic.partitions {
                dropped += partition.log.apply_retention(now_ms);
                partition.log.expire_producers(now_ms, producer_expiration_ms);
            }
        }
        dropped
    }

    /// A producer id nobody has had. Blocks of ids are reserved durably before the first of them is handed out.
    ///
    /// # Errors
    /// The store's.
    pub async fn allocate_producer_id(&self) -> Result<i64, StoreError> {
        let mut block = self.producer_ids.lock().await;
        if block.is_empty() {
            let store = self.meta_store();
            let first = read_counter(&**store, system::next_producer_id()).await?.unwrap_or(0);
            let first = i64::try_from(first).map_err(|_| corrupt("the producer id counter overflows"))?;
            let next =
                first.checked_add(PRODUCER_ID_BLOCK).ok_or_else(|| corrupt("no producer ids are left"))?;
            let mut write = WriteBatch::new();
            write.put(Keyspace::Meta, system::next_producer_id(), Bytes::from(next.to_string()));
            store.commit(write, Durability::Sync).await?;
            *block = first..next;
        }
        block.next().ok_or_else(|| corrupt("an empty block of producer ids"))
    }

    /// Makes everything durable, marks the stop as clean and closes the stores. Appends fail afterwards.
    ///
    /// # Errors
    /// The store's; the stop then does not count as clean.
    pub async fn close(&self) -> Result<(), StoreError> {
        let _catalogue = self.catalogue.lock().await;
        for shard in self.shards.iter().skip(1) {
            shard.store.close().await?;
        }
        let mut write = WriteBatch::new();
        write.put(Keyspace::Meta, system::clean_stop(), Bytes::from_static(b"1"));
        self.meta_store().commit(write, Durability::Sync).await?;
        self.meta_store().close().await
    }

    fn shard(&self, id: ShardId) -> &Shard {
        &self.shards[id.0 as usize]
    }

    fn find(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        self.topics().get(name).cloned().ok_or_else(|| TopicError::NotFound(name.to_owned()))
    }

    /// Places `count` new, empty logs; round robin over the shards.
    fn add_logs(&self, topic: &mut Topic, count: usize, first_id: u64) {
        let config = Arc::new((self.options.resolve)(&topic.overrides));
        for id in first_id..first_id + count as u64 {
            let shard = ShardId((id % self.shards.len() as u64) as u32);
            let at = self.shard(shard);
            let log = PartitionLog::new(
                PartitionId(id),
                at.store.clone(),
                at.budget.clone(),
                config.clone(),
                Default::default(),
            );
            topic.partitions.push(Partition { shard, log });
        }
    }

    async fn commit_topic(&self, topic: &Topic, next_partition: Option<u64>) -> Result<(), StoreError> {
        let mut write = WriteBatch::new();
        let value = prost::Message::encode_to_vec(&topic.to_value());
        write.put(Keyspace::Meta, keys::topic::key(topic.id), value);
        if let Some(next) = next_partition {
            write.put(Keyspace::Meta, system::next_partition_id(), Bytes::from(next.to_string()));
        }
        self.meta_store().commit(write, Durability::Sync).await
    }

    fn change_topics(&self, change: impl FnOnce(&mut TopicMap)) {
        let mut topics = self.topics.write();
        change(Arc::make_mut(&mut topics));
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

fn check_partition_count(count: usize) -> Result<(), TopicError> {
    if (1..=PARTITIONS_PER_TOPIC_MAX).contains(&count) {
        Ok(())
    } else {
        Err(TopicError::PartitionCount(count))
    }
}

fn copy_topic(topic: &Topic) -> Topic {
    Topic {
        id: topic.id,
        name: topic.name.clone(),
        overrides: topic.overrides.clone(),
        created_ms: topic.created_ms,
        partitions: topic.partitions.clone(),
    }
}

/// Random, and neither zero nor one, which Kafka reserves (`Uuid.ZERO_UUID`, `Uuid.METADATA_TOPIC_ID`). Nor does its
/// text form begin with a dash, which command lines would take for an option (`Uuid.randomUuid`).
fn new_topic_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        // The first base64 character holds the six highest bits; 62 is the dash.
        if id.as_u128() > 1 && id.as_bytes()[0] >> 2 != 62 {
            return id;
        }
    }
}

/// Checks the format version, writing ours into an empty or older store. Returns whether it was empty.
async fn check_format(store: &dyn Store) -> Result<bool, OpenError> {
    match read_counter(store, system::format_version()).await? {
        Some(found) if found > system::FORMAT_VERSION => {
            Err(OpenError::NewerFormat { found, known: system::FORMAT_VERSION })
        }
        Some(found) if found == system::FORMAT_VERSION => Ok(false),
        found => {
            let mut write = WriteBatch::new();
            let version = Bytes::from(system::FORMAT_VERSION.to_string());
            write.put(Keyspace::Meta, system::format_version(), version);
            store.commit(write, Durability::Sync).await?;
            Ok(found.is_none())
        }
    }
}

async fn open_cluster_id(store: &dyn Store) -> Result<String, StoreError> {
    if let Some(stored) = store.get(Keyspace::Meta, system::cluster_id()).await? {
        return String::from_utf8(stored.to_vec()).map_err(|_| corrupt("the cluster id is not text"));
    }
    let id = base64_url(new_topic_id().as_bytes());
    let mut write = WriteBatch::new();
    write.put(Keyspace::Meta, system::cluster_id(), Bytes::from(id.clone()));
    store.commit(write, Durability::Sync).await?;
    Ok(id)
}

/// URL-safe base64 without padding, as Kafka prints uuids: 16 bytes give 22 characters.
pub fn base64_url(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 128 bits and 4 bits of padding make 22 groups of six.
    let value = u128::from_be_bytes(*bytes);
    (0..22)
        .map(|group: u32| {
            let six = if group < 21 { (value >> (122 - 6 * group)) & 63 } else { (value << 4) & 63 };
            char::from(ALPHABET[six as usize])
        })
        .collect()
}

async fn open_topics(shards: &[Shard], options: &EngineOptions, clean: bool) -> Result<TopicMap, StoreError> {
    let mut loaded = Vec::with_capacity(shards.len());
    for shard in shards {
        loaded.push(load_all(&*shard.store).await?);
    }
    let mut topics = TopicMap::default();
    let mut raised = Vec::new();
    for (key, value) in scan_all(&*shards[0].store, Keyspace::Meta, keys::topic::all()).await? {
        let id = keys::topic::parse(&key)?;
        let value: keys::topic::TopicValue = decode(&value, "topic")?;
        let config = Arc::new((options.resolve)(&value.configs));
        let mut partitions = Vec::with_capacity(value.partitions.len());
        for place in &value.partitions {
            let (shard, logs) = shards
                .get(place.shard as usize)
                .zip(loaded.get_mut(place.shard as usize))
                .ok_or_else(|| {
                    corrupt(&format!("topic '{}' is on shard {}, which is not open", value.name, place.shard))
                })?;
            let partition = PartitionId(place.id);
            let mut log = logs.remove(&partition).unwrap_or_default();
            if !clean && config.durability == Durability::Os && log.broken.is_none() {
                let mut write = WriteBatch::new();
                let raised_value = prost::Message::encode_to_vec(&log.raise_epoch());
                write.put(Keyspace::Index, keys::log::log_key(partition), raised_value);
                raised.push(shard.store.commit(write, Durability::Sync));
            }
            let log =
                PartitionLog::new(partition, shard.store.clone(), shard.budget.clone(), config.clone(), log);
            partitions.push(Partition { shard: ShardId(place.shard), log });
        }
        topics.insert(Arc::new(Topic {
            id,
            name: value.name.into(),
            overrides: value.configs,
            created_ms: value.created_ms,
            partitions,
        }));
    }
    for ticket in raised {
        ticket.await?;
    }
    sweep(shards, loaded).await?;
    Ok(topics)
}

/// Removes logs that no topic names: a deletion was cut short between the catalogue and the data.
async fn sweep(
    shards: &[Shard],
    orphans: Vec<HashMap<PartitionId, crate::log::LoadedLog>>,
) -> Result<(), StoreError> {
    for (shard, orphans) in shards.iter().zip(orphans) {
        for (partition, log) in orphans {
            tracing::info!(partition = partition.0, "removing what a deletion left behind");
            let config = Arc::new(LogConfig::default());
            let log = PartitionLog::new(partition, shard.store.clone(), shard.budget.clone(), config, log);
            let mut write = WriteBatch::new();
            log.remove_all(&mut write);
            shard.store.commit(write, Durability::Sync).await?;
        }
    }
    Ok(())
}

async fn read_counter(store: &dyn Store, key: Bytes) -> Result<Option<u64>, StoreError> {
    let Some(value) = store.get(Keyspace::Meta, key).await? else { return Ok(None) };
    let text = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
    text.map(Some).ok_or_else(|| corrupt("a counter is not a number"))
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::Corrupt(reason.into())
}
