//! Owns what settings changed at run time come to (KIP-226): which may change, what a value must satisfy, and the
//! configuration that results. Two layers lie over the sources of the start: values set for every broker, and over
//! them those set for this one. Stores nothing, and puts nothing in force.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::setting::{Bind, Kind};
use super::table;
use super::value::Value;

/// Values set at run time, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DynamicLayers {
    /// For every broker.
    pub default: BTreeMap<String, String>,
    /// For this one; stronger.
    pub broker: BTreeMap<String, String>,
}

/// Why settings cannot be changed, in Kafka's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DynamicFault {
    /// No setting has these names. Kafka keeps such a value for plugins; here nothing would ever read it.
    #[error("Unknown broker config names: [{}]; all names are in docs/configuration.md", .0.join(", "))]
    Unknown(Vec<String>),
    /// They are read when the broker starts.
    #[error("Cannot update these configs dynamically: [{}]", .0.join(", "))]
    Fixed(Vec<String>),
    /// One has a value that it cannot have.
    #[error("Invalid value {value} for configuration {name}: {problem}")]
    Invalid {
        /// Which setting.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Checks everything that is to be set in one layer.
///
/// # Errors
/// Settings that are fixed at the start first, then unknown names, then the first bad value.
pub fn validate_dynamic(layer: &BTreeMap<String, String>) -> Result<(), DynamicFault> {
    let names = |wrong: fn(&str) -> bool| -> Vec<String> {
        layer.keys().filter(|name| wrong(name)).cloned().collect()
    };
    let fixed = names(|name| table::find(name).is_some_and(|setting| !setting.dynamic));
    if !fixed.is_empty() {
        return Err(DynamicFault::Fixed(fixed));
    }
    let unknown = names(|name| table::find(name).is_none());
    if !unknown.is_empty() {
        return Err(DynamicFault::Unknown(unknown));
    }
    for (name, text) in layer {
        let Some(setting) = table::find(name) else { continue };
        if let Err(problem) = Value::parse(setting.kind, setting.check, text) {
            return Err(DynamicFault::Invalid { name: name.clone(), value: text.clone(), problem });
        }
    }
    Ok(())
}

/// Whether a setting is a list, for APPEND and SUBTRACT, and the default these start from; `None` when no setting has
/// this name.
pub fn list_default(name: &str) -> Option<(bool, &'static str)> {
    table::find(name).map(|setting| (setting.kind == Kind::List, setting.default.unwrap_or_default()))
}

impl BrokerConfig {
    /// This configuration, as it was at the start, with the layers over it. A value that is not good (another version
    /// wrote it, say) is told and passed over, so that the one beneath holds.
    pub fn with_dynamic(&self, layers: &DynamicLayers) -> (BrokerConfig, Vec<DynamicFault>) {
        let mut config = self.clone();
        let mut faults = Vec::new();
        for (layer, for_this_broker) in [(&layers.default, false), (&layers.broker, true)] {
            for (name, text) in layer {
                let alone = BTreeMap::from([(name.clone(), text.clone())]);
                if let Err(fault) = validate_dynamic(&alone) {
                    faults.push(fault);
                    continue;
                }
                let setting = table::find(name).expect("a name that passes the check has a row");
                let value = Value::parse(setting.kind, setting.check, text).expect("it passed the check");
                if let Bind::Field { set, .. } = setting.bind {
                    set(&mut config, &value);
                }
                config.entries.set_dynamic(setting, value.text(), for_this_broker);
            }
        }
        (config, faults)
    }
}
