//! What the readers of append-only files make of real, odd and damaged ones.

#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use proptest::test_runner::RngSeed;

use super::quoting::split_words;
use super::*;

fn scan(bytes: &[u8]) -> Commands {
    scan_in_pieces(bytes, usize::MAX)
}

fn scan_in_pieces(bytes: &[u8], piece: usize) -> Commands {
    let mut scanner = Scanner::default();
    bytes.chunks(piece).for_each(|piece| scanner.push(piece));
    assert!(scanner.cut() <= bytes.len() as u64);
    scanner.finish()
}

fn command(words: &[&str]) -> Vec<u8> {
    let arguments = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), arguments.collect::<String>()).into_bytes()
}

/// Parts of a file, and after which of them it may be cut.
fn parts() -> Vec<(Vec<u8>, bool)> {
    vec![
        (b"#TS:1700000000\r\n".to_vec(), true),
        (command(&["SELECT", "0"]), true),
        (command(&["SET", "key", ""]), true),
        (command(&["MULTI"]), false),
        (command(&["INCR", "a"]), false),
        (b"#TS:1700000001\r\n".to_vec(), false),
        (command(&["multi"]), false),
        (command(&["DISCARD"]), false),
        (command(&["eXeC"]), true),
        (b"# a note\r\n".to_vec(), true),
        (command(&["SET", "key", "*1\r\n$4\r\nEXEC\r\n"]), true),
        (command(&["EXEC"]), true),
        (b"#TS:1700000007\n".to_vec(), true),
        (b"*1\n$7\nFLUSHDB\r\n".to_vec(), true),
    ]
}

#[test]
fn the_cut_is_after_the_last_complete_command_outside_a_transaction() {
    let whole: Vec<u8> = parts().into_iter().flat_map(|(bytes, _)| bytes).collect();
    for length in 0..=whole.len() {
        let (mut end, mut cut) = (0, 0);
        for (bytes, may_cut) in parts() {
            end += bytes.len();
            if may_cut && end <= length {
                cut = end;
            }
        }
        let commands = scan(&whole[..length]);
        assert_eq!((commands.cut, commands.length), (cut as u64, length as u64));
        assert_eq!(commands.ending == Ending::Complete, cut == length);
        assert!(!commands.is_suspect());
        for piece in [1, 2, 3, 7] {
            assert_eq!(scan_in_pieces(&whole[..length], piece), commands, "in pieces of {piece}");
        }
    }
}

#[test]
fn commands_transactions_and_timestamps_are_counted_up_to_the_cut() {
    let whole: Vec<u8> = parts().into_iter().flat_map(|(bytes, _)| bytes).collect();
    let commands = scan(&whole);
    assert_eq!((commands.commands, commands.transactions), (10, 1));
    let last = (whole.len() - b"#TS:1700000007\n*1\n$7\nFLUSHDB\r\n".len()) as u64;
    assert_eq!(commands.first_timestamp, Some(Timestamp { seconds: 1_700_000_000, offset: 0 }));
    assert_eq!(commands.last_timestamp, Some(Timestamp { seconds: 1_700_000_007, offset: last }));
    let open = [command(&["MULTI"]), b"#TS:5\r\n".to_vec(), command(&["INCR", "a"])].concat();
    let commands = scan(&open);
    assert_eq!((commands.commands, commands.cut, commands.first_timestamp), (0, 0, None));
    assert_eq!(commands.ending, Ending::OpenTransaction { offset: 0 });
    assert_eq!(commands.reason().as_deref(), Some("the transaction at 0 is cut short"));
}

#[test]
fn an_empty_file_is_complete() {
    let commands = scan(b"");
    assert_eq!((commands.cut, commands.length, commands.ending), (0, 0, Ending::Complete));
}

