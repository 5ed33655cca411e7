//! What the produce path does to a batch's bytes, against reading memory.
//!
//! The CRC row fails below hardware speed: a build without the CPU features of `.cargo/config.toml` would spend
//! its time in software CRC and nobody would notice.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;

use chronik_protocol::batch::{
    BatchBuilder, BatchView, TargetCompression, TimestampType, ValidateOptions, validate,
};
use criterion::{Criterion, criterion_group, criterion_main};

/// Table-driven CRC-32C makes 1 to 2 GB/s, the CPU's instruction 8 and more.
const HARDWARE_CRC_GB_PER_S_MIN: f64 = 3.0;

const BATCH_BYTES: usize = 64 * 1024;

fn batch(value_bytes: usize) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    let value = vec![b'v'; value_bytes];
    for delta in 0..(BATCH_BYTES / value_bytes) as i32 {
        builder.push(delta, 1_000, None, Some(&value), &[]);
    }
    builder.build().expect("a small batch")
}

fn options() -> ValidateOptions {
    ValidateOptions {
        now_ms: 1_000,
        max_batch_bytes: 1 << 20,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        require_keys: false,
        compression: TargetCompression::Producer,
        max_decompressed_bytes: 1 << 24,
    }
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    let source = batch(1_000);
    let mut copy = vec![0_u8; source.len()];
    let mut copying = || {
        copy.copy_from_slice(black_box(&source));
        black_box(&copy);
    };

    let view = BatchView::new(&source).expect("a whole batch");
    let crc = support::against(&mut group, "crc32c vs memcpy", source.len(), &mut copying, || {
        black_box(view).verify_crc().expect("the right CRC");
    });
    // NaN when criterion only tests that the bench runs.
    let speed = crc.ours_gb_per_s;
    assert!(
        speed.is_nan() || speed >= HARDWARE_CRC_GB_PER_S_MIN,
        "CRC-32C at {speed:.2} GB/s is software: was RUSTFLAGS set?"
    );

    let options = options();
    for value_bytes in [1_000, 100] {
        let source = batch(value_bytes);
        let name = format!("validate 64 KiB of {value_bytes} B records vs memcpy");
        support::against(&mut group, &name, source.len(), &mut copying, || {
            black_box(validate(source.clone(), &options).expect("a sound batch"));
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
