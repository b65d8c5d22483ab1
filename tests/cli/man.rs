use std::fs;

use crate::help::COMMANDS;
use crate::place::{Place, fields};

#[test]
fn a_page_goes_to_standard_output() {
    let place = Place::new();
    assert!(place.done(&["man"]).text().contains(".SH \"EXIT CODES\"\n"));
    let page = place.done(&["man", "key", "add"]).text();
    assert!(page.contains("redkeep\\-key\\-add") && page.contains(".SH \"EXAMPLES\"\n"), "{page}");
    place.ends(2, &["man", "unknown"]);
    assert_eq!(place.ends(2, &["man", "--json"]).json()["error"]["message"], "a manual page is no JSON");
}

#[test]
fn a_topic_has_a_page() {
    let page = Place::new().done(&["man", "operations"]).text();
    assert!(page.starts_with(".TH REDKEEP-OPERATIONS 7") && page.contains("\n.SH ALERTS\n"), "{page}");
    // What is typed stands line by line, and is text again behind it.
    assert!(page.contains(".RS 4\n.nf\n\\&repo = \"/srv/redkeep\"\n"), "{page}");
    assert_eq!(page.matches(".RS 4\n.nf\n").count(), page.matches(".fi\n.RE\n").count());
}

#[test]
fn a_directory_gets_a_page_for_each_command_and_topic() {
    let place = Place::new();
    let written = place.done(&["man", "--out-dir", "pages"]).text();
    for command in COMMANDS {
        let page = place.path(&format!("pages/man1/redkeep-{}.1", command.replace(' ', "-")));
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains(".TH") && page.contains(".SH \"EXAMPLES\""), "{command}: {page}");
    }
    let topics = fs::read_dir(place.path("pages/man7")).unwrap().count();
    assert!(topics >= 10, "{topics}");
    assert_eq!(written, format!("wrote {} pages into pages\n", COMMANDS.len() + 1 + topics));
    let json = place.done(&["man", "--out-dir", "pages", "--json"]).json();
    assert_eq!(fields(&json), ["pages"]);
}
