//! A server whose clock is not this host's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::place::Place;
use crate::support::server::{RedisServer, ServerKind};

/// A day, and something: what is measured is not the same to the second.
const DAY: u64 = 86_430;

/// Answers of TIME that come by are a day earlier: two texts, the first of ten digits.
fn a_day_earlier(answers: &mut [u8]) {
    const HEAD: &[u8] = b"*2\r\n$10\r\n";
    let places: Vec<usize> = (0..answers.len()).filter(|place| answers[*place..].starts_with(HEAD)).collect();
    for place in places {
        let Some(digits) = answers.get_mut(place + HEAD.len()..place + HEAD.len() + 10) else { continue };
        let Ok(seconds) = String::from_utf8_lossy(digits).parse::<u64>() else { continue };
        digits.copy_from_slice((seconds - DAY).to_string().as_bytes());
    }
}

/// The port of something that the server is reached through, and by whose clock it goes.
fn behind(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let ways = [(client.try_clone().unwrap(), server.try_clone().unwrap(), false), (server, client, true)];
            for (mut from, mut to, is_answer) in ways {
                thread::spawn(move || {
                    let mut buffer = [0; 1 << 16];
                    while let Ok(length @ 1..) = from.read(&mut buffer) {
                        let passed = &mut buffer[..length];
                        if is_answer {
                            a_day_earlier(passed);
                        }
                        if to.write_all(passed).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    own
}

/// TIME-11
#[test]
fn a_clock_that_is_far_from_this_hosts_is_told_where_times_go_by_it() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let place = Place::with_repository();
    fs::create_dir(place.path("served")).unwrap();
    let server = RedisServer::start(ServerKind::Redis7, &place.path("served"));
    redis::cmd("SET").arg("a").arg(1).exec(&mut server.connection()).unwrap();
    let backup = |port: u16| {
        let address = format!("127.0.0.1:{port}");
        place.ends(0, &["backup", "--redis", &address, "--mode", "sync", "--dataset", "d"])
    };
    for _ in 0..2 {
        assert_eq!(backup(server.port()).stderr, "");
    }
    let told = "note: the clock of the server of d was 24 h 0 min behind this host's at snapshot ";
    let not_counted = "; timeline and --at do not count that, which the snapshots beside it do not bear out";
    let port = behind(server.port());
    backup(port).says(told).says(not_counted);
    place.ends(0, &["snapshots"]).says(told).says(not_counted);
    // Twice in a row: from now on it is believed.
    let ran = backup(port);
    ran.says(told);
    assert!(!ran.stderr.contains(not_counted), "{}", ran.stderr);
}
