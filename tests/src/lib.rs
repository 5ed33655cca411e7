//! What the suites share: the real binary in a directory of its own ([`broker`]), and a raw connection to it
//! ([`wire`]).
//!
//! The suites look at the broker from outside: sockets, processes, files. They refuse to reach into the server crate.

pub mod anomaly;
pub mod broker;
pub mod fault_proxy;
pub mod ledger;
pub mod object_store;
pub mod random;
pub mod sources;
pub mod transactions;
pub mod wire;
