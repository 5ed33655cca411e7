//! Segments: what is written is read, what is damaged is found, and the bytes never change.

use bytes::Bytes;
use chronik_engine::keys::log::EpochValue;
use chronik_engine::log::AbortedTxn;
use chronik_protocol::batch::BatchBuilder;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn description(base_offset: i64, next_offset: i64) -> Description {
    Description {
        base_offset,
        next_offset,
        max_timestamp: -1,
        first_timestamp: 1_000,
        created_ms: 2_000,
        appended_ms: 3_000,
        exported_ms: 4_000,
        batches: 0,
        records: 0,
        cleaned: false,
        cluster_id: "abcdefghijklmnopqrstuv".to_owned(),
        topic_id: Uuid::from_u128(7),
        topic: "orders".to_owned(),
        partition: 3,
    }
}

fn batch(base_offset: i64, values: &[&[u8]], timestamp_ms: i64) -> Bytes {
    let builder = BatchBuilder::new().base_offset(base_offset).leader_epoch(1);
    let builder =
        values.iter().fold(builder, |builder, value| builder.record(timestamp_ms, Some(b"k"), Some(value)));
    builder.build().unwrap()
}

fn of_producer(base_offset: i64, producer: (i64, i16, i32), txn: bool, marker: bool) -> Bytes {
    let (id, epoch, sequence) = producer;
    let builder =
        BatchBuilder::new().base_offset(base_offset).producer(id, epoch, sequence).transactional(txn);
    let value: &[u8] = if marker { &[0, 0, 0, 0, 0, 9] } else { b"value" };
    builder.control(marker).record(5, Some(&[0, 0, 0, 0]), Some(value)).build().unwrap()
}

/// An object of these batches.
fn object(description: Description, batches: &[Bytes], aborted: Vec<AbortedTxn>) -> Vec<u8> {
    let mut writer = SegmentWriter::new(description);
    let mut bytes = writer.header().to_vec();
    for batch in batches {
        writer.push(batch).unwrap();
        bytes.extend_from_slice(batch);
    }
    let finished = writer.finish(aborted, vec![EpochValue { epoch: 1, start_offset: 0 }]);
    bytes.extend_from_slice(&finished.tail_bytes);
    assert_eq!(bytes.len() as u64, finished.size);
    bytes
}

fn verify(bytes: &[u8]) -> Result<Report, SegmentError> {
    let tail = Tail::decode(bytes, bytes.len() as u64)?;
    let blocks = tail.blocks.clone();
    let mut verifier = Verifier::new(tail);
    verifier.header(&bytes[..HEADER_BYTES]);
    for block in blocks {
        let range = block.range();
        verifier.block(&block, &Bytes::copy_from_slice(&bytes[range.start as usize..range.end as usize]));
    }
    Ok(verifier.finish())
}

fn small() -> Vec<u8> {
    let batches = [
        batch(10, &[b"one", b"two"], 1_000),
        of_producer(12, (40, 2, 0), true, false),
        of_producer(13, (40, 2, -1), true, true),
        batch(14, &[b"three"], 999),
    ];
    let aborted = AbortedTxn { producer_id: 40, first_offset: 12, last_offset: 13, stable_offset: 14 };
    object(description(10, 15), &batches, vec![aborted])
}

#[test]
fn what_is_written_is_read() {
    let bytes = small();
    let tail = Tail::decode(&bytes, bytes.len() as u64).unwrap();
    assert_eq!(parse_header(&bytes).unwrap(), (10, 15));
    assert_eq!(
        (tail.description.batches, tail.description.records, tail.description.max_timestamp),
        (4, 5, 1_000)
    );
    assert_eq!(tail.blocks.len(), 1);
    assert_eq!((tail.blocks[0].base_offset, tail.blocks[0].last_offset), (10, 14));
    assert_eq!(tail.aborted.len(), 1);
    let (id, state) = tail.producers.iter().next().unwrap();
    assert_eq!((id, state.epoch, state.batches.len()), (40, 2, 1));
    assert_eq!((state.txn_first_offset, state.coordinator_epoch), (None, 9));
    assert_eq!(verify(&bytes).unwrap(), Report { blocks: 1, batches: 4, records: 5, faults: vec![] });
    // The last bytes alone are enough, once it is known how many.
    let length = Tail::length(&bytes[bytes.len() - FOOTER_BYTES..]).unwrap() as usize;
    assert_eq!(Tail::decode(&bytes[bytes.len() - length..], bytes.len() as u64).unwrap(), tail);
    assert!(Tail::decode(&bytes[bytes.len() - length + 1..], bytes.len() as u64).is_err());
}

