//! One client that pushes metrics: what it was asked for, and when it may come again (Kafka's `ClientMetricsInstance`
//! and `ClientMetricsManager`).

use super::otlp::Sample;
use super::subscription::{ClientFacts, INTERVAL_MS_DEFAULT, Subscription};
use super::{ACCEPTED_COMPRESSION, InstanceId, Push, TelemetryError};

/// A client is forgotten after three of its intervals without a word, or after this, whichever is more; ms.
const SILENCE_MS_MIN: i64 = 60_000;

/// What one client is to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Changes with the rest; a push names it.
    pub subscription_id: i32,
    /// How often.
    pub interval_ms: i32,
    /// Prefixes of names; the empty one is every metric, and no prefix is none.
    pub metrics: Vec<String>,
}

impl Assignment {
    /// Everything that any of the subscriptions asks for, as often as the most frequent of them.
    pub fn of<'a>(id: InstanceId, subscriptions: impl Iterator<Item = &'a Subscription>) -> Self {
        let mut interval_ms = None;
        let mut metrics: Vec<String> = Vec::new();
        for subscription in subscriptions {
            interval_ms = Some(interval_ms.unwrap_or(i32::MAX).min(subscription.interval_ms));
            metrics.extend(subscription.metrics.iter().cloned());
        }
        metrics.sort_unstable();
        metrics.dedup();
        if metrics.first().is_some_and(String::is_empty) {
            metrics.truncate(1);
        }
        let interval_ms = interval_ms.unwrap_or(INTERVAL_MS_DEFAULT);
        // FNV-1a, so that the same question has the same id after a restart.
        let mut hash: u32 = 0x811c_9dc5;
        let parts = metrics.iter().flat_map(|metric| metric.bytes().chain([0]));
        for byte in id.into_iter().chain(interval_ms.to_be_bytes()).chain(parts) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        Self { subscription_id: hash.cast_signed(), interval_ms, metrics }
    }

    /// Whether somebody asked for a metric of this name.
    pub fn wants(&self, name: &str) -> bool {
        self.metrics.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Instance {
    pub(super) facts: ClientFacts,
    /// Of the subscriptions that the assignment was made from.
    pub(super) version: u64,
    pub(super) assignment: Assignment,
    /// The newest values.
    pub(super) samples: Vec<Sample>,
    /// When it last came.
    pub(super) seen_ms: i64,
    /// What its last request was refused with.
    pub(super) last_error: Option<TelemetryError>,
    asked_ms: Option<i64>,
    pushed_ms: Option<i64>,
    terminating: bool,
}

impl Instance {
    pub(super) fn new(facts: ClientFacts, version: u64, assignment: Assignment) -> Self {
        Self {
            facts,
            version,
            assignment,
            samples: Vec::new(),
            seen_ms: 0,
            last_error: None,
            asked_ms: None,
            pushed_ms: None,
            terminating: false,
        }
    }

    pub(super) fn expired(&self, now_ms: i64) -> bool {
        let silence_ms = (3 * i64::from(self.assignment.interval_ms)).max(SILENCE_MS_MIN);
        now_ms - self.seen_ms > silence_ms
    }

    fn interval_passed(&self, since_ms: Option<i64>, now_ms: i64) -> bool {
        since_ms.is_none_or(|since_ms| now_ms - since_ms >= i64::from(self.assignment.interval_ms))
    }

    /// It asks what to push. Once an interval, unless it was sent to ask.
    pub(super) fn asked(&mut self, now_ms: i64) -> Result<(), TelemetryError> {
        let in_time = self.interval_passed(self.asked_ms.max(self.pushed_ms), now_ms);
        if !in_time && self.last_error != Some(TelemetryError::UnknownSubscription) {
            return Err(TelemetryError::Throttled);
        }
        self.asked_ms = Some(now_ms);
        self.last_error = None;
        Ok(())
    }

    /// It pushes: once after each question, then once an interval, and a last time whenever it ends.
    pub(super) fn pushes(&mut self, push: &Push, now_ms: i64) -> Result<(), TelemetryError> {
        let admitted = self.check_push(push, now_ms);
        self.last_error = admitted.err();
        admitted
    }

    fn check_push(&mut self, push: &Push, now_ms: i64) -> Result<(), TelemetryError> {
        if self.terminating {
            return Err(TelemetryError::Terminated);
        }
        let in_time = self.asked_ms > self.pushed_ms || self.interval_passed(self.pushed_ms, now_ms);
        if !in_time && !push.terminating {
            return Err(TelemetryError::Throttled);
        }
        self.pushed_ms = Some(now_ms);
        self.terminating = push.terminating;
        if push.subscription_id != self.assignment.subscription_id {
            return Err(TelemetryError::UnknownSubscription);
        }
        let known = |codec: &i8| {
            *codec == 0 || ACCEPTED_COMPRESSION.iter().any(|one| i16::from(one.id()) == i16::from(*codec))
        };
        if !known(&push.compression) {
            return Err(TelemetryError::UnsupportedCompression);
        }
        if push.bytes > push.max_bytes {
            return Err(TelemetryError::TooLarge);
        }
        Ok(())
    }
}
