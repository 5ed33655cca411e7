//! Owns the table of broker settings: the only place where one is named, typed, defaulted, checked
//! and documented. Docs, DescribeConfigs, the parser and the defaults of topic configs come from here.
//!
//! A row exists only when something reads it: `tests/tests/config_docs.rs` looks for the reader of
//! each row's field. Kafka settings without effect on one node are absent on purpose, so that a file
//! naming them is refused instead of silently ignored; the one that is not says so.

use super::listeners::HostPort;
use super::setting::{Bind, FromValue, Importance, Kind, Setting};
use super::value::Check;

/// Binds a row to a field: one mention gives both the setter and the path the reader test looks for.
macro_rules! field {
    ($($part:ident).+) => {
        Bind::Field {
            path: stringify!($($part).+),
            set: |config, value| config.$($part).+ = FromValue::from_value(value),
        }
    };
}

/// The engine's names; a test compares.
pub(super) const PRODUCE_PROFILES: &[&str] = &["low-latency", "balanced", "high-throughput", "extreme"];
/// The engine's names, and `auto`; a test compares.
pub(super) const WAL_PROFILES: &[&str] = &["auto", "low", "medium", "high", "ultra"];

const INT_MAX: i64 = i32::MAX as i64;

const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    check: Check,
    importance: Importance,
    bind: Bind,
    doc: &'static str,
) -> Setting {
    // The default of a topic config can change: its topics are told. For hours and minutes see `fixed`.
    let dynamic = matches!(bind, Bind::TopicDefault(_) | Bind::NoEffect);
    Setting { name, kind, default, check, importance, doc, env_alias: None, bind, dynamic }
}

/// What reads the field asks for its value each time, so that it can change while the broker runs.
const fn dynamic(mut setting: Setting) -> Setting {
    setting.dynamic = true;
    setting
}

/// Kafka does not change the long units of time at run time: the `.ms` setting, which is stronger, is there for it.
const fn fixed(mut setting: Setting) -> Setting {
    setting.dynamic = false;
    setting
}

const fn with_env(mut setting: Setting, alias: &'static str) -> Setting {
    setting.env_alias = Some(alias);
    setting
}

/// Every setting, in the order of the reference.
pub fn all() -> &'static [Setting] {
    SETTINGS
}

/// The row of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn host_port(text: &str) -> Result<(), String> {
    text.parse::<HostPort>().map(|_| ())
}

fn positive(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 => Ok(()),
        _ => Err(format!("`{text}` is not a number above 0")),
    }
}

/// Parts separated by slashes, none of them empty or a way up.
fn object_prefix(text: &str) -> Result<(), String> {
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && part.is_ascii();
    match text.split('/').all(sound) {
        true => Ok(()),
        false => Err(format!("`{text}` is not of the form `a/b`")),
    }
}

/// An address: with or without a scheme, and without keys, which would be shown with it.
fn endpoint(text: &str) -> Result<(), String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    // Wherever it is: keys are written before one.
    if text.contains('@') {
        return Err("it contains a user or password: they have settings of their own".to_owned());
    }
    let form = |why: &str| Err(format!("it is {why}; write it as `https://HOST:PORT`"));
    match url::Url::parse(&whole) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => form("of another scheme than http and https"),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => form("followed by a query"),
        Ok(url) if url.host_str().is_none_or(str::is_empty) => form("without a host"),
        Ok(_) => Ok(()),
        Err(error) => form(&format!("no address ({error})")),
    }
}

fn log_directives(text: &str) -> Result<(), String> {
    text.parse::<tracing_subscriber::filter::EnvFilter>()
        .map(|_| ())
        .map_err(|error| format!("`{text}` is neither a level nor a list of directives: {error}"))
}

use Check::{Any, AtLeast, Between, Fraction, Level, ListOf, NonEmpty, OneOf, With};
use Importance::{High, Low, Medium};
use Kind::{Boolean, Double, Int, List, Long, Password, String as Text};

