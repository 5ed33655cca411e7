//! Owns what Kafka has as broker settings and what can have one value alone here: told to clients that ask, set by
//! nobody. They stand in no file, so they are no rows of `table.rs`.

use super::entries::{ConfigEntry, ConfigSource};
use super::setting::Kind;

/// Name, value, type, and why it is told.
const FACTS: [(&str, &str, Kind, &str); 2] = [
    // ksqlDB asks for it before it creates a topic, and gives up without an answer.
    ("default.replication.factor", "1", Kind::Int, "One node holds one replica."),
    ("authorizer.class.name", "", Kind::String, "No authorizer: everybody may do everything."),
];

/// The facts as DescribeConfigs of a broker shows them.
pub fn facts() -> impl Iterator<Item = ConfigEntry> {
    FACTS.iter().map(|&(name, value, kind, doc)| ConfigEntry {
        name,
        value: Some(value.to_owned()),
        source: ConfigSource::Default,
        read_only: true,
        sensitive: false,
        synonyms: Vec::new(),
        kind,
        doc,
    })
}
