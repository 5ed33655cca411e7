//! The hand-written encoding against the generated one.

use chronik_protocol::codec::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use chronik_protocol::codec::{self, StrBytes, messages};
use chronik_protocol::message;
use proptest::prelude::*;

use super::*;

fn generated(answer: &FetchAnswer, version: i16) -> messages::FetchResponse {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut last = None;
    for partition in &answer.partitions {
        if last != Some(&partition.topic) {
            topics.push(match &partition.topic {
                TopicRef::Name(name) => message!(FetchableTopicResponse { topic: StrBytes::from(&**name) }),
                TopicRef::Id(id) => {
                    message!(FetchableTopicResponse { topic_id: codec::Uuid::from_bytes(*id.as_bytes()) })
                }
            });
            last = Some(&partition.topic);
        }
        topics.last_mut().unwrap().partitions.push(generated_partition(partition));
    }
    let endpoints = answer.endpoints.iter().map(|endpoint| {
        message!(NodeEndpoint {
            node_id: endpoint.node_id,
            host: StrBytes::from(endpoint.host.as_str()),
            port: endpoint.port,
        })
    });
    let mut response = message!(messages::FetchResponse { responses: topics });
    if version >= TELLS_LEADER {
        response.node_endpoints = endpoints.collect();
    }
    if version >= TELLS_SESSION {
        response.error_code = answer.error.code();
        response.session_id = answer.session_id;
    }
    response
}

fn generated_partition(partition: &PartitionAnswer) -> PartitionData {
    let mut data = message!(PartitionData {
        partition_index: partition.partition,
        error_code: partition.error.code(),
        high_watermark: partition.high_watermark,
        last_stable_offset: partition.last_stable_offset,
        log_start_offset: partition.log_start_offset,
        aborted_transactions: partition.aborted.as_ref().map(|aborted| {
            let told = aborted.iter().map(|txn| {
                message!(AbortedTransaction { producer_id: txn.producer_id, first_offset: txn.first_offset })
            });
            told.collect()
        }),
        records: Some(Bytes::from(partition.records.concat())),
    });
    if let Some((epoch, end_offset)) = partition.diverging {
        data.diverging_epoch = message!(EpochEndOffset { epoch: epoch, end_offset: end_offset });
    }
    if let Some((leader_id, leader_epoch)) = partition.current_leader {
        data.current_leader = message!(LeaderIdAndEpoch { leader_id: leader_id, leader_epoch: leader_epoch });
    }
    data
}

/// Some are copied, some are not.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![0..200usize, COPIED_BYTES_MAX - 1..COPIED_BYTES_MAX + 2];
    (size, any::<u8>()).prop_map(|(size, byte)| vec![byte; size])
}

fn any_aborted() -> impl Strategy<Value = AbortedTxn> {
    any::<[i64; 4]>().prop_map(|[producer_id, first_offset, last_offset, stable_offset]| AbortedTxn {
        producer_id,
        first_offset,
        last_offset,
        stable_offset,
    })
}

prop_compose! {
    fn any_partition(topic: TopicRef, version: i16)(
        partition in any::<i32>(),
        error in prop_oneof![Just(ErrorCode::None), Just(ErrorCode::OffsetOutOfRange), Just(ErrorCode::FencedLeaderEpoch)],
        offsets in any::<[i64; 3]>(),
        diverging in proptest::option::of((0..i32::MAX, 0..i64::MAX)),
        current_leader in proptest::option::of((0..i32::MAX, 0..i32::MAX)),
        aborted in proptest::option::of(prop::collection::vec(any_aborted(), 0..3)),
        records in prop::collection::vec(any_piece(), 0..4),
    ) -> PartitionAnswer {
        let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
        PartitionAnswer {
            topic: topic.clone(),
            partition,
            error,
            high_watermark: offsets[0],
            last_stable_offset: offsets[1],
            log_start_offset: if version >= TELLS_LOG_START { offsets[2] } else { NO_OFFSET },
            diverging: diverging.filter(|_| version >= FLEXIBLE),
            current_leader: current_leader.filter(|_| version >= FLEXIBLE),
            aborted,
            records_bytes: records.iter().map(Bytes::len).sum(),
            records,
        }
    }
}

fn any_topic(version: i16) -> BoxedStrategy<TopicRef> {
    if version >= NAMES_BY_ID {
        any::<u128>().prop_map(|id| TopicRef::Id(Uuid::from_u128(id))).boxed()
    } else {
        "[a-z]{1,150}".prop_map(|name| TopicRef::Name(name.as_str().into())).boxed()
    }
}

fn any_answer() -> impl Strategy<Value = (i16, FetchAnswer)> {
    (4i16..=18).prop_flat_map(|version| {
        let topic = any_topic(version)
            .prop_flat_map(move |topic| prop::collection::vec(any_partition(topic, version), 1..4));
        let topics = prop::collection::vec(topic, 0..4);
        let endpoint = ("[a-z.]{1,200}", any::<i32>(), any::<i32>())
            .prop_map(|(host, node_id, port)| Endpoint { node_id, host, port });
        let endpoints = prop::collection::vec(endpoint, 0..3);
        let error = prop_oneof![Just(ErrorCode::None), Just(ErrorCode::InvalidFetchSessionEpoch)];
        (topics, endpoints, any::<i32>(), error).prop_map(move |(topics, endpoints, session_id, error)| {
            let partitions = topics.into_iter().flatten().collect();
            (version, FetchAnswer { error, session_id, partitions, endpoints })
        })
    })
}

proptest! {
    #[test]
    fn every_version_is_what_the_generated_encoder_writes((version, answer) in any_answer(), correlation in any::<i32>()) {
        let expected = codec::encode_response(correlation, &generated(&answer, version), version).unwrap();
        let chunks = answer.encode(correlation, version);
        prop_assert_eq!(chunks.concat(), expected.to_vec());
    }
}

fn chunks_of(records: Vec<Bytes>) -> Vec<Bytes> {
    let mut partition = PartitionAnswer::refused(TopicRef::Name("t".into()), 0, ErrorCode::None);
    partition.records_bytes = records.iter().map(Bytes::len).sum();
    partition.records = records;
    let answer = FetchAnswer {
        error: ErrorCode::None,
        session_id: 0,
        partitions: vec![partition],
        endpoints: Vec::new(),
    };
    answer.encode(1, 12)
}

#[test]
fn records_are_handed_over_without_a_copy() {
    let (prefix, body) = (Bytes::from(vec![1; 16]), Bytes::from(vec![7; 10_000]));
    let chunks = chunks_of(vec![prefix.clone(), body.clone(), prefix, body.clone()]);
    assert_eq!(chunks.iter().filter(|chunk| chunk.as_ptr() == body.as_ptr()).count(), 2);
    assert_eq!(chunks.len(), 5, "head and prefix, body, prefix, body, tail");
}

#[test]
fn small_pieces_become_one() {
    assert_eq!(chunks_of(vec![Bytes::from(vec![7; 100]); 1000]).len(), 1);
}
