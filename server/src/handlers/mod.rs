//! One file an API family. Handlers decode nothing and decide little: they check, call the engine or a coordinator,
//! and put the outcome into the response.

pub mod api_versions;
pub mod authorized_operations;
pub mod cluster;
pub mod configs;
mod distinct;
pub mod features;
pub mod fetch;
pub mod group_offsets;
pub mod groups;
pub mod list_offsets;
mod lookup;
pub mod metadata;
pub mod produce;
pub mod producer_id;
pub mod quorum;
pub mod records;
mod refusal;
pub mod replicas;
pub mod telemetry;
#[cfg(test)]
pub(crate) mod testing;
pub mod topics;
pub mod transactions;
