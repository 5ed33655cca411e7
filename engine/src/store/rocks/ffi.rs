//! Every raw call into RocksDB's C interface, behind types that are safe to use.
//!
//! Here because the crate falls short in four places: it consumes a write batch per write (a buffer of megabytes
//! reallocated each time) and copies values into one slice first; its snapshots borrow the database; it cannot ask
//! for blob garbage collection in a manual compaction; it leaves blobs out of size estimates. Opening, options and
//! properties stay with the crate. No policy lives here.
#![allow(unsafe_code, reason = "the one place where RocksDB's C interface is called")]

use std::ffi::{CStr, c_char};
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use librocksdb_sys as sys;
use rocksdb::{AsColumnFamilyRef, AsRawPtr, DB};

use super::super::{Chunk, Keyspace, Op, ScanLimit, Value};

/// What an operation adds to a write batch besides its payload: a tag, the family, and two lengths as varints.
const OP_OVERHEAD_BYTES: usize = 16;

/// Sequence number and count that open every write batch.
const BATCH_HEADER_BYTES: usize = 12;

/// `CompactRangeOptions`: rewrite the last level too, or the garbage there stays.
const BOTTOMMOST_FORCE_OPTIMIZED: u8 = 3;

/// `BlobGarbageCollectionPolicy`: as configured; on, whatever is configured.
const BLOB_GC_DEFAULT: i32 = 2;
const BLOB_GC_FORCE: i32 = 0;

/// RocksDB's message, class first ("Corruption: ...").
pub(super) type Message = String;

fn check(error: *mut c_char) -> Result<(), Message> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: RocksDB sets the pointer to a C string of its own, to be freed by `rocksdb_free`, exactly once.
    unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        sys::rocksdb_free(error.cast());
        Err(message)
    }
}

fn number(keyspace: Keyspace) -> usize {
    match keyspace {
        Keyspace::Meta => 0,
        Keyspace::Batches => 1,
        Keyspace::Index => 2,
    }
}

/// Turns off RocksDB's own resuming after a background error: a failed write is final.
pub(super) fn never_resume(options: &mut rocksdb::Options) {
    // SAFETY: the options are alive; a plain setter.
    unsafe { sys::rocksdb_options_set_max_bgerror_resume_count(options.as_raw_ptr(), 0) }
}

/// An open database with the handles of its keyspaces.
pub(super) struct Database {
    db: DB,
    families: [*mut sys::rocksdb_column_family_handle_t; 3],
    sync: *mut sys::rocksdb_writeoptions_t,
    os: *mut sys::rocksdb_writeoptions_t,
}

