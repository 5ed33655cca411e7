//! Owns `config`: the effective settings and where each came from. Shows nothing secret; starts nothing.

use std::process::ExitCode;

use serde_json::json;

use super::EXIT_REFUSED;
use crate::config::{BrokerConfig, Sources, load, markdown as reference};

/// Longest value in the table's column before it is left unaligned.
const VALUE_WIDTH: usize = 36;

/// Prints them.
#[expect(clippy::print_stdout, reason = "the answer to `config`")]
pub fn run(sources: &Sources, as_json: bool) -> ExitCode {
    match load(sources) {
        Ok(config) => {
            print!("{}", if as_json { json_text(&config) } else { table(&config) });
            ExitCode::SUCCESS
        }
        Err(faults) => {
            eprintln!("The configuration has {} fault(s):\n{faults}", faults.0.len());
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// Prints the reference.
#[expect(clippy::print_stdout, reason = "the answer to `config --markdown`")]
pub fn markdown() -> ExitCode {
    print!("{}", reference());
    ExitCode::SUCCESS
}

fn rows(config: &BrokerConfig) -> Vec<(&'static str, Option<String>, String)> {
    let entries = &config.entries;
    let rows = entries.describe().into_iter().map(|entry| {
        let value = entries.value(entry.name).map(str::to_owned);
        let origin = entries.origin(entry.name).map_or_else(String::new, ToString::to_string);
        (entry.name, value, origin)
    });
    rows.collect()
}

fn table(config: &BrokerConfig) -> String {
    let rows = rows(config);
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value, origin)| {
            let value = value.as_deref().unwrap_or("(not set)");
            format!("{name:width$}  {value:VALUE_WIDTH$}  {origin}\n")
        })
        .collect()
}

fn json_text(config: &BrokerConfig) -> String {
    let settings: Vec<_> = rows(config)
        .into_iter()
        .map(|(name, value, origin)| json!({ "name": name, "value": value, "origin": origin }))
        .collect();
    format!("{:#}\n", json!({ "settings": settings }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_json_show_origin_and_hide_the_secret() {
        let env = vec![
            ("CHRONIK_ADMIN_API_KEY".to_owned(), "swordfish".to_owned()),
            ("CHRONIK_NUM_PARTITIONS".to_owned(), "7".to_owned()),
        ];
        let config = load(&Sources { env, ..Sources::default() }).unwrap();
        for text in [table(&config), json_text(&config)] {
            assert!(text.contains("environment variable CHRONIK_NUM_PARTITIONS"), "{text}");
            assert!(text.contains("[hidden]") && !text.contains("swordfish"), "{text}");
        }
    }
}
