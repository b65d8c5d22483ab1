use crate::place::Place;

#[test]
fn every_shell_gets_a_script() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(place.done(&["completions", shell]).text().contains("snapshots"), "{shell}");
    }
    place.ends(2, &["completions", "csh"]);
    let ran = place.ends(2, &["completions", "bash", "--json"]);
    assert_eq!(ran.json()["error"]["message"], "a script is no JSON");
}
