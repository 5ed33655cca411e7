//! Metrics that clients push to the broker (KIP-714): what they are asked for, who may push when, and the newest
//! values of each, for `/metrics`.
//!
//! Time comes in as `now_ms`, and a payload as samples: this module reads no clock and no bytes. Everything is bounded:
//! clients ([`INSTANCES_MAX`]), values kept over all of them ([`SAMPLES_MAX`]), and how long a silent one is remembered.

pub mod instance;
pub mod otlp;
pub mod subscription;

use std::collections::{BTreeMap, HashMap};

use chronik_engine::Engine;
use chronik_engine::settings::ResourceConfigs;
use chronik_engine::store::StoreError;
use chronik_protocol::compression::Compression;
use parking_lot::Mutex;

use instance::{Assignment, Instance};
use otlp::Sample;
use subscription::{ClientFacts, Subscription, SubscriptionFault};

/// Kafka's number for client metrics as a resource type, which their keys carry.
const CLIENT_METRICS: u8 = 16;

/// Clients remembered at a time; one more pushes out the one that has been silent for longest.
pub const INSTANCES_MAX: usize = 4_096;

/// Values kept of all clients together; about 200 bytes each.
pub const SAMPLES_MAX: usize = 5_000;

/// Subscriptions there may be; a client is held against all of them when it first asks.
pub const SUBSCRIPTIONS_MAX: usize = 256;

/// How often silent clients are looked for, ms.
const SWEEP_INTERVAL_MS: i64 = 10_000;

/// The codecs a client may push in, the preferred ones first.
pub const ACCEPTED_COMPRESSION: [Compression; 4] =
    [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

/// Identifies a client for as long as it runs.
pub type InstanceId = [u8; 16];

/// Why a client's request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// It came before its time.
    #[error("the request came before the next push interval")]
    Throttled,
    /// No client has this id.
    #[error("the client instance id is zero or reserved")]
    InvalidInstance,
    /// It said before that it was going to end.
    #[error("the client has pushed its last metrics already")]
    Terminated,
    /// It was told of another set of metrics since, or the broker does not know it.
    #[error("the subscription id is not the client's")]
    UnknownSubscription,
    /// A codec that is not among [`ACCEPTED_COMPRESSION`].
    #[error("the compression type is not accepted")]
    UnsupportedCompression,
    /// More bytes than `telemetry.max.bytes`, or more once decompressed than can be asked for.
    #[error("the metrics are longer than telemetry.max.bytes allows")]
    TooLarge,
    /// The payload is not what it should be.
    #[error("the metrics cannot be read")]
    Malformed,
}

/// What a push says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push {
    /// The id that the client was given with its metrics.
    pub subscription_id: i32,
    /// Whether it is the client's last.
    pub terminating: bool,
    /// The codec's number.
    pub compression: i8,
    /// Bytes of the payload, compressed.
    pub bytes: usize,
    /// `telemetry.max.bytes`.
    pub max_bytes: usize,
}

/// One line of `/metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The client's instance id, as Kafka prints one.
    pub instance_id: String,
    /// What the client calls itself.
    pub client_id: String,
    /// The value.
    pub sample: Sample,
}

#[derive(Default)]
struct State {
    /// What was set on each resource, good or not.
    configs: BTreeMap<String, ResourceConfigs>,
    subscriptions: BTreeMap<String, Subscription>,
    /// Rises when subscriptions change: clients are then assigned anew.
    version: u64,
    instances: HashMap<InstanceId, Instance>,
    samples: usize,
    swept_ms: i64,
}

/// See the module.
#[derive(Default)]
pub struct Telemetry {
    state: Mutex<State>,
}

