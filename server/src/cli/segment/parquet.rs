//! Owns records as Parquet, compressed with zstd. Columns:
//!
//! | column | type |
//! |---|---|
//! | `topic` | string |
//! | `partition` | 32-bit integer |
//! | `offset` | 64-bit integer |
//! | `timestamp` | milliseconds since 1970, UTC; null for none |
//! | `timestamp_type` | string: `CreateTime`, `LogAppendTime` |
//! | `key`, `value` | bytes; may be null |
//! | `headers` | list of `{key: string, value: bytes or null}` |
//!
//! What is read may come from others: of the columns, only `key` or `value` must be there, and both may be strings.

use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use chronik_protocol::batch::TimestampType;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Failure;
use super::output::NewFile;
use super::reader::Each;
use super::record::{Header, Mark, Record, type_name, type_of_name};

/// Rows and bytes that are gathered before they are encoded.
const ROWS: usize = 8192;
const ROWS_BYTES: usize = 8 << 20;
/// Bytes of a row group, encoded, and rows of one.
const GROUP_BYTES: usize = 64 << 20;
const GROUP_ROWS: usize = 1 << 20;
/// Rows that are read at a time.
const READ_ROWS: usize = 1024;

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

fn schema() -> SchemaRef {
    let headers = Field::new("item", DataType::Struct(header_fields()), false);
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("timestamp_type", DataType::Utf8, false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", DataType::List(Arc::new(headers)), false),
    ]))
}

/// Columns under way.
struct Columns {
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMillisecondBuilder,
    timestamp_type: StringBuilder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    headers: ListBuilder<StructBuilder>,
    rows: usize,
    bytes: usize,
}

impl Columns {
    fn new() -> Self {
        let item = Field::new("item", DataType::Struct(header_fields()), false);
        Self {
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            timestamp: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            timestamp_type: StringBuilder::new(),
            key: BinaryBuilder::new(),
            value: BinaryBuilder::new(),
            headers: ListBuilder::new(StructBuilder::from_fields(header_fields(), 0)).with_field(item),
            rows: 0,
            bytes: 0,
        }
    }

    fn push(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        let items = self.headers.values();
        for (key, value) in &record.headers {
            let key = std::str::from_utf8(key).map_err(|_| {
                format!(
                    "{}-{}, offset {}: the key of a header is no text, which Parquet's column needs: export as segment or \
                     jsonl",
                    record.topic, record.partition, record.offset
                )
            })?;
            let keys = items.field_builder::<StringBuilder>(0).expect("the first field is a string");
            keys.append_value(key);
            let values = items.field_builder::<BinaryBuilder>(1).expect("the second field is bytes");
            values.append_option(*value);
            items.append(true);
            self.bytes += key.len() + value.map_or(0, <[u8]>::len);
        }
        self.headers.append(true);
        self.topic.append_value(record.topic);
        self.partition.append_value(record.partition);
        self.offset.append_value(record.offset);
        self.timestamp.append_option(Some(record.timestamp).filter(|timestamp| *timestamp >= 0));
        self.timestamp_type.append_value(type_name(record.timestamp_type));
        self.key.append_option(record.key);
        self.value.append_option(record.value);
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
        (self.rows, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.timestamp_type.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.headers.finish()),
        ];
        RecordBatch::try_new(schema.clone(), columns).map_err(|error| format!("Parquet: {error}"))
    }
}

/// A file under way.
pub struct ParquetWriter {
    schema: SchemaRef,
    columns: Columns,
    writer: ArrowWriter<NewFile>,
}

impl ParquetWriter {
    /// Begins one.
    pub fn new(file: NewFile) -> Result<Self, Failure> {
        let schema = schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(concat!("chronik-server ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
        let writer = writer.map_err(|error| format!("Parquet: {error}"))?;
        Ok(Self { schema, columns: Columns::new(), writer })
    }

    /// Bytes of it so far, about: what was gathered and not encoded counts whole.
    pub fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size() + self.columns.bytes) as u64
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        self.columns.push(record)?;
        if self.columns.rows >= ROWS || self.columns.bytes >= ROWS_BYTES {
            self.encode()?;
        }
        Ok(())
    }

