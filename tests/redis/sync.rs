//! A dump that a server sends as to a replica: of every version, from its disk and without it, under constant writes, to a
//! user of few rights; and what becomes of one that does not come whole.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use redkeep::operations::backup::{Options, Report, backup};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::{OperationError, Silent};
use redkeep::redis::server::{
    ACL_RULES, ACL_RULES_OF_SYNC, Address, LiveCapture, LiveOptions, Mode, Server, Watch, replicate,
};
use redkeep::redis::{CaptureOptions, RedisError};
use redkeep::repository::Repository;
use redkeep::spill::Scratch;

use crate::capture::{fact, materialise_clean, read};
use crate::live::{boot, of_mode, order};
use crate::support::equality::Fingerprint;
use crate::support::keyspace::{Keyspace, Random};
use crate::support::repository::{Hands, create, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};
use crate::support::writers::{ConstantWriter, writer_pair};

const PASSWORD: &str = "hen-and-egg";
/// A server that begins to send at once, and one that saves to its disk first.
const DISKLESS: [&str; 2] = ["repl-diskless-sync yes", "repl-diskless-sync-delay 0"];
const DISK: [&str; 1] = ["repl-diskless-sync no"];

/// The server as a user who may copy it, and has no more rights than that takes.
fn as_copying_user(server: &RedisServer) -> Address {
    order(server, &format!("ACL SETUSER copy reset on >{PASSWORD} {ACL_RULES} -bgsave -lastsave {ACL_RULES_OF_SYNC}"));
    let address: Address = format!("127.0.0.1:{}", server.port()).parse().unwrap();
    address.with_login(Some("copy"), Some(PASSWORD))
}

fn sent_to(address: &Address) -> Result<LiveCapture, RedisError> {
    sent_with(address, &LiveOptions::default())
}

fn sent_with(address: &Address, options: &LiveOptions) -> Result<LiveCapture, RedisError> {
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &|| false };
    let scratch = || Scratch::new(Path::new("/tmp"), [9; 32]);
    replicate(Server::connect(address)?, options, &CaptureOptions::default(), &scratch, &watch)
}

fn started(kind: ServerKind, config: &[&str]) -> Option<(tempfile::TempDir, RedisServer)> {
    if kind.is_skipped() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(config));
    Some((dir, server))
}

/// SYNC-1, SYNC-3, SYNC-5
#[test]
fn the_dump_that_every_version_sends_comes_back_and_the_server_is_left_as_it_was() {
    for kind in ServerKind::ALL {
        for (config, payload) in [(&DISKLESS[..], "diskless"), (&DISK, "disk")] {
            let Some((_dir, server)) = started(kind, config) else { continue };
            Keyspace::new(41, 1500).fill(&server);
            let filled = Fingerprint::of(&server);
            let address = as_copying_user(&server);
            let saved = server.info().number("rdb_last_save_time");
            let LiveCapture { capture, moment, .. } =
                sent_to(&address).unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
            let told = |name: &str| fact(&capture, name).to_owned();
            assert_eq!([told("capture.mode"), told("sync.payload"), told("authoritative")], ["sync", payload, "rdb"]);
            assert_eq!(
                (told("server.keys"), told("sync.repl-id").as_str()),
                ("1500".into(), server.info().get("master_replid").unwrap())
            );
            assert!(told("sync.repl-offset").parse::<u64>().is_ok() && moment.is_some());
            let (_, reading) = read(&capture.files[0]);
            assert_eq!(reading.facts["checksum"], "verified");
            assert_eq!(reading.facts["repl-offset"], told("sync.repl-offset"));
            let restored = boot(kind, materialise_clean(&capture).path(), "rdb", &[]);
            filled.assert_equal(&Fingerprint::of(&restored), &format!("{} {payload}", kind.name()));

            let denied: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut server.connection()).unwrap();
            assert_eq!(denied, []);
            let gone = || (server.info().get("connected_slaves") == Some("0")).then_some(());
            wait_for("the server to forget the link", gone);
            if payload == "diskless" {
                assert_eq!(
                    (server.info().number("rdb_last_save_time"), server.data().read_dir().unwrap().count()),
                    (saved, 0)
                );
            }
        }
    }
}

/// How many captures are made in a row: `REDKEEP_TEST_CAPTURES`, or few.
fn captures() -> usize {
    std::env::var("REDKEEP_TEST_CAPTURES").map_or(4, |text| text.parse().expect("a number"))
}

