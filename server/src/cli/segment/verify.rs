//! Owns `segment verify`: reads segments whole, tells everything that is wrong with each and where, and what their names say
//! otherwise than they do.

use chronik_tiering::segment::{HEADER_BYTES, Tail, Verifier, parse_header};
use clap::Args;
use regex::Regex;
use serde::Serialize;

use super::arguments::shown_size;
use super::object::{Group, NoTail, Object, expand};
use super::progress::Bar;
use super::{Failure, Settings, block_on, config};
use crate::config::BrokerConfig;

/// What can be typed after `segment verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Files, directories of them, or objects: s3://BUCKET/NAME, gs://BUCKET/NAME, az://ACCOUNT/CONTAINER/NAME; what ends with
    /// a slash is everything below. Addresses and credentials are those of the settings (S3_ENDPOINT, S3_ACCESS_KEY, …).
    #[arg(required = true, value_name = "FILE|URL")]
    names: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Serialize)]
struct Report {
    objects: Vec<ObjectReport>,
    faulty: usize,
}

#[derive(Debug, Default, Serialize)]
struct ObjectReport {
    name: String,
    ok: bool,
    size: u64,
    topic: Option<String>,
    partition: Option<i32>,
    base_offset: Option<i64>,
    next_offset: Option<i64>,
    blocks: usize,
    batches: u64,
    records: u64,
    faults: Vec<FaultReport>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FaultReport {
    /// Bytes from the beginning of the object; none when it could not be read.
    position: Option<u64>,
    problem: String,
}

/// Does what was typed. False when something is wrong.
pub fn run(asked: &Verify) -> Result<bool, Failure> {
    let config = config(&asked.settings)?;
    let report = block_on(async {
        let names = expand(&asked.names, &config).await?;
        let (bar, count) = (Bar::of_bytes(0, asked.json), names.len());
        let mut objects = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            bar.name(format!("{}/{count} {name}", index + 1));
            objects.push(verify(name, &config, &bar).await);
        }
        let faulty = objects.iter().filter(|object| !object.ok).count();
        Ok(Report { objects, faulty })
    })?;
    show(&report, asked.json);
    Ok(report.faulty == 0)
}

async fn verify(name: String, config: &BrokerConfig, bar: &Bar) -> ObjectReport {
    let mut report = ObjectReport { name: name.clone(), ..ObjectReport::default() };
    match Object::open(&name, config).await {
        Ok(object) => {
            report.size = object.size;
            if let Err(failure) = read(&object, &mut report, bar).await {
                report.faults.push(FaultReport { position: None, problem: failure });
            }
        }
        Err(failure) => report.faults.push(FaultReport { position: None, problem: failure }),
    }
    report.ok = report.faults.is_empty();
    report
}

async fn read(object: &Object, report: &mut ObjectReport, bar: &Bar) -> Result<(), Failure> {
    let header = object.range(0..object.size.min(HEADER_BYTES as u64)).await?;
    let (tail, tail_bytes) = match object.tail().await {
        Ok(tail) => tail,
        Err(NoTail::Unread(failure)) => return Err(failure),
        Err(NoTail::Wrong(position, error)) => {
            if let Err(error) = parse_header(&header) {
                report.faults.push(FaultReport { position: Some(0), problem: error.to_string() });
            }
            let problem = format!("{error}; without a sound tail nothing else can be checked");
            report.faults.push(FaultReport { position: Some(position), problem });
            return Ok(());
        }
    };
    let description = &tail.description;
    report.topic = Some(description.topic.clone());
    report.partition = Some(description.partition);
    (report.base_offset, report.next_offset) = (Some(description.base_offset), Some(description.next_offset));
    report.warnings = warnings(&object.name, &tail);
    bar.restart(object.size);
    let mut verifier = Verifier::new(tail.clone());
    verifier.header(&header);
    verifier.tail_bytes(&tail_bytes);
    let (mut group, mut first_timestamp) = (Group::default(), None);
    for (index, block) in tail.blocks.iter().enumerate() {
        let bytes = group.block(object, &tail, index).await?;
        if first_timestamp.is_none() {
            let header = chronik_protocol::batch::BatchHeader::parse(&bytes);
            first_timestamp = Some(header.map_or(-1, |header| header.max_timestamp));
        }
        verifier.block(block, &bytes);
        bar.set(block.range().end);
    }
    let told = verifier.finish();
    (report.blocks, report.batches, report.records) = (told.blocks, told.batches, told.records);
    let faults = told.faults.into_iter();
    report.faults =
        faults.map(|fault| FaultReport { position: Some(fault.position), problem: fault.problem }).collect();
    let told = tail.description.first_timestamp;
    // What a broker has copied after a cleaning, or after a deletion of records, may begin later than it did.
    if first_timestamp.is_some_and(|first| first != told) && !tail.description.cleaned {
        report.warnings.push(format!(
            "the description says that the first batch bears the timestamp {told}, it bears {}",
            first_timestamp.unwrap_or(-1)
        ));
    }
    Ok(())
}

