//! Hostile bytes against everything that reads a key or a value back: an error or a value, never a panic, and a value
//! that says the same once written again. A torn or foreign file must not take the broker down with it.
//!
//! Seeded by `TEST_SEED`; `TEST_FUZZ_ROUNDS` makes it long.

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::{PartitionId, aborted, batch, decode, group, log, producer, tier, topic, txn};
use crate::store::StoreError;

/// Mutations of each sample unless `TEST_FUZZ_ROUNDS` says otherwise.
const ROUNDS: usize = 20_000;

const TOPIC: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

/// One layout: what is written, and what reading it and writing it again makes of any bytes.
struct Layout {
    name: &'static str,
    sample: Bytes,
    rewrite: fn(&[u8]) -> Result<Bytes, StoreError>,
}

/// Keys, whose bytes say one thing in one way.
fn keys() -> Vec<Layout> {
    let partition = PartitionId(0x0102_0304);
    vec![
        Layout {
            name: "record batch",
            sample: batch::key(partition, 77),
            rewrite: |bytes| batch::parse(bytes).map(|(partition, last)| batch::key(partition, last)),
        },
        Layout {
            name: "group",
            sample: group::group_key("grüße"),
            rewrite: |bytes| group::parse_group(bytes).map(|id| group::group_key(&id)),
        },
        Layout {
            name: "committed offset",
            sample: group::offset_key("grüße", TOPIC, 9),
            rewrite: |bytes| {
                group::parse_offset(bytes).map(|(id, topic, index)| group::offset_key(&id, topic, index))
            },
        },
        Layout {
            name: "tail",
            sample: log::tail_key(partition),
            // The scan that finds the key knows which of the two it is; the parser reads either.
            rewrite: |bytes| {
                let key = log::tail_key(log::parse_partition(bytes)?);
                Ok([&bytes[..1], &key[1..]].concat().into())
            },
        },
        Layout {
            name: "segment",
            sample: log::segment_key(partition, 1_000),
            rewrite: |bytes| {
                log::parse_segment(bytes).map(|(partition, base)| log::segment_key(partition, base))
            },
        },
        Layout {
            name: "time index entry",
            sample: log::time_value(1_000),
            rewrite: |bytes| log::parse_time_value(bytes).map(log::time_value),
        },
        Layout {
            name: "producer",
            sample: producer::key(partition, 4_000),
            rewrite: |bytes| producer::parse(bytes).map(|(partition, id)| producer::key(partition, id)),
        },
        Layout {
            name: "aborted transaction",
            sample: aborted::key(partition, 1_000),
            rewrite: |bytes| aborted::parse(bytes).map(|(partition, last)| aborted::key(partition, last)),
        },
        Layout {
            name: "transaction",
            sample: txn::key("orders-1"),
            rewrite: |bytes| txn::parse(bytes).map(|id| txn::key(&id)),
        },
        Layout {
            name: "topic",
            sample: topic::key(TOPIC),
            rewrite: |bytes| topic::parse(bytes).map(topic::key),
        },
    ]
}

/// Protobuf values, where unknown fields and odd spellings of a number are read and not written again.
fn values() -> Vec<Layout> {
    fn layout<M: Message + Default>(name: &'static str, sample: &M) -> Layout {
        let sample = sample.encode_to_vec().into();
        Layout { name, sample, rewrite: |bytes| Ok(decode::<M>(bytes, "fuzzed")?.encode_to_vec().into()) }
    }
    let segment = log::SegmentValue {
        next_offset: 300,
        bytes: 1 << 40,
        max_timestamp: -1,
        first_timestamp: 1_700_000_000_000,
        appended_ms: 5,
        created_ms: 4,
    };
    let tail = log::TailValue {
        next_offset: 300,
        active: Some(segment),
        active_base: 200,
        time_indexed_to: 250,
        time_indexed_max: -1,
        aborted_to: 17,
    };
    let epochs =
        vec![log::EpochValue { epoch: 0, start_offset: 0 }, log::EpochValue { epoch: 3, start_offset: 9 }];
    let remembered = producer::ProducerBatchValue {
        first_sequence: i32::MAX,
        last_sequence: 1,
        base_offset: 10,
        last_offset: 12,
        append_ms: -1,
    };
    let member = group::MemberValue {
        member_id: "member".into(),
        instance_id: Some("instance".into()),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        assignment: Bytes::from_static(b"\0\x01"),
        ..Default::default()
    };
    let group = group::GroupMetadataValue {
        kind: group::KIND_CLASSIC,
        protocol_type: Some("consumer".into()),
        generation: 7,
        state_since_ms: Some(1),
        members: vec![member.clone(), member],
        ..Default::default()
    };
    let offset = group::OffsetValue {
        offset: 300,
        leader_epoch: -1,
        metadata: "m".into(),
        committed_ms: 5,
        expires_ms: Some(6),
        serial: 7,
    };
    let written = producer::ProducerValue {
        epoch: 1,
        batches: vec![remembered; 5],
        last_ms: 5,
        txn_first_offset: Some(10),
        coordinator_epoch_plus_one: 1,
    };
    let txn = transaction(offset.clone());
    let aborted = aborted::AbortedValue { producer_id: 4_000, first_offset: 5, stable_offset: 300 };
    let topic = topic::TopicValue {
        name: "t".into(),
        partitions: vec![
            topic::PartitionValue { id: 1, shard: 0 },
            topic::PartitionValue { id: 2, shard: 0 },
        ],
        configs: [("retention.ms".to_owned(), "1".to_owned())].into(),
        created_ms: 5,
    };
    vec![
        layout("segment", &segment),
        layout("tail", &tail),
        layout("log", &log::LogValue { log_start_offset: 7, epochs, local_start_offset: 9 }),
        layout("remote segment", &remote_segment()),
        layout("tier state", &tier_state()),
        layout("producer", &written),
        layout("aborted transaction", &aborted),
        layout("transaction", &txn),
        layout("group metadata", &group),
        layout("committed offset", &offset),
        layout("topic", &topic),
    ]
}

