//! The command line of `chronik-bench`: what a run can be asked for, and its defaults.
//!
//! Owns names, defaults and the checks that need no broker. It starts nothing.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::values::STAMP_BYTES;

/// Measures any Kafka broker from outside.
#[derive(Debug, Parser)]
#[command(name = "chronik-bench", version, about)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub load: Load,
}

/// The kinds of load.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Produce records; latency runs from the intended send to the acknowledgement.
    Produce(ProduceArgs),
    /// Consume what a topic holds, from its beginning.
    Consume(ConsumeArgs),
    /// Produce at a fixed rate and consume at once; latency runs from the intended send to receipt.
    E2e(E2eArgs),
}

/// Which client makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// Own connections sending batches encoded once: the cheapest load there is.
    Raw,
    /// librdkafka, as an application would use it.
    Rdkafka,
}

/// What a producer promises, and the broker must remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing.
    Plain,
    /// Each batch once, in order (KIP-98).
    Idempotent,
    /// Batches in transactions, committed one after the other.
    Transactional,
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not compressed.
    None,
    /// gzip.
    Gzip,
    /// snappy, in the framing of Kafka's Java client.
    Snappy,
    /// lz4 frame.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// The name librdkafka and Kafka's tools know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// `acks` of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Acks {
    /// Fire and forget. Such a run counts what was sent, and has no latency.
    #[value(name = "0")]
    None,
    /// The leader has it.
    #[value(name = "1")]
    Leader,
    /// All in-sync replicas have it.
    #[value(name = "all", alias = "-1")]
    All,
}

impl Acks {
    /// The field of a Produce request.
    pub fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// A rate in messages or in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Messages a second.
    Messages(f64),
    /// Megabytes (10^6 bytes of values) a second.
    Megabytes(f64),
}

impl Rate {
    /// Messages a second, for values of `value_bytes` bytes.
    pub fn messages_per_s(self, value_bytes: usize) -> f64 {
        match self {
            Self::Messages(rate) => rate,
            Self::Megabytes(rate) => rate * 1e6 / value_bytes as f64,
        }
    }
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let (number, unit) = match text.strip_suffix("MB/s").or_else(|| text.strip_suffix("MB")) {
        Some(number) => (number, Rate::Megabytes as fn(f64) -> Rate),
        None => (text.strip_suffix("/s").unwrap_or(text), Rate::Messages as fn(f64) -> Rate),
    };
    match number.trim().parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(unit(rate)),
        _ => Err(format!("`{text}` is not a rate: write 50000 (messages a second) or 50MB")),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Options every load has.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Common {
    /// Broker to ask first.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Topic; created when missing.
    #[arg(long, default_value = "chronik-bench")]
    pub topic: String,
    /// Partitions of the topic when it is created, and how many are used.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub partitions: u16,
    /// Which client makes the load.
    #[arg(long, value_enum, default_value_t = Client::Raw)]
    pub client: Client,
    /// Process id of a broker on this machine: its CPU and memory join the report.
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Check what the broker did (offsets contiguous, CRCs right, nothing lost) as well.
    #[arg(long)]
    pub verify: bool,
    /// Delete the topic afterwards.
    #[arg(long)]
    pub cleanup: bool,
    /// Print the report as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// What is produced, in every load that produces.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Records {
    /// Bytes of each record's value.
    #[arg(long, default_value_t = 1_000, value_parser = parse_value_size)]
    pub size: usize,
    /// Acknowledgements to wait for.
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// Compression.
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub codec: Codec,
    /// Bytes of values per batch. Default: the Java producer's 16384; in `e2e`, one value.
    #[arg(long, value_parser = parse_batch_bytes)]
    pub batch_bytes: Option<usize>,
    /// Produce requests a connection may have unanswered.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub in_flight: u16,
}

impl Records {
    /// `--batch-bytes`, or the Java producer's default.
    pub fn batch_bytes(&self) -> usize {
        const JAVA_DEFAULT_BYTES: usize = 16_384;
        self.batch_bytes.unwrap_or(JAVA_DEFAULT_BYTES)
    }

