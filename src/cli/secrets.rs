//! Where passwords and key files come from: options, then the environment, then the configuration, then a person at a
//! terminal.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::configuration::Access;
use super::context::Context;
use super::exit::{Hinted, Stopped, UsageError};
use super::second::SecretArguments;
use super::settings::variable;
use crate::crypto::passphrase::Secret;
use crate::format::keys::SecretKind;
use crate::format::recovery::{self, Reading};
use crate::repository::Credential;

/// A password or key file has no more bytes.
const SECRET_MAX: u64 = 1 << 20;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// All bytes of a file.
    KeyFile(PathBuf),
    /// The first line of a file.
    PasswordFile(PathBuf),
    /// The first line a command prints.
    PasswordCommand(OsString),
    /// The value of a variable, by its name.
    Variable(&'static str),
    /// A person at a terminal.
    Prompt,
}

/// The places a secret may be named in, and how people call them.
type Named = Vec<(&'static str, Option<Source>)>;

/// The credential that opens the repository, and where it came from. `before_asking` is done before a person is asked.
pub(crate) fn credential(
    context: &Context,
    before_asking: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<(Credential, String)> {
    let (name, source) = choose([options(context), environment(), configured(context)?])?;
    let from = whence(name, &source);
    let credential = match source {
        Source::Prompt => {
            check_terminal("give --password-file, --password-command or --key-file, or set REDKEEP_PASSWORD")?;
            before_asking()?;
            password(ask(context, "password for the repository: ")?)
        }
        source => read(context, source),
    };
    Ok((not_empty(credential?, &from)?, from))
}

/// The credential of the second repository of a command, and where it came from.
pub(crate) fn second_credential(
    context: &Context,
    to: &SecretArguments,
    access: Option<Access>,
    before_asking: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<(Credential, String)> {
    let of = |name: &'static str, source: fn(OsString) -> Source| (name, variable(name).map(source));
    let options = vec![
        ("--to-key-file", to.to_key_file.clone().map(Source::KeyFile)),
        ("--to-password-file", to.to_password_file.clone().map(Source::PasswordFile)),
        (
            "--to-password-command",
            to.to_password_command.clone().map(|command| Source::PasswordCommand(command.into())),
        ),
    ];
    let environment = vec![
        of("REDKEEP_TO_KEY_FILE", |path| Source::KeyFile(path.into())),
        of("REDKEEP_TO_PASSWORD_FILE", |path| Source::PasswordFile(path.into())),
        of("REDKEEP_TO_PASSWORD_COMMAND", Source::PasswordCommand),
        of("REDKEEP_TO_PASSWORD", |_| Source::Variable("REDKEEP_TO_PASSWORD")),
    ];
    let (name, source) = choose([options, environment, access.map(named).unwrap_or_default()])?;
    let from = whence(name, &source);
    let credential = match source {
        Source::Prompt => {
            check_terminal(
                "give --to-password-file, --to-password-command or --to-key-file, or set REDKEEP_TO_PASSWORD",
            )?;
            before_asking()?;
            password(ask(context, "password for the repository that is copied into: ")?)
        }
        source => read(context, source),
    };
    Ok((not_empty(credential?, &from)?, from))
}

/// No repository opens without one: what names it has nothing in it, which is another mistake than a wrong one.
fn not_empty(credential: Credential, from: &str) -> Result<Credential, UsageError> {
    match credential.secret.is_empty() {
        true => {
            let what = format!("the password or key is empty: {from}");
            Err(UsageError { what, hint: "a password is the first line, a key file all bytes of the file".into() })
        }
        false => Ok(credential),
    }
}

/// Where a secret came from, for people. What a command is may itself be a secret.
fn whence(name: &str, source: &Source) -> String {
    let place = match name.starts_with("--") || name.starts_with("REDKEEP_") {
        true => "",
        false => " of the configuration",
    };
    match source {
        Source::KeyFile(path) | Source::PasswordFile(path) => format!("{name}{place}, {}", path.display()),
        Source::PasswordCommand(_) => format!("what {name}{place} printed"),
        Source::Variable(name) => format!("the variable {name}"),
        Source::Prompt => "the terminal".into(),
    }
}

/// Every credential that options name: `key rotate` keeps them all. `None`: only one is given, in the usual ways.
pub(crate) fn several(context: &Context) -> anyhow::Result<Option<Vec<Credential>>> {
    let sources: Vec<Source> = options(context).into_iter().filter_map(|(_, source)| source).collect();
    match sources.len() {
        0 | 1 => Ok(None),
        _ => sources.into_iter().map(|source| read(context, source)).collect::<Result<_, _>>().map(Some),
    }
}

/// The password of one more slot, from a person; an empty one gives the slot up. `None`: nobody is there to ask.
pub(crate) fn of_slot(context: &Context, prompt: &str) -> anyhow::Result<Option<Credential>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let answer = ask(context, prompt)?;
    if answer.is_empty() { Ok(None) } else { password(answer).map(Some) }
}

/// The password file that is named, if that is where the password comes from.
pub(crate) fn named_password_file(context: &Context) -> anyhow::Result<Option<PathBuf>> {
    match choose([options(context), environment(), configured(context)?])?.1 {
        Source::PasswordFile(path) => Ok(Some(path)),
        Source::KeyFile(_) | Source::PasswordCommand(_) | Source::Variable(_) | Source::Prompt => Ok(None),
    }
}

/// The first credential of a repository that is to be made.
pub(crate) fn first_credential(context: &Context) -> anyhow::Result<Credential> {
    let source = choose([options(context), environment(), configured(context)?])?.1;
    let instead = "give --password-file, --password-command or --key-file, or set REDKEEP_PASSWORD";
    made(context, source, "password for the new repository: ", instead)
}

/// Another password or key file for a repository.
pub(crate) fn new_credential(
    context: &Context,
    password_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
) -> anyhow::Result<Credential> {
    let options = vec![
        ("--new-password-file", password_file.map(Source::PasswordFile)),
        ("--new-key-file", key_file.map(Source::KeyFile)),
    ];
    const NEW_PASSWORD: &str = "REDKEEP_NEW_PASSWORD";
    let environment = vec![(NEW_PASSWORD, variable(NEW_PASSWORD).map(|_| Source::Variable(NEW_PASSWORD)))];
    let instead = "give --new-password-file or --new-key-file, or set REDKEEP_NEW_PASSWORD";
    made(context, choose([options, environment])?.1, "new password: ", instead)
}

/// A credential that did not open anything yet: a typed one is typed twice, and a short one told.
fn made(context: &Context, source: Source, prompt: &str, instead: &str) -> anyhow::Result<Credential> {
    let credential = match source {
        Source::Prompt => {
            check_terminal(instead)?;
            ask_twice(context, prompt)?
        }
        source => read(context, source)?,
    };
    warn_of_short(context, &credential);
    refuse_empty(credential)
}

/// The password of a server, and where it came from: from a file, from what a command prints, or from `REDISCLI_AUTH`.
pub(crate) fn server_password(
    context: &Context,
    file: Option<&Path>,
    command: Option<&str>,
    is_configured: bool,
) -> anyhow::Result<Option<(Secret, String)>> {
    const REDISCLI_AUTH: &str = "REDISCLI_AUTH";
    let names = match is_configured {
        true => ["redis-password-file", "redis-password-command"],
        false => ["--redis-password-file", "--redis-password-command"],
    };
    let options = vec![
        (names[0], file.map(|file| Source::PasswordFile(file.into()))),
        (names[1], command.map(|command| Source::PasswordCommand(command.into()))),
    ];
    let environment = vec![(REDISCLI_AUTH, variable(REDISCLI_AUTH).map(|_| Source::Variable(REDISCLI_AUTH)))];
    let (name, source) = choose([options, environment])?;
    let from = whence(name, &source);
    let secret = match source {
        Source::PasswordFile(path) => {
            let read = read_file(context, &path);
            read.map(first_line).map_err(|error| unread("password", &path, error))?
        }
        Source::PasswordCommand(command) => run(&command).map(first_line)?,
        Source::Variable(name) => Secret::new(variable(name).unwrap_or_default().into_vec()),
        Source::KeyFile(_) | Source::Prompt => return Ok(None),
    };
    Ok(Some((secret, from)))
}

fn options(context: &Context) -> Named {
    let globals = &context.globals;
    let key_files = globals.key_file.iter().map(|path| ("--key-file", Some(Source::KeyFile(path.clone()))));
    let files = globals.password_file.iter().map(|path| ("--password-file", Some(Source::PasswordFile(path.clone()))));
    let command = globals.password_command.clone().map(|command| Source::PasswordCommand(command.into()));
    key_files.chain(files).chain([("--password-command", command)]).collect()
}

fn environment() -> Named {
    let of = |name: &'static str, source: fn(OsString) -> Source| (name, variable(name).map(source));
    vec![
        of("REDKEEP_KEY_FILE", |path| Source::KeyFile(path.into())),
        of("REDKEEP_PASSWORD_FILE", |path| Source::PasswordFile(path.into())),
        of("REDKEEP_PASSWORD_COMMAND", Source::PasswordCommand),
        of("REDKEEP_PASSWORD", |_| Source::Variable("REDKEEP_PASSWORD")),
    ]
}

/// What the configuration names, for all or for the profile.
fn configured(context: &Context) -> Result<Named, UsageError> {
    Ok(named(context.access()?))
}

fn named(access: Access) -> Named {
    vec![
        ("key-file", access.key_file.map(Source::KeyFile)),
        ("password-file", access.password_file.map(Source::PasswordFile)),
        ("password-command", access.password_command.map(|command| Source::PasswordCommand(command.into()))),
    ]
}

/// Options come before the environment, and that before the configuration; two of one kind are refused rather than one
/// of them ignored. Answers with the name under which it was given, too.
fn choose<const N: usize>(places: [Named; N]) -> Result<(&'static str, Source), UsageError> {
    for named in places {
        let mut given = named.into_iter().filter_map(|(name, source)| Some((name, source?)));
        match (given.next(), given.next()) {
            (None, _) => {}
            (Some(given), None) => return Ok(given),
            (Some((first, _)), Some((second, _))) => {
                return Err(UsageError {
                    what: format!("both {first} and {second} are given"),
                    hint: "give one of them".into(),
                });
            }
        }
    }
    Ok(("", Source::Prompt))
}

fn read(context: &Context, source: Source) -> anyhow::Result<Credential> {
    match source {
        Source::KeyFile(path) => {
            let secret = read_file(context, &path).map_err(|error| unread("key", &path, error))?;
            Ok(Credential { kind: SecretKind::KeyFile, secret })
        }
        Source::PasswordFile(path) => {
            let read = read_file(context, &path);
            password(first_line(read.map_err(|error| unread("password", &path, error))?))
        }
        Source::PasswordCommand(command) => password(first_line(run(&command)?)),
        Source::Variable(name) => password(Secret::new(variable(name).unwrap_or_default().into_vec())),
        Source::Prompt => password(ask(context, "password for the repository: ")?),
    }
}

/// A password as it is meant: a recovery key in its written form, any other as it is.
fn password(secret: Secret) -> anyhow::Result<Credential> {
    let secret = match recovery::read(&secret) {
        Reading::Key(written) => Secret::new(written.as_bytes().to_vec()),
        Reading::Mistyped | Reading::Other => secret,
    };
    Ok(Credential { kind: SecretKind::Password, secret })
}

/// Whether a password that was refused looks like a recovery key with a typing error.
pub(crate) fn is_mistyped(credential: &Credential) -> bool {
    credential.kind == SecretKind::Password && recovery::read(&credential.secret) == Reading::Mistyped
}

/// Why a file with a secret cannot be read, and what to do about it.
fn unread(kind: &str, path: &Path, error: io::Error) -> Hinted {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "redkeep init --make-password makes one, with a new repository; one that is there opens only with its own password"
        }
        io::ErrorKind::PermissionDenied => "let the user that redkeep runs as read it, and nobody else",
        _ => "name another one with --password-file or --key-file",
    };
    Hinted::new(anyhow::Error::new(error).context(format!("cannot read {kind} file {}", path.display())), hint)
}

