//! SYNC-7: receiving a dump as fast as it comes, whoever reads it. A reader that stands still would hold up the server's child
//! process, and every other replica with it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::payload::{Ending, Payload};
use crate::redis::RedisError;
use crate::redis::sent::SentEnd;
use crate::redis::server::address::Address;
use crate::redis::server::connection::{Server, lost};
use crate::redis::server::trouble::Trouble;
use crate::redis::server::wire::Wire;
use crate::spill::SpoolWriter;

/// How long nothing may come: as long as a server waits for a replica (repl-timeout), unless it is told otherwise.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// Receives a dump in the background until its end, or until nobody wants it any more. `server`: where it is, and which run of it.
pub(super) fn receive(
    mut wire: Wire,
    payload: Payload,
    mut writer: SpoolWriter,
    end: Arc<SentEnd>,
    server: (Address, Option<String>),
) -> Result<(), RedisError> {
    let work = move || {
        let mut ending = Ending::new(payload);
        match receive_all(&mut wire, &mut ending, &mut writer, &end) {
            Ok(()) => {
                // The server need not wait for us until the dump is stored.
                drop(wire);
                if let Err(error) = writer.finish() {
                    end.fail(error.into());
                }
            }
            Err(broken) => {
                drop(wire);
                end.fail(broken.told(&server.0, server.1.as_deref(), ending.seen));
            }
        }
    };
    let begun = thread::Builder::new().name("dump".into()).spawn(work);
    begun.map(drop).map_err(RedisError::Sink)
}

/// How a dump broke off.
enum Broken {
    Closed,
    Silent,
    Unwanted,
    Trouble(Trouble),
    Kept(RedisError),
}

fn receive_all(wire: &mut Wire, ending: &mut Ending, writer: &mut SpoolWriter, end: &SentEnd) -> Result<(), Broken> {
    let mut piece = vec![0; PIECE];
    let mut last = Instant::now();
    while !ending.is_reached() {
        if end.is_unwanted() {
            return Err(Broken::Unwanted);
        }
        match wire.some(&mut piece).map_err(Broken::Trouble)? {
            None if last.elapsed() > SILENCE => return Err(Broken::Silent),
            None => {}
            Some(0) => return Err(Broken::Closed),
            Some(count) => {
                last = Instant::now();
                let bytes = piece.get(..count).unwrap_or_default();
                ending.push(bytes, |own| writer.write(own)).map_err(|error| Broken::Kept(error.into()))?;
            }
        }
    }
    Ok(())
}

impl Broken {
    /// For people, with what the server says by now.
    fn told(self, address: &Address, run_id: Option<&str>, seen: u64) -> RedisError {
        let server = |what: String, hint: String| RedisError::Server { what, hint };
        match self {
            Broken::Kept(error) => error,
            Broken::Unwanted | Broken::Trouble(Trouble::Interrupted) => RedisError::Interrupted,
            Broken::Trouble(trouble @ Trouble::Broken { is_tls: true, .. }) => lost(address, trouble),
            Broken::Silent => server(
                format!(
                    "the server at {address} sent {seen} bytes of its dump, and then nothing for {} s",
                    SILENCE.as_secs()
                ),
                "look at its child process and its host: is it stopped, or does a network hang?".into(),
            ),
            Broken::Closed | Broken::Trouble(_) => server(
                format!("the server at {address} closed the connection after {seen} bytes of its dump"),
                why_closed(address, run_id),
            ),
        }
    }
}

/// What a server says that is still there.
fn why_closed(address: &Address, run_id: Option<&str>) -> String {
    let asked = Server::connect(address).and_then(|mut server| server.info().map(|info| (server, info)));
    let Ok((mut server, info)) = asked else {
        return "it does not answer any more: was it stopped, or did it crash? its log says why".into();
    };
    if info.get("run_id").zip(run_id).is_some_and(|(now, then)| now != then) {
        return "it was started anew meanwhile: its log says why".into();
    }
    let limit = server.setting("client-output-buffer-limit").ok().flatten();
    let limit = limit.map_or(String::new(), |limit| format!(": {limit}"));
    format!(
        "its log says why: its child process failed or was killed, somebody ended the connection (CLIENT KILL), or it held \
         more for this client than it may (client-output-buffer-limit{limit})"
    )
}
