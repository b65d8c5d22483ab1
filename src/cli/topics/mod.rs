//! Topics: what a person wants to know that belongs to no one command. `redkeep help TOPIC` prints one; each is a manual
//! page of section 7 as well.
//!
//! A topic's text has lines of at most 80 characters: a heading begins with `# `, what is indented by four blanks stands as it
//! is typed or printed.

/// One of them.
pub(crate) struct Topic {
    /// By which it is asked for. No command has it.
    pub name: &'static str,
    /// What it is about, in a few words.
    pub about: &'static str,
    /// All of it.
    pub text: &'static str,
}

const fn topic(name: &'static str, about: &'static str, text: &'static str) -> Topic {
    Topic { name, about, text }
}

/// All topics, as they are listed.
pub(crate) const TOPICS: [Topic; 10] = [
    topic("operations", "every day, alerts, a full disk, a lost host", include_str!("operations.txt")),
    topic("capture", "what is taken of a server, and the rights it needs", include_str!("capture.txt")),
    topic("moments", "any second, before an accident, one key", include_str!("moments.txt")),
    topic("servers", "a snapshot into a server, running or not", include_str!("servers.txt")),
    topic("retention", "which snapshots are kept, and where the space goes", include_str!("retention.txt")),
    topic("stores", "S3 and Swift, rights, a second copy", include_str!("stores.txt")),
    topic("passwords", "passwords, keys, and what losing them means", include_str!("passwords.txt")),
    topic("containers", "Docker, Compose, Kubernetes", include_str!("containers.txt")),
    topic("troubles", "messages that ask for a decision", include_str!("troubles.txt")),
    topic("comparison", "restic, borg, rsync, cp, a replica", include_str!("comparison.txt")),
];

/// The topic of this name.
pub(crate) fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

impl Topic {
    /// For a terminal: headings in capitals.
    pub fn shown(&self) -> String {
        let heading = |line: &str| line.strip_prefix("# ").map(heading_of);
        let lines = self.text.lines().map(|line| heading(line).unwrap_or_else(|| line.into()));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// A heading in capitals, but for what is quoted in it.
pub(crate) fn heading_of(text: &str) -> String {
    let parts = text.split('"').enumerate();
    let parts = parts.map(|(nth, part)| if nth % 2 == 0 { part.to_uppercase() } else { part.into() });
    parts.collect::<Vec<String>>().join("\"")
}

/// Those there are, for the help of the program.
pub(crate) fn listed() -> String {
    let line = |topic: &Topic| format!("  {:<11} {}\n", topic.name, topic.about);
    format!("Topics, shown by redkeep help TOPIC:\n{}\n", TOPICS.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args;

    /// Commands that are shown, in a topic or elsewhere: lines that begin with the program's name.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let lines = text.lines().map(str::trim_start);
        let lines = lines.filter_map(|line| line.strip_prefix("$ ").unwrap_or(line).strip_prefix("redkeep "));
        let words = lines.map(|line| shlex::split(&format!("redkeep {line}")).expect(line));
        words
            .map(|words| words.into_iter().take_while(|word| !["|", ">", "&&"].contains(&&word[..])).collect())
            .collect()
    }

    #[test]
    fn every_command_that_a_topic_or_the_readme_shows_is_one() {
        let readme = include_str!("../../../README.md");
        let readme: String = readme.split("```").skip(1).step_by(2).collect();
        let texts = TOPICS.iter().map(|topic| {
            let typed = topic.text.lines().filter(|line| line.starts_with("    "));
            (topic.name, typed.map(|line| format!("{line}\n")).collect::<String>())
        });
        let mut shown = 0;
        for (name, text) in texts.chain([("README", readme)]) {
            for words in commands(&text) {
                let parsed = args::command().try_get_matches_from(&words);
                assert!(
                    parsed.is_ok(),
                    "{name}: {words:?}: {}",
                    parsed.err().map(|e| e.to_string()).unwrap_or_default()
                );
                shown += 1;
            }
        }
        assert!(shown > 30, "{shown}");
    }

    #[test]
    fn a_topic_fits_on_a_screen_and_has_no_command_s_name() {
        let commands = args::command();
        for topic in &TOPICS {
            assert!(commands.find_subcommand(topic.name).is_none(), "{}", topic.name);
            assert!(topic.text.starts_with("# ") && topic.text.ends_with('\n'), "{}", topic.name);
            let long = topic.text.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None, "{}", topic.name);
        }
    }

    #[test]
    fn what_is_quoted_in_a_heading_stays_as_it_is() {
        assert_eq!(heading_of("\"several AOFs\" and more"), "\"several AOFs\" AND MORE");
    }
}
