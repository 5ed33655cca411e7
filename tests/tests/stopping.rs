//! How the process ends when it is asked to: cleanly on the first signal, at once on the second, and never by an abort.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use chronik_tests::broker::Broker;
use chronik_tests::wire::{Client, batch, fetch_request, produce_request};

/// What the second signal makes the process end with.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// A stop at once takes no longer; a stop in good order waits up to 5 s for requests under way.
const AT_ONCE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 20;
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

/// Connections with a fetch that waits, so that a stop in good order takes its time, and with batches on their way to
/// the disk, so that the store is at work when the process ends.
fn busy(broker: &Broker) -> Vec<Client> {
    let mut clients = vec![Client::connect(broker.kafka_addr())];
    let mut poll = fetch_request("quiet", 0, 0);
    (poll.max_wait_ms, poll.min_bytes) = (60_000, 1);
    clients[0].send(&poll, 11);
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
    client.create_topic("quiet", 1);
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
