//! librdkafka, through the rdkafka crate, as a client of the real binary: codecs, idempotence, groups, commits, time,
//! headers, administration.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chronik_protocol::batch::{BatchHeader, split_batches};
use chronik_tests::broker::Broker;
use chronik_tests::wire::Client;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// Nothing here takes longer, or it fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// One call of `poll`.
const POLL: Duration = Duration::from_millis(50);

/// A key or a value.
type Field<'a> = Option<&'a [u8]>;

fn config(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set_log_level(RDKafkaLogLevel::Error);
    config
}

/// Idempotent, with `codec`. Fails when librdkafka was built without it.
fn producer(broker: &Broker, codec: &str) -> FutureProducer {
    let mut config = config(broker);
    config.set("enable.idempotence", "true").set("compression.type", codec).set("linger.ms", "20");
    config.create().unwrap_or_else(|error| panic!("librdkafka with {codec}: {error}"))
}

fn consumer(broker: &Broker, group: &str) -> BaseConsumer {
    let mut config = config(broker);
    config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "200");
    config.set("partition.assignment.strategy", "range").create().expect("a good configuration")
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    config(broker).create().expect("a good configuration")
}

/// A broker whose groups form at once.
fn quick_broker() -> Broker {
    Broker::builder().set("group.initial.rebalance.delay.ms", 0).start()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64
}

/// Produces `values` to partition 0 at once, so that they share batches; their offsets in order.
async fn produce(producer: &FutureProducer, topic: &str, values: &[String]) -> Vec<i64> {
    let queued: Vec<_> = values
        .iter()
        .map(|value| {
            let record: FutureRecord<'_, (), String> = FutureRecord::to(topic).partition(0).payload(value);
            producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue")
        })
        .collect();
    let mut offsets = Vec::with_capacity(queued.len());
    for delivery in queued {
        let delivery = delivery.await.expect("the producer lives").map_err(|(error, _)| error);
        offsets.push(delivery.expect("every record is taken").offset);
    }
    offsets
}

/// Reads `count` messages.
fn read(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} messages", found.len());
        if let Some(message) = consumer.poll(POLL) {
            found.push(message.expect("no error while reading").detach());
        }
    }
    found
}

fn value(message: &OwnedMessage) -> String {
    String::from_utf8_lossy(message.payload().expect("a value")).into_owned()
}

/// Polls all until each has as many partitions as wanted.
fn settle(consumers: &[&BaseConsumer], wanted: &[usize]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for consumer in consumers {
            if let Some(message) = consumer.poll(Duration::from_millis(10)) {
                message.expect("no error while rebalancing");
            }
        }
        let assigned: Vec<usize> = consumers
            .iter()
            .map(|consumer| consumer.assignment().expect("a live consumer").count())
            .collect();
        if assigned == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "assigned {assigned:?}, wanted {wanted:?}");
    }
}

fn at(topic: &str, partition: i32, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset).expect("a good offset");
    list
}

#[tokio::test]
async fn every_codec_is_produced_stored_as_sent_and_consumed_with_idempotence_on() {
    let broker = quick_broker();
    let mut raw = Client::connect(broker.kafka_addr());
    for (bits, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        raw.create_topic(codec, 1);
        // Long runs, or librdkafka would send uncompressed what compression does not shorten.
        let values: Vec<String> = (0..50).map(|n| format!("{codec} {n} {}", "x".repeat(1_000))).collect();
        let offsets = produce(&producer(&broker, codec), codec, &values).await;
        assert_eq!(offsets, (0..50).collect::<Vec<i64>>(), "{codec}");
        let (error, high_watermark, stored) = raw.fetch(codec, 0);
        assert_eq!((error, high_watermark), (0, 50), "{codec}");
        for batch in split_batches(stored) {
            let header = BatchHeader::parse(&batch).expect("a whole batch");
            assert_eq!(usize::from(header.attributes as u8 & 7), bits, "the codec of a batch of {codec}");
            assert!(header.producer_id >= 0, "an idempotent producer's batch");
        }
        let consumer = consumer(&broker, "codecs");
        consumer.assign(&at(codec, 0, Offset::Beginning)).expect("an assignment");
        let found = read(&consumer, 50);
        assert!(found.iter().map(value).eq(values), "{codec}");
    }
}

