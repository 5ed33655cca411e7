//! OffsetFetch: what was committed. A group that is not there has committed nothing; that is no error.

use super::{Entry, FetchRequest, FetchedOffset, GroupError, Groups};

impl Groups {
    /// OffsetFetch for one group: each partition asked for, in order; or all that have an offset.
    ///
    /// `require_stable` needs nothing here: the shard answers only what is durable, and offsets of transactions
    /// will be held back until those end.
    ///
    /// # Errors
    /// When the coordinator stopped.
    pub fn fetch_offsets(&self, request: &FetchRequest) -> Result<Vec<FetchedOffset>, GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        let entry = self.entries.get(&request.group_id);
        let Some(partitions) = &request.partitions else {
            return Ok(entry.map(Entry::all_offsets).unwrap_or_default());
        };
        let fetched = partitions.iter().map(|&(topic, partition)| FetchedOffset {
            topic,
            partition,
            committed: entry
                .and_then(|entry| entry.offsets.get(&(topic, partition)))
                .map(|offset| offset.to_value()),
        });
        Ok(fetched.collect())
    }
}

impl Entry {
    fn all_offsets(&self) -> Vec<FetchedOffset> {
        let fetched = self.offsets.iter().map(|(&(topic, partition), offset)| FetchedOffset {
            topic,
            partition,
            committed: Some(offset.to_value()),
        });
        fetched.collect()
    }
}
