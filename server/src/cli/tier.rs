//! Owns `tier`: asks a running broker what is in object storage, and has it compare.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::admin_client::{AdminClient, escaped};
use super::{EXIT_COMMAND_FAILED, Settings};
use crate::config::load;
use crate::http::tier::{ScrubAnswer, TierStatus};

/// What can be typed after `tier`.
#[derive(Debug, Subcommand)]
pub enum Tier {
    /// What of each tiered partition is where, and whether this broker writes to the bucket.
    Status {
        /// This topic alone.
        #[arg(long)]
        topic: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Compare bucket and logs now: what is missing or damaged is told, what nothing names is removed once it is old enough.
    Scrub(Common),
}

/// What both take.
#[derive(Debug, Args)]
pub struct Common {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Does what was typed.
pub fn run(tier: &Tier) -> ExitCode {
    let done = match tier {
        Tier::Status { topic, common } => status(topic.as_deref(), common).map(|()| true),
        Tier::Scrub(common) => scrub(common),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_COMMAND_FAILED),
        Err(failure) => {
            eprintln!("chronik-server tier: {failure}");
            ExitCode::from(EXIT_COMMAND_FAILED)
        }
    }
}

fn client(common: &Common) -> Result<AdminClient, String> {
    let config = load(&common.settings.sources())
        .map_err(|faults| format!("the configuration is wrong:\n{faults}"))?;
    Ok(AdminClient::new(config.http.http_addr, config.http.admin_api_key.clone()))
}

#[expect(clippy::print_stdout, reason = "the answer to `tier status`")]
fn status(topic: Option<&str>, common: &Common) -> Result<(), String> {
    let query = topic.map(|topic| format!("?topic={}", escaped(topic))).unwrap_or_default();
    let status: TierStatus =
        client(common)?.ask(&format!("/v1/admin/tier{query}"), None).map_err(|error| error.to_string())?;
    if common.json {
        println!("{}", serde_json::to_string_pretty(&status).unwrap_or_default());
        return Ok(());
    }
    println!("{}: {} ({})\n", status.bucket, status.standing, status.detail);
    println!(
        "{:32} {:>9} {:>12} {:>12} {:>12} {:>12} {:>8} {:>11} {:>11}",
        "topic",
        "partition",
        "from",
        "local from",
        "copied to",
        "up to",
        "segments",
        "remote MiB",
        "local MiB"
    );
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for partition in &status.partitions {
        println!(
            "{:32} {:>9} {:>12} {:>12} {:>12} {:>12} {:>8} {:>11.1} {:>11.1}",
            partition.topic,
            partition.partition,
            partition.log_start_offset,
            partition.local_start_offset,
            partition.copied_to,
            partition.high_watermark,
            partition.segments,
            mib(partition.remote_bytes),
            mib(partition.local_bytes)
        );
    }
    Ok(())
}

/// Whether nothing is wrong.
#[expect(clippy::print_stdout, reason = "the answer to `tier scrub`")]
fn scrub(common: &Common) -> Result<bool, String> {
    let answer: ScrubAnswer =
        client(common)?.ask("/v1/admin/tier/scrub", Some(&json!({}))).map_err(|error| error.to_string())?;
    let Some(report) = answer.report else {
        println!("It goes on; what it finds is logged and counted in chronik_tier_scrub_faults_count.");
        return Ok(true);
    };
    if common.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        println!(
            "{} segments, {} objects in the bucket, {} read in part",
            report.segments, report.objects, report.sampled
        );
        println!(
            "{} objects that nothing named removed, {} too young",
            report.orphans_removed, report.orphans_young
        );
        report.faults.iter().for_each(|fault| println!("FAULT {fault}"));
    }
    Ok(report.faults.is_empty())
}
