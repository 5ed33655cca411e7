//! Owns segments that an export writes: whole batches byte for byte, and a tail by [`SegmentWriter`]. The end of the range is
//! known last, so the header is written again then.

use std::path::Path;

use chronik_engine::keys::log::EpochValue;
use chronik_engine::log::AbortedTxn;
use chronik_protocol::batch::BatchView;
use chronik_tiering::segment::{Description, SegmentWriter};

use super::Failure;
use super::output::NewFile;
use super::source::Topic;

/// A segment under way.
pub struct SegmentFile {
    file: NewFile,
    writer: SegmentWriter,
    topic: String,
    partition: i32,
    base_offset: i64,
    /// First offset that was not written.
    next: i64,
    /// Records so far.
    records: u64,
    epochs: Vec<EpochValue>,
    cleaned: bool,
}

/// A segment that has its name.
pub struct Finished {
    /// Where it is.
    pub path: std::path::PathBuf,
    /// First and last offset of its range.
    pub range: (i64, i64),
    /// Records in it, control records included.
    pub records: u64,
    /// Bytes of it.
    pub bytes: u64,
}

/// What its name is, but for the last offset.
fn beginning(topic: &str, partition: i32, base_offset: i64) -> String {
    format!("{topic}-{partition}-{base_offset:020}-")
}

impl SegmentFile {
    /// Begins one in `folder`, for a range that begins at `base_offset`, which may lie inside the first batch.
    pub fn create(
        folder: &Path,
        topic: &Topic,
        partition: i32,
        base_offset: i64,
        first: &BatchView<'_>,
        now_ms: i64,
        replace: bool,
    ) -> Result<Self, Failure> {
        let header = first.header();
        refuse_beginnings(folder, &beginning(&topic.name, partition, base_offset), replace)?;
        let writer = SegmentWriter::new(Description {
            base_offset,
            next_offset: i64::MAX,
            max_timestamp: -1,
            first_timestamp: header.max_timestamp,
            // Nobody tells a client when a batch was appended.
            created_ms: -1,
            appended_ms: -1,
            exported_ms: now_ms,
            batches: 0,
            records: 0,
            cleaned: false,
            cluster_id: topic.cluster_id.clone(),
            topic_id: topic.id,
            topic: topic.name.clone(),
            partition,
        });
        let mut file = NewFile::create(folder, &format!("{}-{partition}-{base_offset}", topic.name))?;
        file.append(&writer.header())?;
        Ok(Self {
            file,
            writer,
            topic: topic.name.clone(),
            partition,
            base_offset,
            next: base_offset,
            records: 0,
            epochs: Vec::new(),
            cleaned: false,
        })
    }

    /// Bytes of it so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// First offset of the range.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Appends a batch.
    pub fn push(&mut self, view: &BatchView<'_>) -> Result<(), Failure> {
        let header = view.header();
        let written = self.writer.push(view.bytes()).map_err(|error| error.to_string());
        written.map_err(|error| format!("{}-{}: {error}", self.topic, self.partition))?;
        self.file.append(view.bytes())?;
        let is_first = self.next == self.base_offset;
        let is_behind =
            if is_first { header.base_offset > self.next } else { header.base_offset != self.next };
        self.cleaned |= is_behind || header.record_count != header.last_offset_delta.wrapping_add(1);
        self.next = header.last_offset() + 1;
        self.records += u64::try_from(header.record_count).unwrap_or(0);
        let epoch = header.partition_leader_epoch;
        if epoch >= 0 && self.epochs.last().is_none_or(|last| last.epoch != epoch) {
            self.epochs.push(EpochValue { epoch, start_offset: header.base_offset });
        }
        Ok(())
    }

    /// Ends the range at `next_offset`, and gives the file its name.
    pub fn finish(
        mut self,
        next_offset: i64,
        aborted: Vec<AbortedTxn>,
        replace: bool,
    ) -> Result<Finished, Failure> {
        let next_offset = next_offset.max(self.next);
        self.cleaned |= next_offset != self.next;
        self.writer.end_at(next_offset, self.cleaned);
        self.file.rewrite_beginning(&self.writer.header())?;
        let finished = self.writer.finish(aborted, self.epochs);
        self.file.append(&finished.tail_bytes)?;
        let (base_offset, last) = (self.base_offset, next_offset - 1);
        let name = format!("{}{last}.seg", beginning(&self.topic, self.partition, base_offset));
        let path = self.file.finish(&name, replace)?;
        Ok(Finished { path, range: (base_offset, last), records: self.records, bytes: finished.size })
    }
}

/// The last offset is not known at the beginning: any segment that begins there is in the way.
fn refuse_beginnings(folder: &Path, beginning: &str, replace: bool) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(beginning) && name.ends_with(".seg")) {
            super::output::refuse_existing(&entry.path(), replace)?;
        }
    }
    Ok(())
}
