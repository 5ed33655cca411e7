//! `chronik-server segment` as people use it: the real binary, a running broker, a stopped directory, object storage, and
//! files that were damaged on purpose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, BatchHeader, Compression, HEADER_SIZE};
use chronik_tests::broker::{Broker, binary};
use chronik_tests::random::Random;
use chronik_tests::transactions::Producer;
use chronik_tests::wire::{Client, produce_request};
use chronik_tiering::segment::{HEADER_BYTES, Tail};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// The first record's time; each batch is a second later.
const BEGIN_MS: i64 = 1_700_000_000_000;

fn segment(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("segment").args(arguments).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(arguments: &[&str]) -> String {
    let output = segment(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(&[arguments, &["--json"]].concat())).expect("JSON")
}

fn refused(arguments: &[&str], words: &str) {
    let output = segment(arguments);
    assert!(
        output.status.code() == Some(6) && told(&output).contains(words),
        "{arguments:?}: {}",
        told(&output)
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The files of a folder with this ending, by name.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(found.iter().all(|path| !text(path).ends_with(".tmp")), "nothing is left over: {found:?}");
    found.retain(|path| text(path).ends_with(ending));
    found.sort();
    found
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn produce(client: &mut Client, topic: &str, partition: i32, batch: Bytes) {
    let answer = client.call(&produce_request(topic, partition, -1, batch), 8);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

/// A topic with everything in it: codecs, nulls, headers, transactions of both ends, blocks, one that is open.
fn fill(client: &mut Client, topic: &str) {
    client.create_topic(topic, 2);
    let mut random = Random::seeded_by("segment_tool", 1);
    let odd = BatchBuilder::new()
        .record_with_headers(
            BEGIN_MS,
            None,
            Some(b"\xff\x00"),
            &[("h", None), ("h", Some(b"2")), ("", Some(b""))],
        )
        .record(BEGIN_MS, Some(b"deleted"), None)
        .record(BEGIN_MS, Some(b""), Some(b""));
    produce(client, topic, 0, odd.build().expect("a batch"));
    for (codec, second) in Compression::ALL.into_iter().zip(1..) {
        let value = format!("{} \u{2713} ", codec.name()).repeat(50);
        let mut builder = BatchBuilder::new().compression(codec, None);
        for index in 0..3 {
            let time = BEGIN_MS + second * 1000 + index;
            builder = builder.record(time, Some(codec.name().as_bytes()), Some(value.as_bytes()));
        }
        produce(client, topic, 0, builder.build().expect("a batch"));
    }
    let values: Vec<Bytes> = (0..3).map(|index| Bytes::from(format!("of a transaction {index}"))).collect();
    for commit in [true, false, true, false] {
        let mut producer = Producer::start(client, &format!("{topic}-{commit}"));
        producer.produce(client, topic, 2, &values);
        for index in 0..4 {
            let time = BEGIN_MS + 10_000 + index;
            let value = random.bytes(200_000);
            produce(
                client,
                topic,
                0,
                BatchBuilder::new().record(time, None, Some(&value)).build().expect("a batch"),
            );
        }
        producer.produce(client, topic, 2, &values);
        assert_eq!(producer.end(client, commit), 0);
    }
    // One that is open begins before the end of one that is aborted, whose marker nobody may read.
    let mut aborted = Producer::start(client, &format!("{topic}-behind"));
    aborted.produce(client, topic, 2, &values);
    Producer::start(client, &format!("{topic}-open")).produce(client, topic, 2, &values);
    assert_eq!(aborted.end(client, false), 0);
}

fn exported(topic: &str, from: &[&str], format: &str, more: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let plain = ["export", "--topic", topic, "--format", format, "-o", text(folder.path())];
    json(&[&plain, from, more].concat());
    folder
}

/// The bytes of a segment but for when it was made.
fn timeless(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).expect("the segment is there");
    changed(&bytes, |tail, _| tail.description.exported_ms = 0)
}

/// A segment with another tail, and its data if that is changed, too; every checksum but those of batches is right again.
fn changed(bytes: &[u8], change: impl FnOnce(&mut Tail, &mut Vec<u8>)) -> Vec<u8> {
    let mut tail = Tail::decode(bytes, bytes.len() as u64).expect("a sound segment");
    let mut data = bytes[..tail.data_end() as usize].to_vec();
    change(&mut tail, &mut data);
    tail.data_crc = crc32c::crc32c(&data[HEADER_BYTES..]);
    for block in &mut tail.blocks {
        let range = block.range();
        if range.end <= data.len() as u64 {
            block.crc = crc32c::crc32c(&data[range.start as usize..range.end as usize]);
        }
    }
    data.extend_from_slice(&tail.encode());
    data
}

#[test]
fn a_broker_and_its_directory_give_the_same_files() {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    fill(&mut client, "all");
    let (address, dir) = (broker.bootstrap(), broker.data_dir().to_owned());
    let live = ["--bootstrap", address.as_str()];
    let offline = ["-d", text(&dir)];
    let kinds: [(&str, &[&str]); 4] = [
        ("segment", &["--max-bytes", "1MiB"]),
        ("segment", &[]),
        ("jsonl", &["--max-bytes", "2000"]),
        ("parquet", &[]),
    ];
    let of_broker: Vec<TempDir> =
        kinds.iter().map(|(format, more)| exported("all", &live, format, more)).collect();
    refused(&["export", "--topic", "all", "-d", text(&dir), "-o", "x"], "in use");
    broker.stop();
    let of_directory: Vec<TempDir> =
        kinds.iter().map(|(format, more)| exported("all", &offline, format, more)).collect();
    for (((format, _), one), other) in kinds.iter().zip(&of_broker).zip(&of_directory) {
        let ending = if *format == "segment" { "seg" } else { format };
        let (one, other) = (files(one.path(), ending), files(other.path(), ending));
        assert!(one.len() >= 2, "{one:?}");
        assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(one.file_name(), other.file_name());
            let (one, other) = match *format {
                "segment" => (timeless(one), timeless(other)),
                _ => (std::fs::read(one).expect("a file"), std::fs::read(other).expect("a file")),
            };
            assert!(one == other, "{format}");
        }
    }
    let (cut, whole) = (of_broker[0].path(), of_broker[1].path());
    let verified = json(&["verify", text(cut), text(whole)]);
    assert_eq!(verified["faulty"], 0);
    let objects = verified["objects"].as_array().expect("objects");
    assert!(
        objects.iter().all(|object| object["warnings"].as_array().is_some_and(Vec::is_empty)),
        "{verified}"
    );
    assert!(files(cut, "seg").len() > 4);
    assert_eq!(done(&["cat", text(cut)]), done(&["cat", text(whole)]));
    let printed = done(&["cat", text(whole)]);
    let of_lines: Vec<String> = files(of_broker[2].path(), "jsonl")
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("lines"))
        .collect();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&printed), sorted(&of_lines.concat()));
    // 18 plain, 16 large, and two committed transactions of six on each of two partitions.
    let records = lines(&printed);
    assert_eq!(records.len(), 18 + 16 + 24);
    assert_eq!(
        records[0]["headers"].to_string(),
        r#"[{"key":"h","value":null},{"key":"h","value":"2"},{"key":"","value":""}]"#
    );
    assert_eq!((&records[0]["value"]["base64"], &records[0]["key"]), (&Value::from("/wA="), &Value::Null));
    assert_eq!((&records[1]["key"], &records[1]["value"]), (&Value::from("deleted"), &Value::Null));
    let marked = lines(&done(&["cat", "--all", text(whole)]));
    let count = |word: &str| marked.iter().filter(|line| !line[word].is_null()).count();
    assert_eq!(
        (count("aborted"), count("control")),
        (2 * 15, 2 * 4),
        "the last marker is behind the stable offset"
    );
    let inspected = json(&["inspect", "--blocks", text(whole)]);
    let first = &inspected["segments"][0];
    assert_eq!((&first["topic"], &first["cleaned"]), (&Value::from("all"), &Value::Bool(false)));
    assert!(first["aborted"].as_array().is_some_and(|aborted| aborted.len() == 3), "{first}");
    assert!(first["blocks"].as_array().is_some_and(|blocks| blocks.len() > 2));
    assert!(done(&["inspect", text(whole)]).contains("leader epochs"));
}

