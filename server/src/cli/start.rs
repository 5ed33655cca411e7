//! Owns `start`: refuse with every reason at once, or set up logs, runtime and signals and hand over to the server.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{EXIT_REFUSED, EXIT_SECOND_SIGNAL, EXIT_STORE_FAILED, EXIT_UNCLEAN, banner, probe};
use crate::config::{AdvertisedFrom, BrokerConfig, Faults, Sources, load_with_faults};
use crate::runtime::Readiness;
use crate::server::{self, StartError};

/// Threads for blocking calls (opening the store, resolving names); they end when idle.
const BLOCKING_THREADS_MAX: usize = 32;

/// How long the end of the process waits for tasks and blocking calls; nothing of theirs is needed any more.
const RUNTIME_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts and serves.
pub fn run(sources: &Sources) -> ExitCode {
    let (config, mut faults) = load_with_faults(sources);
    let wrong: Vec<String> = faults.0.iter().map(|fault| fault.option.clone()).collect();
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    let place = probe::place(&config, &wrong);
    faults.0.extend(place.faults.iter().cloned());
    if !faults.0.is_empty() {
        place.undo();
        return refuse(&faults);
    }
    // The directory stays locked until the process ends.
    let _lock = place.lock;
    crate::logging::init(&config.logging);
    print_banner(&config);
    for listener in config.listeners.iter().filter(|l| l.advertised_from == AdvertisedFrom::Interface) {
        tracing::info!(
            listener = listener.name,
            bind = %listener.bind,
            advertised = %listener.advertised,
            "bound to every interface; clients are told this address (advertised.listeners changes it)"
        );
    }
    serve(Arc::new(config))
}

fn refuse(faults: &Faults) -> ExitCode {
    eprintln!("chronik-server cannot start, for {} reason(s):\n{faults}", faults.0.len());
    eprintln!(
        "`chronik-server doctor` checks everything; `chronik-server config` shows where values come from."
    );
    ExitCode::from(EXIT_REFUSED)
}

#[expect(clippy::print_stdout, reason = "addresses and examples for the person who typed `start`")]
fn print_banner(config: &BrokerConfig) {
    print!("{}", banner::text(config));
}

fn serve(config: Arc<BrokerConfig>) -> ExitCode {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.node.worker_threads > 0 {
        builder.worker_threads(config.node.worker_threads);
    }
    builder.thread_name("chronik-net").max_blocking_threads(BLOCKING_THREADS_MAX).enable_all();
    let threads = builder.build().and_then(|runtime| Ok((runtime, chronik_tiering::background()?)));
    let (runtime, background) = match threads {
        Ok(threads) => threads,
        Err(error) => {
            eprintln!(
                "chronik-server cannot start its threads: {error}. Raise the limit of threads (ulimit -u)"
            );
            return ExitCode::from(EXIT_REFUSED);
        }
    };
    let served = runtime.block_on(async {
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(stop_on_signal(stop));
        server::run(config, Readiness::new(), stopping, background.handle().clone()).await
    });
    // The last holders of the store are tasks. They end before `main` returns: RocksDB closed while the process runs
    // its C++ destructors aborts ("pthread lock: Invalid argument"). A blocking call that hangs (a disk that does not
    // answer) must not keep the process, so the wait is bounded.
    background.shutdown_timeout(RUNTIME_STOP_TIMEOUT);
    runtime.shutdown_timeout(RUNTIME_STOP_TIMEOUT);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            eprintln!("chronik-server: {error}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Bind { .. } | StartError::DataDir(_) | StartError::ObjectStore(_) => EXIT_REFUSED,
        StartError::StoreFailed(_) => EXIT_STORE_FAILED,
        StartError::Close(_) => EXIT_UNCLEAN,
    }
}

/// The first signal asks for a stop, the second one does not ask.
async fn stop_on_signal(stop: watch::Sender<bool>) {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        tracing::error!("signals cannot be caught; only kill -9 will stop this process");
        return std::future::pending().await;
    };
    for first in [true, false] {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        if first {
            tracing::info!(signal = name, "stopping; a second signal stops at once");
            let _ = stop.send(true);
        } else {
            tracing::warn!(signal = name, "stopped at once; the next start recovers");
            exit_at_once(EXIT_SECOND_SIGNAL);
        }
    }
}

/// Ends the process as it stands. `std::process::exit` would run C++ destructors under RocksDB's working threads, which
/// can abort; nothing needs to be run, for what was acknowledged is on disk.
fn exit_at_once(code: i32) -> ! {
    #[expect(unsafe_code, reason = "the standard library has no _exit(2)")]
    // SAFETY: _exit takes a number, runs no code of this process, and does not return.
    unsafe {
        libc::_exit(code)
    }
}
