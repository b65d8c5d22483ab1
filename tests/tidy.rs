//! What the compiler does not hold: the direction of imports, sizes of files, banned calls, and that every rule of
//! format-spec/ stands in exactly one doc comment of src/ and in at least one test or vector.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer, lowest first.
const LAYERS: [&[&str]; 5] = [
    &["format", "chunker", "compress", "crypto", "rdb", "aof"],
    &["store", "held", "spill"],
    &["repository", "redis"],
    &["operations"],
    &["cli"],
];

/// Lines after which a file of src/ has to be taken apart.
const LINES_STOP: usize = 600;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Files below a folder with an extension, as paths from the root, with their text.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let found = walkdir::WalkDir::new(root().join(folder)).sort_by_file_name();
    let path = |entry: walkdir::DirEntry| entry.into_path();
    let fits = |path: &PathBuf| path.extension().is_some_and(|have| have == extension);
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    let files = found.into_iter().map(|entry| path(entry.unwrap())).filter(fits);
    files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// Source without line comments and without its tests, which are below the attribute at the end of a file.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn module_of(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn a_module_uses_lower_layers_only() {
    let mut wrong = Vec::new();
    for (path, text) in files("src", "rs") {
        let module = module_of(&path);
        if ["main", "lib", "noise"].contains(&module) {
            continue;
        }
        let layer = layer_of(module).unwrap_or_else(|| panic!("{path} is in no layer"));
        for import in code(&text).split("crate::").skip(1) {
            let used = import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let allowed = [module, "noise"].contains(&used) || layer_of(used).is_some_and(|lower| lower < layer);
            if !allowed {
                wrong.push(format!("{path} uses crate::{used}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_file_has_more_than_600_lines() {
    let long = |(path, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > LINES_STOP).then(|| format!("{path}: {lines}"))
    };
    let all = ["src", "tests", "benches"].into_iter().flat_map(|folder| files(folder, "rs"));
    assert_eq!(all.collect::<Vec<_>>().iter().filter_map(long).collect::<Vec<_>>(), Vec::<String>::new());
}

/// What may stand only in some places: the call, and path prefixes where it may.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("println!", &["src/cli/"]),
    ("print!", &["src/cli/"]),
    ("std::env", &["src/cli/", "src/main.rs"]),
    ("anyhow", &["src/cli/"]),
    ("clap::", &["src/cli/"]),
    ("indicatif", &["src/cli/"]),
    ("serde", &["src/cli/", "src/store/services/keystone.rs", "src/store/services/listing.rs"]),
    ("opendal", &["src/store/services/"]),
    ("tokio", &["src/store/services/"]),
    ("rusqlite", &["src/repository/"]),
    (" ::redis::", &["src/redis/server/"]),
    ("rustls", &["src/redis/server/", "src/store/services/transport.rs"]),
    ("ureq", &["src/operations/watch.rs", "src/cli/"]),
    ("getrandom", &["src/repository/ambient.rs", "src/store/"]),
    ("process::exit", &["src/cli/", "src/main.rs"]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("FIXME", &[]),
];

/// What goes by path, and follows links or replaces what has the name: below a directory of another user it does for him
/// what he could not do himself. `crate::held` does it by descriptor. Each place says why it may. LOCAL-17
const BY_PATH: &[(&str, &[&str])] = &[
    ("chown(", &["src/held/"]),
    ("fs::set_permissions(", &[]),
    // A file that is there, in the staging directory that is the caller's; one of the state directory, without links.
    ("OpenOptions", &["src/operations/restore/moment.rs", "src/repository/sqlite.rs"]),
    ("File::create", &[]),
    ("File::options", &[]),
    // Of a process in /proc; pages where a person asks for them; a private directory that nobody guesses.
    (
        "fs::write(",
        &["src/redis/host/surroundings.rs", "src/cli/commands/man.rs", "src/operations/schedule/systemd.rs"],
    ),
    ("fs::copy(", &[]),
    ("fs::hard_link(", &[]),
    // Aside in the state directory.
    ("fs::rename(", &["src/repository/state.rs"]),
    // Of root's own directories, of the state directory, of the staging directory, of the cache.
    (
        "fs::remove_file(",
        &[
            "src/operations/schedule/mod.rs",
            "src/repository/sqlite.rs",
            "src/operations/restore/moment.rs",
            "src/repository/canonical/memory_file.rs",
        ],
    ),
    ("fs::remove_dir(", &[]),
    ("fs::remove_dir_all(", &[]),
    // In root's own directories; pages where a person asks for them.
    ("fs::create_dir", &["src/operations/schedule/", "src/cli/commands/man.rs"]),
    (
        "DirBuilder",
        &[
            "src/repository/sqlite.rs",
            "src/repository/canonical/memory_file.rs",
            "src/cli/commands/run/mod.rs",
            "src/operations/restore/server/journal.rs",
        ],
    ),
    // Sizes, for words; files in a directory that nobody else can enter yet.
    ("WalkDir", &["src/operations/doctor/data.rs", "src/operations/drill/user.rs"]),
];

/// What pure functions on bytes have no use for.
const NOT_IN_GROUND: &[&str] =
    &["std::fs", "std::net", "std::thread", "SystemTime", "Instant", "rayon", "rustix", "Mutex", "println!"];

#[test]
fn banned_calls_stand_nowhere_else() {
    let mut wrong = Vec::new();
    for (path, text) in files("src", "rs") {
        let code = code(&text);
        let is_test = path.ends_with("/tests.rs");
        for (call, places) in ONLY_IN.iter().chain(BY_PATH.iter().filter(|_| !is_test)) {
            if code.contains(call) && !places.iter().any(|place| path.starts_with(place)) {
                wrong.push(format!("{path}: {call}"));
            }
        }
        let ground = layer_of(module_of(&path)) == Some(0);
        wrong.extend(
            NOT_IN_GROUND.iter().filter(|call| ground && code.contains(**call)).map(|c| format!("{path}: {c}")),
        );
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_server_is_kept_from_every_variable_that_redkeep_knows() {
    let list = fs::read_to_string(root().join("src/redis/program.rs")).unwrap();
    let list: BTreeSet<&str> = list.split('"').filter(|text| text.starts_with("REDKEEP_")).collect();
    let mut wrong = Vec::new();
    for (path, text) in files("src", "rs") {
        let code = code(&text);
        let names = code.split('"').filter(|text| {
            text.starts_with("REDKEEP_") && text.len() > 8 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        });
        wrong.extend(names.filter(|name| !list.contains(name)).map(|name| format!("{path}: {name}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_hook_is_kept_from_every_variable_that_holds_a_secret() {
    let of = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (known, hooks) = (of("src/redis/program.rs"), of("src/operations/hooks.rs"));
    let list = known.split("const OURS").nth(1).unwrap().split("];").next().unwrap();
    let is_secret = |name: &&str| (name.contains("PASSWORD") || name.contains("AUTH")) && !name.ends_with("_FILE");
    let secrets: Vec<&str> = list.split('"').filter(is_secret).collect();
    assert!(secrets.len() >= 4, "{secrets:?}");
    let missing: Vec<&&str> = secrets.iter().filter(|name| !hooks.contains(&format!("\"{name}\""))).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

/// Distributions have older compilers: whoever begins reads which one it takes, and of what else, before it fails.
#[test]
fn the_readme_says_what_it_takes_to_build() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let before_build = readme.split("tests/quickstart.sh").next().unwrap();
    for words in [&format!("Rust {version} or newer"), "rustup", "C compiler", "crates"] {
        assert!(before_build.contains(words), "README.md does not say: {words}");
    }
}

#[test]
fn no_test_is_switched_off() {
    let marks = [concat!("#[", "ignore"), concat!("to", "do!(")];
    let all = ["src", "tests"].into_iter().flat_map(|folder| files(folder, "rs"));
    let off = all.filter(|(_, text)| marks.iter().any(|mark| text.contains(mark))).map(|(path, _)| path);
    assert_eq!(off.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_module_begins_by_saying_what_it_is() {
    let silent = files("src", "rs").into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path);
    assert_eq!(silent.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Words of a text that look like rule ids: capitals, a hyphen, a number.
fn ids(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_id = |word: &&str| {
        word.split_once('-').is_some_and(|(letters, number)| {
            letters.len() > 2
                && letters.bytes().all(|b| b.is_ascii_uppercase())
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    words.filter(is_id).map(String::from).collect()
}

/// Rule ids the specification defines, each with its chapter.
fn rules() -> BTreeMap<String, String> {
    let mut rules = BTreeMap::new();
    for (path, text) in files("format-spec", "md") {
        for line in text.lines().filter(|line| line.starts_with("- **")) {
            for id in ids(line.split("**").nth(1).unwrap()) {
                assert_eq!(rules.insert(id.clone(), path.clone()), None, "{id} is defined twice");
            }
        }
    }
    rules
}

/// Rule ids of the doc comments of test functions: those right above `#[test]`. What other comments name counts for
/// nothing, be they in the midst of a test, of a helper or of a whole file.
fn held_by_tests(text: &str) -> Vec<String> {
    let (mut held, mut doc) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        match line {
            _ if line.starts_with("///") => doc.extend(ids(line)),
            "#[test]" => held.append(&mut doc),
            _ if line.starts_with("#[") => {}
            _ => doc.clear(),
        }
    }
    held
}

#[test]
fn a_rule_is_held_by_the_tests_above_which_it_stands_and_by_no_other_comment() {
    let text = "//! ONE-1\n\n/// TWO-2\nfn helper() {}\n\n/// SIX-6, NAY-NO\n/// OLD-7\n#[test]\n#[allow(x)]\nfn a_test() {\n    // FOUR-4\n}\n";
    assert_eq!(held_by_tests(text), ["SIX-6", "OLD-7"]);
}

#[test]
fn every_rule_is_in_one_doc_comment_and_in_a_test_or_vector() {
    let rules = rules();
    assert!(rules.len() > 60, "only {} rules", rules.len());
    let (mut documented, mut tested): (BTreeMap<String, Vec<String>>, BTreeSet<String>) = Default::default();
    for (path, text) in files("src", "rs") {
        let (source, tests) = text.split_at(text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len()));
        if path.ends_with("/tests.rs") {
            tested.extend(held_by_tests(&text));
            continue;
        }
        tested.extend(held_by_tests(tests));
        for line in source.lines().map(str::trim_start) {
            if line.starts_with("///") || line.starts_with("//!") {
                for id in ids(line).into_iter().filter(|id| rules.contains_key(id)) {
                    documented.entry(id).or_default().push(path.clone());
                }
            }
        }
    }
    tested.extend(files("tests", "rs").iter().flat_map(|(_, text)| held_by_tests(text)));
    tested.extend(files("format-spec", "json").iter().flat_map(|(_, text)| ids(text)));
    let mut wrong = Vec::new();
    for (id, chapter) in &rules {
        match documented.get(id).map_or(0, Vec::len) {
            1 => {}
            0 => wrong.push(format!("{id} ({chapter}) is in no doc comment of src/")),
            _ => wrong.push(format!("{id} ({chapter}) is in several doc comments: {:?}", documented[id])),
        }
        if !tested.contains(id) {
            wrong.push(format!("{id} ({chapter}) is in no test and no vector"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// LIMIT-1
#[test]
fn every_limit_has_its_row_and_every_row_its_limit() {
    let mut constants = BTreeMap::new();
    for (path, text) in files("src", "rs") {
        for line in code(&text).lines() {
            let Some((_, rest)) = line.split_once("const ") else { continue };
            let name = rest.split([':', ' ']).next().unwrap();
            if name.ends_with("_MAX") {
                assert_eq!(constants.insert(name.to_string(), path.clone()), None, "{name} is defined twice");
            }
        }
    }
    let chapter = fs::read_to_string(root().join("format-spec/12-limits.md")).unwrap();
    let cells = chapter.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| row.split(" | ").next());
    let rows: BTreeSet<String> = cells.filter(|name| name.ends_with("_MAX")).map(String::from).collect();
    assert_eq!(constants.into_keys().collect::<BTreeSet<_>>(), rows);
    use redkeep::format::limits as l;
    let values = [
        ("CHUNK_MAX", l::CHUNK_MAX),
        ("FRAME_MAX", l::FRAME_MAX),
        ("PACK_MAX", l::PACK_MAX),
        ("FOOTER_MAX", l::FOOTER_MAX),
        ("INDEX_MAX", l::INDEX_MAX),
        ("SNAPSHOT_MAX", l::SNAPSHOT_MAX),
        ("SMALL_MAX", l::SMALL_MAX),
        ("CONDEMNED_MAX", l::CONDEMNED_MAX),
        ("NOTE_MAX", l::NOTE_MAX),
        ("FAULT_MAX", l::FAULT_MAX as u64),
        ("FILES_MAX", l::FILES_MAX as u64),
        ("PATH_MAX", l::PATH_MAX as u64),
        ("LEVELS_MAX", l::LEVELS_MAX.into()),
        ("LIST_INLINE_MAX", l::LIST_INLINE_MAX as u64),
        ("LABEL_MAX", l::LABEL_MAX),
        ("DELTA_DEPTH_MAX", l::DELTA_DEPTH_MAX as u64),
        ("DELTA_CLOSURE_MAX", l::DELTA_CLOSURE_MAX as u64),
        ("ARGON2_MEMORY_MAX", l::ARGON2_MEMORY_MAX.into()),
        ("ARGON2_PASSES_MAX", l::ARGON2_PASSES_MAX.into()),
        ("ARGON2_LANES_MAX", l::ARGON2_LANES_MAX.into()),
        ("SLOTS_MAX", l::SLOTS_MAX as u64),
    ];
    for (name, value) in values {
        assert!(chapter.contains(&format!("| {name} | {value} |")), "{name} is {value}");
    }
}
