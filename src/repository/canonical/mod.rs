//! Dumps in canonical form, in and out of the repository: [`store_dump`] makes of a dump the streams of a canonical part,
//! `rebuild` makes of these the dump again. The form itself is in [`crate::rdb::canonical`]. Rules:
//! format-spec/09-recipes.md and 19-canonical-rdb.md.

mod ahead;
mod bucket_writer;
mod column;
mod columns;
mod difference;
mod element_placer;
mod element_sorter;
mod known;
mod large;
mod lookup;
mod memory_file;
mod merging;
mod old_buckets;
mod parameters;
mod reader;
mod rewriting;
mod templates;
mod together;
mod waiting;
mod workers;
mod writer;

use std::path::Path;

use super::Repository;
use crate::format::counts::size;
use crate::rdb::canonical::Hasher;
use crate::spill::Scratch;

pub use difference::{Change, TakeChange, difference};
pub use element_sorter::sort_elements;
pub use lookup::{DumpLookup, LookedUp, SizeOf};
pub use parameters::Parameters;
pub(super) use reader::rebuild;
pub use writer::{DumpStored, Earlier, NotStored, TakeBytes, store_dump};

/// Where scratch files are made where the host keeps nothing of the repository.
const NO_CACHE: &str = "/tmp";

/// A dump of so many bytes is sorted in memory.
const SORTED_IN_MEMORY: u64 = 64 << 20;
/// So many times the size of a dump has to be free for scratch files: twice what it may become when it is decompressed.
const SCRATCH_SHARE: u64 = 3;

impl Repository {
    /// Where what does not fit in memory waits.
    pub fn scratch(&self) -> Scratch {
        Scratch::new(self.scratch_directory(), self.ambient.random())
    }

    /// The directory that was named for it, else that of the caches, where there is one.
    fn scratch_directory(&self) -> &Path {
        let cache = || self.places.cache.as_deref().filter(|cache| cache.is_dir());
        self.places.scratch.as_deref().or_else(cache).unwrap_or(Path::new(NO_CACHE))
    }

    /// Whether scratch files have room for what may not fit in memory of a dump of so many bytes; where not, why.
    pub fn has_room_to_sort(&self, bytes: u64) -> Result<(), String> {
        let wanted = bytes.saturating_mul(SCRATCH_SHARE);
        if bytes <= SORTED_IN_MEMORY {
            return Ok(());
        }
        match self.scratch().free() {
            Ok(free) if free >= wanted => Ok(()),
            Ok(free) => {
                let directory = self.scratch_directory().display();
                let (free, wanted) = (size(free), size(wanted));
                Err(format!(
                    "{free} are free for scratch files in {directory}, where sorting its keys may take {wanted}: free some, \
                     or name a directory with more by --tmp-dir"
                ))
            }
            Err(error) => Err(workers::told(&error)),
        }
    }

    /// Names of keys and elements, hashed.
    fn name_hasher(&self) -> Hasher {
        Hasher::new(self.keyring().bag().key_hash)
    }
}
