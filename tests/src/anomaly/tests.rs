//! Every anomaly planted in a history, found and named; and histories that look alike and are clean.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Action, History, Key, Outcome, Process, Step, Value};
use super::{Anomaly, Kind, Report, Shown, check};
use Outcome::{Fail, Info, Ok};

mod simulated;

const X: Key = 0;
const Y: Key = 1;
/// The final reader's process.
const LAST: Process = 99;

fn send(key: Key, offset: i64, value: Value) -> Step {
    Step::Send { key, value, offset: Some(offset) }
}

/// A send whose offset nobody was told.
fn send_blind(key: Key, value: Value) -> Step {
    Step::Send { key, value, offset: None }
}

fn poll(key: Key, records: &[(i64, Value)]) -> Step {
    Step::Poll(BTreeMap::from([(key, records.to_vec())]))
}

/// Operations one after another.
#[derive(Default)]
struct Script(History);

impl Script {
    fn op(mut self, process: Process, outcome: Outcome, steps: &[Step]) -> Self {
        let action = Action::Transact(steps.to_vec());
        let ticket = self.0.invoke(process, action.clone());
        self.0.complete(ticket, outcome, action, BTreeSet::new());
        self
    }

    fn rebalanced(mut self, process: Process, key: Key, steps: &[Step]) -> Self {
        let action = Action::Transact(steps.to_vec());
        let ticket = self.0.invoke(process, action.clone());
        self.0.complete(ticket, Ok, action, BTreeSet::from([key]));
        self
    }

    fn grouped(mut self, group: &str, process: Process, outcome: Outcome, steps: &[Step]) -> Self {
        let action = Action::Transact(steps.to_vec());
        let ticket = self.0.invoke(process, action.clone());
        self.0.commits_for(ticket, group);
        self.0.complete(ticket, outcome, action, BTreeSet::new());
        self
    }

    fn does(mut self, process: Process, action: &Action) -> Self {
        let ticket = self.0.invoke(process, action.clone());
        self.0.complete(ticket, Ok, action.clone(), BTreeSet::new());
        self
    }

    /// Operations that overlap: all begin before the first ends.
    fn together(mut self, operations: &[(Process, Outcome, &[Step])]) -> Self {
        let actions: Vec<Action> =
            operations.iter().map(|(_, _, steps)| Action::Transact(steps.to_vec())).collect();
        let tickets: Vec<_> = operations
            .iter()
            .zip(&actions)
            .map(|((process, ..), action)| self.0.invoke(*process, action.clone()))
            .collect();
        for ((ticket, action), (_, outcome, _)) in tickets.into_iter().zip(actions).zip(operations) {
            self.0.complete(ticket, *outcome, action, BTreeSet::new());
        }
        self
    }

    fn finally(mut self, steps: &[Step]) -> Self {
        self.0.set_final_reader(LAST);
        self.op(LAST, Ok, steps)
    }

    fn report(&self) -> Report {
        check(&self.0)
    }