#[test]
fn bytes_that_are_no_commands_are_named_with_their_place() {
    let cases: [(&[u8], u64, &str); 10] = [
        (b"\0\0\0\0", 0, "neither a command nor an annotation"),
        (b"PING\r\n", 0, "neither a command nor an annotation"),
        (b"*0\r\n", 0, "not a number of arguments"),
        (b"*-1\r\n", 0, "not a number of arguments"),
        (b"*x\r\n", 0, "not a number of arguments"),
        (b"*99999999999999999999\r\n", 0, "not a number of arguments"),
        (b"*1\r\n:1\r\n", 4, "no argument where one was promised"),
        (b"*1\r\n$-1\r\n", 4, "not a length of an argument"),
        (b"*1\r\n$9223372036854775808\r\n", 4, "not a length of an argument"),
        (b"*1\r\n$4\r\nPINGS\r\n", 12, "an argument longer than it says"),
    ];
    let ping = command(&["PING"]);
    for (bytes, place, what) in cases {
        let whole = [&ping, bytes, &ping].concat();
        let commands = scan(&whole);
        let offset = ping.len() as u64 + place;
        assert_eq!(commands.ending, Ending::NotCommands { offset, what }, "{}", bytes.escape_ascii());
        assert_eq!((commands.cut, commands.unfinished()), (ping.len() as u64, (whole.len() - ping.len()) as u64));
        assert!(commands.is_suspect());
        for piece in [1, 2, 5] {
            assert_eq!(scan_in_pieces(&whole, piece), commands);
        }
    }
    let endless = [b"#".as_slice(), &b"x".repeat(5000)].concat();
    assert_eq!(scan(&endless), scan_in_pieces(&endless, 3));
    assert!(scan(&endless).is_suspect());
    assert_eq!(scan(&endless).reason().as_deref(), Some("not a command at 0: a line of more than 1024 bytes"));
}

#[test]
fn a_long_argument_is_passed_by_its_length() {
    let mut scanner = Scanner::default();
    scanner.push(b"*2\r\n$3\r\nGET\r\n$8000000000000000000\r\n");
    scanner.push(&[0; 1000]);
    assert_eq!(scanner.cut(), 0);
    let ending = scanner.finish().ending;
    assert_eq!(ending, Ending::CutShort { offset: 0, missing: 8_000_000_000_000_000_000 - 1000 });
    let mut scanner = Scanner::new(512 << 20);
    scanner.push(b"*2\r\n$3\r\nGET\r\n$536870913\r\n");
    assert!(scanner.finish().is_suspect());
}

#[test]
fn the_first_timestamp_after_a_second_is_found_also_in_a_transaction() {
    let bytes = b"#TS:5\r\n*1\r\n$5\r\nMULTI\r\n#TS:7\r\n*1\r\n$4\r\nEXEC\r\n#TS:9\r\n";
    let later = |second| {
        let mut scanner = Scanner::looking_after(second);
        bytes.chunks(3).for_each(|piece| scanner.push(piece));
        scanner.finish().later_timestamp.map(|timestamp| timestamp.seconds)
    };
    assert_eq!([Some(4), Some(5), Some(7), Some(9), None].map(later), [Some(5), Some(7), Some(9), None, None]);
}

#[test]
fn offsets_after_a_preamble_count_from_the_beginning_of_the_file() {
    let commands = scan(b"#TS:9\r\n*1\r\n$4\r\nPI").after(1000);
    assert_eq!((commands.cut, commands.length), (1007, 1017));
    assert_eq!(commands.first_timestamp.map(|timestamp| timestamp.offset), Some(1000));
    assert_eq!(commands.ending, Ending::CutShort { offset: 1007, missing: 2 });
}

#[test]
fn a_timestamp_is_decimal_seconds() {
    for (line, seconds) in [
        (b"#TS:1700000000\r\n".as_slice(), Some(1_700_000_000)),
        (b"#ts:7\n", Some(7)),
        (b"#TS:7", None),
        (b"#TS:\r\n", None),
        (b"#TS:-7\r\n", None),
        (b"#TS:+7\r\n", None),
        (b"#TS:99999999999999999999\r\n", None),
        (b"#T", None),
        (b"# a note\r\n", None),
    ] {
        assert_eq!(parse_timestamp(line), seconds, "{}", line.escape_ascii());
    }
}

