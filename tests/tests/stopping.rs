//! How the process ends when it is asked to: cleanly on the first signal, at once on the second, and never by an abort.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_tests::broker::Broker;
use chronik_tests::wire::{Client, batch, fetch_request, produce_request};

/// What the second signal makes the process end with.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// A stop at once takes no longer; a stop in good order waits up to 5 s for requests under way.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A stop in good order, with the broker's own margin.
const DRAINED: Duration = Duration::from_secs(9);
const PATIENCE: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 20;
const LARGE_BATCHES: usize = 24;
/// Rounds of each pair of signals: an abort would be a race.
const ROUNDS: usize = 3;

/// Waits until the broker's log has so many lines with `words`.
fn await_log(broker: &Broker, words: &str, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while broker.log().matches(words).count() < count {
        assert!(Instant::now() < deadline, "the log never said {words:?}:\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fills `topic` with more than the socket buffers of both sides hold.
fn fill(client: &mut Client, topic: &str) {
    let value = vec![b'x'; 900_000];
    for _ in 0..LARGE_BATCHES {
        client.produce(topic, &[&value]);
    }
}

/// Asks for all that [`fill`] has written, and takes none of it, which keeps a stop in good order waiting.
fn stalled_reader(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.kafka_addr());
    let mut fetch = fetch_request("large", 0, 0);
    fetch.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    client.send(&fetch, 11);
    // Its answer is on the way once another connection's request, sent later, has been answered.
    Client::connect(broker.kafka_addr()).fetch("large", 0);
    client
}

/// A reader that stalls, so that a stop in good order takes its time, and connections with batches on their way to the
/// disk, so that the store is at work when the process ends.
fn busy(broker: &Broker) -> Vec<Client> {
    let mut clients = vec![stalled_reader(broker)];
    let value = vec![b'x'; 100_000];
    for partition in 0..PARTITIONS {
        let mut client = Client::connect(broker.kafka_addr());
        for _ in 0..4 {
            client.send(&produce_request("busy", partition, -1, batch(&[&value])), 8);
        }
        clients.push(client);
    }
    clients
}

#[test]
fn a_second_signal_ends_the_process_at_once_without_an_abort_and_loses_nothing() {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("large", 1);
    fill(&mut client, "large");
    client.create_topic("busy", PARTITIONS);
    client.create_topic("kept", 1);
    let mut acknowledged = 0;
    let pairs = [
        (libc::SIGTERM, libc::SIGTERM),
        (libc::SIGINT, libc::SIGINT),
        (libc::SIGTERM, libc::SIGINT),
        (libc::SIGINT, libc::SIGTERM),
    ];
    for (round, (first, second)) in (0..ROUNDS).flat_map(|_| pairs).enumerate() {
        let mut client = Client::connect(broker.kafka_addr());
        assert_eq!(client.produce("kept", &[b"acknowledged"]), acknowledged, "round {round}");
        acknowledged += 1;
        let clients = busy(&broker);
        broker.signal(first);
        await_log(&broker, "a second signal stops at once", round + 1);
        let begun = Instant::now();
        broker.signal(second);
        let status = broker.wait_exit(PATIENCE);
        let took = begun.elapsed();
        assert_eq!(
            (status.signal(), status.code()),
            (None, Some(EXIT_SECOND_SIGNAL)),
            "round {round}: {status:?}\n{}",
            broker.log()
        );
        assert!(took < AT_ONCE, "round {round}: {took:?}");
        drop(clients);
        broker.start_again();
    }
    let mut client = Client::connect(broker.kafka_addr());
    assert_eq!(client.fetch("kept", 0).1, acknowledged, "what was acknowledged is there");
}

#[test]
fn one_signal_of_either_kind_stops_in_good_order() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut broker = Broker::start();
        let mut client = Client::connect(broker.kafka_addr());
        client.create_topic("kept", 1);
        client.produce("kept", &[b"acknowledged"]);
        broker.signal(signal);
        let status = broker.wait_exit(PATIENCE);
        assert!(status.success(), "{status:?}\n{}", broker.log());
        broker.start_again();
        let log = broker.log();
        let ready =
            log.lines().rev().find(|line| line.contains("after_crash=")).expect("it says so when ready");
        assert!(ready.contains("after_crash=false"), "{ready}");
        let mut client = Client::connect(broker.kafka_addr());
        assert_eq!(client.fetch("kept", 0).1, 1);
    }
}

#[test]
fn a_stop_answers_fetches_that_wait_and_tells_that_it_drains() {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("quiet", 1);
    let mut poll = fetch_request("quiet", 0, 0);
    (poll.max_wait_ms, poll.min_bytes) = (60_000, 1);
    client.send(&poll, 11);
    broker.signal(libc::SIGTERM);
    let begun = Instant::now();
    let (_, answer) = client.receive::<messages::FetchRequest>(11);
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "no data, and no error");
    assert!(broker.wait_exit(PATIENCE).success());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn a_reader_that_stalls_keeps_a_stop_waiting_for_a_while_only() {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("large", 1);
    fill(&mut client, "large");
    let stalled = stalled_reader(&broker);
    broker.signal(libc::SIGTERM);
    let begun = Instant::now();
    await_log(&broker, "a second signal stops at once", 1);
    assert_eq!(broker.http_get("/health/live").expect("still there").0, 200);
    assert_eq!(broker.http_get("/health/ready").expect("still there").0, 503);
    assert!(broker.wait_exit(PATIENCE).success(), "{}", broker.log());
    assert!(begun.elapsed() < DRAINED, "{:?}", begun.elapsed());
    drop(stalled);
}
