//! Owns what a topic's configs come to: overrides set on the topic, over broker settings, over
//! defaults. Checks overrides, computes the engine's [`LogConfig`], and describes all three layers
//! as DescribeConfigs shows them. Stores nothing: overrides live with the topic in the engine.

use std::collections::BTreeMap;
use std::fmt;

use chronik_engine::log::LogConfig;
use chronik_engine::store::Durability;
use chronik_protocol::batch::{TargetCompression, TimestampType};
use chronik_protocol::compression::Compression;

use super::broker::BrokerConfig;
use super::entries::{ConfigEntries, ConfigEntry, ConfigSource, ConfigSynonym};
use super::setting::{Kind, Setting};
use super::table;
use super::topic_table::{self, TopicSetting, topic_settings};
use super::value::{Value, split_list};

/// The settings a topic's log runs with. Overrides that would not pass [`validate_overrides`] (written by another
/// version, say) count as not set: a topic must open whatever was stored.
pub fn log_config(overrides: &BTreeMap<String, String>, broker: &BrokerConfig) -> LogConfig {
    let layers = Layers { overrides, entries: &broker.entries };
    let policy = layers.text("cleanup.policy");
    let policies = split_list(&policy);
    let internal = layers.find("internal.segment.bytes").map(|value| int(&value));
    let segment_bytes = internal.unwrap_or_else(|| layers.int("segment.bytes"));
    LogConfig {
        // The rows' checks refuse negative sizes; 0 is what the conversion would otherwise mean.
        segment_bytes: u64::try_from(segment_bytes).unwrap_or(0),
        segment_ms: segment_ms(&layers, broker),
        retention_ms: Some(layers.long("retention.ms")).filter(|ms| *ms >= 0),
        retention_bytes: u64::try_from(layers.long("retention.bytes")).ok(),
        remote_storage: layers.flag("remote.storage.enable"),
        remote_copy_disable: layers.flag("remote.log.copy.disable"),
        remote_delete_on_disable: layers.flag("remote.log.delete.on.disable"),
        local_retention_ms: layers.local("local.retention.ms", "retention.ms"),
        local_retention_bytes: layers
            .local("local.retention.bytes", "retention.bytes")
            .and_then(|bytes| u64::try_from(bytes).ok()),
        cleanup_delete: policies.contains(&"delete"),
        cleanup_compact: policies.contains(&"compact"),
        min_cleanable_dirty_ratio: layers.double("min.cleanable.dirty.ratio"),
        min_compaction_lag_ms: layers.long("min.compaction.lag.ms"),
        max_compaction_lag_ms: layers.long("max.compaction.lag.ms"),
        delete_retention_ms: layers.long("delete.retention.ms"),
        index_interval_bytes: u64::try_from(layers.int("index.interval.bytes")).unwrap_or(0),
        durability: match layers.text("chronik.durability").as_str() {
            "os" => Durability::Os,
            _ => Durability::Sync,
        },
        max_message_bytes: usize::try_from(layers.int("max.message.bytes")).unwrap_or(0),
        timestamp_type: match layers.text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: layers.long("message.timestamp.before.max.ms"),
        timestamp_after_max_ms: layers.long("message.timestamp.after.max.ms"),
        compression: compression(&layers),
    }
}

/// Age at which a segment closes. That of a tiered topic closes in time to be copied, unless the topic says otherwise.
fn segment_ms(layers: &Layers<'_>, broker: &BrokerConfig) -> i64 {
    let segment_ms = layers.long("segment.ms");
    if layers.flag("remote.storage.enable") && !layers.overrides.contains_key("segment.ms") {
        segment_ms.min(broker.tier.roll_ms)
    } else {
        segment_ms
    }
}

fn compression(layers: &Layers<'_>) -> TargetCompression {
    match layers.text("compression.type").as_str() {
        "uncompressed" => TargetCompression::To(Compression::None, None),
        "gzip" => {
            // -1 is zlib's word for its own default (KIP-390).
            let level = Some(layers.int("compression.gzip.level")).filter(|level| *level != -1);
            TargetCompression::To(Compression::Gzip, level)
        }
        "snappy" => TargetCompression::To(Compression::Snappy, None),
        // The encoder has one mode.
        "lz4" => TargetCompression::To(Compression::Lz4, None),
        "zstd" => TargetCompression::To(Compression::Zstd, Some(layers.int("compression.zstd.level"))),
        _ => TargetCompression::Producer,
    }
}

