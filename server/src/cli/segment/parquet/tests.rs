//! Parquet: what is written is read, with every null; files of others are read, too.

use arrow_array::{Int64Array, StringArray};
use proptest::prelude::*;

use super::*;

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn record(owned: &Owned, offset: i64) -> Record<'_> {
    Record {
        topic: "t",
        partition: 3,
        offset,
        timestamp: owned.0,
        timestamp_type: if offset % 2 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        },
        key: owned.1.as_deref(),
        value: owned.2.as_deref(),
        headers: owned.3.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect(),
        mark: Mark::Plain,
    }
}

fn written(records: &[Owned]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ParquetWriter::new(NewFile::create(dir.path(), "t").unwrap()).unwrap();
    for (offset, owned) in records.iter().enumerate() {
        writer.push(&record(owned, offset as i64)).unwrap();
    }
    let path = writer.finish().unwrap().finish("t.parquet", false).unwrap();
    (dir, path)
}

fn read(path: &std::path::Path, mut each: impl FnMut(&Record<'_>)) -> Result<(), Failure> {
    let name = path.to_str().unwrap();
    let mut reader = ParquetReader::open(name, File::open(path).unwrap(), 99)?;
    while reader.next(&mut |record| {
        each(record);
        Ok(true)
    })? {}
    assert_eq!(reader.done_bytes(), std::fs::metadata(path).unwrap().len());
    Ok(())
}

fn same(records: &[Owned]) {
    let (_dir, path) = written(records);
    let mut offset = 0;
    read(&path, |found| {
        assert_eq!(*found, record(&records[usize::try_from(offset).unwrap()], offset));
        offset += 1;
    })
    .unwrap();
    assert_eq!(offset, records.len() as i64);
}

#[test]
fn nulls_emptiness_and_duplicate_headers_come_back() {
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    same(&[]);
    same(&[
        (5, None, None, vec![]),
        (-1, Some(vec![]), Some(vec![]), vec![header("", None)]),
        (
            0,
            Some(vec![0, 255]),
            None,
            vec![header("a", Some(b"1")), header("a", Some(b"")), header("b", None)],
        ),
    ]);
    // More than is gathered at once.
    let many: Vec<Owned> = (0..20_000).map(|index| (index, None, Some(vec![7; 3]), vec![])).collect();
    same(&many);
}

#[test]
fn a_header_key_that_is_no_text_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ParquetWriter::new(NewFile::create(dir.path(), "t").unwrap()).unwrap();
    let owned = (0, None, None, vec![]);
    let headers: Vec<Header<'_>> = vec![(b"\xff", None)];
    let failure = writer.push(&Record { headers, ..record(&owned, 0) }).unwrap_err();
    assert!(failure.contains("export as segment"), "{failure}");
}

fn foreign(fields: Vec<(&str, ArrayRef)>) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("foreign.parquet");
    let rows = RecordBatch::try_from_iter(fields).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    (dir, path)
}

#[test]
fn files_of_others_need_a_value_alone() {
    let (_dir, path) = foreign(vec![("value", Arc::new(StringArray::from(vec![Some("a"), None])))]);
    let mut found = Vec::new();
    read(&path, |record| found.push((record.value.map(<[u8]>::to_vec), record.timestamp, record.partition)))
        .unwrap();
    assert_eq!(found, [(Some(b"a".to_vec()), 99, 0), (None, 99, 0)]);
    let (_dir, path) = foreign(vec![("other", Arc::new(Int64Array::from(vec![1])))]);
    assert!(read(&path, |_| ()).unwrap_err().contains("no column `key`"));
    let (_dir, path) = foreign(vec![("value", Arc::new(Int64Array::from(vec![1])))]);
    assert!(read(&path, |_| ()).unwrap_err().contains("is of type Int64"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_record_comes_back(
        records in prop::collection::vec(
            (
                -1i64..i64::MAX,
                prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
                prop::collection::vec(
                    (".{0,4}", prop::option::of(prop::collection::vec(any::<u8>(), 0..6))),
                    0..3,
                ),
            ),
            0..30,
        ),
    ) {
        same(&records);
    }
}