impl Telemetry {
    /// The subscriptions that were kept. One that is no longer good is logged, and asks nobody for anything.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(engine: &Engine) -> Result<Self, StoreError> {
        let telemetry = Self::default();
        for ((kind, name), configs) in engine.load_configs().await? {
            if kind == CLIENT_METRICS {
                if let Err(fault) = subscription::parse(&configs) {
                    tracing::warn!(subscription = name, %fault, "a client metrics subscription is passed over");
                }
                telemetry.put(&name, configs);
            }
        }
        Ok(telemetry)
    }

    /// The names of the subscriptions.
    pub fn names(&self) -> Vec<String> {
        self.state.lock().configs.keys().cloned().collect()
    }

    /// What is set on one of them; nothing when there is none.
    pub fn configs(&self, name: &str) -> ResourceConfigs {
        self.state.lock().configs.get(name).cloned().unwrap_or_default()
    }

    /// Replaces one by configs that were checked; durable and in force when this returns. One change at a time.
    ///
    /// # Errors
    /// The store's; nothing has changed then.
    pub async fn replace(
        &self,
        engine: &Engine,
        name: &str,
        configs: ResourceConfigs,
    ) -> Result<(), StoreError> {
        engine.save_config(CLIENT_METRICS, name, &configs).await?;
        self.put(name, configs);
        Ok(())
    }

    fn put(&self, name: &str, configs: ResourceConfigs) {
        let mut state = self.state.lock();
        state.version += 1;
        match subscription::parse(&configs) {
            Ok(subscription) if !configs.is_empty() => {
                state.subscriptions.insert(name.to_owned(), subscription);
            }
            Ok(_) | Err(SubscriptionFault::Request(_) | SubscriptionFault::Config(_)) => {
                state.subscriptions.remove(name);
            }
        }
        if configs.is_empty() {
            state.configs.remove(name);
        } else {
            state.configs.insert(name.to_owned(), configs);
        }
    }

    /// What a client is to push, and how often.
    ///
    /// # Errors
    /// [`TelemetryError::Throttled`].
    pub fn ask(
        &self,
        id: InstanceId,
        facts: &ClientFacts,
        now_ms: i64,
    ) -> Result<Assignment, TelemetryError> {
        let mut state = self.state.lock();
        let instance = state.instance(id, facts, now_ms);
        instance.asked(now_ms)?;
        Ok(instance.assignment.clone())
    }

    /// Whether a client may push now. Returns the metrics it was asked for.
    ///
    /// # Errors
    /// Why not; the client is to ask anew after [`TelemetryError::UnknownSubscription`].
    pub fn admit(
        &self,
        id: InstanceId,
        facts: &ClientFacts,
        push: &Push,
        now_ms: i64,
    ) -> Result<Assignment, TelemetryError> {
        let mut state = self.state.lock();
        let instance = state.instance(id, facts, now_ms);
        instance.pushes(push, now_ms)?;
        Ok(instance.assignment.clone())
    }

    /// Keeps what a client pushed in place of what it pushed before. Returns how many values found no room.
    pub fn keep(&self, id: InstanceId, mut samples: Vec<Sample>) -> usize {
        let mut state = self.state.lock();
        let State { instances, samples: total, .. } = &mut *state;
        let Some(instance) = instances.get_mut(&id) else { return samples.len() };
        let room = SAMPLES_MAX - (*total - instance.samples.len());
        let dropped = samples.len().saturating_sub(room);
        samples.truncate(room);
        samples.shrink_to_fit();
        *total = *total - instance.samples.len() + samples.len();
        instance.samples = samples;
        dropped
    }

    /// A payload that cannot be read: the client is told, and may push again in its time.
    pub fn failed(&self, id: InstanceId, error: TelemetryError) {
        if let Some(instance) = self.state.lock().instances.get_mut(&id) {
            instance.last_error = Some(error);
        }
    }

    /// Everything kept, for `/metrics`, and how many clients there are.
    pub fn shown(&self, now_ms: i64) -> (usize, Vec<Shown>) {
        let mut state = self.state.lock();
        state.sweep(now_ms);
        let mut shown = Vec::with_capacity(state.samples);
        for instance in state.instances.values() {
            shown.extend(instance.samples.iter().map(|sample| Shown {
                instance_id: instance.facts.instance_id.clone(),
                client_id: instance.facts.client_id.clone(),
                sample: sample.clone(),
            }));
        }
        (state.instances.len(), shown)
    }
}

impl State {
    /// The client, known already or not, with what it is to push as of now.
    fn instance(&mut self, id: InstanceId, facts: &ClientFacts, now_ms: i64) -> &mut Instance {
        if now_ms - self.swept_ms >= SWEEP_INTERVAL_MS {
            self.sweep(now_ms);
        }
        if !self.instances.contains_key(&id) && self.instances.len() >= INSTANCES_MAX {
            let silent = self.instances.iter().min_by_key(|(_, instance)| instance.seen_ms);
            if let Some(silent) = silent.map(|(id, _)| *id) {
                self.forget(silent);
            }
        }
        let (subscriptions, version) = (&self.subscriptions, self.version);
        let assign = || Assignment::of(id, subscriptions.values().filter(|one| one.matches(facts)));
        let instance =
            self.instances.entry(id).or_insert_with(|| Instance::new(facts.clone(), version, assign()));
        if instance.version != version {
            instance.version = version;
            instance.assignment = assign();
        }
        instance.seen_ms = now_ms;
        instance
    }

    fn sweep(&mut self, now_ms: i64) {
        self.swept_ms = now_ms;
        let gone = self.instances.iter().filter(|(_, instance)| instance.expired(now_ms));
        let gone: Vec<InstanceId> = gone.map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.forget(id));
    }

    fn forget(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.remove(&id) {
            self.samples -= instance.samples.len();
        }
    }
}

#[cfg(test)]
mod tests;
