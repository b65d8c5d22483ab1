//! How a file is rebuilt from chunks: recipes, their parts and streams. Layout: format-spec/09-recipes.md.

use std::collections::BTreeMap;

use super::Malformed;
use super::limits::{LEVELS_MAX, LIST_INLINE_MAX};

/// Largest sum of lengths anywhere in a recipe or a snapshot.
pub(super) const LENGTH_BOUND: u64 = i64::MAX as u64;
/// Method of a part that is the content of one stream.
pub const OPAQUE: u64 = 0;
/// Method of a part in canonical RDB form.
///
/// RECIPE-5: its bucket streams are labelled with database and first key; what the streams hold is specified with
/// their writer.
pub const CANONICAL_RDB: u64 = 1;
/// Role of the one stream of an opaque part.
pub const ROLE_CONTENT: u64 = 0;

/// What a stream of a canonical part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnRole {
    /// What stands between records: databases, functions, other metadata.
    Events = 1,
    /// Records in the order of their keys.
    Buckets = 3,
    /// In which order they stood in the file.
    Order = 4,
    /// In which order the elements of collections stood there.
    ElementOrder = 5,
    /// Values too long for a bucket.
    LargeValues = 6,
    /// In which order the elements of those values too long for a bucket stood there that are kept sorted.
    LargeOrder = 7,
    /// Last accesses.
    Idle = 8,
    /// Frequencies of access.
    Frequencies = 9,
}

impl ColumnRole {
    /// All of them.
    pub const ALL: [ColumnRole; 8] = [
        ColumnRole::Events,
        ColumnRole::Buckets,
        ColumnRole::Order,
        ColumnRole::ElementOrder,
        ColumnRole::LargeValues,
        ColumnRole::LargeOrder,
        ColumnRole::Idle,
        ColumnRole::Frequencies,
    ];

    /// The role with a number.
    pub fn from_number(number: u64) -> Option<ColumnRole> {
        ColumnRole::ALL.into_iter().find(|role| *role as u64 == number)
    }

    /// Whether its lists carry labels.
    pub fn is_labelled(self) -> bool {
        self == ColumnRole::Buckets
    }
}

/// A sequence of bytes stored as chunks.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Stream {
    /// Bytes of content.
    #[n(0)]
    pub length: u64,
    /// Levels of lists above the lowest.
    #[n(1)]
    pub levels: u8,
    /// The top list.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub top: Vec<u8>,
    /// Entries of its lists carry labels.
    #[n(3)]
    pub labelled: Option<bool>,
}

impl Stream {
    /// Whether entries of its lists carry labels.
    pub fn has_labels(&self) -> bool {
        self.labelled == Some(true)
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.levels > LEVELS_MAX || self.top.len() > LIST_INLINE_MAX || self.length > LENGTH_BOUND {
            return Err(Malformed::new("stream", "above its limits"));
        }
        Ok(())
    }
}

/// A stretch of a file and how it is rebuilt.
///
/// RECIPE-3: `streams` are all a reader needs to know which chunks a part uses, whatever its method.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Part {
    /// How its streams become file bytes.
    #[n(0)]
    pub method: u64,
    /// File bytes it rebuilds.
    #[n(1)]
    pub length: u64,
    /// Streams by role.
    #[n(2)]
    pub streams: BTreeMap<u64, Stream>,
    /// What else the method needs, in a form of its own.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub parameters: Option<Vec<u8>>,
}

impl Part {
    /// A part that is the content of one stream.
    pub fn opaque(content: Stream) -> Part {
        let length = content.length;
        Part { method: OPAQUE, length, streams: BTreeMap::from([(ROLE_CONTENT, content)]), parameters: None }
    }

    /// RECIPE-2, for readers: the stream whose content is the part's bytes.
    ///
    /// RECIPE-4: a method this reader does not know is refused by its number.
    ///
    /// RECIPE-6: nothing that a method is given is passed over.
    pub fn content(&self) -> Result<&Stream, Malformed> {
        match (self.method, self.streams.get(&ROLE_CONTENT)) {
            (OPAQUE, _) if self.parameters.is_some() => {
                Err(Malformed::new("recipe", "an opaque part with parameters needs a newer redkeep"))
            }
            (OPAQUE, Some(stream)) if stream.length == self.length && self.streams.len() == 1 => Ok(stream),
            (OPAQUE, _) => Err(Malformed::new("recipe", "an opaque part whose stream does not fit it")),
            (CANONICAL_RDB, _) => {
                self.check_canonical()?;
                Err(Malformed::new("recipe", "a canonical part is not the content of one stream"))
            }
            (method, _) => Err(Malformed::new("recipe", format!("method {method} needs a newer redkeep"))),
        }
    }

