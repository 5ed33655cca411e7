//! Drives transactions: decides under one lock, has every change stored before it is told, and carries out what was
//! decided (docs/adr/0008-transactions.md).
//!
//! Nothing waits between the steps of an end whose partitions are on the meta shard: the store makes batches durable in
//! the order they were given, so the decision, the markers and the completion are one fsync, and a crash leaves a prefix
//! of them from which [`TxnCoordinator::open`] goes on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chronik_engine::error::AppendError;
use chronik_engine::keys::group::OffsetValue;
use chronik_engine::keys::txn as keys;
use chronik_engine::log::PartitionLog;
use chronik_engine::producer::{Marker, ProducerState};
use chronik_engine::store::{Durability, Keyspace, StoreError, Ticket, WriteBatch, scan_all};
use chronik_engine::topic::TopicMap;
use chronik_engine::{Engine, ShardId};
use parking_lot::Mutex;
use prost::Message;
use tokio::task::JoinHandle;

use super::GroupCoordinator;
use super::group::EndedOffsets;
use super::limits::TURN_TIMED_OUT_MAX;
use super::txn::{
    Asker, EndRequest, Ended, InitRequest, Initialized, Producer, Record, TopicPartition, Transactions, Txn,
    TxnConfig, TxnDescription, TxnError, TxnFilter, TxnListing, TxnState,
};
use crate::metrics;
use crate::runtime::Clock;

/// The epoch of the only coordinator there is.
const COORDINATOR_EPOCH: i32 = 0;

/// The coordinator of every transactional id.
pub struct TxnCoordinator {
    engine: Arc<Engine>,
    groups: GroupCoordinator,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    transactions: Transactions,
    /// Ends that a task is carrying out; as many as there are transactional ids, at most.
    carrying: HashSet<Arc<str>>,
    /// Of the newest change: every answer waits for it.
    last_ticket: Ticket,
}

/// How far the end of a transaction got at once.
enum Carried {
    Complete,
    /// The rest is done by a task; whether whoever asked waits or not.
    ByTask(JoinHandle<Result<(), TxnError>>),
    /// A partition cannot be written to; it is tried again later.
    Blocked,
}

