//! `docs/compatibility.md` lists every API of Kafka 4.3, and as served those that the broker serves, no more and no fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chronik_server::dispatch::APIS;
use chronik_server::dynamic::features::FEATURES;

/// Keys that a Kafka 4.3 broker lists in ApiVersions, and the two that it lists where a plugin takes client metrics.
const KAFKA_4_3: [std::ops::RangeInclusive<i16>; 11] =
    [0..=3, 8..=51, 55..=55, 57..=57, 60..=61, 64..=66, 68..=69, 71..=72, 74..=81, 83..=87, 88..=92];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    std::fs::read_to_string(path).expect("docs/compatibility.md")
}

/// Name, versions and status of each row of the table, by key.
fn documented(page: &str) -> BTreeMap<i16, [String; 3]> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 5);
    let mut found = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [key, name, versions, status] = cells[..] else { panic!("not four cells: {row}") };
        if let Ok(key) = key.parse() {
            let before = found.insert(key, [name, versions, status].map(str::to_owned));
            assert_eq!(before, None, "the key {key} has two rows");
        }
    }
    found
}

#[test]
fn the_documented_apis_are_the_served_ones() {
    let documented = documented(&page());
    let told: BTreeMap<i16, &[String]> = documented
        .iter()
        .filter(|(_, [_, _, status])| status == "served")
        .map(|(key, row)| (*key, &row[..2]))
        .collect();
    let served: BTreeMap<i16, [String; 2]> = APIS
        .iter()
        .map(|api| (api.key, [api.name.to_owned(), format!("{}-{}", api.min_version, api.max_version)]))
        .collect();
    assert_eq!(told, served.iter().map(|(key, row)| (*key, &row[..])).collect());
}

#[test]
fn every_api_of_kafka_has_a_row_and_a_status() {
    let documented = documented(&page());
    let keys: BTreeSet<i16> = documented.keys().copied().collect();
    assert_eq!(keys, KAFKA_4_3.into_iter().flatten().collect());
    for (key, [name, _, status]) in &documented {
        let known = ["served", "not for clients"].contains(&&**status) || status.starts_with("later: ");
        assert!(known, "{key} {name}: {status}");
    }
}

#[test]
fn the_documented_features_are_the_supported_ones() {
    let page = page();
    let rows = FEATURES.iter().map(|feature| {
        format!("| {} | {}-{} | {}", feature.name, feature.min_level, feature.max_level, feature.max_level)
    });
    for row in rows {
        assert!(page.contains(&row), "docs/compatibility.md lacks {row}");
    }
}
