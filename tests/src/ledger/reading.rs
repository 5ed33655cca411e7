//! Requests that a dying broker may leave unanswered, and reading a partition from end to end.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::{BatchView, split_batches};
use chronik_protocol::codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::codec::{self, RequestResponsePair, messages};
use chronik_protocol::message;

use super::{FinalLog, History, Place, RecordId};
use crate::wire::{Client, fetch_request};

/// No batch of ours decompresses to more.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Reading one partition to its end takes no longer.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection that ends in an error instead of a panic.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    correlation_id: i32,
}

impl Caller {
    /// Connects.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { client: Client::try_connect(address)?, correlation_id: 0 })
    }

    /// As [`connect`](Self::connect), for calls that wait no longer than `answer` for their response.
    ///
    /// # Errors
    /// The system's.
    pub fn connect_for(address: SocketAddr, answer: Duration) -> std::io::Result<Self> {
        let caller = Self::connect(address)?;
        caller.client.stream().set_read_timeout(Some(answer))?;
        Ok(caller)
    }

    /// Sends a request and waits for its response. After an error the connection is of no more use.
    ///
    /// # Errors
    /// The system's; `InvalidData` for an answer that does not follow the schema.
    pub fn call<R: RequestResponsePair>(
        &mut self,
        request: &R,
        version: i16,
    ) -> std::io::Result<R::Response> {
        self.correlation_id += 1;
        let frame = codec::encode_request(self.correlation_id, "ledger", request, version)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?;
        if !self.client.send_bytes(&frame) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let frame = self.client.read_frame()?;
        let (_, response) = codec::decode_response::<R>(frame, version)
            .map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
        Ok(response)
    }

    /// Fetches without waiting: error code, high watermark, log start, records.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn fetch(&mut self, place: &Place, offset: i64) -> std::io::Result<(i16, i64, i64, Bytes)> {
        let response = self.call(&fetch_request(&place.topic, place.partition, offset), 11)?;
        let topic = response.responses.into_iter().next().ok_or(ErrorKind::InvalidData)?;
        let partition = topic.partitions.into_iter().next().ok_or(ErrorKind::InvalidData)?;
        let records = partition.records.unwrap_or_default();
        Ok((partition.error_code, partition.high_watermark, partition.log_start_offset, records))
    }

    /// The log's start (`-2`) or end (`-1`).
    ///
    /// # Errors
    /// As [`call`](Self::call), and for an error code.
    pub fn offset_at(&mut self, place: &Place, timestamp: i64) -> std::io::Result<i64> {
        let partition = message!(ListOffsetsPartition {
            partition_index: place.partition,
            timestamp: timestamp,
            current_leader_epoch: -1,
        });
        let topic =
            message!(ListOffsetsTopic { name: place.topic.as_str().into(), partitions: vec![partition] });
        let request = message!(messages::ListOffsetsRequest { replica_id: -1, topics: vec![topic] });
        let response = self.call(&request, 5)?;
        let partition =
            response.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        match partition {
            Some(partition) if partition.error_code == 0 => Ok(partition.offset),
            other => Err(Error::other(format!("{place:?}: {other:?}"))),
        }
    }
}

/// Offset and identity of every record at or above `from` in a fetch's answer.
///
/// # Errors
/// A damaged batch, in words.
pub fn records(bytes: Bytes, from: i64) -> Result<Vec<(i64, Option<RecordId>)>, String> {
    let mut found = Vec::new();
    for batch in split_batches(bytes) {
        let view = BatchView::new(&batch).map_err(|error| error.to_string())?;
        view.verify_crc().map_err(|error| error.to_string())?;
        let base = view.header().base_offset;
        let mut walker = view.records(BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
        while let Some(record) = walker.next_record().map_err(|error| error.to_string())? {
            let offset = base + i64::from(record.offset_delta);
            if offset >= from {
                found.push((offset, record.value.and_then(RecordId::decode)));
            }
        }
    }
    Ok(found)
}

/// A partition from its start to its end.
///
/// # Errors
/// The connection's, an error code, a damaged batch, or no end in time.
pub fn read_log(address: SocketAddr, place: &Place) -> std::io::Result<FinalLog> {
    let mut caller = Caller::connect(address)?;
    let start = caller.offset_at(place, -2)?;
    let end = caller.offset_at(place, -1)?;
    let mut log = FinalLog { start, end, records: Vec::new() };
    let mut next = start;
    let deadline = Instant::now() + READ_TIMEOUT;
    while next < end {
        let (error, _, _, bytes) = caller.fetch(place, next)?;
        if error != 0 {
            return Err(Error::other(format!("{place:?} at {next}: error {error}")));
        }
        let found = records(bytes, next).map_err(Error::other)?;
        if let Some((last, _)) = found.last() {
            next = last + 1;
        } else if Instant::now() > deadline {
            return Err(Error::other(format!("{place:?}: nothing more at {next} of {end}")));
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
        log.records.extend(found);
    }
    Ok(log)
}

/// Reads every place of a history into it. A place that cannot be read stays unread, which the check reports.
pub fn read_all(address: SocketAddr, history: &mut History) {
    let places = history.places();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for chunk in places.chunks(places.len().div_ceil(4).max(1)) {
            let sender = sender.clone();
            scope.spawn(move || {
                for place in chunk {
                    match read_log(address, place) {
                        Ok(log) => drop(sender.send((place.clone(), log))),
                        Err(error) => eprintln!("{place:?} cannot be read: {error}"),
                    }
                }
            });
        }
    });
    drop(sender);
    receiver.into_iter().for_each(|(place, log)| history.read(&place, log));
}
