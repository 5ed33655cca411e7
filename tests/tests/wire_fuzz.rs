//! Mutated requests of every advertised API and version against the real binary: it may answer or close, but it lives
//! on, stays small, and writes nothing that is not whole.
//!
//! Short and seeded by default (`TEST_SEED`); `TEST_FUZZ_ROUNDS` mutations of each version make it long.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chronik_protocol::batch::{
    BatchBuilder, BatchView, Compression, HEADER_SIZE, LOG_OVERHEAD, split_batches,
};
use chronik_protocol::codec::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use chronik_protocol::codec::messages::create_topics_request::CreatableTopic;
use chronik_protocol::codec::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::codec::messages::join_group_request::JoinGroupRequestProtocol;
use chronik_protocol::codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::codec::messages::metadata_request::MetadataRequestTopic;
use chronik_protocol::codec::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use chronik_protocol::codec::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use chronik_protocol::codec::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use chronik_protocol::codec::{self, KafkaRequest, messages};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::random::Random;
use chronik_tests::wire::{Client, batch, fetch_request, produce_request};

/// Mutations of each API version unless `TEST_FUZZ_ROUNDS` says otherwise.
const ROUNDS: usize = 20;

/// Some requests wait for something; nobody here does.
const PATIENCE: Duration = Duration::from_millis(30);

/// Kafka's INVALID_RECORD.
const INVALID_RECORD: i16 = 87;

/// Kafka's CORRUPT_MESSAGE.
const CORRUPT_MESSAGE: i16 = 2;

/// Records there before, and after.
const RECORDS: usize = 10;

/// Requests of one API in one version, as frames without their length.
type Samples = fn(i16) -> Vec<Bytes>;

fn encoded<R: KafkaRequest>(requests: &[R], version: i16) -> Vec<Bytes> {
    // A sample may have fields that a version lacks; the default always fits one.
    let frames =
        requests.iter().filter_map(|request| codec::encode_request(7, "fuzz", request, version).ok());
    frames.map(|frame| frame.slice(4..)).collect()
}

macro_rules! plain {
    ($($key:literal $request:ident),* $(,)?) => {
        &[$(($key, |version| encoded(&[messages::$request::default()], version))),*]
    };
}

/// Every API with an empty request; a test below compares with what the broker advertises.
static PLAIN: &[(i16, Samples)] = plain![
    0 ProduceRequest, 1 FetchRequest, 2 ListOffsetsRequest, 3 MetadataRequest, 8 OffsetCommitRequest,
    9 OffsetFetchRequest, 10 FindCoordinatorRequest, 11 JoinGroupRequest, 12 HeartbeatRequest,
    13 LeaveGroupRequest, 14 SyncGroupRequest, 15 DescribeGroupsRequest, 16 ListGroupsRequest,
    18 ApiVersionsRequest, 19 CreateTopicsRequest, 20 DeleteTopicsRequest, 21 DeleteRecordsRequest,
    22 InitProducerIdRequest, 23 OffsetForLeaderEpochRequest, 24 AddPartitionsToTxnRequest,
    25 AddOffsetsToTxnRequest, 26 EndTxnRequest, 27 WriteTxnMarkersRequest, 28 TxnOffsetCommitRequest,
    32 DescribeConfigsRequest, 33 AlterConfigsRequest, 34 AlterReplicaLogDirsRequest, 35 DescribeLogDirsRequest,
    37 CreatePartitionsRequest, 42 DeleteGroupsRequest, 43 ElectLeadersRequest,
    44 IncrementalAlterConfigsRequest, 45 AlterPartitionReassignmentsRequest,
    46 ListPartitionReassignmentsRequest, 47 OffsetDeleteRequest, 55 DescribeQuorumRequest,
    57 UpdateFeaturesRequest, 60 DescribeClusterRequest, 61 DescribeProducersRequest,
    64 UnregisterBrokerRequest, 65 DescribeTransactionsRequest, 66 ListTransactionsRequest,
    71 GetTelemetrySubscriptionsRequest, 72 PushTelemetryRequest, 74 ListConfigResourcesRequest,
    75 DescribeTopicPartitionsRequest, 80 AddRaftVoterRequest, 81 RemoveRaftVoterRequest,
];

