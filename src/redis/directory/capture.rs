//! One consistent copy of a data directory, held open.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::authority::{AofState, DumpState, SEVERAL_AOFS, Verdict, judge, primary, warning};
use super::captured_file::{CapturedFile, Content};
use super::choice::Choice;
use super::ending::{Writer, find_end};
use super::left::{LeftOut, Why};
use super::listing::{Listed, Listing, Unfinished};
use super::names::{Guise, guise};
use super::opened::{FileId, Opening, first_bytes, may_follow, open, place_of};
use super::options::CaptureOptions;
use super::others::{Found, Others, open_listed};
use super::owners::Owners;
use super::sets::{AofSets, open_transaction};
use super::told::{Measure, Told};
use super::top_level::{Candidate, Chosen, choose, choose_told};
use crate::format::snapshot::{FileKind, Role, Warning};
use crate::held::FileStamp;
use crate::redis::error::RedisError;
use crate::redis::processes::{Sight, look};

/// How often a directory is listed and opened anew because something had gone meanwhile.
const ATTEMPTS: u32 = 10;

/// How long a server may take to give what it has written its name.
const RENAMED: Duration = Duration::from_secs(60);

/// A data directory at one moment.
#[derive(Debug)]
pub struct Capture {
    /// The directory, absolute and without links.
    pub directory: PathBuf,
    /// Sorted by path; each directory precedes what is below it.
    pub files: Vec<CapturedFile>,
    /// What a person should know before relying on it.
    pub warnings: Vec<Warning>,
    /// What is known of it: `capture.mode`, `aof.layout` (`multi-part`, `single`, `none`), `aof.live` (`yes`, `no`,
    /// `unknown`), `authoritative` (`aof`, `rdb`, `unknown`, `none`), and names and links of the files that count.
    pub facts: BTreeMap<String, String>,
    /// What stands there and was not taken.
    pub left: LeftOut,
}

/// Captures a directory that a server may be writing to, without asking it.
///
/// Nothing is read but small files and the last file of an AOF, to find where it is whole. Every other file is opened
/// once and stays what it is, whatever the server does: renames, removals and appended commands do not matter.
pub fn capture_directory(directory: &Path, options: &CaptureOptions) -> Result<Capture, RedisError> {
    capture_by(directory, options, None, None).map(|(capture, _)| capture)
}

/// The same of the directory of a live server, whose files bear these names: what is no part of its dataset is not taken.
pub(in crate::redis) fn capture_files_of(
    directory: &Path,
    options: &CaptureOptions,
    named: &Told,
) -> Result<Capture, RedisError> {
    capture_by(directory, options, Some(named), None).map(|(capture, _)| capture)
}

/// The same where a server said what its files are, with the measure of its AOF if that counts and is there.
pub(in crate::redis) fn capture_as_told(
    directory: &Path,
    options: &CaptureOptions,
    told: Option<&Told>,
) -> Result<(Capture, Option<Measure>), RedisError> {
    capture_by(directory, options, told, told)
}

fn capture_by(
    directory: &Path,
    options: &CaptureOptions,
    named: Option<&Told>,
    told: Option<&Told>,
) -> Result<(Capture, Option<Measure>), RedisError> {
    let choice = Choice::new(options, named)?;
    let directory = resolve(directory)?;
    choice.refuse_own(&directory)?;
    for attempt in 1..ATTEMPTS {
        if let Some(opened) = Opened::open(&directory, &choice, told)?.settled() {
            return opened.finish(directory);
        }
        thread::sleep(Duration::from_millis(u64::from(attempt)));
    }
    // What goes whenever it is looked for was not there to be captured.
    Opened::open(&directory, &choice, told)?.finish(directory)
}

/// Whether this is a link at the top level in place of a dump, an AOF or a directory that may not be followed.
fn leads_to_anothers(entry: &Listed) -> bool {
    let is_link = !entry.path.contains(&b'/') && entry.metadata.is_symlink();
    is_link && fs::metadata(&entry.place).is_ok_and(|to| !may_follow(&entry.metadata, &to))
}

/// Whether there is a dump at the top level, or a single AOF of another name than this.
fn has_other(listing: &Listing, append_file_name: &[u8]) -> bool {
    let top_level = listing.entries.iter().filter(|entry| !entry.path.contains(&b'/'));
    top_level.filter(|entry| !entry.metadata.is_dir()).any(|entry| {
        let Ok(Opening::File(file, _)) = open(&entry.place, true) else { return false };
        match guise(&entry.path, &first_bytes(&file).unwrap_or_default()) {
            Guise::Dump => true,
            Guise::SingleAof => entry.path != append_file_name,
            Guise::Other => false,
        }
    })
}

