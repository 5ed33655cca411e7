//! Owns the shape of one row of the settings table, and how a row's value reaches its field.
//! Holds no row itself: those are in `table.rs`.

use std::path::PathBuf;

use chronik_engine::store::rocks::{CommitProfile, WalProfile};

use super::broker::{BrokerConfig, LogFormat, Secret};
use super::value::{Check, Value};

/// Type of a setting, with the numbers of DescribeConfigs (ConfigResponse in Kafka's
/// DescribeConfigsResponse: BOOLEAN 1, STRING 2, INT 3, LONG 5, DOUBLE 6, LIST 7, PASSWORD 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32-bit whole number.
    Int,
    /// 64-bit whole number.
    Long,
    /// Fraction.
    Double,
    /// Comma separated list.
    List,
    /// A secret: never shown, null in DescribeConfigs.
    Password,
    /// Not told: Kafka gives log levels no type.
    Unknown,
}

impl Kind {
    /// The number on the wire.
    pub fn code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Password => 9,
            Kind::Unknown => 0,
        }
    }

    /// The word in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::String => "string",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Double => "double",
            Kind::List => "list",
            Kind::Password => "password",
            Kind::Unknown => "unknown",
        }
    }
}

/// How much an operator should care; shown in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Look at it before running in earnest.
    High,
    /// Worth knowing.
    Medium,
    /// Rarely changed.
    Low,
}

/// How a row's value reaches what reads it.
#[derive(Clone, Copy)]
pub enum Bind {
    /// Stored in this field of [`BrokerConfig`] (its path, for the test that looks for a reader).
    Field {
        /// `group.max_size`, as written in Rust.
        path: &'static str,
        /// Stores the checked value.
        set: fn(&mut BrokerConfig, &Value),
    },
    /// The default of this topic config: read through [`log_config`](super::log_config).
    TopicDefault(&'static str),
    /// Interpreted together with other rows: [`BrokerConfig::listeners`] and `http_addr`.
    Addresses,
    /// Kept for tools that set it; changes nothing on one node, and its documentation says so.
    NoEffect,
}

/// One row: everything that is to know about a setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Kafka's name, or Chronik's own.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Default as text; `None` is Kafka's null: not set.
    pub default: Option<&'static str>,
    /// What the value must satisfy besides its type.
    pub check: Check,
    /// How much to care.
    pub importance: Importance,
    /// The manual: one or more sentences.
    pub doc: &'static str,
    /// A second environment variable with the same meaning, weaker than the regular one.
    pub env_alias: Option<&'static str>,
    /// Where the value goes.
    pub bind: Bind,
    /// Whether it can be changed while the broker runs (KIP-226).
    pub dynamic: bool,
}

impl Setting {
    /// The regular environment variable: `CHRONIK_` + upper case, dots to underscores. Names that
    /// already start with `chronik.` are not prefixed twice.
    pub fn env_name(&self) -> String {
        let name = self.name.strip_prefix("chronik.").unwrap_or(self.name);
        format!("CHRONIK_{}", name.to_ascii_uppercase().replace('.', "_"))
    }

    /// The field of [`BrokerConfig`] that holds the value (`group.group_max_size`), if one does. Others are read
    /// through the topic config they are the default of, or are joined into addresses.
    pub fn field_path(&self) -> Option<String> {
        match self.bind {
            Bind::Field { path, .. } => Some(path.replace(' ', "")),
            Bind::TopicDefault(_) | Bind::Addresses | Bind::NoEffect => None,
        }
    }

    /// True when the value must never be shown.
    pub fn sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// True when the value counts bytes, so that `64MB` may be written.
    pub fn is_size(&self) -> bool {
        matches!(self.kind, Kind::Int | Kind::Long)
            && (self.name.ends_with(".bytes") || self.name.contains(".bytes."))
    }
}

/// Stores a checked value in a field: conversions cannot fail, since the row's kind and
/// check were chosen for the field. A mismatch is a bug in the table and panics in its test.
pub trait FromValue {
    /// Converts the value.
    fn from_value(value: &Value) -> Self;
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Self {
        matches!(value, Value::Bool(true))
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Self {
        match value {
            Value::Int(number) => *number,
            other => unreachable!("a number's row has a number's kind, not {other:?}"),
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Self {
        match value {
            Value::Double(number) => *number,
            other => unreachable!("a fraction's row has a fraction's kind, not {other:?}"),
        }
    }
}

impl FromValue for i32 {
    fn from_value(value: &Value) -> Self {
        i32::try_from(i64::from_value(value)).expect("Kind::Int is checked to fit 32 bits")
    }
}

impl FromValue for usize {
    fn from_value(value: &Value) -> Self {
        usize::try_from(i64::from_value(value)).expect("the row's check refuses negative numbers")
    }
}

impl FromValue for u64 {
    fn from_value(value: &Value) -> Self {
        u64::try_from(i64::from_value(value)).expect("the row's check refuses negative numbers")
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Self {
        value.text()
    }
}

impl FromValue for Option<String> {
    fn from_value(value: &Value) -> Self {
        Some(value.text())
    }
}

impl FromValue for Option<PathBuf> {
    fn from_value(value: &Value) -> Self {
        Some(PathBuf::from(value.text()))
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Self {
        PathBuf::from(value.text())
    }
}

impl FromValue for Option<Secret> {
    fn from_value(value: &Value) -> Self {
        Some(Secret::new(value.text()))
    }
}

impl FromValue for LogFormat {
    fn from_value(value: &Value) -> Self {
        if value.text() == "json" { LogFormat::Json } else { LogFormat::Text }
    }
}

impl FromValue for CommitProfile {
    fn from_value(value: &Value) -> Self {
        value.text().parse().expect("the row lists the names of the engine's profiles")
    }
}

impl FromValue for Option<WalProfile> {
    /// `auto`, the only other name, is left to be detected.
    fn from_value(value: &Value) -> Self {
        value.text().parse().ok()
    }
}
