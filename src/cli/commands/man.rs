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
use crate::cli::topics::{self, TOPICS, Topic, heading_of};
use crate::cli::{json, output};

/// Print a manual page
///
/// Prints the manual page of redkeep, of one of its commands or of a topic, or writes all of them into a directory.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep man | man -l -
  redkeep man restore | man -l -
  redkeep man operations | man -l -
  redkeep man --out-dir /usr/local/share/man

JSON, with --out-dir only:
  {\"pages\": [path]}
")]
pub(crate) struct Arguments {
    /// The command, such as backup or key add; or the topic
    #[arg(value_name = "COMMAND", conflicts_with = "out_dir")]
    command: Vec<String>,
    /// Write all pages into this directory: below it into man1 those of commands, into man7 those of topics
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
    let page = match &arguments.command[..] {
        [name] if topics::find(name).is_some() => topics::find(name).map(of_topic).unwrap_or_default(),
        names => page(find(&root, names)?)?,
    };
    output::write(&page).context(UNWRITTEN)?;
    Ok(Outcome::nothing())
}

fn find<'c>(root: &'c Command, names: &[String]) -> Result<&'c Command, UsageError> {
    names.iter().try_fold(root, |command, name| {
        command.find_subcommand(name).ok_or_else(|| UsageError {
            what: format!("there is neither a command nor a topic {}", names.join(" ")),
            hint: "list them with: redkeep --help".into(),
        })
    })
}

fn write_all(root: &Command, directory: &Path) -> anyhow::Result<Outcome> {
    let mut pages = Vec::new();
    let mut write = |section: &str, name: &str, page: &[u8]| {
        let directory = directory.join(format!("man{section}"));
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let path = directory.join(format!("{name}.{section}"));
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        pages.push(path.display().to_string());
        Ok::<(), anyhow::Error>(())
    };
    let mut commands = vec![root];
    while let Some(command) = commands.pop() {
        write("1", &name(command), &page(command)?)?;
        commands.extend(command.get_subcommands());
    }
    for topic in &TOPICS {
        write("7", &format!("redkeep-{}", topic.name), &of_topic(topic))?;
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

/// The page of a topic.
fn of_topic(topic: &Topic) -> Vec<u8> {
    let name = format!("redkeep-{}", topic.name);
    let version = env!("CARGO_PKG_VERSION");
    let mut roff = format!(".TH {} 7 \"\" \"redkeep {version}\" \"redkeep manual\"\n", name.to_uppercase());
    roff.push_str(&format!(".SH NAME\n{} \\- {}\n", escaped(&name), escaped(topic.about)));
    let mut is_typed = false;
    for line in topic.text.lines() {
        let typed = line.strip_prefix("    ");
        if !line.is_empty() && typed.is_some() != is_typed {
            roff.push_str(if is_typed { ".fi\n.RE\n" } else { ".RS 4\n.nf\n" });
            is_typed = typed.is_some();
        }
        match (line.strip_prefix("# "), typed) {
            (Some(heading), _) => roff.push_str(&format!(".SH {}\n", escaped(&heading_of(heading)))),
            (None, Some(typed)) => roff.push_str(&format!("\\&{}\n", escaped(typed))),
            (None, None) if line.is_empty() && is_typed => roff.push_str("\\&\n"),
            (None, None) if line.is_empty() => roff.push_str(".PP\n"),
            (None, None) => roff.push_str(&format!("\\&{}\n", escaped(line))),
        }
    }
    if is_typed {
        roff.push_str(".fi\n.RE\n");
    }
    roff.into_bytes()
}

/// A text as it is written in a page.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
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
            _ => roff.push_str(&format!("\\&{}\n", escaped(line))),
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
