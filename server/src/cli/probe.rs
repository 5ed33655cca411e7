//! Owns looking at the machine before anything is started: processor, addresses, data directory. Each look gives a
//! fault with a remedy, or nothing; none of them changes what it looks at, but for the lock it may be asked to keep.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use chronik_engine::store::rocks::create_durably;

use crate::config::{BrokerConfig, Fault, Origin};
use crate::disk::{resume_bytes, space};
use crate::server::store_path;

/// Held by the one broker that uses a data directory; its text is that broker's process id.
const LOCK_FILE: &str = "chronik.lock";

/// Where the store is while it is being restored, in the data directory.
pub const UNFINISHED_RESTORE: &str = "store.restoring";

/// What is wrong with the machine, the addresses and the data directory; and the lock on the latter.
pub struct Place {
    /// Faults, none of them about options in `skip`.
    pub faults: Vec<Fault>,
    /// Keep it as long as the directory is used: dropping it unlocks.
    pub lock: Option<File>,
    /// The data directory, when it was not there before.
    made: Option<PathBuf>,
}

impl Place {
    /// For a start that is refused: takes away the directory that looking at the place has made.
    pub fn undo(self) {
        if let (Some(made), Some(_lock)) = (self.made, self.lock) {
            // Best effort, and only what can be ours: the lock file, and the directory when nothing else is in it.
            let _ = std::fs::remove_file(made.join(LOCK_FILE));
            let _ = std::fs::remove_dir(made);
        }
    }
}

/// Looks at everything. `skip` names the options that are known to be wrong already: their defaults are not what the
/// operator meant, so looking at them would only confuse.
pub fn place(config: &BrokerConfig, skip: &[&str]) -> Place {
    let mut faults: Vec<Fault> = cpu().into_iter().collect();
    for (option, address) in addresses(config) {
        if !skip.contains(&option) {
            faults.extend(address_free(config, option, address));
        }
    }
    let mut lock = None;
    let dir = &config.node.data_dir;
    let made = (!dir.exists()).then(|| dir.clone());
    if !skip.contains(&"data.dir") {
        match lock_data_dir(dir) {
            Ok(file) => {
                lock = Some(file);
                faults.extend(directory_unfit(config));
            }
            Err((problem, remedy)) => {
                faults.push(Fault::new("data.dir", origin(config, "data.dir"), problem, remedy));
            }
        }
    }
    Place { faults, lock, made }
}

/// Every address that would be bound, with its option.
pub fn addresses(config: &BrokerConfig) -> Vec<(&'static str, SocketAddr)> {
    let kafka = config.listeners.iter().map(|listener| ("listeners", listener.bind));
    kafka.chain([("http.addr", config.http.http_addr)]).collect()
}

fn origin(config: &BrokerConfig, option: &str) -> Origin {
    config.entries.origin(option).cloned().unwrap_or(Origin::Default)
}

/// What is wrong with a data directory that can be locked.
pub fn directory_unfit(config: &BrokerConfig) -> impl Iterator<Item = Fault> {
    half_restored(config).into_iter().chain(too_small(config))
}

/// A directory that `restore` began to fill and did not finish: a start would make an empty cluster of it in silence.
fn half_restored(config: &BrokerConfig) -> Option<Fault> {
    let dir = &config.node.data_dir;
    if !dir.join(UNFINISHED_RESTORE).exists() || store_path(dir).exists() {
        return None;
    }
    let problem = format!("{} was being restored, and that did not finish", dir.display());
    let remedy = format!(
        "Run `chronik-server restore` on it again, or remove {UNFINISHED_RESTORE} in it to begin with an empty cluster"
    );
    Some(Fault::new("data.dir", origin(config, "data.dir"), problem, remedy))
}

/// A disk on which produce would be refused even if it were empty.
fn too_small(config: &BrokerConfig) -> Option<Fault> {
    let option = "chronik.disk.reserve.bytes";
    let needed = resume_bytes(config.storage.disk_reserve_bytes);
    let total = space(&config.node.data_dir).ok()?.total_bytes;
    let problem = format!(
        "{} is on a disk of {total} bytes, and produce is refused until {needed} are free",
        config.node.data_dir.display()
    );
    let remedy = "Lower it to less than four fifths of the disk, or give a directory on a larger one";
    (total < needed).then(|| Fault::new(option, origin(config, option), problem, remedy))
}

/// Whether `address` can be bound now.
pub fn address_free(config: &BrokerConfig, option: &str, address: SocketAddr) -> Option<Fault> {
    // std sets SO_REUSEADDR on Unix as our own listeners do, so lingering connections are no obstacle.
    let error = TcpListener::bind(address).err()?;
    let (problem, remedy) = match error.kind() {
        std::io::ErrorKind::AddrInUse => (
            format!("{address} cannot be bound: it is in use"),
            format!(
                "Stop what listens there (`ss -ltnp 'sport = :{}'` names it) or choose another port",
                address.port()
            ),
        ),
        std::io::ErrorKind::AddrNotAvailable => (
            format!("{address} is no address of this machine"),
            "Bind 0.0.0.0, [::] or one of its own".to_owned(),
        ),
        std::io::ErrorKind::PermissionDenied => {
            (format!("{address} may not be bound"), "Choose a port above 1023".to_owned())
        }
        _ => (format!("{address} cannot be bound: {error}"), "Choose another address".to_owned()),
    };
    Some(Fault::new(option, origin(config, option), problem, remedy))
}

