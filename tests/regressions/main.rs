//! One test for each bug, named after what broke.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here has failed")]

#[path = "../support/mod.rs"]
mod support;

use redkeep::aof::{Commands, Manifest, Scanner};
use redkeep::format::limits::FILES_MAX;
use redkeep::format::snapshot::Snapshot;
use redkeep::operations::stats::stats;
use redkeep::repository::{Places, Repository};

use support::mini_writer::{self, MiniFile, MiniWriter, SNAPSHOT, array, map};
use support::repository::{Hands, back_up, create, local, memory, password};

/// The reader of words took a vertical tab for the end of a word, and passed over everything but it: it went on for
/// ever, and an empty word for each round took all memory.
#[test]
fn a_vertical_tab_in_a_manifest_ends_a_word_and_not_the_process() {
    let manifest = Manifest::decode(b"\x0bfile\x0ba seq 1\x0b\x0btype b\x0b\n").unwrap();
    assert_eq!(manifest.base().map(|base| base.name.as_slice()), Some(&b"a"[..]));
}

/// A copy's manifest is written anew. Bytes that take four when they are escaped made its line longer than the 1024
/// that a server reads, so that the restored server would not have started.
#[test]
fn a_manifest_is_never_written_longer_than_it_can_be_read() {
    let with_value = |length: usize| [b"file a seq 1 type i later ", &vec![0x80; length][..], b"\n"].concat();
    let written = Manifest::decode(&with_value(240)).unwrap().encode();
    assert!(Manifest::decode(&written).is_ok());
    assert_eq!(Manifest::decode(&with_value(260)).unwrap_err().line, 1);
}

/// A number with many zeros in front was a number where its line came in one piece, and none where it came in two: the
/// place where a growing file is cut depended on how it was read.
#[test]
fn a_line_of_a_thousand_zeros_reads_the_same_in_pieces_of_any_size() {
    let scan = |bytes: &[u8], size: usize| -> Commands {
        let mut scanner = Scanner::default();
        bytes.chunks(size).for_each(|piece| scanner.push(piece));
        scanner.finish()
    };
    for zeros in [1, 1019, 1020, 1021, 1022, 5000] {
        let command = [b"*", &vec![b'0'; zeros][..], b"1\r\n$4\r\nPING\r\n"].concat();
        let whole = scan(&command, usize::MAX);
        for size in [1, 1000, 1023, 1024, 1025] {
            assert_eq!(scan(&command, size), whole, "{zeros} zeros in pieces of {size}");
        }
        assert_eq!(whole.is_suspect(), zeros > 1020, "{zeros} zeros");
    }
}

/// Sums over all snapshots were added up without a look at their numbers: those that somebody sealed who has the keys
/// ended the command in a panic, or in a small number where they had gone round.
#[test]
fn stats_of_snapshots_that_claim_all_bytes_there_are_stop_at_the_largest_number() {
    let (hands, root) = (Hands::new(1), tempfile::tempdir().unwrap());
    let (honest, data) = (create(memory(), &hands), root.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), b"content").unwrap();
    let taken = back_up(&honest, &data, "sessions").unwrap();
    let mut snapshot: Snapshot = honest.snapshot(&taken.name).unwrap();
    (snapshot.summary.bytes, snapshot.summary.stored_bytes) = (u64::MAX, u64::MAX);
    let writer = MiniWriter::create(root.path().join("repository"));
    for session in [3, 4, 5] {
        snapshot.sequence = session.into();
        writer.put_hashed(&writer.snapshot_name(session), SNAPSHOT, &snapshot.encode());
    }
    let secret = password(mini_writer::PASSWORD);
    let opened = Repository::open(local(&writer.root), secret, hands.ambient("a"), Places::default(), None).unwrap();
    let report = stats(&opened).unwrap();
    assert_eq!((report.snapshots, report.restored_bytes), (3, u64::MAX));
    assert_eq!(report.datasets["sessions"].stored_bytes, u64::MAX);
}

/// All files of a snapshot were held before they were counted, each in many times the bytes it was written in.
#[test]
fn files_above_their_limit_are_refused_before_the_rest_is_read() {
    let file = |number: usize| MiniFile::directory(&format!("{number:06}")).cbor();
    let fields = |files: Vec<u8>| {
        // Far enough for the files to be met: what is missing behind them is never asked for.
        map(&[(0, mini_writer::text("sessions")), (1, mini_writer::uint(1)), (9, files)])
    };
    let files: Vec<Vec<u8>> = (0..=FILES_MAX).map(file).collect();
    let refusal = Snapshot::decode(&fields(array(&files))).unwrap_err().to_string();
    assert!(refusal.contains("FILES_MAX"), "{refusal}");
    let fewer = Snapshot::decode(&fields(array(&files[..10]))).unwrap_err().to_string();
    assert!(!fewer.contains("FILES_MAX"), "{fewer}");
}
