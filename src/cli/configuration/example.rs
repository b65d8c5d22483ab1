//! The example of a configuration file, which is also the list of the keys that there are.

/// The file, with each key explained. It can be used as it is.
pub(crate) const EXAMPLE: &str = include_str!("example.toml");

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Above all profiles, or in one.
    Anywhere,
    /// In a profile.
    Profile,
}

/// Each key, and where it stands.
pub(super) fn keys() -> impl Iterator<Item = (&'static str, Place)> {
    let mut place = Place::Anywhere;
    EXAMPLE.lines().filter_map(move |line| {
        if line.starts_with("[profile.") {
            place = Place::Profile;
        }
        let (key, _) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
        key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-').then_some((key, place))
    })
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Visitor};

    use super::*;
    use crate::cli::commands::backup::{LiveArguments, OfSnapshot};
    use crate::cli::commands::forget::Keep;
    use crate::cli::configuration::faults::faults;
    use crate::cli::configuration::{Access, Written};
    use crate::cli::server::Login;

    /// What a struct asks for: it answers with the names of its fields instead of values.
    struct Asked;

    #[derive(Debug)]
    struct Fields(Vec<&'static str>);

    impl fmt::Display for Fields {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl std::error::Error for Fields {}

    impl serde::de::Error for Fields {
        fn custom<T: fmt::Display>(what: T) -> Fields {
            panic!("{what}")
        }
    }

    impl<'de> Deserializer<'de> for Asked {
        type Error = Fields;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
            panic!("no struct")
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Fields> {
            Err(Fields(fields.into()))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields_of<T: for<'de> Deserialize<'de>>() -> Vec<String> {
        T::deserialize(Asked).err().map(|fields| fields.0.into_iter().map(String::from).collect()).unwrap()
    }

    /// What a profile has beside what it shares with the commands, which hides it from the above.
    fn own_fields() -> Vec<String> {
        let text = include_str!("profile.rs").split("struct Profile {").nth(1).unwrap().split("\n}").next().unwrap();
        let fields = text.split("#[serde(flatten)]");
        let own = fields.enumerate().flat_map(|(number, part)| {
            let lines = part.lines().filter(|line| !line.trim_start().starts_with(['/', '#']) && line.contains(": "));
            lines.skip(usize::from(number > 0)).map(String::from).collect::<Vec<_>>()
        });
        let name = |line: String| line.trim().trim_start_matches("pub ").split(':').next().unwrap().replace('_', "-");
        own.map(name).collect()
    }

    #[test]
    fn the_example_has_every_key_that_there_is_once() {
        let access = fields_of::<Access>();
        let of_commands =
            [fields_of::<Login>(), fields_of::<LiveArguments>(), fields_of::<OfSnapshot>(), fields_of::<Keep>()];
        let own = own_fields();
        assert!(own.contains(&"redis".into()) && own.contains(&"metrics-file".into()), "{own:?}");
        let mut wanted: Vec<(String, Place)> = access.into_iter().map(|key| (key, Place::Anywhere)).collect();
        wanted.extend(of_commands.concat().into_iter().chain(own).map(|key| (key, Place::Profile)));
        let mut have: Vec<(String, Place)> = keys().map(|(key, place)| (key.into(), place)).collect();
        wanted.sort_by(|one, other| one.0.cmp(&other.0));
        have.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(have, wanted);
    }

    #[test]
    fn the_example_can_be_used_as_it_is_and_with_each_line_of_it() {
        assert_eq!(faults(EXAMPLE), []);
        let used: Written = toml::from_str(EXAMPLE).unwrap();
        let daily = &used.profile["daily"];
        assert!(
            used.access.password_file.is_some() && daily.server().redis.is_some() && daily.keep.what(false).is_some()
        );
        let is_key = |line: &str| keys().any(|(key, _)| line.starts_with(&format!("#{key} = ")));
        let line = |line: &str| format!("{}\n", if is_key(line) { &line[1..] } else { line });
        let all: String = EXAMPLE.lines().map(line).collect();
        assert_eq!(faults(&all), []);
        assert!(EXAMPLE.lines().all(|line| line.chars().count() <= 100));
    }
}