/// A damage, what must be told of it, and how it is done.
type Damage = (&'static str, &'static str, Change);
type Change = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn flip(at: impl Fn(usize) -> usize + 'static) -> Change {
    Box::new(move |bytes| {
        let mut bytes = bytes.to_vec();
        let at = at(bytes.len());
        bytes[at] ^= 0x10;
        bytes
    })
}

fn tail_change(change: impl Fn(&mut Tail) + 'static) -> Change {
    Box::new(move |bytes| changed(bytes, |tail, _| change(tail)))
}

/// Changes the header of the first batch and makes its checksum right.
fn first_batch(change: impl Fn(&mut BatchHeader, &mut [u8]) + 'static) -> Change {
    Box::new(move |bytes| {
        changed(bytes, |_, data| {
            let mut header = BatchHeader::parse(&data[HEADER_BYTES..]).expect("a batch");
            let end = HEADER_BYTES + header.size_bytes();
            change(&mut header, &mut data[HEADER_BYTES + HEADER_SIZE..end]);
            data[HEADER_BYTES..HEADER_BYTES + HEADER_SIZE].copy_from_slice(&header.to_bytes());
            let crc = crc32c::crc32c(&data[HEADER_BYTES + 21..end]);
            data[HEADER_BYTES + 17..HEADER_BYTES + 21].copy_from_slice(&crc.to_be_bytes());
        })
    })
}

