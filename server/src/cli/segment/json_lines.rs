//! Owns records as JSON lines. Bytes that are UTF-8 are text; others are an object, so that no text can be taken for them:
//!
//! ```json
//! {"topic":"t","partition":0,"offset":7,"timestamp":1700000000000,"timestamp_type":"CreateTime",
//!  "key":"k","value":{"base64":"/w=="},"headers":[{"key":"h","value":null}]}
//! ```
//!
//! `aborted` and `control` are there only on what a reader of committed data does not see.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chronik_tiering::segment::Marker;
use serde::Deserialize;

use super::Failure;
use super::record::{Header, Mark, Record, type_name, type_of_name};

/// Appends a record and the end of its line.
pub fn write(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topic\":");
    text(record.topic, out);
    number(out, format_args!(",\"partition\":{},\"offset\":{}", record.partition, record.offset));
    let timestamp_type = type_name(record.timestamp_type);
    number(
        out,
        format_args!(",\"timestamp\":{},\"timestamp_type\":\"{timestamp_type}\",\"key\":", record.timestamp),
    );
    blob(record.key, out);
    out.extend_from_slice(b",\"value\":");
    blob(record.value, out);
    out.extend_from_slice(b",\"headers\":[");
    for (index, (key, value)) in record.headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"key\":" } else { b",{\"key\":" });
        blob(Some(key), out);
        out.extend_from_slice(b",\"value\":");
        blob(*value, out);
        out.push(b'}');
    }
    out.push(b']');
    match record.mark {
        Mark::Plain => {}
        Mark::Aborted => out.extend_from_slice(b",\"aborted\":true"),
        Mark::Control(marker) => {
            out.extend_from_slice(b",\"control\":");
            text(&control_name(marker), out);
        }
    }
    out.extend_from_slice(b"}\n");
}

fn control_name(marker: Marker) -> String {
    match marker {
        Marker::Commit => "commit".to_owned(),
        Marker::Abort => "abort".to_owned(),
        Marker::Other(kind) => format!("type {kind}"),
    }
}

fn number(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a vector takes everything");
}

fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes everything, and text is JSON");
}

fn blob(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(utf8))) => text(utf8, out),
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// A line as it may be written by hand: all but key and value has a default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    topic: String,
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    offset: i64,
    timestamp: Option<i64>,
    timestamp_type: Option<String>,
    key: Option<Blob>,
    value: Option<Blob>,
    #[serde(default)]
    headers: Vec<LineHeader>,
    #[serde(default)]
    aborted: bool,
    control: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineHeader {
    key: Blob,
    value: Option<Blob>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "text, null, or {\"base64\": \"…\"}")]
enum Blob {
    Text(String),
    Base64(Encoded),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    base64: String,
}

impl Blob {
    fn into_bytes(self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Base64(Encoded { base64 }) => {
                STANDARD.decode(&base64).map_err(|error| format!("`{base64}` is not base64: {error}"))
            }
        }
    }
}

