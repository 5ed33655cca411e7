//! The task that copies: closes what is old enough, takes the partitions in their order, and copies a few segments of
//! each at a time. A partition that fails is tried again later and keeps nobody else from their turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chronik_engine::keys::PartitionId;
use chronik_engine::log::{PartitionLog, Span};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bucket::Backoff;
use crate::copy::{CopyError, Source, copy};
use crate::limits::COPY_ROUND_SEGMENTS;
use crate::metrics as names;
use crate::plan::{Backlog, order};
use crate::read::encode_index;
use crate::tier::{Change, CommitError, Tier, entry};

/// After a failure a partition waits from this on, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// And no longer than this.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// So long after it could have been tried again a failure is forgotten.
const FAILURE_KEPT: Duration = Duration::from_secs(600);

/// A partition with something to copy.
struct Candidate {
    source: Source,
    log: Arc<PartitionLog>,
}

/// Partitions that failed: when they are tried again, and the wait after that.
type Failures = Mutex<HashMap<PartitionId, (Instant, Backoff)>>;

impl Tier {
    pub(crate) async fn keep_copying(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let failures = Arc::new(Failures::default());
        while self.next_turn(&mut stopping).await {
            while self.copy_round(&failures, &stopping).await && !*stopping.borrow() {}
        }
    }

    /// Gives each partition its turn. Whether anything was copied.
    async fn copy_round(
        self: &Arc<Self>,
        failures: &Arc<Failures>,
        stopping: &watch::Receiver<bool>,
    ) -> bool {
        let candidates = self.candidates(failures);
        if candidates.is_empty() || !self.leads().await {
            return false;
        }
        let queue = Arc::new(Mutex::new(std::collections::VecDeque::from(candidates)));
        let copied = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..self.options.copiers.max(1) {
            let (tier, queue, copied, failures) =
                (self.clone(), queue.clone(), copied.clone(), failures.clone());
            let mut stopping = stopping.clone();
            workers.spawn(async move {
                while !*stopping.borrow() {
                    let Some(candidate) = queue.lock().pop_front() else { break };
                    let count = tier.copy_some(&candidate, &failures, &mut stopping).await;
                    copied.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker.expect("copying does not panic");
        }
        copied.load(std::sync::atomic::Ordering::Relaxed) > 0
    }

    fn candidates(&self, failures: &Failures) -> Vec<Candidate> {
        let now_ms = self.now_ms();
        let (now, mut failures) = (Instant::now(), failures.lock());
        // Of partitions that are no more, nothing is kept.
        failures.retain(|_, (again, _)| now.saturating_duration_since(*again) < FAILURE_KEPT);
        let mut candidates = Vec::new();
        let mut backlogs = Vec::new();
        for topic in self.engine.topics().iter() {
            for (partition, place) in topic.partitions.iter().enumerate() {
                let log = &place.log;
                let waits = failures.get(&log.id()).is_some_and(|(again, _)| *again > now);
                // What it closes can be copied once that is durable, in a later turn.
                drop(log.roll_for_copy(now_ms));
                let spans = log.to_copy(COPY_ROUND_SEGMENTS);
                let Some(oldest) = spans.first().filter(|_| !waits) else { continue };
                backlogs.push(Backlog {
                    bytes: spans.iter().map(|span| span.bytes.max(1)).sum(),
                    oldest_ms: oldest.created_ms,
                });
                candidates.push(Some(Candidate {
                    source: Source {
                        cluster_id: self.engine.cluster_id().to_owned(),
                        topic: topic.name.clone(),
                        topic_id: topic.id,
                        partition: partition as i32,
                    },
                    log: log.clone(),
                }));
            }
        }
        order(&backlogs).into_iter().filter_map(|index| candidates[index].take()).collect()
    }

    /// Copies a few segments of a partition, one after the other. How many.
    async fn copy_some(
        &self,
        candidate: &Candidate,
        failures: &Failures,
        stopping: &mut watch::Receiver<bool>,
    ) -> usize {
        let Candidate { source, log } = candidate;
        let mut copied = 0;
        for span in log.to_copy(COPY_ROUND_SEGMENTS) {
            if *stopping.borrow() {
                break;
            }
            match self.copy_one(source, log, &span, stopping).await {
                Ok(true) => {
                    copied += 1;
                    failures.lock().remove(&log.id());
                    log.apply_local_retention(self.now_ms());
                }
                Ok(false) => break,
                Err(error) => {
                    metrics::counter!(names::COPY_FAILURES).increment(1);
                    let mut failures = failures.lock();
                    let known = failures.get(&log.id()).map(|(_, backoff)| *backoff);
                    let mut backoff = known.unwrap_or_else(|| Backoff::new(RETRY_FIRST, RETRY_MAX));
                    let wait = backoff.wait();
                    failures.insert(log.id(), (Instant::now() + wait, backoff));
                    tracing::warn!(
                        topic = &*source.topic,
                        partition = source.partition,
                        offset = span.base_offset,
                        %error,
                        again_in_ms = wait.as_millis() as u64,
                        "a segment could not be copied to object storage"
                    );
                    break;
                }
            }
        }
        copied
    }

    /// Copies, proves, and takes in. False when it is not the time for it.
    async fn copy_one(
        &self,
        source: &Source,
        log: &Arc<PartitionLog>,
        span: &Span,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<bool, CopyError> {
        let hold = if log.config().cleanup_compact {
            let Some(hold) = log.hold_cleaning() else { return Ok(false) };
            // The cleaner may have been here since the span was chosen.
            if !log.to_copy(1).contains(span) {
                return Ok(false);
            }
            Some(hold)
        } else {
            None
        };
        self.save_meta_for(source.topic_id, source.partition, stopping).await?;
        let on_its_way = self.new_object(source, span);
        let object = &on_its_way.name;
        let now_ms = self.now_ms();
        let copied = copy(&self.bucket, log, source, span, object, &self.bandwidth, now_ms);
        let (segment, finished) = tokio::select! {
            copied = copied => copied?,
            _ = stopping.wait_for(|stop| *stop) => return Ok(false),
        };
        let added = vec![entry(&source.topic, source.topic_id, source.partition, &segment)];
        let bytes = segment.bytes;
        let index = encode_index(&finished.tail);
        let change = Change { added, ..Change::default() };
        let taken = self.commit(change, || log.add_remote(segment, index).map(Some)).await;
        drop(hold);
        match taken {
            Ok(()) => {
                metrics::counter!(names::SEGMENTS_COPIED).increment(1);
                tracing::debug!(object, bytes, "copied a segment to object storage");
                Ok(true)
            }
            Err(CommitError::Log(error)) => {
                tracing::debug!(object, %error, "a copied segment has no place any more");
                Ok(false)
            }
            Err(CommitError::Replaced | CommitError::Stopping) => Ok(false),
            Err(CommitError::Bucket(error)) => Err(error.into()),
            Err(CommitError::Store(error)) => Err(CopyError::Log(error.into())),
        }
    }
}
