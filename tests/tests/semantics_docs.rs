//! `docs/semantics.md` and the sources speak of the same rules: every test it names exists, and every rule that a
//! comment names is there.

use std::collections::BTreeSet;
use std::fs;

use chronik_tests::sources::{root, texts};

/// Number, tests by name, and whether parity cases are among them.
struct Rule {
    number: String,
    tests: Vec<String>,
    parity: bool,
}

fn rules() -> Vec<Rule> {
    let page = fs::read_to_string(root().join("docs/semantics.md")).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, tests] = cells[..] else { panic!("not three cells: {row}") };
        let names = tests.split('`').skip(1).step_by(2).map(str::to_owned);
        Rule { number: number.to_owned(), tests: names.collect(), parity: tests.ends_with("parity") }
    })
    .collect()
}

#[test]
fn every_rule_names_tests_that_are_there() {
    let sources: String = ["protocol", "engine/src", "server/src", "tests/tests"]
        .iter()
        .flat_map(|folder| texts(folder, &["rs"]))
        .map(|(_, text)| text)
        .collect();
    let cases: String = texts("tests/oracle/java", &["java"]).into_iter().map(|(_, text)| text).collect();
    let mut faults = Vec::new();
    for rule in rules() {
        if rule.tests.is_empty() && !rule.parity {
            faults.push(format!("{}: no test", rule.number));
        }
        if rule.parity && !cases.contains(&format!("\"{} ", rule.number)) {
            faults.push(format!("{}: no parity case", rule.number));
        }
        let missing = rule.tests.iter().filter(|name| !sources.contains(&format!("fn {name}(")));
        faults.extend(missing.map(|name| format!("{}: no test {name}", rule.number)));
    }
    assert!(faults.is_empty(), "docs/semantics.md:\n{}", faults.join("\n"));
}

#[test]
fn every_rule_that_a_comment_names_is_on_the_page() {
    let numbers: BTreeSet<String> = rules().into_iter().map(|rule| rule.number).collect();
    let (mut faults, mut seen) = (Vec::new(), 0);
    for folder in ["protocol", "engine", "server", "tests/src", "tests/tests", "tests/oracle"] {
        for (path, text) in texts(folder, &["rs", "java"]) {
            for rest in text.split("semantics ").skip(1) {
                let number: String =
                    rest.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
                let number = number.trim_end_matches('.');
                if number.is_empty() {
                    continue;
                }
                seen += 1;
                // A section stands for its rules.
                if !numbers.iter().any(|rule| rule == number || rule.starts_with(&format!("{number}."))) {
                    faults.push(format!("{}: semantics {number}", path.display()));
                }
            }
        }
    }
    assert!(seen > 20, "the comments refer to rules as \"semantics 3.x.y\"");
    assert!(faults.is_empty(), "not on docs/semantics.md:\n{}", faults.join("\n"));
}
