//! Owns `segment import`: files of any format become records of a topic, with new offsets. Batches of segments stay compressed
//! as they are; what a producer or a transaction has left on them is taken off.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, BatchView, Compression, TimestampType};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::arguments;
use super::client::{Client, SentMark, Written};
use super::directory::on_directory;
use super::object::expand;
use super::progress::Bar;
use super::reader::Reader;
use super::record::{Mark, walk};
use super::target::Target;
use super::{Failure, Format, Settings, block_on, config};
use crate::config::BrokerConfig;
use crate::runtime::Clock;

/// Records of a batch that is made here.
const BATCH_RECORDS: i32 = 10_000;

/// What can be typed after `segment import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Files of any format, directories of segments, or segments in object storage; - reads JSON lines from standard input.
    #[arg(required = true, value_name = "FILE|URL")]
    names: Vec<String>,
    /// The topic to append to.
    #[arg(long)]
    topic: String,
    /// Append everything to this partition, instead of the one that each record was in.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Create the topic if it is not there, with as many partitions as the files have.
    #[arg(long)]
    create: bool,
    /// What the files are, where their names do not tell.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// How records of JSON lines and Parquet are compressed; batches of segments stay as they are.
    #[arg(long, value_enum, default_value = "none")]
    compression: Codec,
    /// Bytes of the batches that are made of JSON lines and Parquet, before compression.
    #[arg(long, value_name = "SIZE", default_value = "512KiB", value_parser = arguments::size)]
    batch_bytes: u64,
    /// Append through a running broker, Chronik or Apache Kafka, instead of opening a data directory.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "data_dir")]
    bootstrap: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// A codec.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Report {
    topic: String,
    created: bool,
    files: usize,
    partitions: BTreeMap<i32, PartitionReport>,
    skipped: Skipped,
}

#[derive(Debug, Serialize)]
struct PartitionReport {
    records: i64,
    first_offset: i64,
    last_offset: i64,
}

/// Records that do not become records again.
#[derive(Debug, Default, Serialize)]
struct Skipped {
    control_records: u64,
    aborted_records: u64,
}

/// Does what was typed.
pub fn run(asked: &Import) -> Result<(), Failure> {
    let config = config(&asked.settings)?;
    let report = match &asked.bootstrap {
        Some(bootstrap) => block_on(async {
            let client = Client::connect(bootstrap, &asked.topic).await?;
            import(asked, &config, Target::Broker(Box::new(client))).await
        })?,
        None => on_directory(&asked.settings, &asked.topic, |directory| {
            import(asked, &config, Target::Directory(directory))
        })?,
    };
    show(&report, asked.json);
    Ok(())
}

/// A file, and where its first record was.
struct Input {
    name: String,
    first: (i32, i64),
    bytes: u64,
}

async fn import(asked: &Import, config: &BrokerConfig, target: Target) -> Result<Report, Failure> {
    let now_ms = Clock::system().now_ms();
    let inputs = inputs(asked, config, now_ms).await?;
    let total = inputs.iter().map(|input| input.bytes).sum();
    let mut work = Work {
        asked,
        target,
        partitions: 0,
        report: Report { topic: asked.topic.clone(), files: inputs.len(), ..Report::default() },
        builders: BTreeMap::new(),
        queue: VecDeque::new(),
        unknown: 0,
        written_to: None,
    };
    work.prepare(config, &inputs, now_ms).await?;
    let bar = Bar::of_bytes(total, asked.json);
    let mut done = 0;
    for (index, input) in inputs.iter().enumerate() {
        bar.name(input.name.clone());
        let mut reader = Reader::open(&input.name, asked.format, config, now_ms).await?;
        let read = work.file(&mut reader, index, &mut |bytes| bar.set(done + bytes)).await;
        if let Err(failure) = read {
            work.settle().await;
            return Err(work.how_far(&failure, &inputs));
        }
        done += input.bytes;
    }
    while let Some(written) =
        work.target.acknowledged().await.map_err(|failure| work.how_far(&failure, &inputs))?
    {
        work.note(&written);
    }
    Ok(work.report)
}

