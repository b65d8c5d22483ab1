//! A server that runs without a configuration file, and whose command line cannot be seen: servers write over it. Where a
//! person names it as one that is stopped is named, it is started again by these words, if it has what they give it.

use super::command_line::{CommandLine, program};
use super::named::settings_of;
use super::process::Process;
use crate::redis::RedisError;
use crate::redis::server::{Info, Server};

/// What decides which data a server finds, and where it is found: by default, unless it is named.
const USUAL: [(&str, &str); 6] = [
    ("appendonly", "no"),
    ("dbfilename", "dump.rdb"),
    ("appendfilename", "appendonly.aof"),
    ("appenddirname", "appendonlydir"),
    ("databases", "16"),
    ("port", "6379"),
];

/// The words for a process that has what they say, or why there are none. The directory is compared by whoever names it.
pub(super) fn of(
    built: Option<&CommandLine>,
    process: &Process,
    server: &mut Server,
    info: &Info,
) -> Result<CommandLine, RedisError> {
    let unseen = |why: &str| RedisError::Server {
        what: format!(
            "the server was started without a configuration file, and what it was started with cannot be seen{why}"
        ),
        hint: "say how it is started with --start-command".into(),
    };
    let built = built.ok_or_else(|| unseen(""))?;
    let words: Vec<String> = built.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let named = settings_of(&words);
    let is_named = |name: &str| named.iter().any(|(its, _)| its == name);
    let named_ones =
        named.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(name, _)| *name != "dir");
    for (name, value) in named_ones.chain(USUAL.into_iter().filter(|(name, _)| !is_named(name))) {
        match server.setting(name)? {
            Some(now) if is_same_value(&now, value) => {}
            // A server before 7.0 has no such directory.
            None if !is_named(name) => {}
            // What it is may be a secret.
            Some(_) | None => return Err(unseen(&format!("; it has another {name} than is named"))),
        }
    }
    let told = info.get("executable").filter(|path| !path.is_empty());
    let its = program(process, told.map(std::ffi::OsStr::new)).zip(process.directory());
    let (program, directory) = its.ok_or_else(|| unseen(""))?;
    let of_process = CommandLine::without_words(program, directory, process);
    Ok(CommandLine { arguments: built.arguments.clone(), ..of_process })
}

/// Whether two values of a setting are one: with units or without, in any case, with any blanks.
pub(crate) fn is_same_value(one: &str, other: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(bytes).collect::<Vec<_>>();
    words(one) == words(other)
}

/// `1gb` as bytes; what is no number of bytes in lower case.
fn bytes(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: Option<u64> = match lower.get(digits.len()..).unwrap_or_default() {
        "" | "b" => Some(1),
        "k" => Some(1000),
        "kb" => Some(1 << 10),
        "m" => Some(1_000_000),
        "mb" => Some(1 << 20),
        "g" => Some(1_000_000_000),
        "gb" => Some(1 << 30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    number.map_or(lower, |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_many_spellings() {
        for (one, other) in [("900mb", "943718400"), ("1GB", "1073741824"), ("1g", "1000000000"), ("YES", "yes")] {
            assert!(is_same_value(one, other), "{one} {other}");
        }
        assert!(is_same_value("3600 1  300 100", "3600 1 300 100") && is_same_value("", " "));
        assert!(!is_same_value("1gb", "1g") && !is_same_value("", "0") && !is_same_value("a b", "ab"));
    }
}
