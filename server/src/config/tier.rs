//! Owns the typed settings of tiered storage and of the object store, and what they mean to the crate that does it.

use std::path::PathBuf;

use super::broker::{BrokerConfig, Secret};

/// Tiered storage.
#[derive(Debug, Clone, Default)]
pub struct TierSettings {
    /// `remote.log.manager.task.interval.ms`: between two looks for something to copy or delete.
    pub task_interval_ms: u64,
    /// `remote.log.manager.copier.thread.pool.size`: segments copied at the same time.
    pub copiers: usize,
    /// `remote.log.manager.copy.max.bytes.per.second`.
    pub copy_bytes_per_second: i64,
    /// `remote.fetch.max.wait.ms`.
    pub fetch_max_wait_ms: u64,
    /// `chronik.tier.roll.ms`.
    pub roll_ms: i64,
    /// `chronik.tier.cache.memory.bytes`.
    pub cache_memory_bytes: usize,
    /// `chronik.tier.cache.disk.bytes`.
    pub cache_disk_bytes: u64,
    /// `chronik.tier.read.ahead.bytes`.
    pub read_ahead_bytes: usize,
    /// `chronik.tier.delete.delay.ms`.
    pub delete_delay_ms: u64,
    /// `chronik.tier.orphan.grace.ms`.
    pub orphan_grace_ms: i64,
    /// `chronik.tier.scrub.interval.ms`.
    pub scrub_interval_ms: u64,
    /// `chronik.tier.meta.interval.ms`.
    pub meta_interval_ms: u64,
}

/// Where objects are kept.
#[derive(Debug, Clone, Default)]
pub struct ObjectStoreSettings {
    /// `object.store.backend`: `s3`, `gcs`, `azure` or `local`.
    pub backend: String,
    /// `object.store.prefix`: before every name in the bucket.
    pub prefix: Option<String>,
    /// `object.store.request.timeout.ms`.
    pub request_timeout_ms: u64,
    /// `s3.endpoint`; none is Amazon's.
    pub s3_endpoint: Option<String>,
    /// `s3.region`.
    pub s3_region: String,
    /// `s3.bucket`.
    pub s3_bucket: String,
    /// `s3.access.key`; none asks the surroundings.
    pub s3_access_key: Option<Secret>,
    /// `s3.secret.key`.
    pub s3_secret_key: Option<Secret>,
    /// `s3.path.style`.
    pub s3_path_style: bool,
    /// `s3.disable.ssl`.
    pub s3_disable_ssl: bool,
    /// `gcs.bucket`.
    pub gcs_bucket: Option<String>,
    /// `gcs.project.id`.
    pub gcs_project_id: Option<String>,
    /// `gcs.endpoint`; none is Google's.
    pub gcs_endpoint: Option<String>,
    /// `azure.account.name`.
    pub azure_account_name: Option<String>,
    /// `azure.container`.
    pub azure_container: Option<String>,
    /// `azure.account.key`; none asks the surroundings.
    pub azure_account_key: Option<Secret>,
    /// `azure.endpoint`; none is Microsoft's.
    pub azure_endpoint: Option<String>,
    /// `local.storage.path`; none is `objects` in the data directory.
    pub local_storage_path: Option<PathBuf>,
}

impl BrokerConfig {
    /// Where the local backend keeps its objects.
    pub fn local_objects(&self) -> PathBuf {
        let path = &self.object_store.local_storage_path;
        path.clone().unwrap_or_else(|| self.node.data_dir.join("objects"))
    }
}
