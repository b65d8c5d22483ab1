//! redkeep and the second reader on the same bytes: each reads what the other's side wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use redkeep::format::summary::New;
use redkeep::operations::Silent;
use redkeep::operations::list::{Selector, choose, dump};
use redkeep::operations::undelete::undelete;
use redkeep::repository::{CheckDepth, Places, Repository};
use tempfile::TempDir;

use crate::reading::{contents, read_all, sample};
use crate::second_reader::{NoteView, SecondReader};
use crate::support::mini_writer::{self, MiniFile, MiniStream, MiniWriter};
use crate::support::repository::*;

/// SNAP-10
///
/// A repository that redkeep made is opened, and its files printed, by a reader that knows only the specification.
#[test]
fn the_second_reader_reads_what_redkeep_wrote() {
    let (hands, temp) = (Hands::new(5), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    fs::create_dir_all(data.join("sub")).unwrap();
    // Long enough for a list that is cut into chunks, whose own list is not inline.
    fs::write(data.join("large"), text(24 << 20, 1)).unwrap();
    fs::write(data.join("sub/noise"), noise(300_000, 2)).unwrap();
    fs::write(data.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("large", data.join("link")).unwrap();
    let repository = create(local(&root), &hands);
    let summary = back_up(&repository, &data, "d").unwrap().snapshot.summary;
    let (kinds, tables) = summary.by_kind();
    let kinds: BTreeMap<&str, New> = kinds.map(|(holds, new)| (holds.word(), new)).collect();
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), ["lists", "opaque"]);
    assert_eq!(kinds.values().map(|new| new.chunks).sum::<u64>(), summary.new_chunks);
    assert_eq!(kinds.values().map(|new| new.bytes).sum::<u64>(), summary.new_bytes);
    assert_eq!(kinds.values().map(|new| new.stored).sum::<u64>() + tables, summary.stored_bytes);
    assert!(kinds["lists"].chunks > 1 && kinds["opaque"].bytes > 24 << 20 && tables > 1000, "{summary:?}");
    fs::write(data.join("sub/noise"), noise(300_001, 2)).unwrap();
    back_up(&repository, &data, "d").unwrap();
    for reader in [SecondReader::open, SecondReader::open_from_footers] {
        let files = read_all(reader(&root, PASSWORD)).unwrap();
        assert_eq!(files.len(), 6);
        for ((sequence, path), bytes) in files {
            match (sequence, path.as_str()) {
                (1, "sub/noise") => assert!(bytes == noise(300_000, 2)),
                _ => assert!(bytes == fs::read(data.join(&path)).unwrap(), "{path}"),
            }
        }
    }
}

