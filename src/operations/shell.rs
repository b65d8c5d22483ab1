//! Commands that a person may copy into a shell.

/// A word of a command to copy, as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_safe = |letter: char| letter.is_alphanumeric() || "/._-+:,@%=".contains(letter);
    match !word.is_empty() && word.chars().all(is_safe) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_command_to_copy_is_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("/var/lib/redis-1"), "/var/lib/redis-1");
        assert_eq!(quoted("/a b/it's"), "'/a b/it'\\''s'");
        assert_eq!(quoted("setsid x >/dev/null"), "'setsid x >/dev/null'");
        assert_eq!(quoted(""), "''");
    }
}
