//! Chronik's storage engine: logs of record batches, the topics they belong to, and the persisted state of
//! producers and groups, over an ordered [`store`].
//!
//! The engine knows records, offsets and producers. It refuses to know sockets, Kafka's error codes, or what a
//! configuration file looks like; it has no async runtime of its own and reads no clock: time comes in as `now_ms`.
//!
//! # Map
//! - [`store`]: the narrow waist, its contract and its implementations.
//! - [`keys`]: every key and value on disk, one keyspace a file.
//! - [`log`]: one partition: append, read, transactions, time lookup, retention, cleaning.
//! - [`producer`]: idempotence (which sequence may come next).
//! - [`tier`]: what the directory knows of object storage.
//! - [`topic`]: the catalogue of topics, on the meta shard.
//! - [`restore`]: a data directory from what object storage has.
//! - [`settings`]: what is changed at run time besides topics: configs of brokers and others, finalized features.
//! - [`Engine`]: opens it all and hands out [`log::PartitionLog`]s.
//!
//! # Offsets of one log
//!
//! ```text
//!   log_start_offset        high_watermark          next_offset
//!         |                        |                     |
//!   ......[  durable, readable     [  accepted, not yet  [ free
//! trimmed |  (clients may see it)  |  durable (hidden)   |
//! ```
//!
//! `log_start_offset <= high_watermark <= next_offset` always; the first two never move back, and the third only at a
//! restart after a crash, back to what was durable. The stable offset, where readers of committed data stop, is the first
//! offset of the oldest transaction that is open or ends in what is not durable, or else the high watermark.

mod engine;
pub mod error;
pub mod keys;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod producer;
pub mod restore;
pub mod settings;
pub mod store;
pub mod tier;
pub mod topic;

pub use engine::{Engine, EngineOptions, OpenError, ShardId, base64_url};