    fn encode(&mut self) -> Result<(), Failure> {
        let failed = |error: parquet::errors::ParquetError| format!("Parquet: {error}");
        let rows = self.columns.finish(&self.schema)?;
        self.writer.write(&rows).map_err(failed)?;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(failed)?;
        }
        Ok(())
    }

    /// Writes the rest.
    pub fn finish(mut self) -> Result<NewFile, Failure> {
        if self.columns.rows > 0 {
            self.encode()?;
        }
        self.writer.into_inner().map_err(|error| format!("Parquet: {error}"))
    }
}

/// A file that is read.
pub struct ParquetReader {
    name: String,
    size: u64,
    rows: u64,
    done: u64,
    now_ms: i64,
    reader: ParquetRecordBatchReader,
}

impl ParquetReader {
    /// Opens one. Records without a time get `now_ms`, where there is no column of times.
    pub fn open(name: &str, file: File, now_ms: i64) -> Result<Self, Failure> {
        let told = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let size = file.metadata().map_err(|error| told(&error))?.len();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| told(&error))?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let columns = builder.schema();
        if columns.field_with_name("key").is_err() && columns.field_with_name("value").is_err() {
            return Err(format!("{name}: it has no column `key` and no column `value`: rename the columns"));
        }
        let reader = builder.with_batch_size(READ_ROWS).build().map_err(|error| told(&error))?;
        Ok(Self { name: name.to_owned(), size, rows, done: 0, now_ms, reader })
    }

    /// Bytes of the file that were read, about.
    pub fn done_bytes(&self) -> u64 {
        // 1 TB of rows, each of a byte, is far from what this can count to.
        if self.rows == 0 {
            self.size
        } else {
            (self.size as f64 * (self.done as f64 / self.rows as f64)) as u64
        }
    }

    /// Hands over the next records. False when there are no more, or no more are wanted.
    pub fn next(&mut self, each: &mut Each<'_>) -> Result<bool, Failure> {
        let rows = match self.reader.next() {
            None => return Ok(false),
            Some(Ok(rows)) => rows,
            Some(Err(error)) => return Err(format!("{}: {error}", self.name)),
        };
        let columns = ReadColumns::of(&rows).map_err(|problem| format!("{}: {problem}", self.name))?;
        for index in 0..rows.num_rows() {
            let told = |error: Failure| format!("{}, row {}: {error}", self.name, self.done + index as u64);
            let headers = columns.headers(index).map_err(told)?;
            let record = columns.record(index, &headers, self.now_ms).map_err(told)?;
            if !each(&record)? {
                return Ok(false);
            }
        }
        self.done += rows.num_rows() as u64;
        Ok(true)
    }
}

/// The columns that mean something, each of which may be missing.
struct ReadColumns<'a> {
    topic: Option<&'a ArrayRef>,
    partition: Option<&'a ArrayRef>,
    offset: Option<&'a ArrayRef>,
    timestamp: Option<&'a ArrayRef>,
    timestamp_type: Option<&'a ArrayRef>,
    key: Option<&'a ArrayRef>,
    value: Option<&'a ArrayRef>,
    headers: Option<&'a ArrayRef>,
}

/// Whether a column may be of a type.
type TypeCheck = fn(&DataType) -> bool;

/// The headers of one row: the structs of its list.
struct RowHeaders {
    keys: Option<ArrayRef>,
    values: Option<ArrayRef>,
    count: usize,
}

