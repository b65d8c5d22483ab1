//! `redkeep init`.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use crate::cli::context::Context;
use crate::cli::human::plain;
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::settings::unkept_notes;
use crate::cli::{json, output, secrets};

use super::key::{RECOVERY, recovery_text};
use crate::format::keys::Argon2Cost;
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
  redkeep init --repo s3://backups/redis-1

JSON:
  {\"repository\": id, \"location\": text, \"slot\": id,
   \"recovery_key\": text or null}
")]
pub(crate) struct Arguments {
    /// Also draw a recovery key, and print it: once, here, and never again
    ///
    /// It is typed where a password is asked for. It is drawn only when asked for, at a terminal too: what nobody expects
    /// on a screen ends up in logs and recordings.
    #[arg(long)]
    recovery_key: bool,
}

/// Makes a repository.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if arguments.recovery_key {
        output::to_somebody().context(UNWRITTEN)?;
    }
    let places = context.places()?;
    let location = context.location()?;
    let ground = Ground::prepare(&location, &context.store_settings(&location)?)?;
    let credential = secrets::first_credential(context)?;
    let ambient = Ambient::system();
    let recovery = arguments.recovery_key.then(|| slots::recovery_key(&ambient));
    let recovery_slot = recovery.as_ref().map(|(_, credential)| (credential, RECOVERY));
    let report = init(Arc::clone(&ground.store), credential, recovery_slot, Argon2Cost::DEFAULT, ambient, places)?;
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
    let is_shown = recovery_key.is_some();
    let json = json::Init { repository, location: report.location, slot, recovery_key };
    let outcome = if is_shown { Outcome::secret(text, &json) } else { Outcome::deed(text, &json) };
    Ok(outcome?.with_notes(unkept_notes(&report.unkept)).with_warnings(report.warnings))
}
