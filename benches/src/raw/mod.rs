//! A Kafka client with nothing in it: connections, requests encoded once, replies hardly decoded.
//!
//! It exists so that the load costs less than the broker it measures. It refuses to be a client
//! anyone should use: no retries, no leader changes, no groups.

pub mod admin;
pub mod batches;
pub mod connection;
pub mod consume;
pub mod e2e;
pub mod fetch;
pub mod identity;
pub mod produce;

/// Any failure of a run: there is nothing to do about it but to say it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What every step of a run returns.
pub type Result<T> = std::result::Result<T, Error>;
