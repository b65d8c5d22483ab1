//! `redkeep dump`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::pick;
use crate::cli::args::OfDataset;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Hinted, UsageError};
use crate::cli::human::{plain, short, size};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{json, output, selector};
use crate::held::{Held, replaced};
use crate::operations::list::{Chosen, Dumped, Selector, dump};
use crate::operations::{Observer, OperationError};
use crate::repository::{Repository, RepositoryError};

/// Write one file of a snapshot to standard output
///
/// Writes one file of a snapshot to standard output, or to a new file. A command that ends with 0 has written all of it,
/// and compared it with what was stored.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep dump latest dump.rdb > dump.rdb
  redkeep dump latest~1 appendonlydir/appendonly.aof.manifest
  redkeep dump 8f3a1c2e dump.rdb -o /tmp/dump.rdb

JSON, with -o only:
  {\"snapshot\": id, \"dataset\", \"begin\", \"path\", \"bytes\", \"output\": path,
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    /// The snapshot: the begin of its id, latest, latest~N or @TIME
    #[arg(value_parser = selector::parse)]
    snapshot: Selector,
    /// Path below the data directory
    path: OsString,
    /// Write to this file, which must not exist
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write binary content to a terminal too
    #[arg(long)]
    force_terminal: bool,
    #[command(flatten)]
    of: OfDataset,
}

/// Writes a file.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if context.globals.json && arguments.output.is_none() {
        let what = "--json cannot share standard output with the file".into();
        return Err(UsageError { what, hint: "write the file elsewhere with -o FILE".into() }.into());
    }
    let repository = context.open()?;
    context.progress.stop_in_order();
    let chosen = pick(context, &repository, &arguments.snapshot, arguments.of.dataset.as_deref())?;
    let outcome = match &arguments.output {
        Some(output) => to_file(context, &repository, &chosen, &arguments.path, output)?,
        None => to_stdout(context, &repository, &chosen, arguments)?,
    };
    Ok(outcome.with_alarms(&chosen.alarms))
}

fn to_stdout(
    context: &Context,
    repository: &Repository,
    chosen: &Chosen,
    arguments: &Arguments,
) -> anyhow::Result<Outcome> {
    let out = output::to_somebody().context(UNWRITTEN)?;
    let is_guarded = out.is_terminal() && !arguments.force_terminal;
    let mut out = Guarded { out, is_guarded, refused: false };
    // A bar would run through what a terminal shows, or what a program at the other end of a pipe says there.
    let is_file = out.out.metadata().is_ok_and(|metadata| metadata.is_file());
    let observer: &dyn Observer = if is_file { &context.progress } else { &context.progress.hidden() };
    let done = dump(repository, &chosen.snapshot, arguments.path.as_bytes(), &mut out, observer);
    match done {
        Ok(dumped) => Ok(Outcome::nothing().with_made_good(&dumped.made_good)),
        Err(_) if out.refused => Err(UsageError {
            what: format!("{} is binary, and standard output is a terminal", arguments.path.display()),
            hint: "write it to a file with -o FILE, or see it anyway with --force-terminal".into(),
        }
        .into()),
        // The reader wanted no more, and whoever looks at the code learns that it is not all.
        Err(OperationError::Repository(RepositoryError::Sink(error))) if is_closed_pipe(&*error) => {
            Ok(Outcome::nothing().with_code(Code::Failed))
        }
        Err(error @ OperationError::Repository(RepositoryError::Sink(_))) => {
            Err(anyhow::Error::new(error).context(UNWRITTEN))
        }
        Err(error) => Err(without_file(error)),
    }
}

/// The snapshot was found: what is not there is the file.
fn without_file(error: OperationError) -> anyhow::Error {
    match error {
        OperationError::NoSnapshot { .. } => Hinted::new(error, "list its files with: redkeep ls SNAPSHOT").into(),
        other => other.into(),
    }
}

fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Standard output that lets only text through to a terminal.
struct Guarded {
    out: File,
    is_guarded: bool,
    refused: bool,
}

impl Write for Guarded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t');
        if self.is_guarded && bytes.iter().any(is_control) {
            self.refused = true;
            return Err(io::Error::other("binary content"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes to a file beside the output, which takes its name when it is complete.
fn to_file(
    context: &Context,
    repository: &Repository,
    chosen: &Chosen,
    path: &OsString,
    output: &Path,
) -> anyhow::Result<Outcome> {
    let refuse =
        |what: &str, hint: &str| UsageError { what: format!("{} {what}", output.display()), hint: hint.into() };
    if output.symlink_metadata().is_ok() {
        return Err(refuse("exists already", "name a file that does not exist").into());
    }
    let last = output.file_name().ok_or_else(|| refuse("names no file", "name a file that does not exist"))?;
    let directory = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let held = Held::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    let mut name = OsString::from(".redkeep-partial-");
    name.push(last);
    let (file, Dumped { bytes, made_good }) = write_new(context, repository, chosen, path, (&held, &name))
        .inspect_err(|_| {
            // What is left of it is replaced by the next attempt.
            let _ = held.remove_file(&name);
        })?;
    take_name(&held, &name, last, &file).with_context(|| format!("cannot create {}", output.display()))?;
    let shown = output.display().to_string();
    let text = format!(
        "wrote {} of {} to {}, {}\n",
        plain(&path.to_string_lossy()),
        short(&chosen.name.session),
        plain(&shown),
        size(bytes)
    );
    let path = path.to_string_lossy().into_owned();
    let outcome = Outcome::deed(text, &json::Dump { of: chosen.into(), path, bytes, output: shown })?;
    Ok(outcome.with_made_good(&made_good))
}

fn write_new(
    context: &Context,
    repository: &Repository,
    chosen: &Chosen,
    path: &OsString,
    (held, partial): (&Held, &OsStr),
) -> anyhow::Result<(File, Dumped)> {
    let failed = || format!("cannot write {}", held.path_of(partial).display());
    // What a killed dump left, or a link that others put there: made anew, so that none is written through.
    match held.remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(failed),
        _ => {}
    }
    let mut file = held.create(partial, 0o600).with_context(failed)?;
    let dumped = match dump(repository, &chosen.snapshot, path.as_bytes(), &mut file, &context.progress) {
        Err(error @ OperationError::Repository(RepositoryError::Sink(_))) => {
            return Err(anyhow::Error::new(error).context(failed()));
        }
        other => other.map_err(without_file)?,
    };
    file.sync_all().with_context(failed)?;
    Ok((file, dumped))
}

/// The name goes to the file that was written, and to none that was put in its place, nor over another one.
fn take_name(held: &Held, partial: &OsStr, name: &OsStr, file: &File) -> io::Result<()> {
    held.rename_new(partial, held, name)?;
    let written = file.metadata()?;
    match held.look(name)?.map(|seen| seen.id()) == Some((written.dev(), written.ino())) {
        true => Ok(()),
        false => Err(replaced()),
    }
}
