use crate::place::{Place, fields, tree};

#[test]
fn a_forgotten_snapshot_comes_back_under_a_new_id_in_its_old_place() {
    let place = Place::with_repository();
    let first = place.backup();
    let then = tree(&place.data());
    std::fs::write(place.data().join("nodes.conf"), "changed").unwrap();
    let second = place.backup();
    place.done(&["forget", &first]);
    let json = place.done(&["undelete", &first[..8], "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "begin", "dataset", "new", "old", "was_there"]);
    let new = json["new"].as_str().unwrap().to_owned();
    assert!(json["old"] == first && new != first && json["was_there"] == false);
    let listed = place.done(&["snapshots", "--json"]).json();
    assert_eq!((&listed["snapshots"][0]["id"], &listed["snapshots"][1]["id"]), (&new.clone().into(), &second.into()));
    place.done(&["restore", "latest~1", "--target", "back"]);
    assert_eq!(tree(&place.path("back")), then);
    let text = place.done(&["undelete", &first]).text();
    assert!(text.contains(&format!(
        "snapshot {} of sessions was brought back before, as {}\n",
        &first[..8],
        &new[..8]
    )));
    place.ends(2, &["undelete", &new]).says("was not forgotten").says("snapshots --forgotten");
    place
        .ends(1, &["undelete", "0000ffff0000"])
        .says("no forgotten snapshot has an id")
        .says("redkeep snapshots --forgotten");
    place.ends(2, &["undelete", "latest"]).says("by its id");
}
