//! The engine's append, from a validated batch to durable, against a raw file with one fdatasync per write of the
//! same size.
//!
//! A burst of appends is in the queue while the one before it is fsynced, as under load. (A lone burst after silence
//! takes two fsyncs: the first batch goes at once, since nothing waits for a timer, and the rest together.)
//!
//! Also fails when RocksDB was compiled without the CPU's CRC instructions: its own log says so at open.

#[path = "support/mod.rs"]
mod support;
#[path = "support/engine.rs"]
mod support_engine;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use chronik_engine::log::PartitionLog;
use chronik_protocol::batch::ValidBatch;
use criterion::{Criterion, criterion_group, criterion_main};
use support_engine::{NOW_MS, TestEngine, batch};

/// Floor and aim of the performance goals, printed beside what is measured.
const GOAL: &str = "goal: 0.70 at least, 0.90 aimed at";

/// Batches of one commit and their size: few and large to many and small, about what one fsync gathers under load.
const SHAPES: [(usize, usize); 3] = [(64, 16 * 1024), (16, 64 * 1024), (64, 1024)];

/// Bursts of one measurement.
const BURSTS: usize = 16;

fn append(criterion: &mut Criterion) {
    let engine = TestEngine::open();
    engine.assert_hardware_crc();
    let mut group = criterion.benchmark_group("append");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5)).sample_size(15);
    for (count, bytes) in SHAPES {
        let valid = batch(bytes);
        let size = valid.bytes.len() * count;
        let mut raw = File::create(engine.path().join("raw")).expect("a scratch file");
        let block = vec![b'r'; size];
        let log = engine.create_log(&format!("append-{count}-{bytes}"));
        let name = format!("{count} batches of {} KiB vs raw file + fdatasync", bytes / 1024);
        support::against(
            &mut group,
            &name,
            size * BURSTS,
            || {
                for _ in 0..BURSTS {
                    raw.write_all(&block).expect("room on the disk");
                    raw.sync_data().expect("an fdatasync");
                }
            },
            || append_all(&engine, &log, &valid, count),
        );
    }
    eprintln!("{GOAL}");
    group.finish();
}

fn append_all(engine: &TestEngine, log: &Arc<PartitionLog>, batch: &ValidBatch, count: usize) {
    let mut before = None;
    for _ in 0..BURSTS {
        for _ in 0..count {
            log.append(batch, NOW_MS).expect("a sound batch");
        }
        if let Some(ticket) = before.replace(log.durable()) {
            engine.wait(ticket).expect("a durable commit");
        }
    }
    engine.wait(log.durable()).expect("a durable commit");
}

criterion_group!(benches, append);
criterion_main!(benches);
