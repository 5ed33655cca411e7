//! Owns every setting as text with its source: what DescribeConfigs shows, what topic configs
//! inherit, and what the `config` subcommand prints. Secrets are dropped here, not by each reader.

use std::collections::BTreeMap;

use super::fault::Origin;
use super::setting::{Kind, Setting};
use super::table;

/// Where DescribeConfigs says a value comes from, with its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic,
    /// Set by the operator: file, environment or flag.
    StaticBroker,
    /// Nobody set it.
    Default,
}

impl ConfigSource {
    /// The number on the wire (DescribeConfigsResponse.ConfigSource).
    pub fn code(self) -> i8 {
        match self {
            ConfigSource::DynamicTopic => 1,
            ConfigSource::StaticBroker => 4,
            ConfigSource::Default => 5,
        }
    }
}

/// One of the places a value could have come from, strongest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Name under which it was set.
    pub name: String,
    /// Value there; `None` for secrets.
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// One config as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Name.
    pub name: &'static str,
    /// Value; `None` is null: not set, or a secret.
    pub value: Option<String>,
    /// Source of the value.
    pub source: ConfigSource,
    /// Cannot be altered through the Kafka API.
    pub read_only: bool,
    /// A secret.
    pub sensitive: bool,
    /// The sources, strongest first, the effective one among them.
    pub synonyms: Vec<ConfigSynonym>,
    /// Type.
    pub kind: Kind,
    /// The manual.
    pub doc: &'static str,
}

/// A setting's text and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Normal form of the value; `None` when not set and without default.
    pub value: Option<String>,
    /// Where it was found.
    pub origin: Origin,
}

/// Every setting's effective value and provenance.
#[derive(Debug, Clone, Default)]
pub struct ConfigEntries {
    resolved: BTreeMap<&'static str, Resolved>,
}

impl ConfigEntries {
    /// Records a value. Secrets are replaced, so that nothing later can show them.
    pub(super) fn insert(&mut self, setting: &'static Setting, resolved: Resolved) {
        let resolved = match (setting.sensitive(), resolved) {
            (true, Resolved { value: Some(_), origin }) => {
                Resolved { value: Some("[hidden]".to_owned()), origin }
            }
            (_, resolved) => resolved,
        };
        self.resolved.insert(setting.name, resolved);
    }

    /// Effective text of a setting (`[hidden]` for a secret that is set).
    pub fn value(&self, name: &str) -> Option<&str> {
        self.resolved.get(name).and_then(|resolved| resolved.value.as_deref())
    }

    /// Where a setting's value was found.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.resolved.get(name).map(|resolved| &resolved.origin)
    }

    /// True when an operator wrote the value.
    pub fn is_set(&self, name: &str) -> bool {
        self.origin(name).is_some_and(Origin::is_set)
    }

    /// All settings as DescribeConfigs of a broker shows them, in the order of the table.
    pub fn describe(&self) -> Vec<ConfigEntry> {
        table::all().iter().filter_map(|setting| self.describe_one(setting)).collect()
    }

    /// The strongest source first, then the default, as Kafka lists them.
    pub fn synonyms(&self, setting: &Setting) -> Vec<ConfigSynonym> {
        let shown = |value: &str| (!setting.sensitive()).then(|| value.to_owned());
        let mut synonyms = Vec::with_capacity(2);
        if self.is_set(setting.name)
            && let Some(value) = self.value(setting.name)
        {
            synonyms.push(ConfigSynonym {
                name: setting.name.to_owned(),
                value: shown(value),
                source: ConfigSource::StaticBroker,
            });
        }
        if let Some(default) = setting.default {
            synonyms.push(ConfigSynonym {
                name: setting.name.to_owned(),
                value: shown(default),
                source: ConfigSource::Default,
            });
        }
        synonyms
    }

    fn describe_one(&self, setting: &'static Setting) -> Option<ConfigEntry> {
        let resolved = self.resolved.get(setting.name)?;
        let source =
            if resolved.origin.is_set() { ConfigSource::StaticBroker } else { ConfigSource::Default };
        Some(ConfigEntry {
            name: setting.name,
            value: resolved.value.clone().filter(|_| !setting.sensitive()),
            source,
            // Dynamic broker configs are not served yet, so every one is fixed at start.
            read_only: true,
            sensitive: setting.sensitive(),
            synonyms: self.synonyms(setting),
            kind: setting.kind,
            doc: setting.doc,
        })
    }
}
