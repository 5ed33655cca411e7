//! Copies one span of a log into an object, and proves it: what the bucket holds is read back and compared before anybody
//! relies on it. Memory is bounded by the parts that are on their way.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::error::ReadError;
use chronik_engine::log::{PartitionLog, RemoteSegment, Span};
use chronik_protocol::batch::BatchHeader;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::bandwidth::Bandwidth;
use crate::bucket::{Bucket, BucketError, Parts};
use crate::limits::{COPY_SCAN_BYTES, PART_BYTES, PARTS_MAX, PROOF_BYTES};
use crate::metrics as names;
use crate::segment::{
    Description, Finished, HEADER_BYTES, SegmentError, SegmentWriter, check_block, parse_header,
};

/// Whose segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The cluster.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's index.
    pub partition: i32,
}

impl Source {
    /// The name of an object, which is never used for another: `number` is that of an upload in `epoch`.
    pub fn object(&self, span: &Span, epoch: u64, number: u64) -> String {
        let Self { topic, topic_id, partition, .. } = self;
        let folder = topic_folder(topic, *topic_id);
        let (base, last) = (span.base_offset, span.next_offset - 1);
        format!("{SEGMENTS}/{folder}/{partition}/{base:020}-{last}.{epoch:010}-{number:010}.seg")
    }
}

/// Characters of a topic's name in the names of its objects: with the id behind it, a file system's 255 are not passed.
const NAME_CHARS_MAX: usize = 200;

/// The folder of a topic's segments, below [`SEGMENTS`]. The id makes it the topic's own.
pub(crate) fn topic_folder(topic: &str, topic_id: Uuid) -> String {
    let name: String = topic.chars().take(NAME_CHARS_MAX).collect();
    format!("{name}-{topic_id}")
}

/// The folder of all segments.
pub const SEGMENTS: &str = "segments";

/// Why a span was not copied. What was written may be there, and nothing names it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The log; among others, that the span was deleted meanwhile.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A batch of the log, or what was read back.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The manifest.
    #[error("the manifest could not be changed: {0}")]
    Manifest(String),
    /// What the bucket holds is not what was sent.
    #[error("the object store holds other bytes than it was sent: {0}")]
    Unproven(String),
}

/// Copies a span to `object` and proves it.
///
/// # Errors
/// [`CopyError`].
pub async fn copy(
    bucket: &Bucket,
    log: &PartitionLog,
    source: &Source,
    span: &Span,
    object: &str,
    bandwidth: &Bandwidth,
    now_ms: i64,
) -> Result<(RemoteSegment, Finished), CopyError> {
    let (segment, finished) = upload(bucket, log, source, span, object, bandwidth, now_ms).await?;
    prove(bucket, object, &finished).await?;
    Ok((segment, finished))
}

/// Copies a span to `object`. Nothing may rely on it before it is proven.
///
/// # Errors
/// [`CopyError`].
pub async fn upload(
    bucket: &Bucket,
    log: &PartitionLog,
    source: &Source,
    span: &Span,
    object: &str,
    bandwidth: &Bandwidth,
    now_ms: i64,
) -> Result<(RemoteSegment, Finished), CopyError> {
    let writer = SegmentWriter::new(describe(source, span, now_ms));
    let mut upload = Upload::new(bucket, object, bandwidth, span.bytes);
    let finished = match send(log, span, writer, &mut upload).await {
        Ok(finished) => finished,
        Err(error) => {
            upload.give_up().await;
            return Err(error);
        }
    };
    upload.finish().await?;
    Ok((remote(object, span, &finished), finished))
}

/// What the log is told of a segment.
pub(crate) fn remote(object: &str, span: &Span, finished: &Finished) -> RemoteSegment {
    let description = &finished.tail.description;
    RemoteSegment {
        base_offset: span.base_offset,
        next_offset: span.next_offset,
        bytes: finished.tail.data_end() - HEADER_BYTES as u64,
        max_timestamp: description.max_timestamp,
        first_timestamp: description.first_timestamp,
        created_ms: description.created_ms,
        appended_ms: description.appended_ms,
        object: object.into(),
        size: finished.size,
        tail_bytes: finished.tail_bytes.len() as u64,
    }
}

