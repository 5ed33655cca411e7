//! One ordered structure of deadlines, keyed so that setting a timer again moves it.
//!
//! It owns no clock and runs nothing: [`TimerQueue::pop_due`] says what is due at a moment the caller names, in
//! order of deadline, then of setting. Its size is bounded by what is timed: one timer a member, two a group.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Deadlines by key.
#[derive(Debug)]
pub struct TimerQueue<K> {
    by_deadline: BTreeMap<(i64, u64), K>,
    by_key: HashMap<K, (i64, u64)>,
    next_serial: u64,
}

impl<K> Default for TimerQueue<K> {
    fn default() -> Self {
        Self { by_deadline: BTreeMap::new(), by_key: HashMap::new(), next_serial: 0 }
    }
}

impl<K: Clone + Eq + Hash> TimerQueue<K> {
    /// Sets, or moves, the timer of `key`.
    pub fn set(&mut self, key: K, deadline_ms: i64) {
        let position = (deadline_ms, self.next_serial);
        self.next_serial += 1;
        if let Some(previous) = self.by_key.insert(key.clone(), position) {
            self.by_deadline.remove(&previous);
        }
        self.by_deadline.insert(position, key);
    }

    /// Forgets the timer of `key`, if it is set.
    pub fn cancel(&mut self, key: &K) {
        if let Some(position) = self.by_key.remove(key) {
            self.by_deadline.remove(&position);
        }
    }

    /// The next deadline.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.by_deadline.first_key_value().map(|(&(deadline_ms, _), _)| deadline_ms)
    }

    /// Takes the first timer whose deadline is not after `now_ms`.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<K> {
        let entry = self.by_deadline.first_entry()?;
        if entry.key().0 > now_ms {
            return None;
        }
        let key = entry.remove();
        self.by_key.remove(&key);
        Some(key)
    }

    /// Whether the timer of `key` is set.
    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_of_deadline_then_of_setting() {
        let mut timers = TimerQueue::default();
        timers.set("late", 30);
        timers.set("first", 10);
        timers.set("second", 10);
        assert_eq!(timers.next_deadline_ms(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(10), Some("first"));
        assert_eq!(timers.pop_due(10), Some("second"));
        assert_eq!(timers.pop_due(29), None);
        assert_eq!(timers.pop_due(31), Some("late"));
        assert!(timers.is_empty());
    }

    #[test]
    fn setting_again_moves_a_timer_and_cancelling_forgets_it() {
        let mut timers = TimerQueue::default();
        timers.set("a", 10);
        timers.set("b", 20);
        timers.set("a", 30);
        assert_eq!(timers.len(), 2);
        assert_eq!(timers.pop_due(25), Some("b"));
        timers.cancel(&"a");
        timers.cancel(&"never set");
        assert_eq!(timers.pop_due(i64::MAX), None);
        assert_eq!(timers.next_deadline_ms(), None);
    }
}
