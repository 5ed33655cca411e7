//! Owns the broker's configuration: one table of settings, the sources they are read from, and the
//! plain typed structs that are passed down to everything else.
//!
//! The path is one way: [`Sources`] (file, environment, flags) → [`load`] → [`BrokerConfig`], or the
//! list of *all* faults found. Nothing outside this module reads an environment variable or a file
//! to learn a setting, and nothing inside it opens a socket or touches the data directory.
//!
//! Why a table and the `toml` crate instead of the `config` or `figment` crates: Kafka's setting names contain
//! dots (`log.retention.ms` beside `log.retention.bytes`), which both read as nesting and
//! which serde structs cannot name without a rename on each field; both stop at the first
//! value that does not deserialize, while an operator wants every fault of one start at once; and
//! `config` forgets which source a value came from. The table is needed anyway: for DescribeConfigs
//! (type, documentation, synonyms), for `docs/configuration.md`, and for suggestions on a misspelt name.

mod broker;
mod dynamic;
mod engine;
mod entries;
mod facts;
mod fault;
mod file;
mod listeners;
mod load;
mod markdown;
mod setting;
mod table;
mod tier;
mod topic;
mod topic_table;
mod value;

pub use broker::{
    BrokerConfig, CleanerSettings, FetchSettings, GroupSettings, HttpSettings, LogFormat, LogSettings,
    NetworkSettings, NodeSettings, ProducerSettings, RetentionSettings, Secret, StorageSettings,
    TelemetrySettings, TopicSettings,
};
pub use dynamic::{DynamicFault, DynamicLayers, list_default, validate_dynamic};
pub use entries::{ConfigEntries, ConfigEntry, ConfigSource, ConfigSynonym};
pub use facts::facts;
pub use fault::{Fault, Faults, Origin};
pub use listeners::{AdvertisedFrom, HostPort, Listener};
pub use load::{Sources, load, load_with_faults};
pub use markdown::{REFERENCE_PATH, markdown};
pub use setting::{Importance, Kind, Setting};
pub use table::{all as settings, find as find_setting};
pub use tier::{ObjectStoreSettings, TierSettings};
pub use topic::{
    TopicFault, describe_topic, is_list_config, log_config, topic_config_names, validate_change,
    validate_overrides,
};
pub use topic_table::{TopicSetting, topic_settings};

#[cfg(test)]
mod tests;
