//! How one response's bytes are shared out among its partitions. Pure.
//!
//! Kafka's rules (KIP-74; `ReplicaManager.readFromLog`): partitions in order, each up to its own limit and what is
//! left of the response's; the first that has anything gets a whole batch however large, or a consumer could never
//! pass it. Batches are never cut.

/// What is left of a response's bytes.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    remaining: usize,
    taken: usize,
}

/// What one partition may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// Bytes of whole batches.
    pub(super) max_bytes: usize,
    /// The first batch may be larger than that.
    pub(super) at_least_one: bool,
}

impl Grant {
    /// Whether a read could return anything.
    pub(super) fn is_useful(self) -> bool {
        self.max_bytes > 0 || self.at_least_one
    }
}

impl Budget {
    /// All of a response's bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { remaining: max_bytes, taken: 0 }
    }

    /// Bytes left.
    pub(super) fn remaining(&self) -> usize {
        self.remaining
    }

    /// What the next partition may take.
    pub(super) fn grant(&self, partition_max_bytes: usize) -> Grant {
        Grant { max_bytes: partition_max_bytes.min(self.remaining), at_least_one: self.taken == 0 }
    }

    /// Takes off what a partition has taken.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.remaining = self.remaining.saturating_sub(bytes);
        self.taken += bytes;
    }

    /// Sets a grant aside for a read under way. One that may pass the limit is settled before the next is given:
    /// whether the first partition has something decides for the others.
    pub(super) fn set_aside(&mut self, grant: Grant) {
        self.remaining -= grant.max_bytes;
    }

    /// The read is done: takes off what it took instead of what was set aside.
    pub(super) fn settle(&mut self, grant: Grant, bytes: usize) {
        self.remaining += grant.max_bytes;
        self.spend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a log returns for a grant: whole batches.
    fn take(batches: &[usize], grant: Grant) -> usize {
        let mut bytes = 0;
        for batch in batches {
            if bytes + batch > grant.max_bytes && !(grant.at_least_one && bytes == 0) {
                break;
            }
            bytes += batch;
        }
        bytes
    }

    fn spread(partitions: &[Vec<usize>], max_bytes: usize, partition_max_bytes: usize) -> Vec<usize> {
        let mut budget = Budget::new(max_bytes);
        let mut taken = Vec::new();
        for batches in partitions {
            let bytes = take(batches, budget.grant(partition_max_bytes));
            budget.spend(bytes);
            taken.push(bytes);
        }
        taken
    }

    #[test]
    fn the_first_partition_with_data_gets_one_batch_whatever_its_size() {
        assert_eq!(spread(&[vec![], vec![500, 10], vec![500]], 100, 50), [0, 500, 0]);
        assert_eq!(spread(&[vec![500]], 0, 0), [500]);
    }

    #[test]
    fn later_partitions_share_what_is_left() {
        assert_eq!(spread(&[vec![40, 40], vec![40, 40], vec![40]], 100, 80), [80, 0, 0]);
        assert_eq!(spread(&[vec![40, 40], vec![10, 10, 10], vec![40]], 100, 80), [80, 20, 0]);
    }

    #[test]
    fn what_a_scan_did_not_take_goes_to_the_next() {
        let mut budget = Budget::new(100);
        budget.spend(10);
        let grant = budget.grant(80);
        budget.set_aside(grant);
        assert_eq!(budget.grant(80), Grant { max_bytes: 10, at_least_one: false });
        budget.settle(grant, 30);
        assert_eq!(budget.grant(80), Grant { max_bytes: 60, at_least_one: false });
    }

    proptest! {
        #[test]
        fn a_response_is_never_empty_with_data_at_hand_and_passes_its_limit_by_one_batch_only(
            partitions in prop::collection::vec(prop::collection::vec(1usize..300, 0..6), 0..8),
            max_bytes in 0usize..1000,
            partition_max_bytes in 0usize..400,
        ) {
            let taken = spread(&partitions, max_bytes, partition_max_bytes);
            let total: usize = taken.iter().sum();
            let first = partitions.iter().find_map(|batches| batches.first().copied());
            prop_assert_eq!(total > 0, first.is_some());
            prop_assert!(total <= max_bytes.max(first.unwrap_or(0)));
            for (index, bytes) in taken.iter().enumerate() {
                let is_first = partitions[..index].iter().all(Vec::is_empty);
                let limit = if is_first { partition_max_bytes.max(first.unwrap_or(0)) } else { partition_max_bytes };
                prop_assert!(*bytes <= limit);
            }
        }
    }
}