#[test]
fn every_dump_that_a_busy_server_sends_is_whole_and_not_older_than_its_moment() {
    for kind in ServerKind::ALL {
        for config in [&DISKLESS[..], &DISK] {
            let Some((_dir, server)) = started(kind, config) else { continue };
            Keyspace::new(42, 500).fill(&server);
            let address = as_copying_user(&server);
            let writer = ConstantWriter::start(&server, 43);
            for turn in 0..captures() {
                let before = writer.answered();
                let captured = sent_to(&address).unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
                let after = writer.answered();
                let (a, b) = writer_pair(&boot(kind, materialise_clean(&captured.capture).path(), "rdb", &[]));
                assert_eq!(a, b, "{} capture {turn}", kind.name());
                assert!((before..=after + 1).contains(&a.unwrap()), "{} {turn}: {a:?} {before}..={after}", kind.name());
            }
            writer.stop();
        }
    }
}

/// SYNC-2: a server waits before it forks; a moment that was before what came in meanwhile would be chosen for a time before it.
#[test]
fn what_comes_in_before_the_fork_is_not_after_the_moment() {
    for kind in [ServerKind::Redis7, ServerKind::Valkey9] {
        let config = ["repl-diskless-sync yes", "repl-diskless-sync-delay 3"];
        let Some((_dir, server)) = started(kind, &config) else { continue };
        let address = as_copying_user(&server);
        let seconds = || redis::cmd("TIME").query::<(u64, u64)>(&mut server.connection()).unwrap().0;
        let late = thread::scope(|scope| {
            let sent = scope.spawn(|| sent_to(&address).unwrap());
            wait_for("the request", || (server.info().get("connected_slaves") == Some("1")).then_some(()));
            let asked = seconds();
            wait_for("the next second", || (seconds() > asked).then_some(()));
            order(&server, "SET late 1");
            let late = seconds();
            let LiveCapture { capture, moment, .. } = sent.join().unwrap();
            assert_eq!(fact(&capture, "server.keys"), "0", "when it was asked for");
            assert_eq!(read(&capture.files[0]).1.facts["keys"], "1");
            (late, moment.unwrap().0)
        });
        assert!(late.1 / 1000 >= late.0, "{}: {late:?}", kind.name());
    }
}

#[test]
fn a_user_without_the_right_to_copy_and_a_replica_without_a_master_are_told_what_helps() {
    let Some((_dir, server)) = started(ServerKind::Redis7, &DISKLESS) else { return };
    let address = as_copying_user(&server);
    for right in ["psync", "replconf"] {
        order(&server, &format!("ACL SETUSER copy -{right}"));
        let error = sent_to(&address).unwrap_err();
        let hint = error.hint().unwrap().to_owned();
        assert!(hint.contains("ACL SETUSER copy +psync +replconf"), "{error}: {hint}");
        order(&server, &format!("ACL SETUSER copy +{right}"));
    }
    order(&server, "REPLICAOF 127.0.0.1 1");
    let error = sent_to(&address).unwrap_err();
    assert!(error.to_string().contains("NOMASTERLINK") && error.hint().unwrap().contains("name the master"), "{error}");
}

#[test]
fn where_psync_is_switched_off_or_has_another_name_the_dump_comes_all_the_same() {
    for kind in ServerKind::ALL {
        let config = [&DISKLESS[..], &["rename-command PSYNC \"\""]].concat();
        let Some((_dir, server)) = started(kind, &config) else { continue };
        Keyspace::new(44, 200).fill(&server);
        order(&server, "ACL SETUSER copy reset on nopass +@all");
        let address: Address = format!("127.0.0.1:{}", server.port()).parse().unwrap();
        let captured = sent_to(&address).unwrap();
        assert_eq!(fact(&captured.capture, "sync.payload"), "diskless");
        assert!(!fact(&captured.capture, "sync.repl-offset").is_empty(), "{}", kind.name());
        let restored = boot(kind, materialise_clean(&captured.capture).path(), "rdb", &[]);
        Fingerprint::of(&server).assert_equal(&Fingerprint::of(&restored), kind.name());

        let config = [&DISKLESS[..], &["rename-command PSYNC copy-1"]].concat();
        let Some((_dir, server)) = started(kind, &config) else { continue };
        let address: Address = format!("127.0.0.1:{}", server.port()).parse().unwrap();
        sent_to(&address.with_renamed(&[("PSYNC".into(), "copy-1".into())])).unwrap();
    }
}

