//! Whether there is room for a save: a save that fails makes a server with save points refuse all writes.

use std::fs;
use std::path::Path;

use super::discovery::Place;
use super::dump_file;
use super::info::Info;
use super::watch::Watch;
use crate::format::counts::size;
use crate::rdb;
use crate::redis::RedisError;
use crate::redis::directory::first_bytes;

/// The room on the file system of a data directory, from before a save to its end.
#[derive(Debug)]
pub(super) struct Room<'a> {
    directory: &'a Path,
    /// Bytes that the save may take.
    needed: u64,
    /// The least that was free since, in bytes.
    lowest: u64,
    told: bool,
}

impl<'a> Room<'a> {
    /// LIVE-6: refuses a save for which there may be no room.
    pub(super) fn check(info: &Info, place: &'a Place, dump: &Path) -> Result<Self, RedisError> {
        let refuse = |what: String| {
            let hint = "make room, or take the dump that is there with --no-save".to_owned();
            Err(RedisError::Server { what, hint })
        };
        let directory = place.directory.as_path();
        let needed = expected_size(dump, info)?;
        let free = free(directory).map_err(|error| RedisError::io("look at", directory, error))?;
        if free < needed {
            let place = directory.display();
            return refuse(format!("a save may need {} in {place}, and {} are free", size(needed), size(free)));
        }
        let memory = info.number("used_memory_rss").zip(commit_room()).filter(|_| place.is_the_servers() == Some(true));
        match memory.filter(|(used, room)| used > room) {
            Some((used, room)) => refuse(format!(
                "a fork of the server may need {} of memory, and the system, which does not overcommit, would give {}",
                size(used),
                size(room)
            )),
            None => Ok(Self { directory, needed, lowest: free, told: false }),
        }
    }

    /// Looks again while the server writes, and tells once when others take the room that it still needs: nothing that a
    /// backup may ask for ends a save.
    pub(super) fn look(&mut self, written: u64, watch: &Watch<'_>) {
        let Ok(free) = free(self.directory) else { return };
        self.lowest = self.lowest.min(free);
        let left = self.needed.saturating_sub(written);
        if free < left && !self.told {
            self.told = true;
            let place = self.directory.display();
            (watch.note)(&format!(
                "the server saves, and may still need {} in {place}, where {} are free",
                size(left),
                size(free)
            ));
        }
    }

    /// That it ran out, as far as that was seen, for the one who asks why a save failed.
    pub(super) fn shortage(&self) -> Option<String> {
        let place = self.directory.display();
        (self.lowest <= self.needed / 10).then(|| format!("{} were free in {place} while it wrote", size(self.lowest)))
    }
}

fn free(directory: &Path) -> std::io::Result<u64> {
    let space = rustix::fs::statvfs(directory)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// How many bytes a dump may take, on the safe side: values that do not compress take all the memory they have. Where there
/// is a dump: as much more as memory grew, by share or by bytes, whichever is more. Else all that the data take.
fn expected_size(dump: &Path, info: &Info) -> Result<u64, RedisError> {
    let used_now = info.number("used_memory").unwrap_or(0);
    let data = info.number("used_memory_dataset").filter(|data| *data <= used_now).unwrap_or(used_now);
    let Some(file) = dump_file::open(dump)? else { return Ok(data) };
    let last = file.metadata().map_err(|error| RedisError::io("look at", dump, error))?.len();
    let first = first_bytes(&file).map_err(|error| RedisError::io("read", dump, error))?;
    let used_then = rdb::read_header(&first).and_then(|peek| peek.aux.used_memory);
    Ok(grown(last, used_then, used_now).min(last.saturating_add(last / 10 * 3).saturating_add(data)))
}

fn grown(last: u64, used_then: Option<u64>, used_now: u64) -> u64 {
    let share =
        used_then.filter(|then| *then > 0).map(|then| u128::from(last) * u128::from(used_now) / u128::from(then));
    let share = share.map_or(0, |share| u64::try_from(share).unwrap_or(u64::MAX));
    let added = used_now.saturating_sub(used_then.unwrap_or(0));
    share.max(last.saturating_add(last / 10 * 3).saturating_add(added))
}

/// How much memory may still be promised, on a system that promises no more than it has.
fn commit_room() -> Option<u64> {
    let strict = fs::read_to_string("/proc/sys/vm/overcommit_memory").ok()?.trim() == "2";
    let memory = fs::read_to_string("/proc/meminfo").ok().filter(|_| strict)?;
    let kilobytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(kilobytes("CommitLimit")?.saturating_sub(kilobytes("Committed_AS")?).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_expected_to_grow_with_the_memory_by_share_or_by_bytes() {
        // Next to nothing was saved, then incompressible values came: all that was added.
        assert_eq!(grown(100, Some(1_000_000), 34_000_000), 130 + 33_000_000);
        // Nothing was added: somewhat more than the last one.
        assert_eq!(grown(1_000, Some(5_000), 4_000), 1_300);
        // A dump that is larger than the memory it came from grows by its share.
        assert_eq!(grown(10_000, Some(1_000), 3_000), 30_000);
        // One that does not tell: all of the memory, too.
        assert_eq!(grown(100, None, 500), 630);
        assert_eq!(grown(u64::MAX, Some(1), u64::MAX), u64::MAX);
    }

    #[test]
    fn without_a_dump_all_that_the_data_take_is_expected() {
        let dir = tempfile::tempdir().unwrap();
        let size = |text: &str| expected_size(&dir.path().join("dump.rdb"), &Info::parse(text)).unwrap();
        assert_eq!(size("used_memory:900\nused_memory_dataset:700\n"), 700);
        assert_eq!(size("used_memory:900\n"), 900);
        // What the server counts may be more than it uses: an overflow of its own.
        assert_eq!(size("used_memory:900\nused_memory_dataset:18446744073709551000\n"), 900);
    }
}
