//! Owns the table of topic configs: every one of Kafka 4.3 (LogConfig, TopicConfig) and Chronik's own, with
//! type, default, check, the broker settings it inherits from, and whether it changes anything here.
//! Interprets none of them: that is `topic.rs`.

use super::setting::Kind;
use super::value::Check;

/// A broker setting a topic config inherits from, strongest first in its list.
#[derive(Debug, Clone, Copy)]
pub struct Synonym {
    /// The broker setting.
    pub name: &'static str,
    /// What its unit is in the topic config's: hours and minutes are inherited as milliseconds.
    pub scale: i64,
}

/// One topic config.
#[derive(Debug, Clone, Copy)]
pub struct TopicSetting {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Default when no broker setting says otherwise; `None` is not set.
    pub default: Option<&'static str>,
    /// What a value must satisfy besides its type.
    pub check: Check,
    /// Broker settings inherited from. Those that Chronik does not have are named for DescribeConfigs,
    /// which lists the default under Kafka's name.
    pub synonyms: &'static [Synonym],
    /// Whether it changes anything on one node.
    pub effect: bool,
    /// Accepted and not shown: Kafka's internal configs, and one that left in 4.0.
    pub hidden: bool,
    /// The manual.
    pub doc: &'static str,
}

impl TopicSetting {
    /// The default for the reference.
    pub fn shown_default(&self) -> &'static str {
        self.default.unwrap_or("not set")
    }
}

/// Every topic config, sorted by name.
pub fn topic_settings() -> &'static [TopicSetting] {
    TOPIC_SETTINGS
}

/// The row of this name.
pub fn find(name: &str) -> Option<&'static TopicSetting> {
    TOPIC_SETTINGS.iter().find(|setting| setting.name == name)
}

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

const fn same(name: &'static str) -> Synonym {
    Synonym { name, scale: 1 }
}

const fn scaled(name: &'static str, scale: i64) -> Synonym {
    Synonym { name, scale }
}

const fn active(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    synonyms: &'static [Synonym],
    doc: &'static str,
) -> TopicSetting {
    TopicSetting { name, kind, default: Some(default), check, synonyms, effect: true, hidden: false, doc }
}

const fn inert(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    synonyms: &'static [Synonym],
    doc: &'static str,
) -> TopicSetting {
    TopicSetting { name, kind, default: Some(default), check, synonyms, effect: false, hidden: false, doc }
}

const fn hidden(mut setting: TopicSetting, default: Option<&'static str>) -> TopicSetting {
    setting.hidden = true;
    setting.default = default;
    setting
}

/// `partition:replica` pairs, or `*`.
fn throttled_replicas(text: &str) -> Result<(), String> {
    let pair = |item: &str| {
        item.split_once(':')
            .is_some_and(|(left, right)| left.parse::<u32>().is_ok() && right.parse::<u32>().is_ok())
    };
    if text.is_empty() || text == "*" || text.split(',').all(|item| pair(item.trim())) {
        Ok(())
    } else {
        Err(format!("`{text}` must be `*` or a list of partition:replica pairs"))
    }
}

use Check::{Any, AtLeast, Between, Fraction, Level, ListOf, OneOf, With};
use Kind::{Boolean, Double, Int, List, Long, String as Text};

