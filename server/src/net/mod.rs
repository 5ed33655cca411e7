//! Sockets: listeners, connections, frames in and replies out. Knows no API but through the dispatch table.

mod connection;
mod limits;
mod listener;
mod memory;
mod reader;
mod reply;

pub use limits::{BODY_BYTES_MAX, ConnectionLimits};
pub use listener::{BoundListener, NamedListener, serve};
pub use memory::{Hold, RequestMemory};
pub use reply::Reply;