fn without_block(bytes: &[u8], index: usize) -> Vec<u8> {
    changed(bytes, |tail, data| {
        let gone = tail.blocks.remove(index);
        data.drain(gone.position as usize..gone.range().end as usize);
        for block in tail.blocks.iter_mut().skip(index) {
            block.position -= u64::from(gone.length);
        }
    })
}

fn swapped(bytes: &[u8], tail_too: bool) -> Vec<u8> {
    let tail = Tail::decode(bytes, bytes.len() as u64).expect("a sound segment");
    let (one, other) = (tail.blocks[0].range(), tail.blocks[1].range());
    let part = |range: &std::ops::Range<u64>| bytes[range.start as usize..range.end as usize].to_vec();
    let data =
        [bytes[..HEADER_BYTES].to_vec(), part(&other), part(&one), bytes[other.end as usize..].to_vec()]
            .concat();
    if !tail_too {
        return data;
    }
    changed(bytes, |tail, all| {
        *all = data[..tail.data_end() as usize].to_vec();
        tail.blocks.swap(0, 1);
        tail.blocks[0].position = HEADER_BYTES as u64;
        tail.blocks[1].position = tail.blocks[0].range().end;
    })
}

fn header_of(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes[..HEADER_BYTES - 4]);
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn damages() -> Vec<Damage> {
    vec![
        ("a byte of a batch", "CRC-32C", flip(|_| 5_000)),
        ("the first byte", "CHRONSEG", flip(|_| 0)),
        ("a byte of the header", "the header", flip(|_| 15)),
        ("a byte of the tail", "the tail is damaged", flip(|size| size - 100)),
        ("a byte of the footer", "the footer is damaged", flip(|size| size - 50)),
        ("the last byte", "CHRONEND", flip(|size| size - 1)),
        ("a byte is missing", "CHRONEND", Box::new(|bytes| bytes[..bytes.len() - 1].to_vec())),
        ("half is missing", "tail", Box::new(|bytes| bytes[..bytes.len() / 2].to_vec())),
        (
            "the first half is missing",
            "the footer tells",
            Box::new(|bytes| bytes[bytes.len() / 2..].to_vec()),
        ),
        ("nothing is left", "shorter than a header", Box::new(|_| Vec::new())),
        ("bytes at the end", "CHRONEND", Box::new(|bytes| [bytes, b"more"].concat())),
        ("another file", "CHRONSEG", Box::new(|_| vec![7; 10_000])),
        (
            "a block was zeroed",
            "a block is damaged",
            Box::new(|bytes| {
                let mut bytes = bytes.to_vec();
                bytes[2_000_000..2_004_096].fill(0);
                bytes
            }),
        ),
        (
            "a header of other offsets",
            "the header says",
            Box::new(|bytes| header_of(bytes, |header| header[19] ^= 1)),
        ),
        (
            "a header with a reserved byte",
            "reserved",
            Box::new(|bytes| header_of(bytes, |header| header[11] = 1)),
        ),
        ("blocks changed places", "a block is damaged", Box::new(|bytes| swapped(bytes, false))),
        (
            "blocks changed places, in the index too",
            "does not follow",
            Box::new(|bytes| swapped(bytes, true)),
        ),
        ("the first block is missing", "are missing", Box::new(|bytes| without_block(bytes, 0))),
        ("a block is missing", "are missing", Box::new(|bytes| without_block(bytes, 1))),
        (
            "a batch whose own CRC is wrong",
            "the batch has the CRC",
            Box::new(|bytes| changed(bytes, |_, data| data[HEADER_BYTES + HEADER_SIZE + 1] ^= 1)),
        ),
        (
            "a batch that counts wrongly",
            "has 2 records for 3 offsets",
            first_batch(|header, _| header.record_count -= 1),
        ),
        (
            "a batch with a later record than it says",
            "is told to be the largest",
            first_batch(|header, _| header.max_timestamp -= 1),
        ),
        ("records that cannot be read", "record 0 is malformed", first_batch(|_, records| records[0] = 1)),
        (
            "batches that are not counted",
            "the description",
            tail_change(|tail| tail.description.batches -= 1),
        ),
        (
            "records that are not counted",
            "the description",
            tail_change(|tail| tail.description.records += 1),
        ),
        (
            "another largest timestamp",
            "the description",
            tail_change(|tail| tail.description.max_timestamp += 1),
        ),
        (
            "another timestamp of a block",
            "the block index",
            tail_change(|tail| tail.blocks[1].max_timestamp -= 1),
        ),
        ("a longer range", "are missing", tail_change(|tail| tail.description.next_offset += 5)),
        ("no aborted transactions", "does not know of the aborted", tail_change(|tail| tail.aborted.clear())),
        (
            "an aborted transaction of another",
            "no marker",
            tail_change(|tail| tail.aborted[0].producer_id += 1),
        ),
        (
            "aborted transactions out of order",
            "order of their markers",
            tail_change(|tail| tail.aborted.reverse()),
        ),
        ("no producers", "the producers", tail_change(|tail| tail.producers = Default::default())),
        ("another leader epoch", "the leader epoch", tail_change(|tail| tail.epochs[0].epoch += 1)),
        ("no leader epochs", "the leader epoch", tail_change(|tail| tail.epochs.clear())),
    ]
}

