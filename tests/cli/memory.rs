//! How much memory the program takes at most: of files that are larger than that, and of a server whose answers have no end.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, noise};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

/// Most that a command may have resident at once, in MiB: what README says of files that are stored as they are, of two cores
/// and of eight, and a frame sealed, open and decoded for each that is more.
fn bound() -> u64 {
    let cores = thread::available_parallelism().unwrap().get() as u64;
    if cores <= 2 { 160 } else { 190 + 3 * cores.saturating_sub(8) }
}

/// The same of dumps on their way in, of which records wait to be sorted, beside long values of which each takes five times its
/// length.
const DUMP_IN: u64 = 368;
/// And on their way out.
const DUMP_OUT: u64 = 300;

/// Runs what has to end with a code, and answers with the most it ever had resident in MiB, as the kernel counts it, and with
/// what it said on standard error. Little may be printed: it is read at the end.
fn peak(command: &mut Command, code: i32) -> (u64, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        // The mark only rises, and is gone with the process: it is read until then.
        let text = fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = most.max(line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        thread::sleep(Duration::from_millis(1));
    };
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(ended.code(), Some(code), "{said}");
    (most >> 10, said)
}

/// Bytes of each value of a large dump but its first.
const VALUE: usize = 64 << 10;
/// Such values, and as many in the first.
const VALUES: u32 = 2560;

