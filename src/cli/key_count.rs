//! How people and programs see how many keys a snapshot holds.

use crate::cli::human::count;
use crate::format::counts::{CountedBy, KeyCount};

/// In a column.
pub(crate) fn cell(keys: KeyCount) -> String {
    keys.keys().map_or("?".into(), |keys| keys.to_string())
}

/// On a line of its own.
pub(crate) fn line(keys: KeyCount) -> String {
    match keys {
        KeyCount::Known { keys, by: CountedBy::Structure } => count(keys, "key"),
        KeyCount::Known { keys, by: CountedBy::Server } => format!("{}, as the server counted", count(keys, "key")),
        KeyCount::Unknown(why) => format!("an unknown number of keys: {why}"),
    }
}

/// Who counted them, `structure` or `server`, or a word for why they are not known.
pub(crate) fn word(keys: KeyCount) -> &'static str {
    match keys {
        KeyCount::Known { by, .. } => by.word(),
        KeyCount::Unknown(why) => why.word(),
    }
}
