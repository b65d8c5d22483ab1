//! One path of a snapshot: a file, a directory or a link, and what it is to the server. Layout: format-spec/10-snapshot.md.

use crate::format::Malformed;
use crate::format::form::Form;
use crate::format::ids::ObjectHash;
use crate::format::limits::PATH_MAX;
use crate::format::recipe::{CANONICAL_RDB, Part, Recipe, check_recipe};

/// A path below the data directory: the bytes the system gave, components joined by `/`.
pub type PathBytes = minicbor::bytes::ByteVec;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum FileKind {
    /// A regular file.
    #[n(0)]
    File,
    /// A directory.
    #[n(1)]
    Directory,
    /// A symbolic link.
    #[n(2)]
    Link,
}

/// What a file is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Nothing redkeep knows.
    #[n(0)]
    Other,
    /// The RDB dump.
    #[n(1)]
    Dump,
    /// Manifest of a multi-part AOF.
    #[n(2)]
    Manifest,
    /// Base of a multi-part AOF.
    #[n(3)]
    Base,
    /// Increment of a multi-part AOF.
    #[n(4)]
    Incr,
    /// The AOF of servers before 7.0.
    #[n(5)]
    SingleAof,
    /// An increment the manifest lists as history.
    #[n(6)]
    History,
    /// What configures the server, and may hold passwords.
    #[n(7)]
    Config,
}

impl Role {
    /// Whether a server loads it, or has loaded it.
    pub fn is_of_dataset(self) -> bool {
        !matches!(self, Role::Other | Role::Config)
    }
}

/// Below this path stands what configures the server (SNAP-9).
pub const CONFIG_ROOT: &[u8] = b".redkeep-config";

/// One path of the captured directory.
#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct File {
    /// Where it stands.
    #[n(0)]
    pub path: PathBytes,
    /// What it is.
    #[n(1)]
    pub kind: FileKind,
    /// Mode bits (07777).
    #[n(2)]
    pub mode: u32,
    /// Numeric owner.
    #[n(3)]
    pub uid: u32,
    /// Numeric group.
    #[n(4)]
    pub gid: u32,
    /// Name of the owner.
    #[n(5)]
    pub user: Option<String>,
    /// Name of the group.
    #[n(6)]
    pub group: Option<String>,
    /// Modification time, seconds since the epoch.
    #[n(7)]
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    #[n(8)]
    pub mtime_nanos: u32,
    /// Bytes of content.
    #[n(9)]
    pub size: u64,
    /// BLAKE3 of the content, of files.
    #[n(10)]
    pub hash: Option<ObjectHash>,
    /// How the content is rebuilt, of files.
    #[n(11)]
    pub recipe: Option<Recipe>,
    /// Where a link points.
    #[n(12)]
    pub target: Option<minicbor::bytes::ByteVec>,
    /// What it is to the server.
    #[n(13)]
    pub role: Role,
    /// Why the content is suspect.
    #[n(14)]
    pub suspect: Option<String>,
    /// Of what a server loads as RDB: how it is stored.
    #[n(15)]
    pub form: Option<Form>,
}

impl File {
    /// The path as people see it.
    pub fn display_path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// SNAP-6: what a file, a directory and a link have, and have not.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let malformed = |why| Malformed::new("snapshot", format!("{}: {why}", self.display_path()));
        if self.role == Role::Config && !is_below_config(&self.path) {
            return Err(malformed("its role does not belong to its path"));
        }
        self.check_form().map_err(malformed)?;
        let has = (self.hash.is_some(), self.recipe.is_some(), self.target.is_some());
        match (self.kind, has) {
            (FileKind::File, (true, true, false)) => check_recipe(self.content()?.1, self.size),
            (FileKind::Directory, (false, false, false)) if self.size == 0 => Ok(()),
            (FileKind::Link, (false, false, true)) if self.size == 0 => match &self.target {
                Some(target) if target.len() > PATH_MAX => Err(malformed("its target is above PATH_MAX")),
                _ => Ok(()),
            },
            _ => Err(malformed("its fields do not belong to its kind")),
        }
    }

    fn check_form(&self) -> Result<(), &'static str> {
        let Some(form) = &self.form else { return Ok(()) };
        let has_canonical = self.recipe.iter().flatten().any(|part| part.method == CANONICAL_RDB);
        match matches!(self.role, Role::Dump | Role::Base | Role::SingleAof) && form.fits(has_canonical) {
            true => Ok(()),
            false => Err("its form does not belong to it"),
        }
    }

    /// Content hash and recipe of a regular file.
    pub fn content(&self) -> Result<(&ObjectHash, &[Part]), Malformed> {
        match (&self.hash, &self.recipe) {
            (Some(hash), Some(recipe)) => Ok((hash, recipe)),
            _ => Err(Malformed::new("snapshot", format!("file {} without content", self.display_path()))),
        }
    }
}

/// Whether a path stands where the server's configuration does.
pub fn is_below_config(path: &[u8]) -> bool {
    path.strip_prefix(CONFIG_ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// SNAP-4: relative, in order, no empty, `.` or `..` component, no NUL.
pub fn check_path(path: &[u8]) -> Result<(), Malformed> {
    let bad = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
    match path.len() > PATH_MAX || path.split(|byte| *byte == b'/').any(bad) {
        true => Err(Malformed::new("snapshot", format!("path {}", path.escape_ascii()))),
        false => Ok(()),
    }
}
