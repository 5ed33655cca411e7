//! Object stores for tests: a directory, or a real server started for the test (`tests/stores/store.sh`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::broker::{Broker, BrokerBuilder};

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Local,
    /// SeaweedFS, which speaks S3.
    Seaweedfs,
    /// Azurite, which speaks Azure's protocol.
    Azurite,
    /// fake-gcs-server, which speaks Google's.
    Gcs,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Kind; 4] = [Kind::Local, Kind::Seaweedfs, Kind::Azurite, Kind::Gcs];

    fn name(self) -> &'static str {
        match self {
            Kind::Local => "local",
            Kind::Seaweedfs => "seaweedfs",
            Kind::Azurite => "azurite",
            Kind::Gcs => "gcs",
        }
    }
}

/// A store that runs.
#[derive(Debug)]
pub struct ObjectStore {
    kind: Kind,
    dir: TempDir,
    env: Vec<(String, String)>,
}

impl ObjectStore {
    /// Starts one; `None`, and a word about it, when its program is not installed. CI installs all of them, and there it
    /// is an error.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(kind: Kind) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        if kind == Kind::Local {
            let path = dir.path().join("objects").display().to_string();
            let env = [("OBJECT_STORE_BACKEND", "local"), ("LOCAL_STORAGE_PATH", &path)];
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            return Some(Self { kind, dir, env });
        }
        let ready = Command::new(repository().join("scripts/setup.sh")).args(["has", "stores"]).status();
        if !ready.is_ok_and(|status| status.success()) {
            assert!(std::env::var("CI").is_err(), "the object stores are not installed");
            eprintln!("SKIPPED: {kind:?}; to run it: scripts/setup.sh clients stores");
            return None;
        }
        let mut store = Self { kind, dir, env: Vec::new() };
        store.env = store.run(None);
        Some(store)
    }

    fn run(&self, port: Option<u16>) -> Vec<(String, String)> {
        let mut command = Command::new(script());
        command.args(["start", self.kind.name()]).arg(self.dir.path());
        command.args(port.map(|port| port.to_string()));
        let output = command.output().expect("the script can be run");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{:?}: {}", self.kind, String::from_utf8_lossy(&output.stderr));
        let pairs = told.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What a broker has to be told.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// Where the server listens.
    ///
    /// # Panics
    /// For a directory.
    pub fn address(&self) -> SocketAddr {
        let endpoint = self.env.iter().find(|(name, _)| name.ends_with("_ENDPOINT"));
        let (_, endpoint) = endpoint.expect("a server has an endpoint");
        let rest = endpoint.split("://").nth(1).expect("a URL");
        rest.split('/').next().expect("a host").parse().expect("an address")
    }

    /// The same for a broker that is to go through a proxy.
    pub fn env_through(&self, proxy: SocketAddr) -> Vec<(String, String)> {
        let (from, to) = (self.address().to_string(), proxy.to_string());
        self.env.iter().map(|(name, value)| (name.clone(), value.replace(&from, &to))).collect()
    }

    /// Ends the server; its data stays.
    pub fn stop(&self) {
        if self.kind != Kind::Local {
            let _ = Command::new(script()).arg("stop").arg(self.dir.path()).status();
        }
    }

    /// Starts it again where it was.
    pub fn start_again(&self) {
        self.run(Some(self.address().port()));
    }

    /// Where a directory's objects are.
    pub fn local_path(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    /// What `restore --from` is given.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Local => format!("file://{}", self.local_path().display()),
            Kind::Seaweedfs => "s3://chronik-test".to_owned(),
            Kind::Azurite => "az://devstoreaccount1/chronik-test".to_owned(),
            Kind::Gcs => "gs://chronik-test".to_owned(),
        }
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        self.stop();
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn script() -> PathBuf {
    repository().join("tests/stores/store.sh")
}

/// A broker that tiers eagerly into the store that `env` names.
pub fn tiered_broker(env: &[(String, String)]) -> BrokerBuilder {
    let builder = Broker::builder()
        .set("remote.log.manager.task.interval.ms", 100)
        .set("chronik.tier.delete.delay.ms", 200)
        .set("chronik.tier.meta.interval.ms", 200)
        .set("object.store.request.timeout.ms", 2000);
    env.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// ListOffsets' timestamp for the last offset that is in object storage (KIP-1005).
pub const LATEST_TIERED: i64 = -5;

/// Configs of a topic that moves to object storage quickly.
pub const TIERED: [(&str, &str); 3] = [
    ("remote.storage.enable", "true"),
    ("internal.segment.bytes", "262144"),
    ("local.retention.bytes", "262144"),
];