#[tokio::test]
async fn headers_keys_and_nulls_come_back_as_they_were() {
    let broker = quick_broker();
    Client::connect(broker.kafka_addr()).create_topic("shapes", 1);
    let producer = producer(&broker, "zstd");
    let headers = OwnedHeaders::new()
        .insert(Header { key: "twice", value: Some("a") })
        .insert(Header { key: "twice", value: Some("b") })
        .insert(Header { key: "empty", value: Some("") })
        .insert(Header { key: "null", value: None::<&str> });
    let send = async |record: FutureRecord<'_, str, str>| {
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error).expect("taken");
    };
    send(FutureRecord::to("shapes").key("key").payload("value").headers(headers)).await;
    send(FutureRecord::to("shapes").key("tombstone")).await;
    send(FutureRecord::to("shapes").payload("no key")).await;
    send(FutureRecord::to("shapes").key("").payload("")).await;
    send(FutureRecord::to("shapes")).await;
    let consumer = consumer(&broker, "shapes");
    consumer.assign(&at("shapes", 0, Offset::Beginning)).expect("an assignment");
    let found = read(&consumer, 5);
    let shapes: Vec<_> = found.iter().map(|message| (message.key(), message.payload())).collect();
    let expected: [(Field<'_>, Field<'_>); 5] = [
        (Some(b"key"), Some(b"value")),
        (Some(b"tombstone"), None),
        (None, Some(b"no key")),
        (Some(b""), Some(b"")),
        (None, None),
    ];
    assert_eq!(shapes, expected);
    let headers: Vec<_> = found[0]
        .headers()
        .expect("headers")
        .iter()
        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        .collect();
    let expected = [("twice", Some("a")), ("twice", Some("b")), ("empty", Some("")), ("null", None)]
        .map(|(key, value)| (key.to_owned(), value.map(|value| value.as_bytes().to_vec())));
    assert_eq!(headers, expected);
    assert_eq!(found[1].headers().map_or(0, Headers::count), 0);
}

#[test]
fn two_members_share_a_topic_and_one_takes_over_when_the_other_leaves() {
    let broker = quick_broker();
    Client::connect(broker.kafka_addr()).create_topic("shared", 4);
    let first = consumer(&broker, "members");
    first.subscribe(&["shared"]).expect("a good name");
    settle(&[&first], &[4]);
    let second = consumer(&broker, "members");
    second.subscribe(&["shared"]).expect("a good name");
    settle(&[&first, &second], &[2, 2]);
    let both = [&first, &second].map(|member| member.assignment().expect("a live consumer"));
    let mut partitions: Vec<i32> =
        both.iter().flat_map(|list| list.elements()).map(|element| element.partition()).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2, 3], "each partition has one member");
    // It leaves the group; nobody waits for its session to expire.
    let begun = Instant::now();
    second.unsubscribe();
    settle(&[&first, &second], &[4, 0]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_group_goes_on_where_it_committed_across_a_restart_of_the_broker() {
    let mut broker = quick_broker();
    Client::connect(broker.kafka_addr()).create_topic("resumed", 1);
    let values: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    produce(&producer(&broker, "lz4"), "resumed", &values).await;
    let first = consumer(&broker, "resuming");
    first.subscribe(&["resumed"]).expect("a good name");
    assert!(read(&first, 10).iter().map(value).eq(values[..10].iter().cloned()));
    first.commit(&at("resumed", 0, Offset::Offset(10)), CommitMode::Sync).expect("committed");
    drop(first);
    let next = consumer(&broker, "resuming");
    next.subscribe(&["resumed"]).expect("a good name");
    assert!(read(&next, 5).iter().map(value).eq(values[10..15].iter().cloned()));
    next.commit(&at("resumed", 0, Offset::Offset(15)), CommitMode::Sync).expect("committed");
    drop(next);
    broker.kill();
    broker.start_again();
    let last = consumer(&broker, "resuming");
    let committed = last.committed_offsets(at("resumed", 0, Offset::Invalid), PATIENCE).expect("an answer");
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(15));
    last.subscribe(&["resumed"]).expect("a good name");
    assert!(read(&last, 15).iter().map(value).eq(values[15..].iter().cloned()));
}

