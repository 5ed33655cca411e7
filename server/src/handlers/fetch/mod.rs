//! Fetch (KIP-74, KIP-227, KIP-320, KIP-516; Kafka's `KafkaApis.handleFetchRequest` and `DelayedFetch`).
//!
//! One request: take it into its session, find the partitions, read them within the byte budget, wait while there is
//! too little, and answer with the log's own bytes. `session` remembers, `plan` shares out, `read` reads and waits,
//! `response` encodes; this file leads through them.
//!
//! Readers see what is durable and nothing else; readers of committed data, what is before the first open transaction,
//! with word of the aborted ones among it, whose records they skip themselves.

mod batches;
mod memory;
mod plan;
mod read;
mod remote;
mod response;
mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_engine::log::{Isolation, PartitionLog};
use chronik_engine::topic::TopicMap;
use chronik_protocol::codec::{self, messages};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::lookup::{NO_EPOCH, check_leader_epoch};
use crate::error_code::ErrorCode;
use crate::internal_topics;
use crate::net::{Hold, Reply};
use crate::request::{ReplyFuture, RequestContext, RequestError};
pub use memory::FetchMemory;
use read::{Fetched, Limits, Place, Remote, Target};
use remote::RemoteReads;
use response::{Endpoint, FetchAnswer, PartitionAnswer, TELLS_LEADER};
pub use session::FetchSessions;
use session::{TopicRef, Wanted};

/// `READ_COMMITTED` on the wire.
const READ_COMMITTED: i8 = 1;

/// First version that may carry zstd (KIP-110).
const FIRST_ZSTD_VERSION: i16 = 10;

/// See [`crate::dispatch::Api::start`].
pub fn start(ctx: RequestContext, body: Bytes, hold: Hold) -> ReplyFuture {
    Box::pin(handle(ctx, body, hold))
}

async fn handle(mut ctx: RequestContext, body: Bytes, hold: Hold) -> Result<Reply, RequestError> {
    let version = ctx.api_version;
    let request =
        codec::decode_body::<messages::FetchRequest>(body, version).map_err(RequestError::Decode)?;
    // A slice of the frame, which is not kept while the request waits.
    ctx.client_id = None;
    let (answer, held) = fetch(&ctx, request, hold).await;
    let metrics = &ctx.broker.metrics;
    metrics.error(answer.error);
    for partition in &answer.partitions {
        metrics.error(partition.error);
        metrics.bytes_fetched.increment(partition.records_bytes as u64);
    }
    metrics.fetch_latency.record(ctx.received.elapsed().as_secs_f64());
    let reply = Reply::chunks(answer.encode(ctx.correlation_id, version));
    Ok(match held {
        Some(held) => reply.holding(held),
        None => reply,
    })
}

/// The answer, and the memory that it holds until it is sent.
async fn fetch(
    ctx: &RequestContext,
    request: messages::FetchRequest,
    hold: Hold,
) -> (FetchAnswer, Option<OwnedSemaphorePermit>) {
    let broker = &ctx.broker;
    let topics = broker.engine.topics();
    let begun = broker.fetch_sessions.begin(&request, ctx.api_version, &topics, broker.clock.mono_ms());
    let (context, mut wanted) = match begun {
        Ok(begun) => begun,
        Err(error) => return (FetchAnswer::refused(error), None),
    };
    let targets: Vec<Target> = wanted.iter_mut().map(|wanted| target(&topics, wanted)).collect();
    drop(topics);
    // A peer that is gone without a word is not waited for for ever.
    let max_wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let max_wait = Duration::from_millis(max_wait.min(broker.config.network.connections_max_idle_ms));
    let isolation =
        if request.isolation_level == READ_COMMITTED { Isolation::Committed } else { Isolation::Uncommitted };
    let max_bytes = request.max_bytes.min(broker.config.fetch.fetch_max_bytes);
    let limits = Limits::new(max_bytes, request.min_bytes, max_wait, isolation);
    drop((request, hold));
    let remote_wait_ms = broker.dynamic.settings.current().tier.fetch_max_wait_ms;
    let remote = Remote {
        reads: RemoteReads::new(broker.tier.clone()),
        until: Instant::now() + Duration::from_millis(remote_wait_ms),
    };
    let Fetched { outcomes, held } =
        read::until_enough(&targets, limits, &broker.fetch_memory, remote, broker.stopping.clone()).await;
    let answers = wanted.iter().zip(outcomes).map(|(wanted, outcome)| {
        let mut answer = outcome.into_answer(wanted, isolation);
        if ctx.api_version < FIRST_ZSTD_VERSION && batches::has_zstd(&answer.records) {
            answer = PartitionAnswer::refused(
                wanted.topic.clone(),
                wanted.partition,
                ErrorCode::UnsupportedCompressionType,
            );
        }
        answer
    });
    let answers = answers.collect();
    let mut answer = broker.fetch_sessions.finish(context, &wanted, answers, broker.clock.mono_ms());
    if ctx.api_version >= TELLS_LEADER {
        tell_leader(ctx, &mut answer);
    }
    (answer, held)
}

