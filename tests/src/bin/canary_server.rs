//! A broker that lies: it acknowledges before the fsync. The power-loss suite must find it out, or the suite proves
//! nothing. Only that suite runs it; the product has no such switch.

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::store::{
    Chunk, Durability, Keyspace, ScanLimit, Snapshot, Store, StoreFuture, Ticket, WriteBatch,
};
use chronik_server::config::{Sources, load};
use chronik_server::runtime::Readiness;
use chronik_server::server;

/// The real store, asked never to wait for the disk.
struct Hasty(Arc<dyn Store>);

impl Store for Hasty {
    fn commit(&self, batch: WriteBatch, _: Durability) -> Ticket {
        self.0.commit(batch, Durability::Os)
    }

    fn ready(&self) -> StoreFuture<()> {
        self.0.ready()
    }

    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>> {
        self.0.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk> {
        self.0.scan(keyspace, range, limit)
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.0.snapshot()
    }

    fn checkpoint(&self, path: &Path) -> StoreFuture<()> {
        self.0.checkpoint(path)
    }

    fn size_estimate(&self, keyspace: Keyspace, range: Range<Bytes>) -> u64 {
        self.0.size_estimate(keyspace, range)
    }

    fn disk_usage(&self) -> u64 {
        self.0.disk_usage()
    }

    fn internals(&self) -> Vec<(&'static str, f64)> {
        self.0.internals()
    }

    fn close(&self) -> StoreFuture<()> {
        self.0.close()
    }
}

/// The real command line's, as far as the suites use them.
fn sources() -> Sources {
    let mut flags = Vec::new();
    let mut arguments = std::env::args().skip(2);
    while let (Some(flag), Some(value)) = (arguments.next(), arguments.next()) {
        let (name, value) = match flag.as_str() {
            "--data-dir" => ("data.dir".to_owned(), value),
            "--kafka-addr" => ("listeners".to_owned(), format!("PLAINTEXT://{value}")),
            "--http-addr" => ("http.addr".to_owned(), value),
            _ => value
                .split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .unwrap_or_default(),
        };
        flags.push((name, value, flag));
    }
    Sources { flags, ..Sources::default() }
}

fn main() -> ExitCode {
    let config = match load(&sources()) {
        Ok(config) => Arc::new(config),
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    // Nobody asks it to stop; the suite kills it.
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let lie = |store| Arc::new(Hasty(store)) as Arc<dyn Store>;
    let background = runtime.handle().clone();
    match runtime.block_on(server::run_wrapped(config, Readiness::new(), stopping, background, lie)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
