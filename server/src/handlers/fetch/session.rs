//! Incremental fetch sessions (KIP-227; Kafka's `FetchSession.scala`): the broker remembers which partitions a client
//! fetches and what it was told of them, so that requests and responses carry only what changed.
//!
//! Bounded in sessions (`max.incremental.fetch.session.cache.slots`) and in partitions over all of them. At a bound a
//! client is not refused: it gets session id 0 and goes on with full requests, which is legal. There are no followers
//! here, so no session is privileged over another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chronik_engine::topic::TopicMap;
use chronik_protocol::codec::messages::FetchRequest;
use parking_lot::Mutex;
use uuid::Uuid;

use super::response::{FetchAnswer, NAMES_BY_ID, NO_OFFSET, PartitionAnswer, uuid_of};
use crate::error_code::ErrorCode;
use crate::limits::FETCH_SESSION_PARTITIONS_MAX;
use crate::runtime::random_bytes;

/// A session not used for so long gives its slot to a new one (`FetchSessionCache`'s eviction).
const EVICTION_MS: i64 = 120_000;

/// "No session" on the wire.
const NO_SESSION: i32 = 0;
/// Asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// Ends a session, or does without.
const FINAL_EPOCH: i32 = -1;

/// A topic as the request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TopicRef {
    /// Up to version 12.
    Name(Arc<str>),
    /// From version 13 on.
    Id(Uuid),
}

/// What a client asks of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) offset: i64,
    pub(super) max_bytes: i32,
    pub(super) current_leader_epoch: i32,
    pub(super) last_fetched_epoch: i32,
}

/// One partition to fetch.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) topic: TopicRef,
    /// The name that the topic's id had when it was first seen in the session.
    pub(super) known_name: Option<Arc<str>>,
    pub(super) partition: i32,
    pub(super) position: Position,
    /// Its place in the session.
    slot: u64,
}

/// How a request stands to the sessions.
pub(super) enum FetchContext {
    /// A full request that wants no session.
    Sessionless,
    /// A full request that wants one.
    Create,
    /// Goes on with a session.
    Incremental {
        id: i32,
        /// Which epoch the session has while this request is at work.
        epoch: i32,
        session: Arc<Mutex<Session>>,
    },
}

/// One client's partitions.
#[derive(Debug)]
pub(super) struct Session {
    /// What the next request must say.
    epoch: i32,
    by_id: bool,
    slots: HashMap<(TopicRef, i32), u64>,
    /// By slot; a partition that returned data moves to the end, so that none starves.
    partitions: BTreeMap<u64, Cached>,
    next_slot: u64,
}

#[derive(Debug)]
struct Cached {
    topic: TopicRef,
    name: Option<Arc<str>>,
    partition: i32,
    position: Position,
    /// As the client was last told.
    high_watermark: i64,
    log_start_offset: i64,
}

/// Every session of the broker.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<i32, Entry>,
    /// When last used, and id.
    by_use: BTreeSet<(i64, i32)>,
    /// Size and id of those older than [`EVICTION_MS`]: a larger newcomer may take their slot, since it gains more.
    settled: BTreeSet<(usize, i32)>,
    /// Partitions of all sessions.
    partitions: usize,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    created_ms: i64,
    used_ms: i64,
    size: usize,
}

impl FetchSessions {
    /// Room for `slots` sessions; none makes every fetch a full one.
    pub fn new(slots: usize) -> Self {
        Self { slots, cache: Mutex::default() }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.cache.lock().sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a request in (`FetchManager.newContext`): which partitions it is about, and how its answer will be told.
    ///
    /// # Errors
    /// The code for the whole response: the session or its epoch is not what the client believes.
    pub(super) fn begin(
        &self,
        request: &FetchRequest,
        version: i16,
        topics: &TopicMap,
        now_ms: i64,
    ) -> Result<(FetchContext, Vec<Wanted>), ErrorCode> {
        let by_id = version >= NAMES_BY_ID;
        if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            if request.session_id != NO_SESSION {
                self.cache.lock().remove(request.session_id);
            }
            let context = if request.session_epoch == FINAL_EPOCH {
                FetchContext::Sessionless
            } else {
                FetchContext::Create
            };
            return Ok((context, wanted_of(request, by_id)));
        }
        self.resume(request, by_id, topics, now_ms)
    }

