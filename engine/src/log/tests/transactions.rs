//! Transactions on one log: where committed readers have to stop, what they have to skip, and who may write.

use super::*;
use crate::log::{AbortedTxn, Appended, Vouched};
use crate::producer::Marker;

fn transactional(producer_id: i64, epoch: i16, sequence: i32, count: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new().producer(producer_id, epoch, sequence).transactional(true);
    for _ in 0..count {
        builder = builder.record(NOW, None, Some(b"some value of some size"));
    }
    valid(builder.build().unwrap(), &LogConfig::default())
}

fn plain(producer_id: i64, epoch: i16, sequence: i32) -> ValidBatch {
    let builder = BatchBuilder::new().producer(producer_id, epoch, sequence).record(NOW, None, Some(b"v"));
    valid(builder.build().unwrap(), &LogConfig::default())
}

fn begin(log: &Arc<PartitionLog>, producer_id: i64, epoch: i16, sequence: i32, count: usize) -> Appended {
    let batch = transactional(producer_id, epoch, sequence, count);
    log.append_vouched(&batch, NOW, Vouched::Explicitly).unwrap()
}

const fn marker(producer_id: i64, epoch: i16, commit: bool) -> Marker {
    Marker { producer_id, producer_epoch: epoch, coordinator_epoch: 0, commit, raises_epoch: false }
}

fn end(log: &Arc<PartitionLog>, producer_id: i64, epoch: i16, commit: bool) -> Appended {
    log.append_marker(&marker(producer_id, epoch, commit), NOW).unwrap()
}

fn brief(aborted: &[AbortedTxn]) -> Vec<(i64, i64)> {
    aborted.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect()
}

/// What a reader of committed data gets from `offset`: batches, and what to skip.
async fn committed(log: &Arc<PartitionLog>, offset: i64) -> (Vec<(i64, i64)>, Vec<(i64, i64)>) {
    let read = log.read(offset, 1 << 20, true, Isolation::Committed).await.unwrap();
    (offsets_of(&read.chunks), brief(&read.aborted))
}

// semantics 3.4.8
#[tokio::test]
async fn committed_readers_stop_at_the_oldest_open_transaction_and_hear_of_aborted_ones() {
    for ring_bytes in [1 << 20, 0] {
        let log = log_with(LogConfig::default(), ring_bytes).await;
        begin(&log, 1, 0, 0, 2); // 0, 1
        begin(&log, 2, 0, 0, 1); // 2
        log.append(&records(&[NOW]), NOW).unwrap().ticket.await.unwrap(); // 3
        assert_eq!(log.offsets().last_stable_offset, 0);
        assert_eq!(committed(&log, 0).await, (vec![], vec![]));
        let first = end(&log, 1, 0, false);
        assert_eq!(first.base_offset, 4);
        first.ticket.await.unwrap();
        assert_eq!(log.offsets().last_stable_offset, 2);
        assert_eq!(committed(&log, 0).await, (vec![(0, 1)], vec![(1, 0)]));
        end(&log, 2, 0, true).ticket.await.unwrap(); // 5
        assert_eq!(log.offsets().last_stable_offset, 6);
        let all = vec![(0, 1), (2, 2), (3, 3), (4, 4), (5, 5)];
        assert_eq!(committed(&log, 0).await, (all, vec![(1, 0)]));
        // It ends behind what is read, and began before it.
        assert_eq!(committed(&log, 2).await.1, [(1, 0)]);
        assert_eq!(committed(&log, 5).await, (vec![(5, 5)], vec![]));
        let read = log.read(0, 1 << 20, true, Isolation::Uncommitted).await.unwrap();
        assert!(read.aborted.is_empty() && read.chunks.len() >= 5);
    }
}