#[test]
fn every_damage_is_found() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    fill(&mut client, "all");
    let folder = exported("all", &["--bootstrap", &broker.bootstrap()], "segment", &["--partitions", "0"]);
    let sound = std::fs::read(&files(folder.path(), "seg")[0]).expect("a segment");
    let place = tempfile::tempdir().expect("a directory");
    let damages = damages();
    assert!(damages.len() >= 12);
    let mut names = Vec::new();
    for (index, (_, _, damage)) in damages.iter().enumerate() {
        let path = place.path().join(format!("{index}.seg"));
        let damaged = damage(&sound);
        assert!(damaged != sound);
        std::fs::write(&path, damaged).expect("it is written");
        names.push(path);
    }
    let mut arguments = vec!["verify", "--json"];
    arguments.extend(names.iter().map(|path| text(path)));
    let output = segment(&arguments);
    assert_eq!(output.status.code(), Some(6), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for ((kind, words, _), object) in damages.iter().zip(report["objects"].as_array().expect("objects")) {
        let faults = object["faults"].as_array().expect("faults");
        assert!(faults.iter().any(|fault| fault["problem"].to_string().contains(words)), "{kind}: {object}");
        assert!(faults.iter().all(|fault| fault["position"].is_u64()), "{kind}: {object}");
    }
    // The sound one under a name that is not its own is no more than odd.
    let odd = place.path().join(format!("others-7-{:020}-3.seg", 1));
    std::fs::write(&odd, &sound).expect("it is written");
    let warned = done(&["verify", text(&odd)]);
    assert!(warned.contains("warning: by its name it holds topic others"), "{warned}");
    refused(&["verify", text(&place.path().join("none.seg"))], "No such file");
    refused(&["cat", text(&names[0])], "segment verify");
}

