//! What a run measured, as text for people and JSON for programs.
//!
//! Owns units: MB is 10^6 bytes of record values (what Kafka's own perf tools call data, without
//! batch overhead), GB is 10^9, latencies are milliseconds. It takes part in no measurement.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cpu::{CpuTime, Memory};

/// Longest latency a histogram holds; longer ones count as this.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// A histogram of latencies in microseconds, three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty histogram.
    pub fn new() -> Self {
        let max = LATENCY_MAX.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, max, 3).expect("1 µs to 120 s at three digits is valid"))
    }

    /// Counts `latency` for each of `count` records that shared it.
    pub fn record(&mut self, latency: Duration, count: u64) {
        self.0.saturating_record_n(latency.as_micros() as u64, count);
    }

    /// Adds everything `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms share one range");
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let at = |q: f64| self.0.value_at_quantile(q) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1e3,
        })
    }
}

/// Percentiles of latency over records, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// What a load moved in its measured window, before units.
#[derive(Debug)]
pub struct Outcome {
    /// Records acknowledged (produce) or received (consume, e2e).
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Requests or batches that failed.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// The measured window.
    pub elapsed: Duration,
    /// Latency from the *intended* send time, so that a stalled broker is charged for the sends it
    /// delayed ("coordinated omission"). Absent where nothing is waited for (consume).
    pub latencies: Option<Latencies>,
}

/// Processor time read at both ends of the measured window.
#[derive(Debug)]
pub struct Meter {
    broker_pid: Option<u32>,
    own: Option<CpuTime>,
    broker: Option<CpuTime>,
    memory: Option<Memory>,
}

impl Meter {
    /// Reads the clocks now.
    pub fn start(broker_pid: Option<u32>) -> Self {
        Self {
            broker_pid,
            own: CpuTime::of(None),
            broker: broker_pid.and_then(|pid| CpuTime::of(Some(pid))),
            memory: broker_pid.and_then(Memory::of),
        }
    }

    /// Reads them again and says what lies between.
    pub fn stop(self) -> Costs {
        let own = CpuTime::of(None).zip(self.own).map(|(now, then)| now.since(then));
        let broker_now = self.broker_pid.and_then(|pid| CpuTime::of(Some(pid)));
        Costs {
            own_cpu_s: own,
            broker_cpu_s: broker_now.zip(self.broker).map(|(now, then)| now.since(then)),
            broker_memory_before: self.memory,
            broker_memory_after: self.broker_pid.and_then(Memory::of),
        }
    }
}

/// Processor seconds and memory of one measured window.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    own_cpu_s: Option<f64>,
    broker_cpu_s: Option<f64>,
    broker_memory_before: Option<Memory>,
    broker_memory_after: Option<Memory>,
}

/// The report of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    load: &'static str,
    options: serde_json::Value,
    elapsed_s: f64,
    messages: u64,
    errors: u64,
    first_error: Option<String>,
    mb_per_s: f64,
    messages_per_s: f64,
    latency_ms: Option<Percentiles>,
    /// Share of one core this program used: above 0.8 it, not the broker, may be the limit.
    own_core_share: Option<f64>,
    broker_cpu_s_per_gb: Option<f64>,
    #[serde(flatten)]
    costs: Costs,
}

impl Report {
    /// Puts an outcome into units. `options` is echoed, so that a JSON line explains itself.
    pub fn new(load: &'static str, options: serde_json::Value, outcome: &Outcome, costs: Costs) -> Self {
        let elapsed_s = outcome.elapsed.as_secs_f64().max(1e-9);
        let gb = outcome.value_bytes as f64 / 1e9;
        Self {
            load,
            options,
            elapsed_s,
            messages: outcome.records,
            errors: outcome.errors,
            first_error: outcome.first_error.clone(),
            mb_per_s: outcome.value_bytes as f64 / 1e6 / elapsed_s,
            messages_per_s: outcome.records as f64 / elapsed_s,
            latency_ms: outcome.latencies.as_ref().and_then(Latencies::percentiles),
            own_core_share: costs.own_cpu_s.map(|s| s / elapsed_s),
            broker_cpu_s_per_gb: costs.broker_cpu_s.filter(|_| gb > 0.0).map(|s| s / gb),
            costs,
        }
    }

    /// Whether everything asked for happened.
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.messages > 0
    }

    /// The report as lines of text.
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!(
            "{}: {} messages in {:.2} s: {:.1} MB/s (10^6 bytes of values), {:.0} messages/s, {} errors",
            self.load, self.messages, self.elapsed_s, self.mb_per_s, self.messages_per_s, self.errors
        )];
        if let Some(error) = &self.first_error {
            lines.push(format!("first error: {error}"));
        }
        if let Some(l) = self.latency_ms {
            lines.push(format!(
                "latency from the intended send, ms: p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
                l.p50, l.p90, l.p99, l.p999, l.max
            ));
        }
        if let (Some(seconds), Some(share)) = (self.costs.own_cpu_s, self.own_core_share) {
            let warning =
                if share > 0.8 { "  (above 0.8: the load, not the broker, may be the limit)" } else { "" };
            lines.push(format!("own CPU: {seconds:.2} s, {share:.2} of a core{warning}"));
        }
        if let (Some(seconds), Some(per_gb)) = (self.costs.broker_cpu_s, self.broker_cpu_s_per_gb) {
            lines.push(format!("broker CPU: {seconds:.2} s, {per_gb:.2} s per GB"));
        }
        if let Some(memory) = self.costs.broker_memory_after {
            lines.push(format!(
                "broker memory: {:.0} MB resident, {:.0} MB of it anonymous, peak {:.0} MB",
                memory.resident_mb, memory.anonymous_mb, memory.peak_mb
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(latencies: Option<Latencies>) -> Outcome {
        Outcome {
            records: 2_000,
            value_bytes: 2_000_000,
            errors: 0,
            first_error: None,
            elapsed: Duration::from_secs(2),
            latencies,
        }
    }

    fn costs(own_cpu_s: f64) -> Costs {
        Costs {
            own_cpu_s: Some(own_cpu_s),
            broker_cpu_s: Some(0.004),
            broker_memory_before: None,
            broker_memory_after: None,
        }
    }

    #[test]
    fn units_are_decimal_and_over_the_measured_window() {
        let report = Report::new("produce", serde_json::Value::Null, &outcome(None), costs(1.0));
        assert_eq!(report.mb_per_s, 1.0);
        assert_eq!(report.messages_per_s, 1_000.0);
        assert_eq!(report.broker_cpu_s_per_gb, Some(2.0));
    }

    #[test]
    fn a_load_that_fills_its_core_says_so() {
        let loaded = Report::new("produce", serde_json::Value::Null, &outcome(None), costs(1.9));
        assert!(loaded.to_text().contains("above 0.8"));
        let idle = Report::new("produce", serde_json::Value::Null, &outcome(None), costs(0.5));
        assert!(!idle.to_text().contains("above 0.8"));
    }

    #[test]
    fn percentiles_count_records_not_batches() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_millis(1), 1);
        latencies.record(Duration::from_millis(10), 99);
        let report = Report::new("produce", serde_json::Value::Null, &outcome(Some(latencies)), costs(0.1));
        let p50 = report.latency_ms.unwrap().p50;
        assert!((9.9..10.1).contains(&p50), "{p50}");
    }
}