#[test]
fn a_servers_work_in_progress_is_told_by_its_name() {
    for (name, temporary) in [
        ("temp-1234.rdb", true),
        ("temp-rewriteaof-1234.aof", true),
        ("temp-rewriteaof-bg-1234.aof", true),
        ("temp-appendonly.aof.manifest", true),
        ("temp-appendonly.aof.incr", true),
        ("temp-1700000000.1234.rdb", true),
        ("temp-.rdb", false),
        ("temp-cache.rdb", false),
        ("temp-1234.rdb.gz", false),
        ("temp-1.2.3.rdb", false),
        ("temp-.12.rdb", false),
        ("temp--12.rdb", false),
        ("temp-rewriteaof-.aof", false),
        ("temp-rewriteaof-old.aof", false),
        ("temp-rewriteaof-12.rdb", false),
        ("temp-.manifest", false),
        ("dump.rdb", false),
        ("temp-notes.txt", false),
        ("temp-feed.aof", false),
        ("mytemp-1.rdb", false),
        ("appendonly.aof.1.incr.aof", false),
    ] {
        assert_eq!(is_temporary(name.as_bytes()), temporary, "{name}");
    }
    assert_eq!(manifest_name(b"appendonly.aof"), b"appendonly.aof.manifest");
}

/// As written by Redis 8.2.3 with `appendfilename` set to `my "f'é x.aof` and `aof-disable-auto-gc yes`.
const REDIS_8: &str = r#"file "my \"f'\xc3\xa9 x.aof.2.base.rdb" seq 2 type b
file "my \"f'\xc3\xa9 x.aof.1.incr.aof" seq 1 type h startoffset 0
file "my \"f'\xc3\xa9 x.aof.1.base.rdb" seq 1 type h
file "my \"f'\xc3\xa9 x.aof.2.incr.aof" seq 2 type i startoffset 1
"#;

#[test]
fn a_servers_manifest_is_read_and_written_as_it_is() {
    let manifest = Manifest::decode(REDIS_8.as_bytes()).expect("a server wrote it");
    assert_eq!(String::from_utf8(manifest.encode()).as_deref(), Ok(REDIS_8));
    assert_eq!(manifest.base().expect("there is one").name, "my \"f'é x.aof.2.base.rdb".as_bytes());
    assert_eq!((manifest.increments().count(), manifest.history().count()), (1, 2));
    assert_eq!(manifest.last_increment().and_then(|last| last.start_offset), Some(1));
    assert_eq!(Manifest::new(manifest.entries().to_vec()), Ok(manifest));
}

#[test]
fn the_manifest_of_a_copy_changes_only_what_it_must() {
    let unchanged = "file a.aof.2.base.rdb seq 2 type b\nfile a.aof.3.incr.aof seq 3 type i startoffset 5 endoffset 9\n\
        file a.aof.4.incr.aof seq 4 type i startoffset 9\n";
    let changed = "# ours\nfile a.aof.3.incr.aof SEQ 3 type incr endoffset 9 startoffset 5\n\
        seq 4 type i file a.aof.4.incr.aof startoffset 9 endoffset 12\r\nfile a.aof.1.base.rdb seq 1 type h\n\
        \t file \"a.aof\".2.base.rdb seq 2 type b \n";
    let changed = changed.replace("\"a.aof\".2", "\"a.aof.2").replace("base.rdb seq 2", "base.rdb\" seq 2");
    for original in [unchanged, &changed] {
        let manifest = Manifest::decode(original.as_bytes()).expect("a server takes it");
        assert_eq!(String::from_utf8(manifest.for_capture().encode()).as_deref(), Ok(unchanged));
    }
    let only_base = "file appendonly.aof seq 1 type b\n";
    let manifest = Manifest::decode(only_base.as_bytes()).expect("a server takes it");
    assert_eq!(manifest.for_capture().encode(), only_base.as_bytes());
}

#[test]
fn pairs_of_a_later_format_are_kept() {
    let later = "file a seq 1 type b colour \"dark blue\" shade \"\"\n";
    let manifest = Manifest::decode(later.as_bytes()).expect("a server takes it");
    assert_eq!(String::from_utf8(manifest.for_capture().encode()).as_deref(), Ok(later));
}