/// Everything of each record but where it was, by partition and in order.
fn contents(topic: &str, from: &[&str]) -> BTreeMap<i64, Vec<String>> {
    let printed = done(&[&["export", "--topic", topic, "--format", "jsonl", "-o", "-"], from].concat());
    let mut found: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for line in lines(&printed) {
        let parts = ["timestamp", "key", "value", "headers"].map(|part| line[part].to_string());
        found.entry(line["partition"].as_i64().expect("a number")).or_default().push(parts.join(" "));
    }
    found
}

#[test]
fn what_was_exported_can_be_imported() {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    fill(&mut client, "all");
    let (address, dir) = (broker.bootstrap(), broker.data_dir().to_owned());
    let live = ["--bootstrap", address.as_str()];
    let expected = contents("all", &live);
    let mut exports = Vec::new();
    for (format, ending) in [("segment", "seg"), ("jsonl", "jsonl"), ("parquet", "parquet")] {
        let folder = exported("all", &live, format, &["--max-bytes", "1MiB"]);
        let names: Vec<String> =
            files(folder.path(), ending).iter().map(|path| text(path).to_owned()).collect();
        assert!(names.len() >= 3, "{names:?}");
        exports.push((format, names, folder));
    }
    for (format, names, _) in &exports {
        let topic = format!("from-{format}");
        let names: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        let import = [&["import", "--topic", &topic, "--bootstrap", &address], names.as_slice()].concat();
        refused(&import, "add --create");
        let report = json(&[import.as_slice(), &["--create"]].concat());
        assert_eq!(contents(&topic, &live), expected, "{format}");
        assert_eq!(
            (&report["partitions"]["0"]["first_offset"], &report["partitions"]["0"]["last_offset"]),
            (&0.into(), &45.into())
        );
        if *format == "segment" {
            assert_eq!(
                (&report["skipped"]["control_records"], &report["skipped"]["aborted_records"]),
                (&8.into(), &30.into())
            );
            let folder = exported(&topic, &live, "segment", &[]);
            let inspected = json(&["inspect", text(folder.path())]);
            assert_eq!(inspected["segments"][0]["producers"].as_array().map(Vec::len), Some(0));
        }
        // Once more, behind what is there, and all in one.
        let report = json(&[import.as_slice(), &["--partition", "1"]].concat());
        assert_eq!(
            (&report["partitions"]["1"]["first_offset"], &report["partitions"]["1"]["records"]),
            (&12.into(), &58.into())
        );
    }
    refused(
        &["import", "--topic", "from-jsonl", "--bootstrap", &address, "--partition", "2", &exports[1].1[0]],
        "--partition",
    );
    client.create_topic_with("keyed", 2, &[("cleanup.policy", "compact")]);
    refused(
        &["import", "--topic", "keyed", "--bootstrap", &address, &exports[1].1[0]],
        "Nothing is known to have been written",
    );
    broker.stop();
    let offline = ["-d", text(&dir)];
    for (format, names, _) in &exports {
        let topic = format!("offline-{format}");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        json(&[&["import", "--create", "--topic", &topic], &offline[..], names.as_slice()].concat());
        assert_eq!(contents(&topic, &offline), expected, "{format}");
    }
    broker.start_again();
    assert_eq!(contents("offline-segment", &live), expected);
}

