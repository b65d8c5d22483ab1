//! `redkeep init`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use zeroize::Zeroizing;

use crate::cli::context::Context;
use crate::cli::exit::{Hinted, UsageError};
use crate::cli::human::plain;
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::settings::unkept_notes;
use crate::cli::{json, output, secrets};

use super::key::{RECOVERY, recovery_text};
use crate::format::keys::Argon2Cost;
use crate::held::Held;
use crate::operations::OperationError;
use crate::operations::init::{Ground, init};
use crate::operations::slots;
use crate::repository::Ambient;

/// Make a repository
///
/// Makes a repository in an empty or new directory, or in a bucket that is there. The password or key file given opens it from then on; further ones
/// are added with `redkeep key add`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep init --repo /srv/redkeep
  redkeep init --repo /srv/redkeep --password-file /etc/redkeep/password
  head -c 32 /dev/urandom > redkeep.key
  redkeep init --repo /srv/redkeep --key-file redkeep.key
  redkeep init --make-password             # as the configuration says
  redkeep init --repo s3://backups/redis-1

JSON:
  {\"repository\": id, \"location\": text, \"slot\": id,
   \"recovery_key\": text or null,
   \"password_file\": where a password was drawn into, or null}
")]
pub(crate) struct Arguments {
    /// Also draw a recovery key, and print it: once, here, and never again
    ///
    /// It is typed where a password is asked for. It is drawn only when asked for, at a terminal too: what nobody expects
    /// on a screen ends up in logs and recordings.
    #[arg(long)]
    recovery_key: bool,
    /// Where the password file that is named is not there yet, draw a password into it
    ///
    /// The file, and a directory that it needs, are their owner's alone. One that is there is used as it is.
    #[arg(long)]
    make_password: bool,
}

/// Makes a repository.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if arguments.recovery_key {
        output::to_somebody().context(UNWRITTEN)?;
    }
    let places = context.places()?;
    let location = context.location()?;
    let ground = Ground::prepare(&location, &context.store_settings(&location)?).map_err(without_room)?;
    let ambient = Ambient::system();
    let drawn = if arguments.make_password { draw_password(context, &ambient)? } else { None };
    let credential = secrets::first_credential(context)?;
    let recovery = arguments.recovery_key.then(|| slots::recovery_key(&ambient));
    let recovery_slot = recovery.as_ref().map(|(_, credential)| (credential, RECOVERY));
    let cost = if drawn.is_some() { Argon2Cost::DRAWN } else { Argon2Cost::DEFAULT };
    let report =
        init(Arc::clone(&ground.store), credential, recovery_slot, cost, ambient, places).map_err(without_room)?;
    context.remember_promise(&location, &*ground.store)?;
    let mut text = format!(
        "made repository {} in {}\n\
         Its password or key file is the only way in: whoever loses it has lost every backup.\n",
        report.repository,
        plain(&report.location)
    );
    let (repository, slot) = (report.repository.to_string(), report.slot.to_string());
    let recovery_key = recovery.filter(|_| report.has_recovery).map(|(key, _)| key.to_string());
    text.extend(recovery_key.as_deref().map(recovery_text));
    if let Some(path) = &drawn {
        let path = plain(&path.display().to_string());
        text.push_str(&format!("The password was drawn into {path}: keep a copy of it where this host is not.\n"));
    }
    let is_shown = recovery_key.is_some();
    let password_file = drawn.map(|path| path.display().to_string());
    let json = json::Init { repository, location: report.location, slot, recovery_key, password_file };
    let outcome = if is_shown { Outcome::secret(text, &json) } else { Outcome::deed(text, &json) };
    Ok(outcome?.with_notes(unkept_notes(&report.unkept)).with_warnings(report.warnings))
}

/// Where there is no repository yet, nothing in it can be forgotten.
fn without_room(error: OperationError) -> anyhow::Error {
    match &error {
        OperationError::Repository(of) if of.is_full() => {
            Hinted::new(error, "free some space there, or make the repository elsewhere").into()
        }
        _ => error.into(),
    }
}

/// Draws a password of 256 bits into the file that is named, if that is not there yet. Answers with it.
fn draw_password(context: &Context, ambient: &Ambient) -> anyhow::Result<Option<PathBuf>> {
    let path = secrets::named_password_file(context)?.ok_or_else(|| UsageError {
        what: "no password file is named that a password could be drawn into".into(),
        hint: "name one with --password-file, or as password-file in the configuration".into(),
    })?;
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    (ambient.random)(&mut *bytes);
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = Zeroizing::new(format!("{digits}\n"));
    write_new(&path, line.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(path))
}

/// Writes a file that is not there, in a directory that may not be there.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = |path: &Path| {
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = parent(path);
    let held = match (Held::open(&directory), directory.file_name()) {
        (Err(error), Some(missing)) if error.kind() == io::ErrorKind::NotFound => {
            let above = Held::open(&parent(&directory))?;
            let made = above.make(missing, 0o700)?;
            above.sync()?;
            made
        }
        (held, _) => held?,
    };
    let mut file = held.create(name, 0o600)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    held.sync()
}