/// A dump of 320 MiB: half of it is one string. Every second part of 64 KiB can be compressed to half of that. Another
/// `turn` changes some bytes of each.
fn large_dump(place: &Place, turn: u8) {
    let part = |number: u32| {
        let times = if number.is_multiple_of(2) { 2 } else { 1 };
        let mut bytes = noise(number.into(), VALUE / times).repeat(times);
        bytes.iter_mut().skip(100).step_by(16 << 10).for_each(|byte| *byte = turn);
        bytes
    };
    let path = place.data().join("dump.rdb");
    // So that it is another file, which no backup takes for the one it knows.
    let _ = fs::remove_file(&path);
    let mut out = BufWriter::new(File::create(path).unwrap());
    let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    out.write_all(b"REDIS0011\xfe\x00\x00\x04long\x80").unwrap();
    out.write_all(&length(VALUE * VALUES as usize)).unwrap();
    for number in 0..VALUES {
        out.write_all(&part(number)).unwrap();
    }
    for number in VALUES..2 * VALUES {
        out.write_all(format!("\x00\x06{number:06}").as_bytes()).unwrap();
        out.write_all(b"\x80").unwrap();
        out.write_all(&length(VALUE)).unwrap();
        out.write_all(&part(number)).unwrap();
    }
    // A checksum of 0 is none.
    out.write_all(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    out.flush().unwrap();
}

#[test]
fn a_dataset_larger_than_the_bound_is_stored_proved_and_restored_within_it() {
    let place = Place::with_repository();
    let backup = ["backup", "data", "--dataset", "sessions"];
    let within = |arguments: &[&str], bound: u64| {
        let (most, _) = peak(&mut place.command(arguments), 0);
        assert!((20..bound).contains(&most), "{arguments:?} took {most} MiB");
    };
    large_dump(&place, 1);
    assert!(fs::metadata(place.data().join("dump.rdb")).unwrap().len() >> 20 > bound());
    within(&backup, DUMP_IN);
    // What changed a little is stored as deltas.
    large_dump(&place, 2);
    let before = stored(&place);
    within(&backup, DUMP_IN);
    assert!(stored(&place) - before < 32 << 20, "{} of {before}", stored(&place));
    within(&["verify"], DUMP_OUT);
    within(&["restore", "--target", "back"], DUMP_OUT);
    assert!(same(&place, "data/dump.rdb", "back/dump.rdb"));
}

/// Records that wait take most of what there is, until long ones come.
#[test]
fn long_values_behind_many_others_are_stored_within_what_those_alone_may_take() {
    const SHORT: usize = 16 << 10;
    const LONG: usize = 47;
    let place = Place::with_repository();
    let mut out = BufWriter::new(File::create(place.data().join("dump.rdb")).unwrap());
    out.write_all(b"REDIS0011\xfe\x00").unwrap();
    for (number, length) in
        (0..18_000).map(|number| (number, SHORT)).chain([(18_000, LONG << 20), (18_001, LONG << 20)])
    {
        out.write_all(format!("\x00\x06{number:06}").as_bytes()).unwrap();
        out.write_all(b"\x80").unwrap();
        out.write_all(&u32::try_from(length).unwrap().to_be_bytes()).unwrap();
        let part = noise(number, SHORT);
        (0..length / SHORT).for_each(|_| out.write_all(&part).unwrap());
    }
    out.write_all(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    out.flush().unwrap();
    let (most, _) = peak(&mut place.command(&["backup", "data", "--dataset", "sessions"]), 0);
    assert!((DUMP_IN..DUMP_IN + 5 * LONG as u64).contains(&most), "it took {most} MiB");
}

/// Each element as a JSON value of its own would take a KiB.
#[test]
fn a_hash_of_many_fields_is_shown_as_json_in_little_more_than_its_text_takes() {
    const FIELDS: u32 = 300_000;
    let place = Place::with_repository();
    let mut dump = [&b"REDIS0011\xfe\x00\x04\x04hash\x80"[..], &FIELDS.to_be_bytes()].concat();
    for field in 0..FIELDS {
        for text in [format!("field:{field:06}"), format!("value:{field:018}")] {
            dump.push(text.len() as u8);
            dump.extend(text.as_bytes());
        }
    }
    dump.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    fs::write(place.data().join("dump.rdb"), dump).unwrap();
    place.done(&["backup", "data", "--dataset", "sessions"]);
    let (most, _) = peak(&mut place.command(&["get", "hash", "--json"]), 0);
    assert!((20..bound()).contains(&most), "it took {most} MiB");
}

/// It waits in a scratch file for whoever is slower than the server.
#[test]
fn a_dump_that_a_server_sends_is_stored_within_the_same_bound() {
    if ServerKind::Redis82.is_skipped() {
        return;
    }
    let place = Place::with_repository();
    large_dump(&place, 1);
    let config = ["repl-diskless-sync yes", "repl-diskless-sync-delay 0", "rdbcompression no"];
    let server = RedisServer::start_with(ServerKind::Redis82, &place.data(), ServerOptions::with_config(&config));
    let address = format!("127.0.0.1:{}", server.port());
    let sync = ["backup", "--redis", &address, "--dataset", "sessions", "--mode", "sync"];
    let (most, _) = peak(&mut place.command(&sync), 0);
    assert!((20..DUMP_IN).contains(&most), "it took {most} MiB");
    let listed = place.done(&["snapshots", "--json"]).json();
    assert!(listed["snapshots"][0]["bytes"].as_u64().unwrap() > 300 << 20, "{listed}");
}

/// Bytes of all packs.
fn stored(place: &Place) -> u64 {
    crate::place::objects(place, "packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

fn same(place: &Place, one: &str, other: &str) -> bool {
    Command::new("cmp").args([place.path(one), place.path(other)]).status().unwrap().success()
}

/// A server that answers whatever it is asked with `begin`, and then with `again` until it is not listened to any more, or
/// has sent 1 GiB. What it has sent comes when it ends.
fn endless(begin: &'static [u8], again: &'static [u8]) -> (String, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = move || {
        let mut stream = asked(&listener);
        let (block, mut sent) = (again.repeat((64 << 10) / again.len()), begin.len());
        if stream.write_all(begin).is_err() {
            return sent;
        }
        while sent < 1 << 30 && stream.write_all(&block).is_ok() {
            sent += block.len();
        }
        sent
    };
    (address, thread::spawn(serve))
}

/// A connection by which something was asked.
fn asked(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    assert!(stream.read(&mut [0; 100]).unwrap() > 0);
    stream
}

/// So many of these are longer than an answer may be, though none is long and there are not too many.
const BULK: &[u8] = b"$80\r\n01234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n";

#[test]
fn an_answer_without_end_is_refused_before_it_costs_memory() {
    let place = Place::with_snapshot();
    for (begin, again, why) in [
        (&b"$60000000000\r\n"[..], &b"x"[..], "is longer than"),
        (b"*2147483647\r\n", b":1\r\n", "holds more than"),
        (b"*200000\r\n", BULK, "is longer than"),
        (b"+", b"x", "has a line without an end"),
    ] {
        for (command, option) in
            [(&["backup", "--dataset", "d"][..], "--redis"), (&["restore", "--dry-run"], "--server")]
        {
            let (address, server) = endless(begin, again);
            let from = format!("{option}={address}");
            let (most, said) = peak(&mut place.command(&[command, &[&from]].concat()), 9);
            assert!(said.contains(why) && said.contains(&address), "{command:?}: {said}");
            let sent = server.join().unwrap();
            assert!(most < bound() && sent < 64 << 20, "{command:?} took {most} MiB of {sent} bytes");
        }
    }
}

/// A byte now and then is an answer that goes on, for a server; for a person who ends the program it is none.
#[test]
fn a_signal_ends_the_wait_for_an_answer_that_drips() {
    let place = Place::with_repository();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (begun, has_begun) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut stream = asked(&listener);
        stream.write_all(b"+").unwrap();
        begun.send(()).unwrap();
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut command = place.command(&["backup", "--dataset", "d", "--redis", &address]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    has_begun.recv().unwrap();
    let at = Instant::now();
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    let ended = wait_for("the program to end", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(130));
    assert!(at.elapsed() < Duration::from_secs(20), "{:?}", at.elapsed());
    server.join().unwrap();
}
