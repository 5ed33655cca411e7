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
    /// Set for this broker at run time.
    DynamicBroker,
    /// Set for every broker at run time.
    DynamicDefaultBroker,
    /// Set by the operator: file, environment or flag.
    StaticBroker,
    /// Nobody set it.
    Default,
    /// The level of a logger.
    BrokerLogger,
    /// Set on a client metrics subscription.
    ClientMetrics,
}

impl ConfigSource {
    /// The number on the wire (DescribeConfigsResponse.ConfigSource).
    pub fn code(self) -> i8 {
        match self {
            ConfigSource::DynamicTopic => 1,
            ConfigSource::DynamicBroker => 2,
            ConfigSource::DynamicDefaultBroker => 3,
            ConfigSource::StaticBroker => 4,
            ConfigSource::Default => 5,
            ConfigSource::BrokerLogger => 6,
            ConfigSource::ClientMetrics => 7,
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
    /// Set at run time for this broker, in normal form; the strongest.
    dynamic_broker: BTreeMap<&'static str, String>,
    /// Set at run time for every broker.
    dynamic_default: BTreeMap<&'static str, String>,
}

/// Settings of one meaning, strongest first, as Kafka lists them (`DynamicBrokerConfig.brokerConfigSynonyms`).
const WEAKER: &[(&str, &[&str])] = &[
    ("log.roll.ms", &["log.roll.hours"]),
    ("log.retention.ms", &["log.retention.minutes", "log.retention.hours"]),
];

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

    /// Records a value set at run time.
    pub(super) fn set_dynamic(&mut self, setting: &'static Setting, value: String, for_this_broker: bool) {
        let layer = if for_this_broker { &mut self.dynamic_broker } else { &mut self.dynamic_default };
        layer.insert(setting.name, value);
    }

    /// Effective text of a setting (`[hidden]` for a secret that is set).
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.dynamic(name) {
            Some((value, _)) => Some(value),
            None => self.resolved.get(name).and_then(|resolved| resolved.value.as_deref()),
        }
    }

    /// The value set at run time that counts, and for whom it was set.
    fn dynamic(&self, name: &str) -> Option<(&str, ConfigSource)> {
        let broker = self.dynamic_broker.get(name).map(|value| (&**value, ConfigSource::DynamicBroker));
        broker.or_else(|| {
            self.dynamic_default.get(name).map(|value| (&**value, ConfigSource::DynamicDefaultBroker))
        })
    }

    /// Where a setting's value was found.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        static DYNAMIC: Origin = Origin::Dynamic;
        match self.dynamic(name) {
            Some(_) => Some(&DYNAMIC),
            None => self.resolved.get(name).map(|resolved| &resolved.origin),
        }
    }

    /// True when an operator wrote the value.
    pub fn is_set(&self, name: &str) -> bool {
        self.origin(name).is_some_and(Origin::is_set)
    }

    /// All settings as DescribeConfigs of a broker shows them, in the order of the table.
    pub fn describe(&self) -> Vec<ConfigEntry> {
        table::all().iter().filter_map(|setting| self.describe_one(setting)).collect()
    }

    /// What is set for every broker at run time, as DescribeConfigs shows the resource without a name.
    pub fn describe_dynamic_defaults(&self) -> Vec<ConfigEntry> {
        let set = self.dynamic_default.iter().filter_map(|(name, value)| {
            let setting = table::find(name)?;
            let only = self.synonym(setting, value, ConfigSource::DynamicDefaultBroker);
            Some(self.entry(setting, Some(value), vec![only]))
        });
        set.collect()
    }

    /// Of settings of one meaning, the strongest first: the strongest source first, then the default, source by source over
    /// all of them, as Kafka lists them. What stands before the first of the strongest one is left out, as Kafka leaves it out
    /// (`ConfigHelper.configSynonyms`); where only weaker ones have a value, that is everything.
    pub fn synonyms_of(&self, settings: &[&Setting]) -> Vec<ConfigSynonym> {
        let written = |setting: &Setting| {
            let resolved = self.resolved.get(setting.name).filter(|resolved| resolved.origin.is_set());
            resolved.and_then(|resolved| resolved.value.as_deref())
        };
        let mut found = Vec::new();
        for source in [
            ConfigSource::DynamicBroker,
            ConfigSource::DynamicDefaultBroker,
            ConfigSource::StaticBroker,
            ConfigSource::Default,
        ] {
            for setting in settings {
                let value = match source {
                    ConfigSource::DynamicBroker => self.dynamic_broker.get(setting.name).map(String::as_str),
                    ConfigSource::DynamicDefaultBroker => {
                        self.dynamic_default.get(setting.name).map(String::as_str)
                    }
                    ConfigSource::StaticBroker => written(setting),
                    ConfigSource::DynamicTopic
                    | ConfigSource::BrokerLogger
                    | ConfigSource::ClientMetrics
                    | ConfigSource::Default => setting.default,
                };
                found.extend(value.map(|value| self.synonym(setting, value, source)));
            }
        }
        let first = settings.first().map_or("", |setting| setting.name);
        found.into_iter().skip_while(|synonym| synonym.name != first).collect()
    }

    fn synonym(&self, setting: &Setting, value: &str, source: ConfigSource) -> ConfigSynonym {
        let value = (!setting.sensitive()).then(|| value.to_owned());
        ConfigSynonym { name: setting.name.to_owned(), value, source }
    }

    fn describe_one(&self, setting: &'static Setting) -> Option<ConfigEntry> {
        self.resolved.get(setting.name)?;
        let weaker =
            WEAKER.iter().find(|(name, _)| *name == setting.name).map_or(&[][..], |(_, weaker)| weaker);
        let rows = weaker.iter().filter_map(|name| table::find(name));
        let family: Vec<&Setting> = std::iter::once(setting).chain(rows).collect();
        Some(self.entry(setting, self.value(setting.name), self.synonyms_of(&family)))
    }

    fn entry(
        &self,
        setting: &'static Setting,
        value: Option<&str>,
        synonyms: Vec<ConfigSynonym>,
    ) -> ConfigEntry {
        ConfigEntry {
            name: setting.name,
            value: value.filter(|_| !setting.sensitive()).map(str::to_owned),
            source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
            read_only: !setting.dynamic,
            sensitive: setting.sensitive(),
            synonyms,
            kind: setting.kind,
            doc: setting.doc,
        }
    }
}