/// Finds what is wanted, and refuses what is not there or not as the client believes.
fn target(topics: &TopicMap, wanted: &mut Wanted) -> Target {
    let place = find(topics, wanted).and_then(|place| {
        let current = match &place {
            // Asks the log for its epoch only if the client has an opinion.
            Place::Log(log) if wanted.position.current_leader_epoch != NO_EPOCH => log.leader_epoch(),
            Place::Log(_) | Place::Empty => 0,
            Place::Diverging { .. } | Place::Refused(_) => return Ok(place),
        };
        check_leader_epoch(current, wanted.position.current_leader_epoch)?;
        match place {
            Place::Log(log) => check_divergence(&log, wanted),
            place => Ok(place),
        }
    });
    Target { place: place.unwrap_or_else(Place::Refused), position: wanted.position }
}

fn find(topics: &TopicMap, wanted: &mut Wanted) -> Result<Place, ErrorCode> {
    let (topic, internal) = match &wanted.topic {
        TopicRef::Name(name) => (topics.get(name), internal_topics::find(name)),
        TopicRef::Id(id) => (topics.get_by_id(id), internal_topics::find_by_id(id)),
    };
    if let Some(topic) = topic {
        if matches!(wanted.topic, TopicRef::Id(_)) && wanted.known_name.is_none() {
            wanted.known_name = Some(topic.name.clone());
        }
        let log = topic.log(wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        return Ok(Place::Log(log.clone()));
    }
    if internal.is_some_and(|topic| topic.has_partition(wanted.partition)) {
        return Ok(Place::Empty);
    }
    Err(match (&wanted.topic, &wanted.known_name) {
        // The session knew the topic: it was deleted since, or made anew under its name.
        (TopicRef::Id(_), Some(name)) if topics.get(name).is_some() => ErrorCode::InconsistentTopicId,
        (TopicRef::Id(_), None) if internal.is_none() => ErrorCode::UnknownTopicId,
        _ => ErrorCode::UnknownTopicOrPartition,
    })
}

/// Compares the epoch of the client's last record with ours (KIP-595; Kafka's `Partition.readRecords`).
fn check_divergence(log: &Arc<PartitionLog>, wanted: &Wanted) -> Result<Place, ErrorCode> {
    let asked = wanted.position.last_fetched_epoch;
    if asked < 0 {
        return Ok(Place::Log(log.clone()));
    }
    let offsets = log.offsets();
    if wanted.position.offset < offsets.readable_from {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let current = log.leader_epoch();
    let (epoch, end_offset) = match log.end_offset_for_epoch(asked) {
        // The newest epoch goes on to the end of what is appended, durable or not.
        Some((epoch, _)) if epoch == current => (epoch, offsets.next_offset),
        Some(found) => found,
        None if asked < current => (asked, offsets.log_start_offset),
        None => return Err(ErrorCode::OffsetOutOfRange),
    };
    if epoch < asked || end_offset < wanted.position.offset {
        return Ok(Place::Diverging { log: log.clone(), epoch, end_offset });
    }
    Ok(Place::Log(log.clone()))
}

/// Tells a client with an old epoch who leads and where, so that it needs no Metadata (KIP-951).
fn tell_leader(ctx: &RequestContext, answer: &mut FetchAnswer) {
    let fenced = |partition: &&mut PartitionAnswer| partition.error == ErrorCode::FencedLeaderEpoch;
    let node_id = ctx.broker.config.node.node_id;
    let topics = ctx.broker.engine.topics();
    for partition in answer.partitions.iter_mut().filter(fenced) {
        let log = match &partition.topic {
            TopicRef::Name(name) => topics.get(name),
            TopicRef::Id(id) => topics.get_by_id(id),
        }
        .and_then(|topic| topic.log(partition.partition));
        partition.current_leader = Some((node_id, log.map_or(0, |log| log.leader_epoch())));
        if answer.endpoints.is_empty() {
            answer.endpoints.push(Endpoint {
                node_id,
                host: ctx.listener.advertised_host.clone(),
                port: i32::from(ctx.listener.advertised_port),
            });
        }
    }
}

#[cfg(test)]
mod tests;