/// Reads one line and hands its record over. A line without a time gets `now_ms`.
///
/// # Errors
/// When the line is no record, and those of `each`.
pub fn read<T>(
    line: &str,
    now_ms: i64,
    each: impl FnOnce(&Record<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let bytes = |blob: Option<Blob>| blob.map(Blob::into_bytes).transpose();
    let (key, value) = (bytes(line.key)?, bytes(line.value)?);
    let headers: Vec<(Vec<u8>, Option<Vec<u8>>)> = line
        .headers
        .into_iter()
        .map(|header| Ok((header.key.into_bytes()?, bytes(header.value)?)))
        .collect::<Result<_, Failure>>()?;
    let timestamp_type = match line.timestamp_type.as_deref() {
        None => chronik_protocol::batch::TimestampType::CreateTime,
        Some(name) => type_of_name(name)
            .ok_or_else(|| format!("`{name}` is no timestamp type: write CreateTime or LogAppendTime"))?,
    };
    let mark = match line.control.as_deref() {
        None if line.aborted => Mark::Aborted,
        None => Mark::Plain,
        Some("commit") => Mark::Control(Marker::Commit),
        Some("abort") => Mark::Control(Marker::Abort),
        Some(_) => Mark::Control(Marker::Other(-1)),
    };
    let borrowed: Vec<Header<'_>> =
        headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
    each(&Record {
        topic: &line.topic,
        partition: line.partition,
        offset: line.offset,
        timestamp: line.timestamp.unwrap_or(now_ms),
        timestamp_type,
        key: key.as_deref(),
        value: value.as_deref(),
        headers: borrowed,
        mark,
    })
}

#[cfg(test)]
mod tests {
    use chronik_protocol::batch::TimestampType;
    use proptest::prelude::*;

    use super::*;

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn plain<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: Vec<Header<'a>>) -> Record<'a> {
        Record {
            topic: "t",
            partition: 3,
            offset: 7,
            timestamp: 5,
            timestamp_type: TimestampType::CreateTime,
            key,
            value,
            headers,
            mark: Mark::Plain,
        }
    }

    #[test]
    fn text_is_text_and_bytes_are_base64() {
        let headers: Vec<Header<'_>> = vec![(b"h", None), (b"h", Some(b"")), (b"\xff", Some(b"\x00\xfe"))];
        let written = line(&plain(Some(b"a \"quote\"\n"), Some(b"\xff"), headers));
        assert_eq!(
            written,
            "{\"topic\":\"t\",\"partition\":3,\"offset\":7,\"timestamp\":5,\"timestamp_type\":\"CreateTime\",\
             \"key\":\"a \\\"quote\\\"\\n\",\"value\":{\"base64\":\"/w==\"},\"headers\":[{\"key\":\"h\",\"value\":null},\
             {\"key\":\"h\",\"value\":\"\"},{\"key\":{\"base64\":\"/w==\"},\"value\":{\"base64\":\"AP4=\"}}]}\n"
        );
        let tombstone = line(&plain(None, None, vec![]));
        assert!(tombstone.contains("\"key\":null,\"value\":null,\"headers\":[]}"), "{tombstone}");
    }

    #[test]
    fn what_is_not_data_says_so() {
        for (mark, words) in [
            (Mark::Aborted, "\"aborted\":true"),
            (Mark::Control(Marker::Commit), "\"control\":\"commit\""),
            (Mark::Control(Marker::Other(7)), "\"control\":\"type 7\""),
        ] {
            let written = line(&Record { mark, ..plain(None, None, vec![]) });
            assert!(written.contains(words), "{written}");
            let is_data = read(&written, 0, |record| Ok(record.mark == Mark::Plain));
            assert_eq!(is_data, Ok(false));
        }
    }

    #[test]
    fn a_line_by_hand_needs_little_and_a_wrong_one_is_told() {
        read("{\"value\":\"v\"}", 99, |record| {
            assert_eq!((record.value, record.key, record.timestamp), (Some(&b"v"[..]), None, 99));
            Ok(())
        })
        .unwrap();
        for (line, words) in [
            ("", "EOF"),
            ("{\"Value\":\"v\"}", "unknown field"),
            ("{\"value\":7}", "text, null, or"),
            ("{\"value\":{\"base64\":\"?\"}}", "not base64"),
            ("{\"value\":{\"base64\":\"\",\"x\":1}}", "text, null, or"),
            ("{\"timestamp_type\":\"x\"}", "write CreateTime"),
        ] {
            let failure = read(line, 0, |_| Ok(())).unwrap_err();
            assert!(failure.contains(words), "{line}: {failure}");
        }
    }

    proptest! {
        #[test]
        fn every_record_comes_back(
            topic in "[a-z.]{1,8}",
            numbers in (any::<i32>(), any::<i64>(), any::<i64>(), any::<bool>()),
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            value in prop::option::of(".{0,40}"),
            headers in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..4), prop::option::of(prop::collection::vec(any::<u8>(), 0..9))),
                0..4,
            ),
        ) {
            let record = Record {
                topic: &topic,
                partition: numbers.0,
                offset: numbers.1,
                timestamp: numbers.2,
                timestamp_type: if numbers.3 { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
                key: key.as_deref(),
                value: value.as_ref().map(|value| value.as_bytes()),
                headers: headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect(),
                mark: Mark::Plain,
            };
            let written = line(&record);
            prop_assert_eq!(written.matches('\n').count(), 1);
            let same = read(&written, 0, |again| Ok(*again == record));
            prop_assert_eq!(same, Ok(true));
        }
    }
}
