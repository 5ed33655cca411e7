//! A layer beside the bare thing it stands on, measured in alternation so that both meet the same machine.
//!
//! Owns the alternation and the ratio; criterion owns sampling and statistics. A ratio of 1 means that the layer
//! costs nothing over the bare thing.

use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Throughput, measurement::WallTime};

/// What a pair measured, by the medians of criterion's samples.
pub struct Measured {
    /// Speed of the layer over speed of the bare thing.
    pub ratio: f64,
    /// The layer, in GB (10^9 bytes) a second.
    pub ours_gb_per_s: f64,
    /// The bare thing, in GB a second.
    pub bare_gb_per_s: f64,
}

/// Runs `ours` and `bare` in turn, both moving `bytes`; criterion reports `ours`, the ratio follows on a line.
pub fn against(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    bytes: usize,
    mut bare: impl FnMut(),
    mut ours: impl FnMut(),
) -> Measured {
    let mut samples: Vec<(Duration, Duration, u64)> = Vec::new();
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut spent_bare, mut spent_ours) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..iterations {
                spent_bare += timed(&mut bare);
                spent_ours += timed(&mut ours);
            }
            samples.push((spent_bare, spent_ours, iterations));
            spent_ours
        });
    });
    let rate =
        |spent: Duration, iterations: u64| bytes as f64 * iterations as f64 / spent.as_secs_f64() / 1e9;
    let measured = Measured {
        ratio: median(samples.iter().map(|(bare, ours, _)| bare.as_secs_f64() / ours.as_secs_f64())),
        ours_gb_per_s: median(samples.iter().map(|(_, ours, n)| rate(*ours, *n))),
        bare_gb_per_s: median(samples.iter().map(|(bare, _, n)| rate(*bare, *n))),
    };
    if !samples.is_empty() {
        eprintln!(
            "{name}: {:.2} of the bare thing ({:.3} of {:.3} GB/s)\n",
            measured.ratio, measured.ours_gb_per_s, measured.bare_gb_per_s
        );
    }
    measured
}

fn timed(work: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// NaN when nothing was sampled, as under `cargo test`.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