/// Fuller requests. None would write to the topic that is looked at, nor with a bit changed.
static FULL: &[(i16, Samples)] = &[
    (0, |version| encoded(&[produce_request("missing", 0, -1, batch(&[b"a", b"b"]))], version)),
    (1, |version| encoded(&[fetch_request("kept", 0, 0), fetch_request("missing", 0, 3)], version)),
    (2, |version| {
        let partition = message!(ListOffsetsPartition { timestamp: -1, current_leader_epoch: -1 });
        let topic = message!(ListOffsetsTopic { name: "kept".into(), partitions: vec![partition] });
        encoded(&[message!(messages::ListOffsetsRequest { replica_id: -1, topics: vec![topic] })], version)
    }),
    (3, |version| {
        let topic = message!(MetadataRequestTopic { name: Some("kept".into()) });
        encoded(&[message!(messages::MetadataRequest { topics: Some(vec![topic]) })], version)
    }),
    (8, |version| {
        let partition = message!(OffsetCommitRequestPartition { committed_offset: 5 });
        let topic =
            message!(OffsetCommitRequestTopic { name: "missing".into(), partitions: vec![partition] });
        encoded(
            &[message!(messages::OffsetCommitRequest { group_id: "g".into(), topics: vec![topic] })],
            version,
        )
    }),
    (11, |version| {
        let protocol =
            message!(JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"m") });
        let request = message!(messages::JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
        });
        encoded(&[request], version)
    }),
    (19, |version| {
        let topic =
            message!(CreatableTopic { name: "bad name".into(), num_partitions: 0, replication_factor: 1 });
        encoded(
            &[message!(messages::CreateTopicsRequest { topics: vec![topic], validate_only: true })],
            version,
        )
    }),
    (21, |version| {
        let partition = message!(DeleteRecordsPartition { partition_index: 7, offset: 1 });
        let topic = message!(DeleteRecordsTopic { name: "missing".into(), partitions: vec![partition] });
        encoded(&[message!(messages::DeleteRecordsRequest { topics: vec![topic] })], version)
    }),
    (22, |version| {
        let request = message!(messages::InitProducerIdRequest {
            transactional_id: Some("t".into()),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        });
        encoded(&[request], version)
    }),
    (24, |version| {
        let topic = message!(AddPartitionsToTxnTopic { name: "missing".into(), partitions: vec![0] });
        let transaction = message!(AddPartitionsToTxnTransaction {
            transactional_id: "t".into(),
            topics: vec![topic.clone()],
        });
        let old = message!(messages::AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: "t".into(),
            v3_and_below_topics: vec![topic],
        });
        encoded(
            &[old, message!(messages::AddPartitionsToTxnRequest { transactions: vec![transaction] })],
            version,
        )
    }),
    (26, |version| {
        encoded(
            &[message!(messages::EndTxnRequest { transactional_id: "t".into(), committed: true })],
            version,
        )
    }),
    (27, |version| {
        let topic =
            message!(WritableTxnMarkerTopic { name: "missing".into(), partition_indexes: vec![0, 1] });
        let marker = message!(WritableTxnMarker { transaction_result: true, topics: vec![topic] });
        encoded(&[message!(messages::WriteTxnMarkersRequest { markers: vec![marker] })], version)
    }),
    (28, |version| {
        let partition = message!(TxnOffsetCommitRequestPartition { committed_offset: 5 });
        let topic =
            message!(TxnOffsetCommitRequestTopic { name: "kept".into(), partitions: vec![partition] });
        let request = message!(messages::TxnOffsetCommitRequest {
            transactional_id: "t".into(),
            group_id: "g".into(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
        });
        encoded(&[request], version)
    }),
    (66, |version| {
        let request = message!(messages::ListTransactionsRequest {
            state_filters: vec!["Ongoing".into()],
            transactional_id_pattern: Some("(t|u).*".into()),
        });
        encoded(&[request], version)
    }),
    (72, |version| {
        let metrics = Bytes::from_static(&[10, 4, 18, 2, 18, 0]);
        encoded(&[message!(messages::PushTelemetryRequest { metrics: metrics })], version)
    }),
];

