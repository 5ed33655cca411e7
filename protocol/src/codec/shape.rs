//! What a Produce will cost to decode, found by walking over it: nothing is allocated.

use crate::varint::Reader;

/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 9;
/// First version that names topics by id (KIP-516).
const TOPIC_IDS: i16 = 13;

/// Partitions of a Produce request's body, or of as much of it as follows the schema.
pub fn produce_partitions(body: &[u8], version: i16) -> usize {
    let mut walk = Walk { rest: Reader::new(body), flexible: version >= FLEXIBLE };
    let mut partitions = 0;
    // `None` is the end of the bytes, where decoding ends too.
    let _ = walk.produce(version, &mut partitions);
    partitions
}

struct Walk<'a> {
    rest: Reader<'a>,
    flexible: bool,
}

impl Walk<'_> {
    fn produce(&mut self, version: i16, partitions: &mut usize) -> Option<()> {
        self.string()?;
        // acks, timeout
        self.rest.take(2 + 4)?;
        for _ in 0..self.length32()? {
            if version >= TOPIC_IDS {
                self.rest.take(16)?;
            } else {
                self.string()?;
            }
            for _ in 0..self.length32()? {
                *partitions += 1;
                self.rest.take(4)?;
                let records = self.length32()?;
                self.rest.take(records)?;
                self.tags()?;
            }
            self.tags()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let bytes =
            if self.flexible { self.length32()? } else { usize::try_from(self.rest.i16_be()?).unwrap_or(0) };
        self.rest.take(bytes)?;
        Some(())
    }

    /// The length of an array or of bytes; nothing when it is null.
    fn length32(&mut self) -> Option<usize> {
        if self.flexible {
            return Some(usize::try_from(self.rest.unsigned_varint()?).ok()?.saturating_sub(1));
        }
        Some(usize::try_from(self.rest.i32_be()?).unwrap_or(0))
    }

    fn tags(&mut self) -> Option<()> {
        if !self.flexible {
            return Some(());
        }
        for _ in 0..self.rest.unsigned_varint()? {
            self.rest.unsigned_varint()?;
            let bytes = usize::try_from(self.rest.unsigned_varint()?).ok()?;
            self.rest.take(bytes)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::codec::messages::ProduceRequest;
    use crate::codec::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::message;

    fn body(version: i16, topics: &[Vec<Option<usize>>]) -> Bytes {
        let topic_data = topics.iter().enumerate().map(|(index, partitions)| {
            let partition_data = partitions.iter().map(|bytes| {
                let records = bytes.map(|bytes| Bytes::from(vec![7; bytes]));
                message!(PartitionProduceData { index: 3, records: records })
            });
            let mut topic = message!(TopicProduceData { partition_data: partition_data.collect() });
            if version < TOPIC_IDS {
                topic.name = format!("topic-{index}").into();
            }
            topic
        });
        let request = message!(ProduceRequest { acks: -1, timeout_ms: 9, topic_data: topic_data.collect() });
        let mut body = BytesMut::new();
        crate::codec::encode_response_body_into(&request, version, &mut body).unwrap();
        body.freeze()
    }

    proptest! {
        #[test]
        fn the_count_is_that_of_the_decoder_and_never_less_than_it_read(
            version in 3i16..=13,
            topics in prop::collection::vec(prop::collection::vec(prop::option::of(0usize..300), 0..5), 0..5),
            cut in 0usize..2000,
        ) {
            let body = body(version, &topics);
            let count = topics.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(produce_partitions(&body, version), count);
            prop_assert!(produce_partitions(&body[..cut.min(body.len())], version) <= count);
        }

        #[test]
        fn any_bytes_are_walked_over(version in 3i16..=13, body in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(produce_partitions(&body, version) <= body.len());
        }
    }
}
