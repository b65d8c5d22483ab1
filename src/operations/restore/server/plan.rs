//! The plan: by which way a dataset gets into a server. Pure, and printed in words before anything is done.
//!
//! | snapshot has | AOF of the target | way |
//! |---|---|---|
//! | dump | off | [`Way::Dump`] |
//! | dump | on, several files | [`Way::Base`]; [`Way::Classic`] where it is asked for |
//! | dump | on, one file | [`Way::Preamble`]; [`Way::Classic`] where it is asked for |
//! | AOF | on, several files | [`Way::Parts`], of one file [`Way::SingleAsBase`] |
//! | AOF | on, one file | [`Way::Joined`], of one file [`Way::Preamble`] |
//! | AOF | off | [`Way::Scratch`] |

use std::ffi::OsString;
use std::fs;

use super::source::{Form, Source};
use super::target::{Names, Target};
use super::{Consent, Method, Options, Ttl, preflight, quiet};
use crate::format::counts::count;
use crate::redis::RedisError;
use crate::redis::host::Start;

/// By which way a dataset gets into a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The dump takes its place.
    Dump,
    /// The dump is the base of a new AOF.
    Base,
    /// The file is the AOF: it may begin as a dump.
    Preamble,
    /// The files of the AOF, under the target's names.
    Parts,
    /// The single file is the base of a new AOF.
    SingleAsBase,
    /// Base and increments become one file.
    Joined,
    /// A scratch server loads the AOF and saves a dump.
    Scratch,
    /// A scratch server loads the dump, and writes an AOF when it is told to switch it on.
    Classic,
}

/// What will be done, and what is to be known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) way: Way,
    /// What of the target's directory is replaced or set aside: first what the server loads, then the rest.
    pub(super) entries: Vec<OsString>,
    /// The steps in words.
    pub steps: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// The way for one form of a dataset into one kind of server.
pub(super) fn way(form: Form, appendonly: bool, multi_part: bool, classic: bool) -> Way {
    match (form, appendonly, multi_part) {
        (Form::Dump, false, _) => Way::Dump,
        (Form::Dump, true, _) if classic => Way::Classic,
        (Form::Dump, true, true) => Way::Base,
        (Form::Dump | Form::Single, true, false) => Way::Preamble,
        (Form::Parts, true, true) => Way::Parts,
        (Form::Single, true, true) => Way::SingleAsBase,
        (Form::Parts, true, false) => Way::Joined,
        (Form::Parts | Form::Single, false, _) => Way::Scratch,
    }
}

impl Way {
    /// Bytes of disk for a dataset of so many.
    pub fn bytes(self, bytes: u64) -> u64 {
        match self {
            Way::Dump | Way::Base | Way::Preamble | Way::Parts | Way::SingleAsBase => bytes,
            Way::Joined | Way::Scratch | Way::Classic => bytes.saturating_mul(2),
        }
    }

    /// Whether a server that loads the result drops keys that expired since.
    fn drops_expired(self) -> bool {
        matches!(self, Way::Dump | Way::Scratch | Way::Classic)
    }
}

/// What a server of these names loads, and what else it may have written: the first is what counts.
pub(super) fn entries(names: &Names, appendonly: bool) -> Vec<OsString> {
    let aof = names.aof_directory.as_ref().unwrap_or(&names.aof);
    let first = if appendonly { aof } else { &names.dump };
    let all = [Some(&names.dump), names.aof_directory.as_ref(), Some(&names.aof)];
    let rest = all.into_iter().flatten().filter(|name| *name != first);
    [first].into_iter().chain(rest).cloned().collect()
}

impl Plan {
    /// Makes the plan, or says why there is none.
    pub(super) fn make(source: &Source, target: &Target, options: &Options) -> Result<Plan, RedisError> {
        let classic = options.method == Some(Method::Classic) || options.ttl == Some(Ttl::Drop);
        if options.method == Some(Method::Classic) && (source.form != Form::Dump || !target.appendonly) {
            return Err(RedisError::Server {
                what: "the classic method is for a dump and a server whose AOF is on".into(),
                hint: "leave out --method: the direct way is right here".into(),
            });
        }
        if target.appendonly && target.version < (4, 0, 0) {
            return Err(RedisError::Server {
                what: format!("{} cannot read an AOF that begins as a dump", target.program()),
                hint: "restore into Redis 4.0 or newer".into(),
            });
        }
        if matches!(source.form, Form::Dump | Form::Single) {
            source.only()?;
        }
        let way = way(source.form, target.appendonly, target.is_multi_part(), classic);
        let entries = entries(&target.names, target.appendonly);
        let saves = target.host.is_running() && !target.appendonly && !options.consents.contains(&Consent::Unsaved);
        let steps = steps(way, source, target, &entries, saves, options.starts);
        Ok(Plan { way, steps, notes: notes(way, source, target, options), entries })
    }
}