fn mutate(random: &mut Random, sample: &[u8]) -> Vec<u8> {
    // Key and version stay: this fuzzes decoders and handlers, not the table.
    const KEPT: usize = 4;
    let mut bytes = sample.to_vec();
    for _ in 0..=random.below(3) {
        let span = bytes.len() - KEPT;
        let at = KEPT + random.below(span.max(1));
        match random.below(6) {
            0 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << (span % 8)),
            1 => bytes.truncate(at.max(KEPT + 4)),
            2 => {
                let extreme = [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0], [0; 4]][random.below(4)];
                for (byte, value) in bytes[at..].iter_mut().zip(extreme) {
                    *byte = value;
                }
            }
            3 => {
                let more = 1 + random.below(20);
                let more = random.bytes(more);
                bytes.splice(at..at, more);
            }
            4 => {
                let end = (at + 1 + random.below(30)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let value = random.next_u64() as u8;
                bytes[at..].iter_mut().take(1).for_each(|byte| *byte = value);
            }
        }
        if bytes.len() <= KEPT + 4 {
            break;
        }
    }
    bytes
}

fn advertised(broker: &Broker) -> Vec<(i16, i16, i16)> {
    let mut client = Client::connect(broker.kafka_addr());
    let answer = client.call(&messages::ApiVersionsRequest::default(), 0);
    answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect()
}

fn topics(client: &mut Client) -> Vec<String> {
    let answer = client.call(&message!(messages::MetadataRequest { topics: None }), 5);
    answer.topics.iter().filter_map(|topic| topic.name.as_ref().map(ToString::to_string)).collect()
}

