//! `redkeep key`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::cli::args::word;
use crate::cli::context::Context;
use crate::cli::human::Lean::Left;
use crate::cli::human::{count, plain, short, table};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{json, output, secrets, time};
use crate::format::Id16;
use crate::format::keys::{Argon2Cost, SecretKind};
use crate::operations::slots;
use crate::repository::{Credential, Repository, RepositoryError, SlotInfo, SlotState, one_line};

/// Manage the passwords and key files the repository opens with
///
/// Manages the key slots: each opens the repository with a password or key file of its own.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_long_help = "\
Examples:
  redkeep key list
  redkeep key add --label 'in the safe' --new-key-file safe.key
  redkeep key passwd
"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with key slots.
#[derive(Debug, Subcommand)]
enum Command {
    /// List the key slots
    #[command(after_long_help = "\
Examples:
  redkeep key list

JSON:
  {\"slots\": [{\"id\", \"kind\": \"password\" or \"key_file\",
     \"label\" or null, \"created\" or null, \"host\" or null,
     \"current\": bool, \"epoch\": number or null, \"state\": \"current\",
     \"behind\", \"unfinished\" or \"damaged\"}], \"epoch\": number}
  \"current\" is the slot in use. A slot that is behind cannot read what was
  sealed since the last rotation; an unfinished one is of a rotation that
  was stopped. The next rotation mends both.
")]
    List,
    /// Add a password or key file
    #[command(after_long_help = "\
Examples:
  redkeep key add --label alice
  redkeep key add --label cron --new-password-file /etc/redkeep/password
  head -c 32 /dev/urandom > safe.key
  redkeep key add --label 'in the safe' --new-key-file safe.key
  redkeep key add --recovery --label 'in the safe'

JSON:
  {\"added\": id, \"removed\": null, \"recovery_key\": text or null}
")]
    Add {
        #[command(flatten)]
        new: New,
        /// Draw a recovery key, and print it: once, here, and never again
        ///
        /// It is typed where a password is asked for; case, spaces and hyphens do not count.
        #[arg(long, conflicts_with_all = ["new_password_file", "new_key_file"])]
        recovery: bool,
        /// A word to know it by
        #[arg(long, value_name = "TEXT", value_parser = word)]
        label: Option<String>,
    },
    /// Remove a key slot; the last one is never removed
    ///
    /// Whoever used the slot's password before may still hold a copy of the master key: a removed slot keeps people out
    /// who learn the password later.
    #[command(after_long_help = "\
Examples:
  redkeep key remove 3f9a
  redkeep key remove 3f9a --even-current

JSON:
  {\"added\": null, \"removed\": id, \"recovery_key\": null}
")]
    Remove {
        /// The begin of the slot's id
        #[arg(value_name = "SLOT", value_parser = slot)]
        slot: String,
        /// Also remove the slot this command opens the repository with
        #[arg(long)]
        even_current: bool,
    },
    /// Replace the password or key file this command opens the repository with
    #[command(after_long_help = "\
Examples:
  redkeep key passwd
  REDKEEP_NEW_PASSWORD=\"$(pass show redkeep)\" redkeep key passwd

JSON:
  {\"added\": id, \"removed\": id, \"recovery_key\": null}
")]
    Passwd {
        #[command(flatten)]
        new: New,
    },
    /// Rotate the master key: what is stored from now on is sealed by a new one
    ///
    /// Appends an epoch to the master key and wraps it anew for every password and key file that is to be kept: each is
    /// given by --password-file or --key-file, which may be repeated here, or asked for at a terminal. What is stored
    /// already stays readable, and moves to the new key as packs are written again.
    ///
    /// What a rotation cannot do: somebody who has the old master key still reads whatever was sealed before; and a store
    /// that keeps versions of its objects keeps the old key slots too, for whoever knows their passwords.
    #[command(after_long_help = "\
Examples:
  redkeep key rotate
  redkeep key rotate --password-file /etc/redkeep/password --key-file safe.key
  redkeep key rotate --drop-other-slots

JSON:
  {\"epoch\": number, \"added\": [id], \"removed\": [id]}
")]
    Rotate {
        /// Give up the slots whose password or key file is not given
        #[arg(long)]
        drop_other_slots: bool,
    },
}

/// Where the new secret comes from: these, REDKEEP_NEW_PASSWORD, or a person at a terminal.
#[derive(Debug, Args)]
struct New {
    /// File whose first line is the new password [or set REDKEEP_NEW_PASSWORD]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// File whose bytes are the new key
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

impl New {
    fn credential(self, context: &Context) -> anyhow::Result<Credential> {
        secrets::new_credential(context, self.new_password_file, self.new_key_file)
    }
}

fn slot(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    match !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err("write the id of a slot, or the begin of it".into()),
    }
}

/// Lists or changes key slots.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let several = match arguments.command {
        Command::Rotate { .. } => secrets::several(context)?,
        _ => None,
    };
    let repository = context.open_with(several.as_ref().and_then(|several| several.first().cloned()))?;
    match arguments.command {
        Command::Rotate { drop_other_slots } => rotate(&repository, several, drop_other_slots, context),
        Command::List => list(&repository),
        Command::Add { label, recovery: true, .. } => add_recovery(&repository, &label.unwrap_or_default()),
        Command::Add { new, label, recovery: false } => {
            let label = label.unwrap_or_default();
            let added = slots::add(&repository, &new.credential(context)?, &label, Argon2Cost::DEFAULT)?;
            let text = format!("added key slot {}\n", short(&added));
            Outcome::deed(text, &json::key::Change { added: Some(added.to_string()), ..Default::default() })
        }
        Command::Remove { slot, even_current } => {
            let removed = slots::remove(&repository, &slot, even_current)?;
            let text = format!("removed key slot {}\n", short(&removed));
            Outcome::deed(text, &json::key::Change { removed: Some(removed.to_string()), ..Default::default() })
        }
        Command::Passwd { new } => {
            let (removed, added) = slots::passwd(&repository, &new.credential(context)?, Argon2Cost::DEFAULT)?;
            let text = format!("key slot {} takes the place of {}\n", short(&added), short(&removed));
            let (added, removed) = (Some(added.to_string()), Some(removed.to_string()));
            Outcome::deed(text, &json::key::Change { added, removed, recovery_key: None })
        }
    }
}

fn list(repository: &Repository) -> anyhow::Result<Outcome> {
    let slots = slots::list(repository)?;
    let head = [("ID", Left), ("KIND", Left), ("LABEL", Left), ("CREATED", Left), ("HOST", Left), ("", Left)];
    let epoch = repository.current_epoch();
    let row = |slot: &SlotInfo| {
        let kind = match slot.secret {
            Some(SecretKind::Password) => "password",
            Some(SecretKind::KeyFile) => "key file",
            None => "damaged",
        };
        let created = slot.created.map(time::show).unwrap_or_default();
        let state = match (slot.current, slot.state) {
            (_, SlotState::Behind) => "behind: knows older master keys only",
            (_, SlotState::Unfinished) => "of an unfinished rotation",
            (true, SlotState::Current | SlotState::Damaged) => "in use",
            (false, SlotState::Current | SlotState::Damaged) => "",
        };
        let label = slot.label.clone().unwrap_or_else(|| "(unreadable)".into());
        [short(&slot.id), kind.into(), label, created, slot.host.clone().unwrap_or_default(), state.into()]
    };
    let text = table(head, slots.iter().map(row));
    let json = json::key::Slots { slots: slots.iter().map(json::key::Slot::from).collect(), epoch };
    let mend = "the next rotation mends the slots that are behind or unfinished: redkeep key rotate";
    let is_odd = |slot: &SlotInfo| matches!(slot.state, SlotState::Behind | SlotState::Unfinished);
    let odd = slots.iter().any(is_odd).then(|| mend.to_string());
    Ok(Outcome::listing(text, &json)?.with_notes(odd))
}

fn add_recovery(repository: &Repository, label: &str) -> anyhow::Result<Outcome> {
    output::to_somebody().context(UNWRITTEN)?;
    let (key, credential) = slots::recovery_key(repository.ambient());
    let label = if label.is_empty() { RECOVERY } else { label };
    let added = slots::add(repository, &credential, label, Argon2Cost::DEFAULT)?;
    let text = format!("added key slot {}\n{}", short(&added), recovery_text(&key));
    let (added, recovery_key) = (Some(added.to_string()), Some(key.to_string()));
    Outcome::secret(text, &json::key::Change { added, removed: None, recovery_key })
}

/// Label of a recovery key that is given none.
pub(super) const RECOVERY: &str = "recovery key";

/// The one time a recovery key is shown.
pub(super) fn recovery_text(key: &str) -> String {
    format!(
        "Recovery key: {key}\nIt opens the repository like a password. It is shown now and never again: write it down.\n"
    )
}

fn rotate(
    repository: &Repository,
    several: Option<Vec<Credential>>,
    drop_others: bool,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let keep = match several {
        Some(several) => several,
        None if drop_others => Vec::new(),
        None => ask_others(repository, context)?,
    };
    let done = slots::rotate(repository, &keep, drop_others, Argon2Cost::DEFAULT)?;
    let (added, removed) = (count(done.added.len() as u64, "new key slot"), done.removed.len());
    let text = format!("epoch {} of the master key seals from now on; {added}, {removed} removed\n", done.epoch);
    let ids = |ids: &[Id16]| ids.iter().map(Id16::to_string).collect();
    let json = json::key::Rotated { epoch: done.epoch, added: ids(&done.added), removed: ids(&done.removed) };
    let left = |(id, error): &(Id16, RepositoryError)| {
        format!(
            "key slot {} could not be removed, and still opens what was sealed before: {}",
            short(id),
            one_line(error)
        )
    };
    Ok(Outcome::deed(text, &json)?.with_warnings(done.not_removed.iter().map(left)))
}

/// The password of every other slot, one by one.
fn ask_others(repository: &Repository, context: &Context) -> anyhow::Result<Vec<Credential>> {
    let mut keep = Vec::new();
    for slot in
        slots::list(repository)?.iter().filter(|slot| !slot.current && slot.secret == Some(SecretKind::Password))
    {
        let label = plain(slot.label.as_deref().unwrap_or("unreadable label")).to_string();
        let prompt = format!("password of key slot {} ({label}), empty to give none: ", short(&slot.id));
        keep.extend(secrets::of_slot(context, &prompt)?);
    }
    Ok(keep)
}
