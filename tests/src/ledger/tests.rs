//! The checker against histories made by hand, each with one anomaly planted: a check that cannot fail proves nothing.

use super::*;

fn id(sequence: u64) -> RecordId {
    RecordId { producer: 7, sequence }
}

fn place() -> Place {
    Place::new("t", 0)
}

/// Four records acknowledged, shown to one session, and there.
fn sound() -> History {
    let mut history = History::default();
    let session = history.session();
    let mut log = FinalLog { start: 0, end: 4, records: Vec::new() };
    for sequence in 0..4 {
        let offset = sequence as i64;
        history.sent(&place(), id(sequence));
        history.acked(&place(), id(sequence), offset);
        history.polled(&place(), session, offset, Some(id(sequence)));
        log.records.push((offset, Some(id(sequence))));
    }
    for position in
        [Position::Committed(2), Position::Fetched(2), Position::Committed(4), Position::Fetched(4)]
    {
        history.position("g", &place(), position);
    }
    history.read(&place(), log);
    history
}

fn with_log(change: impl FnOnce(&mut FinalLog)) -> History {
    let mut history = sound();
    let mut log = history.places[&place()].log.clone().unwrap();
    change(&mut log);
    history.read(&place(), log);
    history
}

#[test]
fn a_sound_history_has_no_anomaly() {
    assert_eq!(check(&sound()), []);
    let totals = sound().totals();
    assert_eq!((totals.sent, totals.acked, totals.polled, totals.kept, totals.commits), (4, 4, 4, 4, 2));
}

#[test]
fn records_without_an_acknowledgement_may_be_there_or_not() {
    let mut history = sound();
    history.sent(&place(), id(8));
    history.sent(&place(), id(9));
    let mut log = history.places[&place()].log.clone().unwrap();
    log.records.push((4, Some(id(9))));
    log.end = 5;
    history.read(&place(), log);
    assert_eq!(check(&history), []);
}

#[test]
fn a_lost_write_is_found() {
    let history = with_log(|log| {
        log.records.pop();
        log.end = 3;
    });
    let found = check(&history);
    assert!(found.contains(&Anomaly::LostWrite(place(), id(3), 3)), "{found:?}");
    // The consumer had seen it, too.
    assert!(found.contains(&Anomaly::InconsistentOffset(place(), 3, Some(id(3)), None)), "{found:?}");
}

#[test]
fn a_duplicate_is_found() {
    let history = with_log(|log| {
        log.records.push((4, Some(id(3))));
        log.end = 5;
    });
    assert_eq!(check(&history), [Anomaly::Duplicate(place(), id(3), 3, 4)]);
}

#[test]
fn two_records_at_one_offset_are_found() {
    let mut history = sound();
    history.sent(&place(), id(9));
    history.acked(&place(), id(9), 3);
    let mut log = history.places[&place()].log.clone().unwrap();
    log.records.push((4, Some(id(9))));
    log.end = 5;
    history.read(&place(), log);
    assert_eq!(check(&history), [Anomaly::InconsistentOffset(place(), 3, Some(id(9)), Some(id(3)))]);
}

#[test]
fn what_a_consumer_saw_elsewhere_is_found() {
    let mut history = sound();
    let session = history.session();
    history.polled(&place(), session, 1, Some(id(2)));
    assert_eq!(check(&history), [Anomaly::InconsistentOffset(place(), 1, Some(id(2)), Some(id(1)))]);
}

#[test]
fn a_poll_that_goes_back_is_found_within_a_session_only() {
    let mut history = sound();
    let session = history.session();
    history.polled(&place(), session, 1, Some(id(1)));
    assert_eq!(check(&history), [], "a new session begins where it likes");
    history.polled(&place(), session, 1, Some(id(1)));
    assert_eq!(check(&history), [Anomaly::NonmonotonicPoll(place(), session, 1, 1)]);
}

#[test]
fn reordering_is_found() {
    let mut history = History::default();
    [1, 2].into_iter().for_each(|sequence| history.sent(&place(), id(sequence)));
    let records = vec![(0, Some(id(2))), (1, Some(id(1)))];
    history.read(&place(), FinalLog { start: 0, end: 2, records });
    assert_eq!(check(&history), [Anomaly::Reordered(place(), id(2), id(1))]);
}

#[test]
fn a_committed_offset_that_goes_back_is_found() {
    let mut history = sound();
    history.position("g", &place(), Position::Fetched(3));
    assert_eq!(check(&history), [Anomaly::CommittedWentBack("g".into(), place(), 4, 3)]);
}

#[test]
fn phantoms_and_damaged_values_are_found() {
    let history = with_log(|log| log.records[3].1 = None);
    assert!(check(&history).contains(&Anomaly::Phantom(place(), 3)));
    let history = with_log(|log| log.records[3].1 = Some(id(77)));
    assert!(check(&history).contains(&Anomaly::Phantom(place(), 3)));
}

#[test]
fn holes_are_found_inside_and_at_the_end() {
    let mut history = History::default();
    [1, 2].into_iter().for_each(|sequence| history.sent(&place(), id(sequence)));
    let records = vec![(0, Some(id(1))), (2, Some(id(2)))];
    history.read(&place(), FinalLog { start: 0, end: 4, records });
    assert_eq!(check(&history), [Anomaly::Hole(place(), 1, 2), Anomaly::Hole(place(), 3, 4)]);
}

#[test]
fn trimmed_records_are_not_lost_but_must_stay_trimmed() {
    let trim = |start: i64| {
        let mut history = with_log(|log| {
            log.records.retain(|(offset, _)| *offset >= start);
            log.start = start;
        });
        history.trim_asked(&place(), 2);
        history.trimmed(&place(), 2);
        check(&history)
    };
    assert_eq!(trim(2), []);
    assert_eq!(trim(1), [Anomaly::WrongStart(place(), 1)]);
    assert_eq!(trim(3), [Anomaly::WrongStart(place(), 3)]);
}

#[test]
fn a_place_nobody_could_read_is_found() {
    let mut history = History::default();
    history.sent(&place(), id(1));
    assert_eq!(check(&history), [Anomaly::Unread(place())]);
}

#[test]
fn one_changed_byte_makes_another_value() {
    for length in [0, 20, 100] {
        let mut value = id(3).encode(length);
        assert_eq!(RecordId::decode(&value), Some(id(3)));
        *value.last_mut().unwrap() ^= 1;
        assert_eq!(RecordId::decode(&value), None);
    }
    assert_eq!(RecordId::decode(b"short"), None);
}
