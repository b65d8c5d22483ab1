//! A capture through replication: the server sends its dump, as it does to a replica, and no file of it is reached.
//!
//! Nothing is listened to but the dump: no port is announced, nothing is acknowledged, and the link ends with it, so that the
//! server never counts redkeep among the replicas it relies on. Rules: format-spec/14-local.md, "What a capture through
//! replication holds".

mod handshake;
mod payload;
mod receiving;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handshake::{Announced, announce, ask_for_all};
use payload::Payload;
use receiving::{Sender, receive};

use super::capture::{LiveCapture, LiveOptions, warnings};
use super::connection::{Server, ServerTime};
use super::discovery::settings;
use super::info::Info;
use super::replica::{Master, prefer_online_replica};
use super::watch::{Pauses, Watch};
use super::{capture, facts, modules};
use crate::format::UnixMillis;
use crate::rdb::{self, Aux, HEADER_PEEK};
use crate::redis::RedisError;
use crate::redis::directory::{Capture, CaptureOptions, CapturedFile, LeftOut};
use crate::redis::sent::{Sent, SentEnd};
use crate::spill::{Scratch, Spool};

/// What a user needs beyond [`super::ACL_RULES`], as words of ACL SETUSER. With them he is sent everything, whatever keys he
/// may read.
pub const ACL_RULES_OF_SYNC: &str = "+psync +replconf";

/// Bytes of a dump that are kept in memory: as much of it is on the disk in any case.
const IN_MEMORY: usize = 32 << 20;
/// How often a dump is asked for that is not older than the request.
const ATTEMPTS: u32 = 3;
/// How long other work of the server is waited for.
const BUSY: Duration = Duration::from_secs(15 * 60);
/// Between two looks: growing from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// What a server calls its dump unless it says otherwise.
const NAME: &str = "dump.rdb";

/// Has a server send its dump. The files are those of a directory that holds the dump alone; it still comes while they are
/// read, and waits in `scratch` for whoever is slower.
pub fn replicate(
    server: Server,
    options: &LiveOptions,
    files: &CaptureOptions,
    scratch: &dyn Fn() -> Scratch,
    watch: &Watch<'_>,
) -> Result<LiveCapture, RedisError> {
    let (mut server, mut master) = match options.prefer_replica {
        true => prefer_online_replica(server, watch)?,
        false => (server, None),
    };
    let server = &mut server;
    let info = server.info()?;
    let told = settings(server)?.unwrap_or_default();
    let name = told.get("dbfilename").filter(|name| is_name(name)).map_or(NAME, String::as_str);
    if files.leaves_out(name.as_bytes())? {
        return Err(RedisError::Server {
            what: format!("{name} is the dataset, and a pattern leaves it out"),
            hint: "leave the pattern out".into(),
        });
    }
    let (clock, modules) = (facts::of_clock(server)?, modules::files(server, &info)?);
    let mut look = || master.iter_mut().for_each(Master::look);
    let Begun { asked, begun, then, end, announced, payload, aux, sent } = begin(server, scratch, watch, &mut look)?;
    let mut facts = facts::of_server(&then, &told);
    facts.extend(clock);
    facts.extend(modules);
    facts.extend(facts::of_renamed(server.address()));
    facts.extend(capture::bounds(&then, &end));
    facts.extend(of_sync(name, &announced, payload));
    let ctime = aux.ctime.unwrap_or(asked.seconds());
    let capture = Capture {
        directory: told.get("dir").map(PathBuf::from).unwrap_or_default(),
        files: vec![CapturedFile::sent(name.as_bytes(), i64::try_from(ctime).unwrap_or_default(), sent)],
        warnings: warnings(&then, &end),
        facts,
        left: LeftOut::default(),
    };
    let moment = match &master {
        Some(master) => master.moment_of(announced.offset).millis(),
        None => asked.millis().max(aux.ctime.unwrap_or(0).saturating_mul(1000).min(begun.millis())),
    };
    Ok(LiveCapture { capture, moment: Some(UnixMillis(moment)), marks: Vec::new(), made: None })
}

/// Whether this is a file's name, and no way to another place.
fn is_name(name: &str) -> bool {
    !name.contains('/') && !matches!(name, "" | "." | "..") && name.len() < 256
}

