//! `redkeep get --into`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::json;

use super::{facts, found};
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::{count, shown};
use crate::cli::json::text;
use crate::cli::outcome::Outcome;
use crate::cli::server::Login;
use crate::operations::OperationError;
use crate::operations::list::Chosen;
use crate::operations::look_up::{Held, PutBack, Target, doubts, put_back};
use crate::redis::server::Address;

/// Over the options of putting a key back.
const INTO: &str = "Into a server";

/// Where a key is put, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = INTO)]
pub(super) struct IntoServer {
    /// Put it into this running server: redis://[USER@]HOST[:PORT][/DATABASE], rediss:// for TLS, HOST:PORT, or the path of a
    /// Unix socket
    #[arg(long, value_name = "URL", conflicts_with = "raw")]
    into: Option<String>,
    /// Database it is put into [default: the one that URL names, else the one it was in]
    #[arg(long, value_name = "N", requires = "into")]
    into_db: Option<u32>,
    /// Put it there under another name
    #[arg(long = "as", value_name = "KEY", requires = "into")]
    name: Option<OsString>,
    /// Overwrite what the server has under that name
    #[arg(long, requires = "into")]
    replace: bool,
    /// Put it there for good, whatever its expiry was
    #[arg(long, requires = "into")]
    no_expiry: bool,
    #[command(flatten)]
    login: Login,
}

impl IntoServer {
    pub fn is_wanted(&self) -> bool {
        self.into.is_some()
    }

    /// Refuses a login to no server.
    pub fn refuse_unused(&self) -> Result<(), UsageError> {
        match self.is_wanted() || self.login == Login::default() {
            true => Ok(()),
            false => Err(UsageError {
                what: "a login to a server is given, and no server".into(),
                hint: "name it with --into".into(),
            }),
        }
    }

    /// Puts a value there: that of a snapshot, and where one was asked for, of a moment.
    pub fn run(
        &self,
        held: &Held,
        key: &[u8],
        db: u32,
        (chosen, moment): (&Chosen, Option<String>),
        context: &Context,
    ) -> anyhow::Result<Outcome> {
        let address: Address = self.into.as_deref().unwrap_or_default().parse().map_err(OperationError::from)?;
        let address = self.login.of(context)?(address);
        let target = Target {
            database: self.into_db.or(address.database()).unwrap_or(db),
            key: self.name.as_ref().map_or(key, |name| name.as_bytes()).to_vec(),
            replaces: self.replace,
            keeps_expiry: !self.no_expiry,
        };
        let PutBack { version, replaced, remade, expired_fields } = put_back(held, &address, &target)?;
        context.progress.finish();
        let expires = target.keeps_expiry && (held.expires.is_some() || held.after_loading.is_some());
        let into = json!({"moment": moment, "into": {
            "server": address.to_string(),
            "version": version,
            "db": target.database,
            "key": text(&target.key),
            "expires": expires,
            "replaced": replaced,
            "remade": remade,
            "expired_fields": expired_fields,
        }});
        let done = format!(
            "put {} into database {} of the server at {address}{}{}\n",
            shown(&target.key),
            target.database,
            version.map_or_else(String::new, |version| format!(" ({version})")),
            if replaced { ", in place of what was there" } else { "" }
        );
        let for_good = !expires && (held.expires.is_some() || held.after_loading.is_some());
        let notes = [
            Some(facts(held)),
            for_good.then(|| "it does not expire there".to_owned()),
            (expired_fields > 0)
                .then(|| format!("{} expired since: the server lets go of them", count(expired_fields, "field"))),
            remade.then(|| "element by element: the server does not know the form it was stored in".to_owned()),
        ];
        let outcome = Outcome::deed(done, &found(held, key, db, chosen, into)?)?;
        let outcome = outcome.with_notes(notes.into_iter().flatten());
        Ok(outcome.with_warnings(doubts(chosen)).with_alarms(&chosen.alarms))
    }
}
