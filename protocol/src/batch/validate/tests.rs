//! semantics 3.2, line by line, and the golden batch.

use super::super::{BatchBuilder, BatchView, PREFIX_SIZE};
use super::*;
use crate::batch::header::{CRC_AT, put};
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

fn options() -> ValidateOptions {
    ValidateOptions {
        now_ms: NOW,
        max_batch_bytes: 1 << 20,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: HOUR,
        require_keys: false,
        compression: TargetCompression::Producer,
        max_decompressed_bytes: 1 << 20,
    }
}

fn three() -> BatchBuilder {
    BatchBuilder::new()
        .record(NOW, Some(b"a"), Some(b"1"))
        .record_with_headers(NOW + 5, Some(b"b"), None, &[("h", Some(b"x")), ("h", None)])
        .record(NOW - 5, Some(b"c"), Some(&[7; 300]))
}

fn built(builder: &BatchBuilder) -> Bytes {
    builder.build().unwrap()
}

fn check(bytes: impl Into<Bytes>) -> Result<ValidBatch, ValidateError> {
    validate(bytes.into(), &options())
}

/// The batch with some of its header's fields changed, and a CRC that agrees.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut bytes = bytes.to_vec();
    let mut header = BatchHeader::parse(&bytes).unwrap();
    change(&mut header);
    bytes[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
    seal(&mut bytes);
    bytes.into()
}

/// A batch whose records are these bytes.
fn with_records(records: &[u8], count: i32) -> Bytes {
    let header = BatchHeader {
        record_count: count,
        last_offset_delta: count - 1,
        base_timestamp: NOW,
        max_timestamp: NOW,
        ..BatchHeader::default()
    };
    assemble(header, records).unwrap()
}

// One record (key k1, value hello, header h1 = null), laid out and summed by hand with another CRC implementation.
const GOLDEN: &str = "000000000000000000000043ffffffff02076127e10000000000000000018bcfe568000000018bcfe56800\
                      ffffffffffffffffffffffffffff0000000122000000046b310a68656c6c6f0204683101";

#[test]
fn the_golden_batch_is_read_and_written_to_the_byte() {
    let hex = GOLDEN;
    let golden: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let builder = BatchBuilder::new().record_with_headers(NOW, Some(b"k1"), Some(b"hello"), &[("h1", None)]);
    assert_eq!(built(&builder), golden);
    let batch = check(golden.clone()).unwrap();
    assert_eq!(batch.bytes, golden);
    let view = BatchView::new(&batch.bytes).unwrap();
    let mut records = view.records(0).unwrap();
    let record = records.next_record().unwrap().unwrap();
    assert_eq!((record.key, record.value), (Some(&b"k1"[..]), Some(&b"hello"[..])));
    assert!(record.headers().eq([crate::batch::HeaderView { key: b"h1", value: None }]));
}

#[test]
fn a_good_batch_comes_back_as_the_same_memory() {
    for codec in Compression::ALL {
        let bytes = built(&three().compression(codec, None).producer(9, 1, 5));
        let batch = check(bytes.clone()).unwrap();
        assert_eq!(batch.bytes.as_ptr(), bytes.as_ptr(), "{codec:?}");
        assert_eq!(batch.bytes, bytes);
        assert_eq!((batch.header.record_count, batch.header.max_timestamp), (3, NOW + 5));
        assert_eq!(batch.header.last_sequence(), 7);
    }
}

// semantics 3.2.3
#[test]
fn exactly_one_batch_of_format_two() {
    let one = built(&three());
    assert_eq!(check(Bytes::new()).unwrap_err(), ValidateError::Empty);
    assert_eq!(check(one.slice(..16)).unwrap_err(), ValidateError::Empty);
    assert_eq!(check(one.slice(..one.len() - 1)).unwrap_err(), ValidateError::Empty);
    let two = [&one[..], &one[..]].concat();
    assert_eq!(check(two).unwrap_err(), ValidateError::NotOneBatch);
    for (magic, expected) in [
        (0, ValidateError::Magic(0)),
        (1, ValidateError::Magic(1)),
        (3, ValidateError::Corrupt("its record format does not exist")),
        (0xff, ValidateError::Corrupt("its record format does not exist")),
    ] {
        let mut bytes = one.to_vec();
        bytes[MAGIC_AT] = magic;
        assert_eq!(check(bytes).unwrap_err(), expected);
    }
}

// semantics 3.2.4
#[test]
fn a_trailing_partial_batch_is_trimmed() {
    let one = built(&three());
    for extra in [1, 16, 17, one.len() - 1] {
        let longer = [&one[..], &one[..extra]].concat();
        assert_eq!(check(longer).unwrap().bytes, one, "{extra}");
    }
}

