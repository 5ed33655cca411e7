//! What the settings mean to tiered storage: which object store, under which bounds. What is copied and read when is the
//! business of `chronik_tiering`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chronik_engine::Engine;
use chronik_tiering::backend::{Backend, BackendError, Kind};
use chronik_tiering::bucket::Bucket;
use chronik_tiering::read::ReadOptions;
use chronik_tiering::{Buckets, Tier, TierOptions};

use crate::config::{BrokerConfig, ObjectStoreSettings, Secret};
use crate::dynamic::settings::Settings;
use crate::runtime::Clock;

/// The directory of cached blocks, below the data directory.
const CACHE_FOLDER: &str = "tier-cache";

/// Opens tiered storage over what `engine` has open. Speaks to nobody yet.
///
/// # Errors
/// [`BackendError`] when the settings of the object store do not fit together.
pub fn open(
    config: &BrokerConfig,
    settings: &Arc<Settings>,
    engine: Arc<Engine>,
    clock: Clock,
) -> Result<Arc<Tier>, BackendError> {
    let backend = backend(config)?;
    let buckets = Buckets { background: Bucket::open(&backend)?, readers: Bucket::open(&backend)? };
    Ok(Tier::open(engine, buckets, options(config, settings, clock)))
}

/// The object store that the settings name.
///
/// # Errors
/// [`BackendError`] when one that it needs is not set.
pub fn backend(config: &BrokerConfig) -> Result<Backend, BackendError> {
    let store: &ObjectStoreSettings = &config.object_store;
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let needed = |setting: &str, value: &Option<String>| {
        let missing = || BackendError::missing(&store.backend, setting);
        value.clone().ok_or_else(missing)
    };
    let kind = match store.backend.as_str() {
        "s3" => Kind::S3 {
            endpoint: store.s3_endpoint.clone(),
            region: store.s3_region.clone(),
            bucket: store.s3_bucket.clone(),
            access_key: exposed(&store.s3_access_key),
            secret_key: exposed(&store.s3_secret_key),
            path_style: store.s3_path_style,
            disable_ssl: store.s3_disable_ssl,
        },
        "gcs" => Kind::Gcs {
            bucket: needed("gcs.bucket", &store.gcs_bucket)?,
            endpoint: store.gcs_endpoint.clone(),
        },
        "azure" => Kind::Azure {
            account: needed("azure.account.name", &store.azure_account_name)?,
            container: needed("azure.container", &store.azure_container)?,
            account_key: exposed(&store.azure_account_key),
            endpoint: store.azure_endpoint.clone(),
        },
        _ => Kind::Local { path: config.local_objects() },
    };
    let request_timeout = Duration::from_millis(store.request_timeout_ms);
    Ok(Backend { kind, prefix: store.prefix.clone(), request_timeout })
}

/// The object store that a URL names: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://account/container/prefix`, or
/// `file:///path`. Addresses and credentials are those of the settings.
///
/// # Errors
/// [`BackendError`] for another form.
pub fn backend_of_url(url: &str, config: &BrokerConfig) -> Result<Backend, BackendError> {
    let wrong = || BackendError::url(url);
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let mut config = config.clone();
    let store = &mut config.object_store;
    let mut parts = rest.trim_end_matches('/').splitn(if scheme == "az" { 3 } else { 2 }, '/');
    // No name of a bucket has an `@`; what is before one would be keys.
    if rest.contains('@') && scheme != "file" {
        return Err(BackendError::url(scheme));
    }
    let mut next = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
    match scheme {
        "s3" => (store.backend, store.s3_bucket) = ("s3".to_owned(), next().ok_or_else(wrong)?),
        "gs" => (store.backend, store.gcs_bucket) = ("gcs".to_owned(), Some(next().ok_or_else(wrong)?)),
        "az" => {
            store.backend = "azure".to_owned();
            store.azure_account_name = Some(next().ok_or_else(wrong)?);
            store.azure_container = Some(next().ok_or_else(wrong)?);
        }
        "file" if rest.starts_with('/') => {
            (store.backend, store.local_storage_path) = ("local".to_owned(), Some(rest.into()));
            store.prefix = None;
            return backend(&config);
        }
        _ => return Err(wrong()),
    }
    store.prefix = next();
    backend(&config)
}

