//! Whether what starts a server is there, as far as that is known without starting it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::manager::{SCRIPTS, Start};
use super::named::{show, started_with};
use crate::redis::program::without_secrets;

/// What makes more of a command line than one program and its arguments.
const OPERATORS: &[char] = &[';', '|', '\n', '`', '(', ')', '{', '}', '&'];

impl Start {
    /// Why it would fail, where that is sure.
    pub fn lacks(&self) -> Option<String> {
        match self {
            // A manager that does not answer is not known to fail.
            Start::Unit(unit) => unit_lacks(unit, &show(unit).ok()?),
            Start::Script(name) => script_lacks(&Path::new(SCRIPTS).join(name)),
            Start::Command(command) => command_lacks(command),
            Start::Process(_) => None,
        }
    }
}

/// By what systemd says of it.
fn unit_lacks(unit: &str, shown: &str) -> Option<String> {
    let of = |what: &str| shown.lines().find_map(|line| line.strip_prefix(what)).filter(|text| !text.is_empty());
    if let Some(state) = of("LoadState=").filter(|state| *state != "loaded") {
        return Some(format!("the unit {unit} cannot be started: it is {state}"));
    }
    // With a root of its own its paths are others.
    let has_root = ["RootDirectory=", "RootImage="].iter().any(|name| of(name).is_some());
    let words = of("ExecStart=").and_then(started_with)?;
    let program = Path::new(words.first()?);
    let is_gone = !has_root && program.is_absolute() && !program.exists();
    is_gone.then(|| format!("the unit {unit} starts {}, which is not there", program.display()))
}

fn script_lacks(script: &Path) -> Option<String> {
    let shown = script.display();
    let Ok(found) = fs::metadata(script) else { return Some(format!("the script {shown} is not there")) };
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Some(format!("the script {shown} is no program"));
    }
    let text = fs::read(script).ok()?;
    let first = String::from_utf8_lossy(text.split(|byte| *byte == b'\n').next()?).into_owned();
    let interpreter = Path::new(first.strip_prefix("#!")?.split_whitespace().next()?).to_owned();
    (!interpreter.exists())
        .then(|| format!("the script {shown} is run by {}, which is not there", interpreter.display()))
}

/// A command for the shell: one that it does not understand, or one program that is not there.
fn command_lacks(command: &str) -> Option<String> {
    let run = |arguments: &[&str]| {
        let mut shell = Command::new("sh");
        let shell = without_secrets(&mut shell).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        shell.stdout(Stdio::null()).output().ok()
    };
    // Of several lines the first ones are run whatever comes.
    if !command.contains('\n')
        && let Some(said) = run(&["-n", "-c", command]).filter(|output| !output.status.success())
    {
        let said = String::from_utf8_lossy(&said.stderr).trim().chars().take(200).collect::<String>();
        return Some(format!("the shell does not understand --start-command: {said}"));
    }
    let plain = command.replace("2>&1", "").replace(">&2", "");
    let word = plain.split_whitespace().next()?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if plain.contains(OPERATORS) || !word.chars().all(is_name) {
        return None;
    }
    let is_there = run(&["-c", "command -v -- \"$1\"", "sh", word]).is_none_or(|output| output.status.success());
    let at = if word.contains('/') { "" } else { " in PATH" };
    (!is_there).then(|| format!("--start-command runs {word}, which is not there{at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_is_masked_or_starts_what_is_not_there_is_known_to_fail() {
        let of = |shown: &str| unit_lacks("redis.service", shown);
        let starts =
            |path: &str| format!("LoadState=loaded\nExecStart={{ path={path} ; argv[]={path} /c.conf ; x }}\n");
        assert_eq!(of(&starts("/bin/sh")), None);
        assert_eq!(of("LoadState=loaded\nExecStart=\n"), None);
        assert!(of("LoadState=masked\nExecStart=\n").unwrap().ends_with("it is masked"));
        assert!(of(&starts("/nowhere/redis-server")).unwrap().ends_with("which is not there"));
        assert_eq!(of(&format!("{}RootDirectory=/srv\n", starts("/nowhere/redis-server"))), None);
    }

    #[test]
    fn a_script_that_cannot_be_run_is_known_to_fail() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("redis-server");
        assert!(script_lacks(&script).unwrap().ends_with("is not there"));
        for (text, mode, words) in [
            ("#!/bin/sh\n", 0o644, Some("is no program")),
            ("#!/nowhere/sh -e\n", 0o755, Some("is run by /nowhere/sh")),
            ("#!/bin/sh -e\nexit 0\n", 0o755, None),
        ] {
            fs::write(&script, text).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
            let lacks = script_lacks(&script);
            assert_eq!(lacks.is_some(), words.is_some(), "{lacks:?}");
            assert!(words.is_none_or(|words| lacks.is_some_and(|said| said.contains(words))), "{text}");
        }
    }

    #[test]
    fn a_command_is_known_to_fail_only_where_that_is_sure() {
        for fine in [
            "true",
            "setsid --fork true >/dev/null 2>&1",
            "/nowhere/a || true",
            "nowhere-a; true",
            "A=1 nowhere-a",
            "if true; then true; fi",
            "\"/nowhere/a b\"",
        ] {
            assert_eq!(command_lacks(fine), None, "{fine}");
        }
        assert!(
            command_lacks("/nowhere/start-redis now >/dev/null 2>&1").unwrap().contains("runs /nowhere/start-redis")
        );
        assert!(
            command_lacks("nowhere-start-redis").unwrap().contains("nowhere-start-redis, which is not there in PATH")
        );
        assert!(command_lacks("start 'it").unwrap().contains("does not understand"));
    }
}