// semantics 3.2.4
#[test]
fn base_offset_size_and_crc_are_checked_in_this_order() {
    let offset = built(&three().base_offset(1));
    let mut bad_crc = offset.to_vec();
    bad_crc[CRC_AT] ^= 1;
    let small = ValidateOptions { max_batch_bytes: offset.len() - 1, ..options() };
    assert_eq!(validate(bad_crc.clone().into(), &small).unwrap_err(), ValidateError::BaseOffset(1));
    put(&mut bad_crc, 0, 0i64.to_be_bytes());
    let expected = ValidateError::TooLarge { size: offset.len(), max: offset.len() - 1 };
    assert_eq!(validate(bad_crc.clone().into(), &small).unwrap_err(), expected);
    assert_eq!(check(bad_crc).unwrap_err(), ValidateError::Corrupt("the CRC does not match"));
    let exact = ValidateOptions { max_batch_bytes: offset.len(), ..options() };
    assert!(validate(built(&three()), &exact).is_ok());
}

#[test]
fn impossible_lengths_are_corrupt() {
    for length in [i32::MIN, -1, 0, 13, 14, 48] {
        let mut bytes = built(&three()).to_vec();
        put(&mut bytes, 8, length.to_be_bytes());
        assert!(matches!(check(bytes), Err(ValidateError::Corrupt(_))), "{length}");
    }
    let mut bytes = built(&three()).to_vec();
    put(&mut bytes, 8, i32::MAX.to_be_bytes());
    assert_eq!(check(bytes).unwrap_err(), ValidateError::Empty);
}

#[test]
fn every_byte_after_the_prefix_is_under_the_crc() {
    let bytes = built(&three());
    for at in CRC_AT..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x10;
        assert_eq!(
            check(changed).unwrap_err(),
            ValidateError::Corrupt("the CRC does not match"),
            "byte {at}"
        );
    }
    // What the log patches is not.
    let mut patched = bytes.to_vec();
    patched[12..PREFIX_SIZE].copy_from_slice(&77i32.to_be_bytes());
    assert!(check(patched).is_ok());
}

// semantics 3.2.5
#[test]
fn counts_and_ranges_must_agree() {
    let bytes = built(&three());
    for (last_offset_delta, record_count) in [
        (2, 0),
        (2, -3),
        (-1, 0),
        (-1, 3),
        (1, 3),
        (3, 3),
        (2, 4),
        (i32::MAX, i32::MIN),
        (i32::MIN, i32::MAX),
    ] {
        let changed = with_header(&bytes, |header| {
            (header.last_offset_delta, header.record_count) = (last_offset_delta, record_count);
        });
        assert_eq!(
            check(changed).unwrap_err(),
            ValidateError::OffsetRange { last_offset_delta, record_count }
        );
    }
    for declared in [2, 4, i32::MAX] {
        let changed = with_header(&bytes, |header| {
            (header.last_offset_delta, header.record_count) = (declared - 1, declared);
        });
        assert_eq!(check(changed).unwrap_err(), ValidateError::RecordCount { declared });
    }
}

// semantics 3.2.5
#[test]
fn control_batches_sequences_without_number_and_broker_clocks_are_refused() {
    assert_eq!(check(built(&three().control(true))).unwrap_err(), ValidateError::Control);
    let error = check(built(&three().producer(1, 0, -1))).unwrap_err();
    assert_eq!(error, ValidateError::SequenceWithoutProducer(-1));
    let append_time = built(&three().timestamp_type(TimestampType::LogAppendTime));
    assert_eq!(check(append_time).unwrap_err(), ValidateError::TimestampTypeFromClient);
    assert!(check(built(&three().transactional(true).producer(1, 0, 0))).is_ok());
    let unknown = with_header(&built(&three()), |header| header.attributes = 6);
    assert_eq!(check(unknown).unwrap_err(), ValidateError::UnsupportedCompression(6));
}

// semantics 3.2.5
#[test]
fn offset_deltas_must_count_from_zero() {
    for (deltas, index, found) in [([1, 2], 0, 1), ([0, 0], 1, 0), ([0, 2], 1, 2), ([0, -1], 1, -1)] {
        let mut builder = BatchBuilder::new();
        for delta in deltas {
            builder.push(delta, NOW, None, None, &[]);
        }
        let error = check(built(&builder.last_offset_delta(1))).unwrap_err();
        assert_eq!(error, ValidateError::OffsetDelta { index, found });
    }
}

