//! Which files of a snapshot are the dataset, where its capture could not know: the doubt in words, and a person's choice.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::str::FromStr;

use super::{From, select};
use crate::aof::{FileType, MANIFEST_MAX, Manifest};
use crate::format::snapshot::{File, FileKind, Role, Snapshot};
use crate::operations::list::{Chosen, dump};
use crate::operations::{Observer, OperationError};
use crate::rdb::HEADER_PEEK;
use crate::redis::{AOF_NOT_WRITTEN, Guise, SEVERAL_AOFS, guise};
use crate::repository::{Repository, RepositoryError};

/// What ends the name of a manifest.
const MANIFEST: &[u8] = b".manifest";

/// What a person says is the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The dump.
    Rdb,
    /// The AOF.
    Aof,
    /// This manifest, single AOF or dump, by its path in the snapshot.
    File(String),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rdb" => Ok(Which::Rdb),
            "aof" => Ok(Which::Aof),
            "" => Err("say aof, rdb, or the path of a manifest, an AOF or a dump in the snapshot".into()),
            path => Ok(Which::File(path.into())),
        }
    }
}

/// Why it is not known which files are the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What is not known.
    pub what: String,
    /// How it is said.
    pub hint: String,
}

/// TIME-12: what of a snapshot's dataset is in doubt, if anything is.
pub fn doubt(snapshot: &Snapshot) -> Option<Doubt> {
    snapshot.facts.get("authoritative").filter(|which| *which == "unknown")?;
    let has = |role: Role| snapshot.files.iter().any(|file| file.role == role);
    let is_told = |code: &str| snapshot.warnings.iter().any(|warning| warning.code == code);
    let aofs = aofs(snapshot);
    let doubt = |what: String, hint: String| Some(Doubt { what, hint });
    if is_told(SEVERAL_AOFS) && !aofs.is_empty() {
        let or_dump = if has(Role::Dump) { ", or the dump with --from rdb" } else { "" };
        let ways: Vec<String> = aofs.iter().map(|aof| format!("--from {aof}")).collect();
        return doubt(
            format!(
                "the snapshot holds several AOFs, and which of them is the dataset is not known: {}",
                aofs.join(", ")
            ),
            format!("name one of them: {}{or_dump}", ways.join(" or ")),
        );
    }
    let why = match is_told(AOF_NOT_WRITTEN) {
        true => "a server that did not write to the AOF was at work when the snapshot was taken",
        false => "the AOF in this snapshot shows signs of not having been the last to be written",
    };
    match has(Role::Dump) {
        true => doubt(
            "the AOF in this snapshot may be older than its dump: which of the two is the dataset is not known".into(),
            "look at its warnings with redkeep ls, then choose with --from aof or --from rdb".into(),
        ),
        false => doubt(
            format!("the AOF in this snapshot may be of an earlier time, and there is no dump: {why}"),
            "look at its warnings with redkeep ls; --from aof takes it all the same".into(),
        ),
    }
}

/// Whether it is in doubt only which of an AOF and a dump is the dataset.
pub fn is_either(snapshot: &Snapshot) -> bool {
    let has = |roles: &[Role]| snapshot.files.iter().any(|file| roles.contains(&file.role));
    doubt(snapshot).is_some()
        && snapshot.warnings.iter().all(|warning| warning.code != SEVERAL_AOFS)
        && has(&[Role::Dump])
        && has(&[Role::Manifest, Role::SingleAof])
}

/// The manifests and the single AOFs that a snapshot holds.
fn aofs(snapshot: &Snapshot) -> Vec<String> {
    let is_single = |file: &File| match file.role {
        Role::Other => file.kind == FileKind::File && !file.path.contains(&b'/') && file.path.ends_with(b".aof"),
        role => role == Role::SingleAof,
    };
    let is_aof = |file: &&File| is_single(file) || is_manifest(file);
    let mut aofs: Vec<&File> = snapshot.files.iter().filter(is_aof).collect();
    aofs.sort_by_key(|file| file.role == Role::Other);
    aofs.into_iter().map(File::display_path).collect()
}

fn is_manifest(file: &File) -> bool {
    file.kind == FileKind::File
        && (file.role == Role::Manifest || file.role == Role::Other && file.path.ends_with(MANIFEST))
}

