//! Owns the gauges that are worked out when somebody asks: sizes, counts, lag, memory. Keeping them up to date all the
//! time would cost an idle broker its sleep.

use std::fmt::Write;
use std::sync::Arc;

use crate::broker::Broker;
use crate::coordinator::group::{FetchRequest, FetchedOffset};
use crate::{disk, metrics as names};
use chronik_engine::topic::Topic;
use chronik_tiering::metrics as tier;

use super::BoxFuture;

/// Consumer lag is told for at most this many partitions of groups, so that groups cannot grow the answer for ever.
const LAG_SERIES_MAX: usize = 1000;

/// Tiered topics that are told of.
const TIER_SERIES_MAX: usize = 1000;

/// Sets gauges to what they are now; called before each rendering of `/metrics`.
pub trait Figures: Send + Sync {
    /// Sets them. What it returns is appended to the rendering: series that come and go with their group, which the
    /// recorder would keep for ever.
    fn refresh(&self) -> BoxFuture<'_, String>;
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
        metrics::gauge!(names::RING_BYTES).set(self.broker.engine.ring_bytes_used() as f64);
        metrics::gauge!(names::RING_LIMIT).set(self.broker.engine.ring_bytes_max() as f64);
        let topics = self.broker.engine.topics();
        let (ids, open) = self.broker.txns.counts();
        metrics::gauge!(names::TRANSACTIONAL_IDS).set(ids as f64);
        metrics::gauge!(names::TRANSACTIONS_OPEN).set(open as f64);
        metrics::gauge!(names::TOPICS).set(topics.len() as f64);
        metrics::gauge!(names::PARTITIONS).set(topics.partition_count() as f64);
    }

    /// Lag of every group that committed offsets, in the text format.
    async fn consumer_lag(&self) -> String {
        let name = names::CONSUMER_LAG;
        let help = names::help(name);
        let mut out = format!("\n# HELP {name} {help}\n# TYPE {name} gauge\n");
        let mut left = LAG_SERIES_MAX;
        for group in self.broker.groups.list(Vec::new(), Vec::new()).await.unwrap_or_default() {
            let request = FetchRequest { group_id: group.group_id.clone(), partitions: None };
            for found in self.broker.groups.fetch_offsets(request).await.unwrap_or_default() {
                if left == 0 {
                    return out;
                }
                left -= usize::from(self.lag_line(&mut out, &group.group_id, &found));
            }
        }
        out
    }

    /// Writes one partition's lag; false when it has none (deleted topic, nothing committed).
    fn lag_line(&self, out: &mut String, group: &str, found: &FetchedOffset) -> bool {
        let topics = self.broker.engine.topics();
        let (Some(topic), Some(committed)) = (topics.get_by_id(&found.topic), &found.committed) else {
            return false;
        };
        let Some(log) = i32::try_from(found.partition).ok().and_then(|index| topic.log(index)) else {
            return false;
        };
        let lag = log.high_watermark().saturating_sub(committed.offset).max(0);
        let (group, topic) = (escaped(group), escaped(&topic.name));
        let labels = format!("group=\"{group}\",topic=\"{topic}\",partition=\"{}\"", found.partition);
        let _ = writeln!(out, "{}{{{labels}}} {lag}", names::CONSUMER_LAG);
        true
    }

    /// What clients pushed, in the text format.
    fn client_metrics(&self) -> String {
        let (clients, shown) = self.broker.dynamic.telemetry.shown(self.broker.clock.mono_ms());
        metrics::gauge!(names::CLIENT_INSTANCES).set(clients as f64);
        let name = names::CLIENT_METRIC;
        let mut out = format!("\n# HELP {name} {}\n# TYPE {name} gauge\n", names::help(name));
        for line in shown {
            let labels = [
                ("name", &line.sample.name),
                ("client_id", &line.client_id),
                ("client_instance_id", &line.instance_id),
                ("attributes", &line.sample.attributes),
            ];
            let labels = labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            let _ = writeln!(out, "{name}{{{}}} {}", labels.join(","), line.sample.value);
        }
        out
    }

    /// What is in object storage, and what waits for it, in the text format.
    fn tiers(&self) -> String {
        let now_ms = self.broker.clock.now_ms();
        let mut families = [tier::REMOTE_BYTES, tier::LAG_BYTES, tier::LAG_SECONDS].map(|name| {
            let help = names::help(name);
            (name, format!("\n# HELP {name} {help}\n# TYPE {name} gauge\n"))
        });
        for topic in self.broker.engine.topics().iter().filter(|topic| is_tiered(topic)).take(TIER_SERIES_MAX)
        {
            let figures: Vec<_> =
                topic.partitions.iter().map(|partition| partition.log.tier_figures()).collect();
            let waits = figures.iter().filter_map(|partition| partition.oldest_uncopied_ms);
            let values = [
                figures.iter().map(|partition| partition.remote_bytes).sum::<u64>() as f64,
                figures.iter().map(|partition| partition.uncopied_bytes).sum::<u64>() as f64,
                waits.map(|since_ms| now_ms.saturating_sub(since_ms)).max().unwrap_or(0) as f64 / 1000.0,
            ];
            for ((name, out), value) in families.iter_mut().zip(values) {
                let _ = writeln!(out, "{name}{{topic=\"{}\"}} {value}", escaped(&topic.name));
            }
        }
        families.map(|(_, out)| out).concat()
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
    fn refresh(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            self.stores();
            self.machine();
            tier::refresh();
            self.consumer_lag().await + &self.client_metrics() + &self.tiers()
        })
    }
}

fn is_tiered(topic: &Topic) -> bool {
    topic
        .partitions
        .iter()
        .any(|partition| partition.log.config().remote_storage || partition.log.has_remote())
}

/// A label's value as the text format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Resident memory, where the system tells it in `/proc` (Linux).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_cannot_forge_a_line() {
        assert_eq!(escaped("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }

    #[test]
    fn resident_memory_is_told_on_linux() {
        assert_eq!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20), cfg!(target_os = "linux"));
    }
}