fn steps(way: Way, source: &Source, target: &Target, entries: &[OsString], saves: bool, starts: bool) -> Vec<String> {
    let is_running = target.host.is_running();
    let directory = target.directory.display();
    let main = entries.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let aof = target.names.aof.to_string_lossy();
    let mut steps = vec![format!(
        "write {} of the snapshot ({}) to a staging directory in {directory}{}, and compare them with what was stored",
        count(source.files.len() as u64, "file"),
        count(source.bytes(), "byte"),
        if is_running { ", while the server goes on" } else { "" }
    )];
    steps.extend(match way {
        Way::Dump | Way::Preamble => None,
        Way::Base => Some(format!("make the dump the base of a new AOF: {main}/{aof}.1.base.rdb, its manifest last")),
        Way::Parts => Some(format!("name the AOF's files as this server does: {main}/{aof}.…, their manifest last")),
        Way::SingleAsBase => {
            Some(format!("make the AOF the base of a new one: {main}/{aof}.1.base.aof, its manifest last"))
        }
        Way::Joined => Some(format!("join base and increments to one file, {main}, without annotations")),
        Way::Scratch => Some(format!(
            "let a scratch server ({}, no port, a private socket) load the AOF there and save it as {main}; it takes \
             as much memory as the dataset",
            target.program()
        )),
        Way::Classic => Some(format!(
            "let a scratch server ({}, no port, a private socket) load the dump there with its AOF off, switch its AOF \
             on, and wait until {main} is whole; it takes as much memory as the dataset",
            target.program()
        )),
    });
    let (user, group) = target.owner;
    steps.push(format!("give the files to {user}:{group} and bring them to the disk"));
    if saves {
        steps.push(quiet::step(target));
    }
    steps.extend(stop(target));
    steps.push(format!("put {main} in place by one rename; what stood there is kept in {directory}/.redkeep-aside-…"));
    let rest: Vec<_> = entries.iter().skip(1).map(|name| name.to_string_lossy()).collect();
    steps.push(format!("set aside too, where they are there: {}", rest.join(", ")));
    if !starts {
        return steps;
    }
    steps.extend(steps_of_start(target));
    steps
}

/// The steps of an undo, which has its files at hand.
pub(super) fn steps_of_undo(target: &Target, is_there: bool, options: &Options) -> Vec<String> {
    let saves = target.host.is_running() && !target.appendonly && !options.consents.contains(&Consent::Unsaved);
    let mut steps: Vec<String> = saves.then(|| quiet::step(target)).into_iter().chain(stop(target)).collect();
    steps.extend(change_and_start(&target.host.start, is_there, options));
    steps
}

/// Those that follow a stop. `is_there`: an earlier undo did the first of them.
pub(super) fn change_and_start(start: &Start, is_there: bool, options: &Options) -> Vec<String> {
    let change = "let the files change places with those that were set aside";
    let mut steps: Vec<String> = (!is_there).then(|| change.into()).into_iter().collect();
    if options.starts {
        steps.extend([self::start(start), "ask it: keys by database".into()]);
    }
    steps
}

fn stop(target: &Target) -> Option<String> {
    let (stop, process) = (&target.host.stop, target.host.process.id);
    let is_running = target.host.is_running();
    is_running.then(|| format!("stop the server: {stop}; wait until process {process} is gone"))
}

fn start(start: &Start) -> String {
    format!("start the server: {start}; wait until it has loaded")
}

/// The steps of a restore that has its files in place already.
pub(super) fn steps_of_start(target: &Target) -> [String; 2] {
    [start(&target.host.start), ask(target)]
}

fn ask(target: &Target) -> String {
    let aof = if target.appendonly { "on" } else { "off" };
    format!("ask it: keys by database as in the snapshot, AOF {aof} as before, last writes without error")
}

