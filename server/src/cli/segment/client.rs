//! Owns a small Kafka client: who leads what, offsets, batches in both directions. Speaks what Apache Kafka from 2.4 on and
//! this broker understand, by the topic's name; a partition whose leader has moved is looked for again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::split_batches;
use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::create_topics_request::CreatableTopic;
use chronik_protocol::codec::messages::fetch_request::{FetchPartition, FetchTopic};
use chronik_protocol::codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::codec::messages::metadata_request::MetadataRequestTopic;
use chronik_protocol::codec::messages::metadata_response::MetadataResponseTopic;
use chronik_protocol::codec::messages::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::message;
use uuid::Uuid;

use super::Failure;
use super::codes;
use super::connection::Connection;
use super::source::{EARLIEST, LATEST, Read, Topic};

/// Versions that every broker since 2.4 serves.
const LIST_OFFSETS_VERSION: i16 = 5;
const FETCH_VERSION: i16 = 11;
const PRODUCE_VERSION: i16 = 8;
const CREATE_TOPICS_VERSION: i16 = 4;
const METADATA_VERSION: i16 = 8;
/// The first that tells topic ids to those who ask by name (KIP-516), and its API key.
const METADATA_VERSION_WITH_IDS: i16 = 12;
const METADATA_KEY: i16 = 3;

/// Bytes that a fetch asks for.
const FETCH_BYTES: i32 = 8 << 20;
const FETCH_WAIT_MS: i32 = 500;
/// How long a partition may have no leader, or nothing to give although it should.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
/// Produce requests that are on their way. A broker takes five of an idempotent producer, and more than that of others.
pub const IN_FLIGHT_MAX: usize = 5;

/// See the module.
pub struct Client {
    bootstrap: String,
    topic: String,
    /// By node id; the one that was named is -1.
    connections: BTreeMap<i32, Connection>,
    metadata_version: i16,
    brokers: BTreeMap<i32, String>,
    cluster_id: String,
    topic_id: Uuid,
    leaders: BTreeMap<i32, i32>,
    /// Produce requests that were not answered: the node, and what is known already.
    in_flight: VecDeque<(i32, Written)>,
}

/// The connection to the broker that was named.
const BOOTSTRAP: i32 = -1;

/// What became of a produce request.
pub struct Written {
    /// Where.
    pub partition: i32,
    /// The first offset it got.
    pub first_offset: i64,
    /// Records in it.
    pub records: i64,
    /// What its sender knows it by.
    pub mark: SentMark,
}

/// File, by its place, and offset there of the last record of a batch.
pub type SentMark = (usize, i64);

