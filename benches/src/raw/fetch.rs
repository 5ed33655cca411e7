//! One fetching connection: positions, requests, replies walked by their batch headers.
//!
//! Owns the offsets of its partitions. A request carries all of them and no fetch session; the
//! next request is sent as soon as the reply's headers were read.

use bytes::Bytes;
use chronik_protocol::codec::messages::{
    FetchRequest,
    fetch_request::{FetchPartition, FetchTopic},
};

use super::Result;
use super::batches;
use super::connection::Connection;

/// Last version that names topics; from 13 on they are ids (KIP-516).
const FETCH_VERSION: i16 = 12;

/// Limits of a fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait for the first byte, in milliseconds.
    pub max_wait_ms: i32,
    /// Bytes of a reply.
    pub max_bytes: i32,
    /// Bytes of one partition in it.
    pub partition_max_bytes: i32,
}

/// A partition and the next offset to ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Partition index.
    pub partition: u16,
    /// Next offset to fetch.
    pub offset: i64,
}

/// Records of one partition in one reply.
pub struct Fetched {
    /// Partition index.
    pub partition: u16,
    /// The offset asked for.
    pub asked_offset: i64,
    /// Records in whole batches at or after the offset asked for.
    pub record_count: u64,
    /// Whether they reach the high watermark.
    pub at_end: bool,
    /// Whole batches, and perhaps one that is cut.
    pub records: Bytes,
}

/// A connection that fetches its positions in a loop.
pub struct Fetcher {
    connection: Connection,
    topic: String,
    limits: Limits,
    /// Sorted by partition.
    positions: Vec<Position>,
    /// Which position the next request begins with.
    turn: usize,
}

impl Fetcher {
    /// Connects; `positions` are in rising order of partition.
    pub async fn open(
        bootstrap: &str,
        topic: &str,
        limits: Limits,
        positions: Vec<Position>,
    ) -> Result<Self> {
        assert!(positions.is_sorted_by_key(|position| position.partition), "sorted positions");
        let connection = Connection::open(bootstrap).await?;
        Ok(Self { connection, topic: topic.to_owned(), limits, positions, turn: 0 })
    }

    /// Goes on at `offset` in `partition`.
    pub fn seek(&mut self, partition: u16, offset: i64) {
        if let Ok(at) = self.find(i32::from(partition)) {
            self.positions[at].offset = offset;
        }
    }

    /// Fetches once, moves the positions, and returns the partitions that had anything.
    pub async fn fetch(&mut self) -> Result<Vec<Fetched>> {
        let request = self.request();
        let response = self.connection.call(&request, FETCH_VERSION).await?;
        if response.error_code != 0 {
            return Err(format!("Fetch: error code {}", response.error_code).into());
        }
        let mut fetched = Vec::new();
        for data in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            if data.error_code != 0 {
                let (partition, code) = (data.partition_index, data.error_code);
                return Err(format!("Fetch of partition {partition}: error code {code}").into());
            }
            let at = self.find(data.partition_index)?;
            let records = data.records.unwrap_or_default();
            fetched.extend(self.advance(at, records, data.high_watermark)?);
        }
        Ok(fetched)
    }

    fn find(&self, partition: i32) -> Result<usize> {
        self.positions
            .binary_search_by_key(&partition, |position| i32::from(position.partition))
            .map_err(|_| "Fetch answered for a partition not asked for".into())
    }

    fn advance(&mut self, at: usize, records: Bytes, watermark: i64) -> Result<Option<Fetched>> {
        let asked = self.positions[at].offset;
        let mut next_offset = asked;
        let mut record_count = 0;
        for batch in batches::walk(&records) {
            let batch = batch?;
            // The first batch may begin before the offset asked for.
            let before = u64::try_from(next_offset - batch.base_offset).unwrap_or(0);
            record_count += batch.record_count.saturating_sub(before);
            next_offset = batch.next_offset.max(next_offset);
        }
        let partition = self.positions[at].partition;
        self.positions[at].offset = next_offset;
        Ok((next_offset > asked).then_some(Fetched {
            partition,
            asked_offset: asked,
            record_count,
            at_end: next_offset >= watermark,
            records,
        }))
    }

    fn request(&mut self) -> FetchRequest {
        // The broker fills a reply in the order asked; beginning with another partition each time
        // keeps the last ones from starving when a reply holds fewer than all (KIP-74).
        self.turn = (self.turn + 1) % self.positions.len().max(1);
        let (later, first) = self.positions.split_at(self.turn);
        let mut topic = FetchTopic::default();
        topic.topic = self.topic.as_str().into();
        topic.partitions = first.iter().chain(later).map(|position| self.partition(*position)).collect();
        let mut request = FetchRequest::default();
        request.max_wait_ms = self.limits.max_wait_ms;
        request.min_bytes = 1;
        request.max_bytes = self.limits.max_bytes;
        // No session: every request stands for itself (KIP-227).
        request.session_epoch = -1;
        request.topics = vec![topic];
        request
    }

    fn partition(&self, position: Position) -> FetchPartition {
        let mut partition = FetchPartition::default();
        partition.partition = i32::from(position.partition);
        partition.fetch_offset = position.offset;
        partition.partition_max_bytes = self.limits.partition_max_bytes;
        partition
    }
}