fn notes(way: Way, source: &Source, target: &Target, options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    match (way.drops_expired(), options.ttl) {
        (true, Some(Ttl::Keep)) => notes
            .push("--ttl keep: there is no way here that keeps keys which expired since: loading drops them".into()),
        (true, _) => notes.push("keys that expired since the snapshot are dropped while loading".into()),
        (false, Some(Ttl::Drop)) => {
            notes.push("--ttl drop: there is no way here that drops them: keys that expired since go one by one".into())
        }
        (false, _) => {
            notes.push("keys that expired since the snapshot are loaded, and go one by one afterwards".into())
        }
    }
    if let Some(replicas @ 1..) = target.info.number("connected_slaves") {
        notes.push(format!("{replicas} replica(s) will follow the server to the restored data"));
    }
    notes.extend(preflight::memory::note(source, target));
    if way == Way::Joined || (way == Way::Scratch && !target.is_multi_part() && source.form == Form::Parts) {
        notes.push(
            "a server before 7.0 passes over what it does not understand in a newer one's AOF, such as counters of stream \
             groups: compare what matters afterwards"
                .into(),
        );
    }
    notes.extend(target.host.lost());
    notes.extend(target.notes.iter().cloned());
    if !options.starts {
        notes.push("the server is not started: nothing is proved until it says what it holds".into());
    }
    if source.left > 0 {
        notes.push(format!(
            "what else the snapshot holds is not touched ({}); restore --target brings it back",
            count(source.left as u64, "file")
        ));
    }
    notes
}

/// That what the server loads is found through a link, which is set aside.
pub(super) fn note_of_link(plan: &Plan, target: &Target) -> Option<String> {
    let name = plan.entries.first()?;
    let place = target.held.reached().join(name);
    let shown = name.to_string_lossy();
    if let Ok(there) = fs::read_link(&place) {
        let there = there.display();
        return Some(format!("{shown} is a link to {there}: the link is set aside, and {shown} stands in its place"));
    }
    // Of the files of an AOF as well.
    let entries = fs::read_dir(&place).ok()?.flatten();
    let mut links: Vec<_> =
        entries.filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?))).collect();
    links.sort();
    let (part, there) = links.first()?;
    let more = if links.len() > 1 { format!(" (and {} more)", links.len() - 1) } else { String::new() };
    Some(format!(
        "{shown}/{} is a link to {}{more}: it is set aside with {shown}, and the new files stand in {shown} itself",
        part.to_string_lossy(),
        there.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table_has_its_way() {
        let direct = |form, appendonly, multi_part| way(form, appendonly, multi_part, false);
        assert_eq!(direct(Form::Dump, false, true), Way::Dump);
        assert_eq!(direct(Form::Dump, false, false), Way::Dump);
        assert_eq!(direct(Form::Dump, true, true), Way::Base);
        assert_eq!(direct(Form::Dump, true, false), Way::Preamble);
        assert_eq!(direct(Form::Parts, true, true), Way::Parts);
        assert_eq!(direct(Form::Parts, true, false), Way::Joined);
        assert_eq!(direct(Form::Single, true, true), Way::SingleAsBase);
        assert_eq!(direct(Form::Single, true, false), Way::Preamble);
        for form in [Form::Parts, Form::Single] {
            assert_eq!((direct(form, false, true), direct(form, false, false)), (Way::Scratch, Way::Scratch));
        }
        assert_eq!(
            (way(Form::Dump, true, true, true), way(Form::Dump, true, false, true)),
            (Way::Classic, Way::Classic)
        );
        assert_eq!(way(Form::Dump, false, true, true), Way::Dump);
    }

    #[test]
    fn what_the_server_loads_comes_first_and_every_name_comes_once() {
        let names = |directory: Option<&str>| Names {
            dump: "d.rdb".into(),
            aof: "a.aof".into(),
            aof_directory: directory.map(OsString::from),
        };
        assert_eq!(entries(&names(Some("dir")), true), ["dir", "d.rdb", "a.aof"]);
        assert_eq!(entries(&names(Some("dir")), false), ["d.rdb", "dir", "a.aof"]);
        assert_eq!(entries(&names(None), true), ["a.aof", "d.rdb"]);
        assert_eq!(entries(&names(None), false), ["d.rdb", "a.aof"]);
    }
}
