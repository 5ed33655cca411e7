//! Walks the record batches of a fetched partition by their headers alone.
//!
//! Reads four fields at fixed positions of record batch v2 (KIP-98) and touches nothing else, so
//! that consuming costs the load little. CRCs are checked only when asked; records are left to
//! `chronik-protocol`.

use super::Result;

/// Bytes before the part `batch_length` counts: base offset (8) and the length itself (4).
const LENGTH_OVERHEAD: usize = 12;
/// The whole header of a record batch v2.
const HEADER_BYTES: usize = 61;

const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const LAST_DELTA_AT: usize = 23;
const COUNT_AT: usize = 57;

/// One complete batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Offset of its first record, before compaction.
    pub base_offset: i64,
    /// Offset after its last record.
    pub next_offset: i64,
    /// Records in it.
    pub record_count: u64,
    /// All of it.
    pub bytes: &'a [u8],
}

/// The complete batches in `records`; a batch cut short by the fetch limit ends the walk, as it
/// does in Kafka's consumer.
pub fn walk(records: &[u8]) -> impl Iterator<Item = Result<Batch<'_>>> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let (batch, after) = next(rest)?;
        rest = if batch.is_ok() { after } else { &[] };
        Some(batch)
    })
}

fn next(bytes: &[u8]) -> Option<(Result<Batch<'_>>, &[u8])> {
    let length = be_i32(bytes, LENGTH_AT)?;
    let total = match usize::try_from(length) {
        Ok(length) if length + LENGTH_OVERHEAD >= HEADER_BYTES => length + LENGTH_OVERHEAD,
        _ => return Some((Err(format!("a batch of length {length}").into()), &[])),
    };
    if bytes.len() < total {
        return None;
    }
    let (bytes, after) = bytes.split_at(total);
    if bytes[MAGIC_AT] != 2 {
        return Some((Err(format!("a batch of magic {}", bytes[MAGIC_AT]).into()), &[]));
    }
    let base_offset = i64::from(be_i32(bytes, 0)?) << 32 | i64::from(be_i32(bytes, 4)? as u32);
    let batch = Batch {
        base_offset,
        next_offset: base_offset + i64::from(be_i32(bytes, LAST_DELTA_AT)?) + 1,
        record_count: u64::try_from(be_i32(bytes, COUNT_AT)?).unwrap_or(0),
        bytes,
    };
    Some((Ok(batch), after))
}

fn be_i32(bytes: &[u8], at: usize) -> Option<i32> {
    let field = bytes.get(at..at + 4)?;
    Some(i32::from_be_bytes(field.try_into().expect("four bytes were taken")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base: i64, records: i32, body: usize) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + body];
        let length = (bytes.len() - LENGTH_OVERHEAD) as i32;
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        bytes[MAGIC_AT] = 2;
        bytes[LAST_DELTA_AT..LAST_DELTA_AT + 4].copy_from_slice(&(records - 1).to_be_bytes());
        bytes[COUNT_AT..COUNT_AT + 4].copy_from_slice(&records.to_be_bytes());
        bytes
    }

    #[test]
    fn a_batch_cut_short_ends_the_walk_without_an_error() {
        let mut bytes = batch(1 << 40, 3, 100);
        bytes.extend(batch((1 << 40) + 3, 2, 50));
        let whole = bytes.len();
        for cut in 1..60 {
            let seen: Vec<_> = walk(&bytes[..whole - cut]).map(Result::unwrap).collect();
            assert_eq!(seen.len(), 1, "cut by {cut}");
            assert_eq!((seen[0].base_offset, seen[0].next_offset), (1 << 40, (1 << 40) + 3));
        }
        let records: u64 = walk(&bytes).map(|batch| batch.unwrap().record_count).sum();
        assert_eq!(records, 5);
    }

    #[test]
    fn an_absurd_length_or_magic_is_an_error_and_ends_the_walk() {
        let mut negative = batch(0, 1, 10);
        negative[LENGTH_AT] = 0xff;
        assert!(walk(&negative).next().unwrap().is_err());
        assert_eq!(walk(&negative).count(), 1);
        let mut old = batch(0, 1, 10);
        old[MAGIC_AT] = 1;
        assert!(walk(&old).next().unwrap().is_err());
    }
}
