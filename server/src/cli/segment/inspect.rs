//! Owns `segment inspect`: what the tails of segments say, for people and for programs. Reads no batch.

use chronik_tiering::segment::{HEADER_BYTES, Tail};
use clap::Args;
use serde_json::{Value, json};

use super::arguments::{shown_size, shown_time};
use super::object::{Object, expand};
use super::{Failure, Settings, block_on, config};

/// Rows of a list that people are shown.
const ROWS_MAX: usize = 20;

/// What can be typed after `segment inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Files, directories of them, or objects: s3://BUCKET/NAME, gs://BUCKET/NAME, az://ACCOUNT/CONTAINER/NAME; what ends with
    /// a slash is everything below. Addresses and credentials are those of the settings (S3_ENDPOINT, S3_ACCESS_KEY, …).
    #[arg(required = true, value_name = "FILE|URL")]
    names: Vec<String>,
    /// List the blocks, too.
    #[arg(long)]
    blocks: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Does what was typed. False when one of them could not be read.
pub fn run(asked: &Inspect) -> Result<bool, Failure> {
    let config = config(&asked.settings)?;
    let told = block_on(async {
        let mut told = Vec::new();
        for name in expand(&asked.names, &config).await? {
            let object = Object::open(&name, &config).await?;
            let tail = object.tail().await.map(|(tail, bytes)| (tail, bytes.len() as u64));
            told.push((object.size, tail.map_err(|error| error.told(&name)), name));
        }
        Ok(told)
    })?;
    show(asked, &told);
    Ok(told.iter().all(|(_, tail, _)| tail.is_ok()))
}

type Told = (u64, Result<(Tail, u64), Failure>, String);

#[expect(clippy::print_stdout, reason = "the answer to `segment inspect`")]
fn show(asked: &Inspect, told: &[Told]) {
    if asked.json {
        let segments: Vec<Value> = told
            .iter()
            .map(|(size, tail, name)| match tail {
                Ok((tail, tail_bytes)) => as_json(name, *size, *tail_bytes, tail, asked.blocks),
                Err(failure) => json!({ "name": name, "size": size, "error": failure }),
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "segments": segments })).unwrap_or_default());
        return;
    }
    for (index, (size, tail, name)) in told.iter().enumerate() {
        if index > 0 {
            println!();
        }
        match tail {
            Ok((tail, tail_bytes)) => as_text(name, *size, *tail_bytes, tail, asked.blocks),
            Err(failure) => println!("{failure}"),
        }
    }
}

fn as_json(name: &str, size: u64, tail_bytes: u64, tail: &Tail, with_blocks: bool) -> Value {
    let description = &tail.description;
    let producers: Vec<Value> = tail
        .producers
        .iter()
        .map(|(id, state)| {
            json!({
                "producer_id": id,
                "epoch": state.epoch,
                "last_sequence": state.batches.back().map(|batch| batch.last_sequence),
                "open_transaction": state.txn_first_offset,
                "last_ms": state.last_ms,
            })
        })
        .collect();
    let aborted = tail.aborted.iter().map(|txn| {
        json!({
            "producer_id": txn.producer_id,
            "first_offset": txn.first_offset,
            "last_offset": txn.last_offset,
            "stable_offset": txn.stable_offset,
        })
    });
    let epochs =
        tail.epochs.iter().map(|epoch| json!({ "epoch": epoch.epoch, "start_offset": epoch.start_offset }));
    let mut told = json!({
        "name": name,
        "size": size,
        "version": chronik_tiering::segment::VERSION,
        "topic": description.topic,
        "topic_id": description.topic_id.to_string(),
        "partition": description.partition,
        "cluster_id": description.cluster_id,
        "base_offset": description.base_offset,
        "next_offset": description.next_offset,
        "batches": description.batches,
        "records": description.records,
        "data_bytes": tail.data_end() - HEADER_BYTES as u64,
        "tail_bytes": tail_bytes,
        "cleaned": description.cleaned,
        "first_timestamp": description.first_timestamp,
        "max_timestamp": description.max_timestamp,
        "created_ms": description.created_ms,
        "appended_ms": description.appended_ms,
        "exported_ms": description.exported_ms,
        "data_crc": format!("{:08x}", tail.data_crc),
        "block_count": tail.blocks.len(),
        "producers": producers,
        "aborted": aborted.collect::<Vec<_>>(),
        "epochs": epochs.collect::<Vec<_>>(),
    });
    if with_blocks {
        let blocks = tail.blocks.iter().map(|block| {
            json!({
                "base_offset": block.base_offset,
                "last_offset": block.last_offset,
                "position": block.position,
                "bytes": block.length,
                "crc": format!("{:08x}", block.crc),
                "max_timestamp": block.max_timestamp,
            })
        });
        told["blocks"] = blocks.collect();
    }
    told
}

#[expect(clippy::print_stdout, reason = "the answer to `segment inspect`")]
fn as_text(name: &str, size: u64, tail_bytes: u64, tail: &Tail, with_blocks: bool) {
    let description = &tail.description;
    let row = |what: &str, value: &dyn std::fmt::Display| println!("  {what:18} {value}");
    let appended = |ms: i64| if ms < 0 { "not known".to_owned() } else { shown_time(ms) };
    println!("{name}");
    row("topic", &format!("{} (id {})", description.topic, description.topic_id));
    row("partition", &description.partition);
    row("cluster", &description.cluster_id);
    row("offsets", &format!("{}..{}", description.base_offset, description.next_offset));
    row("records", &format!("{} in {} batches", description.records, description.batches));
    row("size", &format!("{} ({size} bytes, {tail_bytes} of them describe it)", shown_size(size)));
    row("first timestamp", &shown_time(description.first_timestamp));
    row("largest timestamp", &shown_time(description.max_timestamp));
    row("first appended", &appended(description.created_ms));
    row("last appended", &appended(description.appended_ms));
    row("made", &shown_time(description.exported_ms));
    row("cleaned", &if description.cleaned { "yes, offsets may be missing" } else { "no" });
    row("checksum of data", &format!("{:08x}", tail.data_crc));
    row("blocks", &tail.blocks.len());
    let more = |count: usize| {
        if count > ROWS_MAX {
            println!("    … and {} more; --json lists them", count - ROWS_MAX);
        }
    };
    row("leader epochs", &tail.epochs.len());
    for epoch in tail.epochs.iter().take(ROWS_MAX) {
        println!("    epoch {} from offset {}", epoch.epoch, epoch.start_offset);
    }
    more(tail.epochs.len());
    row("producers", &tail.producers.len());
    for (id, state) in tail.producers.iter().take(ROWS_MAX) {
        let open = state.txn_first_offset.map(|first| format!(", a transaction open since offset {first}"));
        println!("    producer {id}, epoch {}{}", state.epoch, open.unwrap_or_default());
    }
    more(tail.producers.len());
    row("aborted", &tail.aborted.len());
    for txn in tail.aborted.iter().take(ROWS_MAX) {
        println!("    producer {}, offsets {} to {}", txn.producer_id, txn.first_offset, txn.last_offset);
    }
    more(tail.aborted.len());
    if with_blocks {
        println!(
            "  {:>14} {:>14} {:>12} {:>10}  {:8}  largest timestamp",
            "from", "to", "position", "bytes", "crc"
        );
        for block in &tail.blocks {
            println!(
                "  {:>14} {:>14} {:>12} {:>10}  {:08x}  {}",
                block.base_offset,
                block.last_offset,
                block.position,
                block.length,
                block.crc,
                shown_time(block.max_timestamp)
            );
        }
    }
}
