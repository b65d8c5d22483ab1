//! LOCAL-28: a directory of AOF files that stands elsewhere: its name in the data directory is a link, or something is mounted
//! there. The link or the mount stays, and its files change places one by one with those in a directory among them. New
//! files have numbers that none has there, so that only the manifest decides: it changes by one rename, after all that it
//! names has come and before anything goes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::StatxAttributes;

use super::arrange::{part_kind, part_name, read_manifest_at, write_manifest};
use super::exchanges::{inode, inside};
use super::journal::{Entry, Journal, Site};
use super::place::beside;
use super::target::Names;
use crate::aof::{self, FileType, manifest_name};
use crate::held::{Held, Reader, Seen};
use crate::operations::OperationError;
use crate::operations::restore::beside::{Beside, Lock};
use crate::redis::RedisError;

/// Seen on Redis 7.0 to 8.2 and Valkey 9: the file is made in the data directory, and renamed.
const NEVER_REWRITTEN: &str =
    "; as it is another file system, the server cannot rewrite its AOF there, which grows until it can";

/// Of each restore the new files have numbers of their own: above all that are there, from a multiple of this on. A server
/// counts up by one with each rewrite.
const BLOCK: i64 = 1_000_000;

/// What a journal knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// Its name in the data directory.
    pub name: OsString,
    /// With what the names of its files begin.
    pub aof: OsString,
    /// Whether the server loads it.
    pub is_main: bool,
    /// Which directory it is.
    pub site: Site,
}

/// Whether something else is mounted under a name than what is around it.
pub(super) fn is_mounted(directory: &Held, name: &OsStr, seen: &Seen) -> bool {
    let around = directory.seen().map(|around| around.id().0);
    around.is_ok_and(|around| around != seen.id().0) || directory.attributes(name).contains(StatxAttributes::MOUNT_ROOT)
}

/// The directory of a server's AOF files, if it stands elsewhere. It is gone to with the rights of the server's user, and must
/// be one in which that user may rename.
pub(super) fn find(
    directory: &Held,
    names: &Names,
    is_main: bool,
    (user, groups, reader): (u32, &[u32], &Reader),
) -> Result<Option<(Elsewhere, Held)>, OperationError> {
    let Some(name) = names.aof_directory.as_ref() else { return Ok(None) };
    let path = directory.path_of(name);
    let seen = directory.look(name).map_err(|error| OperationError::target("look at", &path, error))?;
    let is_elsewhere = |seen: &Seen| seen.is_link() || (seen.is_dir() && is_mounted(directory, name, seen));
    let Some(seen) = seen.filter(is_elsewhere) else { return Ok(None) };
    let what = if seen.is_link() { "is a link" } else { "is a mount point" };
    let refuse = |why: String, hint: &str| {
        let what = format!("{} {what} {why}", path.display());
        Err(RedisError::Server { what, hint: hint.into() }.into())
    };
    let held = match Held::open_as(&path, reader) {
        Ok(held) => held,
        Err(error) => {
            return refuse(
                format!("that is not followed: {error}"),
                "make it lead the server's user to a directory of that user's, or make it a real directory",
            );
        }
    };
    let its = held.seen().map_err(|error| OperationError::target("look at", held.path(), error))?;
    if directory.seen().is_ok_and(|seen| seen.id() == its.id()) {
        return refuse("to the data directory itself".into(), "make it a real directory, then restore");
    }
    let caller = rustix::process::geteuid().as_raw();
    if user != 0 && user != caller && !its.lets_rename(user, groups) {
        return refuse(
            format!("to {}, which is not the server's to change: its user is {user}", held.path().display()),
            "give the directory to the server's user, or run redkeep as that user",
        );
    }
    let site = Site::of(&held)?;
    Ok(Some((Elsewhere { name: name.clone(), aof: names.aof.clone(), is_main, site }, held)))
}

impl Elsewhere {
    /// The same directory again, if its name still leads there.
    pub fn again(&self, directory: &Held) -> Result<Held, OperationError> {
        let path = directory.path_of(&self.name);
        let other = || OperationError::InUse {
            what: format!("{} leads to another directory than {}", path.display(), self.site.path.display()),
            hint: "let it lead there again, then run the same command again".into(),
        };
        let held = Held::open(&self.site.path).map_err(|_| other())?;
        let now = Held::open(&path).and_then(|now| now.seen()).map_err(|_| other())?;
        let is_it = Site::of(&held)?.is(&self.site) && held.seen().is_ok_and(|seen| seen.id() == now.id());
        if is_it { Ok(held) } else { Err(other()) }
    }

    /// What a person should know.
    pub fn note(&self, data: &Held, held: &Held) -> String {
        let (path, there) = (data.path_of(&self.name), held.path().display());
        let is_apart = data.seen().ok().map(|seen| seen.id().0) != Some(self.site.device) || held.path() == path;
        let leads = match held.path() == path {
            true => "is a mount point".to_owned(),
            false => format!("is a link to {there}"),
        };
        format!(
            "{} {leads}, and stays that: the AOF's files in it change places one by one, the manifest by one rename; what stood \
             there is kept in {there}/.redkeep-aside-…{}",
            path.display(),
            if is_apart { NEVER_REWRITTEN } else { "" }
        )
    }

