//! A raw connection to a broker: whole requests by the codec, or any bytes at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, BatchView};
use chronik_protocol::codec::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use chronik_protocol::codec::messages::fetch_request::{FetchPartition, FetchTopic};
use chronik_protocol::codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::codec::messages::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::codec::{self, KafkaRequest, RequestResponsePair, messages};
use chronik_protocol::message;

/// No answer takes longer; a test that hangs fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the connection calls itself.
const CLIENT_ID: &str = "wire-test";

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the broker accepts")
    }

    /// Connects, or tells why not.
    ///
    /// # Errors
    /// The system's.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// The socket, for what this type does not do.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are; false when the broker has closed.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends bytes behind a length prefix; false when the broker has closed.
    pub fn send_frame(&mut self, body: &[u8]) -> bool {
        let length = i32::try_from(body.len()).expect("a test's frame is small");
        self.send_bytes(&[&length.to_be_bytes(), body].concat())
    }

    /// Sends a request and returns its correlation id.
    ///
    /// # Panics
    /// When it cannot be encoded or sent.
    pub fn send<R: KafkaRequest>(&mut self, request: &R, version: i16) -> i32 {
        self.correlation_id += 1;
        let frame =
            codec::encode_request(self.correlation_id, CLIENT_ID, request, version).expect("a good request");
        assert!(self.send_bytes(&frame), "the broker closed the connection");
        self.correlation_id
    }

    /// The next frame without its length prefix.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` when the broker has closed.
    pub fn read_frame(&mut self) -> std::io::Result<Bytes> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let length = usize::try_from(i32::from_be_bytes(prefix)).map_err(|_| ErrorKind::InvalidData)?;
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// The next response, which must be to `R`, with its correlation id.
    ///
    /// # Panics
    /// When there is none, or it is not what the schema says.
    pub fn receive<R: RequestResponsePair>(&mut self, version: i16) -> (i32, R::Response) {
        let frame = self.read_frame().expect("the broker answers");
        codec::decode_response::<R>(frame, version).expect("the answer follows the schema")
    }

    /// Sends a request and returns its response.
    ///
    /// # Panics
    /// As [`send`](Self::send) and [`receive`](Self::receive), and when another request is answered.
    pub fn call<R: RequestResponsePair>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version);
        let (answered, response) = self.receive::<R>(version);
        assert_eq!(answered, sent, "answers come in the order of requests");
        response
    }

    /// Waits until the broker closes; false when it has not within `timeout`. Bytes that come are thrown away.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut scratch = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).expect("not zero");
            match self.stream.read(&mut scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return error.kind() != ErrorKind::Interrupted,
            }
        }
    }

    /// Whether the broker answers a small request on this connection.
    pub fn answers(&mut self) -> bool {
        self.correlation_id += 1;
        let request = messages::ApiVersionsRequest::default();
        let frame =
            codec::encode_request(self.correlation_id, CLIENT_ID, &request, 0).expect("a good request");
        if !self.send_bytes(&frame) {
            return false;
        }
        let Ok(frame) = self.read_frame() else { return false };
        let answer = codec::decode_response::<messages::ApiVersionsRequest>(frame, 0);
        answer.is_ok_and(|(answered, response)| answered == self.correlation_id && response.error_code == 0)
    }

    /// Creates a topic.
    ///
    /// # Panics
    /// When that fails.
    pub fn create_topic(&mut self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// As [`Self::create_topic`], with configs of its own.
    ///
    /// # Panics
    /// When it is refused.
    pub fn create_topic_with(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| {
            message!(CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) })
        });
        let topic = message!(CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
        });
        let request = message!(messages::CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000 });
        let response = self.call(&request, 4);
        let error = response.topics.first().map(|topic| topic.error_code);
        assert_eq!(error, Some(0), "{name}");
    }

    /// Produces one batch to partition 0 and returns its base offset.
    ///
    /// # Panics
    /// When it is refused.
    pub fn produce(&mut self, topic: &str, values: &[&[u8]]) -> i64 {
        let response = self.call(&produce_request(topic, 0, -1, batch(values)), 8);
        let partition = response.responses.first().and_then(|topic| topic.partition_responses.first());
        let partition = partition.expect("one partition was asked for");
        assert_eq!(partition.error_code, 0, "{:?}", partition.error_message);
        partition.base_offset
    }

    /// Fetches partition 0 from `offset` without waiting: error code, high watermark, records.
    ///
    /// # Panics
    /// When the answer is not about that partition.
    pub fn fetch(&mut self, topic: &str, offset: i64) -> (i16, i64, Bytes) {
        let response = self.call(&fetch_request(topic, 0, offset), 11);
        let partition =
            response.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let partition = partition.expect("one partition was asked for");
        (partition.error_code, partition.high_watermark, partition.records.unwrap_or_default())
    }

    /// ListOffsets of one partition: error code, offset and timestamp.
    ///
    /// # Panics
    /// When the answer is not about that partition.
    pub fn offset_at(&mut self, topic: &str, partition: i32, timestamp: i64) -> (i16, i64, i64) {
        let partition = message!(ListOffsetsPartition {
            partition_index: partition,
            current_leader_epoch: -1,
            timestamp: timestamp,
        });
        let topic = message!(ListOffsetsTopic { name: topic.into(), partitions: vec![partition] });
        let request =
            message!(messages::ListOffsetsRequest { replica_id: -1, topics: vec![topic], timeout_ms: 5000 });
        let answer = self.call(&request, 11);
        let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.expect("one partition was asked for");
        (partition.error_code, partition.offset, partition.timestamp)
    }
}

/// One uncompressed batch without keys, stamped 1.
pub fn batch(values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder = builder.record(1, None, Some(value));
    }
    builder.build().expect("a small batch")
}

/// A record that was read: offset, key, value.
pub type Found = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// The records of a batch that a broker gave.
///
/// # Panics
/// When it is not a sound batch.
pub fn records_of(batch: &[u8]) -> Vec<Found> {
    let view = BatchView::new(batch).expect("a stored batch");
    view.verify_crc().expect("its CRC holds");
    let mut records = view.records(1 << 24).expect("its codec is known");
    let mut found = Vec::new();
    while let Some(record) = records.next_record().expect("a record") {
        let offset = view.header().base_offset + i64::from(record.offset_delta);
        found.push((offset, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec)));
    }
    found
}

/// A Produce of one batch to one partition, by name.
pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> messages::ProduceRequest {
    let data = message!(PartitionProduceData { index: partition, records: Some(records) });
    let topic = message!(TopicProduceData { name: topic.into(), partition_data: vec![data] });
    message!(messages::ProduceRequest { acks: acks, timeout_ms: 30_000, topic_data: vec![topic] })
}

/// A Fetch of one partition, by name and without a session, that does not wait.
pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> messages::FetchRequest {
    let partition = message!(FetchPartition {
        partition: partition,
        fetch_offset: offset,
        current_leader_epoch: -1,
        partition_max_bytes: 1 << 20,
    });
    let topic = message!(FetchTopic { topic: topic.into(), partitions: vec![partition] });
    message!(messages::FetchRequest {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 50 << 20,
        topics: vec![topic]
    })
}
