//! Blocks in memory, and behind that on disk, each under its bound. What comes from the disk is checked again.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, PsyncIoEngineConfig,
    RecoverMode, Source,
};

use super::ReadOptions;
use crate::metrics as names;
use crate::segment::{Block, check_block};

/// Below this a disk cache is not worth its bookkeeping.
const DISK_BYTES_MIN: u64 = 64 << 20;
/// What is written to the disk, and dropped from it, at once. A larger block is kept in memory alone.
const DISK_REGION_BYTES: usize = 16 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct BlockCache {
    cache: HybridCache<u128, Bytes>,
    is_on_disk: bool,
}

/// Objects never change and their names are never used twice, so object and position name the bytes. 128 bits: if two
/// blocks shared a key after all, the checksum would tell.
fn key(object: &str, block: &Block) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, object, block.position).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

impl BlockCache {
    /// With a disk part, if that can be opened.
    pub(super) async fn open(options: &ReadOptions) -> Self {
        if options.disk_bytes >= DISK_BYTES_MIN {
            match Self::on_disk(options).await {
                Ok(cache) => return Self { cache, is_on_disk: true },
                Err(error) => tracing::warn!(
                    path = %options.disk_path.display(),
                    %error,
                    "the disk cache of object storage cannot be used; memory alone is"
                ),
            }
        }
        let cache = memory(options).storage().build().await;
        Self { cache: cache.expect("a cache in memory needs nothing that can fail"), is_on_disk: false }
    }

    async fn on_disk(options: &ReadOptions) -> foyer::Result<HybridCache<u128, Bytes>> {
        let device = FsDeviceBuilder::new(&options.disk_path)
            .with_capacity(usize::try_from(options.disk_bytes).unwrap_or(usize::MAX))
            .build()?;
        memory(options)
            .storage()
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(BlockEngineConfig::new(device).with_block_size(DISK_REGION_BYTES))
            .with_recover_mode(RecoverMode::Quiet)
            .build()
            .await
    }

    /// The block, if it is in memory.
    pub(super) fn in_memory(&self, object: &str, block: &Block) -> Option<Bytes> {
        let found = self.cache.memory().get(&key(object, block)).map(|entry| entry.value().clone())?;
        // The check is the disk's business; a length is free to compare.
        (found.len() == block.length as usize).then_some(found)
    }

    /// The block, if it is on disk.
    pub(super) async fn on_disk_of(&self, object: &str, block: &Block) -> Option<Bytes> {
        if !self.is_on_disk {
            return None;
        }
        let entry = self.cache.get(&key(object, block)).await.ok()??;
        let found = entry.value().clone();
        if entry.source() == Source::Memory && found.len() == block.length as usize {
            return Some(found);
        }
        if check_block(block, &found).is_ok() {
            return Some(found);
        }
        metrics::counter!(names::CORRUPT_BLOCKS, "from" => "disk").increment(1);
        self.cache.remove(&key(object, block));
        None
    }

    /// Keeps a block.
    pub(super) fn put(&self, object: &str, block: &Block, bytes: Bytes) {
        self.cache.insert(key(object, block), bytes);
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.cache.close().await {
            tracing::debug!(%error, "the disk cache was not closed in good order");
        }
    }
}

fn memory(options: &ReadOptions) -> foyer::HybridCacheBuilderPhaseMemory<u128, Bytes, foyer::DefaultHasher> {
    HybridCacheBuilder::new()
        .with_name("chronik-tier")
        .with_flush_on_close(true)
        .memory(options.memory_bytes)
        // One shard: blocks are large, and a shard that is too small for a few would hold none.
        .with_shards(1)
        .with_weighter(|_: &u128, block: &Bytes| block.len() + 64)
}