/// The snapshot as a person means it, for what reads its keys: of which files they are is in no doubt any more.
pub fn settled(
    repository: &Repository,
    chosen: &Chosen,
    which: &Which,
    observer: &dyn Observer,
) -> Result<Chosen, OperationError> {
    let (mut chosen, from) = meant(repository, chosen, which, observer)?;
    select(&chosen, Some(from))?;
    let authoritative = match from {
        From::Rdb => "rdb",
        From::Aof => "aof",
    };
    chosen.snapshot.facts.insert("authoritative".into(), authoritative.into());
    Ok(chosen)
}

/// The snapshot as a person means it: with no other dataset than the one that was named.
pub fn meant(
    repository: &Repository,
    chosen: &Chosen,
    which: &Which,
    observer: &dyn Observer,
) -> Result<(Chosen, From), OperationError> {
    let mut chosen = chosen.clone();
    let snapshot = &mut chosen.snapshot;
    let is_several = snapshot.warnings.iter().any(|warning| warning.code == SEVERAL_AOFS);
    let from = match (which, doubt(snapshot)) {
        (Which::Aof, Some(Doubt { what, hint })) if is_several => return Err(OperationError::Refused { what, hint }),
        (Which::Aof, _) => return Ok((chosen, From::Aof)),
        (Which::Rdb, _) if !is_several => return Ok((chosen, From::Rdb)),
        (Which::Rdb, _) => {
            leave_others(repository, snapshot, &BTreeSet::new(), observer)?;
            From::Rdb
        }
        (Which::File(path), _) => take_file(repository, snapshot, path, observer)?,
    };
    Ok((chosen, from))
}

fn take_file(
    repository: &Repository,
    snapshot: &mut Snapshot,
    path: &str,
    observer: &dyn Observer,
) -> Result<From, OperationError> {
    let refuse = |what: String| {
        let hint = "redkeep ls shows what is in it; name a manifest, a single AOF or a dump by its whole path".into();
        Err(OperationError::Refused { what, hint })
    };
    let is_it = |file: &&File| file.kind == FileKind::File && file.path[..] == *path.as_bytes();
    let Some(file) = snapshot.files.iter().find(is_it).cloned() else {
        return refuse(format!("the snapshot holds no file {path}"));
    };
    let mut taken = BTreeSet::from([file.path.to_vec()]);
    if is_manifest(&file) {
        let parts = parts(repository, snapshot, &file, observer)?;
        for (part, _) in &parts {
            if !snapshot.files.iter().any(|file| file.path[..] == **part) {
                return refuse(format!(
                    "{path} names {}, which the snapshot does not hold",
                    String::from_utf8_lossy(part)
                ));
            }
        }
        taken.extend(parts.iter().map(|(part, _)| part.clone()));
        leave_others(repository, snapshot, &taken, observer)?;
        let (directory, name) = split(&file.path);
        let name = name.strip_suffix(MANIFEST).unwrap_or(name);
        set_aof(snapshot, "multi-part", name, Some(directory));
        set_role(snapshot, &file.path, Role::Manifest);
        parts.iter().for_each(|(part, role)| set_role(snapshot, part, *role));
        return Ok(From::Aof);
    }
    match guise(&file.path, &first_bytes(repository, snapshot, &file, observer)?) {
        Guise::SingleAof => {
            leave_others(repository, snapshot, &taken, observer)?;
            set_aof(snapshot, "single", &file.path, None);
            set_role(snapshot, &file.path, Role::SingleAof);
            Ok(From::Aof)
        }
        Guise::Dump => {
            leave_others(repository, snapshot, &taken, observer)?;
            if file.role != Role::Dump {
                forget_counts(snapshot, &["dump."]);
                snapshot
                    .files
                    .iter_mut()
                    .filter(|file| file.role == Role::Dump)
                    .for_each(|file| file.role = Role::Other);
            }
            set_role(snapshot, &file.path, Role::Dump);
            snapshot.facts.insert("rdb.name".into(), path.into());
            snapshot.facts.insert("authoritative".into(), "rdb".into());
            Ok(From::Rdb)
        }
        Guise::Other => refuse(format!("{path} is neither a manifest nor an AOF nor a dump")),
    }
}