#[rustfmt::skip]
static TOPIC_SETTINGS: &[TopicSetting] = &[
    active("chronik.durability", Text, "sync", OneOf(&["sync", "os"]), &[],
        "`sync`: acknowledged means fsynced. `os`: acknowledged once handed to the operating system; a power loss may take the newest records, after which the leader epoch rises so that clients can tell."),
    active("cleanup.policy", List, "delete", ListOf(&["compact", "delete"]), &[same("log.cleanup.policy")],
        "`delete` applies retention; `compact` keeps the latest value of each key, and asks for a key on every record; both may be named, or neither to keep everything."),
    active("compression.gzip.level", Int, "-1", Level(1, 9), &[same("compression.gzip.level")],
        "Level when `compression.type` is gzip; -1 is the codec's default."),
    inert("compression.lz4.level", Int, "9", Between(1, 17), &[same("compression.lz4.level")],
        "The lz4 encoder has one mode."),
    active("compression.type", Text, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), &[same("compression.type")],
        "Codec that batches are stored with; `producer` keeps them as sent, any other recompresses what differs."),
    active("compression.zstd.level", Int, "3", Between(-131_072, 22), &[same("compression.zstd.level")],
        "Level when `compression.type` is zstd."),
    active("delete.retention.ms", Long, "86400000", AtLeast(0), &[same("log.cleaner.delete.retention.ms")],
        "How long a compacted topic keeps a tombstone after the first pass of the cleaner that saw it."),
    inert("file.delete.delay.ms", Long, "60000", AtLeast(0), &[same("log.segment.delete.delay.ms")],
        "Segments are ranges of keys, not files: there is no file to wait for."),
    inert("flush.messages", Long, "9223372036854775807", AtLeast(1), &[same("log.flush.interval.messages")],
        "Every commit is fsynced before it is acknowledged; see `chronik.durability`."),
    inert("flush.ms", Long, "9223372036854775807", AtLeast(0), &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "As `flush.messages`."),
    inert("follower.replication.throttled.replicas", List, "", With(throttled_replicas), &[],
        "One node replicates nothing."),
    active("index.interval.bytes", Int, "4096", AtLeast(0), &[same("log.index.interval.bytes")],
        "Bytes of the log between two entries of its time index."),
    hidden(active("internal.segment.bytes", Int, "", AtLeast(1), &[],
        "Kafka's way for tests to have segments below 1 MiB; stronger than `segment.bytes`."), None),
    inert("leader.replication.throttled.replicas", List, "", With(throttled_replicas), &[],
        "One node replicates nothing."),
    active("local.retention.bytes", Long, "-2", AtLeast(-2), &[same("log.local.retention.bytes")],
        "Local size of a partition above which copies of what is in object storage are dropped; -2 is `retention.bytes`, -1 no bound."),
    active("local.retention.ms", Long, "-2", AtLeast(-2), &[same("log.local.retention.ms")],
        "Time after which the local copy of what is in object storage is dropped; -2 is `retention.ms`, -1 never."),
    active("max.compaction.lag.ms", Long, "9223372036854775807", AtLeast(1), &[same("log.cleaner.max.compaction.lag.ms")],
        "Time after which a record of a compacted topic is looked at by the cleaner at the latest, however little is new. Segments of such a topic close at this age."),
    active("max.message.bytes", Int, "1048588", AtLeast(0), &[same("message.max.bytes")],
        "Largest record batch that is accepted."),
    hidden(inert("message.downconversion.enable", Boolean, "", Any, &[],
        "Left Kafka in 4.0: old formats are not served. Accepted for older tools."), None),
    active("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), &[same("log.message.timestamp.after.max.ms")],
        "How far a record's timestamp may lie after the broker's clock (CreateTime alone)."),
    active("message.timestamp.before.max.ms", Long, "9223372036854775807", AtLeast(0), &[same("log.message.timestamp.before.max.ms")],
        "How far a record's timestamp may lie before the broker's clock (CreateTime alone)."),
    active("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), &[same("log.message.timestamp.type")],
        "Whether a record keeps its producer's timestamp or takes the time it was appended."),
    active("min.cleanable.dirty.ratio", Double, "0.5", Fraction, &[same("log.cleaner.min.cleanable.ratio")],
        "Part of a compacted partition's closed segments that must be new before it is cleaned."),
    active("min.compaction.lag.ms", Long, "0", AtLeast(0), &[same("log.cleaner.min.compaction.lag.ms")],
        "How long a record of a compacted topic stays although a later one has its key."),
    inert("min.insync.replicas", Int, "1", AtLeast(1), &[same("min.insync.replicas")],
        "Kafka takes the lesser of it and the replication factor (Partition.effectiveMinIsr), which is 1 on one node."),
    inert("preallocate", Boolean, "false", Any, &[same("log.preallocate")],
        "Segments are ranges of keys, not files: there is nothing to allocate."),
    active("remote.log.copy.disable", Boolean, "false", Any, &[],
        "Copy nothing more to object storage; what is there stays readable (KIP-950)."),
    active("remote.log.delete.on.disable", Boolean, "false", Any, &[],
        "Delete what is in object storage once `remote.storage.enable` is false; the log then begins where its local part does (KIP-950)."),
    active("remote.storage.enable", Boolean, "false", Any, &[same("chronik.tier.enable")],
        "Copy closed segments to object storage; `local.retention.*` then says how much stays local as well. Compacted topics too, once cleaned."),
    active("retention.bytes", Long, "-1", Any, &[same("log.retention.bytes")],
        "Size of a partition above which its oldest closed segments are deleted; negative is no bound."),
    active("retention.ms", Long, "604800000", AtLeast(-1), &[same("log.retention.ms"), scaled("log.retention.minutes", MINUTE_MS), scaled("log.retention.hours", HOUR_MS)],
        "Time after which a closed segment is deleted, by its newest record's timestamp; -1 is never."),
    active("segment.bytes", Int, "262144000", AtLeast(1024 * 1024), &[same("log.segment.bytes")],
        "Size at which a segment is closed; retention frees whole segments."),
    inert("segment.index.bytes", Int, "10485760", AtLeast(4), &[same("log.index.size.max.bytes")],
        "Segments have no index files."),
    inert("segment.jitter.ms", Long, "0", AtLeast(0), &[same("log.roll.jitter.ms"), scaled("log.roll.jitter.hours", HOUR_MS)],
        "Closing a segment costs nothing here, so there is no burst to spread."),
    active("segment.ms", Long, "604800000", AtLeast(1), &[same("log.roll.ms"), scaled("log.roll.hours", HOUR_MS)],
        "Age at which a segment is closed although it is not full."),
    inert("unclean.leader.election.enable", Boolean, "false", Any, &[same("unclean.leader.election.enable")],
        "One node elects no leader."),
];
