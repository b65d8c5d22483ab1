//! What of a configuration file cannot be meant, and where it stands.

use std::fmt;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use super::example::{Place, keys};
use super::{Profile, Written, refuse_name};

/// How alike a name has to be to one that is known for that to be meant: of 1.
const ALIKE: f64 = 0.85;

/// Something that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// From 1.
    pub line: usize,
    /// In letters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

impl Fault {
    /// At a byte of the text.
    fn at(text: &str, byte: usize, what: impl Into<String>) -> Fault {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Fault {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            what: what.into().trim_end().replace('\n', " "),
        }
    }
}

type Key<'a> = Spanned<DeString<'a>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// Everything in a file that cannot be meant, in its order. Each key is looked at by itself: a mistake hides no other one.
pub(crate) fn faults(text: &str) -> Vec<Fault> {
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => return vec![Fault::at(text, error.span().map_or(0, |span| span.start), error.message())],
    };
    let mut faults = Vec::new();
    for (key, value) in &table {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("profile", DeValue::Table(profiles)) => {
                faults.extend(profiles.iter().flat_map(|(name, profile)| of_profile(text, name, profile)));
            }
            _ => faults.extend(alone::<Written>(text, key, value, Place::Anywhere)),
        }
    }
    faults.sort();
    faults
}

fn of_profile(text: &str, name: &Key<'_>, profile: &Value<'_>) -> Vec<Fault> {
    let refuse = |why: String| vec![Fault::at(text, name.span().start, format!("profile {}: {why}", name.get_ref()))];
    let DeValue::Table(settings) = profile.get_ref() else {
        return refuse(format!("write its keys below [profile.{}]", name.get_ref()));
    };
    if let Err(why) = refuse_name(name.get_ref()) {
        return refuse(why);
    }
    let faults: Vec<Fault> =
        settings.iter().filter_map(|(key, value)| alone::<Profile>(text, key, value, Place::Profile)).collect();
    if !faults.is_empty() {
        return faults;
    }
    // Its keys can be meant, each by itself.
    let whole = Profile::deserialize(ValueDeserializer::from(profile.clone())).map_err(|error| error.message().into());
    match whole.and_then(|profile| profile.refuse()) {
        Ok(()) => Vec::new(),
        Err(why) => refuse(why),
    }
}

/// What is wrong with one key and its value.
fn alone<T: for<'de> Deserialize<'de>>(text: &str, key: &Key<'_>, value: &Value<'_>, place: Place) -> Option<Fault> {
    let mut table = DeTable::new();
    table.insert(key.clone(), value.clone());
    let table = Spanned::new(key.span().start..value.span().end, DeValue::Table(table));
    let error = T::deserialize(ValueDeserializer::from(table)).err()?;
    // What several structs share is looked at without its place.
    let inner = error.span().map(|span| span.start).filter(|start| *start >= value.span().start);
    let message = error.message();
    let is_unknown = message.starts_with(&format!("unknown field `{}`", key.get_ref()));
    let more = if is_unknown { meant(key.get_ref(), place) } else { None }.unwrap_or_default();
    Some(Fault::at(text, inner.unwrap_or(key.span().start), format!("{message}{more}")))
}

/// What is meant by a key that there is not.
fn meant(name: &str, place: Place) -> Option<String> {
    if place == Place::Anywhere && keys().any(|(key, _)| key == name) {
        return Some("; it belongs below a [profile.NAME]".into());
    }
    let name = name.to_ascii_lowercase().replace('_', "-");
    let alike = keys().map(|(key, _)| (strsim::jaro_winkler(key, &name), key));
    let (likeness, key) = alike.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness >= ALIKE).then(|| format!("; is {key} meant?"))
}