    /// Exactly these kinds and first values are found, in whatever order.
    #[track_caller]
    fn shows(&self, expected: &[(Kind, Value)]) {
        let mut found: Vec<(Kind, Value)> = self
            .report()
            .anomalies
            .iter()
            .map(|anomaly| (anomaly.kind, anomaly.values.first().copied().unwrap_or_default()))
            .collect();
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn is_clean(&self) {
        self.shows(&[]);
    }

    fn permits(&self, kind: Kind) -> usize {
        self.report().permitted.get(&kind).copied().unwrap_or_default()
    }
}

/// Sends 1, 2, 3, … to X at offsets from 0.
fn sent(count: u64) -> Script {
    let steps: Vec<Step> = (0..count).map(|n| send(X, n as i64, n + 1)).collect();
    Script::default().op(1, Ok, &steps)
}

#[test]
fn a_history_in_which_all_is_well_is_clean() {
    sent(3)
        .does(2, &Action::Assign(vec![X]))
        .op(2, Ok, &[poll(X, &[(0, 1)]), poll(X, &[(1, 2), (2, 3)])])
        // Offset 3 is a marker.
        .op(1, Ok, &[send(X, 4, 4), send(Y, 0, 10)])
        .op(2, Ok, &[poll(X, &[(4, 4)]), send(Y, 2, 11)])
        .op(3, Fail, &[send(X, 6, 5), send_blind(Y, 12)])
        .op(3, Info, &[send_blind(X, 6), send_blind(Y, 13)])
        .finally(&[poll(X, &[(0, 1), (1, 2), (2, 3), (4, 4)]), poll(Y, &[(0, 10), (2, 11)])])
        .is_clean();
}

#[test]
fn a_write_behind_which_something_was_read_is_lost() {
    let script = Script::default()
        .op(1, Ok, &[send(X, 0, 1)])
        .op(1, Ok, &[send(X, 1, 2), send(X, 3, 4)])
        .op(2, Info, &[send_blind(X, 3)])
        .op(3, Ok, &[poll(X, &[(2, 3)])]);
    // 4 may come yet; as long as nobody reads it, it is merely unseen.
    script.shows(&[(Kind::LostWrite, 1), (Kind::LostWrite, 2), (Kind::Unseen, 4)]);
    let report = script.report();
    let lost = &report.anomalies[0];
    assert_eq!((lost.operations.as_slice(), lost.values.as_slice()), (&[0, 3][..], &[1, 3][..]));
}

#[test]
fn a_write_overwritten_by_another_is_lost_and_its_offset_inconsistent() {
    Script::default()
        .op(1, Ok, &[send(X, 0, 1)])
        .op(1, Ok, &[send(X, 0, 2), send(X, 2, 3)])
        .op(2, Ok, &[poll(X, &[(0, 2), (2, 3)])])
        .shows(&[(Kind::InconsistentOffsets, 1), (Kind::LostWrite, 1)]);
}

#[test]
fn an_indeterminate_transaction_must_be_there_once_a_part_of_it_was_read() {
    let before =
        || Script::default().op(1, Info, &[send_blind(X, 1), send(Y, 0, 2)]).op(2, Info, &[send_blind(Y, 3)]);
    // Nothing shows that the first took effect.
    before().op(4, Ok, &[poll(Y, &[(1, 3)])]).is_clean();
    before().op(3, Ok, &[poll(X, &[(0, 1)])]).op(4, Ok, &[poll(Y, &[(1, 3)])]).shows(&[(Kind::LostWrite, 2)]);
}

#[test]
fn a_transaction_that_is_there_in_part_is_torn_even_if_nobody_knows_its_offsets() {
    let before = || Script::default().op(1, Info, &[send_blind(X, 1), send_blind(Y, 2)]);
    before().finally(&[poll(X, &[(0, 1)]), poll(Y, &[(0, 2)])]).is_clean();
    before().finally(&[poll(X, &[])]).is_clean();
    before().finally(&[poll(X, &[(0, 1)])]).shows(&[(Kind::TornTransaction, 2)]);
}

#[test]
fn a_write_that_nobody_ever_sees_is_unseen() {
    sent(2).op(2, Ok, &[poll(X, &[(0, 1)])]).shows(&[(Kind::Unseen, 2)]);
    // A poll that was rolled back has not seen anything for good.
    sent(2).op(2, Fail, &[poll(X, &[(0, 1), (1, 2)])]).shows(&[(Kind::Unseen, 1), (Kind::Unseen, 2)]);
}

#[test]
fn a_record_shown_once_and_not_at_the_end_has_vanished() {
    Script::default()
        .op(1, Ok, &[send(X, 0, 1)])
        .op(1, Info, &[send_blind(X, 2)])
        .op(2, Ok, &[poll(X, &[(0, 1), (1, 2)])])
        .finally(&[poll(X, &[(0, 1)])])
        .shows(&[(Kind::Vanished, 2)]);
}

#[test]
fn a_value_of_a_failed_write_that_is_read_is_an_aborted_read() {
    let script = Script::default()
        .op(1, Fail, &[send(X, 0, 1), send(Y, 0, 2)])
        // Whatever becomes of the transaction that polled it.
        .op(2, Fail, &[poll(X, &[(0, 1)])]);
    script.shows(&[(Kind::AbortedRead, 1)]);
    assert_eq!(script.report().anomalies[0].operations, [0, 1]);
}

#[test]
fn a_transaction_that_reads_its_own_writes_reads_precommitted_data() {
    Script::default().op(1, Ok, &[send(X, 0, 1), poll(X, &[(0, 1)])]).shows(&[(Kind::PrecommittedRead, 1)]);
}

#[test]
fn a_value_that_nobody_sent_is_a_phantom() {
    sent(1).op(2, Ok, &[poll(X, &[(0, 1), (1, 77)])]).shows(&[(Kind::Phantom, 77)]);
}

#[test]
fn one_value_at_two_offsets_is_a_duplicate() {
    let script = Script::default().op(1, Ok, &[send(X, 1, 1)]).op(2, Info, &[send_blind(X, 2)]).op(
        3,
        Ok,
        &[poll(X, &[(2, 2), (3, 1)])],
    );
    script.shows(&[(Kind::Duplicate, 1)]);
    // A failed send's offset says nothing: its record is not there.
    Script::default()
        .op(1, Fail, &[send(X, 2, 1)])
        .op(2, Fail, &[poll(X, &[(12, 1)])])
        .shows(&[(Kind::AbortedRead, 1)]);
}

#[test]
fn two_values_at_one_offset_are_inconsistent_unless_one_never_took_effect() {
    let before = || {
        Script::default().op(1, Info, &[send(X, 0, 1), send_blind(Y, 2)]).op(2, Ok, &[send(X, 0, 3)]).op(
            3,
            Ok,
            &[poll(X, &[(0, 3)])],
        )
    };
    before().is_clean();
    // The first took effect after all: 1 should have been where 3 is.
    before().op(4, Ok, &[poll(Y, &[(5, 2)])]).shows(&[(Kind::InconsistentOffsets, 1), (Kind::LostWrite, 1)]);
}

#[test]
fn a_poll_that_leaves_out_what_is_known_to_be_there_skips() {
    let before = || sent(4).op(3, Ok, &[poll(X, &[(0, 1), (1, 2), (2, 3), (3, 4)])]);
    before().op(2, Ok, &[poll(X, &[(0, 1)])]).op(2, Ok, &[poll(X, &[(2, 3)])]).shows(&[(Kind::PollSkip, 1)]);
    before().op(2, Ok, &[poll(X, &[(0, 1), (2, 3)])]).shows(&[(Kind::InternalPollSkip, 1)]);
    let found = before().op(2, Ok, &[poll(X, &[(0, 1)]), poll(X, &[(3, 4)])]).report().anomalies;
    assert_eq!(found[0].values, [1, 4, 2, 3], "the pair, and what lies between");
}

#[test]
fn a_poll_that_goes_back_is_nonmonotonic() {
    let before = || sent(4).op(3, Ok, &[poll(X, &[(0, 1), (1, 2), (2, 3), (3, 4)])]);
    let first = || before().op(2, Ok, &[poll(X, &[(0, 1), (1, 2), (2, 3)])]);
    let again = [poll(X, &[(1, 2), (2, 3), (3, 4)])];
    first().op(2, Ok, &again).shows(&[(Kind::NonmonotonicPoll, 3)]);
    first().op(2, Fail, &again).shows(&[(Kind::NonmonotonicPoll, 3)]);
    before()
        .op(2, Ok, &[poll(X, &[(2, 3)]), poll(X, &[(2, 3)])])
        .shows(&[(Kind::InternalNonmonotonicPoll, 3)]);
    // Another assignment without the partition, a rebalance, another process: each begins anew.
    first().does(2, &Action::Assign(vec![Y])).op(2, Ok, &again).is_clean();
    first().does(2, &Action::Subscribe(vec![Y])).op(2, Ok, &again).is_clean();
    first().rebalanced(2, X, &again).is_clean();
    first().op(4, Ok, &again).is_clean();
    // One that keeps it does not.
    first().does(2, &Action::Assign(vec![X, Y])).op(2, Ok, &again).shows(&[(Kind::NonmonotonicPoll, 3)]);
    first().rebalanced(2, Y, &again).shows(&[(Kind::NonmonotonicPoll, 3)]);
}

#[test]
fn after_a_failed_or_indeterminate_transaction_polls_begin_where_the_last_good_one_ended() {
    let rest = [poll(X, &[(1, 2), (2, 3)])];
    let first = || sent(4).op(3, Ok, &[poll(X, &[(3, 4)])]).op(2, Ok, &[poll(X, &[(0, 1)])]);
    first().op(2, Fail, &rest).op(2, Info, &rest).op(2, Ok, &rest).is_clean();
    let ahead = [poll(X, &[(3, 4)])];
    first().op(2, Fail, &rest).op(2, Ok, &ahead).op(4, Ok, &rest).shows(&[(Kind::PollSkip, 1)]);
}

#[test]
fn sends_of_a_process_lie_in_its_order() {
    Script::default()
        .op(1, Ok, &[send(X, 3, 3), send(X, 4, 4)])
        .op(1, Ok, &[send(X, 1, 1), send(X, 2, 2)])
        .finally(&[poll(X, &[(1, 1), (2, 2), (3, 3), (4, 4)])])
        .shows(&[(Kind::NonmonotonicSend, 4)]);
    Script::default()
        .op(1, Ok, &[send(X, 3, 3), send(X, 1, 1)])
        .finally(&[poll(X, &[(1, 1), (3, 3)])])
        .shows(&[(Kind::InternalNonmonotonicSend, 3)]);
    // Told by polls alone.
    Script::default()
        .op(1, Info, &[send_blind(Y, 4), send_blind(Y, 2)])
        .finally(&[poll(Y, &[(2, 2), (4, 4)])])
        .shows(&[(Kind::InternalNonmonotonicSend, 4)]);
}

#[test]
fn others_between_the_sends_of_one_transaction_are_permitted_and_counted() {
    let script = Script::default()
        .op(1, Ok, &[send(X, 1, 1), send_blind(X, 3)])
        .op(2, Info, &[send_blind(X, 2)])
        .op(3, Ok, &[poll(X, &[(1, 1), (2, 2), (3, 3)])]);
    script.is_clean();
    assert_eq!(script.permits(Kind::InternalSendSkip), 1);
}

#[test]
fn circles_of_writes_are_permitted_and_counted() {
    let script = Script::default()
        .together(&[
            (1, Ok, &[send(X, 0, 1), send(Y, 1, 2)][..]),
            (2, Ok, &[send(X, 1, 3), send(Y, 0, 4)][..]),
        ])
        .finally(&[poll(X, &[(0, 1), (1, 3)]), poll(Y, &[(0, 4), (1, 2)])]);
    script.is_clean();
    assert_eq!((script.permits(Kind::G0), script.permits(Kind::G1cWithWrites)), (1, 0));
    // T1 wrote before T2, and read what T2 wrote.
    let script = Script::default()
        .together(&[
            (1, Ok, &[send(X, 0, 1), poll(Y, &[(0, 4)])][..]),
            (2, Ok, &[send(X, 1, 3), send(Y, 0, 4)][..]),
        ])
        .finally(&[poll(X, &[(0, 1), (1, 3)]), poll(Y, &[(0, 4)])]);
    script.is_clean();
    assert_eq!((script.permits(Kind::G0), script.permits(Kind::G1cWithWrites)), (0, 1));
}

#[test]
fn transactions_that_read_from_each_other_are_a_circle() {
    let reading: [(Process, Outcome, &[Step]); 2] =
        [(1, Ok, &[send(X, 0, 1), poll(Y, &[(0, 2)])]), (2, Ok, &[send(Y, 0, 2), poll(X, &[(0, 1)])])];
    let script = Script::default().together(&reading);
    script.shows(&[(Kind::G1c, 1)]);
    let found: Vec<Anomaly> = script.report().anomalies;
    assert_eq!((found[0].operations.len(), found[0].values.len()), (2, 2));
    // One of them failed: nothing depends on it, but an aborted value was read.
    let mut failed = reading;
    failed[1].1 = Fail;
    Script::default().together(&failed).shows(&[(Kind::AbortedRead, 2), (Kind::Unseen, 1)]);
    // Nobody knows of one: what was read from it shows that it took effect.
    failed[1].1 = Info;
    Script::default().together(&failed).op(3, Ok, &[poll(X, &[(0, 1)])]).shows(&[(Kind::G1c, 1)]);
}

#[test]
fn a_circle_may_close_through_real_time() {
    // 1 → 2 → 3 by reads, and 3 had ended before 1 began.
    let script = Script::default()
        .together(&[(2, Info, &[send(Y, 0, 2), poll(X, &[(0, 1)])][..])])
        .op(3, Ok, &[poll(Y, &[(0, 2)])])
        .op(1, Ok, &[send(X, 0, 1)])
        .op(4, Ok, &[poll(X, &[(0, 1)])]);
    script.shows(&[(Kind::G1cRealtime, 2)]);
    // Without the read from the future there is none.
    sent(1).op(2, Ok, &[poll(X, &[(0, 1)]), send(Y, 0, 2)]).op(3, Ok, &[poll(Y, &[(0, 2)])]).is_clean();
}

#[test]
fn a_long_knot_is_one_circle() {
    let steps: Vec<Vec<Step>> = (0..2_000_u32)
        .map(|n| {
            let before = (n + 1_999) % 2_000;
            vec![send(n, 0, u64::from(n)), poll(before, &[(0, u64::from(before))])]
        })
        .collect();
    let operations: Vec<(Process, Outcome, &[Step])> =
        steps.iter().zip(1..).map(|(steps, process)| (process, Ok, steps.as_slice())).collect();
    let found = Script::default().together(&operations).report().anomalies;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind, found[0].operations.len()), (Kind::G1c, 2_000));
}

