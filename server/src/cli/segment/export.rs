//! Owns `segment export`: what is taken of which partition, and files that are cut when they are large enough. Reads committed
//! data, up to where it ended when the export began.

use std::path::PathBuf;

use chronik_protocol::batch::BatchView;
use clap::Args;
use serde::Serialize;

use super::aborts::Aborts;
use super::arguments::{self, Partitions, shown_size};
use super::client::Client;
use super::directory::on_directory;
use super::progress::Bar;
use super::record::{Mark, walk};
use super::segment_file::SegmentFile;
use super::source::{Source, Topic};
use super::writer::{RecordFile, StandardOutput};
use super::{Failure, Format, Settings, block_on};
use crate::runtime::Clock;

/// What can be typed after `segment export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The topic.
    #[arg(long)]
    topic: String,
    /// These partitions alone, as in 0,2-4.
    #[arg(long, value_name = "LIST", value_parser = arguments::partitions)]
    partitions: Option<Partitions>,
    /// First offset to take.
    #[arg(long, value_name = "N", conflicts_with = "from_time")]
    from_offset: Option<i64>,
    /// First offset not to take.
    #[arg(long, value_name = "N", conflicts_with = "to_time")]
    to_offset: Option<i64>,
    /// Begin with the first record of this time or later: RFC 3339, or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    from_time: Option<i64>,
    /// End before the first record of this time or later.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    to_time: Option<i64>,
    /// How records are written.
    #[arg(long, value_enum, default_value = "segment")]
    format: Format,
    /// Directory for the files; - prints JSON lines.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Begin another file when one has this many bytes.
    #[arg(long, value_name = "SIZE", default_value = "250MiB", value_parser = arguments::size)]
    max_bytes: u64,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// Ask a running broker, Chronik or Apache Kafka, instead of opening a data directory.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "data_dir")]
    bootstrap: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    topic: String,
    topic_id: String,
    cluster_id: String,
    format: &'static str,
    partitions: Vec<PartitionReport>,
}

#[derive(Debug, Default, Serialize)]
struct PartitionReport {
    partition: i32,
    /// First offset that was asked for and is there.
    from_offset: i64,
    /// First offset that was not taken.
    to_offset: i64,
    /// Records written; of segments, control records and aborted data too.
    records: u64,
    bytes: u64,
    files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    path: String,
    first_offset: i64,
    last_offset: i64,
    records: u64,
    bytes: u64,
}

/// Does what was typed.
pub fn run(asked: &Export) -> Result<(), Failure> {
    let to_stdout = asked.output.as_os_str() == "-";
    if to_stdout && asked.format != Format::Jsonl {
        return Err("only JSON lines can be printed: add --format jsonl, or name a directory".to_owned());
    }
    if to_stdout && asked.json {
        return Err("records and a report cannot both be printed: leave --json away".to_owned());
    }
    let report = match &asked.bootstrap {
        Some(bootstrap) => block_on(async {
            let client = Client::connect(bootstrap, &asked.topic).await?;
            export(asked, Source::Broker(Box::new(client))).await
        })?,
        None => on_directory(&asked.settings, &asked.topic, |directory| {
            export(asked, Source::Directory(directory))
        })?,
    };
    if !to_stdout {
        show(&report, asked.json);
    }
    Ok(())
}

/// A partition and the offsets to take of it.
struct Plan {
    partition: i32,
    from: i64,
    to: i64,
}

async fn export(asked: &Export, mut source: Source) -> Result<Report, Failure> {
    let topic = source.topic().await?.ok_or_else(|| format!("there is no topic '{}'", asked.topic))?;
    let plans = plan(asked, &mut source, &topic).await?;
    let total: i64 = plans.iter().map(|plan| plan.to - plan.from).sum();
    let bar = Bar::of_records(total.unsigned_abs(), asked.json || asked.output.as_os_str() == "-");
    let now_ms = Clock::system().now_ms();
    let mut report = Report {
        topic: topic.name.clone(),
        topic_id: topic.id.to_string(),
        cluster_id: topic.cluster_id.clone(),
        format: asked.format.extension(),
        partitions: Vec::new(),
    };
    let mut done = 0;
    for plan in plans {
        bar.name(format!("{}-{}", topic.name, plan.partition));
        let taken = plan.to - plan.from;
        let mut work =
            Work { asked, topic: &topic, plan, now_ms, bar: &bar, done, files: Vec::new(), out: None };
        let is_wanted = work.run(&mut source).await?;
        done += taken;
        report.partitions.push(work.report());
        if !is_wanted {
            break;
        }
    }
    Ok(report)
}

