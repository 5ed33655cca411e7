//! Owns how a configuration fault is told: which option, where its value came from, what is wrong
//! and what to do. Refuses to stop at the first one: faults are collected and shown together.

use std::fmt;
use std::path::PathBuf;

/// Where a value (or a misspelt name) was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it: the table's default.
    Default,
    /// The TOML file, and the line; 0 stands for the file as a whole.
    File {
        /// Path as given by the operator.
        path: PathBuf,
        /// One-based line, or 0.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A command line flag, as typed.
    Flag(String),
    /// An administrator, while the broker ran.
    Dynamic,
    /// No value at all: the machine itself.
    Machine,
}

impl Origin {
    /// True for anything an operator wrote.
    pub fn is_set(&self) -> bool {
        !matches!(self, Origin::Default | Origin::Machine)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File { path, line: 0 } => write!(out, "{}", path.display()),
            Origin::File { path, line } => write!(out, "{} line {line}", path.display()),
            Origin::Env(name) => write!(out, "environment variable {name}"),
            Origin::Flag(flag) => write!(out, "flag {flag}"),
            Origin::Dynamic => out.write_str("changed at run time"),
            Origin::Machine => out.write_str("this machine"),
        }
    }
}

/// One thing wrong with the configuration or with the place the broker is to start in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The option at fault, by its setting name.
    pub option: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong, without the option's name.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Fault {
    /// A fault with all four parts.
    pub fn new(
        option: impl Into<String>,
        origin: Origin,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { option: option.into(), origin, problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}): {}. {}", self.option, self.origin, self.problem, self.remedy)
    }
}

/// Every fault of one attempt to load, never empty when returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// `Ok` when nothing was found.
    pub fn into_result(self) -> Result<(), Faults> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "  - {fault}")?;
        }
        Ok(())
    }
}