// SAFETY: RocksDB's database and column family handles may be used from several threads; the write options are
// never changed after `new`, and everything is freed once, in `drop`, when no reference is left.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// Takes over `db`, which must hold every keyspace's column family.
    pub(super) fn new(db: DB) -> Self {
        let families = Keyspace::ALL
            .map(|keyspace| db.cf_handle(keyspace.name()).expect("opened with every family").inner());
        // SAFETY: plain constructors and setters on what they returned.
        unsafe {
            let sync = sys::rocksdb_writeoptions_create();
            sys::rocksdb_writeoptions_set_sync(sync, 1);
            let os = sys::rocksdb_writeoptions_create();
            sys::rocksdb_writeoptions_set_sync(os, 0);
            Self { db, families, sync, os }
        }
    }

    /// The crate's view, for what it does well.
    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    fn raw(&self) -> *mut sys::rocksdb_t {
        // SAFETY: used only within calls made through `&self`, while the database lives.
        unsafe { self.db.as_raw_ptr() }
    }

    fn family(&self, keyspace: Keyspace) -> *mut sys::rocksdb_column_family_handle_t {
        self.families[number(keyspace)]
    }

    /// Writes `group` to the log and the memtables, and fsyncs the log if `sync`.
    pub(super) fn write(&self, group: &mut Group, sync: bool) -> Result<(), Message> {
        let mut error = null_mut();
        let options = if sync { self.sync } else { self.os };
        // SAFETY: all three objects are alive; RocksDB keeps no pointer into the batch.
        unsafe { sys::rocksdb_write(self.raw(), options, group.batch, &mut error) };
        check(error)
    }

    /// Copies the value of `key`, as of `snapshot` or now.
    pub(super) fn get(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        snapshot: Option<&RawSnapshot>,
        memory_only: bool,
    ) -> Result<Option<Bytes>, Message> {
        let options = ReadOptions::new(keyspace, snapshot);
        let mut error = null_mut();
        // SAFETY: pointers and lengths belong together and live through the calls; the pinned slice is read before
        // it is destroyed, once.
        unsafe {
            if memory_only {
                sys::rocksdb_readoptions_set_read_tier(options.0, 1);
            }
            let pinned = sys::rocksdb_get_pinned_cf(
                self.raw(),
                options.0,
                self.family(keyspace),
                key.as_ptr().cast(),
                key.len(),
                &mut error,
            );
            check(error)?;
            if pinned.is_null() {
                return Ok(None);
            }
            let mut len = 0;
            let data = sys::rocksdb_pinnableslice_value(pinned, &mut len);
            let value = Bytes::copy_from_slice(slice(data, len));
            sys::rocksdb_pinnableslice_destroy(pinned);
            Ok(Some(value))
        }
    }

    /// Copies the entries of `range` up to `limit`, each once, as of `snapshot` or now.
    pub(super) fn scan(
        &self,
        keyspace: Keyspace,
        range: &Range<Bytes>,
        limit: ScanLimit,
        readahead_bytes: usize,
        snapshot: Option<&RawSnapshot>,
    ) -> Result<Chunk, Message> {
        let mut chunk = Chunk::default();
        if range.start >= range.end {
            return Ok(chunk);
        }
        let options = ReadOptions::new(keyspace, snapshot);
        let mut slabs = Slabs::default();
        let mut bytes = 0_usize;
        // SAFETY: `range` and `options` outlive the iterator, which keeps pointers to both bounds; keys and values
        // are copied before the iterator moves.
        unsafe {
            let (from, to) = (&range.start, &range.end);
            sys::rocksdb_readoptions_set_iterate_lower_bound(options.0, from.as_ptr().cast(), from.len());
            sys::rocksdb_readoptions_set_iterate_upper_bound(options.0, to.as_ptr().cast(), to.len());
            sys::rocksdb_readoptions_set_readahead_size(options.0, readahead_bytes);
            let iterator =
                Iter(sys::rocksdb_create_iterator_cf(self.raw(), options.0, self.family(keyspace)));
            sys::rocksdb_iter_seek(iterator.0, from.as_ptr().cast(), from.len());
            while sys::rocksdb_iter_valid(iterator.0) != 0 {
                let mut len = 0;
                let data = sys::rocksdb_iter_value(iterator.0, &mut len);
                let value = slice(data, len);
                let full = bytes.saturating_add(value.len()) > limit.max_bytes
                    || chunk.entries.len() >= limit.max_entries;
                if full && !chunk.entries.is_empty() {
                    chunk.more = true;
                    break;
                }
                bytes += value.len();
                let data = sys::rocksdb_iter_key(iterator.0, &mut len);
                let key = slabs.copy(slice(data, len));
                chunk.entries.push((key, slabs.copy(value)));
                sys::rocksdb_iter_next(iterator.0);
            }
            let mut error = null_mut();
            sys::rocksdb_iter_get_error(iterator.0, &mut error);
            check(error)?;
        }
        Ok(chunk)
    }

    /// A view of this moment.
    pub(super) fn snapshot(self: &Arc<Self>) -> RawSnapshot {
        // SAFETY: released in `RawSnapshot::drop`, which keeps the database alive.
        let snapshot = unsafe { sys::rocksdb_create_snapshot(self.raw()) };
        RawSnapshot { database: Arc::clone(self), snapshot }
    }

    /// Compacts `range` (everything if `None`) down to the last level; `collect_blobs` rewrites every blob file on
    /// the way, garbage or not. Returns early when background work is cancelled.
    pub(super) fn compact(&self, keyspace: Keyspace, range: Option<&Range<Bytes>>, collect_blobs: bool) {
        let bound =
            |key: Option<&Bytes>| key.map_or((std::ptr::null(), 0), |key| (key.as_ptr().cast(), key.len()));
        let (from, from_len) = bound(range.map(|range| &range.start));
        let (to, to_len) = bound(range.map(|range| &range.end));
        // SAFETY: `range` outlives the call, which returns when the compaction ended; options are freed once.
        unsafe {
            let options = sys::rocksdb_compactoptions_create();
            sys::rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
            if collect_blobs {
                sys::rocksdb_compactoptions_set_bottommost_level_compaction(
                    options,
                    BOTTOMMOST_FORCE_OPTIMIZED,
                );
            }
            let policy = if collect_blobs { BLOB_GC_FORCE } else { BLOB_GC_DEFAULT };
            sys::rocksdb_compactoptions_set_blob_garbage_collection_policy(options, policy);
            if collect_blobs {
                sys::rocksdb_compactoptions_set_blob_garbage_collection_age_cutoff(options, 1.0);
            }
            sys::rocksdb_compact_range_cf_opt(
                self.raw(),
                self.family(keyspace),
                options,
                from,
                from_len,
                to,
                to_len,
            );
            sys::rocksdb_compactoptions_destroy(options);
        }
    }

    /// Interrupts [`Self::compact`] and makes later calls return at once.
    pub(super) fn disable_compact(&self) {
        // SAFETY: the database is alive.
        unsafe { sys::rocksdb_disable_manual_compaction(self.raw()) }
    }

    /// Bytes of `range` in memtables, tables and blob files, roughly.
    pub(super) fn size_estimate(&self, keyspace: Keyspace, range: &Range<Bytes>) -> u64 {
        if range.start >= range.end {
            return 0;
        }
        let mut size = 0;
        let mut error = null_mut();
        let (from, to) = (range.start.as_ptr().cast(), range.end.as_ptr().cast());
        let (from_len, to_len) = (range.start.len(), range.end.len());
        // Memtables, tables, blob files.
        let flags = 1 | 2 | 4;
        // SAFETY: arrays of one element each, alive through the call.
        unsafe {
            sys::rocksdb_approximate_sizes_cf_with_flags(
                self.raw(),
                self.family(keyspace),
                1,
                &from,
                &from_len,
                &to,
                &to_len,
                flags,
                &mut size,
                &mut error,
            );
        }
        check(error).map_or(0, |()| size)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: created in `new`, freed here only.
        unsafe {
            sys::rocksdb_writeoptions_destroy(self.sync);
            sys::rocksdb_writeoptions_destroy(self.os);
        }
    }
}