/// Warns where others may read the file too: then it is no secret on this host.
fn read_file(context: &Context, path: &Path) -> io::Result<Secret> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o004 != 0 {
        let path = path.display();
        context.warn(&format!("{path} can be read by every user of this host; change that with: chmod o-r {path}"));
    }
    let mut secret = Secret::default();
    file.take(SECRET_MAX + 1).read_to_end(&mut secret)?;
    match secret.len() as u64 > SECRET_MAX {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(secret),
    }
}

/// What comes before the first line end.
fn first_line(bytes: Secret) -> Secret {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Secret::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

/// Runs a command of the user by the shell. What it asks or complains about reaches the terminal.
fn run(command: &OsString) -> anyhow::Result<Secret> {
    let mut child = Command::new("sh");
    let child = child.arg("-c").arg(command).stdin(Stdio::inherit()).stderr(Stdio::inherit());
    let output = child.output().context("cannot run the password command")?;
    let secret = Secret::new(output.stdout);
    match output.status.success() {
        true => Ok(secret),
        false => anyhow::bail!("the password command failed: {}", output.status),
    }
}

fn check_terminal(hint: &str) -> Result<(), UsageError> {
    match io::stdin().is_terminal() {
        true => Ok(()),
        false => {
            Err(UsageError { what: "no password was given and there is no terminal to ask".into(), hint: hint.into() })
        }
    }
}

fn ask(context: &Context, prompt: &str) -> anyhow::Result<Secret> {
    match context.progress.ask(|| rpassword::prompt_password(prompt)) {
        Ok(answer) => Ok(Secret::new(answer.into_bytes())),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Stopped.into()),
        Err(error) => Err(error).context("cannot ask for a password"),
    }
}