/// The files in the order of what is in them: a shell's order is that of names, which need not be it.
async fn inputs(asked: &Import, config: &BrokerConfig, now_ms: i64) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for name in expand(&asked.names, config).await? {
        if name == "-" {
            inputs.push(Input { name, first: (-1, -1), bytes: 0 });
            continue;
        }
        let mut reader = Reader::open(&name, asked.format, config, now_ms).await?;
        let (mut first, mut bytes) = (None, std::fs::metadata(&name).map_or(0, |metadata| metadata.len()));
        if let Reader::Segment(segment) = &reader {
            let description = &segment.tail.description;
            (first, bytes) = (Some((description.partition, description.base_offset)), segment.object.size);
        }
        while first.is_none()
            && reader
                .next(&mut |record| {
                    first = Some((record.partition, record.offset));
                    Ok(false)
                })
                .await?
        {}
        inputs.push(Input { name, first: first.unwrap_or((0, 0)), bytes });
    }
    inputs.sort_by_key(|input| input.first);
    Ok(inputs)
}

/// A batch that can be given away.
struct Ready {
    partition: i32,
    batch: Bytes,
    records: i64,
    mark: SentMark,
}

/// An import under way.
struct Work<'a> {
    asked: &'a Import,
    target: Target,
    partitions: i32,
    report: Report,
    /// Batches of JSON lines and Parquet that are not full, with the last offset in each.
    builders: BTreeMap<i32, (BatchBuilder, i64)>,
    queue: VecDeque<Ready>,
    /// Batches that were given away and of which nothing was heard.
    unknown: usize,
    written_to: Option<SentMark>,
}