/// Format version 1, for ever: a change of a byte here is a new version.
#[test]
fn the_bytes_of_version_1_are_golden() {
    let golden = include_bytes!("golden-1.seg");
    assert_eq!(small(), golden, "see docs/segment-format.md");
    assert_eq!(verify(golden).unwrap().faults, []);
}

#[test]
fn every_changed_byte_is_found() {
    let bytes = small();
    for index in 0..bytes.len() {
        for change in [1, 0x80] {
            let mut damaged = bytes.clone();
            damaged[index] ^= change;
            let found = verify(&damaged);
            assert!(found.is_err() || !found.unwrap().faults.is_empty(), "byte {index}");
        }
    }
    for length in 0..bytes.len() {
        assert!(verify(&bytes[..length]).is_err(), "cut to {length}");
    }
}

/// What a faulty writer would leave: every checksum is right, and what is told is not what is there.
#[test]
fn contradictions_are_found_where_checksums_are_right() {
    let abort = AbortedTxn { producer_id: 40, first_offset: 12, last_offset: 13, stable_offset: 14 };
    let sound = [
        batch(10, &[b"one", b"two"], 1_000),
        of_producer(12, (40, 2, 0), true, false),
        of_producer(13, (40, 2, -1), true, true),
        batch(14, &[b"three"], 999),
    ];
    let told = |description: Description, batches: &[Bytes], aborted: Vec<AbortedTxn>| {
        let faults = verify(&object(description, batches, aborted)).unwrap().faults;
        faults.into_iter().map(|fault| fault.problem).collect::<Vec<_>>().join("; ")
    };
    let whole = description(10, 15);
    assert_eq!(told(whole.clone(), &sound, vec![abort]), "");
    assert!(told(whole.clone(), &sound[1..], vec![abort]).contains("offsets 10..12 are missing"));
    assert!(told(whole.clone(), &sound[..3], vec![abort]).contains("offsets 14..15 are missing"));
    let cleaned = Description { cleaned: true, ..whole.clone() };
    assert_eq!(told(cleaned, &sound[1..], vec![abort]), "");
    assert!(told(whole.clone(), &sound, vec![]).contains("does not know of the aborted transaction 12..=13"));
    let stranger = AbortedTxn { producer_id: 41, ..abort };
    assert!(told(whole.clone(), &sound, vec![stranger, abort]).contains("no marker"));
    let elsewhere = AbortedTxn { first_offset: 20, last_offset: 25, ..abort };
    assert!(told(whole.clone(), &sound, vec![abort, elsewhere]).contains("is elsewhere"));
    let before = AbortedTxn { first_offset: 2, ..abort };
    assert_eq!(told(whole.clone(), &sound, vec![before]), "", "it began before the range");
    assert_eq!(told(description(11, 15), &sound, vec![abort]), "", "the first batch began before the range");
    let other_epoch =
        BatchBuilder::new().base_offset(10).leader_epoch(7).record(1, None, None).build().unwrap();
    assert!(told(description(10, 11), &[other_epoch], vec![]).contains("bears the leader epoch 7"));
}