// semantics 3.4.7
#[tokio::test]
async fn a_marker_is_a_control_batch_as_kafka_writes_it() {
    let log = log_with(LogConfig::default(), 0).await;
    begin(&log, 7, 3, 0, 1);
    for (offset, commit) in [(1, true), (2, false)] {
        let coordinator_epoch = 9;
        let ended =
            log.append_marker(&Marker { coordinator_epoch, ..marker(7, 3, commit) }, NOW + offset).unwrap();
        ended.ticket.clone().await.unwrap();
        assert_eq!((ended.base_offset, ended.last_offset), (offset, offset), "one offset");
        let read = log.read(offset, 1000, true, Isolation::Uncommitted).await.unwrap();
        let batch = Bytes::from(read.chunks.concat());
        let view = BatchView::new(&batch).unwrap();
        let header = view.header();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, -1));
        assert_eq!(header.max_timestamp, NOW + offset);
        let mut records = view.records(1000).unwrap();
        let record = records.next_record().unwrap().unwrap();
        assert_eq!(record.key, Some(&[0, 0, 0, u8::from(commit)][..]));
        assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 9][..]));
        assert!(records.next_record().unwrap().is_none());
    }
    assert!(matches!(
        log.append_marker(&Marker { coordinator_epoch: 8, ..marker(7, 3, true) }, NOW),
        Err(AppendError::StaleCoordinatorEpoch { got: 8, current: 9 })
    ));
    assert!(matches!(
        log.append_marker(&marker(7, 2, true), NOW),
        Err(AppendError::StaleProducerEpoch { current: 3, .. })
    ));
    let late = Marker { raises_epoch: true, coordinator_epoch: 9, ..marker(7, 3, true) };
    assert!(matches!(log.append_marker(&late, NOW), Err(AppendError::StaleProducerEpoch { .. })));
    assert_eq!(log.offsets().next_offset, 3, "a refused marker uses up no offset");
}

// What librdkafka sent in Chronik's own anomaly suite: it purges a batch that waits to be sent again when it aborts, and
// gives the batch's sequence to the next transaction's first record.
#[tokio::test]
async fn a_sequence_of_an_ended_transaction_is_no_repeat_in_the_next() {
    let log = log_with(LogConfig::default(), 0).await;
    begin(&log, 1, 0, 0, 1);
    assert!(log.append(&transactional(1, 0, 0, 1), NOW).unwrap().duplicate, "while the transaction is open");
    let refused = |outcome| matches!(outcome, Err(AppendError::OutOfOrderSequence { got: 0, .. }));
    for commit in [false, true] {
        end(&log, 1, 0, commit);
        assert!(refused(log.append(&transactional(1, 0, 0, 1), NOW)));
        assert!(refused(log.append_vouched(&transactional(1, 0, 0, 1), NOW, Vouched::Explicitly)));
    }
    begin(&log, 1, 0, 1, 1);
    assert!(refused(log.append(&transactional(1, 0, 0, 1), NOW)), "nor once the next is open");
    assert!(log.append(&transactional(1, 0, 1, 1), NOW).unwrap().duplicate);
}

// semantics 3.4.5
#[tokio::test]
async fn a_transactional_batch_needs_a_transaction_that_someone_vouches_for() {
    let log = log_with(LogConfig::default(), 0).await;
    let refused = |outcome| matches!(outcome, Err(AppendError::NoTransaction { .. }));
    assert!(refused(log.append(&transactional(1, 0, 0, 1), NOW)));
    begin(&log, 1, 0, 0, 1);
    log.append(&transactional(1, 0, 1, 1), NOW).expect("it is open now");
    end(&log, 1, 0, true);
    assert!(refused(log.append(&transactional(1, 0, 2, 1), NOW)));
    // Version 2: the marker raises the epoch, so what comes late is fenced and what comes next begins at 0.
    begin(&log, 1, 0, 2, 1);
    end(&log, 1, 1, true);
    assert!(matches!(
        log.append_vouched(&transactional(1, 0, 3, 1), NOW, Vouched::Implicitly),
        Err(AppendError::StaleProducerEpoch { .. })
    ));
    assert!(matches!(
        log.append_vouched(&transactional(1, 1, 3, 1), NOW, Vouched::Implicitly),
        Err(AppendError::OutOfOrderSequence { expected: 0, .. })
    ));
    log.append_vouched(&transactional(1, 1, 0, 1), NOW, Vouched::Implicitly).unwrap();
    // Whoever is unknown may not skip what was refused before.
    assert!(matches!(
        log.append_vouched(&transactional(2, 0, 5, 1), NOW, Vouched::Implicitly),
        Err(AppendError::OutOfOrderSequence { .. })
    ));
}

