//! `docs/compatibility.md` lists the APIs that the broker serves, no more and no fewer.

use std::collections::BTreeSet;
use std::path::Path;

use chronik_server::dispatch::APIS;

#[test]
fn the_documented_apis_are_the_served_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let text = std::fs::read_to_string(path).expect("docs/compatibility.md");
    let documented: BTreeSet<String> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.matches('|').count() == 4)
        .map(str::to_owned)
        .collect();
    let served = APIS
        .iter()
        .map(|api| format!("| {} | {} | {}-{} |", api.key, api.name, api.min_version, api.max_version));
    let header = ["| key | API | versions |".to_owned()];
    assert_eq!(documented, served.chain(header).collect());
}