/// LIST-1, DELTA-8
#[test]
fn the_second_reader_reads_lists_that_are_deltas() {
    let (hands, temp) = (Hands::new(8), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    fs::create_dir(&data).unwrap();
    let repository = create_tiny(local(&root), &hands);
    let mut content = noise(200_000, 1);
    let mut versions = Vec::new();
    for day in 0..3 {
        fs::write(data.join("file"), &content).unwrap();
        let summary = back_up(&repository, &data, "d").unwrap().snapshot.summary;
        let lists = summary.by_kind().0.find(|(holds, _)| holds.word() == "lists").unwrap().1;
        assert_eq!(lists.stored * 2 < lists.bytes, day > 0, "{lists:?}");
        versions.push(content.clone());
        content.chunks_mut(900).for_each(|piece| piece[0] = piece[0].wrapping_add(1));
    }
    for reader in [SecondReader::open, SecondReader::open_from_footers] {
        let files = read_all(reader(&root, PASSWORD)).unwrap();
        let found: Vec<&Vec<u8>> = files.values().collect();
        assert!(found.iter().zip(&versions).all(|(found, expected)| *found == expected) && found.len() == 3);
    }
}

/// SNAP-2, FORGET-1
#[test]
fn a_copy_stands_for_both_readers_where_the_snapshot_stood_and_a_forgotten_one_is_no_gap() {
    let (hands, temp) = (Hands::new(9), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), noise(10_000, 1)).unwrap();
    let repository = create(local(&root), &hands);
    let first = back_up(&repository, &data, "d").unwrap().name;
    back_up(&repository, &data, "d").unwrap();
    repository.forget(&first, "retention").unwrap();
    let copy = undelete(&repository, &first.session.to_string(), &Silent).unwrap().new;
    fs::remove_file(root.join(first.to_string())).unwrap();
    repository.refresh().unwrap();
    let reader = SecondReader::open(&root, PASSWORD).unwrap();
    let views = reader.snapshots().unwrap();
    let seen: Vec<_> = views.iter().map(|view| (view.sequence, view.place, view.name.clone())).collect();
    let infos = repository.kept_snapshots().unwrap();
    let own: Vec<_> = infos.iter().map(|info| (info.sequence, info.place, info.name.to_string())).collect();
    assert_eq!(seen, own);
    assert_eq!((own[0].0, own[0].1, &own[0].2), (3, 1, &copy.to_string()));
    assert_eq!(reader.alarms(&views).unwrap(), [""; 0]);
    assert_eq!(reader.file(&views[0], b"file").unwrap(), noise(10_000, 1));
}

/// Deltas with one and two bases, chains of them, labelled streams and two levels of lists, from the specification's
/// own writer.
#[test]
fn redkeep_reads_what_was_written_from_the_specification() {
    let temp = TempDir::new().unwrap();
    let root = temp.path().join("repository");
    fs::create_dir(&root).unwrap();
    sample(&root);
    let hands = Hands::new(6);
    let open =
        || Repository::open(local(&root), password(mini_writer::PASSWORD), hands.ambient("a"), Places::default(), None);
    let repository = open().unwrap();
    let chosen = choose(&repository, &Selector::Latest(0), None).unwrap();
    assert_eq!(chosen.alarms, []);
    for (path, expected) in contents() {
        let mut bytes = Vec::new();
        dump(&repository, &chosen.snapshot, path.as_bytes(), &mut bytes, &Silent).unwrap();
        assert!(bytes == expected, "{path}");
    }
    let target = temp.path().join("restored");
    let report = restore_to(&repository, &chosen, &target).unwrap();
    assert_eq!(report.made_good, Vec::<String>::new());
    for (path, expected) in contents() {
        assert!(fs::read(target.join(path)).unwrap() == expected, "{path}");
    }
    let check = repository.check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    assert_eq!((check.damage.as_slice(), check.lost_files.as_slice()), (&[][..], &[][..]));
    // The same without index objects, from the packs' own tables.
    fs::remove_dir_all(root.join("index")).unwrap();
    let repository = open().unwrap();
    assert_eq!(repository.second_look().unwrap(), 2);
    let mut bytes = Vec::new();
    dump(&repository, &chosen.snapshot, b"both", &mut bytes, &Silent).unwrap();
    assert!(bytes == contents()["both"]);
}

