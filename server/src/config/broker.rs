//! Owns the typed configuration that is passed down: plain structs of plain values, no text to
//! parse and no source to look up. Built by [`load`](super::load) alone; components take the part
//! they need (`&GroupSettings`), never the whole when a part will do.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use chronik_engine::store::rocks::{CommitProfile, WalProfile};

use super::entries::ConfigEntries;
use super::listeners::Listener;
use super::tier::{ObjectStoreSettings, TierSettings};

/// The whole configuration of one broker.
#[derive(Debug, Clone, Default)]
pub struct BrokerConfig {
    /// Identity and place.
    pub node: NodeSettings,
    /// Where Kafka clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Limits on connections and requests.
    pub network: NetworkSettings,
    /// Fetch limits and sessions.
    pub fetch: FetchSettings,
    /// How topics are created and deleted.
    pub topics: TopicSettings,
    /// How often old data is looked for.
    pub retention: RetentionSettings,
    /// How compacted topics are cleaned.
    pub cleaner: CleanerSettings,
    /// Consumer groups and committed offsets.
    pub group: GroupSettings,
    /// Idempotent producers.
    pub producers: ProducerSettings,
    /// The store's profiles and reserves.
    pub storage: StorageSettings,
    /// Tiered storage.
    pub tier: TierSettings,
    /// Where objects are kept.
    pub object_store: ObjectStoreSettings,
    /// The HTTP address.
    pub http: HttpSettings,
    /// Metrics that clients push.
    pub telemetry: TelemetrySettings,
    /// Logs.
    pub logging: LogSettings,
    /// Every setting as text with its source: DescribeConfigs, the defaults of topic configs, and
    /// the `config` subcommand read these.
    pub entries: ConfigEntries,
}

/// Identity and place of the node.
#[derive(Debug, Clone, Default)]
pub struct NodeSettings {
    /// `node.id`: the broker id clients see.
    pub node_id: i32,
    /// `data.dir`: where everything durable lives.
    pub data_dir: PathBuf,
    /// `chronik.worker.threads`: threads of the async runtime; 0 is one per core.
    pub worker_threads: usize,
}

/// Limits on connections and requests.
#[derive(Debug, Clone, Default)]
pub struct NetworkSettings {
    /// `connections.max.idle.ms`: a silent connection is closed after this.
    pub connections_max_idle_ms: u64,
    /// `max.connections`: over all listeners.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `socket.request.max.bytes`: a longer frame closes the connection.
    pub socket_request_max_bytes: usize,
    /// `queued.max.request.bytes`: request bytes held in memory over all connections.
    pub queued_max_request_bytes: usize,
}

/// Fetch limits and sessions.
#[derive(Debug, Clone, Default)]
pub struct FetchSettings {
    /// `fetch.max.bytes`: ceiling of one response, whatever the client asks.
    pub fetch_max_bytes: i32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub session_cache_slots: usize,
}

/// How topics are created and deleted.
#[derive(Debug, Clone, Default)]
pub struct TopicSettings {
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
}

/// How often old data is looked for.
#[derive(Debug, Clone, Default)]
pub struct RetentionSettings {
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: u64,
}

/// How compacted topics are cleaned.
#[derive(Debug, Clone, Default)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`.
    pub enable: bool,
    /// `log.cleaner.backoff.ms`: between two looks for something to clean.
    pub backoff_ms: u64,
    /// `log.cleaner.io.max.bytes.per.second`: read and written together.
    pub io_bytes_per_second: f64,
    /// `log.cleaner.dedupe.buffer.size`: bytes for keys.
    pub dedupe_buffer_bytes: usize,
}

/// Consumer groups and committed offsets.
#[derive(Debug, Clone, Default)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.max.size`: members of one group.
    pub group_max_size: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: i32,
    /// `offsets.retention.minutes`.
    pub offsets_retention_minutes: i32,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
}

/// Idempotent producers.
#[derive(Debug, Clone, Default)]
pub struct ProducerSettings {
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `transaction.max.timeout.ms`.
    pub transaction_max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub transactional_id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub abort_timed_out_interval_ms: u64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub remove_expired_interval_ms: u64,
}

/// The store's profiles and reserves.
#[derive(Debug, Clone, Default)]
pub struct StorageSettings {
    /// `chronik.produce.profile`: what one commit may gather.
    pub produce_profile: CommitProfile,
    /// `chronik.wal.profile`: memory budgets; `None` is detected from cores and memory.
    pub wal_profile: Option<WalProfile>,
    /// `chronik.disk.reserve.bytes`: below this much free space produce is refused.
    pub disk_reserve_bytes: u64,
}

/// The HTTP address.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// `http.addr`, resolved.
    pub http_addr: SocketAddr,
    /// `chronik.admin.api.key`: asked for under `/v1/admin`.
    pub admin_api_key: Option<Secret>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { http_addr: (Ipv4Addr::LOCALHOST, 0).into(), admin_api_key: None }
    }
}

/// Metrics that clients push.
#[derive(Debug, Clone, Default)]
pub struct TelemetrySettings {
    /// `telemetry.max.bytes`.
    pub telemetry_max_bytes: i32,
}

/// Logs.
#[derive(Debug, Clone, Default)]
pub struct LogSettings {
    /// `log.level`: a level, or directives as `RUST_LOG` takes them.
    pub log_level: String,
    /// `log.format`.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A value that must not reach logs, clients or terminals.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one comparison that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[redacted]")
    }
}
