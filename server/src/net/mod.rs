//! Sockets: listeners, connections, frames in and replies out. Knows no API but through the dispatch table.

mod connection;
mod limits;
mod listener;
mod memory;
mod reader;
mod reply;

pub use limits::ConnectionLimits;
pub use listener::{BoundListener, NamedListener, serve};
pub use memory::RequestMemory;
pub use reply::Reply;
