//! Records that should never have been shown, and transactions of which only a part was.

use super::history::{Outcome, Process};
use super::index::Index;
use super::{Anomaly, Kind};

/// Aborted reads, precommitted reads, phantoms and torn transactions.
pub fn find(index: &Index<'_>, final_reader: Option<Process>, found: &mut Vec<Anomaly>) {
    let mut read: Vec<_> = index.readers_of.iter().collect();
    read.sort_unstable();
    for (&(key, value), readers) in read {
        let Some(&writer) = index.writer_of.get(&(key, value)) else {
            found.push(Anomaly::new(Kind::Phantom, key, &[value], &readers[..1]));
            continue;
        };
        if index.operations[writer].outcome == Outcome::Fail {
            found.push(Anomaly::new(Kind::AbortedRead, key, &[value], &[writer, readers[0]]));
        }
        if readers.contains(&writer) {
            found.push(Anomaly::new(Kind::PrecommittedRead, key, &[value], &[writer]));
        }
    }
    if let Some(reader) = final_reader {
        torn(index, reader, found);
    }
}

/// A transaction whose outcome nobody knows is all there or not there at all. Where the outcome is known, what is
/// missing is lost, and what is there was aborted.
fn torn(index: &Index<'_>, reader: Process, found: &mut Vec<Anomaly>) {
    let kept = index.read_by(reader);
    for (at, operation) in index.operations.iter().enumerate() {
        let is_one_of_many = operation.sends().nth(1).is_some();
        if operation.outcome != Outcome::Info || !is_one_of_many || !index.must_have_committed(at) {
            continue;
        }
        for (key, value, _) in operation.sends().filter(|(key, value, _)| !kept.contains(&(*key, *value))) {
            found.push(Anomaly::new(Kind::TornTransaction, key, &[value], &[at]));
        }
    }
}
