//! The background cleaner over a store in memory.
