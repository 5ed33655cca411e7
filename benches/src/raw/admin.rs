//! What a run needs of a broker around it: a topic, and its offsets.
//!
//! Owns topic creation and the wait for its partitions. Deletes a topic only when the command line says so.

use std::time::{Duration, Instant};

use chronik_protocol::codec::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest, MetadataRequest,
    create_topics_request::CreatableTopic,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    metadata_request::MetadataRequestTopic,
};

use super::Result;
use super::connection::Connection;

/// How long a created topic may take to get its leaders.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(60);

const CREATE_TOPICS_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 7;
const DELETE_TOPICS_VERSION: i16 = 5;

const TOPIC_ALREADY_EXISTS: i16 = 36;
/// Unknown topic or partition, leader not available, not leader or follower.
const NOT_YET: [i16; 3] = [3, 5, 6];

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
        (ready && !found.partitions.is_empty()).then_some(found.partitions.len() as u16)
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

/// The earliest or latest offset of partitions `0..partitions`. A broker that has just created a
/// topic may say for a moment that it does not lead it; that is waited for.
pub async fn offsets(bootstrap: &str, topic: &str, partitions: u16, end: End) -> Result<Vec<i64>> {
    let mut connection = Connection::open(bootstrap).await?;
    let request = list_offsets(topic, partitions, end);
    let deadline = Instant::now() + TOPIC_TIMEOUT;
    loop {
        let response = connection.call(&request, LIST_OFFSETS_VERSION).await?;
        let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        let mut offsets = vec![-1; usize::from(partitions)];
        let mut refused = None;
        for partition in answers {
            let slot = usize::try_from(partition.partition_index).ok();
            let slot = slot.and_then(|index| offsets.get_mut(index));
            *slot.ok_or("ListOffsets answered for a partition not asked for")? = partition.offset;
            refused = refused.or(Some(partition.error_code).filter(|&code| code != 0));
        }
        match refused {
            None if offsets.iter().all(|&offset| offset >= 0) => return Ok(offsets),
            None => return Err("ListOffsets left a partition out".into()),
            Some(code) if !NOT_YET.contains(&code) || Instant::now() > deadline => {
                return Err(format!("ListOffsets: error code {code}").into());
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn list_offsets(topic: &str, partitions: u16, end: End) -> ListOffsetsRequest {
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
    request
}

/// Deletes `topic`.
pub async fn delete_topic(bootstrap: &str, topic: &str) -> Result<()> {
    let mut request = DeleteTopicsRequest::default();
    request.topic_names = vec![topic.into()];
    request.timeout_ms = 30_000;
    let mut connection = Connection::open(bootstrap).await?;
    let response = connection.call(&request, DELETE_TOPICS_VERSION).await?;
    match response.responses.first().map(|deleted| deleted.error_code) {
        Some(0) => Ok(()),
        Some(code) => Err(format!("deleting {topic}: error code {code}").into()),
        None => Err("DeleteTopics answered for no topic".into()),
    }
}
