//! What a run needs of a broker before it starts: a topic, its end offsets, a sign of life.
//!
//! Owns topic creation and the wait for its partitions. It never deletes and never alters.

use std::time::{Duration, Instant};

use chronik_protocol::codec::messages::{
    ApiVersionsRequest, CreateTopicsRequest, ListOffsetsRequest, MetadataRequest,
    create_topics_request::CreatableTopic,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    metadata_request::MetadataRequestTopic,
};

use super::Result;
use super::connection::{CLIENT_ID, Connection};

/// How long a created topic may take to get its leaders.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(60);

const CREATE_TOPICS_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 7;
const API_VERSIONS_VERSION: i16 = 3;

const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Creates `topic` with `partitions` partitions unless it exists, waits until each has a leader,
/// and returns how many there are.
pub async fn ensure_topic(bootstrap: &str, topic: &str, partitions: u16) -> Result<u16> {
    let mut connection = Connection::open(bootstrap).await?;
    let deadline = Instant::now() + TOPIC_TIMEOUT;
    if leaders(&mut connection, topic).await?.is_none() {
        create(&mut connection, topic, partitions).await?;
    }
    loop {
        if let Some(found) = leaders(&mut connection, topic).await? {
            if found < partitions {
                return Err(format!("{topic} exists with {found} partitions, not {partitions}").into());
            }
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("{topic} has no leader on every partition").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn create(connection: &mut Connection, topic: &str, partitions: u16) -> Result<()> {
    let mut wanted = CreatableTopic::default();
    wanted.name = topic.into();
    wanted.num_partitions = i32::from(partitions);
    wanted.replication_factor = 1;
    let mut request = CreateTopicsRequest::default();
    request.topics = vec![wanted];
    request.timeout_ms = 30_000;
    let response = connection.call(&request, CREATE_TOPICS_VERSION).await?;
    match response.topics.first() {
        Some(made) if made.error_code == 0 || made.error_code == TOPIC_ALREADY_EXISTS => Ok(()),
        Some(refused) => Err(format!("creating {topic}: error code {}", refused.error_code).into()),
        None => Err("CreateTopics answered for no topic".into()),
    }
}

/// How many partitions the topic has, if it exists and all have a leader.
async fn leaders(connection: &mut Connection, topic: &str) -> Result<Option<u16>> {
    let mut wanted = MetadataRequestTopic::default();
    wanted.name = Some(topic.into());
    let mut request = MetadataRequest::default();
    request.topics = Some(vec![wanted]);
    request.allow_auto_topic_creation = false;
    let response = connection.call(&request, METADATA_VERSION).await?;
    let found = response.topics.first().filter(|found| found.error_code == 0);
    Ok(found.and_then(|found| {
        let ready = found.partitions.iter().all(|p| p.error_code == 0 && p.leader_id >= 0);
        (ready && !found.partitions.is_empty()).then(|| found.partitions.len() as u16)
    }))
}

/// Which end of a partition to ask for.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The first offset.
    Earliest = -2,
    /// The offset after the last.
    Latest = -1,
}

/// The earliest or latest offset of partitions `0..partitions`.
pub async fn offsets(bootstrap: &str, topic: &str, partitions: u16, end: End) -> Result<Vec<i64>> {
    let mut connection = Connection::open(bootstrap).await?;
    let mut wanted = ListOffsetsTopic::default();
    wanted.name = topic.into();
    wanted.partitions = (0..partitions)
        .map(|index| {
            let mut partition = ListOffsetsPartition::default();
            partition.partition_index = i32::from(index);
            partition.timestamp = end as i64;
            partition
        })
        .collect();
    let mut request = ListOffsetsRequest::default();
    request.replica_id = -1;
    request.topics = vec![wanted];
    let response = connection.call(&request, LIST_OFFSETS_VERSION).await?;
    let mut offsets = vec![-1; usize::from(partitions)];
    for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
        if partition.error_code != 0 {
            return Err(format!("ListOffsets: error code {}", partition.error_code).into());
        }
        let slot = usize::try_from(partition.partition_index).ok();
        let slot = slot.and_then(|index| offsets.get_mut(index));
        *slot.ok_or("ListOffsets answered for a partition not asked for")? = partition.offset;
    }
    match offsets.iter().position(|&offset| offset < 0) {
        Some(index) => Err(format!("ListOffsets said nothing about partition {index}").into()),
        None => Ok(offsets),
    }
}

/// Waits until the broker answers ApiVersions without an error, and returns how long that took.
pub async fn wait_ready(bootstrap: &str, timeout: Duration) -> Result<Duration> {
    let start = Instant::now();
    loop {
        if let Ok(Ok(())) = tokio::time::timeout(timeout, api_versions(bootstrap)).await {
            return Ok(start.elapsed());
        }
        if start.elapsed() > timeout {
            return Err(format!("{bootstrap} did not answer within {timeout:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn api_versions(bootstrap: &str) -> Result<()> {
    let mut request = ApiVersionsRequest::default();
    request.client_software_name = CLIENT_ID.into();
    request.client_software_version = env!("CARGO_PKG_VERSION").into();
    let response = Connection::open(bootstrap).await?.call(&request, API_VERSIONS_VERSION).await?;
    match response.error_code {
        0 => Ok(()),
        code => Err(format!("ApiVersions: error code {code}").into()),
    }
}
