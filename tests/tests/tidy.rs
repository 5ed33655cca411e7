//! The layout's rules: who may import whom, what every file must say, how long it may be.

use std::fs;
use std::path::PathBuf;

use chronik_tests::sources::{root, texts};

/// Lines a source file may have, its unit tests included.
const FILE_LINES_MAX: usize = 800;

/// Lines a function may have; tests tell stories, and lists are long.
const FUNCTION_LINES_MAX: usize = 70;
const TEST_FUNCTION_LINES_MAX: usize = 100;

/// Words that promise work instead of doing it.
const MARKERS: [&str; 4] = ["TODO", "FIXME", "XXX:", "HACK"];

/// Every Rust file of a folder, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    texts(folder, &["rs"])
}

/// The text before the unit tests, without comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn forbid(folder: &str, words: &[&str], except: &[&str]) {
    let mut faults = Vec::new();
    for (path, text) in sources(folder) {
        let name = path.to_string_lossy().into_owned();
        if except.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let code = code(&text);
        for word in words {
            if code.contains(word) {
                faults.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(faults.is_empty(), "{folder} must not know these:\n{}", faults.join("\n"));
}

#[test]
fn protocol_knows_no_io_and_nobody_above_it() {
    forbid(
        "protocol/src",
        &["chronik_engine", "chronik_server", "tokio", "std::net", "std::fs", "SystemTime"],
        &[],
    );
}

#[test]
fn only_the_codec_names_the_message_crate() {
    for folder in ["protocol/src", "engine/src", "server/src"] {
        forbid(folder, &["kafka_wire"], &["protocol/src/codec.rs", "codec/tests.rs"]);
    }
}

#[test]
fn the_engine_knows_no_sockets_no_clock_and_no_error_codes() {
    forbid(
        "engine/src",
        &[
            "chronik_server",
            "std::net",
            "tokio::net",
            "SystemTime::now",
            "ErrorCode",
            "chronik_protocol::codec",
        ],
        &["tests.rs"],
    );
}

#[test]
fn tiering_knows_no_sockets_no_clock_and_nobody_above_it() {
    forbid(
        "tiering/src",
        &["chronik_server", "std::net", "tokio::net", "SystemTime", "ErrorCode", "kafka_wire"],
        &[],
    );
}

#[test]
fn only_the_bucket_and_the_backends_name_the_object_store_crate() {
    forbid(
        "tiering/src",
        &["object_store::"],
        &["tiering/src/bucket.rs", "tiering/src/backend.rs", "testing.rs"],
    );
    forbid("server/src", &["object_store::"], &["testing.rs"]);
}

#[test]
fn only_the_rocks_store_names_rocksdb() {
    let folders = ["engine/src", "tiering/src", "server/src"];
    for (path, text) in folders.into_iter().flat_map(sources) {
        let name = path.to_string_lossy().into_owned();
        let inside = name.contains("store/rocks");
        assert!(inside || !code(&text).contains("rocksdb::"), "{name} names rocksdb");
    }
}

#[test]
fn the_pure_coordinator_does_no_io_and_reads_no_clock() {
    forbid(
        "server/src/coordinator/group",
        &["tokio", "Instant::now", "SystemTime", "async fn"],
        &["tests.rs"],
    );
}

#[test]
fn every_file_says_what_it_owns_and_stays_readable() {
    let mut faults = Vec::new();
    for folder in
        ["protocol/src", "engine/src", "tiering/src", "server/src", "tests/src", "tests/tests", "benches/src"]
    {
        for (path, text) in sources(folder) {
            let name = path.display();
            if !text.starts_with("//!") {
                faults.push(format!("{name}: does not open with //!"));
            }
            let lines = text.lines().count();
            if lines > FILE_LINES_MAX {
                faults.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX}"));
            }
            if !name.to_string().ends_with("tidy.rs") {
                faults.extend(
                    MARKERS
                        .iter()
                        .filter(|marker| text.contains(**marker))
                        .map(|marker| format!("{name}: {marker}")),
                );
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Name and lines of each function, as rustfmt lays them out: a closing brace below the `fn`.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| {
        let words = line.split_whitespace().take_while(|word| *word != "fn");
        line.contains("fn ")
            && words.clone().all(|word| {
                ["pub", "const", "async", "unsafe", "extern", "\"C\""].contains(&word)
                    || word.starts_with("pub(")
            })
    };
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| begins(line)) {
        let indent = &line[..line.len() - line.trim_start().len()];
        let brace = format!("{indent}}}");
        let one_line = line.ends_with([';', '}']);
        let end = lines[index..].iter().position(|line| {
            one_line || *line == brace || (line.starts_with(&format!("{indent})")) && line.ends_with(';'))
        });
        let name =
            line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next()).unwrap_or_default();
        found.push((name, end.expect("a function ends") + 1));
    }
    found
}

#[test]
fn functions_fit_on_a_screen() {
    let mut faults = Vec::new();
    let folders = [
        ("protocol/src", FUNCTION_LINES_MAX),
        ("engine/src", FUNCTION_LINES_MAX),
        ("tiering/src", FUNCTION_LINES_MAX),
        ("server/src", FUNCTION_LINES_MAX),
        ("benches/src", FUNCTION_LINES_MAX),
        ("tests/src", FUNCTION_LINES_MAX),
        ("protocol/tests", TEST_FUNCTION_LINES_MAX),
        ("tests/tests", TEST_FUNCTION_LINES_MAX),
    ];
    let mut seen = 0;
    for (folder, max) in folders {
        for (path, text) in sources(folder) {
            let name = path.to_string_lossy().into_owned();
            let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
            let max = if is_test { TEST_FUNCTION_LINES_MAX } else { max };
            for (function, lines) in functions(&text) {
                seen += 1;
                if lines > max {
                    faults.push(format!("{name}: {function} has {lines} lines, at most {max}"));
                }
            }
        }
    }
    assert!(seen > 1_000, "functions are found: {seen}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace manifest");
    let reasons = fs::read_to_string(root().join("docs/dependencies.md")).expect("docs/dependencies.md");
    let dependencies = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("a list of dependencies");
    let mut missing = Vec::new();
    for line in dependencies.lines().filter(|line| line.contains('=') && !line.trim_start().starts_with('#'))
    {
        let name = line.split('=').next().unwrap_or_default().trim();
        let first_words = reasons.lines().filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
        let known = name.starts_with("chronik-")
            || first_words.flat_map(|cell| cell.split([',', ' '])).any(|word| word == name);
        if !known {
            missing.push(name.to_owned());
        }
    }
    assert!(missing.is_empty(), "docs/dependencies.md says nothing of {missing:?}");
}
