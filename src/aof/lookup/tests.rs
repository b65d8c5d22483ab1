//! Keys are followed where that is certain, and where it is not the command is named.

use super::{Expiry, Fate, Lookup, Obstacle};

fn command(words: &str) -> Vec<u8> {
    let words: Vec<&str> = words.split(' ').collect();
    let arguments = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), arguments.collect::<String>()).into_bytes()
}

/// What became of the key `k` of database 0, whatever pieces the commands come in.
fn fate(commands: &[&str]) -> Fate {
    let bytes: Vec<u8> = commands.iter().flat_map(|words| command(words)).collect();
    let in_pieces = |size: usize| {
        let mut lookup = Lookup::new(0, b"k", 0);
        bytes.chunks(size).for_each(|piece| lookup.push(piece));
        lookup.finish()
    };
    let once = in_pieces(usize::MAX);
    for size in [1, 2, 7] {
        assert_eq!(in_pieces(size), once, "in pieces of {size}");
    }
    once
}

fn set(value: &str, expiry: Expiry) -> Fate {
    Fate::Kept { value: Some(value.into()), expiry }
}

fn kept(expiry: Expiry) -> Fate {
    Fate::Kept { value: None, expiry }
}

/// By the last of the commands.
fn untold(commands: &[&str]) {
    let (last, before) = commands.split_last().unwrap();
    let offset = before.iter().map(|words| command(words).len() as u64).sum();
    let name = last.split(' ').next().map(str::to_ascii_lowercase);
    assert_eq!(fate(commands), Fate::Untold(Obstacle { command: name, file: 0, offset }), "{commands:?}");
}

#[test]
fn what_other_keys_and_databases_get_does_not_matter() {
    for commands in [
        &[
            "PING",
            "SET a k",
            "HSET b k v",
            "DEL a b",
            "MSET a k b k",
            "COPY k a",
            "PUBLISH k v",
            "LMOVE a b LEFT RIGHT",
        ][..],
        &["SELECT 3", "SET k v", "LPUSH k v", "FLUSHDB", "DEL k", "RENAME k a", "MOVE k 7", "SWAPDB 1 2", "MSET k v"],
        &["SELECT 3", "SELECT x", "SET k v"],
        &["SET kk v", "SET K v", "set \u{e9}k v", "EXPIRE a 1"],
        &["MULTI", "SET k v"],
        &["MULTI", "SET k v", "APPEND k w", "PEXPIREAT k 7"],
    ] {
        assert_eq!(fate(commands), Fate::Untouched, "{commands:?}");
    }
}

#[test]
fn strings_are_followed_with_what_is_known_of_their_expiry() {
    for (commands, expected) in [
        (&["SET k v"][..], set("v", Expiry::Never)),
        (&["SELECT 3", "SELECT 0", "set k k"], set("k", Expiry::Never)),
        (&["SET k "], set("", Expiry::Never)),
        (&["SET k v NX", "SET k w xx GET"], set("w", Expiry::Never)),
        (&["SET k v PXAT 7"], set("v", Expiry::At(7))),
        (&["SET k v EXAT 7"], set("v", Expiry::At(7000))),
        (&["SET k v EX 7"], set("v", Expiry::AfterLoading(7000))),
        (&["SET k v PX 7 NX"], set("v", Expiry::AfterLoading(7))),
        (&["SET k v", "PEXPIREAT k 7"], set("v", Expiry::At(7))),
        (&["SETEX k 7 v", "SET k w KEEPTTL"], set("w", Expiry::AfterLoading(7000))),
        (&["PSETEX k 7 v", "PERSIST k"], set("v", Expiry::Never)),
        (&["SETNX k v", "EXPIREAT k 7", "APPEND k w"], set("vw", Expiry::At(7000))),
        (&["SET k w KEEPTTL"], set("w", Expiry::AsBefore)),
        (&["DEL k", "SET k w KEEPTTL"], set("w", Expiry::Never)),
        (&["GETSET k v", "DEL a b k"], Fate::Gone),
        (&["SET k v", "GETDEL k", "PEXPIREAT k 7", "PERSIST k"], Fate::Gone),
        (&["UNLINK k", "APPEND k v", "APPEND k w"], set("vw", Expiry::Never)),
        (&["DEL k", "INCR k", "INCRBY k 40", "DECR k", "DECRBY k -2"], set("42", Expiry::Never)),
        (&["MSET a k k a k b b k"], set("b", Expiry::Never)),
        (&["MSETNX k b"], set("b", Expiry::Never)),
        (&["LPUSH k v", "SET k v"], set("v", Expiry::Never)),
        (&["EVAL x 0", "FLUSHALL ASYNC"], Fate::Gone),
        (&["SELECT 9", "FLUSHALL"], Fate::Gone),
        (&["FLUSHDB"], Fate::Gone),
        (&["RENAME k a"], Fate::Gone),
        (&["MOVE k 3"], Fate::Gone),
        (&["PEXPIREAT k 7"], kept(Expiry::At(7))),
        (&["PEXPIREAT k 7", "PERSIST k"], kept(Expiry::Never)),
        (&["EXPIRE k 7"], kept(Expiry::AfterLoading(7000))),
    ] {
        assert_eq!(fate(commands), expected, "{commands:?}");
    }
}

