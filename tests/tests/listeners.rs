//! Several named listeners: each is bound, and each tells its clients its own advertised address, in every API that
//! names a node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use chronik_protocol::codec::messages;
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::wire::Client;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

const METADATA_VERSIONS: std::ops::RangeInclusive<i16> = 0..=13;
const FIND_COORDINATOR_VERSIONS: std::ops::RangeInclusive<i16> = 0..=6;
/// FindCoordinator from which on several keys are asked for at once.
const BATCHED_KEYS: i16 = 4;
const DESCRIBE_CLUSTER_VERSIONS: std::ops::RangeInclusive<i16> = 0..=2;
const PATIENCE: Duration = Duration::from_secs(30);

/// So many ports of `host` that nobody listens on right now.
fn free_addresses<const COUNT: usize>(hosts: [&str; COUNT]) -> [SocketAddr; COUNT] {
    // All at once, or one could be given out twice.
    hosts
        .map(|host| TcpListener::bind((host, 0)).expect("a free port"))
        .map(|listener| listener.local_addr().expect("a bound socket has an address"))
}

/// What the listener at `address` tells of the node, by API and version.
fn told(address: SocketAddr) -> Vec<(String, String, i32)> {
    let mut client = Client::connect(address);
    let mut told = Vec::new();
    for version in METADATA_VERSIONS {
        let response =
            client.call(&message!(messages::MetadataRequest { topics: Some(Vec::new()) }), version);
        assert_eq!(response.brokers.len(), 1);
        let node = &response.brokers[0];
        told.push((format!("Metadata {version}"), node.host.to_string(), node.port));
    }
    for version in FIND_COORDINATOR_VERSIONS {
        let mut request = messages::FindCoordinatorRequest::default();
        if version < BATCHED_KEYS {
            request.key = "group".into();
        } else {
            request.coordinator_keys = vec!["group".into(), "other".into()];
        }
        let response = client.call(&request, version);
        let found = if version < BATCHED_KEYS {
            vec![(response.error_code, response.host.to_string(), response.port)]
        } else {
            let found = response.coordinators.iter();
            found.map(|node| (node.error_code, node.host.to_string(), node.port)).collect()
        };
        assert_eq!(found.len(), if version < BATCHED_KEYS { 1 } else { 2 });
        for (error, host, port) in found {
            assert_eq!(error, 0, "FindCoordinator {version}");
            told.push((format!("FindCoordinator {version}"), host, port));
        }
    }
    for version in DESCRIBE_CLUSTER_VERSIONS {
        let response = client.call(&messages::DescribeClusterRequest::default(), version);
        assert_eq!((response.error_code, response.brokers.len()), (0, 1));
        let node = &response.brokers[0];
        told.push((format!("DescribeCluster {version}"), node.host.to_string(), node.port));
    }
    told
}

#[track_caller]
fn tells(address: SocketAddr, host: &str, port: u16) {
    let told = told(address);
    assert!(told.len() > 20, "every version of three APIs");
    let wrong: Vec<_> =
        told.iter().filter(|(_, found, at)| found != host || *at != i32::from(port)).collect();
    assert!(wrong.is_empty(), "clients of {address} are to be told {host} port {port}, not {wrong:?}");
}

/// A record through librdkafka, which connects again to what it is told.
async fn round_trip(bootstrap: &str, topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "listeners");
    let producer: FutureProducer = config.create().expect("a good configuration");
    let record: FutureRecord<'_, (), [u8]> = FutureRecord::to(topic).partition(0).payload(b"hello");
    let delivered = producer.send(record, PATIENCE).await.map_err(|(error, _)| error).expect("delivered");
    let consumer: BaseConsumer = config.create().expect("a good configuration");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(delivered.offset)).expect("a good offset");
    consumer.assign(&list).expect("an assignment");
    let message = consumer.poll(PATIENCE).expect("a record in time").expect("no error");
    assert_eq!(message.payload(), Some(&b"hello"[..]));
}

#[tokio::test]
async fn each_listener_tells_its_own_advertised_address() {
    let [inside, outside, six, six_named] = free_addresses(["127.0.0.1", "127.0.0.1", "::1", "::1"]);
    let broker = Broker::builder()
        .set(
            "listeners",
            format!("INSIDE://{inside},OUTSIDE://{outside},SIX://{six},SIX-NAMED://{six_named}"),
        )
        .set("advertised.listeners", "OUTSIDE://broker.example:19092,SIX-NAMED://[2001:db8::7]:29092")
        .start();
    tells(inside, "127.0.0.1", inside.port());
    tells(outside, "broker.example", 19092);
    // Clients are told an IPv6 address without its brackets.
    tells(six, "::1", six.port());
    tells(six_named, "2001:db8::7", 29092);
    Client::connect(inside).create_topic("everywhere", 1);
    for bootstrap in [inside, six] {
        round_trip(&bootstrap.to_string(), "everywhere").await;
    }
    let log = broker.log();
    for shown in ["broker.example:19092", "[2001:db8::7]:29092"] {
        assert!(log.contains(&format!("clients are told {shown}")), "{log}");
    }
}

#[tokio::test]
async fn bound_to_every_interface_clients_are_told_an_address_that_works_and_it_is_logged() {
    for wildcard in ["0.0.0.0", "::"] {
        let [address] = free_addresses([wildcard]);
        let broker = Broker::builder().set("listeners", format!("PLAINTEXT://{address}")).start();
        let loopback: IpAddr =
            if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let local = SocketAddr::new(loopback, address.port());
        let (_, host, port) = told(local).remove(0);
        assert!(!["0.0.0.0", "::", ""].contains(&host.as_str()), "{host}");
        assert_eq!(port, i32::from(address.port()));
        tells(local, &host, address.port());
        TcpStream::connect((host.as_str(), address.port())).expect("what clients are told can be reached");
        let log = broker.log();
        let line = log.lines().find(|line| line.contains("bound to every interface"));
        let line = line.unwrap_or_else(|| panic!("the choice is logged:\n{log}"));
        assert!(line.contains(&host), "{line}");
        Client::connect(local).create_topic("wild", 1);
        round_trip(&local.to_string(), "wild").await;
    }
}

#[test]
fn the_advertised_address_of_the_environment_needs_no_port() {
    let broker = Broker::builder().env("CHRONIK_ADVERTISED_ADDR", "kafka.example").start();
    tells(broker.kafka_addr(), "kafka.example", broker.kafka_addr().port());
    let broker = Broker::builder().env("CHRONIK_ADVERTISED_ADDR", "kafka.example:19092").start();
    tells(broker.kafka_addr(), "kafka.example", 19092);
}