#[tokio::test]
async fn a_time_finds_the_first_record_at_or_after_it_inside_compressed_batches() {
    let broker = quick_broker();
    Client::connect(broker.kafka_addr()).create_topic("timed", 1);
    let producer = producer(&broker, "gzip");
    let begin = now_ms() - 3_600_000;
    let queued: Vec<_> = (0..20)
        .map(|n| {
            let record: FutureRecord<'_, (), [u8; 200]> =
                FutureRecord::to("timed").partition(0).payload(&[b'x'; 200]).timestamp(begin + 1_000 * n);
            producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue")
        })
        .collect();
    for delivery in queued {
        delivery.await.expect("the producer lives").map_err(|(error, _)| error).expect("taken");
    }
    let consumer = consumer(&broker, "timed");
    let offset_of = |time: i64| {
        let asked = at("timed", 0, Offset::Offset(time));
        let found = consumer.offsets_for_times(asked, PATIENCE).expect("an answer");
        found.elements()[0].offset()
    };
    assert_eq!(offset_of(0), Offset::Offset(0));
    assert_eq!(offset_of(begin + 7_000), Offset::Offset(7));
    assert_eq!(offset_of(begin + 7_001), Offset::Offset(8));
    assert_eq!(offset_of(begin + 19_001), Offset::End, "none that late");
    consumer.assign(&at("timed", 0, offset_of(begin + 12_500))).expect("an assignment");
    let found = read(&consumer, 1);
    assert_eq!(found[0].offset(), 13);
    assert_eq!(found[0].timestamp().to_millis(), Some(begin + 13_000));
    consumer.seek("timed", 0, offset_of(begin + 3_000), PATIENCE).expect("sought");
    assert_eq!(read(&consumer, 1)[0].offset(), 3);
}

#[tokio::test]
async fn an_admin_creates_describes_grows_trims_and_deletes_topics() {
    let broker = quick_broker();
    let (admin, options) = (admin(&broker), AdminOptions::new());
    let topic = NewTopic::new("managed", 2, TopicReplication::Fixed(1)).set("retention.ms", "86400000");
    let created = admin.create_topics([&topic], &options).await.expect("an answer");
    assert_eq!(created, [Ok("managed".to_owned())]);
    let again = admin.create_topics([&topic], &options).await.expect("an answer");
    assert_eq!(again, [Err(("managed".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))]);
    let resource = ResourceSpecifier::Topic("managed");
    let described = admin.describe_configs([&resource], &options).await.expect("an answer");
    let described = described[0].as_ref().expect("the topic's configs");
    let retention = described.get("retention.ms").expect("a config of every topic");
    assert_eq!(retention.value.as_deref(), Some("86400000"));
    assert_eq!(retention.source, ConfigSource::DynamicTopic);
    let grown = admin.create_partitions([&NewPartitions::new("managed", 5)], &options).await;
    assert_eq!(grown.expect("an answer"), [Ok("managed".to_owned())]);

    let values: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    produce(&producer(&broker, "none"), "managed", &values).await;
    let consumer = consumer(&broker, "managers");
    assert_eq!(consumer.fetch_watermarks("managed", 0, PATIENCE), Ok((0, 8)));
    assert_eq!(consumer.fetch_watermarks("managed", 4, PATIENCE), Ok((0, 0)));
    let trimmed = admin.delete_records(&at("managed", 0, Offset::Offset(3)), &options).await;
    assert_eq!(trimmed.expect("an answer").elements()[0].offset(), Offset::Offset(3));
    assert_eq!(consumer.fetch_watermarks("managed", 0, PATIENCE), Ok((3, 8)));

    let deleted = admin.delete_topics(&["managed", "never"], &options).await.expect("an answer");
    let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
    assert_eq!(deleted, [Ok("managed".to_owned()), Err(("never".to_owned(), unknown))]);
    let metadata = consumer.fetch_metadata(None, PATIENCE).expect("an answer");
    assert!(metadata.topics().iter().all(|topic| topic.name() != "managed"));
}

/// How long a new group's consumer takes from its creation to its first record, which is there already.
fn first_record(broker: &Broker, group: &str) -> Duration {
    let begun = Instant::now();
    let consumer = consumer(broker, group);
    consumer.subscribe(&["waiting"]).expect("a good name");
    read(&consumer, 1);
    begun.elapsed()
}

#[test]
fn a_new_groups_first_record_comes_in_the_time_promised() {
    for (settings, longest) in [(None, 4_000), (Some(0), 500)] {
        let builder = Broker::builder();
        let broker = match settings {
            Some(delay) => builder.set("group.initial.rebalance.delay.ms", delay).start(),
            None => builder.start(),
        };
        let mut client = Client::connect(broker.kafka_addr());
        // One partition: librdkafka's first fetch may ask for an empty one alone, and waits half a second there.
        client.create_topic("waiting", 1);
        client.produce("waiting", &[b"here"]);
        let took = first_record(&broker, "new");
        eprintln!(
            "first record of a new group, group.initial.rebalance.delay.ms {}: {took:?}",
            settings.map_or("as it comes".to_owned(), |delay: i32| delay.to_string())
        );
        assert!(took < Duration::from_millis(longest), "{took:?}, at most {longest} ms");
        // The default waits for further members, as Kafka does; a broker that skipped it would fail others' tests.
        assert!(settings.is_some() || took > Duration::from_secs(2), "{took:?} is no three seconds' delay");
    }
}