impl TxnCoordinator {
    /// Loads the transactions of the engine's meta shard, carries out every end that was decided, and aborts what no
    /// transaction stands for.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        engine: Arc<Engine>,
        groups: GroupCoordinator,
        config: TxnConfig,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        let mut transactions = Transactions::new(config);
        for (key, value) in scan_all(engine.meta_store().as_ref(), Keyspace::Meta, keys::all()).await? {
            let transactional_id = keys::parse(&key)?.into();
            let txn = Txn::from_value(keys::decode_txn(&value)?)?;
            transactions.apply(&Record::Put { transactional_id, txn });
        }
        // A group coordinator that does not answer has stopped, and so does the start.
        let _ = groups.reserve_serials(transactions.last_serial()).await;
        let state = State { transactions, carrying: HashSet::new(), last_ticket: Ticket::resolved(Ok(())) };
        let coordinator = Arc::new(Self { engine, groups, clock, state: Mutex::new(state) });
        let waiting = Arc::downgrade(&coordinator);
        coordinator.groups.keep_while(Box::new(move |group_id| {
            waiting.upgrade().map(|txns| txns.pending_of(group_id)).unwrap_or_default()
        }));
        coordinator.resume().await;
        coordinator.abort_strays().await?;
        tracing::info!(ids = coordinator.state.lock().transactions.len(), "transaction coordinator loaded");
        Ok(coordinator)
    }

    /// InitProducerId with a transactional id; durable when this returns.
    ///
    /// # Errors
    /// Why the producer may not begin; [`TxnError::Ending`] asks it to come back.
    pub async fn init(self: &Arc<Self>, mut request: InitRequest) -> Result<Producer, TxnError> {
        loop {
            let (outcome, carried, ticket) = {
                let mut state = self.state.lock();
                let outcome = self.decide(&mut state, |transactions, now_ms, records| {
                    transactions.init(now_ms, &request, records)
                });
                let aborting = outcome == Ok(Initialized::Aborting);
                let carried = aborting.then(|| self.carry_out(&mut state, &request.transactional_id, false));
                (outcome, carried, state.last_ticket.clone())
            };
            wait(carried).await?;
            durable(ticket).await?;
            match outcome? {
                Initialized::Ready(producer) => return Ok(producer),
                Initialized::Aborting => return Err(TxnError::Ending),
                Initialized::NeedsProducerId => request.fresh = Some(self.fresh_producer_id().await?),
            }
        }
    }

    /// AddPartitionsToTxn; durable when this returns.
    ///
    /// # Errors
    /// Why they are not in the transaction.
    pub async fn add_partitions(&self, asker: &Asker, partitions: &[TopicPartition]) -> Result<(), TxnError> {
        self.change(|transactions, now_ms, records| {
            transactions.add_partitions(now_ms, asker, partitions, records)
        })
        .await
    }

    /// Whether each partition is in the open transaction.
    ///
    /// # Errors
    /// When there is no such transaction for whoever asks.
    pub async fn verify(&self, asker: &Asker, partitions: &[TopicPartition]) -> Result<Vec<bool>, TxnError> {
        self.change(|transactions, _, _| transactions.verify(asker, partitions)).await
    }

    /// AddOffsetsToTxn; durable when this returns.
    ///
    /// # Errors
    /// Why the group is not in the transaction.
    pub async fn add_group(&self, asker: &Asker, group_id: &Arc<str>) -> Result<(), TxnError> {
        self.change(|transactions, now_ms, records| transactions.add_group(now_ms, asker, group_id, records))
            .await
    }

    /// Takes the group into the transaction or, where AddOffsetsToTxn does so (before KIP-890), finds it there. What
    /// [`Self::add_offsets`] then answers waits for it, too.
    ///
    /// # Errors
    /// Why the group is not in the transaction.
    pub fn include_group(&self, asker: &Asker, group_id: &Arc<str>) -> Result<(), TxnError> {
        self.decide(&mut self.state.lock(), |transactions, now_ms, records| {
            if asker.raises_epochs {
                return transactions.add_group(now_ms, asker, group_id, records);
            }
            transactions.verify_group(asker, group_id)
        })
    }

    /// Adds offsets, which the group has admitted, to the transaction; durable when this returns.
    ///
    /// # Errors
    /// Why they are not in it.
    pub async fn add_offsets(
        &self,
        asker: &Asker,
        group_id: &Arc<str>,
        offsets: Vec<(TopicPartition, OffsetValue)>,
    ) -> Result<(), TxnError> {
        self.change(|transactions, now_ms, records| {
            transactions.add_offsets(now_ms, asker, group_id, offsets, records)
        })
        .await
    }

    /// The first write of a transaction to a partition: `append` runs if the transaction includes it, or takes it in, and
    /// the transaction does not end meanwhile. The ticket, if any, has to resolve before the write is acknowledged.
    ///
    /// # Errors
    /// Why the transaction does not include the partition; `append` has not run.
    pub fn append_first<T>(
        &self,
        asker: &Asker,
        partition: TopicPartition,
        append: impl FnOnce() -> T,
    ) -> Result<(T, Ticket), TxnError> {
        let mut state = self.state.lock();
        self.decide(&mut state, |transactions, now_ms, records| {
            if asker.raises_epochs {
                return transactions.add_partitions(now_ms, asker, &[partition], records);
            }
            let included = transactions.verify(asker, &[partition])?;
            if included == [true] { Ok(()) } else { Err(TxnError::NotIncluded) }
        })?;
        Ok((append(), state.last_ticket.clone()))
    }

    /// EndTxn; carried out and durable when this returns. The producer is what the client goes on as.
    ///
    /// # Errors
    /// Why it does not end so; [`TxnError::Ending`] asks to come back.
    pub async fn end(self: &Arc<Self>, mut request: EndRequest) -> Result<Producer, TxnError> {
        loop {
            let (outcome, carried, ticket) = {
                let mut state = self.state.lock();
                let outcome = self.decide(&mut state, |transactions, now_ms, records| {
                    transactions.end(now_ms, &request, records)
                });
                let prepared = matches!(outcome, Ok(Ended::Prepared(_)));
                let id = &request.asker.transactional_id;
                let carried = prepared.then(|| self.carry_out(&mut state, id, false));
                (outcome, carried, state.last_ticket.clone())
            };
            wait(carried).await?;
            // What a task completed has a ticket of its own, which it waited for.
            durable(ticket).await?;
            match outcome? {
                Ended::Prepared(producer) | Ended::Already(producer) => return Ok(producer),
                Ended::NeedsProducerId => request.fresh = Some(self.fresh_producer_id().await?),
            }
        }
    }

    /// The partitions of a group for which an offset waits.
    pub fn pending_of(&self, group_id: &str) -> Vec<TopicPartition> {
        self.state.lock().transactions.pending_of(group_id)
    }

    /// Drops the offsets that wait for a group, of the partitions that `goes` names: they were deleted.
    ///
    /// # Errors
    /// That it could not be stored.
    pub async fn forget_offsets(
        &self,
        group_id: &Arc<str>,
        goes: impl Fn(&TopicPartition) -> bool,
    ) -> Result<(), TxnError> {
        self.change(|transactions, now_ms, records| {
            transactions.forget_offsets(now_ms, group_id, goes, records);
            Ok(())
        })
        .await
    }

    /// DescribeTransactions for one id.
    ///
    /// # Errors
    /// That the store failed.
    pub async fn describe(&self, transactional_id: &str) -> Result<Option<TxnDescription>, TxnError> {
        self.change(|transactions, _, _| Ok(transactions.describe(transactional_id))).await
    }

    /// ListTransactions; `named` says whether an id's name passes.
    ///
    /// # Errors
    /// That the store failed.
    pub async fn list(
        &self,
        filter: &TxnFilter,
        named: impl Fn(&str) -> bool,
    ) -> Result<Vec<TxnListing>, TxnError> {
        self.change(|transactions, now_ms, _| Ok(transactions.list(now_ms, filter, named))).await
    }

    /// How many transactional ids there are, and how many of them have a transaction open.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.transactions.len(), state.transactions.open_count())
    }

    /// Aborts transactions past their timeout, and tries ends again that could not be carried out.
    pub async fn abort_timed_out(self: &Arc<Self>) {
        let ending = self.state.lock().ending();
        self.carry_out_each(&ending, true).await;
        loop {
            let timed_out = {
                let mut state = self.state.lock();
                self.decide(&mut state, |transactions, now_ms, records| {
                    transactions.abort_timed_out(now_ms, TURN_TIMED_OUT_MAX, records)
                })
            };
            if timed_out.is_empty() {
                return;
            }
            ::metrics::counter!(metrics::TRANSACTIONS_TIMED_OUT).increment(timed_out.len() as u64);
            tracing::info!(
                transactions = timed_out.len(),
                "aborting transactions that were open for too long"
            );
            self.carry_out_each(&timed_out, false).await;
        }
    }

    /// Carries out what was decided of each, and lets others in between.
    async fn carry_out_each(self: &Arc<Self>, ids: &[Arc<str>], again: bool) {
        for id in ids {
            let carried = self.carry_out(&mut self.state.lock(), id, again);
            let _ = wait(Some(carried)).await;
        }
    }

    /// Forgets transactional ids that were not used for `transactional.id.expiration.ms`. Returns how many.
    pub fn expire_ids(&self) -> usize {
        let mut state = self.state.lock();
        self.decide(&mut state, |transactions, now_ms, records| transactions.expire_ids(now_ms, records))
    }

    /// Decides, and has the store queue what was decided.
    fn decide<T>(
        &self,
        state: &mut State,
        decide: impl FnOnce(&mut Transactions, i64, &mut Vec<Record>) -> T,
    ) -> T {
        let mut records = Vec::new();
        let outcome = decide(&mut state.transactions, self.clock.now_ms(), &mut records);
        if !records.is_empty() {
            let mut write = WriteBatch::new();
            for record in records {
                match record {
                    Record::Put { transactional_id, txn } => {
                        let value = txn.to_value().encode_to_vec();
                        write.put(Keyspace::Meta, keys::key(&transactional_id), value);
                    }
                    Record::Removed { transactional_id } => {
                        write.delete(Keyspace::Meta, keys::key(&transactional_id));
                    }
                }
            }
            state.last_ticket = self.engine.meta_store().commit(write, Durability::Sync);
        }
        outcome
    }

    /// A decision whose answer leaves once all that it rests on is durable.
    async fn change<T>(
        &self,
        decide: impl FnOnce(&mut Transactions, i64, &mut Vec<Record>) -> Result<T, TxnError>,
    ) -> Result<T, TxnError> {
        let (outcome, ticket) = {
            let mut state = self.state.lock();
            (self.decide(&mut state, decide), state.last_ticket.clone())
        };
        durable(ticket).await?;
        outcome
    }

    async fn fresh_producer_id(&self) -> Result<i64, TxnError> {
        self.engine.allocate_producer_id().await.map_err(|_| TxnError::StoreFailed)
    }

    /// Carries out an end that was decided. `again`: it may have been carried out in part, before a restart or a fault.
    fn carry_out(self: &Arc<Self>, state: &mut State, id: &Arc<str>, again: bool) -> Carried {
        let Some(txn) = state.transactions.get(id).filter(|txn| txn.state.is_ending()).cloned() else {
            return Carried::Complete;
        };
        if state.carrying.contains(id) {
            return Carried::Blocked;
        }
        let topics = self.engine.topics();
        let commit = txn.state == TxnState::PrepareCommit;
        let offsets = if commit { txn.ended_offsets() } else { Vec::new() };
        let places = places(&topics, &txn);
        if places.iter().all(|(shard, _)| *shard == ShardId::META) {
            if self.write_markers(&txn, &places, again).is_none() {
                return Carried::Blocked;
            }
            if offsets.is_empty() {
                self.complete(state, id);
                return Carried::Complete;
            }
            return self.spawn(state, id, async move |this: Arc<Self>| this.commit_offsets(offsets).await);
        }
        let decided = state.last_ticket.clone();
        self.spawn(state, id, async move |this: Arc<Self>| {
            // Other shards know nothing of this one's order.
            durable(decided).await?;
            for ticket in this.write_markers(&txn, &places, again).ok_or(TxnError::Ending)? {
                durable(ticket).await?;
            }
            this.commit_offsets(offsets).await
        })
    }

    /// Has a task do the rest, so that it is done even if whoever asked is gone.
    fn spawn<F: Future<Output = Result<(), TxnError>> + Send + 'static>(
        self: &Arc<Self>,
        state: &mut State,
        id: &Arc<str>,
        rest: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Carried {
        state.carrying.insert(id.clone());
        let (this, id) = (self.clone(), id.clone());
        Carried::ByTask(tokio::spawn(async move {
            let done = rest(this.clone()).await;
            let ticket = {
                let mut state = this.state.lock();
                state.carrying.remove(&id);
                done?;
                this.complete(&mut state, &id);
                state.last_ticket.clone()
            };
            durable(ticket).await
        }))
    }

    async fn commit_offsets(&self, offsets: Vec<EndedOffsets>) -> Result<(), TxnError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.groups.transaction_committed(offsets).await.map_err(|_| TxnError::Stopped)
    }

    fn complete(&self, state: &mut State, id: &Arc<str>) {
        let committed = state.transactions.get(id).is_some_and(|txn| txn.state == TxnState::PrepareCommit);
        self.decide(state, |transactions, now_ms, records| transactions.complete(now_ms, id, records));
        let name = if committed { metrics::TRANSACTIONS_COMMITTED } else { metrics::TRANSACTIONS_ABORTED };
        ::metrics::counter!(name).increment(1);
    }

    /// Writes the transaction's markers; `None` when one could not be written, and all others were. When it is not the first
    /// try, where nothing is open the marker is there, or nothing was ever written.
    fn write_markers(
        &self,
        txn: &Txn,
        places: &[(ShardId, Arc<PartitionLog>)],
        again: bool,
    ) -> Option<Vec<Ticket>> {
        let producer_id = txn.producer.id;
        let mut tickets = Vec::with_capacity(places.len());
        let mut is_blocked = false;
        for (_, log) in places {
            let known = log.producer(producer_id);
            let is_open = known.as_ref().is_some_and(|producer| producer.txn_first_offset.is_some());
            if again && !is_open {
                // The marker of an earlier try may not be durable yet.
                tickets.push(log.durable());
                continue;
            }
            let marker = Marker {
                producer_id,
                producer_epoch: txn.producer.epoch_or_none(),
                coordinator_epoch: coordinator_epoch(known.as_ref()),
                commit: txn.state == TxnState::PrepareCommit,
                raises_epoch: false,
            };
            match log.append_marker(&marker, self.clock.now_ms()) {
                Ok(appended) => tickets.push(appended.ticket),
                Err(AppendError::Deleted) => {}
                Err(error @ AppendError::StaleProducerEpoch { .. }) if !is_open => {
                    // An administrator's marker was there first.
                    tracing::warn!(partition = log.id().0, %error, "a transaction had been ended by hand");
                }
                Err(error) => {
                    // The others must not wait for this one.
                    tracing::error!(partition = log.id().0, %error, "a transaction cannot be ended; trying again later");
                    is_blocked = true;
                }
            }
        }
        (!is_blocked).then_some(tickets)
    }

    /// Carries out the ends that were decided before the restart.
    async fn resume(self: &Arc<Self>) {
        let carried: Vec<Carried> = {
            let mut state = self.state.lock();
            let ending = state.ending();
            ending.iter().map(|id| self.carry_out(&mut state, id, true)).collect()
        };
        for carried in carried {
            if let Err(error) = wait(Some(carried)).await {
                tracing::warn!(%error, "a transaction that was ending at the stop still is");
            }
        }
    }

    /// Aborts what is open on a log and belongs to no transaction. That is left by a crash between a write to another
    /// shard and the decision that let it in; neither was acknowledged.
    async fn abort_strays(&self) -> Result<(), StoreError> {
        let mut tickets = Vec::new();
        {
            let state = self.state.lock();
            let by_producer: HashMap<i64, &Txn> =
                state.transactions.iter().map(|(_, txn)| (txn.producer.id, txn)).collect();
            for topic in self.engine.topics().iter() {
                for (index, partition) in topic.partitions.iter().enumerate() {
                    for (producer_id, first_offset) in partition.log.open_transactions() {
                        let txn = by_producer.get(&producer_id).filter(|txn| txn.state.is_open());
                        if txn.is_some_and(|txn| txn.partitions.contains(&(topic.id, index as u32))) {
                            continue;
                        }
                        tracing::warn!(topic = %topic.name, partition = index, producer_id, first_offset, "aborting a stray transaction");
                        tickets.extend(self.abort_stray(&partition.log, producer_id));
                    }
                }
            }
        }
        for ticket in tickets {
            ticket.await?;
        }
        Ok(())
    }

    fn abort_stray(&self, log: &Arc<PartitionLog>, producer_id: i64) -> Option<Ticket> {
        let producer = log.producer(producer_id)?;
        let marker = Marker {
            producer_id,
            producer_epoch: producer.epoch,
            coordinator_epoch: coordinator_epoch(Some(&producer)),
            commit: false,
            raises_epoch: false,
        };
        log.append_marker(&marker, self.clock.now_ms()).ok().map(|appended| appended.ticket)
    }
}

