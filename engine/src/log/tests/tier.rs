//! A log whose oldest part is in object storage: what stays readable here, what may go, and what is told of it.

use super::*;
use crate::error::TierError;
use crate::keys::tier;
use crate::log::{RemoteSegment, Span};
use crate::store::scan_all;

fn tiered() -> LogConfig {
    LogConfig { remote_storage: true, retention_ms: None, ..small_segments() }
}

/// A log of `count` batches of two records, ten milliseconds apart, with the store under it.
async fn filled(config: LogConfig, count: i64) -> (Arc<MemoryStore>, Arc<Engine>, Arc<PartitionLog>) {
    let store = Arc::new(MemoryStore::new());
    let engine = engine_on(store.clone(), config, 0).await;
    let topic = engine.create_topic("t", 1, TopicOverrides::new(), NOW).await.unwrap();
    let log = topic.log(0).unwrap().clone();
    for batch in 0..count {
        log.append(&records(&[NOW + batch * 10; 2]), NOW + batch * 10).unwrap().ticket.await.unwrap();
    }
    (store, engine, log)
}

fn copy_of(span: &Span) -> RemoteSegment {
    RemoteSegment {
        base_offset: span.base_offset,
        next_offset: span.next_offset,
        bytes: span.bytes,
        max_timestamp: NOW + (span.next_offset / 2 - 1) * 10,
        first_timestamp: span.first_timestamp,
        created_ms: span.created_ms,
        appended_ms: span.appended_ms,
        object: format!("segments/{}", span.base_offset).into(),
        size: span.bytes + 100,
        tail_bytes: 68,
    }
}

/// Copies what there is to copy. Returns the spans.
async fn copy_all(log: &Arc<PartitionLog>) -> Vec<Span> {
    let spans = log.to_copy(usize::MAX);
    for span in &spans {
        log.add_remote(copy_of(span), Bytes::from_static(b"index")).unwrap().await.unwrap();
    }
    spans
}

async fn garbage(store: &MemoryStore) -> Vec<String> {
    let entries = scan_all(store, Keyspace::Index, tier::all_garbage()).await.unwrap();
    entries.iter().map(|(key, _)| tier::parse_garbage(key).unwrap()).collect()
}

#[tokio::test]
async fn closed_segments_are_copied_in_order_and_nothing_is_copied_twice() {
    let (_, _, log) = filled(tiered(), 40).await;
    let spans = copy_all(&log).await;
    assert!(spans.len() > 3);
    assert_eq!(spans[0].base_offset, 0);
    assert!(spans.iter().zip(&spans[1..]).all(|(one, next)| one.next_offset == next.base_offset));
    assert_eq!(log.to_copy(9), []);
    assert_eq!(log.copied_to(), spans.last().map(|last| last.next_offset));
    let again = log.add_remote(copy_of(&spans[1]), Bytes::new());
    assert!(matches!(again, Err(TierError::NoPlace { .. })));
    let read = log.read_span(spans[1].base_offset, spans[1].next_offset, 1 << 20).await.unwrap();
    assert_eq!(offsets_of(&read).first().unwrap().0, spans[1].base_offset);
    assert_eq!(offsets_of(&read).last().unwrap().1 + 1, spans[1].next_offset);
    assert_eq!(log.apply_local_retention(i64::MAX), 0, "without a bound all stays here");
}

