//! The Fetch response by hand: head bytes of our own around the log's [`Bytes`], which are not copied unless they are
//! so small that handing them over would cost more.
//!
//! The answer of every version is the one that the generated encoder would write; a property test compares them. What
//! is never said here: a snapshot id (KRaft's own log) and a preferred read replica (there is one replica).
//!
//! | per partition | from version |
//! |-|-|
//! | index i32, error i16, high watermark i64, last stable offset i64 | 4 |
//! | log start offset i64 | 5 |
//! | aborted transactions, nullable array | 4 |
//! | preferred read replica i32 | 11 |
//! | records, length and bytes | 4 |
//! | tagged: 0 diverging epoch, 1 current leader | 12 |

use bytes::{BufMut, Bytes, BytesMut};
use chronik_engine::log::AbortedTxn;
use uuid::Uuid;

use super::session::TopicRef;
use crate::error_code::ErrorCode;

/// "Not told" for an offset.
pub(super) const NO_OFFSET: i64 = -1;
const NO_REPLICA: i32 = -1;

/// First version with a session and an error of the whole response (KIP-227).
const TELLS_SESSION: i16 = 7;
const TELLS_LOG_START: i16 = 5;
const TELLS_REPLICA: i16 = 11;
const FLEXIBLE: i16 = 12;
/// First version that names topics by id (KIP-516).
pub(super) const NAMES_BY_ID: i16 = 13;
/// First version that tells where the leader is (KIP-951).
pub(super) const TELLS_LEADER: i16 = 16;

/// Bytes of a partition without its records, at most; for the head's first allocation.
const PARTITION_HEAD_BYTES: usize = 80;
const RESPONSE_HEAD_BYTES: usize = 64;

/// Pieces of records below this many bytes are copied: a slice of a vectored write costs about as much, and a write
/// takes a limited number of them.
const COPIED_BYTES_MAX: usize = 1024;

/// One partition's answer.
#[derive(Clone, Debug)]
pub(super) struct PartitionAnswer {
    /// As the request named it.
    pub(super) topic: TopicRef,
    pub(super) partition: i32,
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
    /// Epoch and end offset where the client's log leaves ours (KIP-595).
    pub(super) diverging: Option<(i32, i64)>,
    /// Leader and its epoch, for a client that had them wrong (KIP-951).
    pub(super) current_leader: Option<(i32, i32)>,
    /// Aborted transactions with records among these; none for readers of uncommitted data, who are told null.
    pub(super) aborted: Option<Vec<AbortedTxn>>,
    /// Whole batches; cut anywhere.
    pub(super) records: Vec<Bytes>,
    /// Bytes of all `records`.
    pub(super) records_bytes: usize,
}

impl PartitionAnswer {
    /// Nothing but an error.
    pub(super) fn refused(topic: TopicRef, partition: i32, error: ErrorCode) -> Self {
        Self {
            topic,
            partition,
            error,
            high_watermark: NO_OFFSET,
            last_stable_offset: NO_OFFSET,
            log_start_offset: NO_OFFSET,
            diverging: None,
            current_leader: None,
            aborted: Some(Vec::new()),
            records: Vec::new(),
            records_bytes: 0,
        }
    }
}

/// A broker's address for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) node_id: i32,
    pub(super) host: String,
    pub(super) port: i32,
}

/// A whole response.
#[derive(Clone, Debug)]
pub(super) struct FetchAnswer {
    pub(super) error: ErrorCode,
    pub(super) session_id: i32,
    pub(super) partitions: Vec<PartitionAnswer>,
    /// Where the leaders named in `partitions` are.
    pub(super) endpoints: Vec<Endpoint>,
}

impl FetchAnswer {
    /// Nothing but an error, for the whole request.
    pub(super) fn refused(error: ErrorCode) -> Self {
        Self { error, session_id: 0, partitions: Vec::new(), endpoints: Vec::new() }
    }

    /// The frame in pieces, length prefix included.
    pub(super) fn encode(self, correlation_id: i32, version: i16) -> Vec<Bytes> {
        let mut writer = Writer::new(version, self.partitions.len());
        writer.head.put_i32(0);
        writer.head.put_i32(correlation_id);
        writer.no_tags();
        writer.body(self);
        writer.finish()
    }
}

/// Head bytes in one buffer, and where records come between them.
struct Writer {
    version: i16,
    head: BytesMut,
    /// Positions in `head`, each with the records that go there.
    inserts: Vec<(usize, Bytes)>,
    inserted_bytes: usize,
}

