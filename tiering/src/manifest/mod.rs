//! What the bucket says it holds, and who may change that: chains of immutable, numbered objects, one chain an epoch.
//!
//! | file | owns |
//! |---|---|
//! | `record` | one object of a chain, as bytes |
//! | `chain` | reading a chain, going on with it |
//! | `claim` | taking the next epoch, which ends the chain of whoever had the last |

mod chain;
mod claim;
mod record;

pub use chain::{AppendError, Chain, ChainError, ChainState, newest_epoch, read_chain};
pub(crate) use claim::refuse;
pub use claim::{Claim, ClaimError, TakeOverError, claim, end_chain, open_chain};
pub use record::{Entry, Kind, Record, RecordError};

/// Where the manifests of a cluster are.
pub fn folder(cluster_id: &str) -> String {
    format!("manifest/{cluster_id}")
}

/// Where the chain of an epoch is.
pub(crate) fn chain_folder(cluster_id: &str, epoch: u64) -> String {
    format!("manifest/{cluster_id}/{epoch:010}")
}

pub(crate) fn delta_name(cluster_id: &str, epoch: u64, number: u64) -> String {
    format!("manifest/{cluster_id}/{epoch:010}/{number:020}.delta")
}

pub(crate) fn snapshot_name(cluster_id: &str, epoch: u64, number: u64) -> String {
    format!("manifest/{cluster_id}/{epoch:010}/{number:020}.snapshot")
}
