//! SYNC-7: receiving a dump as fast as it comes, whoever reads it. A reader that stands still would hold up the server's child
//! process, and every other replica with it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::payload::{Ending, Payload};
use crate::format::counts::size;
use crate::redis::RedisError;
use crate::redis::sent::SentEnd;
use crate::redis::server::address::Address;
use crate::redis::server::connection::{Server, lost};
use crate::redis::server::info::Info;
use crate::redis::server::trouble::Trouble;
use crate::redis::server::wire::Wire;
use crate::spill::SpoolWriter;

/// How long nothing may come: as long as a server waits for a replica (repl-timeout), unless it is told otherwise.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// Who sends a dump, as it was before it did.
pub(super) struct Sender {
    address: Address,
    run_id: Option<String>,
    /// What it holds at most for a replica, where it says so.
    limit: Option<String>,
    /// How many clients it had dropped for holding more, where it counts them.
    drops: Option<u64>,
}

/// Under which name servers count the clients they dropped for what they held for them.
const DROPS: &str = "client_output_buffer_limit_disconnections";

impl Sender {
    /// SYNC-9: asks for the limit, which not every user may.
    pub(super) fn new(server: &mut Server, info: &Info) -> Sender {
        let limit = server.setting("client-output-buffer-limit").ok().flatten();
        let (run_id, drops) = (info.get("run_id").map(str::to_owned), info.number(DROPS));
        Sender { address: server.address().clone(), run_id, limit: limit.and_then(|text| of_replicas(&text)), drops }
    }
}

/// Of all limits the one for replicas: `replica 268435456 67108864 60`.
fn of_replicas(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let limit = words.chunks_exact(4).find(|limit| matches!(limit, ["replica" | "slave", ..]))?;
    match *limit {
        [_, "0", "0", _] => Some("none".into()),
        [_, hard, soft, seconds] => {
            let told = |limit: &str| limit.parse().map_or_else(|_| limit.to_owned(), size);
            // 0 is none.
            let hard = (hard != "0").then(|| format!("{} at once", told(hard)));
            let soft = (soft != "0").then(|| format!("{} for {seconds} s", told(soft)));
            Some(hard.into_iter().chain(soft).collect::<Vec<_>>().join(", or "))
        }
        _ => None,
    }
}

/// Receives a dump in the background until its end, or until nobody wants it any more.
pub(super) fn receive(
    mut wire: Wire,
    payload: Payload,
    mut writer: SpoolWriter,
    end: Arc<SentEnd>,
    sender: Sender,
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
                end.fail(broken.told(&sender, ending.seen));
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
    fn told(self, sender: &Sender, seen: u64) -> RedisError {
        let address = &sender.address;
        let server = |what: String, hint: String| RedisError::Server { what, hint };
        match self {
            Broken::Kept(error) => error,
            Broken::Unwanted | Broken::Trouble(Trouble::Interrupted) => RedisError::Interrupted,
            Broken::Trouble(trouble @ Trouble::Broken { is_tls: true, .. }) => lost(address, trouble),
            Broken::Silent => server(
                format!(
                    "the server at {address} sent {} of its dump, and then nothing for {} s",
                    size(seen),
                    SILENCE.as_secs()
                ),
                "look at its child process and its host: is it stopped, or does a network hang?".into(),
            ),
            Broken::Closed | Broken::Trouble(_) => server(
                format!("the server at {address} closed the connection after {} of its dump", size(seen)),
                sender.why_closed(),
            ),
        }
    }
}

impl Sender {
    /// What a server says that is still there.
    fn why_closed(&self) -> String {
        let Ok(info) = Server::connect(&self.address).and_then(|mut server| server.info()) else {
            return "it does not answer any more: was it stopped, or did it crash? its log says why".into();
        };
        if info.get("run_id").zip(self.run_id.as_deref()).is_some_and(|(now, then)| now != then) {
            return "it was started anew meanwhile: its log says why".into();
        }
        let limit = self.limit.as_deref().map_or(String::new(), |limit| format!(": {limit}"));
        let held = format!("it held more for this client than it may (client-output-buffer-limit replica{limit})");
        match info.number(DROPS).zip(self.drops) {
            Some((now, before)) if now > before => format!("{held}: raise that limit, or capture when less is written"),
            Some(_) => "its log says why: its child process failed or was killed, or somebody ended the connection (CLIENT KILL)".into(),
            None => format!(
                "its log says why: its child process failed or was killed, somebody ended the connection (CLIENT KILL), or {held}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SYNC-9
    #[test]
    fn of_all_limits_that_of_replicas_is_told() {
        let all = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        let told = Some("256 MiB at once, or 64 MiB for 60 s".to_owned());
        assert_eq!(of_replicas(all), told);
        assert_eq!(of_replicas(&all.replace("slave", "replica")), told);
        assert_eq!(of_replicas("normal 0 0 0 replica 0 0 0"), Some("none".into()));
        assert_eq!(of_replicas("replica 2097152 0 0"), Some("2 MiB at once".into()));
        assert_eq!((of_replicas("normal 0 0 0"), of_replicas("")), (None, None));
    }
}