/// # Safety
/// `data` points to `len` bytes that stay as they are while the result is used.
unsafe fn slice<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data.cast(), len) }
}

struct ReadOptions(*mut sys::rocksdb_readoptions_t);

impl ReadOptions {
    fn new(keyspace: Keyspace, snapshot: Option<&RawSnapshot>) -> Self {
        // SAFETY: plain constructor and setters; a snapshot outlives the read it is passed to.
        unsafe {
            let options = sys::rocksdb_readoptions_create();
            // Batches are read once, in order, and would push the small hot blocks out.
            let fill_cache = u8::from(keyspace != Keyspace::Batches);
            sys::rocksdb_readoptions_set_fill_cache(options, fill_cache);
            if let Some(snapshot) = snapshot {
                sys::rocksdb_readoptions_set_snapshot(options, snapshot.snapshot);
            }
            Self(options)
        }
    }
}

impl Drop for ReadOptions {
    fn drop(&mut self) {
        // SAFETY: created in `new`, freed here only, after the iterators that use it (declared later, dropped first).
        unsafe { sys::rocksdb_readoptions_destroy(self.0) }
    }
}

struct Iter(*mut sys::rocksdb_iterator_t);

impl Drop for Iter {
    fn drop(&mut self) {
        // SAFETY: owned, freed here only.
        unsafe { sys::rocksdb_iter_destroy(self.0) }
    }
}

/// A moment of the database, which it keeps open.
pub(super) struct RawSnapshot {
    database: Arc<Database>,
    snapshot: *const sys::rocksdb_snapshot_t,
}

// SAFETY: snapshots are immutable, and RocksDB creates and releases them under its own lock.
unsafe impl Send for RawSnapshot {}
// SAFETY: as above.
unsafe impl Sync for RawSnapshot {}

impl RawSnapshot {
    /// The database the snapshot is of.
    pub(super) fn database(&self) -> &Arc<Database> {
        &self.database
    }
}

impl Drop for RawSnapshot {
    fn drop(&mut self) {
        // SAFETY: created by this database, released here only.
        unsafe { sys::rocksdb_release_snapshot(self.database.raw(), self.snapshot) }
    }
}

/// What goes to the disk in one write. Reused, so that its buffer is.
pub(super) struct Group {
    batch: *mut sys::rocksdb_writebatch_t,
    /// What the buffer surely holds without growing, which would copy all of it.
    reserved_bytes: usize,
    retained_bytes_max: usize,
}