impl Work<'_> {
    /// Sees to it that the topic is there.
    async fn prepare(&mut self, config: &BrokerConfig, inputs: &[Input], now_ms: i64) -> Result<(), Failure> {
        let topic = match self.target.topic().await? {
            Some(topic) => topic,
            None if !self.asked.create => {
                return Err(format!("there is no topic '{}': create it, or add --create", self.asked.topic));
            }
            None => {
                let largest = match self.asked.partition {
                    Some(partition) => partition,
                    None => largest_partition(self.asked, config, inputs, now_ms).await?,
                };
                self.target.create(largest + 1).await?;
                self.report.created = true;
                self.target.topic().await?.ok_or("the topic that was created is not there; try again")?
            }
        };
        self.partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        match self.asked.partition {
            Some(partition) => self.check(partition),
            None => Ok(()),
        }
    }

    fn check(&self, partition: i32) -> Result<(), Failure> {
        if (0..self.partitions).contains(&partition) {
            return Ok(());
        }
        Err(format!(
            "topic {} has {} partitions, and there are records of partition {partition}: give it more, or choose one with \
             --partition",
            self.asked.topic, self.partitions
        ))
    }

    async fn file(
        &mut self,
        reader: &mut Reader,
        file: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        loop {
            let more = match &mut *reader {
                Reader::Segment(segment) => {
                    let description = &segment.tail.description;
                    let partition = self.asked.partition.unwrap_or(description.partition);
                    let base_offset = description.base_offset;
                    self.check(partition)?;
                    segment
                        .next_batches(&mut |view, is_aborted| {
                            self.batch(view, is_aborted, (partition, base_offset), file).map(|()| true)
                        })
                        .await?
                }
                records => records.next(&mut |record| self.record(record, file).map(|()| true)).await?,
            };
            self.send().await?;
            progress(reader.done_bytes());
            if !more {
                break;
            }
        }
        for (partition, (builder, last_offset)) in std::mem::take(&mut self.builders) {
            self.build(partition, &builder, (file, last_offset))?;
        }
        self.send().await
    }

    fn batch(
        &mut self,
        view: &BatchView<'_>,
        is_aborted: bool,
        (partition, base_offset): (i32, i64),
        file: usize,
    ) -> Result<(), Failure> {
        let header = view.header();
        let records = i64::from(header.record_count);
        if header.is_control() {
            self.report.skipped.control_records += records.unsigned_abs();
        } else if is_aborted {
            self.report.skipped.aborted_records += records.unsigned_abs();
        } else if let Some((batch, records)) = as_new(view, base_offset)? {
            let mark = (file, header.last_offset());
            self.queue.push_back(Ready { partition, batch, records, mark });
        }
        Ok(())
    }

    fn record(&mut self, record: &super::record::Record<'_>, file: usize) -> Result<(), Failure> {
        match record.mark {
            Mark::Plain => {}
            Mark::Aborted => {
                self.report.skipped.aborted_records += 1;
                return Ok(());
            }
            Mark::Control(_) => {
                self.report.skipped.control_records += 1;
                return Ok(());
            }
        }
        let partition = self.asked.partition.unwrap_or(record.partition);
        self.check(partition)?;
        let codec = self.asked.compression.into();
        let new = || (BatchBuilder::new().compression(codec, None), record.offset);
        let (builder, last_offset) = self.builders.entry(partition).or_insert_with(new);
        let delta = builder.next_delta();
        builder.push_bytes(delta, record.timestamp, record.key, record.value, record.headers.iter().copied());
        *last_offset = record.offset;
        if builder.records_bytes() as u64 >= self.asked.batch_bytes || builder.record_count() >= BATCH_RECORDS
        {
            let mark = (file, *last_offset);
            if let Some((builder, _)) = self.builders.remove(&partition) {
                self.build(partition, &builder, mark)?;
            }
        }
        Ok(())
    }

    fn build(&mut self, partition: i32, builder: &BatchBuilder, mark: SentMark) -> Result<(), Failure> {
        let batch = builder.build().map_err(|error| error.to_string())?;
        self.queue.push_back(Ready { partition, batch, records: builder.record_count().into(), mark });
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Failure> {
        while let Some(Ready { partition, batch, records, mark }) = self.queue.pop_front() {
            self.unknown += 1;
            let written = self.target.send(partition, batch, records, mark).await?;
            if let Some(written) = written {
                self.note(&written);
            }
        }
        Ok(())
    }

    fn note(&mut self, written: &Written) {
        self.unknown = self.unknown.saturating_sub(1);
        self.written_to = Some(written.mark);
        let last_offset = written.first_offset + written.records - 1;
        let new = PartitionReport { records: 0, first_offset: written.first_offset, last_offset };
        let report = self.report.partitions.entry(written.partition).or_insert(new);
        report.records += written.records;
        report.last_offset = last_offset;
    }

    /// After a failure: hears what became of the rest, as far as that can be known.
    async fn settle(&mut self) {
        while let Ok(Some(written)) = self.target.acknowledged().await {
            self.note(&written);
        }
    }

    fn how_far(&self, failure: &str, inputs: &[Input]) -> Failure {
        let mut told = format!("{failure}\n");
        match self.written_to.and_then(|(file, offset)| Some((inputs.get(file)?, offset))) {
            None => told.push_str("Nothing is known to have been written."),
            Some((input, offset)) => {
                told.push_str(&format!(
                    "Written so far, up to the record of offset {offset} in {}:",
                    input.name
                ));
                for (partition, report) in &self.report.partitions {
                    let (records, first, last) = (report.records, report.first_offset, report.last_offset);
                    told.push_str(&format!(
                        "\n  {}-{partition}: {records} records, offsets {first} to {last}",
                        self.asked.topic
                    ));
                }
            }
        }
        if self.unknown > 0 {
            told.push_str("\nWhat was sent last may have been written, too.");
        }
        told
    }
}

/// The largest partition that has a record in the files.
async fn largest_partition(
    asked: &Import,
    config: &BrokerConfig,
    inputs: &[Input],
    now_ms: i64,
) -> Result<i32, Failure> {
    let mut largest = 0;
    for input in inputs {
        if input.name == "-" {
            return Err("of standard input it is not known which partitions there will be: create the topic first, or \
                        choose one with --partition"
                .to_owned());
        }
        let mut reader = Reader::open(&input.name, asked.format, config, now_ms).await?;
        if let Reader::Segment(segment) = &reader {
            largest = largest.max(segment.tail.description.partition);
            continue;
        }
        while reader
            .next(&mut |record| {
                largest = largest.max(record.partition);
                Ok(true)
            })
            .await?
        {}
    }
    Ok(largest)
}

