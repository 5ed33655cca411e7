//! How far ahead a reader is served. Pure: asked with each block that is read, it says what to ask the store for.
//!
//! A reader who jumps gets what it asked for and nothing else. Whoever goes on where it was gets windows that double up
//! to a bound, and the next one is asked for when half of the last is read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Readers that are told apart at the same time.
const CURSORS_MAX: usize = 256;

/// One reader on its way through a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    object: Arc<str>,
    /// The block it has read last; -1 before the first.
    last: i64,
    /// First block that was not asked for.
    ahead_to: usize,
    /// Blocks of the last window.
    window: usize,
}

/// What to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// If the block is missing: these, in one GET.
    pub(super) now: Range<usize>,
    /// In any case, without waiting for it.
    pub(super) ahead: Range<usize>,
    /// The segment is asked for to its end: begin with the next, this many blocks of it.
    pub(super) next_segment: Option<usize>,
}

/// Readers on their way, the one that read last at the end.
#[derive(Debug)]
pub(super) struct Windows {
    cursors: VecDeque<Cursor>,
    window_max: usize,
}

impl Windows {
    /// With windows of at most `window_max` blocks.
    pub(super) fn new(window_max: usize) -> Self {
        Self { cursors: VecDeque::new(), window_max: window_max.max(1) }
    }

    /// A reader has come to block `index` of an object with `count` blocks.
    pub(super) fn read(&mut self, object: &Arc<str>, index: usize, count: usize) -> Plan {
        let at = index as i64;
        let known = self
            .cursors
            .iter()
            .position(|cursor| cursor.object == *object && (cursor.last == at || cursor.last + 1 == at));
        let mut cursor = match known {
            Some(place) => self.cursors.remove(place).expect("the place was just found"),
            None => Cursor { object: object.clone(), last: at, ahead_to: index + 1, window: 1 },
        };
        let mut plan = Plan { now: index..index + 1, ..Plan::default() };
        if known.is_some() {
            let moved = cursor.last != at;
            cursor.last = at;
            if index >= cursor.ahead_to {
                cursor.window = (cursor.window * 2).min(self.window_max);
                cursor.ahead_to = (index + cursor.window).min(count);
                plan.now = index..cursor.ahead_to;
            }
            if moved {
                self.look_ahead(&mut cursor, index, count, &mut plan);
            }
        }
        self.push(cursor);
        plan
    }

    fn look_ahead(&self, cursor: &mut Cursor, index: usize, count: usize, plan: &mut Plan) {
        let left = cursor.ahead_to.saturating_sub(index + 1);
        if left > cursor.window / 2 {
            return;
        }
        if cursor.ahead_to < count {
            cursor.window = (cursor.window * 2).min(self.window_max);
            let to = (cursor.ahead_to + cursor.window).min(count);
            plan.ahead = cursor.ahead_to..to;
            cursor.ahead_to = to;
        } else if cursor.ahead_to == count {
            // Once: from here on the cursor is beyond the end.
            cursor.ahead_to = count + 1;
            plan.next_segment = Some(cursor.window);
        }
    }

    /// A reader is expected at the beginning of an object, of which `window` blocks were asked for.
    pub(super) fn expect(&mut self, object: &Arc<str>, window: usize) {
        if !self.cursors.iter().any(|cursor| cursor.object == *object && cursor.last <= 0) {
            self.push(Cursor { object: object.clone(), last: -1, ahead_to: window, window });
        }
    }

    fn push(&mut self, cursor: Cursor) {
        if self.cursors.len() == CURSORS_MAX {
            self.cursors.pop_front();
        }
        self.cursors.push_back(cursor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_jumps_gets_what_it_asked_for() {
        let mut windows = Windows::new(16);
        let object: Arc<str> = "a".into();
        for index in [5, 90, 17, 3] {
            let plan = windows.read(&object, index, 100);
            assert_eq!(plan, Plan { now: index..index + 1, ..Plan::default() });
        }
    }

    #[test]
    fn whoever_goes_forward_has_each_block_asked_for_once_and_ahead() {
        let mut windows = Windows::new(16);
        let object: Arc<str> = "a".into();
        let mut asked = 0;
        let mut gets = 0;
        for index in 0..100 {
            for _ in 0..3 {
                let plan = windows.read(&object, index, 100);
                if index >= asked {
                    assert_eq!(plan.now.start, asked);
                    (asked, gets) = (plan.now.end, gets + 1);
                }
                if !plan.ahead.is_empty() {
                    assert_eq!(plan.ahead.start, asked, "at {index}");
                    (asked, gets) = (plan.ahead.end, gets + 1);
                }
                assert!(plan.next_segment.is_none(), "at {index}");
                if asked == 100 {
                    break;
                }
            }
            if asked == 100 {
                break;
            }
        }
        assert_eq!(asked, 100);
        assert!(gets <= 11, "{gets}");
    }

    #[test]
    fn at_the_end_the_next_segment_is_asked_for_once() {
        let mut windows = Windows::new(4);
        let (object, next): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let told: Vec<usize> =
            (0..10).filter_map(|index| windows.read(&object, index, 10).next_segment).collect();
        assert_eq!(told, [4]);
        windows.expect(&next, 4);
        let plan = windows.read(&next, 0, 10);
        assert!(plan.ahead.is_empty() || plan.ahead.start == 4, "{plan:?}");
        assert_eq!(windows.read(&next, 1, 10).now, 1..2, "it was asked for");
    }

    #[test]
    fn readers_are_bounded() {
        let mut windows = Windows::new(4);
        for index in 0..2 * CURSORS_MAX {
            windows.read(&index.to_string().into(), 0, 10);
        }
        assert_eq!(windows.cursors.len(), CURSORS_MAX);
    }
}