fn options(config: &BrokerConfig, settings: &Arc<Settings>, clock: Clock) -> TierOptions {
    let tier = &config.tier;
    let settings = settings.clone();
    TierOptions {
        task_interval: Duration::from_millis(tier.task_interval_ms),
        copiers: tier.copiers,
        copy_bytes_per_second: Box::new(move || settings.current().tier.copy_bytes_per_second.unsigned_abs()),
        delete_delay: Duration::from_millis(tier.delete_delay_ms),
        orphan_grace: Duration::from_millis(tier.orphan_grace_ms.unsigned_abs()),
        scrub_interval: Duration::from_millis(tier.scrub_interval_ms),
        meta_interval: Duration::from_millis(tier.meta_interval_ms),
        read: ReadOptions {
            memory_bytes: tier.cache_memory_bytes,
            disk_bytes: tier.cache_disk_bytes,
            disk_path: config.node.data_dir.join(CACHE_FOLDER),
            read_ahead_bytes: tier.read_ahead_bytes,
        },
        now_ms: Box::new(move || clock.now_ms()),
    }
}

/// Whether objects would lie on the disk of the data they are to outlive.
pub fn shares_the_disk(config: &BrokerConfig) -> bool {
    config.object_store.backend == "local" && device(&config.local_objects()) == device(&config.node.data_dir)
}

/// The device of a path, or of the nearest directory above it that is there.
fn device(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|path| path.metadata().ok()).map(|metadata| metadata.dev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn config(env: &[(&str, &str)]) -> BrokerConfig {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load(&Sources { env, ..Sources::default() }).unwrap()
    }

    #[test]
    fn the_environment_names_the_store() {
        let s3 = config(&[
            ("OBJECT_STORE_BACKEND", "s3"),
            ("S3_ENDPOINT", "minio:9000"),
            ("S3_BUCKET", "b"),
            ("S3_ACCESS_KEY", "k"),
            ("S3_SECRET_KEY", "hush"),
            ("S3_DISABLE_SSL", "true"),
        ]);
        let backend = backend(&s3).unwrap();
        assert_eq!(backend.to_string(), "s3://b at minio:9000");
        assert!(!format!("{s3:?} {backend:?}").contains("hush"));
    }

    #[test]
    fn what_a_store_needs_is_asked_for() {
        for (kind, missing) in [("gcs", "gcs.bucket"), ("azure", "azure.account.name")] {
            let error = backend(&config(&[("OBJECT_STORE_BACKEND", kind)])).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn a_url_names_a_store() {
        let config = config(&[("AZURE_ACCOUNT_KEY", "aHVzaA==")]);
        let place = |url: &str| backend_of_url(url, &config).map(|backend| backend.to_string());
        assert_eq!(place("s3://b").unwrap(), "s3://b");
        assert_eq!(place("s3://b/p/q/").unwrap(), "s3://b below p/q/");
        assert_eq!(place("gs://b/p").unwrap(), "gs://b below p/");
        assert_eq!(place("az://a/c/p").unwrap(), "az://a/c below p/");
        assert_eq!(place("file:///x/y").unwrap(), "file:///x/y");
        assert!(!place("s3://key:hush@b").unwrap_err().to_string().contains("hush"));
        for url in ["b", "s3://", "az://a", "file://x", "ftp://b"] {
            assert!(place(url).unwrap_err().to_string().contains("s3://"), "{url}");
        }
    }

    #[test]
    fn the_default_is_a_directory_beside_the_data_and_shares_its_disk() {
        let default = config(&[]);
        assert!(backend(&default).unwrap().to_string().ends_with("data/objects"));
        assert!(shares_the_disk(&default));
    }
}