#[tokio::test]
async fn what_is_not_copied_never_leaves_by_local_retention() {
    let config = LogConfig { local_retention_bytes: Some(0), ..tiered() };
    let (_, _, log) = filled(config, 40).await;
    assert_eq!(log.apply_local_retention(NOW), 0);
    let spans = log.to_copy(2);
    log.add_remote(copy_of(&spans[0]), Bytes::new()).unwrap().await.unwrap();
    assert_eq!(log.apply_local_retention(NOW), 1);
    log.durable().await.unwrap();
    let offsets = log.offsets();
    assert_eq!((offsets.log_start_offset, offsets.local_from), (0, spans[0].next_offset));
    let below = log.read(0, 1000, true, Isolation::Uncommitted).await;
    assert!(matches!(below, Err(ReadError::Tiered { .. })), "{below:?}");
    assert_eq!(log.remote_at(1).unwrap().base_offset, 0);
    assert!(log.remote_at(spans[1].base_offset).is_none(), "it is local");
    let read = log.read(spans[1].base_offset, 1 << 20, true, Isolation::Uncommitted).await.unwrap();
    assert_eq!(offsets_of(&read.chunks).first().unwrap().0, spans[1].base_offset);
}

#[tokio::test]
async fn a_tiered_log_is_as_it_was_after_a_restart() {
    let config = LogConfig { local_retention_bytes: Some(0), ..tiered() };
    let (store, engine, log) = filled(config.clone(), 40).await;
    copy_all(&log).await;
    log.apply_local_retention(NOW);
    log.durable().await.unwrap();
    let (offsets, remote) = (log.offsets(), log.remote_segments());
    assert!(offsets.local_from > 0 && !remote.is_empty());
    engine.close().await.unwrap();
    let reopened = engine_on(Arc::new(store.crash(CrashPoint::Applied)), config, 0).await;
    let log = reopened.topics().get("t").unwrap().log(0).unwrap().clone();
    assert_eq!(log.offsets(), offsets);
    assert_eq!(log.remote_segments(), remote);
    log.check_online().unwrap();
    assert_eq!(log.blocks(&remote[0]).await.unwrap().unwrap(), "index");
}

#[tokio::test]
async fn retention_counts_both_tiers_as_one_and_leaves_garbage() {
    let config = LogConfig { local_retention_bytes: Some(0), retention_ms: Some(200), ..tiered() };
    let (store, _, log) = filled(config, 40).await;
    let spans = copy_all(&log).await;
    log.apply_local_retention(NOW);
    // The newest record is from 390 ms.
    assert!(log.apply_retention(NOW + 390) > 0);
    log.durable().await.unwrap();
    let offsets = log.offsets();
    assert!(offsets.log_start_offset > 0 && offsets.log_start_offset < offsets.local_from);
    let first = &log.remote_segments()[0];
    assert_eq!(first.base_offset, offsets.log_start_offset);
    assert!(first.max_timestamp >= NOW + 190);
    let gone = spans.iter().filter(|span| span.next_offset <= offsets.log_start_offset);
    let mut names: Vec<String> = gone.map(|span| copy_of(span).object.to_string()).collect();
    names.sort();
    assert_eq!(garbage(&store).await, names);
    // By size: the remote part counts, too.
    let held = log.tier_figures();
    assert!(held.remote_bytes > 0 && held.uncopied_bytes <= held.local_bytes);
}

#[tokio::test]
async fn deleting_records_reaches_into_the_remote_part_and_behind_it() {
    let config = LogConfig { local_retention_bytes: Some(0), ..tiered() };
    let (store, _, log) = filled(config, 40).await;
    let spans = copy_all(&log).await;
    log.apply_local_retention(NOW);
    let inside = spans[1].base_offset + 1;
    log.delete_records(Some(inside)).unwrap().1.await.unwrap();
    assert_eq!(log.offsets().log_start_offset, inside);
    assert!(log.remote_at(0).is_none());
    assert_eq!(log.remote_at(inside).unwrap().base_offset, spans[1].base_offset);
    assert_eq!(garbage(&store).await, ["segments/0"]);
    log.delete_records(None).unwrap().1.await.unwrap();
    assert!(!log.has_remote());
    assert_eq!(garbage(&store).await.len(), spans.len());
    assert_eq!(log.offsets().local_from, 80);
    log.append(&records(&[NOW]), NOW).unwrap().ticket.await.unwrap();
    assert_eq!(log.to_copy(9), [], "the active segment is not closed");
}

