//! The reads of one fetch that object storage has to answer. Each is asked for at most once at a time, goes on while the
//! other partitions are looked at, and is waited for only while these have nothing to say.

use std::sync::Arc;

use chronik_engine::log::{LogRead, PartitionLog};
use chronik_tiering::Tier;
pub(super) use chronik_tiering::read::Limits;
use chronik_tiering::read::RemoteError;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select_all};

type Reading = BoxFuture<'static, Result<LogRead, RemoteError>>;

/// A read, by the place of its partition in the request.
enum State {
    UnderWay(Reading),
    Done(Result<LogRead, RemoteError>),
}

/// See the module.
pub(super) struct RemoteReads {
    tier: Arc<Tier>,
    reads: Vec<(usize, State)>,
}

impl RemoteReads {
    pub(super) fn new(tier: Arc<Tier>) -> Self {
        Self { tier, reads: Vec::new() }
    }

    /// The answer for a partition, if it is there; else it is on its way from here on.
    pub(super) fn read(
        &mut self,
        place: usize,
        log: &Arc<PartitionLog>,
        offset: i64,
        limits: Limits,
    ) -> Option<Result<LogRead, RemoteError>> {
        let known = self.reads.iter().position(|(index, _)| *index == place);
        let state = known.map(|known| self.reads.swap_remove(known).1);
        let mut reading = match state {
            // Asked for when more, or less, could be returned than now.
            Some(State::Done(Ok(read))) if read.bytes > limits.max_bytes && !limits.at_least_one => {
                self.begin(log, offset, limits)
            }
            Some(State::Done(read)) => return Some(read),
            Some(State::UnderWay(reading)) => reading,
            None => self.begin(log, offset, limits),
        };
        match (&mut reading).now_or_never() {
            Some(read) => Some(read),
            None => {
                self.reads.push((place, State::UnderWay(reading)));
                None
            }
        }
    }

    fn begin(&self, log: &Arc<PartitionLog>, offset: i64, limits: Limits) -> Reading {
        let (tier, log) = (self.tier.clone(), log.clone());
        async move { tier.read(&log, offset, limits).await }.boxed()
    }

    /// Whether the partition at this place waits for object storage.
    pub(super) fn waits_for(&self, place: usize) -> bool {
        self.reads.iter().any(|(index, _)| *index == place)
    }

    /// Whether anything is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        self.reads.iter().any(|(_, state)| matches!(state, State::UnderWay(_)))
    }

    /// Returns when one more read is done; never if none is on its way.
    pub(super) async fn one_more(&mut self) {
        let under_way = self.reads.iter_mut().enumerate().filter_map(|(at, (_, state))| match state {
            State::UnderWay(reading) => Some(reading.map(move |read| (at, read)).boxed()),
            State::Done(_) => None,
        });
        let under_way: Vec<_> = under_way.collect();
        if under_way.is_empty() {
            return std::future::pending().await;
        }
        let ((at, read), _, others) = select_all(under_way).await;
        drop(others);
        self.reads[at].1 = State::Done(read);
    }
}