fn resolve(directory: &Path) -> Result<PathBuf, RedisError> {
    let refuse = |problem, hint| RedisError::Directory { directory: directory.to_owned(), problem, hint };
    place_of(directory).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            refuse("there is no such directory", "name the directory that CONFIG GET dir tells")
        }
        std::io::ErrorKind::NotADirectory => refuse("not a directory", "name the directory that holds the file"),
        _ => RedisError::io("open", directory, error),
    })
}

/// Everything of a directory, open.
struct Opened<'t> {
    /// What a server said of it.
    told: Option<&'t Told>,
    listing: Listing,
    aofs: AofSets,
    top_level: Chosen,
    files: Vec<CapturedFile>,
    /// Of the multi-part AOFs in their order, then of the single one.
    states: Vec<AofState>,
    /// Which of them counts by what the server said.
    told_primary: Option<usize>,
    /// Whether all of the directory was wanted.
    is_whole: bool,
    /// Files that hold commands up to their very end.
    complete: &'t [FileStamp],
    owners: Owners,
    /// Something went, or was replaced, between being listed and being opened.
    unsettled: bool,
}

impl<'t> Opened<'t> {
    fn open(directory: &Path, choice: &Choice<'t>, told: Option<&'t Told>) -> Result<Self, RedisError> {
        let listing = Listing::of(directory, choice)?;
        if listing.is_empty {
            let (problem, hint) = ("it is empty", "name the directory that CONFIG GET dir tells");
            return Err(RedisError::Directory { directory: directory.to_owned(), problem, hint });
        }
        let aofs = AofSets::open(&listing, choice, told, &|name| has_other(&listing, name))?;
        let mut opened = Self {
            told,
            unsettled: listing.vanished || aofs.vanished,
            listing,
            aofs,
            top_level: Chosen::default(),
            files: Vec::new(),
            states: Vec::new(),
            told_primary: None,
            is_whole: choice.whole,
            complete: choice.complete,
            owners: Owners::new(),
        };
        let id = fs::metadata(directory).map_err(|error| RedisError::io("look at", directory, error))?;
        let id = FileId::of(&id);
        opened.open_others(id)?;
        opened.look_at_aofs(directory, id)?;
        opened.look_at_unfinished(id);
        Ok(opened)
    }

    /// Opens all that is no part of a multi-part AOF.
    fn open_others(&mut self, id: FileId) -> Result<(), RedisError> {
        let (mut candidates, mut small) = (Vec::new(), Others::default());
        for entry in &self.listing.entries {
            if self.aofs.claims(&entry.path) {
                continue;
            }
            if leads_to_anothers(entry) {
                let message = "it leads to what its owner does not own, and is not followed".to_owned();
                self.aofs.warnings.push(warning("link-not-followed", &entry.path, message));
            }
            match open_listed(entry, self.told, &mut small)? {
                Found::Content(content, metadata) => {
                    let file = CapturedFile::new(&entry.path, Role::Other, &metadata, &self.owners, content);
                    self.files.push(file);
                }
                Found::Candidate(candidate) => candidates.push(candidate),
                Found::Nothing => self.unsettled = true,
            }
        }
        self.top_level = match self.told {
            Some(told) => choose_told(candidates, told),
            // From 7.0 on a server never reads it again, and one before 7.0 that writes to it is seen.
            None => choose(candidates, &|single| self.aofs.has(&single.path) && !single.is_written(id)),
        };
        Ok(())
    }

    fn look_at_aofs(&mut self, directory: &Path, id: FileId) -> Result<(), RedisError> {
        for set in &self.aofs.sets {
            let (state, moved_on) = set.state(id)?;
            self.unsettled |= moved_on && self.told.is_none();
            self.states.push(state);
        }
        if let Some(single) = &self.top_level.single {
            let (state, moved_on) = single.aof_state(directory, id);
            self.unsettled |= moved_on && self.told.is_none();
            self.states.push(state);
        }
        self.told_primary = self.told.and_then(|told| told.primary(&self.aofs.sets, self.top_level.single.as_ref()));
        Ok(())
    }

