//! Tiered storage: closed segments of a log in an object store, and the way back.
//!
//! | file | owns |
//! |---|---|
//! | `segment` | the format of an object: written, read, verified |
//! | `backend`, `bucket` | which store there is; names and bytes in it |
//! | `manifest` | what the bucket says it holds, and who may change that |
//! | `tier` | one data directory's part in it: leadership, and the order of changes |
//! | `plan`, `copying`, `copy`, `bandwidth` | what is copied next, the task that copies, one copy and its proof, how fast |
//! | `cleaning` | what a compacted log has in object storage, cleaned again |
//! | `tidy`, `scrub`, `meta` | local copies and garbage; comparing; what a restore begins with |
//! | `restore` | a data directory from a bucket |
//! | `threads` | the threads of all this but for reading |
//! | `read` | from offsets and times to batches, through a bounded cache |
//!
//! Must not know: sockets of clients, Kafka's error codes, configuration files. Touches logs only through the engine's
//! public methods. See [ADR 11](../../docs/adr/0011-tiered-storage.md).

mod adopt;
pub mod backend;
mod bandwidth;
pub mod bucket;
mod cleaning;
mod copy;
mod copying;
pub mod limits;
pub mod manifest;
pub mod meta;
pub mod metrics;
mod plan;
pub mod read;
pub mod restore;
mod scrub;
pub mod segment;
mod staged;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod threads;
mod tidy;
mod tier;

pub use bandwidth::Bandwidth;
pub use cleaning::Pace;
pub use copy::{CopyError, SEGMENTS, Source, copy, upload};
pub use scrub::ScrubReport;
pub use threads::background;
pub use tier::{Buckets, CommitError, Standing, Tier, TierOptions};
