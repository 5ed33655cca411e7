//! Reading a log back through the store, against copying the same bytes in memory.
//!
//! The log is larger than the tail ring, so the reads go to RocksDB; the files are in the page cache, as those of a
//! consumer that lags a little are.

#[path = "support/mod.rs"]
mod support;
#[path = "support/engine.rs"]
mod support_engine;

use std::hint::black_box;
use std::time::Duration;

use chronik_engine::log::Isolation;
use criterion::{Criterion, criterion_group, criterion_main};
use support_engine::{NOW_MS, TestEngine, batch, batch_of};

const LOG_BYTES: usize = 128 << 20;
const READ_BYTES: usize = 1 << 20;
/// Appends between two waits, so that the queue stays short.
const APPENDS_PER_WAIT: usize = 64;

fn scan(criterion: &mut Criterion) {
    let engine = TestEngine::open();
    let mut group = criterion.benchmark_group("scan");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(15);
    for bytes in [1024, 16 * 1024, 64 * 1024] {
        let log = engine.create_log(&format!("scan-{bytes}"));
        let valid = batch(bytes);
        let batches = LOG_BYTES / valid.bytes.len();
        for index in 0..batches {
            log.append(&valid, NOW_MS).expect("a sound batch");
            if index % APPENDS_PER_WAIT == 0 {
                engine.wait(log.durable()).expect("a durable commit");
            }
        }
        engine.wait(log.durable()).expect("a durable commit");
        let source = vec![1_u8; READ_BYTES];
        let mut copy = vec![0_u8; READ_BYTES];
        let records = i64::from(batch_of(&valid));
        // The ring holds the newest megabyte; reading stops well before it.
        let last = (batches as i64 * 3 / 4) * records;
        let mut offset = 0;
        support::against(
            &mut group,
            &format!("1 MiB of {} KiB batches vs memcpy", bytes / 1024),
            READ_BYTES,
            || {
                copy.copy_from_slice(black_box(&source));
                black_box(&copy);
            },
            || {
                let read = engine
                    .wait(log.read(offset, READ_BYTES, true, Isolation::Uncommitted))
                    .expect("a sound log");
                offset += (read.bytes / valid.bytes.len()) as i64 * records;
                offset = if offset >= last { 0 } else { offset };
                black_box(read);
            },
        );
    }
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