#[test]
fn a_group_consumes_each_record_once() {
    let first = || sent(3).grouped("g", 2, Ok, &[poll(X, &[(0, 1)])]);
    let rest = [poll(X, &[(1, 2), (2, 3)])];
    first().grouped("g", 3, Ok, &rest).is_clean();
    let twice = [poll(X, &[(0, 1), (1, 2), (2, 3)])];
    first().grouped("g", 3, Ok, &twice).shows(&[(Kind::ConsumedTwice, 1)]);
    // Another group, or a transaction that failed, or of which nobody knows.
    first().grouped("other", 3, Ok, &twice).is_clean();
    first().grouped("g", 3, Fail, &twice).grouped("g", 4, Ok, &rest).is_clean();
    sent(3)
        .grouped("g", 3, Info, &[poll(X, &[(0, 1), (1, 2)])])
        .grouped("g", 4, Ok, &[poll(X, &[(2, 3)])])
        .op(5, Ok, &twice)
        .is_clean();
    // Unless what it sent shows that it took effect.
    first()
        .grouped("g", 3, Info, &[poll(X, &[(0, 1), (1, 2), (2, 3)]), send_blind(Y, 9)])
        .op(5, Ok, &[poll(Y, &[(0, 9)])])
        .op(6, Ok, &twice)
        .shows(&[(Kind::ConsumedTwice, 1)]);
}

#[test]
fn a_group_passes_no_record_over() {
    sent(3)
        .op(5, Ok, &[poll(X, &[(0, 1), (1, 2), (2, 3)])])
        .grouped("g", 2, Ok, &[poll(X, &[(0, 1)])])
        .grouped("g", 3, Ok, &[poll(X, &[(2, 3)])])
        .shows(&[(Kind::NeverConsumed, 2)]);
}

#[test]
fn an_operation_that_never_ended_is_indeterminate() {
    let mut history = History::default();
    let process = history.process();
    history.invoke(process, Action::Transact(vec![send_blind(X, 1)]));
    assert_eq!(history.operations()[0].outcome, Info);
    assert!(check(&history).anomalies.is_empty());
}

#[test]
fn an_anomaly_is_shown_with_what_its_operations_did() {
    let script = sent(3).op(2, Ok, &[poll(X, &[(0, 1), (2, 3)])]);
    let report = script.report();
    let shown = Shown(&report.anomalies[0], &script.0).to_string();
    assert!(shown.contains("LostWrite on key 0, values [2, 3]"), "{shown}");
    assert!(shown.contains("process 2 Ok") && shown.contains("0@2=3"), "{shown}");
}
