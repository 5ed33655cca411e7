//! Fetch over real logs in memory.