impl State {
    fn ending(&self) -> Vec<Arc<str>> {
        let ending = self.transactions.iter().filter(|(_, txn)| txn.state.is_ending());
        ending.map(|(id, _)| id.clone()).collect()
    }
}

/// The epoch of a marker of ours: no lower than one that an administrator's marker had, or the log would refuse it.
fn coordinator_epoch(known: Option<&ProducerState>) -> i32 {
    known.map_or(COORDINATOR_EPOCH, |producer| producer.coordinator_epoch.max(COORDINATOR_EPOCH))
}

/// Where a transaction's partitions are; those of deleted topics are nowhere.
fn places(topics: &TopicMap, txn: &Txn) -> Vec<(ShardId, Arc<PartitionLog>)> {
    let found = txn.partitions.iter().filter_map(|(topic, index)| {
        let partition = topics.get_by_id(topic)?.partitions.get(*index as usize)?;
        Some((partition.shard, partition.log.clone()))
    });
    found.collect()
}

async fn wait(carried: Option<Carried>) -> Result<(), TxnError> {
    match carried {
        None | Some(Carried::Complete) => Ok(()),
        Some(Carried::Blocked) => Err(TxnError::Ending),
        Some(Carried::ByTask(task)) => task.await.unwrap_or(Err(TxnError::Stopped)),
    }
}

async fn durable(ticket: Ticket) -> Result<(), TxnError> {
    ticket.await.map_err(|error| {
        tracing::error!(%error, "a change of a transaction could not be stored");
        TxnError::StoreFailed
    })
}

impl std::fmt::Debug for TxnCoordinator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("TxnCoordinator")
    }
}

#[cfg(test)]
mod tests;
