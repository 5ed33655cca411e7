//! Owns the text of a value: parsing, ranges, and the normal form shown to clients.
//! Knows nothing of which setting it checks; refuses to guess (no silent clamping).

use super::setting::Kind;

/// What a value of the right type must also satisfy.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// Anything of the type.
    Any,
    /// A number not below this.
    AtLeast(i64),
    /// A number in this inclusive range.
    Between(i64, i64),
    /// A fraction between zero and one.
    Fraction,
    /// One of these words, exactly.
    OneOf(&'static [&'static str]),
    /// A list of distinct words from these; may be empty.
    ListOf(&'static [&'static str]),
    /// The codec's own level, -1 meaning its default, or a level in this inclusive range.
    Level(i64, i64),
    /// Text that is not empty.
    NonEmpty,
    /// A rule of its own.
    With(fn(&str) -> Result<(), String>),
}

/// A parsed value, still carrying the text it came from.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// Any whole number.
    Int(i64),
    /// A fraction.
    Double(f64),
    /// Everything else.
    Text(String),
}

impl Value {
    /// Parses `text` as `kind` and checks it; the error says what would be accepted.
    pub fn parse(kind: Kind, check: Check, text: &str) -> Result<Value, String> {
        // Kafka trims before it parses (ConfigDef.parseType).
        let text = text.trim();
        let value = match kind {
            Kind::Boolean => Value::Bool(parse_bool(text)?),
            Kind::Int => Value::Int(parse_int(text, i32::MIN.into(), i32::MAX.into())?),
            Kind::Long => Value::Int(parse_int(text, i64::MIN, i64::MAX)?),
            Kind::Double => Value::Double(text.parse().map_err(|_| format!("`{text}` is not a number"))?),
            Kind::String | Kind::List | Kind::Password | Kind::Unknown => Value::Text(text.to_owned()),
        };
        check_value(check, &value)?;
        Ok(value)
    }

    /// The normal form: what DescribeConfigs shows.
    pub fn text(&self) -> String {
        match self {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            // As Java writes it.
            Value::Double(value) if value.is_infinite() => "Infinity".to_owned(),
            Value::Double(value) => format!("{value:?}"),
            Value::Text(value) => value.clone(),
        }
    }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!("`{text}` is neither true nor false"))
    }
}

fn parse_int(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let number: i128 = text.parse().map_err(|_| format!("`{text}` is not a whole number"))?;
    if number < min.into() || number > max.into() {
        return Err(format!("{number} does not fit; it must be from {min} to {max}"));
    }
    i64::try_from(number).map_err(|_| format!("{number} does not fit 64 bits"))
}

fn check_value(check: Check, value: &Value) -> Result<(), String> {
    match (check, value) {
        (Check::Any, _) => Ok(()),
        (Check::AtLeast(min), Value::Int(n)) if *n < min => {
            Err(format!("{n} is too small; it must be at least {min}"))
        }
        (Check::Between(min, max), Value::Int(n)) if *n < min || *n > max => {
            Err(format!("{n} is out of range; it must be from {min} to {max}"))
        }
        (Check::Level(min, max), Value::Int(n)) if *n != -1 && (*n < min || *n > max) => {
            Err(format!("{n} is not a level; it must be from {min} to {max}, or -1"))
        }
        (Check::Fraction, Value::Double(n)) if !(0.0..=1.0).contains(n) => {
            Err(format!("{n} is out of range; it must be from 0 to 1"))
        }
        (Check::OneOf(words), Value::Text(text)) if !words.contains(&text.as_str()) => {
            Err(format!("`{text}` is unknown; it must be one of {}", words.join(", ")))
        }
        (Check::ListOf(words), Value::Text(text)) => check_list(words, text),
        (Check::NonEmpty, Value::Text(text)) if text.is_empty() => Err("it is empty".to_owned()),
        (Check::With(rule), value) => rule(&value.text()),
        _ => Ok(()),
    }
}

fn check_list(words: &[&str], text: &str) -> Result<(), String> {
    let items = split_list(text);
    for (index, item) in items.iter().enumerate() {
        if !words.contains(item) {
            return Err(format!("`{item}` is unknown; it must be one of {}", words.join(", ")));
        }
        if items[..index].contains(item) {
            return Err(format!("`{item}` is named twice"));
        }
    }
    Ok(())
}

/// The items of a comma separated list; the empty text is the empty list.
pub fn split_list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// Turns `250MB`, `64 KiB` or `1g` into bytes for settings counted in bytes; other text is returned
/// as it is, so that its own parser says what is wrong. All units are powers of 1024, as in Kafka's
/// own defaults (`1 GiB` segments are written 1073741824).
pub fn expand_size(text: &str) -> String {
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = trimmed[digits.len()..].trim().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return trimmed.to_owned(),
    };
    match digits.parse::<i64>().ok().and_then(|n| n.checked_mul(1 << shift)) {
        Some(bytes) => bytes.to_string(),
        None => trimmed.to_owned(),
    }
}

/// The candidate closest to `name`, when close enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.len() / 3).max(2);
    candidates
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in bytes, one row at a time. Names are short: cut at 128 bytes.
fn edit_distance(left: &str, right: &str) -> usize {
    let left = &left.as_bytes()[..left.len().min(128)];
    let right = &right.as_bytes()[..right.len().min(128)];
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