#[test]
fn a_range_that_ends_earlier_is_told_by_header_and_tail() {
    let mut writer = SegmentWriter::new(Description { next_offset: i64::MAX, ..description(10, 15) });
    let batch = batch(10, &[b"one", b"two"], 1_000);
    writer.push(&batch).unwrap();
    assert_eq!(writer.position(), (HEADER_BYTES + batch.len()) as u64);
    writer.end_at(13, true);
    let header = writer.header();
    assert_eq!(parse_header(&header).unwrap(), (10, 13));
    let finished = writer.finish(vec![], vec![EpochValue { epoch: 1, start_offset: 0 }]);
    let bytes = [&header[..], &batch, &finished.tail_bytes].concat();
    assert_eq!(verify(&bytes).unwrap().faults, []);
    assert!(finished.tail.description.cleaned);
}

#[test]
fn a_damaged_batch_is_not_written() {
    let mut writer = SegmentWriter::new(description(10, 15));
    let mut damaged = batch(10, &[b"one"], 1).to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(writer.push(&damaged).is_err());
    writer.push(&batch(10, &[b"one"], 1)).unwrap();
    assert!(writer.push(&batch(10, &[b"one"], 1)).is_err(), "it was there");
    assert!(writer.push(&batch(15, &[b"one"], 1)).is_err(), "it is behind the range");
}

#[test]
fn producers_of_two_spans_are_those_of_both() {
    let span = |batches: &[Bytes]| {
        let mut writer = SegmentWriter::new(description(0, 1_000));
        batches.iter().for_each(|batch| writer.push(batch).unwrap());
        writer.finish(vec![], vec![]).tail.producers
    };
    let all: Vec<Bytes> = (0..6)
        .map(|index| of_producer(index, (1, 0, index as i32), false, false))
        .chain([of_producer(6, (2, 0, 0), true, false), of_producer(7, (2, 0, 1), true, false)])
        .chain([of_producer(8, (2, 1, -1), true, true), of_producer(9, (2, 1, 0), true, false)])
        .collect();
    let whole: Vec<_> = span(&all).iter().map(|(id, state)| (id, state.clone())).collect();
    for cut in 0..=all.len() {
        let mut first = span(&all[..cut]);
        first.followed_by(&span(&all[cut..]));
        let both: Vec<_> = first.iter().map(|(id, state)| (id, state.clone())).collect();
        assert_eq!(both, whole, "cut at {cut}");
    }
    assert_eq!(whole[1].1.txn_first_offset, Some(9));
}

proptest! {
    #[test]
    fn any_run_of_batches_is_found_again_by_offset(
        sizes in prop::collection::vec((1usize..4, 1usize..400_000, 0i64..5), 1..12),
    ) {
        let mut next = 100;
        let batches: Vec<Bytes> = sizes
            .iter()
            .map(|(records, bytes, gap)| {
                let value = vec![7; *bytes / records];
                let batch = batch(next, &vec![value.as_slice(); *records], next);
                next += *records as i64 + gap;
                batch
            })
            .collect();
        let cleaned = Description { cleaned: true, ..description(100, next) };
        let bytes = object(cleaned, &batches, vec![]);
        let tail = Tail::decode(&bytes, bytes.len() as u64).unwrap();
        prop_assert_eq!(verify(&bytes).unwrap().faults, vec![]);
        for offset in 100..next {
            let Some(index) = tail.block_for(offset) else { continue };
            let block = tail.blocks[index];
            prop_assert!(block.last_offset >= offset);
            prop_assert!(index == 0 || tail.blocks[index - 1].last_offset < offset);
        }
    }

    #[test]
    fn anything_can_be_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Tail::decode(&bytes, bytes.len() as u64);
        let _ = parse_header(&bytes);
    }
}

// DeleteRecords inside a batch moves the first leader epoch with the log's start; a sound segment used to fail.
#[test]
fn a_segment_whose_first_batch_begins_before_it_is_sound() {
    let first = batch(10, &[b"one", b"two"], 1_000);
    let description = description(11, 12);
    let mut writer = SegmentWriter::new(description);
    let mut bytes = writer.header().to_vec();
    writer.push(&first).unwrap();
    bytes.extend_from_slice(&first);
    let finished = writer.finish(Vec::new(), vec![EpochValue { epoch: 1, start_offset: 11 }]);
    bytes.extend_from_slice(&finished.tail_bytes);
    assert_eq!(verify(&bytes).unwrap().faults, []);
}