// semantics 3.3.8
#[tokio::test]
async fn a_producer_with_an_open_transaction_must_write_in_it() {
    let log = log_with(LogConfig::default(), 0).await;
    begin(&log, 1, 0, 0, 1);
    assert!(matches!(log.append(&plain(1, 0, 1), NOW), Err(AppendError::TransactionOpen { .. })));
    end(&log, 1, 0, true);
    log.append(&plain(1, 0, 1), NOW).unwrap();
}

#[tokio::test]
async fn an_end_counts_once_its_marker_is_durable() {
    let store = Arc::new(MemoryStore::stepped());
    let engine = synced(&store, engine_on(store.clone(), LogConfig::default(), 0)).await;
    let topic = synced(&store, engine.create_topic("t", 1, TopicOverrides::new(), NOW)).await.unwrap();
    let log = topic.log(0).unwrap();
    begin(log, 1, 0, 0, 1);
    store.sync();
    end(log, 1, 0, true);
    let offsets = log.offsets();
    assert_eq!((offsets.high_watermark, offsets.last_stable_offset), (1, 0));
    store.sync();
    assert_eq!(log.offsets().last_stable_offset, 2);
}

// semantics 3.4.12
#[tokio::test]
async fn open_and_aborted_transactions_survive_a_restart_and_go_with_the_data() {
    let store = Arc::new(MemoryStore::new());
    let engine = engine_on(store.clone(), small_segments(), 1 << 20).await;
    let topic = engine.create_topic("t", 1, TopicOverrides::new(), NOW).await.unwrap();
    let log = topic.log(0).unwrap();
    for sequence in 0..5 {
        begin(log, 1, 0, sequence, 1);
        end(log, 1, 0, false);
    }
    let last = begin(log, 1, 0, 5, 1); // 10
    last.ticket.await.unwrap();
    let again = engine_on(store.clone(), small_segments(), 1 << 20).await;
    let log = again.topics().get("t").unwrap().log(0).unwrap().clone();
    assert_eq!(log.open_transactions(), [(1, 10)]);
    assert_eq!(log.offsets().last_stable_offset, 10);
    let aborted = |first: i64| -> Vec<_> { (first..5).map(|index| (1, 2 * index)).collect() };
    assert_eq!(committed(&log, 0).await.1, aborted(0));
    assert_eq!(committed(&log, 3).await.1, aborted(1));
    // The transaction is open still: its producer goes on in it.
    log.append(&transactional(1, 0, 6, 1), NOW).unwrap();
    end(&log, 1, 0, false).ticket.await.unwrap();
    assert_eq!(committed(&log, 10).await.1, [(1, 10)]);
    log.delete_records(Some(6)).unwrap().1.await.unwrap();
    assert_eq!(committed(&log, 6).await.1, [(1, 6), (1, 8), (1, 10)]);
    let left = store.snapshot().scan(
        Keyspace::Index,
        keys::aborted::all_of(log.id()),
        crate::store::ScanLimit::entries(100),
    );
    assert_eq!(left.await.unwrap().entries.len(), 3, "the index goes with the data");
}

// semantics 3.3.6
#[tokio::test]
async fn a_producer_with_an_open_transaction_is_not_forgotten() {
    let log = log_with(LogConfig::default(), 0).await;
    begin(&log, 1, 0, 0, 1);
    log.append(&plain(2, 0, 0), NOW).unwrap();
    assert_eq!(log.expire_producers(NOW + 10, 5), 1);
    assert_eq!(log.producers().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1]);
    end(&log, 1, 0, true);
    assert_eq!(log.expire_producers(NOW + 10, 5), 1);
}
