//! CreateTopics, DeleteTopics and CreatePartitions.
//!
//! Checks and change of one topic are one step under [`lock_changes`], so that of two requests that exclude each other
//! one is refused. Changes run in a task of their own: a client that goes away, or a deadline that passes, does not
//! leave one half made.

mod create;
mod delete;
mod grow;

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

pub use create::create;
pub(super) use create::create_automatically;
pub use delete::delete;
pub use grow::create_partitions;

use super::refusal::Refusal;

/// Partitions that one request may create (Kafka's `ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;

/// Held from the checks of a topic change to its end. One for the process: brokers of one process are tests'.
static CHANGES: Mutex<()> = Mutex::const_new(());

/// Waits for the right to change topics and their configs.
pub(super) async fn lock_changes() -> MutexGuard<'static, ()> {
    CHANGES.lock().await
}

/// Runs `work` to its end whatever happens to the caller, and waits for it no longer than the client asked.
///
/// # Errors
/// REQUEST_TIMED_OUT when the deadline passed; the work goes on.
async fn within<T: Send + 'static>(
    timeout_ms: i32,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Refusal> {
    let task = tokio::spawn(work);
    let timeout = match u64::try_from(timeout_ms) {
        Ok(timeout_ms @ 1..) => Duration::from_millis(timeout_ms),
        // Who gives no time is not waited for, however quick the work would be.
        Ok(0) | Err(_) => return Err(Refusal::timed_out()),
    };
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(done)) => Ok(done),
        // The task panicked, which is a bug that its own message tells of.
        Ok(Err(_)) => {
            Err(Refusal::new(crate::error_code::ErrorCode::UnknownServerError, "The change failed."))
        }
        Err(_) => Err(Refusal::timed_out()),
    }
}

/// Checks that a list of replicas is this broker alone, which is all that one node can have.
fn check_replicas(node: i32, replicas: &[i32]) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(crate::error_code::ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".to_owned());
    }
    if let Some(stranger) = replicas.iter().find(|replica| **replica != node) {
        return refuse(format!(
            "The manual partition assignment includes broker {stranger}, but no such broker is registered."
        ));
    }
    if replicas.len() > 1 {
        return refuse(format!("The manual partition assignment includes the broker {node} more than once."));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
