//! Two servers that work in one directory: each replaces what the other saves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use redkeep::operations::Silent;
use redkeep::operations::backup::{Options, backup};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::redis::server::Mode;

use crate::live::{as_backup_user, of_mode, order, redis_7};
use crate::support::repository::{Hands, create, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

/// A server that saves without pause into the directory of another one, until it is dropped.
struct Neighbour {
    stop: Arc<AtomicBool>,
    saving: Option<JoinHandle<()>>,
    _server: RedisServer,
}

impl Neighbour {
    fn of(kind: ServerKind, dir: &Path) -> Neighbour {
        let server = RedisServer::start_with(kind, dir, ServerOptions::default());
        order(&server, "MSET a 1 b 2 c 3 d 4 e 5");
        let stop = Arc::new(AtomicBool::new(false));
        let (mut connection, until) = (server.connection(), stop.clone());
        let saving = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                redis::cmd("SAVE").exec(&mut connection).unwrap();
            }
        });
        Neighbour { stop, saving: Some(saving), _server: server }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(saving) = self.saving.take() {
            let _ = saving.join();
        }
    }
}

/// LIVE-8.
#[test]
fn the_dump_of_another_server_in_the_same_directory_is_never_taken_without_a_word() {
    for kind in [ServerKind::Redis7, ServerKind::Redis74].into_iter().filter(|kind| !kind.is_skipped()) {
        let Some((dir, server)) = redis_7(&[]) else { return };
        order(&server, "MSET own:1 1 own:2 2");
        let repository = create(memory(), &Hands::new(77));
        let options = Options {
            source: Source::Server(Box::new(LiveSource {
                address: as_backup_user(&server),
                options: of_mode(Mode::Rdb),
                way: Way::Files,
            })),
            dataset: Some("own".into()),
            ..Options::default()
        };
        let neighbour = Neighbour::of(kind, dir.path());
        let mut told = 0;
        for _ in 0..8 {
            match backup(&repository, &options, &Silent) {
                Ok(report) => {
                    let keys = &report.snapshot.facts["dump.keys"];
                    let is_told = report.snapshot.warnings.iter().any(|warning| warning.code == "another-dump");
                    assert_eq!((keys.as_str(), is_told), if is_told { ("5", true) } else { ("2", false) });
                    told += u32::from(is_told);
                }
                Err(error) => {
                    let said = format!("{error} {}", error.hint().unwrap_or_default());
                    assert!(said.contains("another server") || said.contains("not shown to be the server's"), "{said}");
                    told += 1;
                }
            }
        }
        assert!(told > 0, "{}: the neighbour never came in between", kind.name());
        drop(neighbour);
        order(&server, "SET own:3 3");
        let report = backup(&repository, &options, &Silent).unwrap();
        assert_eq!((report.snapshot.facts["dump.keys"].as_str(), report.snapshot.warnings.len()), ("3", 0));
    }
}
