//! The vectors of format-spec/vectors/, held against redkeep's own codecs. Each vector names the check it is for in
//! `kind`; a kind that nobody checks is a failure.

mod canonical;
mod chunks;
mod ground;
mod keys;
mod notes;
mod packs;
mod recipes;
mod sealing;
mod snapshots;
mod vector;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use vector::Vector;

/// Chapters that have vectors.
const CHAPTERS: [&str; 13] = [
    "01-conventions",
    "02-objects",
    "03-keys",
    "04-sealing",
    "05-chunks",
    "06-frames",
    "07-pack",
    "08-index",
    "09-recipes",
    "10-snapshot",
    "11-sessions",
    "15-notes",
    "19-canonical-rdb",
];

fn specification() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("format-spec")
}

fn vectors(chapter: &str) -> Vec<Vector> {
    let text = fs::read_to_string(specification().join(format!("vectors/{chapter}.json"))).unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    all.into_iter().map(|value| Vector::new(chapter, value)).collect()
}

/// What is wrong with the vectors of a chapter, or with redkeep.
fn complaints(chapter: &str) -> Vec<String> {
    vectors(chapter).iter().filter_map(|vector| check(vector).err()).collect()
}

fn check(vector: &Vector) -> Result<(), String> {
    match vector.kind.as_str() {
        "varint" => ground::varint(vector),
        "u32" => ground::u32(vector),
        "id" => ground::id(vector),
        "about" => ground::about(vector),
        "about read" => ground::about_read(vector),
        "name" => ground::name(vector),
        "config" => ground::config(vector),
        "kind key" => keys::kind_key(vector),
        "dataset tag" => keys::dataset_tag(vector),
        "bag" => keys::bag(vector),
        "slot key" => keys::slot_key(vector),
        "slot" => keys::slot(vector),
        "slot read" => keys::slot_read(vector),
        "header" => sealing::header(vector),
        "header at" => sealing::header_at(vector),
        "object keys" => sealing::object_keys(vector),
        "part" => sealing::part(vector),
        "parts under one salt" => sealing::parts_under_one_salt(vector),
        "object" => sealing::object(vector),
        "hashed object" => sealing::hashed_object(vector),
        "chunk id" => chunks::chunk_id(vector),
        "cuts" => chunks::cuts(vector),
        "order cuts" => chunks::order_cuts(vector),
        "buckets" => chunks::buckets(vector),
        "method" => chunks::method(vector),
        "zstd" => chunks::zstd(vector),
        "delta" => chunks::delta(vector),
        "copies" => chunks::copies(vector),
        "columns" => chunks::columns(vector),
        "footer" => packs::footer(vector),
        "trailer" => packs::trailer(vector),
        "pack" => packs::pack(vector),
        "index" => packs::index(vector),
        "list" => recipes::list(vector),
        "canonical part" => recipes::canonical_part(vector),
        "list pieces" => recipes::list_pieces(vector),
        "recipe" => recipes::recipe(vector),
        "opaque part" => recipes::opaque_part(vector),
        "snapshot" => snapshots::snapshot(vector),
        "snapshot at" => snapshots::snapshot_at(vector),
        "lease" => snapshots::lease(vector),
        "tombstone" => snapshots::tombstone(vector),
        "condemned" => snapshots::condemned(vector),
        "forgotten" => snapshots::forgotten(vector),
        "ledger" => snapshots::ledger(vector),
        "roster" => snapshots::roster(vector),
        "note" => notes::note(vector),
        "string" => canonical::string(vector),
        "order" => canonical::order(vector),
        "record" => canonical::record(vector),
        "elements" => canonical::elements(vector),
        "dump" => canonical::dump(vector),
        "events" => canonical::events(vector),
        "parameters" => canonical::parameters(vector),
        other => panic!("{}: nothing checks the kind {other:?}", vector.name),
    }
}

macro_rules! chapters {
    ($($test:ident, $place:literal;)*) => {
        $(#[test]
        fn $test() {
            assert_eq!(complaints(CHAPTERS[$place]), Vec::<String>::new());
        })*
    };
}

chapters! {
    the_vectors_of_01_conventions_hold, 0;
    the_vectors_of_02_objects_hold, 1;
    the_vectors_of_03_keys_hold, 2;
    the_vectors_of_04_sealing_hold, 3;
    the_vectors_of_05_chunks_hold, 4;
    the_vectors_of_06_frames_hold, 5;
    the_vectors_of_07_pack_hold, 6;
    the_vectors_of_08_index_hold, 7;
    the_vectors_of_09_recipes_hold, 8;
    the_vectors_of_10_snapshot_hold, 9;
    the_vectors_of_11_sessions_hold, 10;
    the_vectors_of_15_notes_hold, 11;
    the_vectors_of_19_canonical_rdb_hold, 12;
}

#[test]
fn every_file_of_vectors_is_checked() {
    let files = fs::read_dir(specification().join("vectors")).unwrap();
    let names: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, CHAPTERS.map(|chapter| format!("{chapter}.json")).into());
}

#[test]
fn vectors_have_names_of_their_own_and_name_rules_that_exist() {
    let chapters = fs::read_dir(specification()).unwrap().map(|file| file.unwrap().path());
    let chapters = chapters.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let text: String = chapters.map(|path| fs::read_to_string(path).unwrap()).collect();
    for chapter in CHAPTERS {
        let mut names = BTreeSet::new();
        for vector in vectors(chapter) {
            assert!(names.insert(vector.name.clone()), "{chapter}: {:?} is there twice", vector.name);
            assert!(!vector.rules.is_empty(), "{chapter}: {:?} shows no rule", vector.name);
            for rule in &vector.rules {
                assert!(text.contains(&format!("\n- **{rule}** ")), "{chapter}: {:?} shows {rule}", vector.name);
            }
        }
    }
}
