//! Measures the RocksDB store alone against the bare thing: commits against a file with one write and one
//! `fdatasync` per group of the same size, scans against a copy in memory.
//!
//! `cargo run --release -p chronik-engine --example store_bench -- [seconds] [directory]`
//!
//! The closed loop keeps as many batches waiting as one group takes, as busy producers do.
#![expect(clippy::print_stdout, reason = "a tool whose output is its purpose")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_engine::store::conformance::block_on;
use chronik_engine::store::rocks::{CommitProfile, RocksOptions, RocksStore, WalProfile};
use chronik_engine::store::{Durability, Keyspace, ScanLimit, Store, Value, WriteBatch};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Shape {
    value_bytes: usize,
    /// Values in one batch.
    values: usize,
    /// Batches kept waiting.
    depth: usize,
}

const SHAPES: [Shape; 6] = [
    Shape { value_bytes: 1 << 10, values: 64, depth: 1 },
    Shape { value_bytes: 1 << 10, values: 64, depth: 16 },
    Shape { value_bytes: 16 << 10, values: 16, depth: 2 },
    Shape { value_bytes: 64 << 10, values: 16, depth: 2 },
    Shape { value_bytes: 64 << 10, values: 1, depth: 128 },
    Shape { value_bytes: 1 << 20, values: 2, depth: 4 },
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "value x per batch x waiting |  raw MB/s | store MB/s ratio batches/s fsync/s  CPU s/GB | scan GB/s of memcpy"
    );
    for shape in &SHAPES {
        let directory = parent.join(format!("chronik-store-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let row = measure(shape, &directory, Duration::from_secs(seconds));
        std::fs::remove_dir_all(&directory)?;
        println!("{}", row?);
    }
    Ok(())
}

/// Bytes that do not compress, alike for both sides.
fn noise(bytes: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(step).collect()
}

fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of /proc/self/stat, in hundredths; the name in field 2 holds no blank.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.split(' ').skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn measure(shape: &Shape, directory: &Path, time: Duration) -> Result<String> {
    let batch_bytes = shape.value_bytes * shape.values;
    let store_directory = directory.join("store");
    let options = RocksOptions::new(CommitProfile::HighThroughput, WalProfile::detect());
    let store = RocksStore::open(&store_directory, options, Box::new(|error| println!("{error}")))?;
    let value = noise(shape.value_bytes);

    let cpu = cpu_seconds();
    let started = Instant::now();
    let mut waiting = VecDeque::new();
    let mut batches = 0_u64;
    while started.elapsed() < time {
        while waiting.len() < shape.depth {
            waiting.push_back(store.commit(batch(shape, batches, &value), Durability::Sync));
            batches += 1;
        }
        if let Some(ticket) = waiting.pop_front() {
            block_on(ticket)?;
        }
    }
    for ticket in waiting {
        block_on(ticket)?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let megabytes = (batches as usize * batch_bytes) as f64 / 1e6;
    let store_rate = megabytes / elapsed;
    let cpu_per_gb = (cpu_seconds() - cpu) / (megabytes / 1e3);

    // The file gets groups of the size that the store formed on average.
    let figures = store.internals();
    let commits = figures.iter().find(|(name, _)| *name == "commits").map_or(1.0, |(_, commits)| *commits);
    let group_batches = (batches as f64 / commits).max(1.0);
    let raw_rate = raw(&directory.join("raw"), (batch_bytes as f64 * group_batches) as usize, time)?;
    let scan_rate = scan(&store, shape, batches)?;
    let memcpy_rate = memcpy(batch_bytes);
    block_on(store.close())?;
    Ok(format!(
        "{:>7} x {:>3} x {:>3}             | {raw_rate:>9.0} | {store_rate:>10.0} {:>5.2} {:>9.0} {:>7.0} {cpu_per_gb:>9.2} | \
         {scan_rate:>9.2} {:>6.2}",
        shape.value_bytes,
        shape.values,
        shape.depth,
        store_rate / raw_rate,
        batches as f64 / elapsed,
        commits / elapsed,
        scan_rate / memcpy_rate,
    ))
}

fn batch(shape: &Shape, number: u64, value: &Bytes) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for index in 0..shape.values as u64 {
        // Sixteen logs written in turn.
        let mut key = ((index % 16) as u32).to_be_bytes().to_vec();
        key.extend_from_slice(&(number * shape.values as u64 + index).to_be_bytes());
        // A record batch with its first sixteen bytes patched.
        let value = Value { head: Bytes::from_static(&[0; 16]), body: value.slice(16..) };
        batch.put(Keyspace::Batches, key, value);
    }
    batch
}

fn raw(path: &Path, group_bytes: usize, time: Duration) -> Result<f64> {
    let mut file = File::create(path)?;
    let group = noise(group_bytes);
    let started = Instant::now();
    let mut groups = 0_u64;
    while started.elapsed() < time {
        file.write_all(&group)?;
        file.sync_data()?;
        groups += 1;
    }
    let rate = (groups as usize * group_bytes) as f64 / 1e6 / started.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Whole logs, two megabytes a chunk, as fetches read them.
fn scan(store: &Arc<RocksStore>, shape: &Shape, batches: u64) -> Result<f64> {
    let started = Instant::now();
    let mut bytes = 0;
    for log in 0..(shape.values as u32).min(16) {
        let mut from = Bytes::copy_from_slice(&log.to_be_bytes());
        let to = Bytes::copy_from_slice(&(log + 1).to_be_bytes());
        loop {
            let chunk =
                block_on(store.scan(Keyspace::Batches, from.clone()..to.clone(), ScanLimit::bytes(2 << 20)))?;
            bytes += chunk.entries.iter().map(|(_, value)| value.len()).sum::<usize>();
            match chunk.entries.last() {
                Some((key, _)) if chunk.more => from = [key.as_ref(), &[0]].concat().into(),
                _ => break,
            }
        }
    }
    assert_eq!(bytes as u64, batches * (shape.value_bytes * shape.values) as u64, "everything is read");
    Ok(bytes as f64 / 1e9 / started.elapsed().as_secs_f64())
}

fn memcpy(bytes: usize) -> f64 {
    let source = noise(bytes.max(1 << 20));
    let started = Instant::now();
    let mut copied = 0;
    while started.elapsed() < Duration::from_millis(200) {
        copied += std::hint::black_box(Bytes::copy_from_slice(&source)).len();
    }
    copied as f64 / 1e9 / started.elapsed().as_secs_f64()
}
