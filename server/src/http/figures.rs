//! Owns the gauges that are worked out when somebody asks: sizes, counts, lag, memory. Keeping them up to date all the
//! time would cost an idle broker its sleep.

use std::sync::Arc;

use crate::broker::Broker;
use crate::{disk, metrics as names};

use super::BoxFuture;

/// Sets gauges to what they are now; called before each rendering of `/metrics`.
pub trait Figures: Send + Sync {
    /// Sets them.
    fn refresh(&self) -> BoxFuture<'_>;
}

/// A broker's gauges.
pub struct BrokerFigures {
    broker: Arc<Broker>,
}

impl BrokerFigures {
    /// Of this broker.
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }

    fn stores(&self) {
        let mut usage = 0;
        for (_, store) in self.broker.engine.stores() {
            usage += store.disk_usage();
            for (name, value) in store.internals() {
                metrics::gauge!(names::STORE_INTERNALS, "name" => name).set(value);
            }
        }
        metrics::gauge!(names::STORAGE_USAGE).set(usage as f64);
        let topics = self.broker.engine.topics();
        metrics::gauge!(names::TOPICS).set(topics.len() as f64);
        metrics::gauge!(names::PARTITIONS).set(topics.partition_count() as f64);
    }

    fn machine(&self) {
        if let Ok(space) = disk::space(&self.broker.config.node.data_dir) {
            metrics::gauge!(names::DISK_FREE).set(space.free_bytes as f64);
        }
        if let Some(bytes) = resident_bytes() {
            metrics::gauge!(names::RESIDENT_MEMORY).set(bytes as f64);
        }
    }
}

impl Figures for BrokerFigures {
    fn refresh(&self) -> BoxFuture<'_> {
        Box::pin(async move {
            self.stores();
            self.machine();
        })
    }
}

/// Resident memory, where the system tells it in `/proc` (Linux).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
