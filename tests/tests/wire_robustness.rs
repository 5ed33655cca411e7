//! Bad input and bad peers against the real binary: semantics 3.1, and limits on connections, memory and time.
//!
//! Every test keeps a well-behaved client beside the trouble and looks whether it is disturbed.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use chronik_protocol::codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::codec::{self, messages};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::random::Random;
use chronik_tests::wire::{Client, batch, fetch_request, produce_request};

/// Closing takes a moment at most.
const SOON: Duration = Duration::from_secs(5);

/// `socket.request.max.bytes` by default.
const FRAME_MAX: i32 = 104_857_600;

/// Kafka's UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN_TOPIC: i16 = 3;

/// Kafka's INVALID_TOPIC_EXCEPTION.
const INVALID_TOPIC: i16 = 17;

/// A request header, version 1, and the rest.
fn frame(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i16(api_key);
    frame.put_i16(version);
    frame.put_i32(77);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.to_vec()
}

/// Sends bytes on a connection of their own; the broker must close it without a word.
fn must_close(broker: &Broker, bytes: &[u8], what: &str) {
    let mut client = Client::connect(broker.kafka_addr());
    client.send_bytes(bytes);
    client.stream().set_read_timeout(Some(SOON)).expect("not zero");
    let answer = client.read_frame().map_err(|error| error.kind());
    let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    match answer {
        Ok(frame) => panic!("{what}: answered with {} bytes", frame.len()),
        Err(error) => assert!(!timed_out.contains(&error), "{what}: left open"),
    }
}

fn must_close_frame(broker: &Broker, frame: &[u8], what: &str) {
    must_close(broker, &[&(frame.len() as i32).to_be_bytes(), frame].concat(), what);
}

// semantics 3.1.1
#[test]
fn frames_of_impossible_length_close_the_connection() {
    let broker = Broker::start();
    let mut bystander = Client::connect(broker.kafka_addr());
    for length in [-1, i32::MIN, i32::MAX, FRAME_MAX + 1, 0, 1, 7] {
        let bytes = [&length.to_be_bytes()[..], &[0; 64]].concat();
        must_close(&broker, &bytes, &format!("a length of {length}"));
        assert!(bystander.answers());
    }
}

#[test]
fn a_frame_cut_short_is_given_up_with_its_connection() {
    let broker = Broker::start();
    let mut bystander = Client::connect(broker.kafka_addr());
    let whole = codec::encode_request(1, "cut", &messages::MetadataRequest::default(), 12).unwrap();
    for length in 0..whole.len() {
        let mut client = Client::connect(broker.kafka_addr());
        assert!(client.send_bytes(&whole[..length]));
        client.stream().shutdown(Shutdown::Write).unwrap();
        assert!(client.read_frame().is_err(), "answered {length} bytes of {}", whole.len());
    }
    assert!(bystander.answers());
}

#[test]
fn random_bytes_do_no_harm() {
    let broker = Broker::start();
    let mut random = Random::seeded_by("TEST_SEED", 1);
    let mut bystander = Client::connect(broker.kafka_addr());
    for _ in 0..300 {
        let mut client = Client::connect(broker.kafka_addr());
        let count = 1 + random.below(300);
        let mut bytes = random.bytes(count);
        if random.below(2) == 0 {
            // Past the length check.
            bytes.splice(0..0, (count as i32).to_be_bytes());
        }
        client.send_bytes(&bytes);
        let _ = client.stream().shutdown(Shutdown::Write);
        assert!(client.is_closed_within(SOON));
    }
    assert!(bystander.answers());
    assert!(broker.is_ready());
}

// semantics 3.1.2
#[test]
fn unknown_apis_and_versions_close_the_connection() {
    let broker = Broker::start();
    let mut bystander = Client::connect(broker.kafka_addr());
    for (key, version) in [(-1, 0), (4, 0), (7, 3), (93, 0), (1000, 0), (i16::MAX, 0), (i16::MIN, -1)] {
        must_close_frame(&broker, &frame(key, version, &[0; 20]), &format!("api {key}"));
    }
    for (key, version) in [(0, 2), (0, 14), (1, 3), (1, 19), (3, 14), (3, -1), (2, 0), (22, 6), (3, i16::MAX)]
    {
        must_close_frame(&broker, &frame(key, version, &[0; 20]), &format!("api {key} version {version}"));
    }
    assert!(bystander.answers());
}

