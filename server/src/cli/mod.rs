//! Owns the command line: what can be typed, and what the process's exit code then says. One file a subcommand.
//! Decides nothing about serving; `start` hands over to `crate::server`.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; for `start`: stopped as asked |
//! | 1 | `doctor` found something that would keep the broker from starting |
//! | 2 | the command line cannot be read |
//! | 3 | refused to start: configuration, address, data directory or machine |
//! | 4 | the store failed while serving; restart recovers |
//! | 5 | stopped, but not everything could be put away in good order; restart recovers |
//! | 6 | `compact`, `restore` or `segment` could not do what was asked |
//! | 130 | stopped at once, by a second signal |

mod admin_client;
mod banner;
mod compact;
mod config;
mod doctor;
mod engine;
mod probe;
mod restore;
mod segment;
mod start;
mod tier;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::Sources;

/// Exit code: `doctor` found a fault.
const EXIT_UNWELL: u8 = 1;
/// Exit code: refused to start.
const EXIT_REFUSED: u8 = 3;
/// Exit code: the store failed.
const EXIT_STORE_FAILED: u8 = 4;
/// Exit code: the stop was not clean.
const EXIT_UNCLEAN: u8 = 5;
/// Exit code: a command could not do what was asked.
const EXIT_COMMAND_FAILED: u8 = 6;
/// Exit code: killed by a second signal.
const EXIT_SECOND_SIGNAL: i32 = 130;

/// A durable streaming broker that any Kafka client can use.
#[derive(Debug, Parser)]
#[command(name = "chronik-server", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the broker and serve until a signal stops it.
    Start(Settings),
    /// Print the version.
    Version,
    /// Print every setting with its effective value and where the value came from.
    Config {
        #[command(flatten)]
        settings: Settings,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// The reference, docs/configuration.md.
        #[arg(long, hide = true, conflicts_with = "json")]
        markdown: bool,
    },
    /// Check machine, configuration, data directory and addresses, and say what to do about what is wrong.
    #[command(args_conflicts_with_subcommands = true)]
    Doctor {
        #[command(subcommand)]
        part: Option<DoctorPart>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Look at compacted topics, or clean them now: through the broker, or in a directory that no broker has open.
    #[command(subcommand)]
    Compact(compact::Compact),
    /// Build an empty data directory from what object storage has. Whoever wrote there before stops doing so.
    Restore(restore::Restore),
    /// Take records out of topics as files, look at them, check them, print them, and put them in again.
    #[command(subcommand)]
    Segment(segment::Segment),
    /// Look at what is in object storage, or compare it with the logs: through the broker.
    #[command(subcommand)]
    Tier(tier::Tier),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What `doctor` can look at besides the machine.
#[derive(Debug, Subcommand)]
enum DoctorPart {
    /// Try everything that tiered storage asks of the object store, and tell how long it takes.
    Storage(Settings),
}

/// Where settings come from; each is also an environment variable and a key of the file.
#[derive(Debug, Default, Args)]
struct Settings {
    /// Directory of everything durable [default: ./data].
    #[arg(short, long, value_name = "DIR")]
    data_dir: Option<String>,
    /// TOML file of settings; see docs/configuration.md.
    #[arg(long, value_name = "FILE", env = "CHRONIK_CONFIG")]
    config: Option<PathBuf>,
    /// Address for Kafka clients [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT")]
    kafka_addr: Option<String>,
    /// Address of health, metrics and administration [default: 127.0.0.1:6092].
    #[arg(long, value_name = "HOST:PORT")]
    http_addr: Option<String>,
    /// What Kafka clients are told to connect to [default: the address they reach it by, or an interface's].
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
    /// Broker id that clients see [default: 1].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    node_id: Option<String>,
    /// error, warn, info, debug, trace, or directives by module [default: info].
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any setting, by its name; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Settings {
    /// All sources, the process's environment included.
    fn sources(&self) -> Sources {
        let kafka_addr = self.kafka_addr.as_ref().map(|address| format!("PLAINTEXT://{address}"));
        let named = [
            ("data.dir", self.data_dir.clone(), "--data-dir"),
            ("listeners", kafka_addr, "--kafka-addr"),
            ("http.addr", self.http_addr.clone(), "--http-addr"),
            ("advertise", self.advertise.clone(), "--advertise"),
            ("node.id", self.node_id.clone(), "--node-id"),
            ("log.level", self.log_level.clone(), "--log-level"),
        ];
        let mut flags: Vec<(String, String, String)> = Vec::new();
        for (name, value) in &self.set {
            flags.push((name.clone(), value.clone(), "--set".to_owned()));
        }
        for (name, value, flag) in named {
            flags.extend(value.map(|value| (name.to_owned(), value, flag.to_owned())));
        }
        Sources { file: self.config.clone(), flags, ..Sources::default() }.with_process_env()
    }
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Start(settings) => start::run(&settings.sources()),
        Command::Version => version(),
        Command::Config { markdown: true, .. } => config::markdown(),
        Command::Config { settings, json, .. } => config::run(&settings.sources(), json),
        Command::Doctor { part: Some(DoctorPart::Storage(settings)), .. } => {
            doctor::run_storage(&settings.sources())
        }
        Command::Doctor { settings, .. } => doctor::run(&settings.sources()),
        Command::Compact(compact) => compact::run(&compact),
        Command::Restore(restore) => restore::run(&restore),
        Command::Segment(asked) => segment::run(&asked),
        Command::Tier(tier) => tier::run(&tier),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "chronik-server", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer to `version`")]
fn version() -> ExitCode {
    println!(
        "chronik-server {} ({} {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    );
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn settings(arguments: &[&str]) -> Settings {
        let arguments = ["chronik-server", "start"].iter().chain(arguments);
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Start(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn short_forms_reach_their_settings() {
        let given = settings(&[
            "-d",
            "/d",
            "--kafka-addr",
            "127.0.0.1:1",
            "--http-addr",
            "127.0.0.1:2",
            "--advertise",
            "h:3",
            "--node-id",
            "4",
            "-l",
            "debug",
            "--set",
            "num.partitions = 5",
        ]);
        let config = load(&given.sources()).unwrap();
        assert_eq!(config.node.data_dir.to_str(), Some("/d"));
        assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:1");
        assert_eq!(config.listeners[0].advertised.to_string(), "h:3");
        assert_eq!(config.http.http_addr.to_string(), "127.0.0.1:2");
        assert_eq!(config.node.node_id, 4);
        assert_eq!(config.logging.log_level, "debug");
        assert_eq!(config.topics.num_partitions, 5);
    }

    #[test]
    fn a_bad_flag_value_is_a_fault_of_its_setting_not_of_clap() {
        let faults = load(&settings(&["--node-id", "x", "--kafka-addr", "y"]).sources()).unwrap_err();
        let told = faults.to_string();
        assert!(
            told.contains("node.id (flag --node-id)") && told.contains("listeners (flag --kafka-addr)"),
            "{told}"
        );
    }
}
