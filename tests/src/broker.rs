//! The real `chronik-server`, started on free ports in a temporary directory and killed when dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a start may take, recovery after a crash included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a graceful stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// A port that was free may be taken before the broker binds it; then others are tried.
const PORT_ATTEMPTS: usize = 5;
const POLL: Duration = Duration::from_millis(10);

/// How a broker is to be started. Build one, then [`start`](BrokerBuilder::start).
#[derive(Clone, Debug, Default)]
pub struct BrokerBuilder {
    settings: Vec<(String, String)>,
    env: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    binary: Option<PathBuf>,
}

impl BrokerBuilder {
    /// A setting by its name, as `--set` takes it.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// An environment variable of the process.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// A directory that the caller keeps; without one the data goes when the broker is dropped.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Another binary than the one just built.
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it does not, with its log.
    pub fn start(self) -> Broker {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let data_dir = self.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let mut broker =
            Broker { options: self, data_dir, scratch, child: None, kafka: UNBOUND, http: UNBOUND };
        broker.start_again();
        broker
    }
}

/// Stands for "not started yet".
const UNBOUND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A running broker, or one between two runs.
#[derive(Debug)]
pub struct Broker {
    options: BrokerBuilder,
    data_dir: PathBuf,
    /// Holds the log, and the data unless the caller keeps it.
    scratch: TempDir,
    child: Option<Child>,
    kafka: SocketAddr,
    http: SocketAddr,
}

impl Broker {
    /// Starts one with the default settings.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// For settings of its own.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Where Kafka clients connect.
    pub fn kafka_addr(&self) -> SocketAddr {
        self.kafka
    }

    /// The same as clients take it.
    pub fn bootstrap(&self) -> String {
        self.kafka.to_string()
    }

    /// Health and metrics.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Everything durable.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Bytes of blocks that the files of the data directory take.
    pub fn disk_usage(&self) -> u64 {
        disk_usage(&self.data_dir)
    }

    /// The process, while it runs.
    ///
    /// # Panics
    /// When it does not.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), libc::SIGTERM);
        self.wait_exit(STOP_TIMEOUT)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        let mut child = self.child.take().expect("the broker runs");
        loop {
            if let Some(status) = child.try_wait().expect("the process can be waited for") {
                return status;
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the broker did not end within {timeout:?}:\n{}", self.log());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal, `SIGSTOP` for instance.
    pub fn signal(&self, number: libc::c_int) {
        signal(self.pid(), number);
    }

    /// Starts the process (again) on the same data and, from the second time on, the same ports.
    ///
    /// # Panics
    /// When it does not serve in time, with its log.
    pub fn start_again(&mut self) {
        self.kill();
        let first = self.kafka.port() == 0;
        for attempt in 1..=PORT_ATTEMPTS {
            if first {
                [self.kafka, self.http] = free_addresses();
            }
            self.child = Some(self.spawn());
            if self.wait_ready() {
                return;
            }
            let log = self.log();
            assert!(
                first && attempt < PORT_ATTEMPTS && log.contains("cannot be bound"),
                "the broker did not start:\n{log}"
            );
        }
    }

    /// Starts the process again and kills it after `delay`, whatever it is doing then.
    pub fn start_and_kill_after(&mut self, delay: Duration) {
        self.kill();
        self.child = Some(self.spawn());
        std::thread::sleep(delay);
        self.kill();
    }

    fn spawn(&self) -> Child {
        let binary = self.options.binary.clone().unwrap_or_else(binary);
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = Command::new(&binary);
        command.arg("start").arg("--data-dir").arg(&self.data_dir);
        command.args(["--http-addr", &self.http.to_string()]);
        // Who names listeners knows their addresses.
        if !self.options.settings.iter().any(|(name, _)| name == "listeners") {
            command.args(["--kafka-addr", &self.kafka.to_string()]);
        }
        for (name, value) in &self.options.settings {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        // The broker refuses variables it does not know, and a developer's own would change what is tested.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let is_setting =
                ["CHRONIK_", "OBJECT_STORE_", "S3_", "GCS_", "AZURE_", "LOCAL_STORAGE_", "RUST_LOG"];
            if is_setting.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.envs(self.options.env.iter().cloned()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        command.spawn().unwrap_or_else(|error| panic!("{} cannot be run: {error}", binary.display()))
    }

    /// False when the process ended instead.
    fn wait_ready(&mut self) -> bool {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.is_running() {
            if self.http_get("/health/ready").is_ok_and(|(status, _)| status == 200) {
                return true;
            }
            assert!(
                Instant::now() < deadline,
                "the broker is not ready after {START_TIMEOUT:?}:\n{}",
                self.log()
            );
            std::thread::sleep(POLL);
        }
        false
    }

    /// What it has written to its standard outputs so far, over all runs.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("broker.log")
    }

    /// One HTTP request; status and body.
    ///
    /// # Errors
    /// The socket's.
    pub fn http_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let timeout = Duration::from_secs(10);
        let mut stream = TcpStream::connect_timeout(&self.http, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    /// Whether `/health/ready` says so.
    pub fn is_ready(&self) -> bool {
        self.http_get("/health/ready").is_ok_and(|(status, _)| status == 200)
    }

    /// The sum of a metric over its labels.
    ///
    /// # Panics
    /// When `/metrics` does not answer, or does not have it.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.http_get("/metrics").expect("the metrics answer");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        });
        let values: Vec<f64> =
            lines.filter_map(|line| line.rsplit(' ').next()).filter_map(|value| value.parse().ok()).collect();
        assert!(!values.is_empty(), "no metric {name} in\n{text}");
        values.iter().sum()
    }

    /// Resident memory in bytes; Linux alone knows.
    pub fn rss_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// CPU time the process has used, user and system; Linux alone knows.
    pub fn cpu_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        // The name may hold spaces and ends with the last bracket; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        // USER_HZ is 100 on every Linux that matters.
        Some(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the broker ---\n{}", self.log());
        }
    }
}

/// The binary: `TEST_SERVER_BIN`, or the one beside the running test's directory.
///
/// # Panics
/// When there is none, with the command that builds it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TEST_SERVER_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows itself");
    // target/release/deps/suite-0123 or target/release/suite
    let found = test.ancestors().skip(1).map(|dir| dir.join("chronik-server")).find(|path| path.is_file());
    found.expect("build the broker first: cargo build --release -p chronik-server")
}

#[expect(unsafe_code, reason = "the standard library can only kill; kill(2) takes any signal and no pointer")]
fn signal(pid: u32, number: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    // SAFETY: kill takes two numbers, and the process is our child that nobody has waited for.
    let failed = unsafe { libc::kill(pid, number) } != 0;
    assert!(!failed, "signal {number}: {}", std::io::Error::last_os_error());
}

/// Two addresses nobody listens on right now.
fn free_addresses() -> [SocketAddr; 2] {
    // Both at once, or the second could be the first again.
    [UNBOUND; 2]
        .map(|any| TcpListener::bind(any).expect("a free port"))
        .map(|listener| listener.local_addr().expect("a bound socket has an address"))
}

fn disk_usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_usage(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
