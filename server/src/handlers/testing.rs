//! A broker for the unit tests of handlers: real engine and coordinator over a store in memory, a clock that stands.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use chronik_engine::Engine;
use chronik_engine::log::PartitionLog;
use chronik_engine::store::{MemoryStore, Store};
use chronik_protocol::batch::{BatchBuilder, TargetCompression, TimestampType, ValidateOptions, validate};
use chronik_protocol::codec::{self, KafkaResponse};

use chronik_tiering::bucket::Bucket;
use chronik_tiering::{Tier, TierOptions};
use object_store::memory::InMemory;

use crate::broker::{Broker, ListenerInfo};
use crate::config::{BrokerConfig, Sources};
use crate::coordinator::{GroupCoordinator, TxnCoordinator};
use crate::dispatch::find;
use crate::dynamic::Dynamic;
use crate::dynamic::settings::Settings;
use crate::request::RequestContext;
use crate::runtime::{Clock, Stopping};
use crate::server::{engine_options, txn_config};

/// Where the clock stands: 2024-01-01.
pub const NOW_MS: i64 = 1_704_067_200_000;

/// The node id of the default configuration.
pub const NODE: i32 = 1;

/// Takes everything as it comes.
pub const OPTIONS: ValidateOptions = ValidateOptions {
    now_ms: NOW_MS,
    max_batch_bytes: 1 << 20,
    timestamp_type: TimestampType::CreateTime,
    before_max_ms: i64::MAX,
    after_max_ms: i64::MAX,
    require_keys: false,
    compression: TargetCompression::Producer,
    max_decompressed_bytes: 1 << 20,
};

/// A request's context, and the store behind it. Derefs to the context.
#[derive(Clone)]
pub struct TestContext {
    ctx: RequestContext,
    store: Arc<MemoryStore>,
}

impl Deref for TestContext {
    type Target = RequestContext;

    fn deref(&self) -> &RequestContext {
        &self.ctx
    }
}

/// A broker with the default configuration.
pub async fn context() -> TestContext {
    context_with(&[]).await
}

/// A broker with some settings.
pub async fn context_with(settings: &[(&str, &str)]) -> TestContext {
    let flags =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned(), format!("--{name}")));
    let sources = Sources { flags: flags.collect(), ..Sources::default() };
    let config = Arc::new(crate::config::load(&sources).expect("the test's settings are good"));
    open(Arc::new(MemoryStore::new()), config).await
}

async fn open(store: Arc<MemoryStore>, config: Arc<BrokerConfig>) -> TestContext {
    let clock = Clock::manual(NOW_MS);
    let stores: Vec<Arc<dyn Store>> = vec![store.clone()];
    let settings = Settings::new(config.clone());
    let engine = Engine::open(stores, engine_options(&settings)).await.expect("an empty store opens");
    let dynamic = Dynamic::open(&engine, settings).await.expect("what was kept can be read");
    let groups = GroupCoordinator::open(&engine, &config.group, clock.clone()).await.expect("no groups load");
    let txns = TxnCoordinator::open(engine.clone(), groups.clone(), txn_config(&config), clock.clone())
        .await
        .expect("the transactions load");
    let bucket = Bucket::over(Arc::new(InMemory::new()), "memory");
    let now = clock.clone();
    let options = TierOptions::eager(std::path::PathBuf::new(), move || now.now_ms());
    let tier = Tier::open(engine.clone(), bucket, options);
    let broker = Broker::new(config, engine, dynamic, groups, txns, tier, clock, Stopping::never());
    let listener = ListenerInfo {
        name: "PLAINTEXT".to_owned(),
        advertised_host: "broker.example".to_owned(),
        advertised_port: 19092,
    };
    let ctx = RequestContext {
        broker,
        listener: Arc::new(listener),
        client_addr: ([127, 0, 0, 1], 40_000).into(),
        software: Arc::default(),
        client_id: Some("test".into()),
        api_version: i16::MAX,
        correlation_id: 7,
        received: Instant::now(),
    };
    TestContext { ctx, store }
}

impl TestContext {
    /// The same connection with another version of the request.
    pub fn with_version(&self, api_version: i16) -> Self {
        let mut other = self.clone();
        other.ctx.api_version = api_version;
        other
    }

    /// The broker after a graceful stop and a new start on the same data.
    pub async fn restarted(self) -> Self {
        self.broker.groups.stop().await.expect("the coordinator stops");
        let image = {
            self.broker.engine.close().await.expect("the engine closes");
            self.store.crash(chronik_engine::store::CrashPoint::Durable)
        };
        open(Arc::new(image), self.ctx.broker.config.clone()).await
    }

    /// Creates a topic without asking a handler.
    pub async fn topic(&self, name: &str, partitions: usize) {
        self.topic_with(name, partitions, &[]).await;
    }

    /// Creates a topic with configs of its own.
    pub async fn topic_with(&self, name: &str, partitions: usize, configs: &[(&str, &str)]) {
        let overrides =
            configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.broker.engine.create_topic(name, partitions, overrides, NOW_MS).await.expect("the topic is new");
    }

    /// A partition's log.
    pub fn log(&self, topic: &str, partition: i32) -> Arc<PartitionLog> {
        let topics = self.broker.engine.topics();
        topics.get(topic).and_then(|topic| topic.log(partition)).expect("the test made it").clone()
    }

    /// Appends one batch with a record for each timestamp, and waits until it is durable.
    pub async fn append(&self, topic: &str, timestamps: &[i64]) {
        self.append_as(topic, timestamps, -1, 0).await;
    }

    /// As [`Self::append`], by an idempotent producer with epoch 0.
    pub async fn append_as(&self, topic: &str, timestamps: &[i64], producer_id: i64, first_sequence: i32) {
        let mut builder = BatchBuilder::new();
        if producer_id >= 0 {
            builder = builder.producer(producer_id, 0, first_sequence);
        }
        for timestamp in timestamps {
            builder = builder.record(*timestamp, None, Some(b"v"));
        }
        let records = builder.build().expect("the batch is small");
        let valid = validate(records, &OPTIONS).expect("the batch is good");
        let appended = self.log(topic, 0).append(&valid, NOW_MS).expect("the log takes it");
        appended.ticket.await.expect("the store is well");
    }
}

/// Checks that an answer can be written in every version served, whatever fields it fills.
pub fn encodes_in_every_version<M: KafkaResponse>(response: &M) {
    let api = find(M::API_KEY.value()).expect("a served API");
    for version in api.min_version..=api.max_version {
        let frame = codec::encode_response(1, response, version);
        frame.unwrap_or_else(|error| panic!("{} {version}: {error}", api.name));
    }
}
