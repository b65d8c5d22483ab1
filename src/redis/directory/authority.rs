//! Which of the files on disk the server would go on from: the AOF, the dump, or, honestly, nobody knows.
//!
//! The files of an AOF are the dataset only while a server writes to them. A server with its AOF switched off leaves
//! them as they were, and one that switches it on leaves them so until its first rewrite ends. Without asking the server
//! there are traces of that, and there is /proc.

use crate::format::snapshot::Warning;
use crate::redis::processes::Sight;

/// Code of the warning that there are several AOFs, of which none is seen being written.
pub const SEVERAL_AOFS: &str = "several-aofs";
/// Code of the warning that a server at work in the directory does not write to the AOF.
pub const AOF_NOT_WRITTEN: &str = "aof-not-written";

/// What is known of an append-only file.
#[derive(Debug, Clone)]
pub(super) struct AofState {
    /// The manifest, or the single file.
    pub path: Vec<u8>,
    /// Whether it is a set of files.
    pub has_manifest: bool,
    /// What /proc shows.
    pub sight: Sight,
    /// When its last file was written: seconds and nanoseconds since the epoch.
    pub written: (i64, i64),
    /// When its server closed it, in seconds since the epoch: servers from Redis 8 on note the end of the last increment
    /// in the manifest, when they stop and when their AOF is switched off alike. Up to then there was no other dataset.
    pub closed: Option<i64>,
    /// The last second that its files tell of themselves, where their times say nothing: when its base was begun, or the last
    /// timestamp among its commands.
    pub told: Option<i64>,
    /// Traces of a server that does not write to it.
    pub traces: Vec<Trace>,
}

/// Something on disk that a server leaves which does not write to its AOF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// Commands go to a temporary increment until a rewrite has ended.
    TemporaryIncrement,
    /// Before 7.0: a rewrite began after the file was last written. The file is open for writing already.
    RewriteSince,
}

/// What is known of the dump.
#[derive(Debug, Clone)]
pub(super) struct DumpState {
    /// Where it is.
    pub path: Vec<u8>,
    /// When the save began, by the server's clock: seconds since the epoch.
    pub saved: Option<i64>,
    /// When the file was last written: seconds and nanoseconds since the epoch.
    pub written: (i64, i64),
    /// Whether the file came to be later than its save began, and was written then: a copy that did not keep its times, whose
    /// files say nothing of when a server wrote them.
    pub is_copied: bool,
}

/// What is to be thought of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `aof`, `rdb`, `unknown`, or `none` where there is neither.
    pub authoritative: &'static str,
    /// Whether a server writes to the AOF: `yes`, `no`, `unknown`; `None` without an AOF.
    pub live: Option<&'static str>,
    /// Why it is unknown.
    pub warnings: Vec<Warning>,
}

/// CAPTURE-5: the AOF that counts: one that is being written, else one with a manifest, which servers look for first; among equals
/// the one written last.
pub(super) fn primary(aofs: &[AofState]) -> Option<usize> {
    let rank = |state: &AofState| (matches!(state.sight, Sight::Written(_)), state.has_manifest, state.written);
    (0..aofs.len()).max_by_key(|&place| aofs.get(place).map(rank))
}

/// CAPTURE-7: weighs the AOFs, of which `primary` counts, against the dump.
pub(super) fn judge(aofs: &[AofState], dump: Option<&DumpState>) -> Verdict {
    let Some(aof) = primary(aofs).and_then(|place| aofs.get(place)) else {
        let authoritative = if dump.is_some() { "rdb" } else { "none" };
        return Verdict { authoritative, live: None, warnings: Vec::new() };
    };
    let reasons = reasons(aof, dump);
    let live = match aof.sight {
        Sight::Written(_) if reasons.is_empty() => "yes",
        Sight::NotWritten(_) => "no",
        Sight::Written(_) | Sight::Nothing => "unknown",
    };
    let mut warnings = Vec::new();
    if let Sight::NotWritten(process) = aof.sight {
        let message = format!(
            "process {process} is a server at work in this directory, but does not hold the AOF open for writing: it is \
             loading, or its AOF is off and the AOF here is of an earlier time; {}",
            times(aof, dump)
        );
        warnings.push(warning(AOF_NOT_WRITTEN, &aof.path, message));
    } else if !reasons.is_empty() {
        let message = format!("the AOF may be of an earlier time: {}; {}", reasons.join("; "), times(aof, dump));
        warnings.push(warning("aof-maybe-stale", &aof.path, message));
    }
    if aofs.len() > 1 && live != "yes" {
        let names: Vec<_> = aofs.iter().map(|aof| String::from_utf8_lossy(&aof.path)).collect();
        let message = format!("several AOFs, and none is seen being written: {}", names.join(", "));
        warnings.push(warning(SEVERAL_AOFS, &aof.path, message));
    }
    let authoritative = if warnings.is_empty() { "aof" } else { "unknown" };
    Verdict { authoritative, live: Some(live), warnings }
}