    /// Records in one batch: as many as `--batch-bytes` holds, at least one.
    pub fn per_batch(&self) -> u64 {
        (self.batch_bytes() / self.size).max(1) as u64
    }
}

fn parse_value_size(text: &str) -> Result<usize, String> {
    bounded(text, STAMP_BYTES, 100_000_000)
}

fn parse_batch_bytes(text: &str) -> Result<usize, String> {
    bounded(text, 1, 100_000_000)
}

fn bounded(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| format!("`{text}` is not a number of bytes"))?;
    let fits = (min..=max).contains(&number);
    fits.then_some(number).ok_or_else(|| format!("{number} is outside {min} to {max} bytes"))
}

/// `chronik-bench produce`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct ProduceArgs {
    /// What every load has.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// What is produced.
    #[command(flatten)]
    #[serde(flatten)]
    pub records: Records,
    /// Producers, each with a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub producers: u16,
    /// What they promise; other than plain needs `--client raw`.
    #[arg(long, value_enum, default_value_t = Kind::Plain)]
    pub kind: Kind,
    /// Seconds a transaction lasts; the default is the commit interval of Kafka Streams with exactly-once.
    #[arg(long, default_value = "0.1", value_parser = parse_seconds)]
    pub transaction: Duration,
    /// Open loop: messages a second (`50000`) or values a second (`50MB`), of all producers
    /// together. Without it the loop is closed: as fast as acknowledgements allow.
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<Rate>,
    /// Seconds to run when `--messages` is not given.
    #[arg(long, default_value = "10", value_parser = parse_seconds)]
    pub duration: Duration,
    /// Stop after this many messages instead of after `--duration`.
    #[arg(long)]
    pub messages: Option<u64>,
    /// Seconds of the same load before anything is measured (a JVM compiles in that time).
    #[arg(long, default_value = "0", value_parser = parse_seconds)]
    pub warmup: Duration,
}

/// `chronik-bench consume`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct ConsumeArgs {
    /// What every load has.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// What `--prefill` produces.
    #[command(flatten)]
    #[serde(flatten)]
    pub records: Records,
    /// Consumers, each with a connection of its own and its share of the partitions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub consumers: u16,
    /// First bring the topic to this many messages.
    #[arg(long, value_name = "MESSAGES", default_value_t = 0)]
    pub prefill: u64,
    /// Seconds to run at most; consumers that reach the end start again at the beginning.
    #[arg(long, default_value = "10", value_parser = parse_seconds)]
    pub duration: Duration,
    /// Stop after this many messages.
    #[arg(long)]
    pub messages: Option<u64>,
    /// Stop when every partition was read once.
    #[arg(long)]
    pub once: bool,
    /// Seconds of the same load before anything is measured.
    #[arg(long, default_value = "0", value_parser = parse_seconds)]
    pub warmup: Duration,
    /// `fetch.max.bytes` of a request; the default is the Java consumer's.
    #[arg(long, default_value_t = 52_428_800, value_parser = clap::value_parser!(i32).range(1..))]
    pub fetch_bytes: i32,
    /// `max.partition.fetch.bytes`; the default is the Java consumer's.
    #[arg(long, default_value_t = 1_048_576, value_parser = clap::value_parser!(i32).range(1..))]
    pub partition_fetch_bytes: i32,
}

/// `chronik-bench e2e`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct E2eArgs {
    /// What every load has.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// What is produced.
    #[command(flatten)]
    #[serde(flatten)]
    pub records: Records,
    /// Messages a second (`1000`) or values a second (`1MB`).
    #[arg(long, default_value = "1000", value_parser = parse_rate)]
    pub rate: Rate,
    /// Seconds measured.
    #[arg(long, default_value = "10", value_parser = parse_seconds)]
    pub duration: Duration,
    /// Seconds of the same load before anything is measured.
    #[arg(long, default_value = "2", value_parser = parse_seconds)]
    pub warmup: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_are_messages_or_megabytes() {
        assert_eq!(parse_rate("500"), Ok(Rate::Messages(500.0)));
        assert_eq!(parse_rate("500/s"), Ok(Rate::Messages(500.0)));
        assert_eq!(parse_rate("5MB/s").unwrap().messages_per_s(1_000), 5_000.0);
        assert!(parse_rate("fast").is_err());
        assert!(parse_rate("-1").is_err());
        assert!(parse_rate("0").is_err());
    }

    #[test]
    fn a_batch_holds_at_least_one_record() {
        let parse = |size: &str| {
            let cli = Cli::try_parse_from(["chronik-bench", "produce", "--size", size]).unwrap();
            match cli.load {
                Load::Produce(args) => args.records.per_batch(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse("1000"), 16);
        assert_eq!(parse("100000"), 1);
    }
}
