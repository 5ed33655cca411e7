//! Owns reading the TOML file into flat `name → text` pairs with their lines. Dotted keys, tables
//! and quoted keys all flatten to Kafka's dotted names. Knows no setting; interprets no value.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};

/// Longest file that is read: configuration is a page or two, not a data file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One key of the file.
pub struct Pair {
    /// Flattened name.
    pub name: String,
    /// Value as text, lists joined by commas.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

/// Reads and flattens; syntax errors and values of no use become faults, the rest is returned.
pub fn read(path: &Path, faults: &mut Vec<Fault>) -> Vec<Pair> {
    let at_file = || Origin::File { path: path.to_owned(), line: 0 };
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(problem) => {
            let remedy = "Name a readable TOML file with --config or CHRONIK_CONFIG";
            faults.push(Fault::new("config", at_file(), problem, remedy));
            return Vec::new();
        }
    };
    parse(path, &text, faults)
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read it: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("it is {size} bytes long; at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))
}

/// As [`read`], from text.
pub fn parse(path: &Path, text: &str, faults: &mut Vec<Fault>) -> Vec<Pair> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        let remedy = "Correct the TOML; where one name continues another (`max.connections` and \
                      `max.connections.per.ip`), put both in quotes";
        let origin = Origin::File { path: path.to_owned(), line };
        faults.push(Fault::new("config", origin, error.message().to_owned(), remedy));
    }
    let mut flat = Flat { path, text, faults, pairs: Vec::new() };
    flat.table("", table.get_ref());
    flat.pairs
}

/// One-based line of a byte position.
fn line_of(text: &str, position: usize) -> usize {
    1 + text.as_bytes().iter().take(position).filter(|byte| **byte == b'\n').count()
}

struct Flat<'a> {
    path: &'a Path,
    text: &'a str,
    faults: &'a mut Vec<Fault>,
    pairs: Vec<Pair>,
}

impl Flat<'_> {
    /// Recursion is bounded by the parser's own nesting limit (80 levels).
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            if let DeValue::Table(inner) = value.get_ref() {
                self.table(&name, inner);
                continue;
            }
            let line = line_of(self.text, key.span().start);
            let origin = Origin::File { path: self.path.to_owned(), line };
            match scalar(value) {
                Some(text) if self.pairs.iter().any(|pair| pair.name == name) => {
                    let problem = format!("it is written twice; here as `{text}`");
                    self.faults.push(Fault::new(name, origin, problem, "Keep one of them"));
                }
                Some(text) => self.pairs.push(Pair { name, text, origin }),
                None => {
                    let problem = "a date or a nested list is no value of any setting";
                    let remedy = "Write a text, a number, true or false, or a list of texts";
                    self.faults.push(Fault::new(name, origin, problem, remedy));
                }
            }
        }
    }
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            Some(parsed.map_or_else(|_| number.as_str().to_owned(), |n| n.to_string()))
        }
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
