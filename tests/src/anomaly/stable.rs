//! Waiting until no transaction is open. One that stays open for ever would hide everything behind it.

use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::describe_producers_request::TopicRequest;
use chronik_protocol::codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::message;

use super::history::Key;
use super::workload::{KEYS, Shared, place_of};
use crate::ledger::reading::Caller;

/// Open transactions are over after their timeout, and the broker's look for such.
const STABLE_TIMEOUT: Duration = Duration::from_secs(40);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Waits until every stable offset has come to the log's end, and complains of those that do not.
pub fn wait_until_stable(shared: &Shared) {
    let deadline = Instant::now() + STABLE_TIMEOUT;
    let mut open: Vec<Key> = (0..KEYS).collect();
    while Instant::now() < deadline {
        if let Ok(mut caller) = Caller::connect(shared.address) {
            open.retain(|key| {
                let ends = [1, 0].map(|isolation| end_of(&mut caller, *key, isolation));
                !matches!(&ends, [Ok(stable), Ok(end)] if stable == end)
            });
            if open.is_empty() {
                return;
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let told = Caller::connect(shared.address).and_then(|mut caller| tell(&mut caller, &open));
    shared.complain(format!(
        "the stable offset of {open:?} is stuck {STABLE_TIMEOUT:?} after the last client left: {}",
        told.unwrap_or_else(|error| error.to_string())
    ));
}

/// The end of a partition: the stable offset at isolation level 1, the high watermark at 0.
fn end_of(caller: &mut Caller, key: Key, isolation_level: i8) -> std::io::Result<i64> {
    let (topic, partition) = place_of(key);
    let partition = message!(ListOffsetsPartition {
        partition_index: partition,
        timestamp: -1,
        current_leader_epoch: -1,
    });
    let topic = message!(ListOffsetsTopic { name: topic.into(), partitions: vec![partition] });
    let request = message!(messages::ListOffsetsRequest {
        replica_id: -1,
        isolation_level: isolation_level,
        topics: vec![topic],
    });
    let response = caller.call(&request, 5)?;
    match response.topics.first().and_then(|topic| topic.partitions.first()) {
        Some(partition) if partition.error_code == 0 => Ok(partition.offset),
        other => Err(std::io::Error::other(format!("key {key}: {other:?}"))),
    }
}

/// Who has a transaction open there, and what the coordinator knows.
fn tell(caller: &mut Caller, keys: &[Key]) -> std::io::Result<String> {
    let mut told = String::new();
    for key in keys {
        let (topic, partition) = place_of(*key);
        let ends = [1, 0].map(|isolation| end_of(caller, *key, isolation).unwrap_or(-1));
        let topic = message!(TopicRequest { name: topic.into(), partition_indexes: vec![partition] });
        let response =
            caller.call(&message!(messages::DescribeProducersRequest { topics: vec![topic] }), 0)?;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let open = partitions
            .flat_map(|partition| &partition.active_producers)
            .filter(|producer| producer.current_txn_start_offset >= 0)
            .map(|producer| {
                let (id, epoch) = (producer.producer_id, producer.producer_epoch);
                format!("producer {id} epoch {epoch} since {}", producer.current_txn_start_offset)
            });
        told += &format!("key {key} {ends:?}: {:?}; ", open.collect::<Vec<_>>());
    }
    let response = caller.call(&messages::ListTransactionsRequest::default(), 0)?;
    for known in &response.transaction_states {
        told += &format!("{} {} {}; ", known.transactional_id, known.producer_id, known.transaction_state);
    }
    Ok(told)
}
