//! A batch of operations that a store applies whole or not at all.

use std::sync::Arc;

use bytes::Bytes;

use super::{CommitObserver, Keyspace};

/// A value in two parts, so that a record batch with a patched 16-byte prefix is written without first being copied
/// into one buffer.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// Written first; short.
    pub head: Bytes,
    /// Written after `head`.
    pub body: Bytes,
}

impl Value {
    /// Bytes of both parts.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
    /// Whether both parts are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Value {
    fn from(body: Bytes) -> Self {
        Self { head: Bytes::new(), body }
    }
}

impl From<Vec<u8>> for Value {
    fn from(body: Vec<u8>) -> Self {
        Bytes::from(body).into()
    }
}

impl From<&'static str> for Value {
    fn from(body: &'static str) -> Self {
        Bytes::from(body).into()
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub enum Op {
    /// Sets `key`.
    Put {
        /// Where.
        keyspace: Keyspace,
        /// Which.
        key: Bytes,
        /// To what.
        value: Value,
    },
    /// Removes `key`, if there.
    Delete {
        /// Where.
        keyspace: Keyspace,
        /// Which.
        key: Bytes,
    },
    /// Removes `from <= key < to`, and gives the space back later.
    Trim {
        /// Where.
        keyspace: Keyspace,
        /// First key removed.
        from: Bytes,
        /// First key kept.
        to: Bytes,
    },
    /// Changes nothing; gives the space of what was removed or overwritten in `from <= key < to` back later.
    Reclaim {
        /// Where.
        keyspace: Keyspace,
        /// First key.
        from: Bytes,
        /// First key that is not meant.
        to: Bytes,
    },
}

/// Who is told of a batch, and the token it was tagged with.
pub type Observed = (Arc<dyn CommitObserver>, u64);

/// Operations in order, applied atomically; see the store's contract.
#[derive(Default)]
pub struct WriteBatch {
    ops: Vec<Op>,
    bytes: usize,
    observer: Option<Observed>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, keyspace: Keyspace, key: impl Into<Bytes>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.ops.push(Op::Put { keyspace, key, value });
    }

    /// Removes `key`.
    pub fn delete(&mut self, keyspace: Keyspace, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.ops.push(Op::Delete { keyspace, key });
    }

    /// Removes `from <= key < to` and asks for the space back.
    pub fn trim(&mut self, keyspace: Keyspace, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        let (from, to) = (from.into(), to.into());
        self.bytes += from.len() + to.len();
        self.ops.push(Op::Trim { keyspace, from, to });
    }

    /// Asks for the space of what was removed or overwritten in `from <= key < to`. Nothing else changes.
    pub fn reclaim(&mut self, keyspace: Keyspace, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        self.ops.push(Op::Reclaim { keyspace, from: from.into(), to: to.into() });
    }

    /// Has `observer` told once the batch reached its durability. One observer a batch.
    pub fn observe(&mut self, observer: Arc<dyn CommitObserver>, token: u64) {
        self.observer = Some((observer, token));
    }

    /// Payload bytes: keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The operations, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Takes the batch apart.
    pub fn into_parts(self) -> (Vec<Op>, Option<Observed>) {
        (self.ops, self.observer)
    }
}

impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBatch")
            .field("ops", &self.ops.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
