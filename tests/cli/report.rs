//! The page about a repository: what it says is what `stats` says.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Command;

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;

use crate::configuration::write;
use crate::place::{Place, fields, noise};

fn parsed(page: &str) -> Document<'_> {
    Document::parse_with_options(page, ParsingOptions { allow_dtd: true, ..ParsingOptions::default() }).unwrap()
}

fn by_id<'a>(document: &'a Document<'a>, id: &str) -> Option<Node<'a, 'a>> {
    document.descendants().find(|node| node.attribute("id") == Some(id))
}

/// The number that the page shows for a figure.
fn figure(document: &Document<'_>, id: &str) -> Option<u64> {
    by_id(document, id)?.attribute("value")?.parse().ok()
}

/// Two datasets of three snapshots in all, of which one more was forgotten, and some of which share what they hold.
fn place() -> Place {
    let place = Place::with_snapshot();
    fs::write(place.data().join("modules/table.bin"), noise(7, 900_000)).unwrap();
    place.backup();
    place.done(&["backup", "data", "--dataset", "<b>\"&'", "--tag", "a<i>", "-q"]);
    place.done(&["forget", "latest~1", "--dataset", "sessions", "-q"]);
    place.backup();
    place
}

#[test]
fn its_figures_are_those_of_stats() {
    let place = place();
    let said = place.done(&["report", "page.html"]).text();
    assert!(
        said.starts_with("wrote page.html: 2 datasets, 3 snapshots, ") && said.ends_with(" things to do\n"),
        "{said}"
    );
    let (page, stats) = (fs::read_to_string(place.path("page.html")).unwrap(), place.done(&["stats", "--json"]).json());
    let document = parsed(&page);
    let whole = ["snapshots", "restored_bytes", "packs", "pack_bytes", "chunks", "chunk_bytes", "deltas"];
    for name in whole.into_iter().chain(["shared_bytes", "base_bytes", "reclaimable_bytes"]) {
        assert_eq!(figure(&document, name), stats[name].as_u64(), "{name}");
        assert!(stats[name].is_u64(), "{name}");
    }
    for (number, of) in stats["datasets"].as_array().unwrap().iter().enumerate() {
        let section = by_id(&document, &format!("d{number}")).unwrap();
        let heading = section.children().next().unwrap().text();
        assert_eq!(heading, of["dataset"].as_str());
        for name in ["snapshots", "restored_bytes", "stored_bytes", "unique_bytes", "shared_bytes", "keys"] {
            assert_eq!(figure(&document, &format!("d{number}-{name}")), of[name].as_u64(), "{name}");
        }
        for (kind, stored) in of["stored"].as_object().unwrap() {
            let shown = figure(&document, &format!("d{number}-{kind}")).unwrap_or_default();
            assert_eq!(Some(shown), stored["stored_bytes"].as_u64(), "{kind}");
        }
        assert_eq!(figure(&document, &format!("d{number}-tables")), of["table_bytes"].as_u64());
    }
    let count = |class: &str| document.descendants().filter(|node| node.attribute("class") == Some(class)).count();
    assert_eq!((count("kept"), count("gone")), (3 + 2, 1 + 2), "a mark each, and two legends");
}

#[test]
fn as_json_it_says_what_is_to_be_done() {
    let place = place();
    let json = place.done(&["report", "page.html", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "bytes", "datasets", "path", "snapshots", "todo"]);
    assert_eq!(json["bytes"].as_u64(), Some(fs::metadata(place.path("page.html")).unwrap().len()));
    let told: Vec<&Value> = json["todo"].as_array().unwrap().iter().collect();
    assert!(told.iter().any(|one| one["command"] == "redkeep verify latest --dataset sessions --drill"), "{json}");
    let hostile = told.iter().find(|one| one["message"].as_str().unwrap().starts_with("<b>")).unwrap();
    assert_eq!(hostile["command"], "redkeep verify latest --dataset '<b>\"&'\\''' --drill");
    place.ends(1, &["report", "missing/page.html"]).says("cannot write missing/page.html");
}

#[test]
fn a_new_page_is_its_owners_alone_and_one_that_is_there_keeps_its_mode() {
    let place = Place::with_snapshot();
    let mode = || fs::metadata(place.path("page.html")).unwrap().permissions().mode() & 0o777;
    place.done(&["report", "page.html"]);
    assert_eq!(mode(), 0o600);
    fs::set_permissions(place.path("page.html"), fs::Permissions::from_mode(0o644)).unwrap();
    place.done(&["report", "page.html"]);
    assert_eq!(mode(), 0o644);
}

#[test]
fn a_link_leads_to_the_page_and_what_is_no_file_stays() {
    let place = Place::with_snapshot();
    let there = |name: &str| place.path(name);
    fs::write(there("page"), "old").unwrap();
    symlink(there("page"), there("link")).unwrap();
    place.done(&["report", "link"]);
    assert!(there("link").is_symlink() && fs::read_to_string(there("page")).unwrap().starts_with("<!"));
    symlink("nowhere", there("lost")).unwrap();
    place.ends(1, &["report", "lost"]).says("cannot write lost");
    let made = Command::new("mkfifo").arg(there("pipe")).status().unwrap();
    assert!(made.success());
    for name in ["pipe", "data"] {
        place.ends(1, &["report", name]).says("no regular file");
    }
    assert!(there("pipe").symlink_metadata().unwrap().file_type().is_fifo());
}

#[test]
fn a_run_writes_it_where_the_profile_says_so() {
    let place = Place::with_repository();
    let text = "[profile.daily]\ndir = \"data\"\ndataset = \"d\"\nreport = \"pages/redkeep.html\"\ncheck = { max-age = \"1d\" }\n";
    let config = write(&place.path("redkeep.toml"), text).display().to_string();
    place.ends(3, &["run", "daily", "--config", &config]).says("the page was not written: cannot write ");
    fs::create_dir(place.path("pages")).unwrap();
    place.done(&["run", "daily", "--config", &config]);
    let page = fs::read_to_string(place.path("pages/redkeep.html")).unwrap();
    assert_eq!(figure(&parsed(&page), "d0-snapshots"), Some(2));
    assert!(!page.contains("was ever read again"), "the run has read them");
}
