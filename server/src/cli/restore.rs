//! Owns `restore`: an empty data directory, a bucket, and what came of it, told partition by partition.

use std::path::Path;
use std::process::ExitCode;

use chronik_engine::store::Store;
use chronik_engine::store::rocks::RocksStore;
use chronik_tiering::bucket::Bucket;
use chronik_tiering::restore::{RestoreOptions, RestoreReport, Unfinished, finish, restore};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::engine::on_engine_in;
use super::{EXIT_COMMAND_FAILED, Settings, probe};
use crate::config::{BrokerConfig, load};
use crate::runtime::Clock;
use crate::server::store_path;
use crate::tier;

/// What can be typed after `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// Where the segments are: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///PATH.
    /// Addresses and credentials are those of the settings (S3_ENDPOINT, S3_ACCESS_KEY, …).
    #[arg(long, value_name = "URL")]
    from: String,
    /// The cluster to restore, when there are several.
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
    /// Tell what would come back. Nothing is written, and the broker that writes to the bucket goes on.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Why it failed; the text says what to do.
type Failure = String;

/// Does what was typed.
pub fn run(asked: &Restore) -> ExitCode {
    match work(asked) {
        Ok(report) => {
            show(asked, &report);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("chronik-server restore: {failure}");
            ExitCode::from(EXIT_COMMAND_FAILED)
        }
    }
}

fn work(asked: &Restore) -> Result<RestoreReport, Failure> {
    let config =
        load(&asked.settings.sources()).map_err(|faults| format!("the configuration is wrong:\n{faults}"))?;
    let backend = tier::backend_of_url(&asked.from, &config).map_err(|error| error.to_string())?;
    let bucket = Bucket::open(&backend).map_err(|error| error.to_string())?;
    let dir = &config.node.data_dir;
    let store_dir = store_path(dir);
    if !asked.dry_run && store_dir.exists() {
        return Err(format!("{} holds data already: name a new directory with -d", dir.display()));
    }
    // A dry run makes no directory.
    let _lock = match asked.dry_run {
        true => None,
        false => Some(probe::lock_data_dir(dir).map_err(|(problem, remedy)| format!("{problem}: {remedy}"))?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no threads: {error}"))?;
    // Under another name until it is whole: what was cut short must not be taken for a directory.
    let unfinished_dir = dir.join(probe::UNFINISHED_RESTORE);
    if !asked.dry_run {
        let _ = std::fs::remove_dir_all(&unfinished_dir);
    }
    let done = runtime.block_on(restore_into(asked, &config, &bucket, &unfinished_dir));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    let done = done.and_then(|(report, unfinished)| {
        if asked.dry_run {
            return Ok(report);
        }
        if !unfinished.is_empty() {
            end_transactions(&unfinished_dir, &config, &unfinished)?;
        }
        let renamed = std::fs::rename(&unfinished_dir, &store_dir);
        // Without this a power cut takes the name back, and the next start finds nothing.
        let renamed = renamed.and_then(|()| std::fs::File::open(dir)?.sync_all());
        renamed.map_err(|error| format!("{}: {error}", unfinished_dir.display()))?;
        Ok(report)
    });
    if done.is_err() && !asked.dry_run {
        // Of no use, and in the way of the next attempt.
        let _ = std::fs::remove_dir_all(&unfinished_dir);
    }
    done
}

async fn restore_into(
    asked: &Restore,
    config: &BrokerConfig,
    bucket: &Bucket,
    store_dir: &Path,
) -> Result<(RestoreReport, Vec<Unfinished>), Failure> {
    let options = RestoreOptions {
        cluster_id: asked.cluster.clone(),
        dry_run: asked.dry_run,
        producer_expiration_ms: config.producers.producer_id_expiration_ms,
        now_ms: Clock::system().now_ms(),
    };
    let bar = bar(asked.json);
    let progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let restored = if asked.dry_run {
        restore(bucket, None, &options, progress).await.map_err(|error| told(&error))?
    } else {
        let store = RocksStore::open(store_dir, config.store_options(), Box::new(|_| ()))
            .map_err(|error| told(&error))?;
        let restored = restore(bucket, Some(&*store), &options, progress).await;
        let closed = store.close().await;
        let restored = restored.map_err(|error| told(&error))?;
        closed.map_err(|error| told(&error))?;
        restored
    };
    bar.finish_and_clear();
    Ok(restored)
}

/// Opens the store as a broker would, and closes it in good order.
fn end_transactions(
    store_dir: &Path,
    config: &BrokerConfig,
    unfinished: &[Unfinished],
) -> Result<(), Failure> {
    on_engine_in(store_dir, config, |engine, clock| async move {
        finish(&engine, unfinished, clock.now_ms()).await.map_err(|error| error.to_string())
    })
}

fn bar(json: bool) -> ProgressBar {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} segments {elapsed}");
    ProgressBar::with_draw_target(Some(0), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[expect(clippy::print_stdout, reason = "the answer to `restore`")]
fn show(asked: &Restore, report: &RestoreReport) {
    if asked.json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return;
    }
    let verb = if asked.dry_run { "Would restore" } else { "Restored" };
    println!("{verb} cluster {} (epoch {} in the bucket).", report.cluster_id, report.epoch);
    println!("Topics, groups and offsets are of {} ms.\n", report.copied_ms);
    println!(
        "{:40} {:>9} {:>14} {:>14} {:>9} {:>10}",
        "topic", "partition", "from", "up to", "segments", "MiB"
    );
    for partition in &report.partitions {
        println!(
            "{:40} {:>9} {:>14} {:>14} {:>9} {:>10.1}",
            partition.topic,
            partition.partition,
            partition.log_start_offset,
            partition.end_offset,
            partition.segments,
            partition.bytes as f64 / f64::from(1 << 20)
        );
    }
    if !report.clamped.is_empty() {
        println!("\nCommitted offsets behind the end, set back to it:");
    }
    for clamped in &report.clamped {
        let place = format!("{}-{}", clamped.topic, clamped.partition);
        println!("  group {} on {place}: {} -> {}", clamped.group, clamped.committed, clamped.now);
    }
    if !report.faults.is_empty() {
        println!("\nWrong with the bucket:");
        report.faults.iter().for_each(|fault| println!("  {fault}"));
    }
    if report.unnamed.count > 0 {
        println!(
            "\n{} objects ({} bytes) of these topics did not come back: they lie before a gap, or the manifest does not name them. \
             The broker removes them chronik.tier.orphan.grace.ms after this restore; copy away what is worth a look:",
            report.unnamed.count, report.unnamed.bytes
        );
        report.unnamed.first.iter().for_each(|name| println!("  {name}"));
    }
    if !asked.dry_run {
        println!(
            "\nRecords behind \"up to\" are lost. Start the broker on the new directory with the same object storage."
        );
    }
}
