//! What is told of cleaning, over HTTP and on the command line: plain values that go to JSON and back.

use chronik_engine::Engine;
use chronik_engine::log::{CleanReport, PartitionLog};
use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CleanerStatus {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// Every partition of every compacted topic.
    pub partitions: Vec<PartitionStatus>,
    /// The pass under way.
    pub current: Option<Outcome>,
}

/// One partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its topic.
    pub topic: String,
    /// Its index.
    pub partition: i32,
    /// Bytes of its batches.
    pub size_bytes: u64,
    /// Of closed segments: bytes that were cleaned, and bytes that can be.
    pub clean_bytes: u64,
    /// See `clean_bytes`.
    pub dirty_bytes: u64,
    /// The latter's part of both.
    pub dirty_ratio: f64,
    /// First offset that was never cleaned.
    pub first_dirty_offset: i64,
    /// First offset that cannot be cleaned yet.
    pub cleanable_to_offset: i64,
    /// Whether the background cleaner would take it.
    pub due: bool,
    /// When the last pass ended, ms since the epoch.
    pub cleaned_ms: Option<i64>,
    /// A pass was cut short and will be taken up.
    pub interrupted: bool,
    /// Why it cannot be cleaned, if it cannot.
    pub failure: Option<String>,
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its turn has not come.
    Waiting,
    /// Under way.
    Running,
    /// Done.
    Done,
    /// It could not be done.
    Failed,
}

/// What was done to one partition; for a dry run, what would have been done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Its topic.
    pub topic: String,
    /// Its index.
    pub partition: i32,
    /// How far it is.
    pub state: State,
    /// Why it failed.
    pub error: Option<String>,
    /// Bytes read, and bytes that will have been.
    pub read_bytes: u64,
    /// See `read_bytes`.
    pub expected_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes of the batches looked at, before and after.
    pub before_bytes: u64,
    /// See `before_bytes`.
    pub after_bytes: u64,
    /// Records looked at, and how many of them went.
    pub records: u64,
    /// See `records`.
    pub records_dropped: u64,
    /// Keys among the new records.
    pub keys: u64,
}

impl Outcome {
    /// Of a partition whose turn has not come.
    pub fn waiting(topic: &str, partition: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            state: State::Waiting,
            error: None,
            read_bytes: 0,
            expected_bytes: 0,
            written_bytes: 0,
            before_bytes: 0,
            after_bytes: 0,
            records: 0,
            records_dropped: 0,
            keys: 0,
        }
    }

    /// With what a pass reports, on top of what earlier passes of the same cleaning did.
    pub fn with(&self, report: &CleanReport) -> Self {
        Self {
            state: State::Running,
            read_bytes: self.read_bytes + report.read_bytes,
            expected_bytes: self.read_bytes + report.expected_bytes.max(report.read_bytes),
            written_bytes: self.written_bytes + report.written_bytes,
            before_bytes: self.before_bytes + report.before_bytes,
            after_bytes: self.after_bytes + report.after_bytes,
            records: self.records + report.records,
            records_dropped: self.records_dropped + report.records_dropped,
            keys: self.keys + report.keys,
            ..self.clone()
        }
    }
}

/// A cleaning that was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its number.
    pub job: u64,
    /// Nothing is changed.
    pub dry_run: bool,
    /// How far it is.
    pub state: State,
    /// By partition.
    pub partitions: Vec<Outcome>,
}

/// A compacted partition and its name.
#[derive(Clone, Debug)]
pub struct Target {
    /// The topic.
    pub topic: String,
    /// The index.
    pub partition: i32,
    /// The log.
    pub log: std::sync::Arc<PartitionLog>,
}

/// Why there is nothing to clean.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// No topic of that name.
    #[error("there is no topic '{0}'")]
    NoTopic(String),
    /// A topic that is not compacted.
    #[error("topic '{0}' is not compacted: set its cleanup.policy to compact, or to compact,delete")]
    NotCompacted(String),
    /// None is.
    #[error(
        "no topic is compacted: set cleanup.policy to compact where only the latest value of a key matters"
    )]
    None,
}

/// The partitions of a topic, or of every compacted one; none if there is none.
pub fn targets(engine: &Engine, topic: Option<&str>) -> Result<Vec<Target>, NoTarget> {
    let topics = engine.topics();
    if let Some(name) = topic {
        let topic = topics.get(name).ok_or_else(|| NoTarget::NoTopic(name.to_owned()))?;
        if !topic.partitions.iter().any(|partition| partition.log.config().cleanup_compact) {
            return Err(NoTarget::NotCompacted(name.to_owned()));
        }
    }
    let chosen = topics.iter().filter(|each| topic.is_none_or(|name| *each.name == *name));
    let found: Vec<Target> = chosen
        .flat_map(|topic| {
            let partitions = topic.partitions.iter().enumerate();
            let compacted = partitions.filter(|(_, partition)| partition.log.config().cleanup_compact);
            compacted.map(|(index, partition)| Target {
                topic: topic.name.to_string(),
                partition: index as i32,
                log: partition.log.clone(),
            })
        })
        .collect();
    Ok(found)
}

/// As [`targets`], and at least one.
pub fn some_targets(engine: &Engine, topic: Option<&str>) -> Result<Vec<Target>, NoTarget> {
    let found = targets(engine, topic)?;
    if found.is_empty() { Err(NoTarget::None) } else { Ok(found) }
}

/// What is to tell of a partition; `None` if it does not serve.
pub fn describe(target: &Target, now_ms: i64, failure: Option<String>) -> Option<PartitionStatus> {
    let cleanable = target.log.cleanable(now_ms)?;
    let cleaned = target.log.cleaned_to();
    Some(PartitionStatus {
        topic: target.topic.clone(),
        partition: target.partition,
        size_bytes: target.log.size_bytes(),
        clean_bytes: cleanable.clean_bytes,
        dirty_bytes: cleanable.dirty_bytes,
        dirty_ratio: cleanable.dirty_ratio(),
        first_dirty_offset: cleaned.first_dirty,
        cleanable_to_offset: cleanable.end,
        due: cleanable.is_due(&target.log.config()),
        cleaned_ms: cleaned.cleaned_ms,
        interrupted: cleaned.interrupted,
        failure,
    })
}