#[test]
fn bodies_that_do_not_follow_the_schema_close_the_connection() {
    let broker = Broker::start();
    let mut bystander = Client::connect(broker.kafka_addr());
    let metadata = 3;
    for (version, body, what) in [
        (1, &b"\x7f\xff\xff\xff"[..], "an array of 2147483647 elements"),
        (1, b"\x80\x00\x00\x00", "a negative array length"),
        (1, b"\x00\x00\x00\x01\x7f\xffx", "a string longer than the frame"),
        (1, b"\x00\x00\x00\x01\xff\xff", "a null where none may be"),
        (1, b"", "no body"),
        (9, b"\x00\xff\xff\xff\xff\x0f", "a compact array of 4294967294 elements"),
        (9, b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a varint without end"),
        (9, b"\x00\x01\x00\x00\x00\xff\xff\xff\xff\x0f", "4294967295 tagged fields"),
        (9, b"\xff\xff\xff\xff\x0f\x00\x00", "4294967295 tagged fields in the header"),
    ] {
        must_close_frame(&broker, &frame(metadata, version, body), what);
        assert!(bystander.answers(), "{what}");
    }
}

// As librdkafka 2 asks for every topic: the array's length takes four bytes where the version has one.
#[test]
fn bytes_behind_a_body_are_ignored() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("listed", 1);
    assert!(client.send_frame(&frame(3, 13, b"\x00\x00\x00\x00\x00\x00\x00\x00")));
    let answer = client.read_frame().unwrap();
    let (_, body) = codec::decode_response::<messages::MetadataRequest>(answer, 13).unwrap();
    assert!(body.topics.iter().any(|topic| topic.name.as_deref() == Some("listed")));
    assert!(client.answers(), "the connection lives on");
}

// semantics 1, version traps
#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    for version in [5, 6, 100, i16::MAX, -1, i16::MIN] {
        assert!(client.send_frame(&frame(18, version, b"\x01\x02\x03")));
        let answer = client.read_frame().unwrap();
        let (correlation_id, body) = codec::decode_response::<messages::ApiVersionsRequest>(answer, 0)
            .expect("layout 0, to the last byte");
        assert_eq!((correlation_id, body.error_code), (77, 35), "version {version}");
        let itself = body.api_keys.iter().find(|api| api.api_key == 18).expect("lists itself");
        assert_eq!((itself.min_version, itself.max_version), (0, 4));
    }
    assert!(client.answers(), "the connection lives on");
}

#[test]
fn every_api_that_is_advertised_is_within_the_schemas_and_produce_begins_at_0() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    for version in 0..=4 {
        let request = message!(messages::ApiVersionsRequest {
            client_software_name: "wire".into(),
            client_software_version: "1".into(),
        });
        let request = if version >= 3 { request } else { messages::ApiVersionsRequest::default() };
        let answer = client.call(&request, version);
        assert_eq!(answer.error_code, 0);
        let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13), "KAFKA-18659");
        for api in &answer.api_keys {
            let (min, max) = codec::supported_versions(api.api_key).expect("an API of Kafka");
            let min = if api.api_key == 0 { 0 } else { min };
            assert!(min <= api.min_version && api.max_version <= max, "{api:?}");
        }
    }
}

// semantics 3.1.3
#[test]
fn replies_come_in_the_order_of_requests_whatever_they_wait_for() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    let beyond_the_end = fetch_request("t", 0, 1 << 40);
    let partition =
        message!(ListOffsetsPartition { partition_index: 0, timestamp: -1, current_leader_epoch: -1 });
    let topic = message!(ListOffsetsTopic { name: "t".into(), partitions: vec![partition] });
    let offsets = message!(messages::ListOffsetsRequest { replica_id: -1, topics: vec![topic] });
    let mut expected = Vec::new();
    for round in 0i64..20 {
        let mut waits = fetch_request("t", 0, 2 * round + 1);
        (waits.max_wait_ms, waits.min_bytes) = (20, 1 << 20);
        expected.extend([
            client.send(&produce_request("t", 0, -1, batch(&[b"a"])), 8),
            client.send(&waits, 11),
            client.send(&messages::ApiVersionsRequest::default(), 0),
            client.send(&produce_request("t", 0, 1, batch(&[b"b"])), 7),
            client.send(&offsets, 1),
            client.send(&beyond_the_end, 11),
            client.send(&message!(messages::MetadataRequest { topics: None }), 5),
        ]);
    }
    let answered: Vec<i32> = expected
        .iter()
        .map(|_| {
            let frame = client.read_frame().unwrap();
            i32::from_be_bytes(frame[..4].try_into().unwrap())
        })
        .collect();
    assert_eq!(answered, expected);
    let (error, high_watermark, _) = client.fetch("t", 0);
    assert_eq!((error, high_watermark), (0, 40));
}

#[test]
fn what_was_asked_before_a_bad_frame_is_answered_before_the_connection_closes() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    let mut poll = fetch_request("t", 0, 0);
    (poll.max_wait_ms, poll.min_bytes) = (300, 1);
    let asked = client.send(&poll, 11);
    assert!(client.send_frame(&frame(1000, 0, b"nonsense")));
    assert_eq!(client.receive::<messages::FetchRequest>(11).0, asked);
    assert!(client.is_closed_within(SOON));
}