    fn resume(
        &self,
        request: &FetchRequest,
        by_id: bool,
        topics: &TopicMap,
        now_ms: i64,
    ) -> Result<(FetchContext, Vec<Wanted>), ErrorCode> {
        let id = request.session_id;
        let mut cache = self.cache.lock();
        let entry = cache.sessions.get(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let shared = entry.session.clone();
        let mut session = shared.lock();
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let asked = wanted_of(request, by_id);
        if cache.partitions + asked.len() > FETCH_SESSION_PARTITIONS_MAX && session.grows_by(&asked) {
            // The client starts over with a full request, and may have to do without a session.
            cache.remove(id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        session.update(asked, request, by_id);
        if session.partitions.is_empty() {
            cache.remove(id);
            return Ok((FetchContext::Sessionless, Vec::new()));
        }
        session.epoch = epoch_after(session.epoch);
        cache.touch(id, session.partitions.len(), now_ms);
        drop(cache);
        let context = FetchContext::Incremental { id, epoch: session.epoch, session: shared.clone() };
        Ok((context, session.wanted(topics)))
    }

    /// Makes the response of what was fetched, `answers` being in the order of `wanted`.
    pub(super) fn finish(
        &self,
        context: FetchContext,
        wanted: &[Wanted],
        mut answers: Vec<PartitionAnswer>,
        now_ms: i64,
    ) -> FetchAnswer {
        let session_id = match context {
            FetchContext::Sessionless => NO_SESSION,
            FetchContext::Create => self.create(wanted, &answers, now_ms),
            FetchContext::Incremental { id, epoch, session } => {
                let mut session = session.lock();
                if session.epoch != epoch {
                    let refused = FetchAnswer::refused(ErrorCode::InvalidFetchSessionEpoch);
                    return FetchAnswer { session_id: id, ..refused };
                }
                let mut slots = wanted.iter().map(|wanted| wanted.slot);
                answers.retain(|answer| slots.next().is_some_and(|slot| session.must_tell(slot, answer)));
                id
            }
        };
        FetchAnswer { error: ErrorCode::None, session_id, partitions: answers, endpoints: Vec::new() }
    }

    /// A session for a client that asked, or [`NO_SESSION`] when there is no room.
    fn create(&self, wanted: &[Wanted], answers: &[PartitionAnswer], now_ms: i64) -> i32 {
        let size = wanted.len();
        let mut cache = self.cache.lock();
        if size == 0 || size > FETCH_SESSION_PARTITIONS_MAX {
            return NO_SESSION;
        }
        while cache.sessions.len() >= self.slots || cache.partitions + size > FETCH_SESSION_PARTITIONS_MAX {
            if !cache.evict_for(size, now_ms) {
                return NO_SESSION;
            }
        }
        let by_id = wanted.first().is_some_and(|wanted| matches!(wanted.topic, TopicRef::Id(_)));
        let session = Session::new(by_id, wanted, answers);
        let id = cache.unused_id();
        let entry =
            Entry { session: Arc::new(Mutex::new(session)), created_ms: now_ms, used_ms: now_ms, size: 0 };
        cache.sessions.insert(id, entry);
        cache.touch(id, size, now_ms);
        id
    }
}

impl Cache {
    /// Notes that a session was used, and its size.
    fn touch(&mut self, id: i32, size: usize, now_ms: i64) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        self.by_use.remove(&(entry.used_ms, id));
        self.settled.remove(&(entry.size, id));
        self.partitions = self.partitions - entry.size + size;
        entry.used_ms = now_ms;
        entry.size = size;
        self.by_use.insert((now_ms, id));
        if now_ms - entry.created_ms > EVICTION_MS {
            self.settled.insert((size, id));
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.sessions.remove(&id) {
            self.by_use.remove(&(entry.used_ms, id));
            self.settled.remove(&(entry.size, id));
            self.partitions -= entry.size;
        }
    }

    /// Frees a slot for a session of `size` partitions, if some session deserves it less.
    fn evict_for(&mut self, size: usize, now_ms: i64) -> bool {
        let stale = self.by_use.first().filter(|(used_ms, _)| now_ms - used_ms > EVICTION_MS);
        let victim = stale.map(|(_, id)| *id).or_else(|| {
            let (smallest, id) = self.settled.first()?;
            (*smallest < size).then_some(*id)
        });
        victim.inspect(|id| self.remove(*id)).is_some()
    }

    /// Ids are drawn, not counted: a client of an earlier run must not hit somebody else's session.
    fn unused_id(&self) -> i32 {
        loop {
            let mut bytes = [0; 4];
            random_bytes(&mut bytes);
            let id = i32::from_be_bytes(bytes) & i32::MAX;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Session {
    fn new(by_id: bool, wanted: &[Wanted], answers: &[PartitionAnswer]) -> Self {
        let mut session = Self {
            epoch: epoch_after(INITIAL_EPOCH),
            by_id,
            slots: HashMap::with_capacity(wanted.len()),
            partitions: BTreeMap::new(),
            next_slot: 0,
        };
        for (wanted, answer) in wanted.iter().zip(answers) {
            session.add(wanted.clone());
            let slot = session.next_slot - 1;
            session.must_tell(slot, answer);
        }
        session
    }

    fn grows_by(&self, asked: &[Wanted]) -> bool {
        asked.iter().any(|wanted| !self.slots.contains_key(&(wanted.topic.clone(), wanted.partition)))
    }

    fn update(&mut self, asked: Vec<Wanted>, request: &FetchRequest, by_id: bool) {
        for wanted in asked {
            let slot = self.slots.get(&(wanted.topic.clone(), wanted.partition));
            match slot.and_then(|slot| self.partitions.get_mut(slot)) {
                Some(cached) => cached.position = wanted.position,
                None => self.add(wanted),
            }
        }
        for topic in &request.forgotten_topics_data {
            let name = if by_id {
                TopicRef::Id(uuid_of(&topic.topic_id))
            } else {
                TopicRef::Name((*topic.topic).into())
            };
            for partition in &topic.partitions {
                if let Some(slot) = self.slots.remove(&(name.clone(), *partition)) {
                    self.partitions.remove(&slot);
                }
            }
        }
    }

    fn add(&mut self, wanted: Wanted) {
        let cached = Cached {
            topic: wanted.topic,
            name: wanted.known_name,
            partition: wanted.partition,
            position: wanted.position,
            high_watermark: NO_OFFSET,
            log_start_offset: NO_OFFSET,
        };
        self.put_last(cached);
    }

    fn put_last(&mut self, cached: Cached) {
        self.slots.insert((cached.topic.clone(), cached.partition), self.next_slot);
        self.partitions.insert(self.next_slot, cached);
        self.next_slot += 1;
    }

    fn wanted(&mut self, topics: &TopicMap) -> Vec<Wanted> {
        let one = |(slot, cached): (&u64, &mut Cached)| {
            if let (TopicRef::Id(id), None) = (&cached.topic, &cached.name) {
                cached.name = topics.get_by_id(id).map(|topic| topic.name.clone());
            }
            Wanted {
                topic: cached.topic.clone(),
                known_name: cached.name.clone(),
                partition: cached.partition,
                position: cached.position,
                slot: *slot,
            }
        };
        self.partitions.iter_mut().map(one).collect()
    }

    /// Whether the client must be told of a partition (`CachedPartition.maybeUpdateResponseData`), and notes that it
    /// is.
    fn must_tell(&mut self, slot: u64, answer: &PartitionAnswer) -> bool {
        let Some(cached) = self.partitions.get_mut(&slot) else { return false };
        let failed = answer.error != ErrorCode::None || answer.diverging.is_some();
        let moved = cached.high_watermark != answer.high_watermark
            || cached.log_start_offset != answer.log_start_offset;
        cached.log_start_offset = answer.log_start_offset;
        // After an error the partition is told again, whatever its watermark.
        cached.high_watermark = if failed { NO_OFFSET } else { answer.high_watermark };
        let has_records = answer.records_bytes > 0;
        if has_records && let Some(cached) = self.partitions.remove(&slot) {
            self.put_last(cached);
        }
        failed || moved || has_records
    }
}

/// The epoch that the request after one with `epoch` must carry.
fn epoch_after(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// The partitions that a request names. One named twice is asked for once: the last time counts, the first place.
fn wanted_of(request: &FetchRequest, by_id: bool) -> Vec<Wanted> {
    let total = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut all: Vec<Wanted> = Vec::with_capacity(total);
    let mut seen = HashMap::with_capacity(if total > 1 { total } else { 0 });
    for topic in &request.topics {
        let name = if by_id {
            TopicRef::Id(uuid_of(&topic.topic_id))
        } else {
            TopicRef::Name((*topic.topic).into())
        };
        for partition in &topic.partitions {
            let position = Position {
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            let index = all.len();
            let first = if total > 1 {
                *seen.entry((name.clone(), partition.partition)).or_insert(index)
            } else {
                index
            };
            if let Some(earlier) = all.get_mut(first) {
                earlier.position = position;
                continue;
            }
            all.push(Wanted {
                topic: name.clone(),
                known_name: None,
                partition: partition.partition,
                position,
                slot: 0,
            });
        }
    }
    all
}

#[cfg(test)]
mod tests;