    /// Where a server was asked, or a process works on it, it is what its name says. Between its last byte and its new name
    /// nobody writes to it, for as long as the server takes to see that its child has ended.
    fn look_at_unfinished(&mut self, id: FileId) {
        let is_whole = self.is_whole;
        self.listing.unfinished.retain(|one| {
            let now = fs::symlink_metadata(&one.place).ok().filter(|now| FileId::of(now) == one.file);
            let is_old = |now: fs::Metadata| now.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > RENAMED));
            is_whole
                && match look(id, one.file, &[&one.path]) {
                    Sight::Written(_) => false,
                    Sight::NotWritten(_) => now.is_some_and(is_old),
                    Sight::Nothing => now.is_some(),
                }
        });
    }

    /// Reads what the AOF that counts tells of its own age.
    fn ask_aofs(&mut self) {
        let Some(place) = self.primary() else { return };
        let told = match self.aofs.sets.get(place) {
            Some(set) => set.told(),
            None => self.top_level.single.as_ref().and_then(Candidate::told),
        };
        if let Some(state) = self.states.get_mut(place) {
            state.told = told;
        }
    }

    fn settled(self) -> Option<Self> {
        (!self.unsettled).then_some(self)
    }

    /// Decides what counts, cuts what grows, and puts everything in order.
    fn finish(mut self, directory: PathBuf) -> Result<(Capture, Option<Measure>), RedisError> {
        let dump = self.top_level.dump.as_ref().map(Candidate::dump_state);
        if dump.as_ref().is_some_and(|dump| dump.is_copied) {
            self.ask_aofs();
        }
        let measure = self.measure();
        let verdict = self.verdict(dump.as_ref());
        let mut facts = self.facts(&verdict, dump.as_ref());
        let mut warnings = self.warnings();
        warnings.extend(verdict.warnings);

        let left_out = self.take_sets(&mut warnings)? + self.take_top_level(&mut warnings)?;
        if left_out > 0 {
            facts.insert("aof.unfinished".to_owned(), left_out.to_string());
        }
        // A file that two manifests name is captured for the one that counts.
        let order = |file: &CapturedFile| (file.path.clone(), file.role == Role::Other);
        self.files.sort_by_cached_key(order);
        self.files.dedup_by(|later, kept| later.path == kept.path);
        let left = std::mem::take(&mut self.listing.left);
        if left.count() > 0 {
            facts.insert("capture.left-out".to_owned(), left.count().to_string());
        }
        Ok((Capture { directory, files: self.files, warnings, facts, left }, measure))
    }

    /// The AOF that counts, by its place among the states.
    fn primary(&self) -> Option<usize> {
        match self.told {
            Some(_) => self.told_primary,
            None => primary(&self.states),
        }
    }

    fn measure(&self) -> Option<Measure> {
        let place = self.primary()?;
        match self.aofs.sets.get(place) {
            Some(set) => set.measure(),
            None => self.top_level.single.as_ref().map(Candidate::measure),
        }
    }

    fn verdict(&self, dump: Option<&DumpState>) -> Verdict {
        if self.told.is_none() {
            let mut verdict = judge(&self.states, dump);
            let primary = self.primary().and_then(|place| self.states.get(place));
            if let Some(primary) =
                primary.filter(|aof| verdict.live != Some("yes") && Some(aof.written) < self.aofs.broken_written)
            {
                let message = "several AOFs, of which one that lacks files was written later".to_owned();
                verdict.warnings.push(warning(SEVERAL_AOFS, &primary.path, message));
                verdict.authoritative = "unknown";
            }
            return verdict;
        }
        let (authoritative, live) = match (self.primary(), dump) {
            (Some(_), _) => ("aof", Some("yes")),
            (None, Some(_)) => ("rdb", None),
            (None, None) => ("none", None),
        };
        Verdict { authoritative, live, warnings: Vec::new() }
    }

    /// Takes the multi-part AOFs, and tells how many bytes were left out of the one that counts.
    fn take_sets(&mut self, warnings: &mut Vec<Warning>) -> Result<u64, RedisError> {
        let primary = self.primary();
        let mut left_out = 0;
        for (place, set) in std::mem::take(&mut self.aofs.sets).into_iter().enumerate() {
            let counts = primary == Some(place);
            let (files, rest, told) = set.into_files(counts, self.writer(counts), self.complete, &self.owners)?;
            self.files.extend(files);
            warnings.extend(told);
            left_out += if counts { rest } else { 0 };
        }
        Ok(left_out)
    }

    /// Takes the single AOF, the dump and what looked like them, and tells how many bytes were left out of the AOF if it
    /// counts. Its state is the last.
    fn take_top_level(&mut self, warnings: &mut Vec<Warning>) -> Result<u64, RedisError> {
        let Chosen { dump, single, others, unsure_dumps: _ } = std::mem::take(&mut self.top_level);
        let mut left_out = 0;
        if let Some(single) = single {
            let counts = self.primary() == self.states.len().checked_sub(1);
            let end = find_end(&single.file, single.metadata.len(), self.writer(counts), self.complete);
            let end = end.map_err(|error| RedisError::io("read", &single.place, error))?;
            warnings.extend(open_transaction(&single.path, &end).filter(|_| counts));
            left_out = if counts { end.left_out } else { 0 };
            self.take(single, if counts { Role::SingleAof } else { Role::Other }, Some(end.length));
        }
        if let Some(dump) = dump {
            self.take(dump, Role::Dump, None);
        }
        for other in others {
            self.take(other, Role::Other, None);
        }
        Ok(left_out)
    }

    /// Who writes an AOF: the server that was asked writes the one that counts.
    fn writer(&self, counts: bool) -> Writer {
        match self.told {
            Some(told) if told.aof_counts && counts => Writer::Live,
            Some(_) | None => Writer::Unknown,
        }
    }

    fn take(&mut self, candidate: Candidate, role: Role, length: Option<u64>) {
        let Candidate { path, file, metadata, .. } = candidate;
        let content = Content::Open { file, length };
        self.files.push(CapturedFile::new(&path, role, &metadata, &self.owners, content));
    }

    fn facts(&self, verdict: &Verdict, dump: Option<&DumpState>) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut facts = BTreeMap::new();
        let mut put = |name: &str, value: String| facts.insert(name.to_owned(), value);
        put("capture.mode", "files".to_owned());
        put("authoritative", verdict.authoritative.to_owned());
        if let Some(live) = verdict.live {
            put("aof.live", live.to_owned());
        }
        let layout = match self.primary().map(|place| self.aofs.sets.get(place)) {
            None => "none",
            Some(None) => {
                put("aof.name", self.top_level.single.as_ref().map_or_else(String::new, |single| text(&single.path)));
                "single"
            }
            Some(Some(set)) => {
                put("aof.name", text(set.append_file_name()));
                put("aof.directory", text(set.directory()));
                "multi-part"
            }
        };
        put("aof.layout", layout.to_owned());
        if self.aofs.orphans > 0 {
            put("aof.orphans", self.aofs.orphans.to_string());
        }
        if let Some(dump) = dump {
            put("rdb.name", text(&dump.path));
        }
        for (name, candidate) in [("rdb.link", &self.top_level.dump), ("aof.link", &self.top_level.single)] {
            if let Some(target) = candidate.as_ref().and_then(|candidate| candidate.followed.as_ref()) {
                put(name, target.display().to_string());
            }
        }
        if let Some(target) = self.listing.entries.iter().find_map(|entry| entry.followed.as_ref()) {
            put("aof.link", target.display().to_string());
        }
        facts
    }

    fn warnings(&mut self) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.aofs.warnings);
        if let [newest, ..] = self.top_level.unsure_dumps.as_slice() {
            let names: Vec<_> = self.top_level.unsure_dumps.iter().map(|path| String::from_utf8_lossy(path)).collect();
            let message = format!("several dumps, of which the latest is taken for the server's: {}", names.join(", "));
            warnings.push(warning("several-dumps", newest, message));
        }
        for Unfinished { path, .. } in &self.listing.unfinished {
            let message =
                "it begins like a dump or an AOF, and is left out since a server or redkeep calls unfinished work \
                           so: take it with --include if it is the dataset, else remove or exclude it"
                    .to_owned();
            warnings.push(warning("left-out", path, message));
        }
        for left in self.listing.left.of(|why| why == Why::OtherFileSystem).filter(|_| self.is_whole) {
            let message = "another file system is mounted there, which is not gone into: take it with --include, or \
                           exclude it"
                .to_owned();
            warnings.push(warning("other-file-system", &left.path, message));
        }
        let has_dataset = !self.states.is_empty() || self.top_level.dump.is_some();
        if !has_dataset && self.files.iter().all(|file| file.kind != FileKind::File) {
            let message = "neither a dump, an AOF nor any other file is captured".to_owned();
            warnings.push(warning("nothing-captured", b"", message));
        }
        warnings
    }
}