#[test]
fn a_produce_without_acks_gets_no_answer_and_an_error_closes_its_connection() {
    let broker = Broker::builder().set("auto.create.topics.enable", false).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    client.send(&produce_request("t", 0, 0, batch(&[b"silent"])), 8);
    assert!(client.answers(), "the next answer is the next request's");
    let deadline = Instant::now() + SOON;
    while client.fetch("t", 0).1 < 1 {
        assert!(Instant::now() < deadline, "the records are written all the same");
    }
    client.send(&produce_request("missing", 0, 0, batch(&[b"lost"])), 8);
    assert!(client.is_closed_within(SOON));
}

// semantics 3.2.2
#[test]
fn the_brokers_own_topics_take_no_records_from_clients() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    let shown = client.call(&message!(messages::MetadataRequest { topics: None }), 12).topics;
    let shown = shown.iter().find(|topic| topic.name.as_deref() == Some("__consumer_offsets"));
    let mut forged = produce_request("__consumer_offsets", 0, -1, batch(&[b"forged"]));
    forged.topic_data[0].topic_id = shown.expect("Metadata shows it").topic_id;
    // By name, and from version 13 on by the id.
    for version in 3..=13 {
        let answer = client.call(&forged, version);
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (INVALID_TOPIC, -1), "version {version}");
    }
    // A name kept for what is to come is unknown until then.
    let answer = client.call(&produce_request("__share_group_state", 0, -1, batch(&[b"forged"])), 12);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, UNKNOWN_TOPIC);
    let (error, high_watermark, records) = client.fetch("__consumer_offsets", 0);
    assert_eq!((error, high_watermark, records.len()), (0, 0, 0));
}

// A frame's memory is reserved as it arrives, not as it is announced.
#[test]
fn announced_frames_take_no_memory_and_keep_nobody_waiting() {
    let broker = Broker::start();
    let mut bystander = Client::connect(broker.kafka_addr());
    bystander.create_topic("t", 1);
    let before = broker.rss_bytes();
    let mut announcers: Vec<Client> = (0..100).map(|_| Client::connect(broker.kafka_addr())).collect();
    for announcer in &mut announcers {
        assert!(announcer.send_bytes(&[&FRAME_MAX.to_be_bytes()[..], &frame(0, 8, &[0; 1000])].concat()));
    }
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    for _ in 0..20 {
        bystander.produce("t", &[&[7; 200_000]]);
        assert_eq!(bystander.fetch("t", 0).0, 0);
    }
    assert!(started.elapsed() < SOON, "others wait {:?} behind frames that never come", started.elapsed());
    assert!(Client::connect(broker.kafka_addr()).answers());
    if let (Some(before), Some(after)) = (before, broker.rss_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(grown < 100 << 20, "100 announcements of 100 MB took {grown} bytes");
    }
}

#[test]
fn frames_half_sent_are_bounded_together() {
    let bound = 32 << 20;
    let broker = Broker::builder()
        .set("socket.request.max.bytes", 16 << 20)
        .set("queued.max.request.bytes", bound)
        .start();
    let before = broker.rss_bytes();
    let mut senders: Vec<Client> = (0..20).map(|_| Client::connect(broker.kafka_addr())).collect();
    let chunk = vec![1; 1 << 20];
    for sender in &mut senders {
        sender.stream().set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        sender.send_bytes(&(16i32 << 20).to_be_bytes());
        // As much as the broker takes; it must stop taking.
        for _ in 0..15 {
            if !sender.send_bytes(&chunk) {
                break;
            }
        }
    }
    if let (Some(before), Some(after)) = (before, broker.rss_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(grown < 2 * bound as u64, "20 half frames of 15 MB took {grown} bytes of {bound}");
    }
    drop(senders);
    let mut client = Client::connect(broker.kafka_addr());
    assert!(client.answers(), "memory is given back with the connections");
}

#[test]
fn connections_per_address_are_limited() {
    let broker = Broker::builder().set("max.connections.per.ip", 5).start();
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(broker.kafka_addr())).collect();
    assert!(clients.iter_mut().all(Client::answers));
    let mut one_more = Client::connect(broker.kafka_addr());
    assert!(one_more.is_closed_within(SOON));
    clients.pop();
    let deadline = Instant::now() + SOON;
    while !Client::connect(broker.kafka_addr()).answers() {
        assert!(Instant::now() < deadline, "a place that was left is free again");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(clients.iter_mut().all(Client::answers));
}