#[test]
fn a_manifest_no_server_starts_with_is_refused() {
    let long_name = format!("file {} seq 1 type b\n", "n".repeat(256));
    let long_line = format!("file a seq 1 type b k {}\n", "v".repeat(1024));
    let good = "file a seq 1 type b\n";
    for (line, bytes) in [
        (0, ""),
        (1, "file a seq 1 type b"),
        (1, "\n"),
        (1, "file a seq 1 type\n"),
        (1, "file a seq 1\n"),
        (1, "file a seq 1 kind b\n"),
        (1, "file a type b k v\n"),
        (1, "seq 1 type b k v\n"),
        (1, "file a seq 1 type x\n"),
        (1, "file a seq x type b\n"),
        (1, "file a seq 0 type b\n"),
        (1, "file a seq -1 type i\n"),
        (1, "file ../a seq 1 type b\n"),
        (1, "file a\\b seq 1 type b\n"),
        (1, "file .. seq 1 type b\n"),
        (1, "file \"\" seq 1 type b\n"),
        (1, "file \"a\\x00b\" seq 1 type b\n"),
        (1, "file a\0 seq 1 type b\n"),
        (1, "file \"a seq 1 type b\n"),
        (1, "file \"a\"b seq 1 type b\n"),
        (1, &long_name),
        (1, &long_line),
        (2, &good.repeat(2)),
        (3, &format!("{good}file b seq 2 type i\nfile c seq 2 type i\n")),
        (2, &format!("{good}file b seq 2 type i")),
    ] {
        let refused = Manifest::decode(bytes.as_bytes()).expect_err(bytes);
        assert_eq!(refused.line, line, "{bytes:?}: {refused}");
    }
    assert!(Manifest::decode(&good.as_bytes().repeat(1 << 18)).is_err());
}

#[test]
fn words_are_quoted_as_servers_quote_them() {
    let words: [&[u8]; 5] = [b"plain", b"", b"it's", b"a b\"\\\n\r\t\x07\x08\x01\xff", b"\0"];
    let mut line = Vec::new();
    for word in words {
        quoting::append_word(&mut line, word);
        line.push(b' ');
    }
    assert_eq!(line, br#"plain "" "it's" "a b\"\\\n\r\t\a\b\x01\xff" "\x00" "#);
    assert_eq!(split_words(&line).expect("all quotes are closed"), words);
    assert_eq!(split_words(br"'a \' \n b' c\d"), Some(vec![br"a ' \n b".to_vec(), br"c\d".to_vec()]));
    assert_eq!(split_words(br#""\q\xg1""#), Some(vec![b"qxg1".to_vec()]));
    assert_eq!(split_words(b"'a"), None);
    assert_eq!(split_words(b"\"a\\"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_bytes_the_pieces_make_no_difference(
        picks in prop::collection::vec((0_usize..14, any::<prop::sample::Index>(), any::<u8>(), 0_u8..8), 0..20),
        piece in 1_usize..40,
    ) {
        let mut bytes = Vec::new();
        for (part, place, byte, chance) in picks {
            let mut part = parts()[part].0.clone();
            if chance == 0 {
                let place = place.index(part.len());
                part[place] = byte;
            }
            bytes.extend(part);
        }
        let whole = scan(&bytes);
        assert_eq!(scan_in_pieces(&bytes, piece), whole);
        let cut = usize::try_from(whole.cut).expect("it is within the bytes");
        let before = scan(&bytes[..cut]);
        assert_eq!((before.ending, before.commands), (Ending::Complete, whole.commands));
    }

    #[test]
    fn a_manifest_of_any_bytes_is_read_or_refused(words in prop::collection::vec(
        prop::sample::select(vec!["file ", "seq ", "type ", "1 ", "2 ", "b ", "i ", "h ", "\"a b\" ", "'c' ", "x\\", "\n", "#", "\"", "\x7f"]), 0..30,
    )) {
        if let Ok(manifest) = Manifest::decode(words.concat().as_bytes()) {
            assert_eq!(Manifest::decode(&manifest.encode()).ok().filter(|_| !manifest.entries().is_empty()).unwrap_or_default(), manifest);
        }
    }

    #[test]
    fn any_word_survives_quoting(word in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut line = Vec::new();
        quoting::append_word(&mut line, &word);
        assert_eq!(split_words(&line), Some(vec![word]));
    }
}
