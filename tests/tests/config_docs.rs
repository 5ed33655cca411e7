//! Holds the configuration reference, the parser and the code together: the reference is what the tables generate,
//! and every setting is read by something outside the module that parses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chronik_server::config;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

#[test]
fn the_reference_is_what_the_tables_generate() {
    let kept = std::fs::read_to_string(repository().join(config::REFERENCE_PATH)).unwrap();
    let generated = config::markdown();
    let differing = kept.lines().zip(generated.lines()).position(|(kept, generated)| kept != generated);
    assert!(
        kept == generated,
        "{} differs from line {}; write it anew: chronik-server config --markdown > {0}",
        config::REFERENCE_PATH,
        differing.map_or(kept.lines().count().min(generated.lines().count()), |index| index) + 1
    );
}

/// Rust sources below `dir` whose path does not contain one of `without`.
fn sources(dir: &Path, without: &[&str], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if without.iter().any(|part| path.to_string_lossy().contains(part)) {
            continue;
        }
        if path.is_dir() {
            sources(&path, without, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// Whether some source reads a field of this name: a dot, the name, and no assignment to it.
fn is_read(field: &str, sources: &[String]) -> bool {
    let access = format!(".{field}");
    sources.iter().any(|source| {
        source.match_indices(&access).any(|(at, _)| {
            let rest = &source[at + access.len()..];
            let whole = !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let assigned = rest.trim_start().starts_with('=') && !rest.trim_start().starts_with("==");
            whole && !assigned
        })
    })
}

/// Whether some source reads `section.field`: by that path, or anywhere in a file that takes the section's struct.
fn is_read_of_section(path: &str, structs: &BTreeMap<String, String>, sources: &[String]) -> bool {
    let Some((section, field)) = path.split_once('.') else { panic!("{path} is no field of a section") };
    let settings = structs.get(section).unwrap_or_else(|| panic!("no section {section}"));
    let taking: Vec<String> =
        sources.iter().filter(|text| text.contains(settings.as_str())).cloned().collect();
    is_read(&path.replace(' ', ""), &spelled(sources, section)) || is_read(field, &taking)
}

/// The sources with each mention of a section as if it were a field, so that `config.group.x`, `self.group.x` and a
/// local `group.x` look alike.
fn spelled(sources: &[String], section: &str) -> Vec<String> {
    let spell = |text: &String, before: char| {
        text.replace(&format!("{before}{section}."), &format!("{before}.{section}."))
    };
    sources.iter().map(|text| spell(&spell(text, ' '), '(')).collect()
}

/// The struct of each section of the configuration.
fn section_structs() -> BTreeMap<String, String> {
    let definition = std::fs::read_to_string(repository().join("server/src/config/broker.rs"))
        .expect("the configuration's structs");
    let (_, body) = definition.split_once("pub struct BrokerConfig {").expect("its root");
    let (body, _) = body.split_once("\n}").expect("a closing brace");
    let fields = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
    fields.map(|(section, name)| (section.to_owned(), name.trim_end_matches(',').to_owned())).collect()
}

#[test]
fn every_setting_is_read_by_something() {
    let mut server = Vec::new();
    // The loader and its tests mention every field; `config/engine.rs` hands some on to the engine.
    let parsing =
        ["config/broker", "config/load", "config/table", "config/tests", "/tests.rs", "/testing.rs"];
    sources(&repository().join("server/src"), &parsing, &mut server);
    let structs = section_structs();
    let unread: Vec<String> = config::settings()
        .iter()
        .filter_map(|setting| setting.field_path())
        .filter(|path| !is_read_of_section(path, &structs, &server))
        .collect();
    assert_eq!(unread, [""; 0], "settings that nothing reads");
    assert!(
        !is_read_of_section("fetch.no_such_field", &structs, &server),
        "the search finds what is not there"
    );
    // Another section's field of that name does not count.
    assert!(!is_read_of_section("fetch.worker_threads", &structs, &server));
}

#[test]
fn every_topic_config_with_effect_reaches_code_that_reads_it() {
    let definition = std::fs::read_to_string(repository().join("engine/src/log/config.rs")).unwrap();
    let (_, body) = definition.split_once("pub struct LogConfig {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let fields: Vec<&str> =
        body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next()).collect();
    assert!(fields.len() >= 13, "{fields:?}");
    let mut readers = Vec::new();
    sources(&repository().join("server/src"), &["src/config/", "/tests.rs"], &mut readers);
    sources(&repository().join("engine/src"), &["log/config.rs", "/tests.rs", "/tests/"], &mut readers);
    sources(&repository().join("tiering/src"), &["/tests.rs"], &mut readers);
    let unread: Vec<&str> = fields.into_iter().filter(|field| !is_read(field, &readers)).collect();
    assert_eq!(unread, [""; 0], "settings of a log that nothing reads");
    // Each row that claims effect is looked up by the function that fills those fields.
    let lookups = std::fs::read_to_string(repository().join("server/src/config/topic.rs")).unwrap();
    for topic in config::topic_settings().iter().filter(|topic| topic.effect) {
        assert!(lookups.contains(&format!("(\"{}\"", topic.name)), "{} has no effect after all", topic.name);
    }
}