#[rustfmt::skip]
static SETTINGS: &[Setting] = &[
    // Node and network.
    row("node.id", Int, Some("1"), AtLeast(0), High, field!(node.node_id),
        "The broker id that clients see in Metadata. Keep it for the life of the data directory."),
    row("data.dir", Text, Some("./data"), NonEmpty, High, field!(node.data_dir),
        "Directory of everything durable. Created when absent; one broker at a time may use it."),
    row("listeners", List, Some("PLAINTEXT://127.0.0.1:9092"), NonEmpty, High, Bind::Addresses,
        "Addresses to listen on, as NAME://HOST:PORT, comma separated; names must differ. IPv6 hosts are written in brackets: `INTERNAL://0.0.0.0:9092,EXTERNAL://[::1]:9094`. The environment variable CHRONIK_BIND_ADDR replaces the host alone, here and in `http.addr`; the flag `--kafka-addr HOST:PORT` names a single listener."),
    row("advertised.listeners", List, None, Any, High, Bind::Addresses,
        "What clients are told to connect to, as NAME://HOST:PORT for any of the names in `listeners`; a client is always answered with the address of the listener it asked. Without it the bound address is told, and for 0.0.0.0 or [::] the address of a network interface, which is logged at start. The environment variable CHRONIK_ADVERTISED_ADDR takes HOST (every listener keeps its port) or HOST:PORT (a single listener); so does the flag `--advertise`."),
    row("connections.max.idle.ms", Long, Some("600000"), AtLeast(1), Medium, field!(network.connections_max_idle_ms),
        "A connection without a request under way is closed after this long without bytes; one whose peer takes nothing of an answer, after this long or 30 s, whichever is less."),
    dynamic(row("max.connections", Int, Some("10000"), AtLeast(1), Medium, field!(network.max_connections),
        "Connections over all listeners. One more is accepted and closed at once. Kafka's default is unlimited.")),
    dynamic(row("max.connections.per.ip", Int, Some("2147483647"), AtLeast(1), Medium, field!(network.max_connections_per_ip),
        "Connections from one address.")),
    row("socket.request.max.bytes", Int, Some("104857600"), AtLeast(1), Medium, field!(network.socket_request_max_bytes),
        "Longest request frame. A longer one closes the connection unread, as in Kafka."),
    row("queued.max.request.bytes", Long, Some("268435456"), AtLeast(1), Medium, field!(network.queued_max_request_bytes),
        "Request bytes held in memory over all connections; at the bound, sockets are not read until memory is given back. Reserved before decoding; what requests decode into has a bound of the same size besides. At least `socket.request.max.bytes`. Kafka's default is unlimited."),
    row("chronik.worker.threads", Int, Some("0"), Between(0, 1024), Low, field!(node.worker_threads),
        "Threads of the network runtime; 0 is one per core."),
    // Fetch.
    row("fetch.max.bytes", Int, Some("57671680"), AtLeast(1024), Medium, field!(fetch.fetch_max_bytes),
        "Ceiling of one Fetch response, whatever the client asks. Soft: one batch larger than this is still returned whole."),
    row("max.incremental.fetch.session.cache.slots", Int, Some("1000"), AtLeast(0), Medium, field!(fetch.session_cache_slots),
        "Incremental fetch sessions kept (KIP-227). A client that finds no slot is served by full fetches."),
    // Topics.
    row("auto.create.topics.enable", Boolean, Some("true"), Any, High, field!(topics.auto_create_topics),
        "Create a topic that a client asks Metadata for, when the client allows it."),
    row("num.partitions", Int, Some("1"), AtLeast(1), Medium, field!(topics.num_partitions),
        "Partitions of a topic created without a count."),
    row("delete.topic.enable", Boolean, Some("true"), Any, High, field!(topics.delete_topic_enable),
        "Whether DeleteTopics is allowed."),
    // Defaults of topic configs.
    with_env(row("log.segment.bytes", Int, Some("262144000"), AtLeast(1024 * 1024), High, Bind::TopicDefault("segment.bytes"),
        "Size at which a partition's segment is closed; retention frees whole segments. 250 MiB, where Kafka's default is 1 GiB."), "CHRONIK_WAL_ROTATION_SIZE"),
    row("log.roll.ms", Long, None, AtLeast(1), High, Bind::TopicDefault("segment.ms"),
        "Age at which a segment is closed although it is not full. Stronger than `log.roll.hours`."),
    fixed(row("log.roll.hours", Int, Some("168"), AtLeast(1), High, Bind::TopicDefault("segment.ms"),
        "As `log.roll.ms`, in hours.")),
    row("log.retention.ms", Long, None, AtLeast(-1), High, Bind::TopicDefault("retention.ms"),
        "Time after which a closed segment is deleted, by its newest record's timestamp; -1 is never. Stronger than `log.retention.minutes`."),
    fixed(row("log.retention.minutes", Int, None, AtLeast(-1), High, Bind::TopicDefault("retention.ms"),
        "As `log.retention.ms`, in minutes. Stronger than `log.retention.hours`.")),
    fixed(row("log.retention.hours", Int, Some("168"), AtLeast(-1), High, Bind::TopicDefault("retention.ms"),
        "As `log.retention.ms`, in hours.")),
    row("log.retention.bytes", Long, Some("-1"), AtLeast(-1), High, Bind::TopicDefault("retention.bytes"),
        "Size of a partition above which its oldest closed segments are deleted; -1 is no bound."),
    row("log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1), Medium, field!(retention.retention_check_interval_ms),
        "How often partitions are looked at for data to delete."),
    row("log.cleanup.policy", List, Some("delete"), ListOf(&["delete", "compact"]), Medium, Bind::TopicDefault("cleanup.policy"),
        "`delete` applies retention; `compact` keeps the latest value of each key."),
    row("log.cleaner.enable", Boolean, Some("true"), Any, Medium, field!(cleaner.enable),
        "Clean compacted topics in the background. Without it they only grow; `chronik-server compact now` still cleans them."),
    dynamic(row("log.cleaner.backoff.ms", Long, Some("15000"), AtLeast(1), Medium, field!(cleaner.backoff_ms),
        "How often the cleaner looks for partitions to clean when there was none.")),
    dynamic(row("log.cleaner.io.max.bytes.per.second", Double, Some("33554432"), With(positive), Medium, field!(cleaner.io_bytes_per_second),
        "Bytes of records that the cleaner reads and writes together in a second, so that producers and consumers keep the disk. Kafka's default is unlimited.")),
    dynamic(row("log.cleaner.dedupe.buffer.size", Long, Some("134217728"), AtLeast(1 << 20), Medium, field!(cleaner.dedupe_buffer_bytes),
        "Bytes that the cleaner may take for keys, 24 and a little more for each; taken as it needs them, while it cleans. 128 MiB hold about 4 million keys; a partition with more takes several passes.")),
    row("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), Fraction, Medium, Bind::TopicDefault("min.cleanable.dirty.ratio"),
        "Part of a compacted partition's closed segments that must be new before it is cleaned."),
    row("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Medium, Bind::TopicDefault("min.compaction.lag.ms"),
        "How long a record of a compacted topic stays although a later one has its key."),
    row("log.cleaner.max.compaction.lag.ms", Long, Some("9223372036854775807"), AtLeast(1), Medium, Bind::TopicDefault("max.compaction.lag.ms"),
        "Time after which a record of a compacted topic is looked at by the cleaner at the latest."),
    row("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0), Medium, Bind::TopicDefault("delete.retention.ms"),
        "How long a compacted topic keeps a tombstone after the first pass of the cleaner that saw it."),
    row("log.index.interval.bytes", Int, Some("4096"), AtLeast(0), Medium, Bind::TopicDefault("index.interval.bytes"),
        "Bytes of a log between two entries of its time index."),
    row("log.message.timestamp.type", Text, Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium, Bind::TopicDefault("message.timestamp.type"),
        "Whether a record keeps its producer's timestamp or takes the time it was appended."),
    row("log.message.timestamp.before.max.ms", Long, Some("9223372036854775807"), AtLeast(0), Medium, Bind::TopicDefault("message.timestamp.before.max.ms"),
        "How far a record's timestamp may lie before the broker's clock (CreateTime alone)."),
    row("log.message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0), Medium, Bind::TopicDefault("message.timestamp.after.max.ms"),
        "How far a record's timestamp may lie after the broker's clock (CreateTime alone)."),
    row("message.max.bytes", Int, Some("1048588"), AtLeast(0), High, Bind::TopicDefault("max.message.bytes"),
        "Largest record batch that is accepted."),
    row("compression.type", Text, Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High, Bind::TopicDefault("compression.type"),
        "Codec that batches are stored with; `producer` keeps them as sent."),
    row("compression.gzip.level", Int, Some("-1"), Level(1, 9), Medium, Bind::TopicDefault("compression.gzip.level"),
        "Level when `compression.type` is gzip."),
    row("compression.lz4.level", Int, Some("9"), Between(1, 17), Medium, Bind::TopicDefault("compression.lz4.level"),
        "*No effect:* the lz4 encoder has one mode. Taken as the default of the topic config that clients set."),
    row("compression.zstd.level", Int, Some("3"), Between(-131_072, 22), Medium, Bind::TopicDefault("compression.zstd.level"),
        "Level when `compression.type` is zstd."),
    // Groups.
    row("group.initial.rebalance.delay.ms", Int, Some("3000"), AtLeast(0), Medium, field!(group.initial_rebalance_delay_ms),
        "How long the first rebalance of an empty group waits for further members. 0 makes a single consumer start at once."),
    row("group.min.session.timeout.ms", Int, Some("6000"), AtLeast(1), Medium, field!(group.min_session_timeout_ms),
        "Shortest session timeout a member may ask for."),
    row("group.max.session.timeout.ms", Int, Some("1800000"), AtLeast(1), Medium, field!(group.max_session_timeout_ms),
        "Longest session timeout a member may ask for."),
    row("group.max.size", Int, Some("2147483647"), Between(1, INT_MAX), Medium, field!(group.group_max_size),
        "Members of one group."),
    row("offset.metadata.max.bytes", Int, Some("4096"), AtLeast(0), High, field!(group.offset_metadata_max_bytes),
        "Longest metadata text committed with an offset."),
    row("offsets.retention.minutes", Int, Some("10080"), AtLeast(1), High, field!(group.offsets_retention_minutes),
        "Committed offsets expire this long after their group became empty, or after the commit for consumers without a group."),
    row("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1), High, field!(group.offsets_retention_check_interval_ms),
        "How often expired offsets are looked for."),
    // Producers.
    dynamic(row("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), Low, field!(producers.producer_id_expiration_ms),
        "An idempotent producer is forgotten by a partition after this long without a record; looked for every `log.retention.check.interval.ms`.")),
    row("transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1), High, field!(producers.transaction_max_timeout_ms),
        "Longest timeout that a transactional producer may ask for. An open transaction holds back readers of committed data for up to its timeout."),
    row("transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1), High, field!(producers.transactional_id_expiration_ms),
        "A transactional id without an open transaction is forgotten after this long without use."),
    row("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"), AtLeast(1), Low, field!(producers.abort_timed_out_interval_ms),
        "How often transactions past their timeout are looked for; they are aborted and their producers fenced."),
    row("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), AtLeast(1), Low, field!(producers.remove_expired_interval_ms),
        "How often transactional ids are looked for that `transactional.id.expiration.ms` lets go."),
    // Client metrics.
    row("telemetry.max.bytes", Int, Some("1048576"), AtLeast(1), Low, field!(telemetry.telemetry_max_bytes),
        "Longest payload of metrics, compressed, that a client may push at once (KIP-714)."),
    // Throttles of replication, which Kafka's reassignment tool sets and takes away again.
    row("leader.replication.throttled.rate", Long, Some("9223372036854775807"), AtLeast(0), Low, Bind::NoEffect,
        "*No effect:* one node replicates nothing."),
    row("follower.replication.throttled.rate", Long, Some("9223372036854775807"), AtLeast(0), Low, Bind::NoEffect,
        "*No effect:* one node replicates nothing."),
    row("replica.alter.log.dirs.io.max.bytes.per.second", Long, Some("9223372036854775807"), AtLeast(0), Low, Bind::NoEffect,
        "*No effect:* there is one log directory."),
    // Chronik's own.
    row("chronik.produce.profile", Text, Some("high-throughput"), OneOf(PRODUCE_PROFILES), Medium, field!(storage.produce_profile),
        "What one commit (one fsync) may gather under load: `low-latency` 1 batch, 10 ms of arrivals or 16 MiB; `balanced` 10, 100 ms, 32 MiB; `high-throughput` 100, 500 ms, 128 MiB; `extreme` 500, 2 s, 512 MiB. Ceilings: an idle disk commits at once and nothing waits for a timer."),
    row("chronik.wal.profile", Text, Some("auto"), OneOf(WAL_PROFILES), Medium, field!(storage.wal_profile),
        "Memory for write buffers, cache and recent records, and background threads: recent records take up to 16 MiB with `low`, 256 MiB with `medium`, 2 GiB with `high`, 8 GiB with `ultra`. `auto` chooses by memory or the cgroup's limit (from 2, 12 and 48 GiB on), and threads by cores."),
    dynamic(row("chronik.disk.reserve.bytes", Long, Some("1073741824"), AtLeast(0), High, field!(storage.disk_reserve_bytes),
        "Free disk space below which produce is refused with a retriable error while reads go on. It recovers by itself.")),
    // Tiered storage.
    row("chronik.tier.enable", Boolean, Some("false"), Any, High, Bind::TopicDefault("remote.storage.enable"),
        "Copy closed segments of every topic to object storage, unless the topic's `remote.storage.enable` says otherwise. See docs/tiering.md."),
    row("log.local.retention.ms", Long, Some("-2"), AtLeast(-2), Medium, Bind::TopicDefault("local.retention.ms"),
        "Time after which the local copy of what is in object storage is dropped; -2 is `retention.ms`, -1 never."),
    row("log.local.retention.bytes", Long, Some("-2"), AtLeast(-2), Medium, Bind::TopicDefault("local.retention.bytes"),
        "Local size of a partition above which copies of what is in object storage are dropped; -2 is `retention.bytes`, -1 no bound."),
    row("chronik.tier.roll.ms", Long, Some("1800000"), AtLeast(1), Medium, field!(tier.roll_ms),
        "Age at which a segment of a tiered topic is closed, so that it can be copied, where `segment.ms` is not set on the topic itself."),
    row("remote.log.manager.task.interval.ms", Long, Some("30000"), AtLeast(1), Medium, field!(tier.task_interval_ms),
        "How often tiered topics are looked at for something to copy, drop or delete."),
    row("remote.log.manager.copier.thread.pool.size", Int, Some("2"), Between(1, 64), Medium, field!(tier.copiers),
        "Segments that are copied at the same time. Each takes up to 48 MiB of memory."),
    dynamic(row("remote.log.manager.copy.max.bytes.per.second", Long, Some("9223372036854775807"), AtLeast(1), Medium, field!(tier.copy_bytes_per_second),
        "Bytes that are sent to object storage in a second.")),
    dynamic(row("remote.fetch.max.wait.ms", Int, Some("500"), AtLeast(1), Medium, field!(tier.fetch_max_wait_ms),
        "How long a fetch that has nothing else to answer waits for object storage; the reading goes on, and the next fetch has it.")),
    row("chronik.tier.cache.memory.bytes", Long, Some("67108864"), AtLeast(1 << 20), Medium, field!(tier.cache_memory_bytes),
        "Memory for blocks read from object storage. Taken as it is needed."),
    row("chronik.tier.cache.disk.bytes", Long, Some("1073741824"), AtLeast(0), Medium, field!(tier.cache_disk_bytes),
        "Disk space below `data.dir` for blocks read from object storage; 0 is none. Below 64 MiB there is none either."),
    row("chronik.tier.read.ahead.bytes", Long, Some("16777216"), AtLeast(1 << 20), Medium, field!(tier.read_ahead_bytes),
        "Bytes that one GET of a reader who goes forward asks for at most."),
    row("chronik.tier.delete.delay.ms", Long, Some("60000"), AtLeast(0), Low, field!(tier.delete_delay_ms),
        "How long an object stays after nothing names it any more, for readers on their way."),
    row("chronik.tier.orphan.grace.ms", Long, Some("86400000"), AtLeast(60_000), Low, field!(tier.orphan_grace_ms),
        "Age at which an object that nothing names, left by an upload that was cut short, is removed by scrubbing."),
    row("chronik.tier.scrub.interval.ms", Long, Some("21600000"), AtLeast(1000), Low, field!(tier.scrub_interval_ms),
        "How often manifest, bucket and local start are compared, and checksums sampled."),
    row("chronik.tier.meta.interval.ms", Long, Some("60000"), AtLeast(1), Low, field!(tier.meta_interval_ms),
        "How often topics, groups and committed offsets are copied to object storage, if they have changed; `restore` knows no more than that."),
    // Object storage.
    with_env(row("object.store.backend", Text, Some("local"), OneOf(&["s3", "gcs", "azure", "local"]), High, field!(object_store.backend),
        "`s3` and what speaks it, `gcs`, `azure`, or `local`, a directory."), "OBJECT_STORE_BACKEND"),
    with_env(row("object.store.prefix", Text, None, With(object_prefix), Medium, field!(object_store.prefix),
        "What every name in the bucket begins with, to share it with others; `a/b`."), "OBJECT_STORE_PREFIX"),
    row("object.store.request.timeout.ms", Long, Some("30000"), AtLeast(100), Low, field!(object_store.request_timeout_ms),
        "How long one request to object storage may take before it is given up and tried again."),
    with_env(row("s3.endpoint", Text, None, With(endpoint), High, field!(object_store.s3_endpoint),
        "Address of a store that speaks S3, `https://HOST:PORT`; not set is Amazon's."), "S3_ENDPOINT"),
    with_env(row("s3.region", Text, Some("us-east-1"), NonEmpty, Medium, field!(object_store.s3_region),
        "Region of the bucket."), "S3_REGION"),
    with_env(row("s3.bucket", Text, Some("chronik-storage"), NonEmpty, High, field!(object_store.s3_bucket),
        "The bucket. It must exist."), "S3_BUCKET"),
    with_env(row("s3.access.key", Password, None, NonEmpty, High, field!(object_store.s3_access_key),
        "Access key; not set uses the surroundings' (AWS_ACCESS_KEY_ID, web identity, container or instance role)."), "S3_ACCESS_KEY"),
    with_env(row("s3.secret.key", Password, None, NonEmpty, High, field!(object_store.s3_secret_key),
        "Secret of the access key."), "S3_SECRET_KEY"),
    with_env(row("s3.path.style", Boolean, Some("true"), Any, Medium, field!(object_store.s3_path_style),
        "Whether the bucket is in the path (`https://host/bucket`) and not in the host name."), "S3_PATH_STYLE"),
    with_env(row("s3.disable.ssl", Boolean, Some("false"), Any, Medium, field!(object_store.s3_disable_ssl),
        "Whether an endpoint without a scheme is spoken to without TLS. An endpoint that begins with `http://` is in any case."), "S3_DISABLE_SSL"),
    with_env(row("gcs.bucket", Text, None, NonEmpty, High, field!(object_store.gcs_bucket),
        "The bucket of the backend `gcs`. It must exist. Credentials are the surroundings' (GOOGLE_APPLICATION_CREDENTIALS, metadata server)."), "GCS_BUCKET"),
    with_env(row("gcs.project.id", Text, None, NonEmpty, Low, field!(object_store.gcs_project_id),
        "The project; shown by `doctor storage`, not needed to reach a bucket."), "GCS_PROJECT_ID"),
    with_env(row("gcs.endpoint", Text, None, With(endpoint), Low, field!(object_store.gcs_endpoint),
        "Address of an emulator, which is spoken to without credentials; not set is Google's."), "GCS_ENDPOINT"),
    with_env(row("azure.account.name", Text, None, NonEmpty, High, field!(object_store.azure_account_name),
        "The storage account of the backend `azure`."), "AZURE_ACCOUNT_NAME"),
    with_env(row("azure.container", Text, None, NonEmpty, High, field!(object_store.azure_container),
        "The container. It must exist."), "AZURE_CONTAINER"),
    with_env(row("azure.account.key", Password, None, NonEmpty, High, field!(object_store.azure_account_key),
        "Key of the account; not set uses the surroundings' (AZURE_* variables, workload or managed identity)."), "AZURE_ACCOUNT_KEY"),
    with_env(row("azure.endpoint", Text, None, With(endpoint), Low, field!(object_store.azure_endpoint),
        "Address of an emulator or a private cloud; not set is Microsoft's."), "AZURE_ENDPOINT"),
    with_env(row("local.storage.path", Text, None, NonEmpty, High, field!(object_store.local_storage_path),
        "Directory of the backend `local`; not set is `objects` below `data.dir`. On the disk of the data it protects from nothing."), "LOCAL_STORAGE_PATH"),
    row("http.addr", Text, Some("127.0.0.1:6092"), With(host_port), High, Bind::Addresses,
        "Address of health, metrics and administration. Not on loopback and without `chronik.admin.api.key`, only health and metrics are served."),
    row("chronik.admin.api.key", Password, None, NonEmpty, High, field!(http.admin_api_key),
        "Key that `/v1/admin` asks for, as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Prefer the environment variable to the file."),
    with_env(row("log.level", Text, Some("info"), With(log_directives), Medium, field!(logging.log_level),
        "Level of the logs (error, warn, info, debug, trace), or directives by module such as `info,chronik_server::net=debug`."), "RUST_LOG"),
    row("log.format", Text, Some("text"), OneOf(&["text", "json"]), Low, field!(logging.log_format),
        "`text` for people, `json` for one object a line."),
];
