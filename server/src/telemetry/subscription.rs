//! A client metrics subscription: which metrics, how often, of which clients (Kafka's `ClientMetricsConfigs`).

use std::collections::BTreeMap;

use regex::Regex;

use crate::config::{ConfigEntry, ConfigSource, ConfigSynonym, Kind};
use crate::pattern::whole;

/// How often a client pushes when no subscription says otherwise, ms.
pub const INTERVAL_MS_DEFAULT: i32 = 300_000;
const INTERVAL_MS_MIN: i32 = 100;
const INTERVAL_MS_MAX: i32 = 3_600_000;

/// Every metric; no other entry of the list is a pattern.
const EVERYTHING: &str = "*";

const INTERVAL: &str = "interval.ms";
const MATCH: &str = "match";
const METRICS: &str = "metrics";

/// Name, type, default and meaning of each config, as Kafka tells them.
const CONFIGS: [(&str, Kind, &str, &str); 3] = [
    (INTERVAL, Kind::Int, "300000", "How often clients push, in milliseconds."),
    (MATCH, Kind::List, "", "Which clients are asked: a list of selector=pattern, all of which must match."),
    (
        METRICS,
        Kind::List,
        "",
        "Which metrics are asked for: a list of prefixes of their names, or * for all.",
    ),
];

/// Why configs are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionFault {
    /// Goes out as INVALID_REQUEST.
    #[error("{0}")]
    Request(String),
    /// Goes out as INVALID_CONFIG.
    #[error("{0}")]
    Config(String),
}

/// What a client is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFacts {
    /// Its instance id as text.
    pub instance_id: String,
    /// What it calls itself.
    pub client_id: String,
    /// Its library's name, from ApiVersions.
    pub software_name: String,
    /// Its library's version.
    pub software_version: String,
    /// Its address.
    pub source_address: String,
    /// Its port.
    pub source_port: String,
}

/// A fact that a pattern can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selector {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl Selector {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "client_instance_id" => Self::InstanceId,
            "client_id" => Self::ClientId,
            "client_software_name" => Self::SoftwareName,
            "client_software_version" => Self::SoftwareVersion,
            "client_source_address" => Self::SourceAddress,
            "client_source_port" => Self::SourcePort,
            _ => return None,
        })
    }

    fn of(self, facts: &ClientFacts) -> &str {
        match self {
            Self::InstanceId => &facts.instance_id,
            Self::ClientId => &facts.client_id,
            Self::SoftwareName => &facts.software_name,
            Self::SoftwareVersion => &facts.software_version,
            Self::SourceAddress => &facts.source_address,
            Self::SourcePort => &facts.source_port,
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// How often, ms.
    pub interval_ms: i32,
    /// Prefixes of names; the empty one is every metric.
    pub metrics: Vec<String>,
    patterns: Vec<(Selector, Regex)>,
}

impl Subscription {
    /// Whether a client is asked.
    pub fn matches(&self, facts: &ClientFacts) -> bool {
        self.patterns.iter().all(|(selector, pattern)| pattern.is_match(selector.of(facts)))
    }
}

/// Reads and checks configs.
///
/// # Errors
/// The first fault, in Kafka's words.
pub fn parse(configs: &BTreeMap<String, String>) -> Result<Subscription, SubscriptionFault> {
    if let Some(unknown) = configs.keys().find(|name| CONFIGS.iter().all(|(known, ..)| known != name)) {
        return Err(SubscriptionFault::Request(format!("Unknown client metrics configuration: {unknown}")));
    }
    let text = |name: &str| configs.get(name).map_or("", String::as_str);
    let metrics = list(text(METRICS)).map(|prefix| if prefix == EVERYTHING { "" } else { prefix }.to_owned());
    Ok(Subscription {
        interval_ms: configs.get(INTERVAL).map_or(Ok(INTERVAL_MS_DEFAULT), |text| interval(text))?,
        metrics: metrics.collect(),
        patterns: list(text(MATCH)).map(pattern).collect::<Result<_, _>>()?,
    })
}

fn interval(text: &str) -> Result<i32, SubscriptionFault> {
    let number: i32 = text.trim().parse().map_err(|_| {
        SubscriptionFault::Config(format!(
            "Invalid value {text} for configuration interval.ms: Not a number of type INT"
        ))
    })?;
    if (INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&number) {
        return Ok(number);
    }
    Err(SubscriptionFault::Request(format!(
        "Invalid value {number} for interval.ms, interval must be between {INTERVAL_MS_MIN} and {INTERVAL_MS_MAX} (1 hour)"
    )))
}

/// `selector=pattern`; the pattern is for the whole value.
fn pattern(item: &str) -> Result<(Selector, Regex), SubscriptionFault> {
    let illegal = || SubscriptionFault::Config(format!("Illegal client matching pattern: {item}"));
    let parts: Vec<&str> = item.split('=').collect();
    let [selector, pattern] = parts[..] else { return Err(illegal()) };
    let selector = Selector::parse(selector.trim()).ok_or_else(illegal)?;
    let pattern = whole(pattern.trim()).map_err(|_| illegal())?;
    Ok((selector, pattern))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// A subscription's configs as DescribeConfigs shows them, whether there is such a subscription or not.
pub fn describe(configs: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    let entries = CONFIGS.iter().map(|(name, kind, default, doc)| {
        let set = configs.get(*name);
        let source = if set.is_some() { ConfigSource::ClientMetrics } else { ConfigSource::Default };
        let value = Some(set.map_or(*default, String::as_str).to_owned());
        let own = set.map(|value| ConfigSynonym {
            name: (*name).to_owned(),
            value: Some(value.clone()),
            source: ConfigSource::ClientMetrics,
        });
        ConfigEntry {
            name,
            value,
            source,
            read_only: false,
            sensitive: false,
            synonyms: own.into_iter().collect(),
            kind: *kind,
            doc,
        }
    });
    entries.collect()
}