#[test]
fn mutated_requests_of_every_version_leave_broker_and_data_as_they_were() {
    let broker = Broker::builder()
        .set("auto.create.topics.enable", false)
        .set("group.initial.rebalance.delay.ms", 0)
        .start();
    let mut bystander = Client::connect(broker.kafka_addr());
    bystander.create_topic("kept", 1);
    for value in 0..RECORDS {
        bystander.produce("kept", &[format!("value {value}").as_bytes()]);
    }
    let before = (bystander.fetch("kept", 0), topics(&mut bystander));
    let rounds =
        std::env::var("TEST_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut random = Random::seeded_by("TEST_SEED", 1);

    for (key, min, max) in advertised(&broker) {
        // Produce advertises versions that it refuses (KAFKA-18659).
        let min = if key == 0 { 3 } else { min };
        for version in min..=max {
            let samples: Vec<Bytes> = PLAIN
                .iter()
                .chain(FULL)
                .filter(|(sampled, _)| *sampled == key)
                .flat_map(|(_, samples)| samples(version))
                .collect();
            assert!(!samples.is_empty(), "no sample of api {key} version {version}");
            let mut client = Client::connect(broker.kafka_addr());
            for _ in 0..rounds {
                let sample = &samples[random.below(samples.len())];
                let frame = mutate(&mut random, sample);
                client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
                if !client.send_frame(&frame) || client.read_frame().is_err() {
                    client = Client::connect(broker.kafka_addr());
                }
            }
        }
        assert!(bystander.answers(), "after api {key}");
    }

    assert!(broker.is_ready());
    assert_eq!((bystander.fetch("kept", 0), topics(&mut bystander)), before);
    if let Some(rss) = broker.rss_bytes() {
        assert!(rss < 300 << 20, "{rss} bytes resident");
    }
    let log = broker.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Batches of every kind that a client may send, the sequences of one producer among them.
fn good_batches() -> Vec<Bytes> {
    let built = |builder: BatchBuilder| {
        builder
            .record(1_700_000_000_000, Some(b"key"), Some(&[b'v'; 60]))
            .record_with_headers(1_700_000_000_001, Some(b"k"), None, &[("h", Some(b"1")), ("h", None)])
            .record(1_700_000_000_002, Some(b"k"), Some(b""))
            .build()
            .expect("a small batch")
    };
    let codecs = Compression::ALL.map(|codec| built(BatchBuilder::new().compression(codec, None)));
    let sequences = (0..3).map(|number| built(BatchBuilder::new().producer(77, 0, 3 * number)));
    codecs.into_iter().chain(sequences).collect()
}

/// Makes length and CRC agree with the bytes, so that what lies behind those checks is reached.
fn reseal(batch: &mut [u8]) {
    if batch.len() >= HEADER_SIZE {
        let length = (batch.len() - LOG_OVERHEAD) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        // CRC-32C at 17, of all that follows it.
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Reads a whole topic and checks every batch: CRC, offsets without a gap, as many records as the header says.
/// Returns the batches.
fn read_sound(client: &mut Client, topic: &str) -> Vec<Bytes> {
    let (mut next, mut found) = (0, Vec::new());
    loop {
        let (error, high_watermark, records) = client.fetch(topic, next);
        assert_eq!(error, 0, "{topic} cannot be read at {next} of {high_watermark}");
        if next == high_watermark {
            assert!(records.is_empty());
            return found;
        }
        let before = next;
        for batch in split_batches(records) {
            let view = BatchView::new(&batch).expect("a whole batch");
            view.verify_crc().expect("what is stored has the right CRC");
            assert_eq!(view.header().base_offset, next, "{topic}: offsets have no gap");
            let mut records = view.records(1 << 20).expect("records that can be read");
            let mut count = 0;
            while let Some(record) = records.next_record().expect("a whole record") {
                assert_eq!((record.offset_delta, record.headers().count()), (count, record.headers().len()));
                count += 1;
            }
            assert_eq!((count, count), (view.header().record_count, view.header().last_offset_delta + 1));
            next = view.header().last_offset() + 1;
            found.push(batch.clone());
        }
        assert!(next > before, "{topic}: nothing at {next}, below the end at {high_watermark}");
    }
}

#[test]
fn mutated_batches_reach_a_log_whole_or_not_at_all() {
    // Some timestamps will be of 1970.
    let mut broker = Broker::builder().set("log.retention.ms", -1).start();
    let mut client = Client::connect(broker.kafka_addr());
    let settings: [(&str, &[(&str, &str)]); 4] = [
        ("plain", &[]),
        ("stamped", &[("message.timestamp.type", "LogAppendTime")]),
        ("compacted", &[("cleanup.policy", "compact")]),
        ("recompressed", &[("compression.type", "zstd")]),
    ];
    for (name, configs) in settings {
        client.create_topic_with(name, 1, configs);
    }
    let ids = topic_ids(&mut client);
    let samples = good_batches();
    let rounds =
        std::env::var("TEST_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut random = Random::seeded_by("TEST_SEED", 1);
    let (mut written, mut refused) = (0_u32, BTreeMap::<i16, u32>::new());

    for version in 3..=13 {
        for (name, _) in settings {
            for _ in 0..rounds * 4 {
                let sample = &samples[random.below(samples.len())];
                let mut batch = mutate(&mut random, sample);
                if random.below(4) > 0 {
                    reseal(&mut batch);
                }
                let mut request = produce_request(name, 0, -1, batch.into());
                request.topic_data[0].topic_id = ids[name];
                let answer = client.call(&request, version);
                match answer.responses[0].partition_responses[0].error_code {
                    0 => written += 1,
                    error => *refused.entry(error).or_default() += 1,
                }
            }
            // And the whole request around a good batch, which the broker may take for anything.
            let mut request = produce_request(name, 0, -1, samples[random.below(samples.len())].clone());
            request.topic_data[0].topic_id = ids[name];
            let sample = encoded(&[request], version).remove(0);
            let mut mangled = Client::connect(broker.kafka_addr());
            for _ in 0..rounds {
                mangled.stream().set_read_timeout(Some(PATIENCE)).unwrap();
                if !mangled.send_frame(&mutate(&mut random, &sample)) || mangled.read_frame().is_err() {
                    mangled = Client::connect(broker.kafka_addr());
                }
            }
        }
    }
    eprintln!("{written} written, refused by code: {refused:?}");
    assert!(written > 20, "mutation has lost its way into the log");
    for code in [INVALID_RECORD, CORRUPT_MESSAGE] {
        assert!(refused.contains_key(&code), "mutation has lost its way to error {code}: {refused:?}");
    }
    assert!(broker.is_ready());

    let before: Vec<_> = settings.map(|(name, _)| read_sound(&mut client, name)).into();
    assert!(before.iter().all(|batches| !batches.is_empty()));
    broker.kill();
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    let after: Vec<_> = settings.map(|(name, _)| read_sound(&mut client, name)).into();
    assert_eq!(before, after, "what was read is what a restart finds");
    let log = broker.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Ids by name.
fn topic_ids(client: &mut Client) -> BTreeMap<String, codec::Uuid> {
    let answer = client.call(&message!(messages::MetadataRequest { topics: None }), 12);
    let named =
        answer.topics.iter().filter_map(|topic| Some((topic.name.as_ref()?.to_string(), topic.topic_id)));
    named.collect()
}

#[test]
fn every_advertised_api_is_sampled() {
    let broker = Broker::start();
    let advertised: Vec<i16> = advertised(&broker).into_iter().map(|(key, ..)| key).collect();
    let sampled: Vec<i16> = PLAIN.iter().map(|(key, _)| *key).collect();
    assert_eq!(advertised, sampled);
}
