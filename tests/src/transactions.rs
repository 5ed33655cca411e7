//! A transactional producer on a raw connection, by the newest protocol (KIP-890): Produce 12 takes partitions in,
//! TxnOffsetCommit 5 groups, EndTxn 5 raises the epoch. While the broker is busy it asks again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::offset_fetch_request::OffsetFetchRequestTopic;
use chronik_protocol::codec::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use chronik_protocol::message;

use crate::wire::{Client, produce_request};

/// How long a broker may be busy.
const PATIENCE: Duration = Duration::from_secs(15);
/// Loading, not available, not the coordinator, still completing.
const BUSY: [i16; 4] = [14, 15, 16, 51];
/// Not before the broker looks for abandoned transactions.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A transactional id that has its producer id.
#[derive(Clone, Debug)]
pub struct Producer {
    /// The transactional id.
    pub id: String,
    /// As given by InitProducerId.
    pub producer_id: i64,
    /// As given by InitProducerId or EndTxn.
    pub epoch: i16,
    sequence: i32,
}

/// InitProducerId, as a producer that starts sends it.
pub fn init_request(id: &str, timeout: Duration) -> messages::InitProducerIdRequest {
    message!(messages::InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: i32::try_from(timeout.as_millis()).expect("a short timeout"),
        producer_id: -1,
        producer_epoch: -1,
    })
}

/// TxnOffsetCommit of a group without members: topic, partition and offset of each.
pub fn offsets_request<'a>(
    id: &str,
    (producer_id, producer_epoch): (i64, i16),
    group: &str,
    offsets: impl IntoIterator<Item = (&'a str, i32, i64)>,
) -> messages::TxnOffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
    for (topic, partition, offset) in offsets {
        topics.entry(topic).or_default().push(message!(TxnOffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            committed_leader_epoch: -1,
        }));
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        message!(TxnOffsetCommitRequestTopic { name: name.into(), partitions: partitions })
    });
    message!(messages::TxnOffsetCommitRequest {
        transactional_id: id.into(),
        group_id: group.into(),
        producer_id: producer_id,
        producer_epoch: producer_epoch,
        generation_id_or_member_epoch: -1,
        topics: topics.collect(),
    })
}

/// EndTxn.
pub fn end_request(
    id: &str,
    (producer_id, producer_epoch): (i64, i16),
    commit: bool,
) -> messages::EndTxnRequest {
    message!(messages::EndTxnRequest {
        transactional_id: id.into(),
        producer_id: producer_id,
        producer_epoch: producer_epoch,
        committed: commit,
    })
}

/// Asks until the answer is not that the broker is busy.
fn patiently<T>(mut ask: impl FnMut() -> (i16, T)) -> (i16, T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (error, answer) = ask();
        if !BUSY.contains(&error) || Instant::now() > deadline {
            return (error, answer);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Producer {
    /// Takes the id over, as a producer that starts does: what another left open is aborted.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn start(client: &mut Client, id: &str) -> Self {
        let request = init_request(id, TIMEOUT);
        let (error, answer) = patiently(|| {
            let answer = client.call(&request, 5);
            (answer.error_code, answer)
        });
        assert_eq!(error, 0, "InitProducerId of {id}");
        Self { id: id.to_owned(), producer_id: answer.producer_id, epoch: answer.producer_epoch, sequence: 0 }
    }

    /// One batch of `values` to each of the partitions `0..partitions` of `topic`, all in the transaction.
    ///
    /// # Panics
    /// When one is refused.
    pub fn produce(&mut self, client: &mut Client, topic: &str, partitions: i32, values: &[Bytes]) {
        let mut builder =
            BatchBuilder::new().producer(self.producer_id, self.epoch, self.sequence).transactional(true);
        for value in values {
            builder = builder.record(1, None, Some(value));
        }
        let batch = builder.build().expect("a small batch");
        self.sequence += i32::try_from(values.len()).expect("a few values");
        for partition in 0..partitions {
            let mut request = produce_request(topic, partition, -1, batch.clone());
            request.transactional_id = Some(self.id.as_str().into());
            let (error, ()) = patiently(|| {
                let answer = client.call(&request, 12);
                (answer.responses[0].partition_responses[0].error_code, ())
            });
            assert_eq!(error, 0, "Produce to {topic}-{partition}");
        }
    }

    /// Commits the offset of partition 0 of `topic` for `group` in the transaction.
    ///
    /// # Panics
    /// When it is refused.
    pub fn commit_offset(&self, client: &mut Client, group: &str, topic: &str, offset: i64) {
        let request = offsets_request(&self.id, (self.producer_id, self.epoch), group, [(topic, 0, offset)]);
        let (error, ()) = patiently(|| {
            let answer = client.call(&request, 5);
            (answer.topics[0].partitions[0].error_code, ())
        });
        assert_eq!(error, 0, "TxnOffsetCommit of {group}");
    }

    /// The request that ends the transaction.
    pub fn end_request(&self, commit: bool) -> messages::EndTxnRequest {
        end_request(&self.id, (self.producer_id, self.epoch), commit)
    }

    /// Ends the transaction; the error code. The epoch that comes with success is the next transaction's.
    pub fn end(&mut self, client: &mut Client, commit: bool) -> i16 {
        let request = self.end_request(commit);
        let (error, answer) = patiently(|| {
            let answer = client.call(&request, 5);
            (answer.error_code, answer)
        });
        if error == 0 {
            (self.producer_id, self.epoch, self.sequence) = (answer.producer_id, answer.producer_epoch, 0);
        }
        error
    }
}

/// The committed offset of partition 0 of `topic`, -1 for none, once it is stable.
///
/// # Panics
/// When the broker refuses, or a transaction keeps it unstable.
pub fn stable_offset(client: &mut Client, group: &str, topic: &str) -> i64 {
    let topic = message!(OffsetFetchRequestTopic { name: topic.into(), partition_indexes: vec![0] });
    let request = message!(messages::OffsetFetchRequest {
        group_id: group.into(),
        topics: Some(vec![topic]),
        require_stable: true,
    });
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.call(&request, 7);
        let found = &answer.topics[0].partitions[0];
        if found.error_code == 0 && answer.error_code == 0 {
            return found.committed_offset;
        }
        assert!(Instant::now() < deadline, "errors {} and {}", answer.error_code, found.error_code);
        std::thread::sleep(Duration::from_millis(5));
    }
}