    /// The name of the manifest there.
    pub fn manifest(&self) -> OsString {
        OsString::from_vec(manifest_name(self.aof.as_bytes()))
    }

    /// How entries of a journal call a file there.
    pub fn entry(&self, name: &OsStr) -> OsString {
        [self.name.as_os_str(), OsStr::new("/"), name].into_iter().collect()
    }

    /// The entry that decides which files the server loads.
    pub fn main(&self) -> Option<OsString> {
        self.is_main.then(|| self.entry(&self.manifest()))
    }

    /// Whether a file there is of the server's AOF. Others may keep theirs beside it.
    fn is_its(&self, name: &OsStr) -> bool {
        let rest = name.as_bytes().strip_prefix(self.aof.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
    }

    /// The number in the name of a file.
    fn number(&self, name: &OsStr) -> Option<i64> {
        let rest = name.as_bytes().strip_prefix(self.aof.as_bytes())?.strip_prefix(b".")?;
        str::from_utf8(rest.split(|byte| *byte == b'.').next()?).ok()?.parse().ok()
    }

    /// Files of a directory that are not its manifest.
    fn parts(&self, held: &Held, all: bool) -> Result<Vec<OsString>, OperationError> {
        let failed = |error| OperationError::target("list", held.path(), error);
        let (mut names, manifest) = (held.names().map_err(failed)?, self.manifest());
        names.retain(|name| *name != manifest && (all || self.is_its(name)));
        names.sort();
        let mut parts = Vec::new();
        for name in names {
            let seen =
                held.look(&name).map_err(|error| OperationError::target("look at", &held.path_of(&name), error))?;
            parts.extend(seen.filter(|seen| !seen.is_dir()).map(|_| name));
        }
        Ok(parts)
    }

    /// Gives new files, which stand under the server's names in a directory below `new`, numbers that none has there, and
    /// puts them into `new` itself.
    pub fn lay_out(&self, names: &Names, new: &Held, held: &Held) -> Result<(), OperationError> {
        let place = names.aof_directory.clone().unwrap_or_default();
        let failed = |error| OperationError::target("arrange", &new.path_of(&place), error);
        let from = new.directory(&place).map_err(failed)?;
        let manifest = read_manifest_at(&from, &self.manifest())?;
        let first = self.unused(held)?;
        let mut entries = Vec::new();
        let mut next = [first; 2];
        for entry in manifest.base().into_iter().chain(manifest.increments()) {
            let kind = usize::from(entry.file_type != FileType::Base);
            let Some(seq) = next.get_mut(kind) else { continue };
            let name = part_name(names, *seq, part_kind(entry));
            let moved = from.rename_new(OsStr::from_bytes(&entry.name), new, OsStr::from_bytes(&name));
            moved.map_err(|error| OperationError::target("create", &new.path_of(OsStr::from_bytes(&name)), error))?;
            entries.push(aof::Entry { name, seq: *seq, ..entry.clone() });
            *seq = seq.saturating_add(1);
        }
        new.remove(&place).map_err(failed)?;
        if manifest.last_increment().is_none() {
            // Without one a server begins with number 1.
            let name = part_name(names, first, "incr.aof");
            let made = new.create(OsStr::from_bytes(&name), 0o600);
            made.map_err(|error| OperationError::target("create", &new.path_of(OsStr::from_bytes(&name)), error))?;
            let file_type = FileType::Increment;
            entries.push(aof::Entry {
                name,
                seq: first,
                file_type,
                start_offset: None,
                end_offset: None,
                more: Vec::new(),
            });
        }
        write_manifest(entries, names, new)
    }

    /// The first number of a block in which there is none, neither there nor in what was set aside there.
    fn unused(&self, held: &Held) -> Result<i64, OperationError> {
        let mut names = self.parts(held, false)?;
        for (_, aside) in beside(held).asides()? {
            let aside = held.directory(&aside).map_err(|error| OperationError::target("open", held.path(), error))?;
            names.extend(self.parts(&aside, false)?);
        }
        let highest = names.iter().filter_map(|name| self.number(name)).max();
        let first = match highest {
            None => Some(1),
            Some(highest) => {
                (highest.max(0) / BLOCK).checked_add(1).and_then(|block| block.checked_mul(BLOCK)?.checked_add(1))
            }
        };
        // A server counts on from there.
        first.filter(|first| *first < i64::MAX - BLOCK).ok_or_else(|| OperationError::Refused {
            what: format!("the files of the AOF in {} have the highest numbers that there are", held.path().display()),
            hint: "rename them, and in their manifest, with the server stopped".into(),
        })
    }
}

/// It, locked, while something is done there.
pub(super) struct Locked {
    pub elsewhere: Elsewhere,
    pub held: Held,
    pub beside: Beside,
    _lock: Lock,
}

impl Locked {
    pub fn new((elsewhere, held): (Elsewhere, Held)) -> Result<Locked, OperationError> {
        let beside = beside(&held);
        let lock = beside.lock()?;
        Ok(Locked { elsewhere, held, beside, _lock: lock })
    }
}

/// Where the entries of a journal stand.
pub(super) struct Ground {
    data: Held,
    elsewhere: Option<(Elsewhere, Held)>,
}

impl Ground {
    pub fn of(journal: &Journal, data: &Held) -> Result<Ground, OperationError> {
        let elsewhere = journal.elsewhere.as_ref();
        let elsewhere = elsewhere.map(|elsewhere| Ok::<_, OperationError>((elsewhere.clone(), elsewhere.again(data)?)));
        Ok(Ground { data: data.clone(), elsewhere: elsewhere.transpose()? })
    }

