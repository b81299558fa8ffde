//! How RocksDB is set: for all families, and for each by what is in it.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType, Env, FifoCompactOptions,
    Options,
};

use super::super::super::StoreError;
use super::{failed, family};

/// Blocks of all column families together that are kept uncompressed, with the filters and indexes of their tables.
const BLOCK_CACHE: usize = 64 << 20;
/// Log of writes that aren't in a table yet: what is replayed after a crash, at about 100 MB a second.
const MAX_WAL: u64 = 64 << 20;
/// Writes of all column families together that are held in memory until they become tables.
const WRITE_BUFFERS: usize = 64 << 20;
/// Of those of one family. After the disk was full, RocksDB lets nothing be stored until so much is free again.
const WRITE_BUFFER: usize = 32 << 20;
/// What RocksDB tells of itself in files, each so long, and how many of them are kept.
const LOG_FILE: usize = 4 << 20;
const LOG_FILES: usize = 4;
/// The list of tables, before it is written anew without what is gone.
const MANIFEST: usize = 16 << 20;
/// A bit of a filter tells of one key in so many that it isn't there: 1 in 100 is looked for in vain.
const FILTER_BITS: f64 = 10.0;
/// Blocks of families that are read from end to end, and whose values are some kilobytes.
const LARGE_BLOCK: usize = 32 << 10;
/// What decisions take on disk at most.
const MAX_DECISIONS: u64 = 1 << 30;

/// Of the whole database.
pub(super) fn of_database() -> Result<Options, StoreError> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.increase_parallelism(2);
    let mut environment = Env::new().map_err(failed)?;
    // Compactions can wait, lookups can't.
    environment.lower_thread_pool_cpu_priority();
    options.set_env(&environment);
    // Families that are seldom written would otherwise keep old logs, to be replayed after a crash, by the gigabyte.
    options.set_max_total_wal_size(MAX_WAL);
    options.set_db_write_buffer_size(WRITE_BUFFERS);
    options.set_max_log_file_size(LOG_FILE);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_max_manifest_file_size(MANIFEST);
    Ok(options)
}

/// What all families share.
pub(super) struct Shared {
    blocks: Cache,
}

/// How a family is used.
enum Use {
    /// Small values that are read one by one, and some that are looked for in vain.
    Points,
    /// Vectors: read from end to end at start, and seldom one by one. Their bytes are as good as random, so compressing them costs time and
    /// saves nothing.
    Vectors,
    /// Parts of graphs, of many kilobytes.
    Parts,
    /// Keys in their order.
    Order,
    /// What is dropped when it is old.
    Log,
}

impl Use {
    fn of(name: &str) -> Self {
        match name {
            family::VECTORS_A | family::VECTORS_B => Self::Vectors,
            family::GRAPHS => Self::Parts,
            family::EXPIRY => Self::Order,
            family::DECISIONS => Self::Log,
            _ => Self::Points,
        }
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { blocks: Cache::new_lru_cache(BLOCK_CACHE) }
    }

    /// Families with the options of each.
    pub(super) fn families<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Vec<ColumnFamilyDescriptor> {
        let descriptor = |name: N| ColumnFamilyDescriptor::new(name.as_ref(), self.of_family(name.as_ref()));
        names.into_iter().map(descriptor).collect()
    }

    pub(super) fn of_family(&self, name: &str) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.blocks);
        let mut options = Options::default();
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(WRITE_BUFFER);
        match Use::of(name) {
            Use::Points => {
                blocks.set_bloom_filter(FILTER_BITS, false);
                // Or they would take what they take, whatever the bound.
                blocks.set_cache_index_and_filter_blocks(true);
                blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
            }
            Use::Vectors => {
                blocks.set_bloom_filter(FILTER_BITS, false);
                blocks.set_cache_index_and_filter_blocks(true);
                blocks.set_block_size(LARGE_BLOCK);
                options.set_compression_type(DBCompressionType::None);
            }
            Use::Parts => blocks.set_block_size(LARGE_BLOCK),
            Use::Order => {}
            Use::Log => {
                blocks.set_bloom_filter(FILTER_BITS, false);
                let mut oldest_first = FifoCompactOptions::default();
                oldest_first.set_max_table_files_size(MAX_DECISIONS);
                options.set_compaction_style(DBCompactionStyle::Fifo);
                options.set_fifo_compaction_options(&oldest_first);
            }
        }
        options.set_block_based_table_factory(&blocks);
        options
    }
}
