//! Headers by version, frames round trip, and the shapes a peer may not send.

use super::*;
use crate::messages::{
    ApiVersionsRequest, ApiVersionsResponse, HeartbeatRequest, HeartbeatResponse, MetadataRequest,
    MetadataResponse,
};

fn without_prefix(frame: &Bytes) -> Bytes {
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(length as usize, frame.len() - 4);
    frame.slice(4..)
}

#[test]
fn requests_round_trip_in_both_header_versions() {
    let request =
        message!(HeartbeatRequest { group_id: "g".into(), generation_id: 7, member_id: "m".into() });
    // Flexible from version 4 on.
    for version in [0, 3, 4] {
        for client_id in [Some("client"), None] {
            let frame = encode_request(9, client_id, &request, version).unwrap();
            let mut rest = without_prefix(&frame);
            let header = decode_request_header(&mut rest).unwrap();
            assert_eq!((header.api_key, header.api_version, header.correlation_id), (12, version, 9));
            assert_eq!(header.client_id.as_deref(), client_id);
            assert_eq!(decode_body::<HeartbeatRequest>(rest, version).unwrap(), request);
        }
    }
}

// Header version 2: the client id stays a string with two bytes of length (KIP-482).
#[test]
fn golden_request_headers() {
    let request = MetadataRequest::default();
    let old = encode_request(1, "cl", &request, 0).unwrap();
    assert_eq!(old[4..16], [0, 3, 0, 0, 0, 0, 0, 1, 0, 2, b'c', b'l']);
    let new = encode_request(1, "cl", &request, 9).unwrap();
    assert_eq!(new[4..17], [0, 3, 0, 9, 0, 0, 0, 1, 0, 2, b'c', b'l', 0]);
}

#[test]
fn golden_response_headers() {
    let old = encode_response(5, &HeartbeatResponse::default(), 0).unwrap();
    assert_eq!(old[..], [0, 0, 0, 6, 0, 0, 0, 5, 0, 0]);
    let flexible = encode_response(5, &HeartbeatResponse::default(), 4).unwrap();
    assert_eq!(flexible[..], [0, 0, 0, 12, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]);
}

// semantics 1, version traps
#[test]
fn api_versions_always_has_response_header_zero() {
    for version in 0..=4 {
        let frame = encode_response(1, &ApiVersionsResponse::default(), version).unwrap();
        // The error code follows the correlation id at once.
        assert_eq!(frame[8..10], [0, 0], "{version}");
        assert_eq!(response_header_version::<ApiVersionsResponse>(version), 0);
        let (correlation, _) =
            decode_response::<ApiVersionsRequest>(without_prefix(&frame), version).unwrap();
        assert_eq!(correlation, 1);
    }
    assert_eq!(response_header_version::<MetadataResponse>(9), 1);
}

#[test]
fn unknown_keys_and_versions_are_told_apart() {
    let header = |key: i16, version: i16| {
        let mut frame = [key.to_be_bytes(), version.to_be_bytes()].concat();
        frame.extend_from_slice(&[0; 20]);
        decode_request_header(&mut frame.into())
    };
    assert_eq!(header(9999, 0), Err(CodecError::UnknownApi(9999)));
    assert_eq!(header(-1, 0), Err(CodecError::UnknownApi(-1)));
    assert_eq!(header(18, 99), Err(CodecError::UnknownVersion { api_key: 18, api_version: 99 }));
    assert_eq!(header(18, -1), Err(CodecError::UnknownVersion { api_key: 18, api_version: -1 }));
    assert_eq!(supported_versions(9999), None);
    assert_eq!(supported_versions(12), Some((0, 4)));
}

#[test]
fn a_body_with_too_few_bytes_is_refused_and_bytes_behind_it_are_ignored() {
    let request = message!(HeartbeatRequest { group_id: "group".into(), member_id: "m".into() });
    let mut body = BytesMut::new();
    let written = encode_response_body_into(&request, 4, &mut body).unwrap();
    assert_eq!(written, body.len());
    let body = body.freeze();
    for cut in 0..body.len() {
        assert!(decode_body::<HeartbeatRequest>(body.slice(..cut), 4).is_err(), "{cut}");
    }
    let longer = Bytes::from([&body[..], &[0, 0, 0]].concat());
    assert_eq!(decode_body::<HeartbeatRequest>(longer.clone(), 4), Ok(request));
    assert!(decode_message::<HeartbeatRequest>(longer, 4).is_err());
}

#[test]
fn an_array_longer_than_its_bytes_is_refused_at_its_length() {
    // Metadata v0: one array of topics, which claims 2^31 - 1 of them.
    let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 1, b'a']);
    let error = decode_body::<MetadataRequest>(body, 0).unwrap_err();
    assert!(
        matches!(error, CodecError::Decode(kafka_wire_core::DecodeError::LimitExceeded { .. })),
        "{error}"
    );
}

#[test]
fn records_share_the_memory_of_their_frame() {
    use crate::messages::ProduceRequest;
    use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let records = Bytes::from(vec![7; 1000]);
    let partition = message!(PartitionProduceData { records: Some(records) });
    let topic = message!(TopicProduceData { name: "t".into(), partition_data: vec![partition] });
    let request = message!(ProduceRequest { acks: -1, topic_data: vec![topic] });
    let mut frame = without_prefix(&encode_request(1, "c", &request, 9).unwrap());
    let range = frame.as_ptr_range();
    decode_request_header(&mut frame).unwrap();
    let decoded = decode_body::<ProduceRequest>(frame, 9).unwrap();
    let records = decoded.topic_data[0].partition_data[0].records.clone().unwrap();
    assert_eq!(records.len(), 1000);
    assert!(range.contains(&records.as_ptr()));
}

#[test]
fn a_field_that_the_version_lacks_is_an_error_and_leaves_the_buffer_alone() {
    let mut buffer = BytesMut::from(&b"before"[..]);
    let request = message!(HeartbeatRequest { group_instance_id: Some("i".into()) });
    assert!(encode_response_body_into(&request, 0, &mut buffer).is_err());
    assert_eq!(&buffer[..], b"before");
}