    /// Whether an entry is a file that a manifest elsewhere names.
    pub fn is_part(&self, entry: &OsStr) -> bool {
        let (held, name) = self.at(entry);
        self.elsewhere
            .as_ref()
            .is_some_and(|(elsewhere, its)| its.path() == held.path() && name != elsewhere.manifest())
    }

    /// The directory of AOF files that stands elsewhere, if that is its name in the data directory.
    pub fn elsewhere(&self, name: &OsStr) -> Option<&Held> {
        self.elsewhere.as_ref().filter(|(elsewhere, _)| elsewhere.name == name).map(|(_, held)| held)
    }

    /// Both directories, the data directory last.
    pub fn directories(&self) -> impl Iterator<Item = &Held> {
        self.elsewhere.iter().map(|(_, held)| held).chain([&self.data])
    }

    /// The directory in which an entry stands, and what it is called there.
    pub fn at<'a>(&'a self, name: &'a OsStr) -> (&'a Held, &'a OsStr) {
        let below = self.elsewhere.as_ref().and_then(|(elsewhere, held)| {
            let rest = name.as_bytes().strip_prefix(elsewhere.name.as_bytes())?.strip_prefix(b"/")?;
            Some((held, OsStr::from_bytes(rest)))
        });
        below.unwrap_or((&self.data, name))
    }

    /// The same in another directory beside it, if that is there.
    pub fn beside<'a>(&'a self, name: &'a OsStr, other: &OsStr) -> Result<Option<(Held, &'a OsStr)>, OperationError> {
        let (held, name) = self.at(name);
        Ok(inside(held, other)?.map(|other| (other, name)))
    }

    /// What stands under these names of the data directory and in another directory beside it; of what stands elsewhere, file
    /// by file: what comes, the manifest, what goes.
    pub fn look(&self, other: &OsStr, names: impl IntoIterator<Item = OsString>) -> Result<Vec<Entry>, OperationError> {
        let mut entries = Vec::new();
        let beside = inside(&self.data, other)?;
        for name in names {
            match &self.elsewhere {
                Some((elsewhere, held)) if elsewhere.name == name => {
                    entries.extend(files(elsewhere, held, inside(held, other)?.as_ref())?);
                }
                _ => {
                    let there = beside.as_ref().map(|beside| inode(beside, &name)).transpose()?.flatten();
                    entries.push(Entry { here: inode(&self.data, &name)?, there, name });
                }
            }
        }
        Ok(entries)
    }

    /// Files that would go and are no entry yet: a server that was started since may have written them.
    pub fn more(&self, entries: &[Entry]) -> Result<Vec<Entry>, OperationError> {
        let Some((elsewhere, held)) = &self.elsewhere else { return Ok(Vec::new()) };
        let all = elsewhere.parts(held, false)?.into_iter().map(|name| (elsewhere.entry(&name), name));
        let new = all.filter(|(entry, _)| !entries.iter().any(|known| known.name == *entry));
        new.map(|(entry, name)| Ok(Entry { name: entry, here: inode(held, &name)?, there: None })).collect()
    }
}

fn files(elsewhere: &Elsewhere, held: &Held, other: Option<&Held>) -> Result<Vec<Entry>, OperationError> {
    let there = |name: &OsStr| other.map(|other| inode(other, name)).transpose().map(Option::flatten);
    let come = other.map(|other| elsewhere.parts(other, true)).transpose()?.unwrap_or_default();
    let mut entries = Vec::new();
    for name in &come {
        if inode(held, name)?.is_some() {
            return Err(clash(held, name));
        }
        entries.push(Entry { name: elsewhere.entry(name), here: None, there: there(name)? });
    }
    let manifest = elsewhere.manifest();
    let (here, there) = (inode(held, &manifest)?, there(&manifest)?);
    entries.push(Entry { name: elsewhere.entry(&manifest), here, there });
    for name in elsewhere.parts(held, false)? {
        entries.push(Entry { name: elsewhere.entry(&name), here: inode(held, &name)?, there: None });
    }
    Ok(entries)
}

/// Two files of one name.
pub(super) fn clash(held: &Held, name: &OsStr) -> OperationError {
    OperationError::Refused {
        what: format!("{} would be replaced by another file of its name", held.path_of(name).display()),
        hint: "the server wrote it since: rename one of the two, and in its manifest, with the server stopped".into(),
    }
}