#[test]
fn what_cannot_be_followed_is_named_with_its_place() {
    for commands in [
        &["SET a b", "HSET k f v"][..],
        &["APPEND k v"],
        &["INCR k"],
        &["SET k x", "INCRBY k 1"],
        &["SET k 9223372036854775807", "INCR k"],
        &["SET k 1", "DECRBY k -9223372036854775808"],
        &["SET k v", "SET k w IFEQ v"],
        &["SET k v", "SET k w EX"],
        &["SET k v", "SET k v EX 9223372036854775807"],
        &["SET k v", "SET k v NX NX NX NX NX NX NX NX NX"],
        &["SET k v", "EXPIRE k 7 GT"],
        &["PEXPIREAT k 7", "SET k w KEEPTTL"],
        &["SET a b", "EVAL return 0"],
        &["SET a b", "SELECT 3", "json.set a b c"],
        &["SET a b", "RENAME a k"],
        &["SET a b", "COPY a k"],
        &["SELECT 3", "COPY a k DB 0"],
        &["SELECT 3", "MOVE k 0"],
        &["SWAPDB 3 0"],
        &["SINTERSTORE a k b"],
        &["XGROUP CREATE k g 0"],
    ] {
        untold(commands);
    }
    let first = fate(&["LPUSH k v", "RPUSH k w", "PERSIST k", "SET k v KEEPTTL"]);
    assert_eq!(
        first,
        Fate::Untold(Obstacle { command: Some("lpush".into()), file: 0, offset: 0 }),
        "the first is told"
    );
}

#[test]
fn a_transaction_is_there_as_a_whole_or_not_at_all() {
    let done = ["SET k a PXAT 7", "MULTI", "APPEND k b", "SET k c", "PERSIST k", "APPEND k d"];
    assert_eq!(fate(&[&done[..], &["EXEC"]].concat()), set("cd", Expiry::Never));
    for end in 1..=done.len() {
        assert_eq!(fate(&done[..end]), set("a", Expiry::At(7)), "up to {end}");
    }
    assert_eq!(fate(&["SET k a", "MULTI", "PEXPIREAT k 7", "APPEND k b", "DEL k"]), set("a", Expiry::Never));
    assert_eq!(fate(&["SET k a", "MULTI", "LPUSH k x", "DEL k"]), set("a", Expiry::Never));
    assert_eq!(fate(&["SET k a", "MULTI", "APPEND k b", "EXEC", "MULTI", "APPEND k c"]), set("ab", Expiry::Never));
}

#[test]
fn files_follow_each_other_and_what_one_leaves_open_was_not_done() {
    let mut lookup = Lookup::new(3, b"k", 100);
    lookup.push(&[command("SELECT 3"), command("SET k v"), command("MULTI"), command("SET k w")].concat());
    lookup.next_file();
    lookup.push(&command("SET k x"));
    lookup.next_file();
    lookup.push(&command("SELECT 3"));
    lookup.push(b"*2\r\n$3\r\nDEL\r\n$1\r\nk");
    assert_eq!(lookup.finish(), set("v", Expiry::Never));

    let mut lookup = Lookup::new(0, b"k", 100);
    lookup.push(&[command("SET a v"), command("LPUSH k v")].concat());
    lookup.next_file();
    lookup.push(&command("RPUSH k v"));
    let offset = 100 + command("SET a v").len() as u64;
    assert_eq!(lookup.finish(), Fate::Untold(Obstacle { command: Some("lpush".into()), file: 0, offset }));

    let mut lookup = Lookup::new(0, b"k", 100);
    lookup.push(b"nonsense");
    lookup.next_file();
    lookup.push(&command("SET k v"));
    assert_eq!(lookup.finish(), Fate::Untold(Obstacle { command: None, file: 0, offset: 100 }));
}

#[test]
fn what_is_known_of_before_is_gone_on_with() {
    let after = |before: Fate, words: &str| {
        let mut lookup = Lookup::starting_from(before, 0, b"k", 9);
        lookup.push(&command(words));
        lookup.finish()
    };
    assert_eq!(after(set("41", Expiry::At(7)), "INCR k"), set("42", Expiry::At(7)));
    assert_eq!(after(set("4", Expiry::Never), "APPEND k 2"), set("42", Expiry::Never));
    assert_eq!(after(Fate::Gone, "SET k v KEEPTTL"), set("v", Expiry::Never));
    assert_eq!(after(Fate::Gone, "PING"), Fate::Gone);
}

#[test]
fn names_and_arguments_of_any_length_cost_no_more_than_the_value() {
    let long = "n".repeat(100_000);
    untold(&["SET a b", &long[..64]]);
    let name = fate(&[&long]);
    assert_eq!(name, Fate::Untold(Obstacle { command: Some(long[..64].to_owned()), file: 0, offset: 0 }));
    assert_eq!(fate(&[&format!("SELECT {long}"), "SET k v"]), set("v", Expiry::Never));
    assert_eq!(fate(&[&format!("SET k {long}")]), set(&long, Expiry::Never));
}

#[test]
fn an_empty_key_is_a_key() {
    let mut lookup = Lookup::new(0, b"", 0);
    lookup.push(&[command("SET a v"), command("SET  w")].concat());
    assert_eq!(lookup.finish(), set("w", Expiry::Never));
}