/// Creates the directory when absent and locks it; the error is problem and remedy.
pub fn lock_data_dir(dir: &Path) -> Result<File, (String, String)> {
    let shown = dir.display();
    let access = |error: std::io::Error| {
        let remedy = "Give a directory that this user may create and write, with -d or data.dir".to_owned();
        (format!("{shown} cannot be written: {error}"), remedy)
    };
    if !dir.exists() {
        create_durably(dir).map_err(access)?;
    }
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(dir.join(LOCK_FILE))
        .map_err(access)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            let holder = holder.trim();
            let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
            let remedy = "Stop that broker, or give another directory with -d or data.dir".to_owned();
            return Err((format!("{shown} is in use by another broker{who}"), remedy));
        }
        Err(TryLockError::Error(error)) => return Err(access(error)),
    }
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(access)?;
    Ok(file)
}

/// Whether the processor has what this binary was compiled for. `is_x86_feature_detected!` would not ask it: with the
/// features named at compile time the macro is the constant `true`.
pub fn cpu() -> Option<Fault> {
    let missing = missing_features(std::env::consts::ARCH, &std::fs::read_to_string("/proc/cpuinfo").ok()?);
    if missing.is_empty() {
        return None;
    }
    let problem =
        format!("the processor lacks {}, which this binary was built to use", missing.join(" and "));
    let remedy = "Use a machine from 2011 or later (x86-64) or ARMv8 with CRC and AES; a virtual machine may hide \
                  them: choose the host's processor model";
    Some(Fault::new("cpu", Origin::Machine, problem, remedy))
}

/// Features the binary needs and `/proc/cpuinfo` does not list. A text without a feature line says nothing.
fn missing_features(arch: &str, cpuinfo: &str) -> Vec<&'static str> {
    let (line, needed): (&str, &[&'static str]) = match arch {
        "x86_64" => ("flags", &["sse4_2", "pclmulqdq"]),
        "aarch64" => ("Features", &["crc32", "aes"]),
        _ => return Vec::new(),
    };
    let Some(listed) = cpuinfo.lines().find_map(|text| {
        let (name, features) = text.split_once(':')?;
        (name.trim() == line).then_some(features)
    }) else {
        return Vec::new();
    };
    let has = |feature: &str| listed.split_whitespace().any(|listed| listed == feature);
    needed.iter().copied().filter(|feature| !has(feature)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn an_old_processor_is_told_by_name() {
        let old = "model name\t: old\nflags\t\t: fpu sse sse2 pclmulqdq\n";
        assert_eq!(missing_features("x86_64", old), ["sse4_2"]);
        assert_eq!(missing_features("x86_64", "flags : sse4_2 pclmulqdq"), [""; 0]);
        assert_eq!(missing_features("aarch64", "Features\t: fp asimd"), ["crc32", "aes"]);
        assert_eq!(missing_features("x86_64", "nothing of use"), [""; 0]);
    }

    #[test]
    fn addresses_and_directory_in_use_are_told_together() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let held = lock_data_dir(dir.path()).unwrap();
        let env = [
            ("CHRONIK_LISTENERS", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("CHRONIK_HTTP_ADDR", "192.0.2.1:0".to_owned()),
            ("CHRONIK_DATA_DIR", dir.path().display().to_string()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = load(&Sources { env, ..Sources::default() }).unwrap();
        let found = place(&config, &[]);
        let told: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("in use") && told[0].contains("CHRONIK_LISTENERS"), "{told:?}");
        assert!(told[1].contains("no address of this machine"), "{told:?}");
        assert!(told[2].contains(&format!("process {}", std::process::id())), "{told:?}");
        assert!(found.lock.is_none());
        drop((held, taken));
        let free = place(&config, &["http.addr"]);
        assert_eq!(free.faults, []);
        assert!(free.lock.is_some());
    }

    fn config_in(dir: &Path, more: &[(&str, &str)]) -> BrokerConfig {
        let mut env = vec![("CHRONIK_DATA_DIR".to_owned(), dir.display().to_string())];
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        load(&Sources { env, ..Sources::default() }).unwrap()
    }

    #[test]
    fn a_refused_start_leaves_no_directory_it_made() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        place(&config_in(&dir, &[]), &["listeners", "http.addr"]).undo();
        assert!(!dir.exists());
        std::fs::create_dir(&dir).unwrap();
        place(&config_in(&dir, &[]), &["listeners", "http.addr"]).undo();
        assert!(dir.exists(), "that one was there before");
    }

    #[test]
    fn a_restore_that_did_not_finish_is_no_empty_cluster() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(UNFINISHED_RESTORE)).unwrap();
        let faults = |dir: &Path| place(&config_in(dir, &[]), &["listeners", "http.addr"]).faults;
        let told: Vec<String> = faults(dir.path()).iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].contains("restore"), "{told:?}");
        // Left behind beside a store that is whole: of no use, and no harm.
        std::fs::create_dir(store_path(dir.path())).unwrap();
        assert_eq!(faults(dir.path()), []);
    }

    #[test]
    fn a_disk_smaller_than_the_reserve_is_told_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let exabyte = [("CHRONIK_DISK_RESERVE_BYTES", "1152921504606846976")];
        let found = place(&config_in(dir.path(), &exabyte), &["listeners", "http.addr"]);
        let told: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].contains("chronik.disk.reserve.bytes"), "{told:?}");
    }
}