fn describe(source: &Source, span: &Span, now_ms: i64) -> Description {
    Description {
        base_offset: span.base_offset,
        next_offset: span.next_offset,
        max_timestamp: -1,
        first_timestamp: span.first_timestamp,
        created_ms: span.created_ms,
        appended_ms: span.appended_ms,
        exported_ms: now_ms,
        batches: 0,
        records: 0,
        cleaned: span.cleaned,
        cluster_id: source.cluster_id.clone(),
        topic_id: source.topic_id,
        topic: source.topic.to_string(),
        partition: source.partition,
    }
}

async fn send(
    log: &PartitionLog,
    span: &Span,
    mut writer: SegmentWriter,
    upload: &mut Upload<'_>,
) -> Result<Finished, CopyError> {
    upload.push(writer.header()).await?;
    let mut batches = log.read_span(span.base_offset, span.next_offset, COPY_SCAN_BYTES).await?;
    while let Some(last) = batches.last() {
        let last =
            BatchHeader::parse(last).map_err(|error| SegmentError::Contradiction(error.to_string()))?;
        let next = last.last_offset() + 1;
        let ahead = async {
            let is_end = next >= span.next_offset;
            if is_end { Ok(Vec::new()) } else { log.read_span(next, span.next_offset, COPY_SCAN_BYTES).await }
        };
        // The log is read while what came before is on its way.
        let (sent, ahead) = tokio::join!(send_batches(batches, &mut writer, upload), ahead);
        sent?;
        batches = ahead?;
    }
    let aborted = log.aborted_in(span.base_offset, span.next_offset).await?;
    let finished = writer.finish(aborted, log.epochs_in(span.base_offset, span.next_offset));
    upload.push(finished.tail_bytes.clone()).await?;
    Ok(finished)
}

async fn send_batches(
    batches: Vec<Bytes>,
    writer: &mut SegmentWriter,
    upload: &mut Upload<'_>,
) -> Result<(), CopyError> {
    for batch in batches {
        writer.push(&batch)?;
        upload.push(batch).await?;
    }
    Ok(())
}

/// An object on its way: whole if it is small, else in parts of one size.
pub(crate) struct Upload<'a> {
    bucket: &'a Bucket,
    object: &'a str,
    bandwidth: &'a Bandwidth,
    /// Chunks that make less than a part.
    open: VecDeque<Bytes>,
    open_bytes: usize,
    is_small: bool,
    parts: Option<Parts>,
    on_their_way: JoinSet<Result<(), BucketError>>,
}

impl<'a> Upload<'a> {
    /// Of about `expected` bytes.
    pub(crate) fn new(bucket: &'a Bucket, object: &'a str, bandwidth: &'a Bandwidth, expected: u64) -> Self {
        Self {
            bucket,
            object,
            bandwidth,
            open: VecDeque::new(),
            open_bytes: 0,
            // With room for what describes it.
            is_small: expected + (expected >> 3) < PART_BYTES as u64,
            parts: None,
            on_their_way: JoinSet::new(),
        }
    }

    pub(crate) async fn push(&mut self, chunk: Bytes) -> Result<(), BucketError> {
        self.open_bytes += chunk.len();
        self.open.push_back(chunk);
        while self.open_bytes >= PART_BYTES && !self.is_small {
            let part = self.cut(PART_BYTES);
            self.send_part(part).await?;
        }
        if self.open_bytes >= 2 * PART_BYTES {
            // Larger than it was expected to be.
            self.is_small = false;
        }
        Ok(())
    }

