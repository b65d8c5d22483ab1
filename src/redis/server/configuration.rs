//! What configures a server, as files of a snapshot: its configuration file, what that includes, and its ACL file.

use std::path::{Path, PathBuf};

use super::discovery::Place;
use super::info::Info;
use crate::format::snapshot::{Warning, is_below_config};
use crate::redis::directory::{Capture, Elsewhere};

/// Adds it to a capture. What cannot be read is a warning: the dataset is captured all the same.
pub(super) fn take_configuration(capture: &mut Capture, info: &Info, place: &Place) {
    let mut elsewhere = Elsewhere::new();
    let mut warn = |path: &Path, message: String| {
        let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec().into();
        capture.warnings.push(Warning { code: "configuration".into(), path, message });
    };
    let paths = paths(info, place);
    if paths.is_empty() {
        let message = "the server has neither a configuration file nor an ACL file that could be captured";
        warn(Path::new(""), message.into());
    }
    for (path, here) in paths {
        let taken = match here {
            Some(here) => elsewhere.take(&path, &here, place.reader.as_ref()).map_err(|error| error.to_string()),
            None => Err("whether the file of this name here is the server's is not known; --path-map tells".into()),
        };
        if let Err(why) = taken {
            warn(&path, format!("not captured with the server's configuration: {why}"));
        }
    }
    // What a restore put there is no configuration of this server.
    capture.files.retain(|file| !is_below_config(&file.path));
    capture.files.extend(elsewhere.into_files());
    capture.files.sort_by(|one, other| one.path.cmp(&other.path));
}

/// As the server names them, and as they are reached from here.
fn paths(info: &Info, place: &Place) -> Vec<(PathBuf, Option<PathBuf>)> {
    let main = info.get("config_file").filter(|path| !path.is_empty()).map(PathBuf::from);
    let acl = place.setting("aclfile").filter(|path| !path.is_empty()).map(PathBuf::from);
    // The main file is first among those that were read, and named here too if it could not be.
    let mut named: Vec<PathBuf> = main.into_iter().chain(place.config_files.iter().cloned()).collect();
    named.dedup();
    let reached = |path: PathBuf| {
        let here = place.reach(&path);
        (path, here)
    };
    let mut paths: Vec<_> = named.into_iter().map(reached).collect();
    paths.extend(acl.map(|path| match path.is_absolute() {
        true => reached(path),
        // A server looks for it from its data directory.
        false => (place.server_directory().join(&path), Some(place.directory.join(&path))),
    }));
    paths
}