/// Takes the AOFs out of a snapshot that are not the one that is meant: a server would load them.
fn leave_others(
    repository: &Repository,
    snapshot: &mut Snapshot,
    taken: &BTreeSet<Vec<u8>>,
    observer: &dyn Observer,
) -> Result<(), OperationError> {
    let mut left = BTreeSet::new();
    for file in snapshot.files.iter().filter(|file| !taken.contains(&file.path[..])) {
        if is_manifest(file) {
            let parts = parts(repository, snapshot, file, observer).unwrap_or_default();
            left.extend(parts.into_iter().map(|(part, _)| part));
        }
        let is_of_aof = matches!(file.role, Role::Manifest | Role::Base | Role::Incr | Role::SingleAof | Role::History);
        if is_of_aof || is_manifest(file) {
            left.insert(file.path.to_vec());
        }
    }
    let is_primary_gone = snapshot
        .files
        .iter()
        .any(|file| matches!(file.role, Role::Manifest | Role::SingleAof) && left.contains(&file.path[..]));
    if is_primary_gone {
        forget_counts(snapshot, &["manifest.", "base.", "incr.", "aof-file.", "server.keys.", "server.expires."]);
    }
    snapshot.files.retain(|file| taken.contains(&file.path[..]) || !left.contains(&file.path[..]));
    Ok(())
}

/// What was counted of files that are not meant says nothing of those that are.
fn forget_counts(snapshot: &mut Snapshot, prefixes: &[&str]) {
    snapshot.facts.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
}

fn set_role(snapshot: &mut Snapshot, path: &[u8], role: Role) {
    snapshot.files.iter_mut().filter(|file| file.path[..] == *path).for_each(|file| file.role = role);
}

fn set_aof(snapshot: &mut Snapshot, layout: &str, name: &[u8], directory: Option<&[u8]>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    snapshot.facts.insert("authoritative".into(), "aof".into());
    snapshot.facts.insert("aof.layout".into(), layout.into());
    snapshot.facts.insert("aof.name".into(), text(name));
    match directory {
        Some(directory) => snapshot.facts.insert("aof.directory".into(), text(directory)),
        None => snapshot.facts.remove("aof.directory"),
    };
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/').and_then(|place| path.split_at_checked(place)) {
        Some((directory, name)) => (directory, name.strip_prefix(b"/").unwrap_or(name)),
        None => (&[], path),
    }
}

/// Paths of the base and the increments that a manifest of the snapshot names, and what they are.
fn parts(
    repository: &Repository,
    snapshot: &Snapshot,
    manifest: &File,
    observer: &dyn Observer,
) -> Result<Vec<(Vec<u8>, Role)>, OperationError> {
    let mut bytes = First { bytes: Vec::new(), limit: MANIFEST_MAX + 1 };
    bytes.fill(repository, snapshot, manifest, observer)?;
    let decoded = Manifest::decode(&bytes.bytes).or_else(|why| {
        Manifest::decode_with_apostrophes(&bytes.bytes).map_err(|_| OperationError::Refused {
            what: format!("{} cannot be read: {why}", manifest.display_path()),
            hint: "name another AOF or dump of the snapshot: redkeep ls shows what is in it".into(),
        })
    })?;
    let (directory, _) = split(&manifest.path);
    let entries = decoded.entries().iter().filter(|entry| entry.file_type != FileType::History);
    let part = |name: &[u8], file_type: FileType| {
        let path = if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() };
        (path, if file_type == FileType::Base { Role::Base } else { Role::Incr })
    };
    Ok(entries.map(|entry| part(&entry.name, entry.file_type)).collect())
}

fn first_bytes(
    repository: &Repository,
    snapshot: &Snapshot,
    file: &File,
    observer: &dyn Observer,
) -> Result<Vec<u8>, OperationError> {
    let mut first = First { bytes: Vec::new(), limit: HEADER_PEEK };
    first.fill(repository, snapshot, file, observer)?;
    Ok(first.bytes)
}

/// The first bytes of a file, and no more.
struct First {
    bytes: Vec<u8>,
    limit: usize,
}

impl First {
    fn fill(
        &mut self,
        repository: &Repository,
        snapshot: &Snapshot,
        file: &File,
        observer: &dyn Observer,
    ) -> Result<(), OperationError> {
        match dump(repository, snapshot, &file.path, self, observer) {
            Err(OperationError::Repository(RepositoryError::Sink(_))) if self.bytes.len() == self.limit => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Write for First {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = bytes.len().min(self.limit.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
        match room {
            0 if !bytes.is_empty() => Err(io::Error::other("enough was read")),
            _ => Ok(room),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