impl Client {
    /// Connects to `bootstrap` for the sake of `topic`.
    pub async fn connect(bootstrap: &str, topic: &str) -> Result<Self, Failure> {
        let mut connection = Connection::open(bootstrap).await?;
        let answer = connection.call(&messages::ApiVersionsRequest::default(), 0).await?;
        let newest =
            answer.api_keys.iter().find(|api| api.api_key == METADATA_KEY).map_or(0, |api| api.max_version);
        let metadata_version =
            if newest >= METADATA_VERSION_WITH_IDS { METADATA_VERSION_WITH_IDS } else { METADATA_VERSION };
        Ok(Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            connections: BTreeMap::from([(BOOTSTRAP, connection)]),
            metadata_version,
            brokers: BTreeMap::new(),
            cluster_id: String::new(),
            topic_id: Uuid::nil(),
            leaders: BTreeMap::new(),
            in_flight: VecDeque::new(),
        })
    }

    /// The topic as the cluster knows it; `None` when it does not.
    pub async fn topic(&mut self) -> Result<Option<Topic>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let topic = self.metadata().await?;
            let code = topic.error_code;
            // A topic that was just created has partitions without a leader for a moment.
            let partly = topic.partitions.iter().find(|partition| partition.leader_id < 0);
            match (code, partly) {
                (3, _) => return Ok(None),
                (0, None) => {
                    return Ok(Some(Topic {
                        name: self.topic.clone(),
                        id: self.topic_id,
                        cluster_id: self.cluster_id.clone(),
                        partitions: self.leaders.keys().copied().collect(),
                    }));
                }
                (code, None) if !codes::is_passing(code) => {
                    return Err(format!("topic {}: {}", self.topic, codes::told(code)));
                }
                _ if Instant::now() > deadline => {
                    let what = partly.map_or(codes::told(code), |partition| {
                        format!(
                            "partition {} has no leader: see to it that its brokers run",
                            partition.partition_index
                        )
                    });
                    return Err(format!("topic {}: {what}", self.topic));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn metadata(&mut self) -> Result<MetadataResponseTopic, Failure> {
        let topic = message!(MetadataRequestTopic { name: Some(self.topic.as_str().into()) });
        let request = message!(messages::MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
        });
        let version = self.metadata_version;
        let answer = self.connection(BOOTSTRAP).await?.call(&request, version).await?;
        let address = |host: &str, port: i32| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        self.brokers = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id, address(&broker.host, broker.port)))
            .collect();
        self.cluster_id = answer.cluster_id.map(|id| id.to_string()).unwrap_or_default();
        let topic = answer.topics.into_iter().next().ok_or("the broker did not answer what it was asked")?;
        self.topic_id = Uuid::from_bytes(topic.topic_id.to_bytes());
        let leaders =
            topic.partitions.iter().map(|partition| (partition.partition_index, partition.leader_id));
        self.leaders = leaders.collect();
        Ok(topic)
    }

    async fn connection(&mut self, node: i32) -> Result<&mut Connection, Failure> {
        if !self.connections.contains_key(&node) {
            let address = match node {
                BOOTSTRAP => &self.bootstrap,
                node => self
                    .brokers
                    .get(&node)
                    .ok_or_else(|| format!("broker {node} is not known to the cluster"))?,
            };
            let connection = Connection::open(address).await.map_err(|failure| match node {
                BOOTSTRAP => failure,
                _ => format!("{failure} (the address is the one that broker {node} advertises)"),
            })?;
            self.connections.insert(node, connection);
        }
        self.connections.get_mut(&node).ok_or_else(|| "the connection is gone".to_owned())
    }

    fn leader(&self, partition: i32) -> Result<i32, Failure> {
        self.leaders
            .get(&partition)
            .copied()
            .ok_or_else(|| format!("topic {} has no partition {partition}", self.topic))
    }

    /// After `code` for `partition`: Ok when it makes sense to ask again.
    async fn again(&mut self, partition: i32, code: i16, deadline: Instant) -> Result<(), Failure> {
        if !codes::is_passing(code) || Instant::now() > deadline {
            return Err(format!("{}-{partition}: {}", self.topic, codes::told(code)));
        }
        tokio::time::sleep(PAUSE).await;
        self.metadata().await.map(drop)
    }

    /// The first offset whose record is at `timestamp` or later, or one of [`EARLIEST`] and [`LATEST`]; of committed data,
    /// the last stable offset. `None` when there is none.
    pub async fn offset_at(
        &mut self,
        partition: i32,
        timestamp: i64,
        committed: bool,
    ) -> Result<Option<i64>, Failure> {
        let asked = message!(ListOffsetsPartition {
            partition_index: partition,
            current_leader_epoch: -1,
            timestamp: timestamp,
        });
        let topic = message!(ListOffsetsTopic { name: self.topic.as_str().into(), partitions: vec![asked] });
        let request = message!(messages::ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(committed),
            topics: vec![topic],
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader(partition)?;
            let answer = self.connection(leader).await?.call(&request, LIST_OFFSETS_VERSION).await?;
            let found = answer.topics.first().and_then(|topic| topic.partitions.first());
            let found = found.ok_or("the broker did not answer what it was asked")?;
            match found.error_code {
                0 => return Ok(Some(found.offset).filter(|offset| *offset >= 0)),
                code => self.again(partition, code, deadline).await?,
            }
        }
    }

    /// First offset there is, and first that may not be seen.
    pub async fn bounds(&mut self, partition: i32, committed: bool) -> Result<(i64, i64), Failure> {
        let start = self.offset_at(partition, EARLIEST, committed).await?.unwrap_or(0);
        let next = self.offset_at(partition, LATEST, committed).await?.unwrap_or(start);
        Ok((start, next.max(start)))
    }

    /// Whole batches from the one that contains `offset`.
    pub async fn read(&mut self, partition: i32, offset: i64, committed: bool) -> Result<Read, Failure> {
        let asked = message!(FetchPartition {
            partition: partition,
            current_leader_epoch: -1,
            fetch_offset: offset,
            log_start_offset: -1,
            partition_max_bytes: FETCH_BYTES,
        });
        let topic = message!(FetchTopic { topic: self.topic.as_str().into(), partitions: vec![asked] });
        let request = message!(messages::FetchRequest {
            replica_id: -1,
            max_wait_ms: FETCH_WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            isolation_level: i8::from(committed),
            session_id: 0,
            session_epoch: -1,
            topics: vec![topic],
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader(partition)?;
            let answer = self.connection(leader).await?.call(&request, FETCH_VERSION).await?;
            let code = answer.error_code;
            let found =
                answer.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
            let found = match found {
                None if code != 0 => {
                    return Err(format!("{}-{partition}: {}", self.topic, codes::told(code)));
                }
                None => return Err("the broker did not answer what it was asked".to_owned()),
                Some(found) => found,
            };
            if found.error_code != 0 {
                self.again(partition, found.error_code, deadline).await?;
                continue;
            }
            let records = found.records.unwrap_or_default();
            let batches: Vec<Bytes> = split_batches(records.clone()).collect();
            if batches.is_empty() && !records.is_empty() {
                return Err(format!(
                    "{}-{partition}: at offset {offset} are records of a format before Kafka 0.11, which cannot be read: begin \
                     behind them with --from-offset",
                    self.topic
                ));
            }
            if batches.is_empty() {
                if Instant::now() > deadline {
                    return Err(format!(
                        "{}-{partition}: the broker has nothing to give at offset {offset}, where it should; try again",
                        self.topic
                    ));
                }
                continue;
            }
            let aborted = found.aborted_transactions.unwrap_or_default();
            let aborted = aborted.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect();
            return Ok(Read { batches, aborted });
        }
    }

    /// Creates the topic, with the cluster's own replication factor.
    pub async fn create(&mut self, partitions: i32) -> Result<(), Failure> {
        let topic = message!(CreatableTopic {
            name: self.topic.as_str().into(),
            num_partitions: partitions,
            replication_factor: -1,
        });
        let request =
            message!(messages::CreateTopicsRequest { topics: vec![topic], timeout_ms: PRODUCE_TIMEOUT_MS });
        let answer = self.connection(BOOTSTRAP).await?.call(&request, CREATE_TOPICS_VERSION).await?;
        let created = answer.topics.first().ok_or("the broker did not answer what it was asked")?;
        match (created.error_code, &created.error_message) {
            (0, _) => Ok(()),
            (code, None) => Err(format!("topic {} was not created: {}", self.topic, codes::told(code))),
            (code, Some(message)) => {
                Err(format!("topic {} was not created: {} ({message})", self.topic, codes::told(code)))
            }
        }
    }

    /// Sends a batch of `records`, with acks=all. At most [`IN_FLIGHT_MAX`] are on their way: for more, the oldest is waited
    /// for, and what became of it is returned.
    pub async fn send(
        &mut self,
        partition: i32,
        batch: Bytes,
        records: i64,
        mark: SentMark,
    ) -> Result<Option<Written>, Failure> {
        let oldest = match self.in_flight.len() {
            IN_FLIGHT_MAX.. => self.acknowledged().await?,
            _ => None,
        };
        let data = message!(PartitionProduceData { index: partition, records: Some(batch) });
        let topic =
            message!(TopicProduceData { name: self.topic.as_str().into(), partition_data: vec![data] });
        let request = message!(messages::ProduceRequest {
            acks: -1,
            timeout_ms: PRODUCE_TIMEOUT_MS,
            topic_data: vec![topic],
        });
        let leader = self.leader(partition)?;
        self.connection(leader).await?.send(&request, PRODUCE_VERSION).await?;
        self.in_flight.push_back((leader, Written { partition, first_offset: -1, records, mark }));
        Ok(oldest)
    }

    /// What became of the oldest batch that is on its way; `None` when there is none.
    pub async fn acknowledged(&mut self) -> Result<Option<Written>, Failure> {
        let Some((node, written)) = self.in_flight.pop_front() else { return Ok(None) };
        let partition = written.partition;
        let answer =
            self.connection(node).await?.receive::<messages::ProduceRequest>(PRODUCE_VERSION).await?;
        let told = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let told = told.ok_or("the broker did not answer what it was asked")?;
        if told.error_code != 0 {
            let message =
                told.error_message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
            return Err(format!("{}-{partition}: {}{message}", self.topic, codes::told(told.error_code)));
        }
        Ok(Some(Written { first_offset: told.base_offset, ..written }))
    }
}