/// What the name says otherwise than the content: of an export's file, or of an object in a bucket.
fn warnings(name: &str, tail: &Tail) -> Vec<String> {
    let description = &tail.description;
    let pattern = r"^(?:.*?/)?(?:(?P<topic>[^/]+)-(?P<partition>\d+)-|(?:(?P<folder>[^/]+)-[0-9a-f-]{36}/)?(?P<folder_partition>\d+)/)?(?P<base>\d{20})-(?P<last>\d+)(?:\.\d{10}-\d{10})?\.seg$";
    let Ok(pattern) = Regex::new(pattern) else { return Vec::new() };
    let Some(found) = pattern.captures(name) else { return Vec::new() };
    let either =
        |one: &str, other: &str| found.name(one).or(found.name(other)).map(|part| part.as_str().to_owned());
    let number = |part: &str| found.name(part).and_then(|part| part.as_str().parse::<i64>().ok());
    let mut warnings = Vec::new();
    let mut compare = |what: &str, said: Option<String>, is: String| {
        if let Some(said) = said.filter(|said| *said != is) {
            warnings.push(format!("by its name it holds {what} {said}, by its content {is}"));
        }
    };
    compare("topic", either("topic", "folder"), description.topic.clone());
    compare("partition", either("partition", "folder_partition"), description.partition.to_string());
    compare("first offset", number("base").map(|base| base.to_string()), description.base_offset.to_string());
    let last = description.next_offset - 1;
    compare("last offset", number("last").map(|last| last.to_string()), last.to_string());
    warnings
}

#[expect(clippy::print_stdout, reason = "the answer to `segment verify`")]
fn show(report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return;
    }
    for object in &report.objects {
        let what = match (&object.topic, object.partition, object.base_offset, object.next_offset) {
            (Some(topic), Some(partition), Some(base), Some(next)) => {
                let (records, size) = (object.records, shown_size(object.size));
                format!(": {topic}-{partition} {base}..{next}, {records} records, {size}")
            }
            _ => String::new(),
        };
        println!("{}  {}{what}", if object.ok { "ok  " } else { "FAIL" }, object.name);
        for fault in &object.faults {
            match fault.position {
                Some(position) => println!("      at byte {position}: {}", fault.problem),
                None => println!("      {}", fault.problem),
            }
        }
        object.warnings.iter().for_each(|warning| println!("      warning: {warning}"));
    }
    if report.faulty > 0 {
        println!("{} of {} are damaged: restore them from another copy", report.faulty, report.objects.len());
    }
}

#[cfg(test)]
mod tests {
    use chronik_tiering::segment::{Description, SegmentWriter};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_name_that_says_otherwise_is_told() {
        let description = Description {
            base_offset: 5,
            next_offset: 10,
            max_timestamp: -1,
            first_timestamp: -1,
            created_ms: -1,
            appended_ms: -1,
            exported_ms: 0,
            batches: 0,
            records: 0,
            cleaned: true,
            cluster_id: String::new(),
            topic_id: Uuid::nil(),
            topic: "t-1".to_owned(),
            partition: 3,
        };
        let tail = SegmentWriter::new(description).finish(vec![], vec![]).tail;
        let id = Uuid::nil();
        let bucket = |topic: &str, partition: i32| {
            format!("s3://b/segments/{topic}-{id}/{partition}/{:020}-9.0000000001-0000000002.seg", 5)
        };
        for (name, count) in [
            ("anything.seg".to_owned(), 0),
            (format!("/d/t-1-3-{:020}-9.seg", 5), 0),
            (format!("{:020}-9.seg", 5), 0),
            (format!("t-1-3-{:020}-8.seg", 5), 1),
            (format!("t-1-3-{:020}-9.seg", 4), 1),
            (format!("u-4-{:020}-9.seg", 5), 2),
            (bucket("t-1", 3), 0),
            (bucket("t-1", 2), 1),
            (bucket("u", 2), 2),
        ] {
            let warnings = warnings(&name, &tail);
            assert_eq!(warnings.len(), count, "{name}: {warnings:?}");
        }
    }
}
