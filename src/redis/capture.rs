//! One consistent copy of a data directory, held open.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::authority::{AofState, DumpState, Verdict, judge, primary, warning};
use super::captured_file::{CapturedFile, Content};
use super::ending::find_end;
use super::error::RedisError;
use super::listing::{Choice, Listed, Listing};
use super::names::{Guise, guise};
use super::opened::{FileId, Opening, first_bytes, open};
use super::others::Others;
use super::owners::Owners;
use super::patterns::Patterns;
use super::sets::AofSets;
use super::top_level::{Candidate, Chosen, choose};
use crate::format::snapshot::{Role, Warning};

/// How often a directory is listed and opened anew because something had gone meanwhile.
const ATTEMPTS: u32 = 10;

/// What to take and what to leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Patterns of paths to take that would otherwise be left out: logs, temporary files, history and orphans of an AOF.
    pub include: Vec<String>,
    /// Patterns of paths to leave out, whatever else is said of them. A part of a multi-part AOF leaves out all of it,
    /// with a warning.
    pub exclude: Vec<String>,
}

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
    /// `unknown`), `authoritative` (`aof`, `rdb`, `unknown`), and names and links of the files that count.
    pub facts: BTreeMap<String, String>,
}

/// Captures a directory that a server may be writing to, without asking it.
///
/// Nothing is read but small files and the last file of an AOF, to find where it is whole. Every other file is opened
/// once and stays what it is, whatever the server does: renames, removals and appended commands do not matter.
pub fn capture_directory(directory: &Path, options: &CaptureOptions) -> Result<Capture, RedisError> {
    let choice = Choice { include: Patterns::new(&options.include)?, exclude: Patterns::new(&options.exclude)? };
    let directory = resolve(directory)?;
    for attempt in 1..ATTEMPTS {
        if let Some(opened) = Opened::open(&directory, &choice)?.settled() {
            return opened.finish(directory);
        }
        thread::sleep(Duration::from_millis(u64::from(attempt)));
    }
    // What goes whenever it is looked for was not there to be captured.
    Opened::open(&directory, &choice)?.finish(directory)
}

fn resolve(directory: &Path) -> Result<PathBuf, RedisError> {
    let refuse = |problem, hint| RedisError::Directory { directory: directory.to_owned(), problem, hint };
    let resolved = match fs::canonicalize(directory) {
        Ok(resolved) => resolved,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(refuse("there is no such directory", "name the directory that CONFIG GET dir tells"));
        }
        Err(error) => return Err(RedisError::io("open", directory, error)),
    };
    if !resolved.is_dir() {
        return Err(refuse("not a directory", "name the directory that holds the file"));
    }
    Ok(resolved)
}

/// Everything of a directory, open.
struct Opened {
    listing: Listing,
    aofs: AofSets,
    top_level: Chosen,
    files: Vec<CapturedFile>,
    /// Of the multi-part AOFs in their order, then of the single one.
    states: Vec<AofState>,
    owners: Owners,
    /// Something went, or was replaced, between being listed and being opened.
    unsettled: bool,
}

impl Opened {
    fn open(directory: &Path, choice: &Choice) -> Result<Self, RedisError> {
        let listing = Listing::of(directory, choice)?;
        if listing.is_empty {
            let (problem, hint) = ("it is empty", "name the directory that CONFIG GET dir tells");
            return Err(RedisError::Directory { directory: directory.to_owned(), problem, hint });
        }
        let aofs = AofSets::open(&listing, choice)?;
        let mut opened = Self {
            unsettled: listing.vanished || aofs.vanished,
            listing,
            aofs,
            top_level: Chosen::default(),
            files: Vec::new(),
            states: Vec::new(),
            owners: Owners::new(),
        };
        opened.open_others()?;
        opened.look_at_aofs(directory)?;
        Ok(opened)
    }

    /// Opens all that is no part of a multi-part AOF.
    fn open_others(&mut self) -> Result<(), RedisError> {
        let (mut candidates, mut small) = (Vec::new(), Others::default());
        for entry in &self.listing.entries {
            if self.aofs.claims(&entry.path) {
                continue;
            }
            match open_listed(entry, &mut small)? {
                Found::Content(content, metadata) => {
                    let file = CapturedFile::new(&entry.path, Role::Other, &metadata, &self.owners, content);
                    self.files.push(file);
                }
                Found::Candidate(candidate) => candidates.push(candidate),
                Found::Nothing => self.unsettled = true,
            }
        }
        self.top_level = choose(candidates);
        Ok(())
    }

    fn look_at_aofs(&mut self, directory: &Path) -> Result<(), RedisError> {
        let id = fs::metadata(directory).map_err(|error| RedisError::io("look at", directory, error))?;
        let id = FileId::of(&id);
        for set in &self.aofs.sets {
            let (state, moved_on) = set.state(id)?;
            self.unsettled |= moved_on;
            self.states.push(state);
        }
        if let Some(single) = &self.top_level.single {
            let (state, moved_on) = single.aof_state(directory, id);
            self.unsettled |= moved_on;
            self.states.push(state);
        }
        Ok(())
    }