fn ask_twice(context: &Context, prompt: &str) -> anyhow::Result<Credential> {
    let first = ask(context, prompt)?;
    let second = ask(context, "the same again: ")?;
    match first == second {
        true => password(first),
        false => Err(UsageError { what: "the two passwords differ".into(), hint: "try again".into() }.into()),
    }
}

/// Letters below which a password is guessed by who has a copy of the repository, however dear each guess is.
const SHORT: usize = 8;

fn warn_of_short(context: &Context, credential: &Credential) {
    let letters = String::from_utf8_lossy(&credential.secret).chars().count();
    if credential.kind == SecretKind::Password && (1..SHORT).contains(&letters) {
        context.warn(&format!(
            "the new password has {}: who gets a copy of the repository may guess it; change it with: redkeep key passwd",
            super::human::count(letters as u64, "letter")
        ));
    }
}

fn refuse_empty(credential: Credential) -> anyhow::Result<Credential> {
    match credential.secret.is_empty() {
        true => {
            let what = "the new password or key file is empty".into();
            Err(UsageError { what, hint: "anyone could open the repository with it: choose another".into() }.into())
        }
        false => Ok(credential),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Option<Source> {
        Some(Source::PasswordFile(name.into()))
    }

    #[test]
    fn options_come_before_the_environment_and_the_terminal_is_last() {
        let source =
            |first: Named, second: Named, third: Named| choose([first, second, third]).ok().map(|(_, source)| source);
        let none = || vec![("a", None), ("b", None)];
        let env = || vec![("c", file("env"))];
        assert_eq!(source(none(), none(), none()), Some(Source::Prompt));
        assert_eq!(source(none(), env(), none()), file("env"));
        assert_eq!(source(vec![("a", None), ("b", file("option"))], env(), none()), file("option"));
        assert_eq!(source(none(), env(), vec![("d", file("configuration"))]), file("env"));
        assert_eq!(source(none(), none(), vec![("d", file("configuration"))]), file("configuration"));
    }

    #[test]
    fn two_sources_of_one_kind_are_refused_by_name() {
        let two = || vec![("a", file("1")), ("b", file("2"))];
        for (options, environment) in [(two(), vec![]), (vec![], two())] {
            let error = choose([options, environment]).expect_err("two");
            assert_eq!(error.to_string(), "both a and b are given");
        }
    }

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        for (bytes, line) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\nmore\n", "secret"),
            (" with spaces \n", " with spaces "),
            ("\nsecond", ""),
            ("", ""),
        ] {
            assert_eq!(*first_line(Secret::new(bytes.into())), line.as_bytes(), "{bytes:?}");
        }
    }
}