#[test]
fn malformed_records_are_named() {
    let cases: [(&[u8], RecordError); 9] = [
        (&[1, 0], RecordError::NegativeLength),
        (&[20, 0, 0, 0, 1, 1, 0], RecordError::Truncated),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0], RecordError::Truncated),
        // A key longer than the record.
        (&[12, 0, 0, 0, 40, 1, 0], RecordError::Field),
        // A value length without end.
        (&[12, 0, 0, 0, 1, 0x80, 0x80], RecordError::Field),
        // Three headers in no bytes; minus one header.
        (&[12, 0, 0, 0, 1, 1, 6], RecordError::HeaderCount),
        (&[12, 0, 0, 0, 1, 1, 1], RecordError::HeaderCount),
        // A header without key.
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], RecordError::NullHeaderKey),
        (&[14, 0, 0, 0, 1, 1, 0, 9], RecordError::TrailingBytes),
    ];
    for (records, expected) in cases {
        let error = check(with_records(records, 1)).unwrap_err();
        assert_eq!(error, ValidateError::MalformedRecord { index: 0, error: expected }, "{records:?}");
    }
    assert!(check(with_records(&[12, 0, 0, 0, 1, 1, 0], 1)).is_ok());
}

// semantics 3.2.6
#[test]
fn timestamps_out_of_the_window_are_named_one_by_one() {
    let window = ValidateOptions { before_max_ms: 1000, ..options() };
    let times = [NOW, NOW - 1001, NOW - 1000, NOW + HOUR, NOW + HOUR + 1, NO_TIMESTAMP];
    let mut builder = BatchBuilder::new();
    for (delta, time) in times.iter().enumerate() {
        builder.push(delta as i32, *time, None, None, &[]);
    }
    let Err(ValidateError::Records { kind, errors, message }) = validate(built(&builder), &window) else {
        panic!("accepted");
    };
    assert_eq!(kind, RecordErrorKind::InvalidTimestamp);
    assert_eq!(errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 4]);
    assert!(message.contains("2 of its records"), "{message}");
    // The broker's clock asks nobody.
    let append_time = ValidateOptions { timestamp_type: TimestampType::LogAppendTime, ..window };
    assert!(validate(built(&builder), &append_time).is_ok());
}

#[test]
fn extreme_timestamps_do_not_overflow() {
    for time in [i64::MIN, i64::MIN + 1, i64::MAX, -2] {
        let bytes = built(&BatchBuilder::new().base_timestamp(0).record(time, None, None));
        let outcome = check(bytes);
        assert_eq!(outcome.is_err(), time == i64::MAX, "{time}: {outcome:?}");
    }
}

// semantics 3.2.7
#[test]
fn compacted_topics_need_keys_and_a_bad_timestamp_outweighs() {
    let compacted = ValidateOptions { require_keys: true, ..options() };
    let keyless = BatchBuilder::new().record(NOW, Some(b"k"), None).record(NOW, None, None);
    let Err(ValidateError::Records { kind, errors, .. }) = validate(built(&keyless), &compacted) else {
        panic!("accepted");
    };
    assert_eq!((kind, errors[0].0, errors.len()), (RecordErrorKind::InvalidRecord, 1, 1));
    let both = keyless.record(NOW + 2 * HOUR, Some(b"k"), None);
    let Err(ValidateError::Records { kind, errors, .. }) = validate(built(&both), &compacted) else {
        panic!("accepted");
    };
    assert_eq!((kind, errors.len()), (RecordErrorKind::InvalidTimestamp, 2));
    assert!(validate(built(&three()), &compacted).is_ok());
}

#[test]
fn the_number_of_named_record_errors_is_bounded() {
    let mut builder = BatchBuilder::new();
    for delta in 0..5_000 {
        builder.push(delta, NOW, None, None, &[]);
    }
    let compacted = ValidateOptions { require_keys: true, ..options() };
    let Err(ValidateError::Records { errors, message, .. }) = validate(built(&builder), &compacted) else {
        panic!("accepted");
    };
    assert_eq!(errors.len(), RECORD_ERRORS_MAX);
    assert!(message.contains("5000"), "{message}");
}

// semantics 3.2.9
#[test]
fn a_wrong_max_timestamp_is_corrected_with_a_new_crc() {
    for codec in [Compression::None, Compression::Zstd] {
        let bytes = built(&three().compression(codec, None));
        let lying = with_header(&bytes, |header| header.max_timestamp = NOW + 1_000_000_000);
        let batch = check(lying).unwrap();
        assert_eq!(batch.bytes, bytes);
        assert_eq!(batch.header, BatchHeader::parse(&bytes).unwrap());
    }
}

