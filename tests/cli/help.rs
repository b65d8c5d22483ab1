use crate::place::Place;

pub const COMMANDS: [&str; 36] = [
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
    "completions",
    "man",
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
        if !["key", "schedule", "completions"].contains(&command) {
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
    let script = place.done(&["completions", "bash"]).text();
    assert!(script.matches("--accept-repository)").count() > COMMANDS.len(), "a shell completes them all");
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
        assert!(place.done(&[command, "--help"]).text().contains("See: redkeep run --help"), "{command}");
    }
    assert!(place.ends(2, &[]).stderr.contains("Usage: redkeep"));
}

#[test]
fn the_version_is_that_of_the_package() {
    let place = Place::new();
    assert_eq!(place.done(&["--version"]).text(), concat!("redkeep ", env!("CARGO_PKG_VERSION"), "\n"));
}
