//! What to copy next. Pure.

/// What a partition has to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes of the segments that can be copied.
    pub bytes: u64,
    /// When the oldest of them was begun, ms.
    pub oldest_ms: i64,
}

/// The order in which partitions are copied, by index: whoever has waited longest first, and of several the one with the
/// most. Each then copies a few segments before the next has its turn, so none waits for another's backlog.
pub fn order(backlogs: &[Backlog]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..backlogs.len()).filter(|index| backlogs[*index].bytes > 0).collect();
    order.sort_by_key(|index| (backlogs[*index].oldest_ms, u64::MAX - backlogs[*index].bytes, *index));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_goes_first_then_the_most() {
        let backlog = |bytes, oldest_ms| Backlog { bytes, oldest_ms };
        assert_eq!(order(&[backlog(5, 30), backlog(1, 10), backlog(0, 1), backlog(9, 30)]), [1, 3, 0]);
        assert_eq!(order(&[]), [] as [usize; 0]);
    }
}