/// Why the AOF may not be what the server goes on from. One that is seen being written is, but for the case in which
/// that proves nothing.
fn reasons(aof: &AofState, dump: Option<&DumpState>) -> Vec<String> {
    let is_written = matches!(aof.sight, Sight::Written(_));
    let traces = aof.traces.iter().filter(|trace| !is_written || **trace == Trace::RewriteSince);
    let mut reasons: Vec<String> = traces.map(|trace| trace.reason().to_owned()).collect();
    if let Some((dump, saved)) = dump.filter(|_| !is_written).and_then(|dump| Some((dump, dump.saved?))) {
        let after = saved_after(aof, dump, saved)
            .map(|what| format!("{} was saved {what}", String::from_utf8_lossy(&dump.path)));
        reasons.extend(after);
    }
    reasons
}

/// Whether a dump was saved after an AOF was left, or may have been.
fn saved_after(aof: &AofState, dump: &DumpState, saved: i64) -> Option<&'static str> {
    let is_later = |until: i64| saved > until;
    match aof.closed {
        _ if dump.is_copied => aof
            .told
            .is_none_or(is_later)
            .then_some("after all that the AOF tells of itself, and the files' own times are those of a copy"),
        Some(closed) => is_later(closed).then_some("after it was closed"),
        None if is_later(aof.written.0) => Some("after it was last written"),
        None => (saved == aof.written.0 && dump.written > aof.written)
            .then_some("in the second in which it was last written, and may be the later one"),
    }
}

impl Trace {
    fn reason(self) -> &'static str {
        match self {
            Self::TemporaryIncrement => {
                "there is a temporary increment, which a server writes to while it turns its AOF on"
            }
            Self::RewriteSince => "a rewrite began after it was last written",
        }
    }
}

/// Both times, for the one who has to choose.
fn times(aof: &AofState, dump: Option<&DumpState>) -> String {
    let mut written = format!("AOF last written {}", time(aof.written.0));
    if let Some(closed) = aof.closed {
        written += &format!(" and closed {}", time(closed));
    }
    match dump {
        None => format!("{written}, no dump"),
        Some(DumpState { path, saved: Some(saved), .. }) => {
            format!("{written}, {} saved {}", String::from_utf8_lossy(path), time(*saved))
        }
        Some(DumpState { path, saved: None, .. }) => {
            format!("{written}, {} saved at an unknown time", String::from_utf8_lossy(path))
        }
    }
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}

