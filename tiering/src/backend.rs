//! Which object store there is, and how it is reached: the only file that names one.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

/// Tries of one request before the caller hears of it; whoever copies tries again later by itself.
const RETRIES: usize = 3;
/// After this long a request is not tried again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// For a connection to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where objects are kept.
#[derive(Clone)]
pub struct Backend {
    /// The store.
    pub kind: Kind,
    /// What every name begins with.
    pub prefix: Option<String>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

/// A store and how to reach it. Credentials that are not given are those of the surroundings.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the setting of its name, see docs/configuration.md")]
pub enum Kind {
    S3 {
        endpoint: Option<String>,
        region: String,
        bucket: String,
        access_key: Option<String>,
        secret_key: Option<String>,
        path_style: bool,
        disable_ssl: bool,
    },
    Gcs {
        bucket: String,
        endpoint: Option<String>,
    },
    Azure {
        account: String,
        container: String,
        account_key: Option<String>,
        endpoint: Option<String>,
    },
    Local {
        path: PathBuf,
    },
}

/// The settings of the store do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(String);

impl BackendError {
    /// A URL that names no store.
    pub fn url(url: &str) -> Self {
        Self(format!(
            "`{url}` names no object store: write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or \
             file:///PATH"
        ))
    }

    /// A setting that the store needs is not set.
    pub fn missing(store: &str, setting: &str) -> Self {
        Self(format!("object.store.backend is {store}, and {setting} is not set: set it"))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::S3 { endpoint, bucket, .. } => {
                write!(out, "s3://{bucket}")?;
                endpoint.iter().try_for_each(|endpoint| write!(out, " at {endpoint}"))?;
            }
            Kind::Gcs { bucket, .. } => write!(out, "gs://{bucket}")?,
            Kind::Azure { account, container, .. } => write!(out, "az://{account}/{container}")?,
            Kind::Local { path } => write!(out, "file://{}", path.display())?,
        }
        self.prefix.iter().try_for_each(|prefix| write!(out, " below {prefix}/"))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not derived: it would tell secrets.
        write!(out, "Backend({self})")
    }
}

pub(crate) fn build(backend: &Backend) -> Result<Arc<dyn ObjectStore>, BackendError> {
    let failed = |error: object_store::Error| BackendError(error.to_string());
    let store: Arc<dyn ObjectStore> = match &backend.kind {
        Kind::S3 { .. } => Arc::new(s3(backend).build().map_err(failed)?),
        Kind::Gcs { bucket, endpoint } => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retries())
                .with_client_options(client(backend).with_allow_http(endpoint.is_some()));
            if let Some(endpoint) = endpoint {
                // Or the client would ask a metadata server for a token that nobody needs.
                builder = builder.with_base_url(endpoint).with_skip_signature(true).with_bearer_token("none");
            }
            Arc::new(builder.build().map_err(failed)?)
        }
        Kind::Azure { account, container, account_key, endpoint } => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_account(account)
                .with_container_name(container)
                .with_retry(retries())
                .with_client_options(client(backend).with_allow_http(endpoint.is_some()));
            if let Some(key) = account_key {
                builder = builder.with_access_key(key);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            Arc::new(builder.build().map_err(failed)?)
        }
        Kind::Local { path } => {
            let told = |error: &dyn fmt::Display| BackendError(format!("{}: {error}", path.display()));
            let path = std::path::absolute(path).map_err(|error| told(&error))?;
            let folder = Path::from_absolute_path(&path).map_err(|error| told(&error))?;
            // What was proven must be there after a power loss. The directory is made by what is put there first.
            Arc::new(PrefixStore::new(LocalFileSystem::new().with_fsync(true), folder))
        }
    };
    Ok(match &backend.prefix {
        Some(prefix) => Arc::new(PrefixStore::new(store, prefix.as_str())),
        None => store,
    })
}

fn s3(backend: &Backend) -> AmazonS3Builder {
    let Kind::S3 { endpoint, region, bucket, access_key, secret_key, path_style, disable_ssl } =
        &backend.kind
    else {
        unreachable!("the caller has looked");
    };
    let endpoint = endpoint.as_ref().map(|endpoint| with_scheme(endpoint, *disable_ssl));
    let plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = AmazonS3Builder::from_env()
        .with_region(region)
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!path_style)
        .with_retry(retries())
        .with_client_options(client(backend).with_allow_http(plain));
    if let Some(endpoint) = &endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(key) = access_key {
        builder = builder.with_access_key_id(key);
    }
    if let Some(secret) = secret_key {
        builder = builder.with_secret_access_key(secret);
    }
    builder
}

fn with_scheme(endpoint: &str, disable_ssl: bool) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("{}://{endpoint}", if disable_ssl { "http" } else { "https" }),
    }
}

fn client(backend: &Backend) -> ClientOptions {
    ClientOptions::new().with_timeout(backend.request_timeout).with_connect_timeout(CONNECT_TIMEOUT)
}

fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_shown_without_its_secrets() {
        let kind = Kind::S3 {
            endpoint: Some("http://h:1".into()),
            region: "r".into(),
            bucket: "b".into(),
            access_key: Some("AKIA".into()),
            secret_key: Some("hush".into()),
            path_style: true,
            disable_ssl: false,
        };
        let backend = Backend { kind, prefix: Some("p/q".into()), request_timeout: Duration::from_secs(1) };
        assert_eq!(backend.to_string(), "s3://b at http://h:1 below p/q/");
        let shown = format!("{backend:?} {:?}", build(&backend).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn an_endpoint_without_a_scheme_gets_one() {
        assert_eq!(with_scheme("h:1", true), "http://h:1");
        assert_eq!(with_scheme("h:1", false), "https://h:1");
        assert_eq!(with_scheme("http://h", false), "http://h");
    }
}
