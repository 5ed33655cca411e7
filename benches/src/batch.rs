//! Record batches as a run needs them: built from values, taken apart into values again.

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, BatchView, Compression};

use crate::cli::Codec;
use crate::produce::wall_clock_ms;
use crate::raw::Result;

/// Most bytes a received batch may decompress to: no run produces larger ones.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// One batch of `values`, as a client sends it: base offset 0, no producer id, stamped now.
pub fn build<'a>(codec: Codec, values: impl Iterator<Item = &'a [u8]>) -> Result<Bytes> {
    let now_ms = wall_clock_ms();
    let mut builder = BatchBuilder::new().compression(compression(codec), None);
    for value in values {
        let delta = builder.next_delta();
        builder.push(delta, now_ms, None, Some(value), &[]);
    }
    Ok(builder.build()?)
}

/// Calls `each` with the value of every record of a batch.
pub fn for_each_value(batch: &[u8], mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut records = BatchView::new(batch)?.records(DECOMPRESSED_BYTES_MAX)?;
    while let Some(record) = records.next_record()? {
        each(record.value.unwrap_or_default());
    }
    Ok(())
}

/// Whether the batch's CRC is that of its bytes.
pub fn check_crc(batch: &[u8]) -> Result<()> {
    Ok(BatchView::new(batch)?.verify_crc()?)
}

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_in_order_from_every_codec() {
        let values: [&[u8]; 3] = [b"one", b"two", b"three"];
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let batch = build(codec, values.into_iter()).unwrap();
            check_crc(&batch).unwrap();
            let mut seen = Vec::new();
            for_each_value(&batch, |value| seen.push(value.to_vec())).unwrap();
            assert_eq!(seen, values, "{codec:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut batch = build(Codec::None, [b"value".as_slice()].into_iter()).unwrap().to_vec();
        *batch.last_mut().unwrap() ^= 1;
        assert!(check_crc(&batch).is_err());
    }
}