fn remote_segment() -> tier::RemoteSegmentValue {
    tier::RemoteSegmentValue {
        next_offset: 300,
        bytes: 1,
        max_timestamp: 2,
        first_timestamp: -1,
        appended_ms: 3,
        created_ms: 4,
        object: "o".into(),
        size: 5,
        tail_bytes: 6,
    }
}

fn tier_state() -> tier::TierStateValue {
    tier::TierStateValue {
        epoch: 1,
        claim: vec![2],
        claiming_epoch: 3,
        claiming: vec![4],
        refusal: "5".to_owned(),
        reserved_delta: 7,
        restored_ms: 6,
    }
}

fn transaction(offset: group::OffsetValue) -> txn::TxnValue {
    txn::TxnValue {
        producer_id: 4_000,
        producer_epoch: Some(3),
        last_epoch: Some(2),
        timeout_ms: 60_000,
        state: 2,
        started_ms: Some(1),
        updated_ms: 2,
        raises_epochs: true,
        topics: vec![txn::TxnTopicValue {
            topic: Bytes::copy_from_slice(TOPIC.as_bytes()),
            partitions: vec![0, 300],
        }],
        groups: vec![txn::TxnGroupValue {
            group_id: "g".into(),
            offsets: vec![txn::PendingOffsetValue {
                topic: Bytes::copy_from_slice(TOPIC.as_bytes()),
                partition: 1,
                offset: Some(offset),
            }],
        }],
        ..Default::default()
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn seeded() -> Self {
        let seed = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
        eprintln!("TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// The extremes lead further into a layout than evenly spread bytes do.
    fn byte(&mut self) -> u8 {
        [0, 1, 0x7f, 0x80, 0xff, self.next() as u8][self.below(6)]
    }

    /// `sample` with a few bytes changed, added or gone; now and then anything at all.
    fn mutated(&mut self, sample: &[u8]) -> Vec<u8> {
        if self.below(8) == 0 {
            let size = self.below(48);
            return (0..size).map(|_| self.byte()).collect();
        }
        let mut bytes = sample.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte()),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => bytes[at] = self.byte(),
                _ => {}
            }
        }
        bytes
    }
}

fn rounds() -> usize {
    std::env::var("TEST_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

#[test]
fn hostile_keys_are_corrupt_or_say_what_they_are() {
    let mut dice = Dice::seeded();
    for layout in keys() {
        assert_eq!((layout.rewrite)(&layout.sample).unwrap(), layout.sample, "{}", layout.name);
        let mut read = 0;
        for _ in 0..rounds() {
            let bytes = dice.mutated(&layout.sample);
            match (layout.rewrite)(&bytes) {
                Ok(again) => {
                    assert_eq!(again, bytes, "a {} key has two spellings", layout.name);
                    read += 1;
                }
                Err(StoreError::Corrupt(_)) => {}
                Err(other) => panic!("{}: {bytes:02x?}: {other}", layout.name),
            }
        }
        assert!(read > 0, "no mutation of a {} key could be read", layout.name);
    }
}

#[test]
fn hostile_values_are_corrupt_or_keep_what_they_say() {
    let mut dice = Dice::seeded();
    for layout in values() {
        assert_eq!((layout.rewrite)(&layout.sample).unwrap(), layout.sample, "{}", layout.name);
        let mut read = 0;
        for _ in 0..rounds() {
            let bytes = dice.mutated(&layout.sample);
            match (layout.rewrite)(&bytes) {
                Ok(again) => {
                    assert_eq!((layout.rewrite)(&again).unwrap(), again, "{}: {bytes:02x?}", layout.name);
                    read += 1;
                }
                Err(StoreError::Corrupt(_)) => {}
                Err(other) => panic!("{}: {bytes:02x?}: {other}", layout.name),
            }
        }
        assert!(read > 0, "no mutation of a {} value could be read", layout.name);
    }
}
