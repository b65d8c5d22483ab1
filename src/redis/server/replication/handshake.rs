//! What a replica says before it is sent a dump, and what the server answers.

use std::time::{Duration, Instant};

use super::payload::Payload;
use crate::redis::RedisError;
use crate::redis::server::answer::refused;
use crate::redis::server::connection::{Server, lost};
use crate::redis::server::info::Info;
use crate::redis::server::trouble::Trouble;
use crate::redis::server::watch::Watch;
use crate::redis::server::wire::Wire;

/// How long a server may say that it is there, and no more: it may be saving to a slow disk.
const HEADER: Duration = Duration::from_secs(6 * 60 * 60);

/// Of which replication a dump is, and up to where, as the server announced it. It announces nothing to a bare SYNC.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub id: Option<String>,
    pub offset: Option<u64>,
}

/// SYNC-1: says what is understood: a dump without a known length, which needs no file of the server; and that the dump is all
/// that is wanted. Valkey is told its own version, for else it sends an old format that does not hold what it has.
pub(super) fn announce(server: &mut Server, info: &Info) -> Result<(), RedisError> {
    let own = info.get("valkey_version");
    let version: Vec<&str> = own.into_iter().flat_map(|own| ["version", own]).collect();
    for words in [&["capa", "eof", "capa", "psync2"][..], &["rdb-only", "1"], &version] {
        if words.is_empty() {
            continue;
        }
        match server.words(&[&["REPLCONF"], words].concat()) {
            Ok(_) => {}
            // What an older server does not know it does without.
            Err(RedisError::Answer { message, .. }) if message.to_ascii_lowercase().contains("unrecognized") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks for everything, and waits until the dump begins to come.
/// `look` is called with each sign of life.
pub(super) fn ask_for_all(
    server: Server,
    watch: &Watch<'_>,
    look: &mut dyn FnMut(),
) -> Result<(Announced, Payload, Wire), RedisError> {
    let address = server.address().clone();
    let mut wire = server.into_wire();
    let failed = |trouble: Trouble| lost(&address, trouble);
    let begun = Instant::now();
    let mut asked = "PSYNC";
    send(&mut wire, &[address.command(asked), "?", "-1"]).map_err(failed)?;
    let mut announced = Announced::default();
    loop {
        let line = wire.line(asked).map_err(failed)?;
        let text = String::from_utf8_lossy(&line).into_owned();
        look();
        match line.first() {
            // It forks, or saves, and says that it is there.
            None if begun.elapsed() < HEADER => {}
            None => {
                return Err(RedisError::Server {
                    what: format!("the server at {address} has not begun its dump in {} s", HEADER.as_secs()),
                    hint: "look at its child process and its disk, and at its log".into(),
                });
            }
            Some(b'+') => {
                let mut words = text.split(' ');
                match (words.next(), words.next(), words.next().map(str::parse)) {
                    (Some("+FULLRESYNC"), Some(id), Some(Ok(offset))) if is_id(id) => {
                        announced = Announced { id: Some(id.to_owned()), offset: Some(offset) };
                        (watch.say)("waiting for the server's dump");
                    }
                    _ => return Err(failed(Trouble::of_strange_answer(asked, "is not known", &line))),
                }
            }
            Some(b'$') => {
                let payload = Payload::of_header(&line);
                let strange = || failed(Trouble::of_strange_answer(asked, "announces no dump", &line));
                return Ok((announced, payload.ok_or_else(strange)?, wire));
            }
            Some(b'-') => {
                let message = text.get(1..).unwrap_or_default().to_owned();
                if asked == "SYNC" || !message.to_ascii_lowercase().contains("unknown command") {
                    return Err(refused(&address, asked, message));
                }
                // Switched off, where the older command may not be.
                asked = "SYNC";
                send(&mut wire, &[address.command(asked)]).map_err(failed)?;
            }
            Some(_) => return Err(failed(Trouble::of_strange_answer(asked, "is not the protocol of Redis", &line))),
        }
    }
}

/// Servers take 40 hexadecimal digits.
fn is_id(id: &str) -> bool {
    id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn send(wire: &mut Wire, words: &[&str]) -> Result<(), Trouble> {
    let mut command = ::redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    wire.send(&command.get_packed_command())
}
