//! Owns files of any format as records, a bounded number at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use chronik_protocol::batch::{BatchView, split_batches};
use chronik_tiering::segment::{Tail, check_block};

use super::object::{Group, Object};
use super::parquet::ParquetReader;
use super::record::{Record, walk};
use super::{Failure, Format, json_lines};
use crate::config::BrokerConfig;

/// Lines that are read at a time.
const LINES: usize = 1000;
/// Bytes that they may have before fewer are.
const LINES_BYTES: usize = 4 << 20;
/// Bytes of the longest line: the largest record a broker may take, as base64, and then some.
const LINE_BYTES_MAX: u64 = 2 << 30;

/// Takes a record; false when it wants no more.
pub type Each<'a> = dyn FnMut(&Record<'_>) -> Result<bool, Failure> + 'a;

/// A file under way.
pub enum Reader {
    /// Of JSON lines.
    Lines(Box<Lines>),
    /// Of Parquet.
    Parquet(Box<ParquetReader>),
    /// A segment.
    Segment(Box<Segment>),
}

/// Lines under way.
pub struct Lines {
    name: String,
    file: BufReader<Box<dyn Read>>,
    number: u64,
    done: u64,
    now_ms: i64,
}

/// A segment under way.
pub struct Segment {
    /// Where it is.
    pub object: Object,
    /// What it says of itself.
    pub tail: Tail,
    next: usize,
    group: Group,
}

impl Reader {
    /// Opens a file; - is standard input, of JSON lines. Records without a time get `now_ms`.
    pub async fn open(
        name: &str,
        format: Option<Format>,
        config: &BrokerConfig,
        now_ms: i64,
    ) -> Result<Self, Failure> {
        let format = match (format, name) {
            (Some(format), _) => format,
            (None, "-") => Format::Jsonl,
            (None, name) => Format::of_name(name).ok_or_else(|| {
                format!("{name}: its name does not tell its format: say it with --format segment, jsonl or parquet")
            })?,
        };
        match format {
            Format::Segment => {
                let object = Object::open(name, config).await?;
                let (tail, _) = object.tail().await.map_err(|error| error.told(name))?;
                Ok(Self::Segment(Box::new(Segment { object, tail, next: 0, group: Group::default() })))
            }
            Format::Jsonl => {
                let file: Box<dyn Read> = match name {
                    "-" => Box::new(std::io::stdin()),
                    name => Box::new(open(name)?),
                };
                let lines =
                    Lines { name: name.to_owned(), file: BufReader::new(file), number: 0, done: 0, now_ms };
                Ok(Self::Lines(Box::new(lines)))
            }
            Format::Parquet => Ok(Self::Parquet(Box::new(ParquetReader::open(name, open(name)?, now_ms)?))),
        }
    }

    /// Bytes of the file that were read, about.
    pub fn done_bytes(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.done,
            Self::Parquet(reader) => reader.done_bytes(),
            Self::Segment(segment) => segment.done_bytes(),
        }
    }

    /// Hands over the next records. False when there are no more, or no more are wanted.
    pub async fn next(&mut self, each: &mut Each<'_>) -> Result<bool, Failure> {
        match self {
            Self::Lines(lines) => lines.next(each),
            Self::Parquet(reader) => reader.next(each),
            Self::Segment(segment) => segment.next(each).await,
        }
    }
}

fn open(name: &str) -> Result<File, Failure> {
    let path = name.strip_prefix("file://").unwrap_or(name);
    if path.contains("://") {
        return Err(format!("{name}: only segments are read from object storage: fetch the file first"));
    }
    File::open(path).map_err(|error| format!("{name}: {error}"))
}

impl Lines {
    fn next(&mut self, each: &mut Each<'_>) -> Result<bool, Failure> {
        let (mut line, mut bytes) = (String::new(), 0);
        for _ in 0..LINES {
            line.clear();
            let told =
                |number: u64, error: &dyn std::fmt::Display| format!("{}, line {number}: {error}", self.name);
            let read = (&mut self.file).take(LINE_BYTES_MAX).read_line(&mut line);
            let read = read.map_err(|error| told(self.number + 1, &error))?;
            if read == 0 {
                return Ok(false);
            }
            self.number += 1;
            self.done += read as u64;
            bytes += read;
            if line.trim().is_empty() {
                continue;
            }
            let wanted = json_lines::read(&line, self.now_ms, |record| each(record));
            if !wanted.map_err(|error| told(self.number, &error))? {
                return Ok(false);
            }
            if bytes >= LINES_BYTES {
                break;
            }
        }
        Ok(true)
    }
}

impl Segment {
    /// Goes on with the block that contains `offset`.
    pub fn seek(&mut self, offset: i64) {
        self.next = self.tail.block_for(offset).unwrap_or(self.tail.blocks.len());
    }

    fn done_bytes(&self) -> u64 {
        let last = self.next.checked_sub(1).and_then(|last| self.tail.blocks.get(last));
        last.map_or(0, |last| last.range().end)
    }

    /// The next block's batches, each with whether it was aborted. False when there are no more.
    pub async fn next_batches(
        &mut self,
        each: &mut dyn FnMut(&BatchView<'_>, bool) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let name = &self.object.name;
        let Some(block) = self.tail.blocks.get(self.next) else { return Ok(false) };
        let bytes = self.group.block(&self.object, &self.tail, self.next).await?;
        let damaged = |what: &dyn std::fmt::Display| {
            format!("{name}: at byte {}: {what}; `chronik-server segment verify` tells more", block.position)
        };
        check_block(block, &bytes).map_err(|error| damaged(&error))?;
        for batch in split_batches(bytes) {
            let view = BatchView::new(&batch).map_err(|error| damaged(&error))?;
            view.verify_crc().map_err(|error| damaged(&error))?;
            let header = view.header();
            let is_aborted = header.is_transactional()
                && !header.is_control()
                && self.tail.aborted.iter().any(|txn| {
                    txn.producer_id == header.producer_id
                        && (txn.first_offset..=txn.last_offset).contains(&header.base_offset)
                });
            if !each(&view, is_aborted)? {
                return Ok(false);
            }
        }
        self.next += 1;
        Ok(true)
    }

    async fn next(&mut self, each: &mut Each<'_>) -> Result<bool, Failure> {
        let description = &self.tail.description;
        let (topic, partition, base_offset) =
            (description.topic.clone(), description.partition, description.base_offset);
        self.next_batches(&mut |view, is_aborted| {
            walk((&topic, partition), view, is_aborted, &mut |record| match record.offset < base_offset {
                // Of the first batch, what is before the range.
                true => Ok(true),
                false => each(record),
            })
        })
        .await
    }
}
