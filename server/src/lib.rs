//! The broker: sockets, the Kafka APIs, coordinators, configuration, HTTP and the command line.
//!
//! The only crate that knows sockets, error codes and configuration. What is durable belongs to
//! `chronik-engine`, bytes on the wire to `chronik-protocol`. This file holds the module list alone.

pub mod broker;
pub mod cleaner;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod disk;
pub mod dispatch;
pub mod dynamic;
pub mod error_code;
pub mod handlers;
pub mod http;
pub mod internal_topics;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod pattern;
pub mod request;
pub mod runtime;
pub mod server;
pub mod telemetry;
pub mod tier;
pub mod topic_rules;