/// A warning about a path.
pub(super) fn warning(code: &str, path: &[u8], message: String) -> Warning {
    Warning { code: code.to_owned(), path: path.to_vec().into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aof(sight: Sight, traces: &[Trace]) -> AofState {
        let (path, written) = (b"a.manifest".to_vec(), (1_700_000_000, 5));
        AofState { path, has_manifest: true, sight, written, closed: None, told: None, traces: traces.to_vec() }
    }

    fn dump(saved: i64) -> DumpState {
        DumpState { path: b"dump.rdb".to_vec(), saved: Some(saved), written: (saved, 9), is_copied: false }
    }

    fn told(verdict: &Verdict) -> (&str, Option<&str>, Vec<&str>) {
        let codes = verdict.warnings.iter().map(|warning| warning.code.as_str());
        (verdict.authoritative, verdict.live, codes.collect())
    }

    #[test]
    fn the_dump_counts_only_where_there_is_no_aof() {
        assert_eq!(told(&judge(&[], None)), ("none", None, vec![]));
        assert_eq!(told(&judge(&[], Some(&dump(1)))), ("rdb", None, vec![]));
        assert_eq!(told(&judge(&[aof(Sight::Nothing, &[])], None)), ("aof", Some("unknown"), vec![]));
    }

    #[test]
    fn an_aof_with_traces_of_having_been_left_may_be_stale() {
        for trace in [Trace::TemporaryIncrement, Trace::RewriteSince] {
            let verdict = judge(&[aof(Sight::Nothing, &[trace])], None);
            assert_eq!(told(&verdict), ("unknown", Some("unknown"), vec!["aof-maybe-stale"]), "{trace:?}");
        }
        let verdict = judge(&[aof(Sight::Nothing, &[])], Some(&dump(1_700_000_001)));
        assert_eq!(told(&verdict), ("unknown", Some("unknown"), vec!["aof-maybe-stale"]));
        let message = &verdict.warnings[0].message;
        assert!(
            message.contains("AOF last written 2023-11-14T22:13:20Z, dump.rdb saved 2023-11-14T22:13:21Z"),
            "{message}"
        );
        // A save in the very second of the last write is an earlier one if its file was finished earlier.
        let verdict = judge(&[aof(Sight::Nothing, &[])], Some(&dump(1_700_000_000)));
        assert_eq!(told(&verdict), ("unknown", Some("unknown"), vec!["aof-maybe-stale"]));
        let earlier = DumpState { written: (1_700_000_000, 4), ..dump(1_700_000_000) };
        let verdict = judge(&[aof(Sight::Nothing, &[])], Some(&earlier));
        assert_eq!(told(&verdict), ("aof", Some("unknown"), vec![]));
    }

    /// CAPTURE-7
    #[test]
    fn of_a_copy_that_kept_no_times_what_the_files_tell_themselves_decides() {
        let copied = |saved| DumpState { is_copied: true, ..dump(saved) };
        let stale = ("unknown", Some("unknown"), vec!["aof-maybe-stale"]);
        for (tells, saved, expected) in [
            (None, 1_600_000_000, &stale),
            (Some(1_600_000_000), 1_600_000_001, &stale),
            (Some(1_600_000_000), 1_600_000_000, &("aof", Some("unknown"), vec![])),
        ] {
            let aof = AofState { told: tells, closed: Some(1_700_000_000), ..aof(Sight::Nothing, &[]) };
            assert_eq!(&told(&judge(&[aof], Some(&copied(saved)))), expected, "{tells:?} {saved}");
        }
        let verdict = judge(&[aof(Sight::Written(7), &[])], Some(&copied(1_800_000_000)));
        assert_eq!(told(&verdict), ("aof", Some("yes"), vec![]), "a process that writes to it decides");
    }

    #[test]
    fn an_aof_was_complete_until_its_server_closed_it() {
        let closed = AofState { closed: Some(1_700_000_500), ..aof(Sight::Nothing, &[]) };
        let verdict = judge(std::slice::from_ref(&closed), Some(&dump(1_700_000_500)));
        assert_eq!(told(&verdict), ("aof", Some("unknown"), vec![]));
        let verdict = judge(&[closed], Some(&dump(1_700_000_501)));
        assert_eq!(told(&verdict), ("unknown", Some("unknown"), vec!["aof-maybe-stale"]));
    }

    #[test]
    fn a_process_that_writes_to_it_decides() {
        let verdict = judge(&[aof(Sight::Written(7), &[Trace::TemporaryIncrement])], Some(&dump(1_800_000_000)));
        assert_eq!(told(&verdict), ("aof", Some("yes"), vec![]));
        // Before 7.0 a server opens its file before the first rewrite, and writes to it only after that.
        let verdict = judge(&[aof(Sight::Written(7), &[Trace::RewriteSince])], None);
        assert_eq!(told(&verdict), ("unknown", Some("unknown"), vec!["aof-maybe-stale"]));
        let verdict = judge(&[aof(Sight::NotWritten(7), &[])], Some(&dump(1)));
        assert_eq!(told(&verdict), ("unknown", Some("no"), vec!["aof-not-written"]));
    }

    #[test]
    fn a_manifest_counts_more_than_the_time_of_a_single_file() {
        let single = AofState { has_manifest: false, written: (1_900_000_000, 0), ..aof(Sight::Nothing, &[]) };
        assert_eq!(primary(&[aof(Sight::Nothing, &[]), single.clone()]), Some(0));
        let written = AofState { sight: Sight::Written(3), ..single };
        assert_eq!(primary(&[aof(Sight::Nothing, &[]), written]), Some(1));
    }

    #[test]
    fn of_several_aofs_the_one_being_written_counts() {
        let older = AofState { path: b"b".to_vec(), written: (1, 0), ..aof(Sight::Nothing, &[]) };
        let verdict = judge(&[older.clone(), aof(Sight::Nothing, &[])], None);
        assert_eq!(told(&verdict), ("unknown", Some("unknown"), vec!["several-aofs"]));
        assert_eq!(verdict.warnings[0].path.as_slice(), b"a.manifest");
        let live = AofState { sight: Sight::Written(1), ..older };
        let aofs = [live, aof(Sight::Nothing, &[])];
        assert_eq!(primary(&aofs), Some(0));
        assert_eq!(told(&judge(&aofs, None)), ("aof", Some("yes"), vec![]));
    }
}