async fn plan(asked: &Export, source: &mut Source, topic: &Topic) -> Result<Vec<Plan>, Failure> {
    let wanted = |partition: &i32| asked.partitions.as_ref().is_none_or(|some| some.contains(*partition));
    if let Some(some) = &asked.partitions
        && !topic.partitions.contains(&some.largest())
    {
        let count = topic.partitions.len();
        return Err(format!("topic {} has no partition {}, only {count}", topic.name, some.largest()));
    }
    let mut plans = Vec::new();
    for partition in topic.partitions.iter().copied().filter(wanted) {
        let (start, end) = source.bounds(partition, true).await?;
        let mut from = asked.from_offset.unwrap_or(start);
        let mut to = asked.to_offset.unwrap_or(end);
        if let Some(time) = asked.from_time {
            from = source.offset_at(partition, time).await?.unwrap_or(end);
        }
        if let Some(time) = asked.to_time {
            to = source.offset_at(partition, time).await?.unwrap_or(end);
        }
        // What is not there any more, or not there yet, is not taken.
        let from = from.clamp(start, end);
        plans.push(Plan { partition, from, to: to.clamp(from, end) });
    }
    Ok(plans)
}

/// Where the records of a partition go.
enum Out {
    Segment(Box<SegmentFile>),
    Records { file: RecordFile, name: String, first: i64, last: i64, records: u64 },
    Standard(StandardOutput, u64),
}

/// One partition under way.
struct Work<'a> {
    asked: &'a Export,
    topic: &'a Topic,
    plan: Plan,
    now_ms: i64,
    bar: &'a Bar,
    /// Offsets of the partitions before.
    done: i64,
    files: Vec<FileReport>,
    out: Option<Out>,
}

