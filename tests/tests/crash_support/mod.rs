//! What the crash suites share: how long to go on, leader epochs, and the verdict.
#![allow(dead_code, reason = "each suite uses a part")]

use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::metadata_request::MetadataRequestTopic;
use chronik_protocol::message;
use chronik_tests::ledger::Anomaly;
use chronik_tests::wire::Client;

/// Anomalies shown of a list that may have thousands.
const SHOWN_MAX: usize = 20;

/// How long a suite runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Short,
    Full,
    Soak(Duration),
}

impl Form {
    pub fn of_environment() -> Self {
        match std::env::var("TEST_FORM").as_deref() {
            Ok("full") => Form::Full,
            Ok("soak") => {
                let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
                Form::Soak(Duration::from_secs(60 * minutes.unwrap_or(60)))
            }
            _ => Form::Short,
        }
    }

    pub fn goes_on(self, rounds: usize, short: usize, full: usize, started: Instant) -> bool {
        match self {
            Form::Short => rounds < short,
            Form::Full => rounds < full,
            Form::Soak(length) => started.elapsed() < length,
        }
    }
}

/// The leader epoch of partition 0 of each.
pub fn leader_epochs(client: &mut Client, topics: &[&str]) -> Vec<i32> {
    let asked =
        topics.iter().map(|name| message!(MetadataRequestTopic { name: Some((*name).into()) })).collect();
    let response = client.call(&message!(messages::MetadataRequest { topics: Some(asked) }), 9);
    let epoch = |name: &&str| {
        let topic = response.topics.iter().find(|topic| topic.name.as_deref() == Some(*name));
        topic.and_then(|topic| topic.partitions.first()).expect("the topic is there").leader_epoch
    };
    topics.iter().map(epoch).collect()
}

/// Fails with what was found.
#[track_caller]
pub fn verdict(anomalies: &[Anomaly], complaints: &[String]) {
    assert!(
        anomalies.is_empty() && complaints.is_empty(),
        "{} anomalies, {} complaints: {:#?} {complaints:#?}",
        anomalies.len(),
        complaints.len(),
        &anomalies[..anomalies.len().min(SHOWN_MAX)],
    );
}