    /// The first `bytes` of what is open.
    fn cut(&mut self, mut bytes: usize) -> Vec<Bytes> {
        self.open_bytes -= bytes;
        let mut part = Vec::new();
        while bytes > 0 {
            let mut chunk = self.open.pop_front().expect("as many bytes are open");
            if chunk.len() > bytes {
                self.open.push_front(chunk.split_off(bytes));
            }
            bytes -= chunk.len();
            part.push(chunk);
        }
        part
    }

    async fn send_part(&mut self, chunks: Vec<Bytes>) -> Result<(), BucketError> {
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        self.bandwidth.spend(bytes as u64).await;
        while self.on_their_way.len() >= PARTS_MAX {
            self.arrived().await?;
        }
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => self.parts.insert(self.bucket.multipart(self.object).await?),
        };
        self.on_their_way.spawn(parts.part(chunks));
        metrics::counter!(names::BYTES_WRITTEN).increment(bytes as u64);
        Ok(())
    }

    async fn arrived(&mut self) -> Result<(), BucketError> {
        match self.on_their_way.join_next().await {
            Some(outcome) => outcome.expect("sending a part does not panic"),
            None => Ok(()),
        }
    }

    pub(crate) async fn finish(mut self) -> Result<(), BucketError> {
        let rest = self.cut(self.open_bytes);
        if self.parts.is_none() {
            let bytes: usize = rest.iter().map(Bytes::len).sum();
            self.bandwidth.spend(bytes as u64).await;
            metrics::counter!(names::BYTES_WRITTEN).increment(bytes as u64);
            return self.bucket.put(self.object, rest).await;
        }
        let sent = self.send_rest(rest).await;
        let parts = self.parts.take().expect("there are parts");
        match sent {
            Ok(()) => parts.complete().await,
            Err(error) => {
                parts.abort().await;
                Err(error)
            }
        }
    }

    async fn send_rest(&mut self, rest: Vec<Bytes>) -> Result<(), BucketError> {
        if !rest.is_empty() {
            self.send_part(rest).await?;
        }
        while !self.on_their_way.is_empty() {
            self.arrived().await?;
        }
        Ok(())
    }

    pub(crate) async fn give_up(mut self) {
        self.on_their_way.shutdown().await;
        if let Some(parts) = self.parts.take() {
            parts.abort().await;
        }
    }
}

/// Reads an object back and compares it with what was sent, by checksum.
pub(crate) async fn prove(bucket: &Bucket, object: &str, finished: &Finished) -> Result<(), CopyError> {
    let unproven = |what: String| CopyError::Unproven(format!("{object}: {what}"));
    let size = bucket.size(object).await?;
    if size != finished.size {
        return Err(unproven(format!("it has {size} bytes instead of {}", finished.size)));
    }
    let data_end = finished.tail.data_end();
    let mut blocks = finished.tail.blocks.iter();
    let mut from = 0;
    let mut expected = blocks.next();
    while let Some(block) = expected {
        let mut group = vec![block];
        expected = blocks.next();
        while let Some(next) = expected.filter(|next| next.range().end - from <= PROOF_BYTES) {
            group.push(next);
            expected = blocks.next();
        }
        let to = group.last().map_or(from, |last| last.range().end);
        let bytes = bucket.get_range(object, from..to).await?;
        if from == 0 {
            let told = (finished.tail.description.base_offset, finished.tail.description.next_offset);
            let header = parse_header(&bytes).map_err(|error| unproven(error.to_string()))?;
            if header != told {
                return Err(unproven("its header differs".to_owned()));
            }
        }
        for block in group {
            let at = (block.position - from) as usize;
            check_block(block, &bytes[at..at + block.length as usize])
                .map_err(|error| unproven(error.to_string()))?;
        }
        from = to;
    }
    let tail = bucket.get_range(object, data_end..size).await?;
    if tail != finished.tail_bytes {
        return Err(unproven("its tail differs".to_owned()));
    }
    Ok(())
}