#[test]
fn connections_are_limited_over_all() {
    let broker = Broker::builder().set("max.connections", 3).start();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(broker.kafka_addr())).collect();
    assert!(clients.iter_mut().all(Client::answers));
    assert!(Client::connect(broker.kafka_addr()).is_closed_within(SOON));
    assert!(broker.is_ready(), "health has connections of its own");
}

// semantics 3.1.4
#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    let broker = Broker::builder().set("connections.max.idle.ms", 1000).start();
    let mut idle = Client::connect(broker.kafka_addr());
    let mut half_open = Client::connect(broker.kafka_addr());
    let mut busy = Client::connect(broker.kafka_addr());
    let mut polling = Client::connect(broker.kafka_addr());
    polling.create_topic("t", 1);
    assert!(idle.answers() && busy.answers());
    assert!(half_open.send_bytes(&[0, 0, 1, 0, 0, 3]));
    let mut long_poll = fetch_request("t", 0, 0);
    (long_poll.max_wait_ms, long_poll.min_bytes) = (3000, 1);
    let poll = polling.send(&long_poll, 11);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2500) {
        assert!(busy.answers());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(idle.is_closed_within(Duration::from_millis(500)));
    assert!(half_open.is_closed_within(Duration::from_millis(500)));
    let (answered, _) = polling.receive::<messages::FetchRequest>(11);
    assert_eq!(answered, poll, "who waits for an answer is not idle");
}

#[test]
fn a_reader_that_stalls_is_cut_off_and_holds_nothing() {
    // A small ring, so that most of an answer is read from the store into memory of its own.
    let broker =
        Broker::builder().set("connections.max.idle.ms", 2000).set("chronik.wal.profile", "low").start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    let value = vec![b'x'; 900_000];
    const BATCHES: usize = 40;
    for _ in 0..BATCHES {
        client.produce("t", &[&value]);
    }
    let mut everything = fetch_request("t", 0, 0);
    everything.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let before = broker.rss_bytes();
    let mut most = 0;
    // Twice, as what the first readers kept would be missing for the second.
    for _ in 0..2 {
        // Together they ask for more than all fetches may hold of what they read from the store, 256 MiB.
        let mut stalled: Vec<Client> = (0..16).map(|_| Client::connect(broker.kafka_addr())).collect();
        for reader in &mut stalled {
            reader.send(&everything, 11);
        }
        let started = Instant::now();
        while broker.metric("chronik_active_connections") < 17.0 {
            assert!(started.elapsed() < SOON, "16 readers and a bystander connect");
        }
        while broker.metric("chronik_active_connections") > 1.0 {
            assert!(started.elapsed() < 4 * SOON, "readers that take nothing keep their connections");
            let asked = Instant::now();
            let offset = client.produce("t", &[&value]);
            assert_eq!(client.fetch("t", offset).0, 0);
            assert!(asked.elapsed() < Duration::from_secs(2), "others wait {:?} for them", asked.elapsed());
            most = most.max(broker.rss_bytes().unwrap_or_default());
            std::thread::sleep(Duration::from_millis(100));
        }
        // What they held is there for others: an answer as large as each of theirs, at once.
        let asked = Instant::now();
        let answer = client.call(&everything, 11);
        let records = answer.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len);
        assert!(records >= BATCHES * value.len(), "{records} bytes");
        assert!(asked.elapsed() < SOON, "{:?} for an answer", asked.elapsed());
    }
    if let Some(before) = before {
        let grown = most.saturating_sub(before);
        assert!(grown < 320 << 20, "32 answers of 36 MB took {grown} bytes");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    for _ in 0..50 {
        let mut leaver = Client::connect(broker.kafka_addr());
        let mut poll = fetch_request("t", 0, 0);
        (poll.max_wait_ms, poll.min_bytes) = (600_000, 1);
        leaver.send(&poll, 11);
    }
    let deadline = Instant::now() + SOON;
    while broker.metric("chronik_active_connections") > 1.0 {
        assert!(Instant::now() < deadline, "long polls of clients that left are still held");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(client.answers());
}

#[test]
fn waiting_for_records_costs_no_cpu() {
    let broker = Broker::start();
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(broker.kafka_addr())).collect();
    clients[0].create_topic("t", 1);
    for client in &mut clients {
        let mut poll = fetch_request("t", 0, 0);
        (poll.max_wait_ms, poll.min_bytes) = (60_000, 1);
        client.send(&poll, 11);
    }
    std::thread::sleep(Duration::from_millis(500));
    let Some(before) = broker.cpu_time() else { return };
    std::thread::sleep(Duration::from_secs(3));
    let used = broker.cpu_time().unwrap() - before;
    assert!(used <= Duration::from_millis(60), "50 waiting consumers used {used:?} of CPU in 3 s");
}
