//! Sessions without logs: what the cache keeps, evicts and refuses.

use chronik_protocol::codec::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use chronik_protocol::message;

use super::*;

const VERSION: i16 = 12;

fn request(id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions
        .iter()
        .map(|(index, offset)| message!(FetchPartition { partition: *index, fetch_offset: *offset }));
    let topic = message!(FetchTopic { topic: "t".into(), partitions: partitions.collect() });
    message!(FetchRequest { session_id: id, session_epoch: epoch, topics: vec![topic] })
}

fn answer(wanted: &Wanted, high_watermark: i64, records_bytes: usize) -> PartitionAnswer {
    let mut answer = PartitionAnswer::refused(wanted.topic.clone(), wanted.partition, ErrorCode::None);
    (answer.high_watermark, answer.log_start_offset) = (high_watermark, 0);
    answer.records_bytes = records_bytes;
    answer
}

/// Sends a request, answers each partition by `answer`, and returns what is told.
fn round(
    sessions: &FetchSessions,
    request: &FetchRequest,
    now_ms: i64,
    tell: impl Fn(&Wanted) -> PartitionAnswer,
) -> Result<FetchAnswer, ErrorCode> {
    let (context, wanted) = sessions.begin(request, VERSION, &TopicMap::default(), now_ms)?;
    let answers = wanted.iter().map(tell).collect();
    Ok(sessions.finish(context, &wanted, answers, now_ms))
}

fn create(sessions: &FetchSessions, partitions: i32, now_ms: i64) -> i32 {
    let partitions: Vec<_> = (0..partitions).map(|index| (index, 0)).collect();
    let told = round(sessions, &request(0, 0, &partitions), now_ms, |wanted| answer(wanted, 5, 0)).unwrap();
    assert_eq!(told.partitions.len(), partitions.len(), "a full request is answered in full");
    told.session_id
}

fn indexes(answer: &FetchAnswer) -> Vec<i32> {
    answer.partitions.iter().map(|partition| partition.partition).collect()
}

// semantics 3.5.6
#[test]
fn an_incremental_request_is_told_only_what_changed() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 3, 0);
    assert!(id > 0);
    let quiet = round(&sessions, &request(id, 1, &[]), 0, |wanted| answer(wanted, 5, 0)).unwrap();
    assert_eq!((quiet.session_id, indexes(&quiet)), (id, vec![]));
    let watermark = |wanted: &Wanted| answer(wanted, 5 + i64::from(wanted.partition == 2), 0);
    assert_eq!(indexes(&round(&sessions, &request(id, 2, &[]), 0, watermark).unwrap()), [2]);
    let records = |wanted: &Wanted| answer(wanted, 5 + i64::from(wanted.partition == 2), 7);
    assert_eq!(indexes(&round(&sessions, &request(id, 3, &[]), 0, records).unwrap()), [0, 1, 2]);
}

#[test]
fn a_partition_in_error_is_told_each_time_and_once_more_when_it_recovers() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 2, 0);
    let fail = |wanted: &Wanted| {
        let mut answer = answer(wanted, 5, 0);
        if wanted.partition == 1 {
            answer = PartitionAnswer::refused(wanted.topic.clone(), 1, ErrorCode::KafkaStorageError);
        }
        answer
    };
    assert_eq!(indexes(&round(&sessions, &request(id, 1, &[]), 0, fail).unwrap()), [1]);
    assert_eq!(indexes(&round(&sessions, &request(id, 2, &[]), 0, fail).unwrap()), [1]);
    let well = |wanted: &Wanted| answer(wanted, 5, 0);
    assert_eq!(indexes(&round(&sessions, &request(id, 3, &[]), 0, well).unwrap()), [1]);
    assert_eq!(indexes(&round(&sessions, &request(id, 4, &[]), 0, well).unwrap()), [0; 0]);
}

#[test]
fn partitions_that_returned_data_move_behind_the_others() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 3, 0);
    let first_only = |wanted: &Wanted| answer(wanted, 5, if wanted.partition == 0 { 9 } else { 0 });
    round(&sessions, &request(id, 1, &[]), 0, first_only).unwrap();
    let (_, wanted) = sessions.begin(&request(id, 2, &[]), VERSION, &TopicMap::default(), 0).unwrap();
    assert_eq!(wanted.iter().map(|wanted| wanted.partition).collect::<Vec<_>>(), [1, 2, 0]);
}

#[test]
fn requests_move_positions_add_and_forget_partitions() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 2, 0);
    let mut change = request(id, 1, &[(1, 40), (7, 3)]);
    change.forgotten_topics_data =
        vec![message!(ForgottenTopic { topic: "t".into(), partitions: vec![0, 99] })];
    let (_, wanted) = sessions.begin(&change, VERSION, &TopicMap::default(), 0).unwrap();
    let positions: Vec<_> = wanted.iter().map(|wanted| (wanted.partition, wanted.position.offset)).collect();
    assert_eq!(positions, [(1, 40), (7, 3)]);
}