/// SYNC-5: what is told of a capture through replication, beside what the dump and the server say.
fn of_sync(name: &str, announced: &Announced, payload: Payload) -> BTreeMap<String, String> {
    let told = [
        ("capture.mode", Some("sync".to_owned())),
        ("authoritative", Some("rdb".into())),
        ("aof.layout", Some("none".into())),
        ("rdb.name", Some(name.into())),
        ("sync.repl-id", announced.id.clone()),
        ("sync.repl-offset", announced.offset.map(|offset| offset.to_string())),
        ("sync.payload", Some(payload.word().into())),
    ];
    told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// A dump that is on its way.
struct Begun {
    /// The server's time of the request, and once the dump had begun.
    asked: ServerTime,
    begun: ServerTime,
    /// What the server said right after that, and once the dump had begun.
    then: Info,
    end: Info,
    announced: Announced,
    payload: Payload,
    /// What the dump says of itself.
    aux: Aux,
    sent: Sent,
}

/// SYNC-2: asks for a dump until one begins that is not older than the request: a server that is making one for somebody else
/// may hand on that.
fn begin(
    server: &mut Server,
    scratch: &dyn Fn() -> Scratch,
    watch: &Watch<'_>,
    look: &mut dyn FnMut(),
) -> Result<Begun, RedisError> {
    for _ in 0..ATTEMPTS {
        let mut link = Server::connect(server.address())?;
        wait_idle(server, watch)?;
        let (asked, then) = server.time_and_info()?;
        look();
        announce(&mut link, &then)?;
        (watch.say)("waiting for the server to begin its dump");
        let (announced, payload, wire) = ask_for_all(link, watch, look)?;
        let (begun, end) = server.time_and_info()?;
        let ((writer, spool), told) = (Spool::new(scratch(), IN_MEMORY), Arc::new(SentEnd::default()));
        let sent = Sent::new(spool, payload.length(), Arc::clone(&told));
        receive(wire, payload, writer, told, Sender::new(server, &then))?;
        let aux = first_told(&sent, server)?;
        refuse_another(&announced, &aux, server)?;
        let announced = Announced {
            id: announced.id.or_else(|| aux.repl_id.clone()),
            offset: announced.offset.or_else(|| offset_of(&aux)),
        };
        if is_fresh(&announced, &then, &end) {
            return Ok(Begun { asked, begun, then, end, announced, payload, aux, sent });
        }
        (watch.say)("the server sent a dump that it had begun before: asking again");
    }
    Err(RedisError::Server {
        what: format!("of {ATTEMPTS} dumps that the server sent each was begun before it was asked for"),
        hint:
            "others copy from it all the time (redis-cli --rdb, replicas that begin anew): try again when that is over"
                .into(),
    })
}

/// Whether a dump holds all that the server had before it was asked. Its replication has another name since then where nobody
/// had copied it for an hour; a name that is neither the one before nor the one after is that of an earlier time.
fn is_fresh(announced: &Announced, then: &Info, end: &Info) -> bool {
    let is_of = |info: &Info| announced.id.is_none() || announced.id.as_deref() == info.get("master_replid");
    let before = then.number("master_repl_offset");
    match (is_of(then), is_of(end)) {
        (true, _) => announced.offset.zip(before).is_none_or(|(at, before)| at >= before),
        (false, is_of_end) => is_of_end,
    }
}

fn offset_of(aux: &Aux) -> Option<u64> {
    aux.repl_offset.and_then(|offset| u64::try_from(offset).ok())
}

/// SYNC-3: the dump is of the replication and the offset that were announced for it.
fn refuse_another(announced: &Announced, aux: &Aux, server: &Server) -> Result<(), RedisError> {
    let offset = offset_of(aux);
    let differs = |one: Option<String>, other: Option<String>| one.zip(other).filter(|(one, other)| one != other);
    let text = |offset: Option<u64>| offset.map(|offset| offset.to_string());
    let other =
        differs(announced.id.clone(), aux.repl_id.clone()).or_else(|| differs(text(announced.offset), text(offset)));
    match other {
        None => Ok(()),
        Some((said, sent)) => Err(RedisError::Server {
            what: format!("the server at {} announced a dump of {said} and sent one of {sent}", server.address()),
            hint: "is there a proxy between, or another server at this address by now? try again".into(),
        }),
    }
}

/// What a dump says of itself, once its first bytes are there. Refuses what is none.
fn first_told(sent: &Sent, server: &Server) -> Result<Aux, RedisError> {
    use std::io::Read as _;
    let mut first = Vec::with_capacity(HEADER_PEEK);
    let read = sent.reader().take(HEADER_PEEK as u64).read_to_end(&mut first);
    if let Err(error) = read {
        return Err(sent.failure().unwrap_or(RedisError::Sink(error)));
    }
    match rdb::looks_like_rdb(&first) {
        true => Ok(rdb::read_header(&first).map(|peek| peek.aux).unwrap_or_default()),
        false => Err(RedisError::Server {
            what: format!("what the server at {} sent does not begin like a dump", server.address()),
            hint: "is it Redis or Valkey itself that answers there, and not a proxy?".into(),
        }),
    }
}

/// Waits until the server forks for nobody else and is in no failover.
fn wait_idle(server: &mut Server, watch: &Watch<'_>) -> Result<(), RedisError> {
    let mut pauses = Pauses::new(POLL.0, POLL.1, BUSY);
    let begun = Instant::now();
    loop {
        let info = server.info()?;
        let why = match () {
            () if info.is_loading() => "it is loading its data",
            () if info.is_on("rdb_bgsave_in_progress") => "it saves, or sends a dump to somebody else",
            () if info.is_on("aof_rewrite_in_progress") => "it rewrites its AOF",
            () if info.get("master_failover_state").is_some_and(|state| state != "no-failover") => {
                "it is in a failover"
            }
            () => return Ok(()),
        };
        (watch.say)(&format!("waiting for the server: {why}"));
        if !pauses.pause(watch)? {
            let waited = begun.elapsed().as_secs();
            return Err(RedisError::Server {
                what: format!("the server at {} could not be asked for a dump for {waited} s: {why}", server.address()),
                hint: "try again when that is over".into(),
            });
        }
    }
}
