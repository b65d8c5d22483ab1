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
fn a_directory_gets_a_page_for_each_command() {
    let place = Place::new();
    let text = place.done(&["man", "--out-dir", "pages"]).text();
    assert_eq!(text, format!("wrote {} pages into pages\n", COMMANDS.len() + 1));
    for command in COMMANDS {
        let page = fs::read_to_string(place.path(&format!("pages/redkeep-{}.1", command.replace(' ', "-")))).unwrap();
        assert!(page.contains(".TH") && page.contains(".SH \"EXAMPLES\""), "{command}: {page}");
    }
    let json = place.done(&["man", "--out-dir", "pages", "--json"]).json();
    assert_eq!(fields(&json), ["pages"]);
}
