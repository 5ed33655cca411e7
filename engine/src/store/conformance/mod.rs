//! The contract of [`super`], one test a sentence, for any implementation.
//!
//! An implementation brings a [`Testbed`] and calls [`run_all`]. Tests panic with what went wrong, as tests do. They
//! need no async runtime.

mod model;
mod sentences;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::Store;

/// A future that takes longer hangs.
const HANG: Duration = Duration::from_secs(90);

/// A store under test, and what can be done to it.
pub trait Testbed: Send {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Everything stops at once, as by `kill -9` or, where that can be simulated, power loss; what is left is
    /// opened again. Queued batches may be lost, synced ones may not.
    fn crash(self: Box<Self>) -> Box<dyn Testbed>;

    /// The store was closed; opens it again.
    fn reopen(self: Box<Self>) -> Box<dyn Testbed>;

    /// Opens a checkpoint.
    fn open_checkpoint(&self, path: &Path) -> Box<dyn Testbed>;

    /// Makes writes fail from now on, or after some megabytes. False if this bed cannot.
    fn break_writes(&self) -> bool;

    /// Makes the next read fail. False if this bed cannot.
    fn break_next_read(&self) -> bool;

    /// How often the failure handler was called.
    fn failures(&self) -> usize;
}

/// Makes an empty store.
pub type Factory<'a> = &'a dyn Fn() -> Box<dyn Testbed>;

/// A named test.
pub type Test = (&'static str, fn(Factory<'_>));

/// Every test.
pub const TESTS: &[Test] = &[
    ("1: keys are ordered as unsigned bytes", sentences::keys_are_ordered_as_unsigned_bytes),
    ("1: keyspaces are apart", sentences::keyspaces_are_apart),
    ("2: no read shows a part of a batch", sentences::no_read_shows_a_part_of_a_batch),
    ("2, 3: a crash leaves whole batches, a prefix", sentences::a_crash_leaves_a_prefix_of_whole_batches),
    ("3: the last commit wins", sentences::the_last_commit_wins),
    ("3: operations of a batch apply in order", sentences::operations_of_a_batch_apply_in_order),
    ("4: observers are told in order, before tickets", sentences::observers_are_told_in_order_before_tickets),
    ("4, 5: a resolved sync ticket covers all before", sentences::a_resolved_sync_ticket_covers_all_before),
    ("5: what was closed is there again", sentences::what_was_closed_is_there_again),
    ("6: a read after the ticket sees the batch", sentences::a_read_after_the_ticket_sees_the_batch),
    ("7: a snapshot shows one moment", sentences::a_snapshot_shows_one_moment),
    ("8: a trimmed range is gone at once", sentences::a_trimmed_range_is_gone_at_once),
    ("8: trimmed space comes back by itself", sentences::trimmed_space_comes_back_by_itself),
    ("8: reclaimed space comes back by itself", sentences::reclaimed_space_comes_back_by_itself),
    ("9: scans honour both bounds", sentences::scans_honour_both_bounds),
    ("9: scans stop at their budget, never empty", sentences::scans_stop_at_their_budget_never_empty),
    ("10: a failed write is final", sentences::a_failed_write_is_final),
    ("10: a failed read fails that read only", sentences::a_failed_read_fails_that_read_only),
    ("two-part values are joined", sentences::two_part_values_are_joined),
    ("a checkpoint is a store of its own", sentences::a_checkpoint_is_a_store_of_its_own),
    ("a closed store refuses commits", sentences::a_closed_store_refuses_commits),
    ("writers wait for room", sentences::writers_wait_for_room),
    ("any interleaving agrees with the model", model::any_interleaving_agrees_with_the_model),
];

/// Runs every test against fresh stores of `make`.
pub fn run_all(make: Factory<'_>) {
    for (name, test) in TESTS {
        let started = Instant::now();
        test(make);
        tracing::info!(test = name, elapsed = ?started.elapsed(), "passed");
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for `future` on this thread.
///
/// # Panics
/// After a minute and a half, so that a lost wake-up is a failure and not a hang.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let deadline = Instant::now() + HANG;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "a future of the store hangs");
        std::thread::park_timeout(left);
    }
}

/// SplitMix64: a seed is enough to repeat a test, and the engine needs no random source for it.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
