//! `redkeep key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::word;
use crate::cli::context::Context;
use crate::cli::human::Lean::Left;
use crate::cli::human::{short, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, secrets, time};
use crate::format::keys::{Argon2Cost, SecretKind};
use crate::operations::keys;
use crate::repository::{Credential, Repository, SlotInfo};

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
     \"current\": bool}]}
")]
    List,
    /// Add a password or key file
    #[command(after_long_help = "\
Examples:
  redkeep key add --label alice
  redkeep key add --label cron --new-password-file /etc/redkeep/password
  head -c 32 /dev/urandom > safe.key
  redkeep key add --label 'in the safe' --new-key-file safe.key

JSON:
  {\"added\": id, \"removed\": null}
")]
    Add {
        #[command(flatten)]
        new: New,
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
  {\"added\": null, \"removed\": id}
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
  {\"added\": id, \"removed\": id}
")]
    Passwd {
        #[command(flatten)]
        new: New,
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
    let repository = context.open()?;
    match arguments.command {
        Command::List => list(&repository),
        Command::Add { new, label } => {
            let label = label.unwrap_or_default();
            let added = keys::add(&repository, &new.credential(context)?, &label, Argon2Cost::DEFAULT)?;
            let text = format!("added key slot {}\n", short(&added));
            Outcome::deed(text, &json::KeyChange { added: Some(added.to_string()), removed: None })
        }
        Command::Remove { slot, even_current } => {
            let removed = keys::remove(&repository, &slot, even_current)?;
            let text = format!("removed key slot {}\n", short(&removed));
            Outcome::deed(text, &json::KeyChange { added: None, removed: Some(removed.to_string()) })
        }
        Command::Passwd { new } => {
            let (removed, added) = keys::passwd(&repository, &new.credential(context)?, Argon2Cost::DEFAULT)?;
            let text = format!("key slot {} takes the place of {}\n", short(&added), short(&removed));
            let (added, removed) = (Some(added.to_string()), Some(removed.to_string()));
            Outcome::deed(text, &json::KeyChange { added, removed })
        }
    }
}

fn list(repository: &Repository) -> anyhow::Result<Outcome> {
    let slots = keys::list(repository)?;
    let head = [("ID", Left), ("KIND", Left), ("LABEL", Left), ("CREATED", Left), ("HOST", Left), ("", Left)];
    let row = |slot: &SlotInfo| {
        let kind = match slot.secret {
            Some(SecretKind::Password) => "password",
            Some(SecretKind::KeyFile) => "key file",
            None => "damaged",
        };
        let created = slot.created.map(time::show).unwrap_or_default();
        let current = if slot.current { "in use" } else { "" };
        let label = slot.label.clone().unwrap_or_else(|| "(unreadable)".into());
        [short(&slot.id), kind.into(), label, created, slot.host.clone().unwrap_or_default(), current.into()]
    };
    let text = table(head, slots.iter().map(row));
    Outcome::listing(text, &json::Slots { slots: slots.iter().map(json::Slot::from).collect() })
}
