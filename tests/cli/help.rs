use crate::place::{Place, run};

pub const COMMANDS: [&str; 41] = [
    "timeline",
    "init",
    "backup",
    "snapshots",
    "ls",
    "dump",
    "keys",
    "get",
    "import",
    "diff",
    "restore",
    "undo",
    "tag",
    "forget",
    "undelete",
    "copy",
    "mirror",
    "verify",
    "check",
    "prune",
    "stats",
    "report",
    "run",
    "schedule",
    "schedule install",
    "schedule show",
    "schedule test",
    "schedule remove",
    "doctor",
    "key",
    "key list",
    "key add",
    "key remove",
    "key passwd",
    "key rotate",
    "config",
    "config example",
    "config check",
    "completions",
    "man",
    "help",
];

#[test]
fn the_help_of_every_command_has_an_example_and_its_json() {
    let place = Place::new();
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').collect();
        let help = place.done(&[&words[..], &["--help"]].concat()).text();
        let examples = help.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{command}: {help}"));
        assert!(examples.contains(&format!("redkeep {command}")), "{command}: {examples}");
        // What follows the examples has a heading of its own, and no line is longer than a screen is wide.
        let blocks: Vec<&str> = examples.trim_end().split("\n\n").skip(1).collect();
        assert!(blocks.iter().all(|block| !block.starts_with("  redkeep ")), "{command}: {examples}");
        let json = examples.split("\nJSON").nth(1).unwrap_or_default();
        assert!(json.lines().all(|line| line.chars().count() <= 90), "{command}: {json}");
        if !["key", "schedule", "config", "completions", "help"].contains(&command) {
            assert!(examples.contains("\nJSON") && examples.contains("  {\""), "{command}: {examples}");
        }
    }
}

#[test]
fn the_help_of_a_command_explains_its_own_options_and_only_names_those_of_all() {
    let place = Place::new();
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').collect();
        for help in ["--help", "-h"] {
            let text = place.done(&[&words[..], &[help]].concat()).text();
            let (own, shared) = text.split_once("Global options, explained by redkeep --help:\n").expect(command);
            assert!(!own.contains("--accept-repository") && !own.contains("--no-progress"), "{command} {help}: {own}");
            assert!(
                shared.contains("-r, --repo LOCATION") && shared.lines().count() <= 5,
                "{command} {help}: {shared}"
            );
            assert!(shared.lines().all(|line| line.len() <= 80), "{command} {help}: {shared}");
        }
    }
    assert!(place.done(&["--help"]).text().contains("Where the repository is: a directory"));
}

#[test]
fn the_help_of_the_program_has_examples_and_the_exit_codes() {
    let place = Place::new();
    let help = place.done(&["--help"]).text();
    assert!(help.contains("Examples:\n") && help.contains("  130  interrupted\n"), "{help}");
    for example in ["doctor", "init", "backup", "timeline", "restore --server --dry-run", "schedule install"] {
        assert!(help.contains(&format!("\n  redkeep {example}")), "{example}: {help}");
    }
    for command in ["schedule", "doctor"] {
        assert!(place.done(&[command, "--help"]).text().contains("See: redkeep config example"), "{command}");
    }
    assert!(place.ends(2, &[]).stderr.contains("Usage: redkeep"));
}

#[test]
fn help_explains_commands_and_topics() {
    let place = Place::new();
    for command in ["restore", "key add"] {
        let words: Vec<&str> = command.split(' ').collect();
        let asked = place.done(&[&["help"], &words[..]].concat()).text();
        assert_eq!(asked, place.done(&[&words[..], &["--help"]].concat()).text(), "{command}");
    }
    let all = place.done(&["help"]).text();
    assert_eq!(all, place.done(&["--help"]).text());
    let (_, topics) = all.split_once("Topics, shown by redkeep help TOPIC:\n").unwrap();
    let names: Vec<&str> = topics.lines().map_while(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let text = place.done(&["help", name]).text();
        assert!(text.lines().count() > 8 && !text.contains("\n# "), "{name}: {text}");
    }
    place.ends(2, &["help", "nonsense"]).says("there is neither a command nor a topic nonsense");
    assert_eq!(place.ends(2, &["help", "moments", "--json"]).json()["error"]["message"], "a help text is no JSON");
}

#[test]
fn the_version_is_that_of_the_package() {
    let place = Place::new();
    assert_eq!(place.done(&["-V"]).text(), concat!("redkeep ", env!("CARGO_PKG_VERSION"), "\n"));
    let text = place.done(&["--version"]).text();
    assert!(text.starts_with(concat!("redkeep ", env!("CARGO_PKG_VERSION"), "\ncommit ")), "{text}");
    assert!(text.ends_with("\nrepository format 0\n"), "{text}");
}

/// Whoever reads its begin alone, as `head` does, wanted no more.
#[test]
fn a_help_that_is_not_read_to_its_end_is_no_failure() {
    let place = Place::new();
    for arguments in [&["help", "forget"][..], &["forget", "--help"], &["help", "stores"], &["--version"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = run(place.command(arguments).stdout(writer));
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{arguments:?}");
    }
}