/// NOTE-1, NOTE-2
#[test]
fn the_second_reader_reads_the_notes_of_a_check_and_of_a_repair() {
    let (hands, temp) = (Hands::new(9), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("file"), noise(300_000, 1)).unwrap();
    let repository = create(local(&root), &hands);
    back_up(&repository, &data, "d").unwrap();
    let pack = walkdir::WalkDir::new(root.join("packs")).into_iter().map(Result::unwrap);
    let pack = pack.into_iter().find(|entry| entry.file_type().is_file()).unwrap().into_path();
    fs::write(&pack, &fs::read(&pack).unwrap()[1..]).unwrap();
    let report = repository.repair(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    let notes = SecondReader::open(&root, PASSWORD).unwrap().notes().unwrap();
    let hash = report.recorded.packs[0].0;
    assert!(
        notes.iter().any(|note| matches!(note, NoteView::Check(reads) if reads[0].0 == hash && reads[0].1.is_some()))
    );
    let chunks: Vec<[u8; 16]> = report.recorded.chunks.iter().map(|chunk| chunk.0).collect();
    assert!(!chunks.is_empty() && notes.contains(&NoteView::Loss(vec![hash], chunks, vec![])), "{notes:?}");
}

/// A repository of the specification's own writer with one dataset of one file, opened by redkeep.
fn opened(root: &Path, hands: &Hands) -> Repository {
    let credential = password(mini_writer::PASSWORD);
    Repository::open(local(root), credential, hands.ambient("a"), Places::default(), None).unwrap()
}

/// DELTA-5
#[test]
fn a_chunk_is_known_only_while_all_its_bases_are() {
    let (hands, temp) = (Hands::new(7), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    let writer = MiniWriter::create(root.clone());
    let (base, middle) = (noise(9000, 1), [noise(9000, 1), noise(100, 2)].concat());
    let chunk = [&middle[..], b"more"].concat();
    let first = writer.pack(&[writer.whole(0, &[&base])]);
    let second = writer.pack(&[writer.deltas(&[(&[&base], &middle)])]);
    let third = writer.pack(&[writer.deltas(&[(&[&middle], &chunk)])]);
    writer.index(&[first.clone(), second, third]);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), &chunk).unwrap();
    let new = || back_up(&opened(&root, &hands), &data, "d").unwrap().snapshot.summary.new_chunks;
    assert_eq!(new(), 0, "a delta of a delta of a chunk that is there");
    let hash = mini_writer::hex(&first.name);
    fs::remove_file(root.join(format!("packs/{}/{hash}", &hash[..2]))).unwrap();
    assert_eq!(new(), 1, "the last base is gone");
    assert_eq!(new(), 0, "stored whole now");
}

/// A prune that stores chunks again may leave deltas of them whose bases it deletes: that is no damage.
///
/// DELTA-5
#[test]
fn a_delta_without_its_base_is_passed_over_without_a_word_where_its_chunk_is_elsewhere() {
    let (hands, temp) = (Hands::new(7), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    let writer = MiniWriter::create(root.clone());
    let (gone, base, chunk) = (noise(9000, 1), noise(9000, 3), [noise(9000, 1), noise(100, 2)].concat());
    // Both ways round: which of two deltas is tried first is not for a writer to say.
    let of_gone = || writer.pack(&[writer.deltas(&[(&[&gone], &chunk)])]);
    let of_base = writer.pack(&[writer.deltas(&[(&[&base], &chunk)])]);
    writer.index(&[of_gone(), of_base, of_gone(), writer.pack(&[writer.whole(0, &[&base])])]);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), &chunk).unwrap();
    let repository = opened(&root, &hands);
    assert_eq!(back_up(&repository, &data, "d").unwrap().snapshot.summary.new_chunks, 0);
    let chosen = choose(&repository, &Selector::Latest(0), None).unwrap();
    let report = restore_to(&repository, &chosen, &temp.path().join("back")).unwrap();
    assert_eq!(report.made_good, Vec::<String>::new());
    assert!(fs::read(temp.path().join("back/file")).unwrap() == chunk);
}