#[tokio::test]
async fn a_deleted_topic_leaves_its_objects_as_garbage_also_over_a_crash() {
    let (store, engine, log) = filled(tiered(), 40).await;
    let spans = copy_all(&log).await;
    let crashed = store.crash(CrashPoint::Applied);
    engine.delete_topic("t").await.unwrap();
    assert_eq!(garbage(&store).await.len(), spans.len());
    // A crash between the catalogue and the data: the sweep does the rest.
    let mut write = WriteBatch::new();
    for (key, _) in scan_all(&crashed, Keyspace::Meta, keys::topic::all()).await.unwrap() {
        write.delete(Keyspace::Meta, key);
    }
    crashed.commit(write, Durability::Sync).await.unwrap();
    let crashed = Arc::new(crashed);
    engine_on(crashed.clone(), tiered(), 0).await;
    assert_eq!(garbage(&crashed).await.len(), spans.len());
    assert!(scan_all(&*crashed, Keyspace::Index, tier::all_segments()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_swap_takes_the_place_of_what_it_was_made_from_and_of_nothing_else() {
    let (store, _, log) = filled(tiered(), 40).await;
    let spans = copy_all(&log).await;
    let old = log.remote_segments()[1].clone();
    let new = RemoteSegment { object: "segments/new".into(), bytes: 1, ..copy_of(&spans[1]) };
    log.swap_remote(&old, new.clone(), Bytes::new()).unwrap().await.unwrap();
    assert_eq!(*log.remote_segments()[1], new);
    assert_eq!(garbage(&store).await, [old.object.to_string()]);
    assert_eq!(log.swap_remote(&old, new.clone(), Bytes::new()).unwrap_err(), TierError::Deleted);
}

#[tokio::test]
async fn ending_tiering_begins_the_log_where_it_is_local() {
    let config = LogConfig { local_retention_bytes: Some(1500), ..tiered() };
    let (store, _, log) = filled(config, 40).await;
    let spans = copy_all(&log).await;
    assert!(log.apply_local_retention(NOW) > 0);
    let local = log.offsets().local_from;
    log.drop_remote();
    log.durable().await.unwrap();
    assert_eq!((log.offsets().log_start_offset, log.has_remote()), (local, false));
    assert_eq!(garbage(&store).await.len(), spans.len());
    assert!(log.read(local, 1000, true, Isolation::Uncommitted).await.is_ok());
}

#[tokio::test]
async fn the_local_part_alone_is_searched_by_time() {
    let config = LogConfig { local_retention_bytes: Some(1500), ..tiered() };
    let (_, _, log) = filled(config, 40).await;
    copy_all(&log).await;
    log.apply_local_retention(NOW);
    let local = log.offsets().local_from;
    assert_eq!(log.offset_for_timestamp(0).await.unwrap().unwrap().offset, local);
    assert_eq!(log.offset_of_max_timestamp().await.unwrap().unwrap().offset, 78);
}

#[tokio::test]
async fn a_copy_and_a_pass_of_the_cleaner_keep_out_of_each_others_way() {
    let config = LogConfig { cleanup_compact: true, ..tiered() };
    let (_, _, log) = filled(config, 40).await;
    assert_eq!(log.to_copy(9), [], "nothing was cleaned yet");
    let hold = log.hold_cleaning().unwrap();
    let options = crate::log::CleanOptions { now_ms: NOW, map_bytes_max: 1 << 20, dry_run: false };
    assert!(matches!(log.clean(options), Err(crate::log::CleanError::Busy)));
    assert!(log.hold_cleaning().is_none());
    drop(hold);
    let mut pass = log.clean(options).unwrap().unwrap();
    assert!(log.hold_cleaning().is_none());
    while !pass.step().await.unwrap().done {}
    drop(pass);
    assert!(!log.to_copy(9).is_empty());
}