fn int(value: &Value) -> i32 {
    match value {
        Value::Int(number) => i32::try_from(*number).expect("Kind::Int is checked to fit 32 bits"),
        other => unreachable!("an int's row has an int's kind, not {other:?}"),
    }
}

/// The three layers a config is looked up in.
struct Layers<'a> {
    overrides: &'a BTreeMap<String, String>,
    entries: &'a ConfigEntries,
}

impl Layers<'_> {
    fn find(&self, name: &str) -> Option<Value> {
        let setting = topic_table::find(name).expect("only names of the table are asked for");
        let parse = |text: &str| Value::parse(setting.kind, setting.check, text).ok();
        self.overrides
            .get(name)
            .and_then(|text| parse(text))
            .or_else(|| inherited(setting, self.entries).and_then(|text| parse(&text)))
            .or_else(|| setting.default.and_then(parse))
    }

    fn value(&self, name: &str) -> Value {
        self.find(name).expect("the row has a default that passes its own check")
    }

    fn int(&self, name: &str) -> i32 {
        int(&self.value(name))
    }

    fn long(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(number) => number,
            other => unreachable!("a long's row has a long's kind, not {other:?}"),
        }
    }

    fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(yes) => yes,
            other => unreachable!("a boolean's row has a boolean's kind, not {other:?}"),
        }
    }

    /// A bound of the local part: -2 is that of the whole, any other negative one none.
    fn local(&self, name: &str, whole: &str) -> Option<i64> {
        let bound = match self.long(name) {
            -2 => self.long(whole),
            own => own,
        };
        Some(bound).filter(|bound| *bound >= 0)
    }

    fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Double(number) => number,
            other => unreachable!("a double's row has a double's kind, not {other:?}"),
        }
    }

    fn text(&self, name: &str) -> String {
        self.value(name).text()
    }
}

/// The value broker settings give: the strongest synonym that an operator set, else the strongest
/// with a default (LogConfig's fallback from ms to minutes to hours).
fn inherited(setting: &TopicSetting, entries: &ConfigEntries) -> Option<String> {
    let synonyms = || setting.synonyms.iter();
    let synonym = synonyms()
        .find(|synonym| entries.is_set(synonym.name) && entries.value(synonym.name).is_some())
        .or_else(|| synonyms().find(|synonym| entries.value(synonym.name).is_some()))?;
    let text = entries.value(synonym.name)?;
    match text.parse::<i64>() {
        // -1 hours is Kafka's "for ever", not minus one hour.
        Ok(number) if number >= 0 => Some(number.saturating_mul(synonym.scale).to_string()),
        _ => Some(text.to_owned()),
    }
}

/// One topic config that cannot be accepted; goes out as INVALID_CONFIG with this text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFault {
    /// The config's name.
    pub name: String,
    /// The whole message.
    pub message: String,
}

impl fmt::Display for TopicFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

/// Checks a topic's complete set of overrides: names, values, and values together.
pub fn validate_overrides(overrides: &BTreeMap<String, String>, broker: &BrokerConfig) -> Vec<TopicFault> {
    let mut faults: Vec<TopicFault> = overrides
        .iter()
        .filter_map(|(name, text)| {
            let message = match topic_table::find(name) {
                None => format!("Unknown topic config name: {name}"),
                Some(setting) => match Value::parse(setting.kind, setting.check, text) {
                    Ok(_) => return None,
                    Err(problem) => {
                        format!("Invalid value {text} for configuration {name}: {problem}")
                    }
                },
            };
            Some(TopicFault { name: name.clone(), message })
        })
        .collect();
    let layers = Layers { overrides, entries: &broker.entries };
    let (min, max) = (layers.long("min.compaction.lag.ms"), layers.long("max.compaction.lag.ms"));
    if min > max {
        let message = format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        );
        faults.push(TopicFault { name: "min.compaction.lag.ms".to_owned(), message });
    }
    faults.extend(tier_faults(&layers));
    faults
}

/// Names of the configs that are shown.
pub fn topic_config_names() -> impl Iterator<Item = &'static str> {
    topic_settings().iter().filter(|setting| !setting.hidden).map(|setting| setting.name)
}

