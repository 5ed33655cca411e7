//! Owns one record as every format has it, and walking a batch's records. Decompresses one batch at a time, under a ceiling.

use chronik_protocol::batch::{BatchView, TimestampType};
use chronik_tiering::segment::{Marker, marker_of};

use super::Failure;
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;

/// Key and value of a header.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// What a record is, if it is not data that a reader of committed data sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Data.
    #[default]
    Plain,
    /// Data of a transaction that was aborted.
    Aborted,
    /// A control record.
    Control(Marker),
}

/// One record, borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The topic it comes from.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Milliseconds since 1970; -1 for none.
    pub timestamp: i64,
    /// Who set that.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers in their order, duplicates and all.
    pub headers: Vec<Header<'a>>,
    /// Whether it is data.
    pub mark: Mark,
}

/// The word of a timestamp type, as Kafka's `message.timestamp.type`.
pub fn type_name(timestamp_type: TimestampType) -> &'static str {
    match timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// The timestamp type of a word.
pub fn type_of_name(name: &str) -> Option<TimestampType> {
    [TimestampType::CreateTime, TimestampType::LogAppendTime]
        .into_iter()
        .find(|kind| type_name(*kind) == name)
}

/// Hands each record of a batch over, until `each` says false. Returns whether it went to the end.
///
/// # Errors
/// When the records cannot be read, and those of `each`.
pub fn walk(
    (topic, partition): (&str, i32),
    view: &BatchView<'_>,
    is_aborted: bool,
    each: &mut dyn FnMut(&Record<'_>) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let header = view.header();
    let told = |error: &dyn std::fmt::Display| {
        format!("{topic}-{partition}, the batch at offset {}: {error}", header.base_offset)
    };
    let mark = match (header.is_control(), is_aborted) {
        (true, _) => Mark::Control(marker_of(view).unwrap_or(Marker::Other(-1))),
        (false, true) => Mark::Aborted,
        (false, false) => Mark::Plain,
    };
    let timestamp_type = header.timestamp_type();
    let mut records = view.records(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| told(&error))?;
    while let Some(record) = records.next_record().map_err(|error| told(&error))? {
        let timestamp = match timestamp_type {
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(record.timestamp_delta),
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        let record = Record {
            topic,
            partition,
            offset: header.base_offset.wrapping_add(record.offset_delta.into()),
            timestamp,
            timestamp_type,
            key: record.key,
            value: record.value,
            headers: record.headers().map(|header| (header.key, header.value)).collect(),
            mark,
        };
        if !each(&record)? {
            return Ok(false);
        }
    }
    Ok(true)
}
