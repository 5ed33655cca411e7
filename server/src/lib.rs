//! The broker: sockets, the Kafka APIs, coordinators, configuration, HTTP and the command line.
//!
//! The only crate that knows sockets, error codes and configuration. What is durable belongs to
//! `chronik-engine`, bytes on the wire to `chronik-protocol`. This file holds the module list alone.

pub mod config;