    /// RECIPE-7: a canonical part has its buckets, labels where they belong, and no stream that nobody defined.
    pub fn check_canonical(&self) -> Result<(), Malformed> {
        let malformed = |why: String| Err(Malformed::new("recipe", why));
        for (role, stream) in &self.streams {
            match ColumnRole::from_number(*role) {
                None => return malformed(format!("stream {role} of a canonical part needs a newer redkeep")),
                Some(of) if of.is_labelled() != stream.has_labels() => {
                    return malformed(format!("stream {role} of a canonical part has labels or lacks them"));
                }
                Some(_) => {}
            }
        }
        match self.streams.contains_key(&(ColumnRole::Buckets as u64)) && self.parameters.is_some() {
            true => Ok(()),
            false => malformed("a canonical part without buckets or parameters".into()),
        }
    }
}

/// All parts of a file, in order.
pub type Recipe = Vec<Part>;

/// RECIPE-1: the parts of a recipe add up to the file's `size`.
pub fn check_recipe(recipe: &[Part], size: u64) -> Result<(), Malformed> {
    let mut sum = 0u64;
    for part in recipe {
        sum = sum
            .checked_add(part.length)
            .filter(|sum| *sum <= LENGTH_BOUND)
            .ok_or_else(|| Malformed::new("recipe", "longer than any file"))?;
        part.streams.values().try_for_each(Stream::check)?;
    }
    match sum == size {
        true => Ok(()),
        false => Err(Malformed::new("recipe", format!("rebuilds {sum} bytes of a file of {size}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(length: u64) -> Stream {
        Stream { length, levels: 0, top: vec![], labelled: None }
    }

    /// RECIPE-1, RECIPE-2, RECIPE-4, RECIPE-6
    #[test]
    fn a_recipe_that_does_not_fit_its_file_or_is_of_an_unknown_method_is_refused() {
        let recipe = vec![Part::opaque(stream(5)), Part::opaque(stream(7))];
        assert_eq!(check_recipe(&recipe, 12), Ok(()));
        assert!(check_recipe(&recipe, 13).is_err() && check_recipe(&recipe, 11).is_err());
        assert!(check_recipe(&[Part::opaque(stream(u64::MAX))], u64::MAX).is_err());
        assert!(check_recipe(&[Part::opaque(Stream { levels: 5, ..stream(1) })], 1).is_err());
        let of_top = |length| check_recipe(&[Part::opaque(Stream { top: vec![0; length], ..stream(1) })], 1);
        assert!(of_top(LIST_INLINE_MAX).is_ok() && of_top(LIST_INLINE_MAX + 1).is_err());
        // Each bound by itself: of the part, and of a stream that the part does not show.
        let too_long = Part { length: LENGTH_BOUND + 1, ..Part::opaque(stream(1)) };
        assert!(check_recipe(&[too_long], LENGTH_BOUND + 1).is_err());
        let too_long = Part { length: 1, ..Part::opaque(stream(LENGTH_BOUND + 1)) };
        assert!(check_recipe(&[too_long], 1).is_err());
        assert_eq!(Part::opaque(stream(5)).content(), Ok(&stream(5)));
        assert!(Part { length: 6, ..Part::opaque(stream(5)) }.content().is_err());
        let mut two = Part::opaque(stream(5));
        two.streams.insert(1, stream(5));
        assert!(two.content().is_err());
        let told = Part { parameters: Some(Vec::new()), ..Part::opaque(stream(5)) };
        assert!(told.content().is_err());
        let later = Part { method: 7, ..Part::opaque(stream(5)) };
        assert_eq!(later.content().map_err(|e| e.why), Err("method 7 needs a newer redkeep".into()));
    }

    /// RECIPE-4, RECIPE-7
    #[test]
    fn a_canonical_part_with_streams_that_nobody_defined_is_refused_by_their_number() {
        let of = |role: ColumnRole| Stream { labelled: role.is_labelled().then_some(true), ..stream(1) };
        let streams = ColumnRole::ALL.into_iter().map(|role| (role as u64, of(role))).collect();
        let part = Part { method: CANONICAL_RDB, length: 9, streams, parameters: Some(vec![1]) };
        assert_eq!(part.check_canonical(), Ok(()));
        assert_eq!(part.content().map_err(|e| e.why), Err("a canonical part is not the content of one stream".into()));
        let refused = |change: &dyn Fn(&mut Part)| {
            let mut other = part.clone();
            change(&mut other);
            other.content().unwrap_err().why
        };
        for unknown in [0, 2, 10, 11] {
            let why = refused(&|part| drop(part.streams.insert(unknown, stream(1))));
            assert_eq!(why, format!("stream {unknown} of a canonical part needs a newer redkeep"));
        }
        for without in [&|part: &mut Part| drop(part.streams.remove(&3)), &|part: &mut Part| part.parameters = None]
            as [&dyn Fn(&mut Part); 2]
        {
            assert_eq!(refused(without), "a canonical part without buckets or parameters");
        }
        for (role, labelled) in [(3, None), (4, Some(true)), (6, Some(true))] {
            let why = refused(&|part| drop(part.streams.insert(role, Stream { labelled, ..stream(1) })));
            assert_eq!(why, format!("stream {role} of a canonical part has labels or lacks them"));
        }
    }
}