// SAFETY: owned by one thread at a time; nothing in it is bound to a thread.
unsafe impl Send for Group {}

impl Group {
    /// An empty group that keeps at most `retained_bytes_max` of buffer between writes.
    pub(super) fn new(retained_bytes_max: usize) -> Self {
        // SAFETY: plain constructor.
        let batch = unsafe { sys::rocksdb_writebatch_create() };
        Self { batch, reserved_bytes: 0, retained_bytes_max }
    }

    /// Makes room for `payload_bytes` in `ops` operations. The group must be empty.
    pub(super) fn reserve(&mut self, payload_bytes: usize, ops: usize) {
        let needed = payload_bytes + ops * OP_OVERHEAD_BYTES + BATCH_HEADER_BYTES;
        if needed <= self.reserved_bytes {
            return;
        }
        // In steps, so that slightly larger groups do not reallocate each time.
        self.replace(needed.next_multiple_of(1 << 20).max(2 * self.reserved_bytes.min(1 << 20)));
    }

    /// Empties the group, and gives back a buffer that one large group left behind.
    pub(super) fn clear(&mut self) {
        if self.reserved_bytes > self.retained_bytes_max {
            self.replace(0);
        } else {
            // SAFETY: owned and alive.
            unsafe { sys::rocksdb_writebatch_clear(self.batch) }
        }
    }

    fn replace(&mut self, reserved_bytes: usize) {
        // SAFETY: the old batch is owned and not used again; parameters: no size limit, no per-key protection, no
        // timestamps.
        unsafe {
            sys::rocksdb_writebatch_destroy(self.batch);
            self.batch = sys::rocksdb_writebatch_create_with_params(reserved_bytes, 0, 0, 0);
        }
        self.reserved_bytes = reserved_bytes;
    }

    /// Appends `op`, copying its value once.
    pub(super) fn push(&mut self, database: &Database, op: &Op) {
        match op {
            Op::Put { keyspace, key, value } => self.put(database, *keyspace, key, value),
            // SAFETY: pointer and length belong together; RocksDB copies.
            Op::Delete { keyspace, key } => unsafe {
                let family = database.family(*keyspace);
                sys::rocksdb_writebatch_delete_cf(self.batch, family, key.as_ptr().cast(), key.len());
            },
            // SAFETY: as above.
            Op::Trim { keyspace, from, to } if from < to => unsafe {
                sys::rocksdb_writebatch_delete_range_cf(
                    self.batch,
                    database.family(*keyspace),
                    from.as_ptr().cast(),
                    from.len(),
                    to.as_ptr().cast(),
                    to.len(),
                );
            },
            Op::Trim { .. } | Op::Reclaim { .. } => {}
        }
    }

    fn put(&mut self, database: &Database, keyspace: Keyspace, key: &Bytes, value: &Value) {
        let keys: [*const c_char; 1] = [key.as_ptr().cast()];
        let key_lens = [key.len()];
        let parts: [*const c_char; 2] = [value.head.as_ptr().cast(), value.body.as_ptr().cast()];
        let lens = [value.head.len(), value.body.len()];
        // SAFETY: arrays and counts belong together and live through the call; RocksDB copies.
        unsafe {
            sys::rocksdb_writebatch_putv_cf(
                self.batch,
                database.family(keyspace),
                1,
                keys.as_ptr(),
                key_lens.as_ptr(),
                2,
                parts.as_ptr(),
                lens.as_ptr(),
            );
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: owned, freed here only.
        unsafe { sys::rocksdb_writebatch_destroy(self.batch) }
    }
}

/// Copies into shared buffers that grow with the chunk: few allocations for many small entries, exact ones for large.
#[derive(Default)]
struct Slabs {
    current: BytesMut,
    next_bytes: usize,
}

impl Slabs {
    const FIRST_BYTES: usize = 4 << 10;
    const LARGEST_BYTES: usize = 256 << 10;

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        let slab_bytes = self.next_bytes.clamp(Self::FIRST_BYTES, Self::LARGEST_BYTES);
        if bytes.len() > slab_bytes / 4 && bytes.len() > self.current.capacity() {
            return Bytes::copy_from_slice(bytes);
        }
        if bytes.len() > self.current.capacity() {
            self.current = BytesMut::with_capacity(slab_bytes);
            self.next_bytes = slab_bytes * 2;
        }
        self.current.extend_from_slice(bytes);
        self.current.split().freeze()
    }
}
