//! One file an API family. Handlers decode nothing and decide little: they check, call the engine or a coordinator,
//! and put the outcome into the response.

pub mod api_versions;
pub mod cluster;
pub mod configs;
pub mod fetch;
pub mod group_offsets;
pub mod groups;
pub mod list_offsets;
pub mod metadata;
pub mod produce;
pub mod producer_id;
pub mod records;
pub mod topics;