#[test]
fn ranges_and_wrong_orders_are_understood() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    fill(&mut client, "all");
    let address = broker.bootstrap();
    let print = |more: &[&str]| {
        let plain = [
            "export",
            "--topic",
            "all",
            "--bootstrap",
            &address,
            "--format",
            "jsonl",
            "-o",
            "-",
            "--partitions",
            "0",
        ];
        let offsets = lines(&done(&[&plain, more].concat()));
        let offsets: Vec<i64> =
            offsets.iter().map(|line| line["offset"].as_i64().expect("a number")).collect();
        (offsets.first().copied(), offsets.last().copied(), offsets.len())
    };
    assert_eq!(print(&["--from-offset", "4", "--to-offset", "8"]), (Some(4), Some(7), 4));
    assert_eq!(print(&["--from-offset", "5000"]), (None, None, 0));
    // Batches of three from offset 3 on, each a second later.
    let from = (BEGIN_MS + 2000).to_string();
    assert_eq!(
        print(&["--from-time", &from, "--to-time", "2023-11-14T22:13:23.001Z"]),
        (Some(6), Some(9), 4)
    );
    assert_eq!(print(&["--from-time", "2100-01-01"]), (None, None, 0));
    let folder =
        exported("all", &["--bootstrap", &address], "segment", &["--from-offset", "4", "--to-offset", "8"]);
    let names = files(folder.path(), "seg");
    assert!(text(&names[0]).ends_with(&format!("all-0-{:020}-8.seg", 4)), "whole batches: {names:?}");
    let name = text(&names[0]);
    assert_eq!(done(&["cat", "--offsets", "5..7", name]).lines().count(), 2);
    assert_eq!(done(&["cat", "-n", "1", name]).lines().count(), 1);
    let shown = lines(&done(&["cat", name]));
    assert_eq!((shown.len(), &shown[0]["offset"]), (5, &4.into()), "what is before the range is not shown");
    assert_eq!(json(&["verify", name])["faulty"], 0);
    let report = json(&["import", name, "--topic", "some", "--create", "--bootstrap", &address]);
    assert_eq!(report["partitions"]["0"]["records"], 5);
    let again = [
        "export",
        "--topic",
        "all",
        "--bootstrap",
        &address,
        "--from-offset",
        "4",
        "--to-offset",
        "8",
        "-o",
        text(folder.path()),
    ];
    refused(&again, "--force");
    done(&[&again[..], &["--force"]].concat());
    refused(&["export", "--topic", "none", "--bootstrap", &address, "-o", "x"], "there is no topic 'none'");
    refused(
        &["export", "--topic", "all", "--bootstrap", "127.0.0.1:1", "-o", "x"],
        "name another with --bootstrap",
    );
    refused(
        &["export", "--topic", "all", "--bootstrap", &address, "--partitions", "0-2", "-o", "x"],
        "no partition 2",
    );
    refused(&["export", "--topic", "all", "-d", text(folder.path()), "-o", "x"], "holds no data");
    refused(&["cat", text(&folder.path().join("a.txt"))], "--format");
    // Nobody reads to the end.
    let mut cat = Command::new(binary());
    let mut child = cat
        .args(["segment", "cat", name, name, name])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn what_a_cleaner_has_left_is_exported_with_its_gaps() {
    let broker = Broker::builder().set("log.cleaner.enable", false).start();
    let mut client = Client::connect(broker.kafka_addr());
    let kept = [("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    client.create_topic_with("kept", 1, &kept);
    for round in 0..20 {
        let mut builder = BatchBuilder::new().compression(Compression::Lz4, None);
        for key in round..round + 10 {
            builder = builder.record(BEGIN_MS, Some(format!("k{key}").as_bytes()), Some(b"v"));
        }
        produce(&mut client, "kept", 0, builder.build().expect("a batch"));
    }
    let mut compact = Command::new(binary());
    let http = broker.http_addr().to_string();
    let cleaned = compact.args(["compact", "now", "--http-addr", &http]).output().expect("the binary runs");
    assert!(cleaned.status.success(), "{}", told(&cleaned));
    let address = broker.bootstrap();
    let live = ["--bootstrap", address.as_str()];
    let left = contents("kept", &live);
    assert_eq!(left[&0].len(), 29, "one of each key");
    let folder = exported("kept", &live, "segment", &[]);
    assert_eq!(json(&["verify", text(folder.path())])["faulty"], 0);
    let inspected = json(&["inspect", text(folder.path())]);
    let described = &inspected["segments"][0];
    assert_eq!((&described["cleaned"], &described["next_offset"]), (&Value::Bool(true), &200.into()));
    json(&["import", "--create", "--topic", "again", "--bootstrap", &address, text(folder.path())]);
    assert_eq!(contents("again", &live), left, "the broker's times have become the records' own");
    let folder = exported("again", &live, "segment", &[]);
    let again = json(&["inspect", text(folder.path())]);
    assert_eq!(
        (&again["segments"][0]["cleaned"], &again["segments"][0]["next_offset"]),
        (&Value::Bool(false), &29.into())
    );
}

#[test]
fn what_is_in_object_storage_is_exported_with_the_rest() {
    let mut broker = Broker::builder().set("remote.log.manager.task.interval.ms", 100).start();
    let mut client = Client::connect(broker.kafka_addr());
    let tiered = [
        ("remote.storage.enable", "true"),
        ("internal.segment.bytes", "200000"),
        ("local.retention.bytes", "1"),
    ];
    client.create_topic_with("tiered", 1, &tiered);
    for index in 0..60 {
        let value = vec![b'a' + (index % 26) as u8; 20_000];
        let batch = BatchBuilder::new().record(BEGIN_MS + index, Some(b"k"), Some(&value)).build();
        produce(&mut client, "tiered", 0, batch.expect("a batch"));
    }
    let address = broker.bootstrap();
    let begun = Instant::now();
    while broker.metric("chronik_tier_remote_bytes") < 900_000.0 {
        assert!(begun.elapsed() < PATIENCE, "{}", broker.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let live = contents("tiered", &["--bootstrap", &address]);
    assert_eq!(live[&0].len(), 60);
    broker.stop();
    let dir = broker.data_dir().to_owned();
    assert_eq!(contents("tiered", &["-d", text(&dir)]), live);
    let by_time = ["--from-time", &(BEGIN_MS + 3).to_string(), "-d", text(&dir)].map(str::to_owned);
    let by_time: Vec<&str> = by_time.iter().map(String::as_str).collect();
    assert_eq!(contents("tiered", &by_time)[&0].len(), 57);
    // What the broker has copied is verified where it is.
    let objects = dir.join("objects");
    let verified = json(&["verify", text(&objects)]);
    assert_eq!(verified["faulty"], 0);
    let objects = verified["objects"].as_array().expect("objects");
    assert!(
        objects.len() >= 4 && objects.iter().all(|object| object["warnings"] == Value::Array(vec![])),
        "{verified}"
    );
}