#[test]
fn a_session_left_without_partitions_ends() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 1, 0);
    let mut change = request(id, 1, &[]);
    change.forgotten_topics_data = vec![message!(ForgottenTopic { topic: "t".into(), partitions: vec![0] })];
    let told = round(&sessions, &change, 0, |wanted| answer(wanted, 5, 0)).unwrap();
    assert_eq!((told.session_id, sessions.len()), (0, 0));
}

#[test]
fn wrong_epochs_and_unknown_ids_are_refused() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 1, 0);
    let refusal = |request| round(&sessions, &request, 0, |wanted| answer(wanted, 5, 0)).err();
    assert_eq!(refusal(request(id, 2, &[])), Some(ErrorCode::InvalidFetchSessionEpoch));
    assert_eq!(refusal(request(id ^ 1, 1, &[])), Some(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(refusal(request(0, 1, &[])), Some(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(refusal(request(id, 1, &[])), None, "a refusal leaves the session as it was");
    assert_eq!(
        refusal(request(id, 1, &[])),
        Some(ErrorCode::InvalidFetchSessionEpoch),
        "each epoch is used once"
    );
}

#[test]
fn names_and_ids_do_not_mix_in_one_session() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 1, 0);
    let mixed = sessions.begin(&request(id, 1, &[]), 13, &TopicMap::default(), 0);
    assert_eq!(mixed.err(), Some(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn a_final_epoch_ends_the_session_and_an_initial_one_replaces_it() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 1, 0);
    let told = round(&sessions, &request(id, 0, &[(0, 0)]), 0, |wanted| answer(wanted, 5, 0)).unwrap();
    assert_eq!(sessions.len(), 1);
    assert_ne!(told.session_id, 0);
    let closed =
        round(&sessions, &request(told.session_id, -1, &[]), 0, |wanted| answer(wanted, 5, 0)).unwrap();
    assert_eq!((closed.session_id, sessions.len()), (0, 0));
}

#[test]
fn the_epoch_wraps_to_one() {
    assert_eq!([epoch_after(0), epoch_after(1), epoch_after(i32::MAX)], [1, 2, 1]);
}

#[test]
fn another_request_in_between_makes_an_answer_stale() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 1, 0);
    let (slow, wanted) = sessions.begin(&request(id, 1, &[]), VERSION, &TopicMap::default(), 0).unwrap();
    round(&sessions, &request(id, 2, &[]), 0, |wanted| answer(wanted, 5, 0)).unwrap();
    let answers = wanted.iter().map(|wanted| answer(wanted, 6, 1)).collect();
    let told = sessions.finish(slow, &wanted, answers, 0);
    assert_eq!((told.error, told.partitions.len()), (ErrorCode::InvalidFetchSessionEpoch, 0));
}

#[test]
fn a_full_cache_gives_no_session_until_one_is_stale() {
    let sessions = FetchSessions::new(2);
    let (first, second) = (create(&sessions, 1, 0), create(&sessions, 1, 1000));
    assert!(first > 0 && second > 0);
    assert_eq!(create(&sessions, 1, EVICTION_MS), 0, "all slots taken and fresh");
    let third = create(&sessions, 1, EVICTION_MS + 1);
    assert!(third > 0, "the first was idle for long enough");
    let gone = round(&sessions, &request(first, 1, &[]), EVICTION_MS + 1, |wanted| answer(wanted, 5, 0));
    assert_eq!(gone.err(), Some(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(FetchSessions::new(0).len(), 0);
    assert_eq!(create(&FetchSessions::new(0), 1, 0), 0);
}

#[test]
fn a_larger_newcomer_takes_the_slot_of_a_small_session_that_is_old() {
    let sessions = FetchSessions::new(1);
    let id = create(&sessions, 2, 0);
    let now_ms = EVICTION_MS + 1;
    round(&sessions, &request(id, 1, &[]), now_ms, |wanted| answer(wanted, 5, 0)).unwrap();
    assert_eq!(create(&sessions, 2, now_ms + 1), 0, "no larger");
    assert!(create(&sessions, 3, now_ms + 1) > 0);
    assert_eq!(sessions.len(), 1);
}

#[test]
fn the_partitions_of_all_sessions_are_bounded() {
    let sessions = FetchSessions::new(10);
    let half = i32::try_from(FETCH_SESSION_PARTITIONS_MAX / 2 + 1).unwrap();
    let id = create(&sessions, half, 0);
    assert!(id > 0);
    assert_eq!(create(&sessions, half, 0), 0);
    let growth: Vec<_> = (half..2 * half).map(|index| (index, 0)).collect();
    let grown = sessions.begin(&request(id, 1, &growth), VERSION, &TopicMap::default(), 0);
    assert_eq!(grown.err(), Some(ErrorCode::FetchSessionIdNotFound));
    assert!(sessions.is_empty());
}

#[test]
fn a_partition_named_twice_is_fetched_once_from_its_last_position() {
    let asked = wanted_of(&request(0, -1, &[(3, 1), (4, 2), (3, 9)]), false);
    let positions: Vec<_> = asked.iter().map(|wanted| (wanted.partition, wanted.position.offset)).collect();
    assert_eq!(positions, [(3, 9), (4, 2)]);
}
