//! `redkeep man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::args::Cli;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::{count, plain};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{json, output};

/// Print a manual page
///
/// Prints the manual page of redkeep or of one of its commands, or writes all of them into a directory.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep man | man -l -
  redkeep man restore | man -l -
  redkeep man --out-dir /usr/local/share/man/man1

JSON, with --out-dir only:
  {\"pages\": [path]}
")]
pub(crate) struct Arguments {
    /// The command, such as backup or key add
    #[arg(value_name = "COMMAND", conflicts_with = "out_dir")]
    command: Vec<String>,
    /// Write one page for each command into this directory
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

/// Prints or writes manual pages.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    if let Some(directory) = &arguments.out_dir {
        return write_all(&root, directory);
    }
    if context.globals.json {
        let what = "a manual page is no JSON".into();
        return Err(UsageError { what, hint: "leave --json out, or write the pages with --out-dir DIR".into() }.into());
    }
    let page = page(find(&root, &arguments.command)?)?;
    output::write(&page).context(UNWRITTEN)?;
    Ok(Outcome::nothing())
}

fn find<'c>(root: &'c Command, names: &[String]) -> Result<&'c Command, UsageError> {
    names.iter().try_fold(root, |command, name| {
        command.find_subcommand(name).ok_or_else(|| UsageError {
            what: format!("redkeep has no command {}", names.join(" ")),
            hint: "list them with: redkeep --help".into(),
        })
    })
}

fn write_all(root: &Command, directory: &Path) -> anyhow::Result<Outcome> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut commands = vec![root];
    let mut pages = Vec::new();
    while let Some(command) = commands.pop() {
        let path = directory.join(format!("{}.1", name(command)));
        fs::write(&path, page(command)?).with_context(|| format!("cannot write {}", path.display()))?;
        pages.push(path.display().to_string());
        commands.extend(command.get_subcommands());
    }
    pages.sort();
    let written = count(pages.len() as u64, "page");
    let text = format!("wrote {written} into {}\n", plain(&directory.display().to_string()));
    Outcome::deed(text, &json::Pages { pages })
}

fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_string()
}

/// A page: what clap knows of the command, and its examples and JSON as they stand in its help.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .title(name(command).to_uppercase())
        .source(concat!("redkeep ", env!("CARGO_PKG_VERSION")))
        .manual("redkeep manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    page.extend_from_slice(sections(&after).as_bytes());
    Ok(page)
}

/// Help text as sections of its own: a line without indentation that ends with a colon is a heading, all else is kept
/// line by line.
fn sections(text: &str) -> String {
    let mut roff = String::new();
    for line in text.lines() {
        match line.strip_suffix(':') {
            Some(heading) if !heading.starts_with(' ') => {
                roff.push_str(&format!(".fi\n.SH \"{}\"\n.nf\n", heading.to_uppercase()));
            }
            _ => roff.push_str(&format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-"))),
        }
    }
    roff + ".fi\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_in_a_page() {
        let text = sections("Examples:\n  redkeep ls --json\n\nJSON:\n  {\"a\\b\"}\n");
        let wanted = ".fi\n.SH \"EXAMPLES\"\n.nf\n\\&  redkeep ls \\-\\-json\n\\&\n\
            .fi\n.SH \"JSON\"\n.nf\n\\&  {\"a\\eb\"}\n.fi\n";
        assert_eq!(text, wanted);
    }
}
