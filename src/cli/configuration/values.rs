//! Values that may be written in more than one way.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Span;
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::cli::args::{self, word};
use crate::cli::commands::{check, prune};
use crate::cli::time;
use crate::operations::check::CheckDepth;
use crate::redis::server::{Address, refuse_unknown_command};

/// `true`, `false`, or a table of details.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Switch<T>(pub Option<T>);

impl<T> Default for Switch<T> {
    fn default() -> Self {
        Switch(None)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Either<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a table")
            }

            fn visit_bool<E: Error>(self, is_on: bool) -> Result<Switch<T>, E> {
                Ok(Switch(is_on.then(T::default)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|details| Switch(Some(details)))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// Shell commands: one, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Commands(pub Vec<String>);

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Commands;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shell command or a list of them")
            }

            fn visit_str<E: Error>(self, command: &str) -> Result<Commands, E> {
                Ok(Commands(vec![command.into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Commands, A::Error> {
                let mut commands = Vec::new();
                while let Some(command) = list.next_element()? {
                    commands.push(command);
                }
                Ok(Commands(commands))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// Text that is understood as it is on the command line.
fn understood<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|why| D::Error::custom(format!("\"{text}\": {why}")))
}

pub(in crate::cli) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    understood(deserializer, time::span).map(Some)
}

pub(in crate::cli) fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeZone>, D::Error> {
    understood(deserializer, time::zone).map(Some)
}

pub(in crate::cli) fn exact_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    understood(deserializer, time::exact_span).map(Some)
}

pub(in crate::cli) fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    understood(deserializer, args::rate).map(Some)
}

pub(in crate::cli) fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    understood(deserializer, prune::percent).map(Some)
}

pub(in crate::cli) fn subset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CheckDepth>, D::Error> {
    understood(deserializer, check::subset).map(Some)
}

pub(in crate::cli) fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CheckDepth>, D::Error> {
    understood(deserializer, check::age).map(Some)
}

pub(in crate::cli) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    understood(deserializer, word).map(Some)
}

pub(in crate::cli) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names: Vec<String> = Vec::deserialize(deserializer)?;
    names.iter().map(|name| word(name).map_err(|why| D::Error::custom(format!("\"{name}\": {why}")))).collect()
}

/// A table of what is called otherwise here.
pub(in crate::cli) fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(PathBuf, PathBuf)>, D::Error> {
    BTreeMap::deserialize(deserializer).map(|map: BTreeMap<_, _>| map.into_iter().collect())
}

/// A table of commands with their new names.
pub(in crate::cli) fn renamed_commands<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, String)>, D::Error> {
    let table: BTreeMap<String, String> = BTreeMap::deserialize(deserializer)?;
    let is_known = table.keys().try_for_each(|usual| refuse_unknown_command(usual));
    is_known.map_err(|why| D::Error::custom(format!("renamed-commands: {why}")))?;
    Ok(table.into_iter().collect())
}

/// A number of snapshots to keep.
pub(in crate::cli) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(D::Error::custom("keep at least 1, or leave the line out")),
        count => Ok(Some(count)),
    }
}

/// An address that can be called.
pub(in crate::cli) fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let check = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_fine = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        match is_fine && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            true => Ok(text.to_string()),
            false => Err("write an address that begins with https:// or http://".to_string()),
        }
    };
    understood(deserializer, check).map(Some)
}

/// Where a server is. One that is none is not shown: a password may stand in it.
pub(in crate::cli) fn server<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse::<Address>() {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(D::Error::custom(format!("{error}; {}", error.hint().unwrap_or_default()))),
    }
}

/// Whether a location is written as a URL rather than as a path.
pub(in crate::cli) fn has_scheme(location: &str) -> bool {
    let is_name = |scheme: &str| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    location.split_once(':').is_some_and(|(scheme, _)| is_name(scheme))
}

/// Whether a line holds a URL with a password: `scheme://user:password@host`.
pub(crate) fn password_in_url(line: &str) -> bool {
    let authorities = line.split("://").skip(1).filter_map(|rest| rest.split(['/', '"', '\'', ' ']).next());
    let has_password = |authority: &str| {
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    };
    !line.trim_start().starts_with('#') && authorities.into_iter().any(has_password)
}