// semantics 3.2.8
#[test]
fn log_append_time_is_set_in_place() {
    let append_time = ValidateOptions { timestamp_type: TimestampType::LogAppendTime, ..options() };
    for codec in Compression::ALL {
        let bytes = built(&three().compression(codec, None));
        let batch = validate(bytes.clone(), &append_time).unwrap();
        let view = BatchView::new(&batch.bytes).unwrap();
        view.verify_crc().unwrap();
        assert_eq!(*view.header(), batch.header);
        assert_eq!(batch.header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((batch.header.max_timestamp, batch.header.base_timestamp), (NOW, NOW));
        assert_eq!(batch.bytes[HEADER_SIZE..], bytes[HEADER_SIZE..]);
    }
}

// semantics 3.2.8
#[test]
fn another_codec_recompresses_and_the_same_one_does_not() {
    let plain = built(&three());
    for source in Compression::ALL {
        let bytes = built(&three().compression(source, None).producer(4, 2, 8));
        for target in Compression::ALL {
            let to = ValidateOptions { compression: TargetCompression::To(target, None), ..options() };
            let batch = validate(bytes.clone(), &to).unwrap();
            let view = BatchView::new(&batch.bytes).unwrap();
            view.verify_crc().unwrap();
            assert_eq!(view.header().compression().unwrap(), target);
            assert_eq!(*view.header(), batch.header);
            assert_eq!((batch.header.producer_id, batch.header.base_sequence), (4, 8));
            assert_eq!(batch.header.max_timestamp, NOW + 5);
            assert_eq!(batch.bytes.as_ptr() == bytes.as_ptr(), source == target, "{source:?} {target:?}");
            let mut unpacked = Vec::new();
            decompress(target, view.payload(), 1 << 20, &mut unpacked).unwrap();
            assert_eq!(unpacked, plain[HEADER_SIZE..], "{source:?} {target:?}");
        }
    }
}

// semantics 3.2.4: the size is checked again
#[test]
fn a_batch_that_grows_too_large_in_another_codec_is_refused() {
    let bytes = built(&BatchBuilder::new().compression(Compression::Gzip, None).record(
        NOW,
        None,
        Some(&[0; 50_000]),
    ));
    let to = ValidateOptions {
        compression: TargetCompression::To(Compression::None, None),
        max_batch_bytes: 10_000,
        ..options()
    };
    assert!(matches!(validate(bytes, &to), Err(ValidateError::TooLarge { max: 10_000, .. })));
}

#[test]
fn decompression_has_a_ceiling_and_damage_is_told_apart() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let bytes =
            built(&BatchBuilder::new().compression(codec, None).record(NOW, None, Some(&[0; 50_000])));
        let low = ValidateOptions { max_decompressed_bytes: 10_000, ..options() };
        assert_eq!(
            validate(bytes.clone(), &low).unwrap_err(),
            ValidateError::DecompressedTooLarge { max: 10_000 }
        );
        let mut damaged = bytes.to_vec();
        damaged.truncate(bytes.len() - 3);
        let length = (damaged.len() - LOG_OVERHEAD) as i32;
        let damaged = with_header(&damaged, |header| header.batch_length = length);
        assert!(matches!(check(damaged), Err(ValidateError::Decompress(_))), "{codec:?}");
    }
}

type Record = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn record() -> impl Strategy<Value = Record> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let headers = proptest::collection::vec(("[a-z]{0,3}", bytes()), 0..4);
    (-1_000_000..1_000_000i64, bytes(), bytes(), headers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_built_is_valid_and_reads_back(records in proptest::collection::vec(record(), 1..40), codec in 0..5u8) {
        let codec = Compression::from_id(codec).unwrap();
        let mut builder = BatchBuilder::new().compression(codec, None);
        for (delta, (time, key, value, headers)) in records.iter().enumerate() {
            let headers: Vec<_> = headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            builder.push(delta as i32, NOW + time, key.as_deref(), value.as_deref(), &headers);
        }
        let bytes = built(&builder);
        let batch = check(bytes.clone()).unwrap();
        prop_assert_eq!(&batch.bytes, &bytes);
        let view = BatchView::new(&batch.bytes).unwrap();
        let mut walker = view.records(1 << 20).unwrap();
        for (delta, (time, key, value, headers)) in records.iter().enumerate() {
            let record = walker.next_record().unwrap().unwrap();
            prop_assert_eq!(record.offset_delta, delta as i32);
            prop_assert_eq!(view.header().base_timestamp + record.timestamp_delta, NOW + time);
            prop_assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
            let read: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
            let written: Vec<_> = headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
            prop_assert_eq!(read, written);
        }
        prop_assert!(walker.next_record().unwrap().is_none());
    }
}