/// Whether APPEND and SUBTRACT apply to the config; `None` when there is none of this name.
pub fn is_list_config(name: &str) -> Option<bool> {
    topic_table::find(name).map(|setting| setting.kind == Kind::List)
}

/// A topic's configs as DescribeConfigs shows them, with all synonyms (KIP-226's order: topic,
/// this broker, every broker, static broker, default).
pub fn describe_topic(overrides: &BTreeMap<String, String>, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    topic_settings()
        .iter()
        .filter(|setting| !setting.hidden || overrides.contains_key(setting.name))
        .map(|setting| describe_one(setting, overrides, &broker.entries))
        .collect()
}

fn describe_one(
    setting: &'static TopicSetting,
    overrides: &BTreeMap<String, String>,
    entries: &ConfigEntries,
) -> ConfigEntry {
    let layers = Layers { overrides, entries };
    let mut synonyms = Vec::new();
    if let Some(text) = overrides.get(setting.name) {
        synonyms.push(ConfigSynonym {
            name: setting.name.to_owned(),
            value: Some(text.clone()),
            source: ConfigSource::DynamicTopic,
        });
    }
    synonyms.extend(broker_synonyms(setting, entries));
    ConfigEntry {
        name: setting.name,
        value: layers.find(setting.name).map(|value| value.text()),
        source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
        read_only: false,
        sensitive: false,
        synonyms,
        kind: setting.kind,
        doc: setting.doc,
    }
}

/// As Kafka lists them: what the operator set in one broker setting or the other, then the defaults. A setting that
/// Chronik does not have is listed by Kafka's name with the topic config's default.
fn broker_synonyms(setting: &TopicSetting, entries: &ConfigEntries) -> Vec<ConfigSynonym> {
    let rows: Vec<&Setting> =
        setting.synonyms.iter().filter_map(|synonym| table::find(synonym.name)).collect();
    if !rows.is_empty() {
        return entries.synonyms_of(&rows);
    }
    match (setting.synonyms.last(), setting.default) {
        (Some(last), Some(default)) => vec![ConfigSynonym {
            name: last.name.to_owned(),
            value: Some(default.to_owned()),
            source: ConfigSource::Default,
        }],
        _ => Vec::new(),
    }
}

/// What of the configs of tiered storage does not fit together (Kafka's `LogConfig.validateRemoteStorageRetentionTime`,
/// `…RetentionSize`, `validateRetentionConfigsWhenRemoteCopyDisabled`). Unlike in Kafka, compacted topics can be tiered.
fn tier_faults(layers: &Layers<'_>) -> Vec<TopicFault> {
    if !layers.flag("remote.storage.enable") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (local, whole) in
        [("local.retention.ms", "retention.ms"), ("local.retention.bytes", "retention.bytes")]
    {
        let (kept, most) = (layers.long(local), layers.long(whole));
        let problem = if kept == -2 || most < 0 {
            continue;
        } else if layers.flag("remote.log.copy.disable") && kept != most {
            format!(
                "When `remote.log.copy.disable` is set to true, the `{local}` and `{whole}` must be set to the identical \
                 value because there will be no more logs copied to the remote storage."
            )
        } else if kept == -1 {
            format!("Value must not be -1 as {whole} value is set as {most}.")
        } else if kept > most {
            format!("Value must not be more than property: {whole} value.")
        } else {
            continue;
        };
        let message = format!("Invalid value {kept} for configuration {local}: {problem}");
        faults.push(TopicFault { name: local.to_owned(), message });
    }
    faults
}

/// Checks a change of a topic's overrides beyond [`validate_overrides`]: what is in object storage is not left behind in
/// silence (Kafka's `LogConfig.validateTurningOffRemoteStorageWithDelete`, KIP-950).
pub fn validate_change(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    broker: &BrokerConfig,
) -> Option<TopicFault> {
    let tiered = |overrides| log_config(overrides, broker).remote_storage;
    let left_behind = tiered(old) && !tiered(new) && !log_config(new, broker).remote_delete_on_disable;
    left_behind.then(|| TopicFault {
        name: "remote.storage.enable".to_owned(),
        message: "It is invalid to disable remote storage without deleting remote data. If you want to keep the remote data \
                  and turn to read only, please set `remote.storage.enable=true,remote.log.copy.disable=true`. If you want \
                  to disable remote storage and delete all remote data, please set \
                  `remote.storage.enable=false,remote.log.delete.on.disable=true`."
            .to_owned(),
    })
}
