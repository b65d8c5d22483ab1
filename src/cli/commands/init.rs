//! `redkeep init`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::human::plain;
use crate::cli::outcome::Outcome;
use crate::cli::{json, secrets};
use crate::format::keys::Argon2Cost;
use crate::operations::init::init;
use crate::repository::{Ambient, Repository, RepositoryError};
use crate::store::{self, Intent};

/// Makes a repository in an empty or new directory. The password or key file given opens it from then on; further ones
/// are added with `redkeep key add`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep init --repo /srv/redkeep
  redkeep init --repo /srv/redkeep --password-file /etc/redkeep/password
  head -c 32 /dev/urandom > key && redkeep init --repo /srv/redkeep --key-file key

JSON:
  {\"repository\": id, \"location\": text, \"slot\": id}
")]
pub(crate) struct Arguments {}

/// Makes a repository.
pub(super) fn run(_: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let places = context.places()?;
    let store = store::open(&context.location()?, Intent::Create)?;
    if Repository::is_in(&*store)? {
        return Err(RepositoryError::AlreadyThere { location: store.location() }.into());
    }
    let credential = secrets::first_credential(context)?;
    let report = init(store, credential, Argon2Cost::DEFAULT, Ambient::system(), places)?;
    let text = format!(
        "made repository {} in {}\n\
         Its password or key file is the only way in: whoever loses it has lost every backup.\n",
        report.repository,
        plain(&report.location)
    );
    let (repository, slot) = (report.repository.to_string(), report.slot.to_string());
    Outcome::deed(text, &json::Init { repository, location: report.location, slot })
}
