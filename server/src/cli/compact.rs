//! Owns `compact`: looks at the compacted topics of a running broker, or of a data directory that no broker has open, and
//! cleans them now. Says what is wrong and what to do about it; decides nothing about what goes.

mod offline;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin_client::{AdminClient, escaped};
use super::{EXIT_COMMAND_FAILED, Settings, probe};
use crate::cleaner::{CleanerStatus, JobStatus, Outcome, State};
use crate::config::{BrokerConfig, load};

/// Between two looks at how far a job is.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What can be typed after `compact`.
#[derive(Debug, Subcommand)]
pub enum Compact {
    /// How dirty the partitions of compacted topics are, and whether the background cleaner would take them.
    Status(Common),
    /// Clean now, however little is dirty. Closes the active segments first.
    Now {
        #[command(flatten)]
        common: Common,
        /// Find out what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// What both take.
#[derive(Debug, Args)]
pub struct Common {
    /// This topic alone.
    #[arg(long)]
    topic: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Why it failed; the text says what to do.
type Failure = String;

/// Who is asked.
enum Place {
    /// A broker.
    Broker(AdminClient),
    /// A directory that no broker has open, and its lock.
    Directory(Box<BrokerConfig>, std::fs::File),
}

/// Does what was typed.
pub fn run(compact: &Compact) -> ExitCode {
    let (common, now) = match compact {
        Compact::Status(common) => (common, None),
        Compact::Now { common, dry_run } => (common, Some(*dry_run)),
    };
    let done = place(&common.settings).and_then(|place| match now {
        None => status(&place, common).map(|()| true),
        Some(dry_run) => clean(&place, common, dry_run),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_COMMAND_FAILED),
        Err(failure) => {
            eprintln!("chronik-server compact: {failure}");
            ExitCode::from(EXIT_COMMAND_FAILED)
        }
    }
}

/// A directory that is there and free is opened; else the broker at the HTTP address is asked, which is the one that has
/// the directory open, or the one that `--http-addr` names.
fn place(settings: &Settings) -> Result<Place, Failure> {
    let config =
        load(&settings.sources()).map_err(|faults| format!("the configuration is wrong:\n{faults}"))?;
    let broker = || AdminClient::new(config.http.http_addr, config.http.admin_api_key.clone());
    let dir = &config.node.data_dir;
    if (settings.http_addr.is_some() && settings.data_dir.is_none()) || !dir.exists() {
        return Ok(Place::Broker(broker()));
    }
    match probe::lock_data_dir(dir) {
        Ok(lock) if crate::server::store_path(dir).exists() => Ok(Place::Directory(Box::new(config), lock)),
        Ok(_) => Err(format!("{} holds no data: give the broker's directory with -d", dir.display())),
        Err((problem, _)) => {
            let client = broker();
            // In use: by the broker that answers, or by something that does not.
            match client.ask::<Value>("/v1/admin/config", None) {
                Err(super::admin_client::AdminError::Unreachable { .. }) => Err(format!(
                    "{problem}, and no broker answers at {}: name its HTTP address with --http-addr, or stop it",
                    config.http.http_addr
                )),
                _ => Ok(Place::Broker(client)),
            }
        }
    }
}

fn status(place: &Place, common: &Common) -> Result<(), Failure> {
    let topic = common.topic.as_deref();
    let status: CleanerStatus = match place {
        Place::Broker(client) => {
            let query = topic.map(|topic| format!("?topic={}", escaped(topic))).unwrap_or_default();
            client.ask(&format!("/v1/admin/compaction{query}"), None).map_err(|error| error.to_string())?
        }
        Place::Directory(config, _lock) => offline::status(config, topic)?,
    };
    show::status(&status, common.json);
    Ok(())
}

/// Whether every partition could be cleaned.
fn clean(place: &Place, common: &Common, dry_run: bool) -> Result<bool, Failure> {
    let topic = common.topic.as_deref();
    let bar = show::Bar::new(common.json);
    let outcomes: Vec<Outcome> = match place {
        Place::Broker(client) => {
            let job = ask_broker(client, topic, dry_run, &bar)?;
            job.partitions
        }
        Place::Directory(config, _lock) => offline::clean(config, topic, dry_run, &bar)?,
    };
    bar.clear();
    show::outcomes(&outcomes, dry_run, common.json);
    Ok(outcomes.iter().all(|outcome| outcome.state == State::Done))
}

fn ask_broker(
    client: &AdminClient,
    topic: Option<&str>,
    dry_run: bool,
    bar: &show::Bar,
) -> Result<JobStatus, Failure> {
    let order = json!({ "topic": topic, "dry_run": dry_run });
    let told: Value = client.ask("/v1/admin/compaction", Some(&order)).map_err(|error| error.to_string())?;
    let number = told["job"].as_u64().ok_or("the broker did not tell the number of the job")?;
    loop {
        let job: JobStatus = client
            .ask(&format!("/v1/admin/compaction/jobs/{number}"), None)
            .map_err(|error| error.to_string())?;
        bar.show(&job.partitions);
        if job.state == State::Done {
            return Ok(job);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
