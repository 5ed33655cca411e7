//! Coordinators: who owns a consumer group's state, and how it becomes durable.
//!
//! The decisions are pure and synchronous ([`group`]): a request and the time come in, records, replies and timers
//! come out. `shard` is the only place with a task: it runs decisions one after another, persists their records
//! through a [`GroupStore`] and keeps the [`timer`]s. [`GroupCoordinator`] is what handlers hold; it gives a reply
//! out only once everything the reply tells is durable.
//!
//! Transactions are decided in [`txn`] likewise. They have no mailbox but a lock ([`TxnCoordinator`]): their decisions are
//! short, and a producer's first write to a partition has to be one with the decision that lets it in.
//!
//! Kafka's `__consumer_offsets` and `__transaction_state` are not logs here: records go to the `meta` keyspace under typed
//! keys.

pub mod group;
mod handle;
pub mod limits;
mod shard;
mod store;
pub mod timer;
mod transactions;
pub mod txn;

pub use handle::GroupCoordinator;
pub use shard::TopicNames;
pub use store::{EngineGroupStore, GroupStore};
pub use transactions::TxnCoordinator;