/// The records of a batch from `base_offset` on, as a producer would send them anew, and how many; `None` when nothing is
/// left. Its bytes stay as they are where that is
/// possible: a producer may not send offsets with gaps, nor the broker's times.
fn as_new(view: &BatchView<'_>, base_offset: i64) -> Result<Option<(Bytes, i64)>, Failure> {
    let header = view.header();
    if header.record_count == 0 {
        return Ok(None);
    }
    let told = |error: &dyn std::fmt::Display| format!("the batch at offset {}: {error}", header.base_offset);
    let is_whole =
        header.record_count == header.last_offset_delta.wrapping_add(1) && header.base_offset >= base_offset;
    if is_whole && header.timestamp_type() == TimestampType::CreateTime && !header.has_delete_horizon() {
        let batch = BatchBuilder::anonymous(view).map_err(|error| told(&error))?;
        return Ok(Some((batch, header.record_count.into())));
    }
    let codec = header.compression().map_err(|error| told(&error))?;
    let mut builder = BatchBuilder::new().compression(codec, None);
    walk(("", 0), view, false, &mut |record| {
        if record.offset < base_offset {
            return Ok(true);
        }
        let delta = builder.next_delta();
        builder.push_bytes(delta, record.timestamp, record.key, record.value, record.headers.iter().copied());
        Ok(true)
    })?;
    match builder.record_count() {
        0 => Ok(None),
        records => Ok(Some((builder.build().map_err(|error| told(&error))?, records.into()))),
    }
}

#[expect(clippy::print_stdout, reason = "the answer to `segment import`")]
fn show(report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return;
    }
    if report.created {
        println!("Created topic {}.", report.topic);
    }
    for (partition, told) in &report.partitions {
        let (records, first, last) = (told.records, told.first_offset, told.last_offset);
        println!("{}-{partition}: {records} records, at the new offsets {first} to {last}", report.topic);
    }
    if report.partitions.is_empty() {
        println!("There was nothing to append.");
    }
    let Skipped { control_records, aborted_records } = report.skipped;
    if control_records + aborted_records > 0 {
        println!(
            "Left out: {control_records} control records, {aborted_records} records of aborted transactions"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(transactional: bool) -> BatchBuilder {
        BatchBuilder::new().base_offset(7).leader_epoch(3).producer(9, 1, 4).transactional(transactional)
    }

    #[test]
    fn a_batch_is_sent_as_it_was_without_its_producer() {
        let old = batch(true)
            .compression(Compression::Zstd, None)
            .record(5, Some(b"k"), Some(b"v"))
            .build()
            .unwrap();
        let new = as_new(&BatchView::new(&old).unwrap(), 0).unwrap().unwrap().0;
        let view = BatchView::new(&new).unwrap();
        view.verify_crc().unwrap();
        let header = view.header();
        assert_eq!((header.base_offset, header.partition_leader_epoch), (0, -1));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (-1, -1, -1));
        assert!(!header.is_transactional() && header.compression() == Ok(Compression::Zstd));
        assert_eq!(view.payload(), BatchView::new(&old).unwrap().payload());
    }

    #[test]
    fn gaps_and_the_brokers_times_are_made_good() {
        let mut builder = batch(false).timestamp_type(TimestampType::LogAppendTime);
        builder.push(1, 5, None, Some(b"one"), &[("h", None)]);
        builder.push(4, 8, None, None, &[]);
        let old = builder.last_offset_delta(6).build().unwrap();
        let (new, records) = as_new(&BatchView::new(&old).unwrap(), 0).unwrap().unwrap();
        assert_eq!(records, 2);
        let view = BatchView::new(&new).unwrap();
        assert_eq!(
            (view.header().timestamp_type(), view.header().last_offset_delta),
            (TimestampType::CreateTime, 1)
        );
        let mut found = Vec::new();
        walk(("", 0), &view, false, &mut |record| {
            found.push((
                record.offset,
                record.timestamp,
                record.value.map(<[u8]>::to_vec),
                record.headers.len(),
            ));
            Ok(true)
        })
        .unwrap();
        assert_eq!(found, [(0, 8, Some(b"one".to_vec()), 1), (1, 8, None, 0)]);
        let header = *BatchView::new(&old).unwrap().header();
        let emptied = BatchBuilder::emptied(&header).unwrap();
        assert_eq!(as_new(&BatchView::new(&emptied).unwrap(), 0), Ok(None));
        let (_, records) = as_new(&BatchView::new(&old).unwrap(), 9).unwrap().unwrap();
        assert_eq!(records, 1, "the first is before the range");
    }
}
