//! Owns `segment`: what can be typed, and what the exit code then says. Parts of topics as files: taken out of a broker or of a
//! data directory, looked at, checked, printed, and put in again.
//!
//! | file | owns |
//! |---|---|
//! | `arguments` | partitions, ranges, times and sizes as they are typed |
//! | `export`, `import`, `inspect`, `verify`, `cat` | a file a verb |
//! | `source`, `target` | where records come from and go to: a broker or a directory |
//! | `client`, `connection`, `codes` | a small Kafka client; one connection; names of error codes |
//! | `directory` | a data directory that no broker has open |
//! | `object` | a segment as a file or in object storage, by ranges |
//! | `record`, `aborts` | one record; which of them were aborted |
//! | `json_lines`, `parquet`, `segment_file` | the formats |
//! | `reader`, `writer`, `output` | any format as records, and records as any format; files that are there whole or not at all |
//! | `progress` | bars |

mod aborts;
mod arguments;
mod cat;
mod client;
mod codes;
mod connection;
mod directory;
mod export;
mod import;
mod inspect;
mod json_lines;
mod object;
mod output;
mod parquet;
mod progress;
mod reader;
mod record;
mod segment_file;
mod source;
mod target;
mod verify;
mod writer;

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::{EXIT_COMMAND_FAILED, Settings};
use crate::config::{BrokerConfig, load};

/// What can be typed after `segment`.
#[derive(Debug, Subcommand)]
pub enum Segment {
    /// Write records of a topic to files: from a broker, or from a data directory that no broker has open.
    Export(export::Export),
    /// Tell what segments hold, by what they say of themselves.
    Inspect(inspect::Inspect),
    /// Read segments whole and tell everything that is wrong with them.
    Verify(verify::Verify),
    /// Print records as JSON lines.
    Cat(cat::Cat),
    /// Append the records of files to a topic. They get new offsets.
    Import(import::Import),
}

/// How records are written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Chronik's segments: the batches exactly as sent, with everything that describes them.
    Segment,
    /// One JSON object a line.
    Jsonl,
    /// Parquet, compressed with zstd.
    Parquet,
}

impl Format {
    /// What files of it end with.
    fn extension(self) -> &'static str {
        match self {
            Self::Segment => "seg",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// By what a name ends with.
    fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "seg" => Some(Self::Segment),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Why it failed; the text says what to do.
type Failure = String;

/// Does what was typed.
pub fn run(segment: &Segment) -> ExitCode {
    let (verb, done) = match segment {
        Segment::Export(asked) => ("export", export::run(asked).map(|()| true)),
        Segment::Inspect(asked) => ("inspect", inspect::run(asked)),
        Segment::Verify(asked) => ("verify", verify::run(asked)),
        Segment::Cat(asked) => ("cat", cat::run(asked).map(|()| true)),
        Segment::Import(asked) => ("import", import::run(asked).map(|()| true)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_COMMAND_FAILED),
        Err(failure) => {
            eprintln!("chronik-server segment {verb}: {failure}");
            ExitCode::from(EXIT_COMMAND_FAILED)
        }
    }
}

fn config(settings: &Settings) -> Result<BrokerConfig, Failure> {
    load(&settings.sources()).map_err(|faults| format!("the configuration is wrong:\n{faults}"))
}

/// Runs what waits for sockets and disks.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no event loop: {error}"))?;
    runtime.block_on(until_interrupted(work))
}

/// The work, unless Ctrl-C comes first: then it is dropped, and with it the files that have no name yet.
async fn until_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
    }
}