impl Writer {
    fn new(version: i16, partitions: usize) -> Self {
        Self {
            version,
            head: BytesMut::with_capacity(RESPONSE_HEAD_BYTES + partitions * PARTITION_HEAD_BYTES),
            inserts: Vec::new(),
            inserted_bytes: 0,
        }
    }

    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn body(&mut self, answer: FetchAnswer) {
        self.head.put_i32(0); // No throttling.
        if self.version >= TELLS_SESSION {
            self.head.put_i16(answer.error.code());
            self.head.put_i32(answer.session_id);
        }
        let mut partitions = answer.partitions;
        let same_topic = |a: &PartitionAnswer, b: &PartitionAnswer| a.topic == b.topic;
        self.array_len(partitions.chunk_by(same_topic).count());
        let mut rest = partitions.as_mut_slice();
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|partition| same_topic(first, partition)).count();
            self.topic(&first.topic);
            self.array_len(count);
            let (topic, after) = rest.split_at_mut(count);
            topic.iter_mut().for_each(|partition| self.partition(partition));
            self.no_tags();
            rest = after;
        }
        if self.version >= TELLS_LEADER && !answer.endpoints.is_empty() {
            self.endpoints(&answer.endpoints);
        } else {
            self.no_tags();
        }
    }

    fn topic(&mut self, topic: &TopicRef) {
        match topic {
            TopicRef::Name(name) => self.string(name),
            TopicRef::Id(id) => self.head.put_slice(id.as_bytes()),
        }
    }

    fn partition(&mut self, partition: &mut PartitionAnswer) {
        self.head.put_i32(partition.partition);
        self.head.put_i16(partition.error.code());
        self.head.put_i64(partition.high_watermark);
        self.head.put_i64(partition.last_stable_offset);
        if self.version >= TELLS_LOG_START {
            self.head.put_i64(partition.log_start_offset);
        }
        self.aborted(partition.aborted.as_deref());
        if self.version >= TELLS_REPLICA {
            self.head.put_i32(NO_REPLICA);
        }
        self.records(std::mem::take(&mut partition.records), partition.records_bytes);
        if self.flexible() {
            self.partition_tags(partition);
        }
    }

    fn aborted(&mut self, aborted: Option<&[AbortedTxn]>) {
        let Some(aborted) = aborted else {
            // A null array.
            return if self.flexible() { self.head.put_u8(0) } else { self.head.put_i32(-1) };
        };
        self.array_len(aborted.len());
        for txn in aborted {
            self.head.put_i64(txn.producer_id);
            self.head.put_i64(txn.first_offset);
            self.no_tags();
        }
    }

    fn records(&mut self, records: Vec<Bytes>, bytes: usize) {
        debug_assert_eq!(records.iter().map(Bytes::len).sum::<usize>(), bytes);
        self.array_len(bytes);
        for piece in records {
            if piece.len() < COPIED_BYTES_MAX {
                self.head.put_slice(&piece);
            } else {
                self.inserted_bytes += piece.len();
                self.inserts.push((self.head.len(), piece));
            }
        }
    }

    fn partition_tags(&mut self, partition: &PartitionAnswer) {
        let count =
            usize::from(partition.diverging.is_some()) + usize::from(partition.current_leader.is_some());
        self.varint(count);
        if let Some((epoch, end_offset)) = partition.diverging {
            self.head.put_slice(&[0, 13]);
            self.head.put_i32(epoch);
            self.head.put_i64(end_offset);
            self.no_tags();
        }
        if let Some((leader, epoch)) = partition.current_leader {
            self.head.put_slice(&[1, 9]);
            self.head.put_i32(leader);
            self.head.put_i32(epoch);
            self.no_tags();
        }
    }

    fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let mut field = Writer::new(self.version, endpoints.len());
        field.array_len(endpoints.len());
        for endpoint in endpoints {
            field.head.put_i32(endpoint.node_id);
            field.string(&endpoint.host);
            field.head.put_i32(endpoint.port);
            field.head.put_u8(0); // No rack.
            field.no_tags();
        }
        self.head.put_slice(&[1, 0]); // One field, tag 0.
        self.varint(field.head.len());
        self.head.put_slice(&field.head);
    }

    fn string(&mut self, text: &str) {
        if self.flexible() {
            self.varint(text.len() + 1);
        } else {
            // Topic names and hosts came in, or were checked, as strings of at most 32767 bytes.
            self.head.put_i16(i16::try_from(text.len()).expect("a string of the protocol is short"));
        }
        self.head.put_slice(text.as_bytes());
    }

    /// The length of an array, or of bytes.
    fn array_len(&mut self, length: usize) {
        if self.flexible() {
            self.varint(length + 1);
        } else {
            self.head.put_i32(i32::try_from(length).expect("the byte budget is far below 2 GB"));
        }
    }

    /// An empty set of tagged fields, where there are such.
    fn no_tags(&mut self) {
        if self.flexible() {
            self.head.put_u8(0);
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.head.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.head.put_u8(value as u8);
    }

    fn finish(mut self) -> Vec<Bytes> {
        let length = self.head.len() - size_of::<i32>() + self.inserted_bytes;
        let length = i32::try_from(length).expect("the byte budget is far below 2 GB");
        self.head[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        let head = self.head.freeze();
        let mut chunks = Vec::with_capacity(2 * self.inserts.len() + 1);
        let mut from = 0;
        for (at, piece) in self.inserts {
            if from < at {
                chunks.push(head.slice(from..at));
            }
            chunks.push(piece);
            from = at;
        }
        if from < head.len() {
            chunks.push(head.slice(from..));
        }
        chunks
    }
}

/// The id as the codec's type has it.
pub(super) fn uuid_of(id: &chronik_protocol::codec::Uuid) -> Uuid {
    Uuid::from_bytes(id.to_bytes())
}

#[cfg(test)]
mod tests;