    fn settled(self) -> Option<Self> {
        (!self.unsettled).then_some(self)
    }

    /// Decides what counts, cuts what grows, and puts everything in order.
    fn finish(mut self, directory: PathBuf) -> Result<Capture, RedisError> {
        let dump = self.top_level.dump.as_ref().map(Candidate::dump_state);
        let verdict = judge(&self.states, dump.as_ref());
        let mut facts = self.facts(&verdict, dump.as_ref());
        let mut warnings = self.warnings();
        warnings.extend(verdict.warnings);

        let primary = primary(&self.states);
        let mut left_out = 0;
        let single_place = self.aofs.sets.len();
        for (place, set) in std::mem::take(&mut self.aofs.sets).into_iter().enumerate() {
            let counts = primary == Some(place);
            let (files, rest) = set.into_files(counts, &self.owners)?;
            self.files.extend(files);
            left_out += if counts { rest } else { 0 };
        }
        let Chosen { dump, single, others, unsure_dumps: _ } = std::mem::take(&mut self.top_level);
        if let Some(single) = single {
            let counts = primary == Some(single_place);
            let length = single.metadata.len();
            let end = find_end(&single.file, length);
            let end = end.map_err(|error| RedisError::io("read", &single.place, error))?;
            left_out += if counts { end.left_out } else { 0 };
            let role = if counts { Role::SingleAof } else { Role::Other };
            self.take(single, role, Some(end.length));
        }
        if let Some(dump) = dump {
            self.take(dump, Role::Dump, None);
        }
        for other in others {
            self.take(other, Role::Other, None);
        }
        if left_out > 0 {
            facts.insert("aof.unfinished".to_owned(), left_out.to_string());
        }
        // A file that two manifests name is captured for the one that counts.
        self.files
            .sort_by(|one, other| (&one.path, one.role == Role::Other).cmp(&(&other.path, other.role == Role::Other)));
        self.files.dedup_by(|later, kept| later.path == kept.path);
        Ok(Capture { directory, files: self.files, warnings, facts })
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
        let primary = primary(&self.states);
        let layout = match primary.map(|place| self.aofs.sets.get(place)) {
            None => "none",
            Some(None) => "single",
            Some(Some(set)) => {
                put("aof.name", text(set.append_file_name()));
                put("aof.directory", text(set.directory()));
                "multi-part"
            }
        };
        put("aof.layout", layout.to_owned());
        if layout == "single"
            && let Some(single) = &self.top_level.single
        {
            put("aof.name", text(&single.path));
        }
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
        if self.states.is_empty() && self.top_level.dump.is_none() {
            let message = "neither a dump nor an AOF is captured".to_owned();
            warnings.push(warning("no-redis-data", b"", message));
        }
        warnings
    }
}

/// What came of opening a listed path.
enum Found {
    Content(Content, Metadata),
    Candidate(Candidate),
    /// It has gone, or become something else.
    Nothing,
}

fn open_listed(entry: &Listed, small: &mut Others) -> Result<Found, RedisError> {
    if entry.metadata.is_dir() {
        return Ok(Found::Content(Content::None, entry.metadata.clone()));
    }
    let is_top_level = !entry.path.contains(&b'/');
    if entry.metadata.is_symlink() {
        if is_top_level && let Some(candidate) = open_link(entry)? {
            return Ok(Found::Candidate(candidate));
        }
        return Ok(match fs::read_link(&entry.place) {
            Ok(target) => Found::Content(Content::Link(target.into_os_string().into_vec()), entry.metadata.clone()),
            Err(_) => Found::Nothing,
        });
    }
    let Opening::File(file, metadata) = open(&entry.place, false)? else { return Ok(Found::Nothing) };
    let fails = |error| RedisError::io("read", &entry.place, error);
    if is_top_level {
        let first = first_bytes(&file).map_err(fails)?;
        let guise = guise(&entry.path, &first);
        if guise != Guise::Other {
            let (path, place) = (entry.path.clone(), entry.place.clone());
            return Ok(Found::Candidate(Candidate { path, place, file, metadata, first, guise, followed: None }));
        }
    }
    let content = small.content(file, &metadata).map_err(fails)?;
    Ok(Found::Content(content, metadata))
}

/// The dump or AOF that a link at the top level stands for.
fn open_link(entry: &Listed) -> Result<Option<Candidate>, RedisError> {
    let Ok(place) = fs::canonicalize(&entry.place) else { return Ok(None) };
    if !place.is_file() {
        return Ok(None);
    }
    let Opening::File(file, metadata) = open(&place, true)? else { return Ok(None) };
    let first = first_bytes(&file).map_err(|error| RedisError::io("read", &place, error))?;
    let guise = guise(&entry.path, &first);
    let (path, followed) = (entry.path.clone(), Some(place.clone()));
    Ok((guise != Guise::Other).then_some(Candidate { path, place, file, metadata, first, guise, followed }))
}