impl Work<'_> {
    /// Takes the partition. False when nobody wants any more.
    async fn run(&mut self, source: &mut Source) -> Result<bool, Failure> {
        let Plan { partition, from, to } = self.plan;
        let (mut aborts, mut position) = (Aborts::default(), from);
        while position < to {
            let read = source.read(partition, position, true).await?;
            aborts.learn(read.aborted);
            let before = position;
            for batch in &read.batches {
                let view = BatchView::new(batch).map_err(|error| self.damaged(position, &error))?;
                view.verify_crc().map_err(|error| self.damaged(position, &error))?;
                let header = view.header();
                if header.last_offset() < position {
                    continue;
                }
                if header.base_offset >= to {
                    // A cleaner has left nothing between.
                    position = to;
                    break;
                }
                self.cut(source, &mut aborts, position, batch.len()).await?;
                if !self.push(&view, aborts.is_aborted(&view), position)? {
                    return Ok(false);
                }
                aborts.pass(&view);
                position = header.last_offset() + 1;
            }
            if position == before {
                return Err(self.damaged(position, &"the source gives the same batches again"));
            }
            self.bar.set((self.done + position.min(to) - from).unsigned_abs());
        }
        self.close(source, &aborts, position.max(to)).await
    }

    fn damaged(&self, offset: i64, error: &dyn std::fmt::Display) -> Failure {
        format!("{}-{}, at offset {offset}: {error}", self.topic.name, self.plan.partition)
    }

    /// Ends the file before a batch that would make it too large.
    async fn cut(
        &mut self,
        source: &mut Source,
        aborts: &mut Aborts,
        position: i64,
        more: usize,
    ) -> Result<(), Failure> {
        let bytes = match &self.out {
            Some(Out::Segment(file)) => file.bytes() + more as u64,
            // A batch becomes as much again or less; the next file begins with a batch.
            Some(Out::Records { file, .. }) => file.bytes(),
            Some(Out::Standard(..)) | None => 0,
        };
        if bytes >= self.asked.max_bytes {
            self.close(source, aborts, position).await?;
            aborts.forget_before(position);
        }
        Ok(())
    }

    fn push(&mut self, view: &BatchView<'_>, is_aborted: bool, position: i64) -> Result<bool, Failure> {
        let (asked, partition) = (self.asked, self.plan.partition);
        if asked.format == Format::Segment {
            if self.out.is_none() {
                let (folder, replace) = (&asked.output, asked.force);
                let file =
                    SegmentFile::create(folder, self.topic, partition, position, view, self.now_ms, replace)?;
                self.out = Some(Out::Segment(Box::new(file)));
            }
            if let Some(Out::Segment(file)) = &mut self.out {
                file.push(view)?;
            }
            return Ok(true);
        }
        if is_aborted || view.header().is_control() {
            return Ok(true);
        }
        let topic = self.topic;
        let (from, to) = (self.plan.from, self.plan.to);
        walk((&topic.name, partition), view, false, &mut |record| {
            if !(from..to).contains(&record.offset) || record.mark != Mark::Plain {
                return Ok(true);
            }
            match self.record_out(record.offset)? {
                Out::Segment(_) => Ok(true),
                Out::Standard(out, records) => {
                    *records += 1;
                    out.push(record)
                }
                Out::Records { file, last, records, .. } => {
                    (*last, *records) = (record.offset, *records + 1);
                    file.push(record).map(|()| true)
                }
            }
        })
    }

    /// Where records go; a new file if there is none.
    fn record_out(&mut self, offset: i64) -> Result<&mut Out, Failure> {
        let out = match self.out.take() {
            Some(out) => out,
            None if self.asked.output.as_os_str() == "-" => Out::Standard(StandardOutput::default(), 0),
            None => {
                let (asked, number) = (self.asked, self.files.len());
                let number = if number == 0 { String::new() } else { format!("-{number}") };
                let place = format!("{}-{}", self.topic.name, self.plan.partition);
                let name = format!("{place}{number}.{}", asked.format.extension());
                let file = RecordFile::create(&asked.output, &name, asked.format, asked.force)?;
                Out::Records { file, name, first: offset, last: offset, records: 0 }
            }
        };
        Ok(self.out.insert(out))
    }

    /// Ends the file that is under way. False when nobody wants any more.
    async fn close(&mut self, source: &mut Source, aborts: &Aborts, next: i64) -> Result<bool, Failure> {
        match self.out.take() {
            None => Ok(true),
            Some(Out::Standard(mut out, _)) => out.flush(),
            Some(Out::Records { file, name, first, last, records }) => {
                let (path, bytes) = file.finish(&name, self.asked.force)?;
                let path = path.display().to_string();
                self.files.push(FileReport { path, first_offset: first, last_offset: last, records, bytes });
                Ok(true)
            }
            Some(Out::Segment(file)) => {
                let aborted = self.aborted(source, aborts, file.base_offset(), next).await?;
                let done = file.finish(next, aborted, self.asked.force)?;
                self.files.push(FileReport {
                    path: done.path.display().to_string(),
                    first_offset: done.range.0,
                    last_offset: done.range.1,
                    records: done.records,
                    bytes: done.bytes,
                });
                Ok(true)
            }
        }
    }

    /// The aborted transactions with an offset in `base..next`. Their markers may be behind, even behind the last stable
    /// offset: then what follows is read, until they are found.
    async fn aborted(
        &self,
        source: &mut Source,
        aborts: &Aborts,
        base: i64,
        next: i64,
    ) -> Result<Vec<chronik_engine::log::AbortedTxn>, Failure> {
        let (partition, mut aborts, mut position) = (self.plan.partition, aborts.clone(), next);
        while aborts.lacks_markers(next) {
            let (_, end) = source.bounds(partition, false).await?;
            if position >= end {
                return Err(
                    self.damaged(position, &"the end of an aborted transaction is not there; try again")
                );
            }
            for batch in source.read(partition, position, false).await?.batches {
                let view = BatchView::new(&batch).map_err(|error| self.damaged(position, &error))?;
                if view.header().base_offset >= position {
                    aborts.pass(&view);
                }
                position = position.max(view.header().last_offset() + 1);
            }
        }
        Ok(aborts.overlapping(base, next))
    }

    fn report(self) -> PartitionReport {
        let Plan { partition, from, to } = self.plan;
        PartitionReport {
            partition,
            from_offset: from,
            to_offset: to,
            records: self.files.iter().map(|file| file.records).sum(),
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            files: self.files,
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer to `segment export`")]
fn show(report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return;
    }
    for partition in &report.partitions {
        let name = format!("{}-{}", report.topic, partition.partition);
        let (from, to) = (partition.from_offset, partition.to_offset);
        if partition.files.is_empty() {
            println!("{name}: nothing in offsets {from}..{to}");
        }
        for file in &partition.files {
            let (first, last) = (file.first_offset, file.last_offset);
            let (records, bytes) = (file.records, shown_size(file.bytes));
            println!("{name}: {records} records, offsets {first} to {last}, {bytes}: {}", file.path);
        }
    }
}
