//! Owns how `compact` looks: a table for people, JSON for programs, a bar while it works.
#![expect(clippy::print_stdout, reason = "the answer to `compact`")]

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cleaner::{CleanerStatus, Outcome, State};

/// A bar over all partitions, on the terminal if there is one.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Hidden beside JSON.
    pub(super) fn new(json: bool) -> Self {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// What was read so far, of what will have been as far as that is known.
    pub(super) fn show(&self, outcomes: &[Outcome]) {
        let done =
            outcomes.iter().filter(|outcome| matches!(outcome.state, State::Done | State::Failed)).count();
        self.0.set_length(outcomes.iter().map(|outcome| outcome.expected_bytes).sum());
        self.0.set_position(outcomes.iter().map(|outcome| outcome.read_bytes).sum());
        let under_way = outcomes.iter().find(|outcome| outcome.state == State::Running);
        let name = under_way.map(|outcome| format!(" {}-{}", outcome.topic, outcome.partition));
        self.0.set_message(format!("{done}/{}{}", outcomes.len(), name.unwrap_or_default()));
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Prints what the partitions are like.
pub(super) fn status(status: &CleanerStatus, as_json: bool) {
    if as_json {
        println!("{}", json!(status));
        return;
    }
    if status.partitions.is_empty() {
        println!("no topic is compacted");
        return;
    }
    println!(
        "{:40} {:>10} {:>10} {:>10} {:>6}  {:12} {:>12} {:>12}",
        "PARTITION", "SIZE", "CLEAN", "DIRTY", "RATIO", "STATE", "FIRST DIRTY", "CLEANABLE TO"
    );
    for partition in &status.partitions {
        let name = format!("{}-{}", partition.topic, partition.partition);
        let running = status.current.as_ref().is_some_and(|current| {
            current.topic == partition.topic && current.partition == partition.partition
        });
        let state = match () {
            () if partition.failure.is_some() => "failed",
            () if running => "cleaning",
            () if partition.due => "due",
            () if partition.interrupted => "interrupted",
            () if partition.dirty_bytes == 0 => "clean",
            () => "waits",
        };
        println!(
            "{name:40} {:>10} {:>10} {:>10} {:>6.2}  {state:12} {:>12} {:>12}",
            size(partition.size_bytes),
            size(partition.clean_bytes),
            size(partition.dirty_bytes),
            partition.dirty_ratio,
            partition.first_dirty_offset,
            partition.cleanable_to_offset
        );
        if let Some(failure) = &partition.failure {
            println!("{:40} -> {failure}", "");
        }
    }
}

/// Prints what was done, or would be.
pub(super) fn outcomes(outcomes: &[Outcome], dry_run: bool, as_json: bool) {
    if as_json {
        println!("{}", json!({ "dry_run": dry_run, "partitions": outcomes }));
        return;
    }
    let verb = if dry_run { "would drop" } else { "dropped" };
    for outcome in outcomes {
        let name = format!("{}-{}", outcome.topic, outcome.partition);
        match (&outcome.error, outcome.state) {
            (Some(error), _) => println!("{name}: failed: {error}"),
            (None, State::Done) if outcome.records == 0 && outcome.read_bytes == 0 => {
                println!("{name}: nothing to clean");
            }
            (None, State::Done) => println!(
                "{name}: {verb} {} of {} records, {} become {}",
                outcome.records_dropped,
                outcome.records,
                size(outcome.before_bytes),
                size(outcome.after_bytes)
            ),
            (None, _) => println!("{name}: cut short"),
        }
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (10 << 30, "10.0 GiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