/// Of several forms of a chunk one may lead to the chunk itself, by whatever way: what counts is that another one does not.
///
/// DELTA-3, DELTA-5
#[test]
fn a_chunk_in_a_circle_is_known_and_read_by_another_form_and_unreadable_without_one() {
    let (hands, temp) = (Hands::new(7), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    let writer = MiniWriter::create(root.clone());
    let base = noise(9000, 1);
    let version = |seed| [&base[..], &noise(100, seed)].concat();
    let ring: Vec<Vec<u8>> = (2..14).map(version).collect();
    let mut packs = vec![writer.pack(&[writer.whole(0, &[&base])])];
    // Each is a delta on the base and on one of the next three, in packs that come first: all of them lead round.
    for (step, at) in (1..4).flat_map(|step| (0..12).map(move |at| (step, at))) {
        let bases = [&base[..], &ring[(at + step) % 12]];
        packs.push(writer.pack(&[writer.deltas(&[(&bases[..], &ring[at][..])])]));
    }
    let good = writer.pack(&[writer.deltas(&[(&[&base[..]], &ring[0][..])])]);
    packs.push(good.clone());
    writer.index(&packs);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), &ring[0]).unwrap();
    let new = || back_up(&opened(&root, &hands), &data, "d").unwrap().snapshot.summary.new_chunks;
    assert_eq!(new(), 0, "the last form is a delta on a chunk that is stored whole");
    let read = || {
        let repository = opened(&root, &hands);
        let chosen = choose(&repository, &Selector::Latest(0), Some("d")).unwrap();
        let mut bytes = Vec::new();
        dump(&repository, &chosen.snapshot, b"file", &mut bytes, &Silent).map(|_| bytes)
    };
    assert!(read().unwrap() == ring[0]);
    assert_eq!(opened(&root, &hands).check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap().lost_files, []);
    let hash = mini_writer::hex(&good.name);
    fs::remove_file(root.join(format!("packs/{}/{hash}", &hash[..2]))).unwrap();
    assert!(read().unwrap_err().is_damage(), "soon, however many ways lead round");
    assert_eq!(new(), 1, "stored whole");
    assert!(read().unwrap() == ring[0]);
}

/// RECIPE-3, RECIPE-4
#[test]
fn streams_of_an_unknown_method_are_followed_though_the_file_cannot_be_rebuilt() {
    let (hands, temp) = (Hands::new(8), TempDir::new().unwrap());
    let root = temp.path().join("repository");
    let writer = MiniWriter::create(root.clone());
    let (bucket, missing) = (noise(5000, 1), noise(5000, 2));
    writer.index(&[writer.pack(&[writer.whole(1, &[&bucket])])]);
    let file = |path: &str, content: &[u8], chunk: &[u8]| {
        let top = writer.labelled_entry(chunk, b"\x00user:1");
        let stream = MiniStream { length: chunk.len() as u64, levels: 0, top, labelled: true };
        MiniFile::file(path, content, mini_writer::recipe(&[(7, content.len() as u64, stream)]))
    };
    writer.snapshot(
        3,
        None,
        &[file("dump.rdb", b"rebuilt from canonical form", &bucket), file("lost", b"x", &missing)],
    );
    let repository = opened(&root, &hands);
    let check = repository.check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    let lost: Vec<_> = check.lost_files.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(lost, ["lost"]);
    let chosen = choose(&repository, &Selector::Latest(0), None).unwrap();
    let refused = dump(&repository, &chosen.snapshot, b"dump.rdb", &mut Vec::new(), &Silent).unwrap_err();
    let cause = std::error::Error::source(&refused).map_or(refused.to_string(), ToString::to_string);
    assert!(cause.contains("method 7"), "{refused}: {cause}");
}

/// OBJ-6
#[test]
fn redkeep_refuses_another_draft_and_says_what_to_do() {
    for draft in [None, Some(2), Some(3), Some(5)] {
        let temp = TempDir::new().unwrap();
        let writer = MiniWriter::create(temp.path().to_path_buf());
        writer.config_of_draft([16384, 65536, 262144], draft);
        let secret = password(mini_writer::PASSWORD);
        let ambient = Hands::new(9).ambient("a");
        let refused = Repository::open(local(temp.path()), secret, ambient, Places::default(), None);
        let Err(error) = refused.map(drop) else { panic!("draft {draft:?} is opened") };
        assert!(error.to_string().contains("made by redkeep 0.1.0, in another draft"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("keep that one to restore from it")));
    }
}