/// Changes what is said.
type Meddle = dyn Fn(&mut [u8]) + Send + Sync;

/// Stands between a client and a server, and changes what the server says.
fn meddler(server: &RedisServer, meddle: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Address {
    between(server, Arc::new(|_: &mut [u8]| {}), Arc::new(meddle))
}

/// Stands between a client and a server, and changes what both say.
fn between(server: &RedisServer, asked: Arc<Meddle>, told: Arc<Meddle>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, server) = (listener.local_addr().unwrap().port(), server.port());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let there = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (up, down) = (there.try_clone().unwrap(), client.try_clone().unwrap());
            let (asked, told) = (Arc::clone(&asked), Arc::clone(&told));
            thread::spawn(move || pass_on(&client, &up, &*asked));
            thread::spawn(move || {
                pass_on(&there, &down, &*told);
                let _ = down.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    let address: Address = format!("127.0.0.1:{port}").parse().unwrap();
    address.with_login(Some("copy"), Some(PASSWORD))
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, meddle: &Meddle) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        meddle(&mut piece[..count]);
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> bool {
    let at = bytes.windows(old.len()).position(|window| window == old);
    let found = at.map(|at| &mut bytes[at..at + new.len()]);
    found.is_some_and(|place| {
        place.copy_from_slice(new);
        true
    })
}

/// SYNC-2
#[test]
fn a_dump_that_was_begun_before_the_request_is_asked_for_again() {
    let Some((_dir, server)) = started(ServerKind::Redis7, &DISKLESS) else { return };
    sent_to(&as_copying_user(&server)).unwrap();
    let full = || server.info().number("sync_full");
    // Until it has sent a dump the server seems to be further than it is.
    let is_over = AtomicBool::new(false);
    let once = meddler(&server, move |bytes| {
        is_over.fetch_or(bytes.starts_with(b"+FULLRESYNC"), Ordering::SeqCst);
        if !is_over.load(Ordering::SeqCst) {
            replace(bytes, b"\nmaster_repl_offset:", b"\nmaster_repl_offset:9");
        }
    });
    sent_to(&once).unwrap();
    assert_eq!(full(), 3);
    let always = meddler(&server, |bytes| {
        replace(bytes, b"\nmaster_repl_offset:", b"\nmaster_repl_offset:9");
    });
    let error = sent_to(&always).unwrap_err();
    assert!(error.to_string().contains("begun before it was asked for"), "{error}");
    assert_eq!(full(), 6);
}

/// SYNC-3
#[test]
fn a_dump_of_another_replication_than_was_announced_is_refused() {
    let Some((_dir, server)) = started(ServerKind::Redis7, &DISKLESS) else { return };
    as_copying_user(&server);
    let address = meddler(&server, |bytes| {
        replace(bytes, b"+FULLRESYNC ", b"+FULLRESYNC zz");
    });
    let error = sent_to(&address).unwrap_err();
    assert!(error.to_string().contains("announced a dump of zz"), "{error}");
}

fn store(repository: &Repository, address: &Address, way: Way) -> Result<Report, OperationError> {
    let source = Source::Server(Box::new(LiveSource { address: address.clone(), options: of_mode(Mode::Rdb), way }));
    backup(repository, &Options { source, dataset: Some("d".into()), ..Options::default() }, &Silent)
}

fn refused(ended: Result<Report, OperationError>, words: &str, repository: &Repository) {
    let error = ended.map(|report| report.snapshot.warnings).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert!(matches!(error, OperationError::Redis(RedisError::Server { .. })), "{error:?}");
    assert_eq!(repository.snapshots().unwrap().len(), 0);
}

/// SYNC-6
#[test]
fn of_a_dump_that_was_changed_on_its_way_nothing_is_stored() {
    let Some((_dir, server)) = started(ServerKind::Redis7, &DISKLESS) else { return };
    order(&server, "SET marker precious-value-of-a-key");
    as_copying_user(&server);
    let repository = create(memory(), &Hands::new(5));
    let address = meddler(&server, |bytes| {
        replace(bytes, b"precious-value", b"previous-value");
    });
    refused(store(&repository, &address, Way::Replication), "no whole dump", &repository);
    as_copying_user(&server);
}

/// A server that takes a while to send what it holds.
fn slow(kind: ServerKind) -> Option<(tempfile::TempDir, RedisServer)> {
    let (dir, server) = started(kind, &DISKLESS)?;
    let mut fill = redis::pipe();
    for key in 0..4000 {
        fill.cmd("SET").arg(key).arg(Random::new(key).bytes(2000));
    }
    fill.exec(&mut server.connection()).unwrap();
    order(&server, "CONFIG SET rdb-key-save-delay 3000");
    Some((dir, server))
}

/// SYNC-4
#[test]
fn a_server_that_ends_or_drops_the_link_in_the_midst_of_its_dump_is_an_error_that_says_so() {
    for kind in [ServerKind::Redis62, ServerKind::Redis82, ServerKind::Valkey9] {
        for stopped in [false, true] {
            let Some((_dir, mut server)) = slow(kind) else { continue };
            // From then on it comes.
            let captured = sent_to(&as_copying_user(&server)).unwrap().capture;
            match stopped {
                // Killed, its child process would go on for as long as it has something to send.
                true => server.stop(),
                false => order(&server, "CLIENT KILL TYPE replica"),
            }
            let error = captured.files[0].read(&mut |_| Ok(())).unwrap_err();
            let told = format!("{error}: {}", error.hint().unwrap());
            let why = if stopped { "does not answer any more" } else { "CLIENT KILL" };
            assert!(told.contains("closed the connection after") && told.contains(why), "{}: {told}", kind.name());
            let again = captured.files[0].read(&mut |_| Ok(()));
            assert!(again.is_err());
        }
    }
}

/// SYNC-9: one that does not know that the dump is all that is wanted keeps what is written meanwhile, as for any replica.
#[test]
fn a_server_that_had_to_hold_more_than_its_limit_is_an_error_that_names_it() {
    for kind in [ServerKind::Redis62, ServerKind::Redis82, ServerKind::Valkey9] {
        let Some((_dir, server)) = slow(kind) else { continue };
        // What the backlog holds anyway is none of it.
        order(&server, "CONFIG SET repl-backlog-size 1048576");
        let limit = ["SET", "client-output-buffer-limit", "replica 2097152 0 0"];
        redis::cmd("CONFIG").arg(&limit).exec(&mut server.connection()).unwrap();
        as_copying_user(&server);
        let asked = |bytes: &mut [u8]| {
            replace(bytes, b"rdb-only", b"rdb-soon");
        };
        let captured = sent_to(&between(&server, Arc::new(asked), Arc::new(|_: &mut [u8]| {}))).unwrap().capture;
        for key in 0..8 {
            let value = Random::new(key).bytes(1 << 20);
            redis::cmd("SET").arg("written").arg(value).exec(&mut server.connection()).unwrap();
        }
        let error = captured.files[0].read(&mut |_| Ok(())).unwrap_err();
        let told = format!("{error}: {}", error.hint().unwrap());
        let named = "it held more for this client than it may (client-output-buffer-limit replica: 2 MiB at once)";
        assert!(told.contains("closed the connection after") && told.contains(named), "{}: {told}", kind.name());
        // Those that count such ends know that it was this.
        let is_sure = server.info().get("client_output_buffer_limit_disconnections") == Some("1");
        assert_eq!(is_sure, kind != ServerKind::Redis62, "{}", kind.name());
        assert_eq!(is_sure, !told.contains("its log says why"), "{}: {told}", kind.name());
    }
}

#[test]
fn a_replica_that_is_preferred_sends_what_its_master_had() {
    let Some((_master, master)) = started(ServerKind::Redis7, &DISKLESS) else { return };
    let Some((_replica, replica)) = started(ServerKind::Redis7, &DISKLESS) else { return };
    order(&master, "MSET a 1 b 2");
    order(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    wait_for("the replica", || (replica.info().get("master_link_status") == Some("up")).then_some(()));
    wait_for("its master to know it", || master.info().get("slave0")?.contains("state=online").then_some(()));
    order(&master, "SET c 3");
    as_copying_user(&replica);
    let options = LiveOptions { prefer_replica: true, ..LiveOptions::default() };
    let captured = sent_with(&as_copying_user(&master), &options).unwrap().capture;
    assert_eq!((fact(&captured, "server.role"), fact(&captured, "server.keys")), ("slave", "3"));
    assert_eq!(fact(&captured, "sync.repl-id"), master.info().get("master_replid").unwrap());
}

/// SYNC-8: a replica that waits before it forks has what its master got meanwhile.
#[test]
fn what_comes_to_a_replica_before_its_fork_is_not_long_after_the_moment() {
    let Some((_master, master)) = started(ServerKind::Redis7, &DISKLESS) else { return };
    let config = ["repl-diskless-sync yes", "repl-diskless-sync-delay 4"];
    let Some((_replica, replica)) = started(ServerKind::Redis7, &config) else { return };
    order(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    wait_for("the replica", || (replica.info().get("master_link_status") == Some("up")).then_some(()));
    wait_for("its master to know it", || master.info().get("slave0")?.contains("state=online").then_some(()));
    as_copying_user(&replica);
    let address = as_copying_user(&master);
    let options = LiveOptions { prefer_replica: true, ..LiveOptions::default() };
    let millis = || {
        let (seconds, micros) = redis::cmd("TIME").query::<(u64, u64)>(&mut master.connection()).unwrap();
        seconds * 1000 + micros / 1000
    };
    thread::scope(|scope| {
        let sent = scope.spawn(|| sent_with(&address, &options).unwrap());
        wait_for("the request", || (replica.info().get("connected_slaves") == Some("1")).then_some(()));
        let asked = millis();
        wait_for("two seconds", || (millis() > asked + 2000).then_some(()));
        order(&master, "SET late 1");
        let late = millis();
        let LiveCapture { capture, moment, .. } = sent.join().unwrap();
        let moment = moment.unwrap().0;
        assert_eq!((fact(&capture, "server.role"), read(&capture.files[0]).1.facts["keys"].as_str()), ("slave", "1"));
        assert!(moment + 1500 >= late, "the moment {moment} is long before {late}, which is in the dump");
        assert!(moment <= millis());
    });
}

/// SYNC-7
#[test]
fn a_server_is_rid_of_its_dump_before_anybody_reads_it() {
    for config in [&DISKLESS[..], &DISK] {
        let Some((_dir, server)) = started(ServerKind::Redis7, config) else { continue };
        let mut fill = redis::pipe();
        for key in 0..400 {
            fill.cmd("SET").arg(key).arg(Random::new(key).bytes(200_000));
        }
        fill.exec(&mut server.connection()).unwrap();
        let filled = Fingerprint::of(&server);
        let captured = sent_to(&as_copying_user(&server)).unwrap();
        let gone = || {
            let info = server.info();
            (info.get("connected_slaves") == Some("0") && info.get("rdb_bgsave_in_progress") == Some("0")).then_some(())
        };
        wait_for("the server to have sent all", gone);
        let restored = boot(ServerKind::Redis7, materialise_clean(&captured.capture).path(), "rdb", &[]);
        filled.assert_equal(&Fingerprint::of(&restored), "a dump that waited");
    }
}

/// What is stored of it is what is stored of the file: the next capture of either kind costs what changed.
#[test]
fn a_dump_that_was_sent_goes_on_where_a_captured_file_ended_and_is_restored_as_one() {
    for kind in [ServerKind::Redis7, ServerKind::Valkey9] {
        let Some((_dir, server)) = started(kind, &DISKLESS) else { continue };
        Keyspace::new(46, 3000).fill(&server);
        order(&server, &format!("ACL SETUSER copy reset on >{PASSWORD} {ACL_RULES} {ACL_RULES_OF_SYNC}"));
        let address: Address = format!("127.0.0.1:{}", server.port()).parse().unwrap();
        let address = address.with_login(Some("copy"), Some(PASSWORD));
        let repository = create(memory(), &Hands::new(7));
        let by_file = store(&repository, &address, Way::Files).unwrap().snapshot;
        let sent = store(&repository, &address, Way::Replication).unwrap();
        assert_eq!((sent.snapshot.facts["capture.mode"].as_str(), &sent.snapshot.warnings[..]), ("sync", &[][..]));
        let (first, second) = (by_file.summary.stored_bytes, sent.snapshot.summary.stored_bytes);
        assert!(second * 10 < first, "{}: {second} after {first}", kind.name());
        assert_eq!(sent.snapshot.facts["dump.keys"], by_file.facts["dump.keys"]);
        let again = store(&repository, &address, Way::Files).unwrap().snapshot.summary.stored_bytes;
        assert!(again * 10 < first, "{}: {again} after {first}", kind.name());
    }
}
