//! What a scratch server is given of the surroundings of the one that was captured: the names of commands that were
//! renamed, and the modules it had loaded. Where one of these is missing the data may be sound all the same: then no drill
//! was done, which is no damage.

use std::path::{Path, PathBuf};

use super::plan::Plan;
use crate::aof::split_words;
use crate::format::snapshot::Snapshot;
use crate::redis::RedisError;
use crate::redis::program::{Program, is_trusted};
use crate::redis::scratch::{Lack, RENAMED};
use crate::redis::server::MODULE_FILES;

/// What is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// The usual name of a command, and the one it has.
    pub renamed: Vec<(String, String)>,
    /// Files of modules.
    pub modules: Vec<PathBuf>,
    /// Those that are not loaded, and why.
    left: Vec<String>,
}

impl Surroundings {
    /// What the capture recorded; of commands, what a person says comes first.
    pub fn of(snapshot: &Snapshot, plan: &Plan, said: &[(String, String)], user: Option<(u32, u32)>) -> Surroundings {
        let words = |fact: &str| {
            let line = snapshot.facts.get(fact).map(String::as_str).unwrap_or_default();
            let words = split_words(line.as_bytes()).unwrap_or_default();
            words.into_iter().filter_map(|word| String::from_utf8(word).ok()).collect::<Vec<_>>()
        };
        let recorded = words(RENAMED);
        let recorded = recorded.iter().filter_map(|word| word.split_once('='));
        let recorded = recorded.map(|(usual, new)| (usual.to_owned(), new.to_owned()));
        let mut renamed: Vec<(String, String)> = Vec::new();
        for (usual, new) in said.iter().cloned().chain(recorded) {
            if !renamed.iter().any(|(name, _)| name.eq_ignore_ascii_case(&usual)) {
                renamed.push((usual, new));
            }
        }
        let mut found = Surroundings { renamed, ..Surroundings::default() };
        // A module's commands may stand in any AOF.
        for path in words(MODULE_FILES).into_iter().filter(|_| plan.has_modules || plan.appendonly) {
            match user.is_none() && rustix::process::geteuid().is_root() {
                true => found.left.push(format!(
                    "{path} is not loaded by root: name a directory that every user can get to with --scratch-dir, and a \
                     program that every user can run"
                )),
                false => found.add(Path::new(&path)),
            }
        }
        found
    }

    /// A module runs what is in its file: nobody who may do less than redkeep can have put it there.
    fn add(&mut self, path: &Path) {
        // What was looked at is what is loaded: a link may lead elsewhere by then.
        match path.canonicalize().ok().filter(|path| path.is_file()) {
            Some(file) if is_trusted(&file) => self.modules.push(file),
            Some(_) => self.left.push(format!("{} can be written by others than root and this user", path.display())),
            None => self.left.push(format!("{} is not on this host", path.display())),
        }
    }

    /// Why no drill was done, if what the server lacked is no fault of the files.
    pub fn not_drilled(&self, plan: &Plan, program: &Program, lack: &Lack) -> Option<RedisError> {
        let version = &program.version;
        let (is_no_fault, what, hint) = match lack {
            Lack::Command(name) => (
                plan.appendonly,
                format!("its AOF has the command {name}, which {version} does not know here"),
                format!(
                    "if the server calls a command so, say it with --renamed-command NAME={name}; else name a program that has \
                     it with --server-binary"
                ),
            ),
            Lack::Module(line) => (
                plan.has_modules || plan.appendonly,
                format!("{version} lacks a module here: {}", line.rsplit(" -> ").next().unwrap_or(line)),
                match line.contains("'vectorset'") && self.left.is_empty() {
                    true => {
                        "vector sets are built into Redis from 8.0 on: name such a program with --server-binary".into()
                    }
                    false => self.hint_of_modules(),
                },
            ),
            Lack::Version(line) => (
                plan.is_verified,
                format!("{version} does not read its data: {line}"),
                "name a later program with --server-binary".into(),
            ),
        };
        let what = format!("the snapshot was not drilled: {what}");
        (is_no_fault && !plan.is_suspect).then_some(RedisError::Server { what, hint })
    }

    fn hint_of_modules(&self) -> String {
        match (self.left.is_empty(), self.modules.is_empty()) {
            (false, _) => format!("of the modules that the server had loaded, {}", self.left.join("; ")),
            (true, true) => {
                "where the server's modules are is not known: let redkeep's user ask MODULE LIST (+module|list), from \
                             Redis 7.0 on, or name a program that has them built in with --server-binary"
                    .into()
            }
            (true, false) => "name the program that served the dataset with --server-binary".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_module_file_that_others_can_write_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.so");
        fs::write(&path, "").unwrap();
        let mut found = Surroundings::default();
        found.add(&path);
        assert_eq!(found.modules, [path.canonicalize().unwrap()]);
        for mode in [0o666, 0o662] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let mut found = Surroundings::default();
            found.add(&path);
            assert_eq!((found.modules.len(), found.left.len()), (0, 1), "{mode:o}");
        }
        // Whoever can write the directory can put another file there.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let mut found = Surroundings::default();
        found.add(&path);
        found.add(&dir.path().join("missing.so"));
        assert_eq!(found.modules.len(), 0);
        assert!(found.hint_of_modules().contains("is not on this host"), "{}", found.hint_of_modules());
    }
}