impl<'a> ReadColumns<'a> {
    fn of(rows: &'a RecordBatch) -> Result<Self, Failure> {
        let columns = Self {
            topic: rows.column_by_name("topic"),
            partition: rows.column_by_name("partition"),
            offset: rows.column_by_name("offset"),
            timestamp: rows.column_by_name("timestamp"),
            timestamp_type: rows.column_by_name("timestamp_type"),
            key: rows.column_by_name("key"),
            value: rows.column_by_name("value"),
            headers: rows.column_by_name("headers"),
        };
        let number = |kind: &DataType| {
            matches!(kind, DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) | DataType::Null)
        };
        let list = |kind: &DataType| match kind {
            DataType::List(item) => matches!(item.data_type(), DataType::Struct(_)),
            kind => *kind == DataType::Null,
        };
        let checks: [(&str, Option<&ArrayRef>, TypeCheck); 8] = [
            ("topic", columns.topic, is_blob),
            ("partition", columns.partition, number),
            ("offset", columns.offset, number),
            ("timestamp", columns.timestamp, number),
            ("timestamp_type", columns.timestamp_type, is_blob),
            ("key", columns.key, is_blob),
            ("value", columns.value, is_blob),
            ("headers", columns.headers, list),
        ];
        for (name, column, is_good) in checks {
            if let Some(column) = column.filter(|column| !is_good(column.data_type())) {
                return Err(format!(
                    "the column `{name}` is of type {}, which it cannot be: see docs/segment-tool.md",
                    column.data_type()
                ));
            }
        }
        Ok(columns)
    }

    fn headers(&self, row: usize) -> Result<RowHeaders, Failure> {
        let none = RowHeaders { keys: None, values: None, count: 0 };
        let Some(list) = self.headers.and_then(|column| column.as_list_opt::<i32>()) else { return Ok(none) };
        if list.is_null(row) {
            return Ok(none);
        }
        let items = list.value(row);
        let items: &StructArray = items.as_struct();
        let (keys, values) = (items.column_by_name("key").cloned(), items.column_by_name("value").cloned());
        let good =
            |column: &Option<ArrayRef>| column.as_ref().is_none_or(|column| is_blob(column.data_type()));
        if keys.is_none() || !good(&keys) || !good(&values) {
            return Err("headers are a list of {key, value}, text and bytes".to_owned());
        }
        Ok(RowHeaders { keys, values, count: items.len() })
    }

    fn record<'r>(&'r self, row: usize, headers: &'r RowHeaders, now_ms: i64) -> Result<Record<'r>, Failure> {
        let text = |column: Option<&'r ArrayRef>| {
            column.and_then(|column| blob(column, row)).map(std::str::from_utf8).transpose()
        };
        let not_text = |_| "topic or timestamp_type is no text".to_owned();
        let timestamp_type = match text(self.timestamp_type).map_err(not_text)? {
            None => TimestampType::CreateTime,
            Some(name) => type_of_name(name).ok_or_else(|| format!("`{name}` is no timestamp type"))?,
        };
        let partition = self.partition.and_then(|column| number(column, row)).unwrap_or(0);
        let timestamp = match self.timestamp {
            Some(column) => number(column, row).unwrap_or(-1),
            None => now_ms,
        };
        let pairs = (0..headers.count).map(|index| -> Result<Header<'r>, Failure> {
            let key = headers.keys.as_ref().and_then(|keys| blob(keys, index));
            let value = headers.values.as_ref().and_then(|values| blob(values, index));
            Ok((key.ok_or("a header has no key")?, value))
        });
        Ok(Record {
            topic: text(self.topic).map_err(not_text)?.unwrap_or_default(),
            partition: i32::try_from(partition).map_err(|_| format!("there is no partition {partition}"))?,
            offset: self.offset.and_then(|column| number(column, row)).unwrap_or(0),
            timestamp,
            timestamp_type,
            key: self.key.and_then(|column| blob(column, row)),
            value: self.value.and_then(|column| blob(column, row)),
            headers: pairs.collect::<Result<_, _>>()?,
            mark: Mark::Plain,
        })
    }
}

fn is_blob(kind: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Null, Utf8, Utf8View};
    matches!(kind, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Null)
}

/// Text or bytes of a row.
fn blob(column: &ArrayRef, row: usize) -> Option<&[u8]> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => Some(column.as_string_view().value(row).as_bytes()),
        DataType::Binary => Some(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(column.as_binary_view().value(row)),
        _ => None,
    }
}

/// A number of a row; times in milliseconds.
fn number(column: &ArrayRef, row: usize) -> Option<i64> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(unit, _) => Some(match unit {
            TimeUnit::Second => column.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1000),
            TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().value(row),
            TimeUnit::Microsecond => {
                column.as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1000)
            }
            TimeUnit::Nanosecond => {
                column.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000_000)
            }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
