//! Users that a server forgets when it is started again, because none of its files names them.

use std::path::Path;

use super::{Finding, Report};
use crate::redis::RedisError;
use crate::redis::host::Process;
use crate::redis::server::{Address, ConfigFile, Info, Server, Users, acl_text};

/// Looks at the user that redkeep is, who may ask for nothing but its own name; all of them where that is the default user.
/// Of a server whose files are not seen here nothing is said.
pub(super) fn judge(
    address: &Address,
    server: &mut Server,
    info: &Info,
    report: &mut Report,
) -> Result<(), RedisError> {
    let process = info.number("process_id").and_then(|id| u32::try_from(id).ok());
    let process = process.filter(|id| server.is_process(*id)).and_then(Process::find);
    let Some(process) = process else { return Ok(()) };
    let Some(path) = info.get("config_file").filter(|path| !path.is_empty()) else { return Ok(()) };
    let reader = process.reader();
    let Ok(config) = ConfigFile::read_for(Path::new(path), &reader) else { return Ok(()) };
    let acl_file = server.setting("aclfile")?.filter(|path| !path.is_empty());
    let text = match (&acl_file, server.setting("dir")?) {
        (None, _) => None,
        (Some(file), dir) => match acl_text(&Path::new(&dir.unwrap_or_default()).join(file), &reader) {
            Ok(text) => Some(text),
            Err(_) => return Ok(()),
        },
    };
    let written = Users::written(&config, text.as_deref());
    let lost = match server.words(&["ACL", "WHOAMI"]) {
        Ok(own) if own == "default" => match server.users() {
            Ok(users) => users.lost(&written),
            Err(RedisError::Answer { .. }) => return Ok(()),
            Err(error) => return Err(error),
        },
        Ok(own) if !written.has(&own) => vec![format!("the user {own}")],
        // Before 6.0 there is one user.
        Ok(_) | Err(RedisError::Answer { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    if !lost.is_empty() {
        report.findings.push(Finding::warning(
            "users",
            format!("started again, {address} forgets what is in none of its files: {}", lost.join("; ")),
            match acl_file {
                Some(_) => "write them to its ACL file: ACL SAVE",
                None => "write them to its configuration file: CONFIG REWRITE",
            },
        ));
    }
    Ok(())
}
