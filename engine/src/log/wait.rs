//! Long polls: who waits for a log to change. Idle waiters cost no CPU and no timer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One long poll, registered with any number of logs and woken by the first that changes.
#[derive(Debug, Default)]
pub struct Waiter {
    notify: Notify,
}

impl Waiter {
    /// A waiter nobody knows yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Resolves once a log that the waiter was registered with has changed since registration.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    fn wake(&self) {
        // Stores a permit when nobody waits yet, so a change between registration and waiting is not lost.
        self.notify.notify_one();
    }
}

/// The waiters of one log. Grows with the readers that wait and shrinks as they are woken or go away.
#[derive(Debug, Default)]
pub(super) struct WaiterList {
    /// Lets a commit that nobody waits for pass without the lock.
    any: AtomicBool,
    list: Mutex<Vec<Weak<Waiter>>>,
}

impl WaiterList {
    pub(super) fn add(&self, waiter: &Arc<Waiter>) {
        let mut list = self.list.lock();
        if list.len() == list.capacity() {
            // Before growing, drop those that gave up; so the list stays within twice the live waiters.
            list.retain(|waiter| waiter.strong_count() > 0);
        }
        list.push(Arc::downgrade(waiter));
        self.any.store(true, Ordering::SeqCst);
        // So that the waiter's look at the watermark, which comes next, is not moved before the store.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(super) fn wake(&self) {
        // Pairs with the fence in `add`: either this sees the waiter, or the waiter's later read sees the new watermark.
        std::sync::atomic::fence(Ordering::SeqCst);
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let woken = {
            let mut list = self.list.lock();
            self.any.store(false, Ordering::SeqCst);
            std::mem::take(&mut *list)
        };
        for waiter in woken.iter().filter_map(Weak::upgrade) {
            waiter.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_registration_and_waiting_is_not_lost() {
        let (list, waiter) = (WaiterList::default(), Waiter::new());
        list.add(&waiter);
        list.wake();
        waiter.changed().await;
    }

    #[test]
    fn waiters_that_gave_up_are_dropped_before_the_list_grows() {
        let list = WaiterList::default();
        for _ in 0..10_000 {
            list.add(&Waiter::new());
        }
        assert!(list.list.lock().capacity() <= 16);
    }
}
