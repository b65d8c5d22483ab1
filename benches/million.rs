//! A repository of one million chunks: what opening it, building its catalog, planning a prune and a backup of
//! unchanged data cost. Prints wall time, processor time and peak memory of each, and asserts nothing about them.
//!
//! ```text
//! cargo bench --bench million                  a million chunks, below the system's directory for temporary files
//! cargo bench --bench million -- 100000        fewer
//! cargo bench --bench million -- 1000000 DIR   keeps the repository in DIR, and uses it where it is there already
//! ```
//!
//! Each step runs as a process of its own, so that each peak is its own. The chunks are of 4 KiB, in 2,000 packs named
//! by index objects as a prune leaves them; ten snapshots, each with a file more than the one before. The one key slot
//! is as cheap as Argon2 gets: by default it takes 64 MiB, which are given back before anything else begins.

#![allow(clippy::print_stdout, reason = "its results")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use redkeep::format::ObjectHash;
use redkeep::format::keys::{Argon2Cost, SecretKind};
use redkeep::format::recipe::{Part, Stream};
use redkeep::format::snapshot::{File, FileKind, Role, Snapshot};
use redkeep::format::summary::Summary;
use redkeep::repository::{
    Ambient, Credential, Intake, IntakeOptions, Places, Repository, RepositoryError, Session, StreamWriter,
    SweepOptions,
};
use redkeep::store::{Intent, Location, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CHUNKS: u64 = 1_000_000;
const CHUNK: usize = 4096;
/// Chunks of a pack: as many as 16 MiB hold of the usual size at half of it.
const PACK_CHUNKS: u64 = 500;
/// Entries of a piece of a list, as they are on average.
const LIST_ENTRIES: usize = 120;
const SNAPSHOTS: u64 = 10;
const DATASET: &str = "million";
const STEPS: [&str; 4] = ["open", "rebuild", "prune", "unchanged"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["step", step, chunks, directory] => run_step(step, chunks.parse()?, Path::new(directory)),
        [] => run_in_temporary(CHUNKS),
        [chunks] => run_in_temporary(chunks.parse()?),
        [chunks, directory] => run(chunks.parse()?, Path::new(directory)),
        _ => Err("usage: million [CHUNKS [DIR]]".into()),
    }
}

fn run_in_temporary(chunks: u64) -> Result<()> {
    let directory = tempfile::tempdir()?;
    run(chunks, directory.path())
}

fn run(chunks: u64, directory: &Path) -> Result<()> {
    println!("{chunks} chunks of {CHUNK} bytes in {SNAPSHOTS} snapshots");
    println!("{:<10} {:>9} {:>9} {:>9}", "", "wall s", "cpu s", "peak MiB");
    let is_there = directory.join("repository/config").exists();
    for step in std::iter::once("make").filter(|_| !is_there).chain(STEPS) {
        let mut child = Command::new(std::env::current_exe()?);
        let status = child.args(["step", step, &chunks.to_string()]).arg(directory).status()?;
        if !status.success() {
            return Err(format!("{step}: {status}").into());
        }
    }
    Ok(())
}

fn run_step(step: &str, chunks: u64, directory: &Path) -> Result<()> {
    let begin = Instant::now();
    let said = match step {
        "make" => make(directory, chunks)?,
        "open" => {
            let repository = open(directory, true)?;
            format!("{} alarms", repository.refresh()?.len())
        }
        "rebuild" => {
            let repository = open(directory, false)?;
            let begin = Instant::now();
            let alarms = repository.refresh()?.len();
            let (seconds, totals) = (begin.elapsed().as_secs_f64(), repository.totals()?);
            format!("{:.0} chunks a second, {alarms} alarms", totals.chunks as f64 / seconds)
        }
        "prune" => {
            let options = SweepOptions { dry_run: true, grace: std::time::Duration::ZERO, ..SweepOptions::default() };
            let report = open(directory, true)?.sweep(&options, &|| false, &|_| {})?;
            format!("{} chunks needed, {} packs", report.needed_chunks, report.packs)
        }
        "unchanged" => unchanged(directory, chunks)?,
        other => return Err(format!("no step {other}").into()),
    };
    let (cpu, peak) = (processor_seconds()?, peak_mib()?);
    println!("{step:<10} {:>9.2} {cpu:>9.2} {peak:>9}   {said}", begin.elapsed().as_secs_f64());
    Ok(())
}

fn make(directory: &Path, chunks: u64) -> Result<String> {
    let cost = Argon2Cost { memory: 8, passes: 1, lanes: 1 };
    let (ambient, places) = (Ambient::system(), places(directory));
    let repository = Repository::create(store(directory)?, credential(), "million", cost, ambient, places)?;
    let mut files = Vec::new();
    for number in 0..SNAPSHOTS {
        let session = repository.begin(DATASET)?;
        files.push(store_file(&session, number, chunks)?);
        commit(session, files.clone())?;
    }
    // A prune that stores nothing again: it merges the index objects, of which each pack has its own by now.
    let options = SweepOptions { max_rewrite: Some(0), ..SweepOptions::default() };
    repository.sweep(&options, &|| false, &|_| {})?;
    // The catalog as later commands find it: the sweep worked from one of its own.
    let repository = open(directory, true)?;
    repository.refresh()?;
    let totals = repository.totals()?;
    Ok(format!("{} chunks with those of lists, {} packs", totals.chunks, totals.packs))
}

/// The same again as a backup that reads everything sees it: every chunk is named, looked up, and there.
fn unchanged(directory: &Path, chunks: u64) -> Result<String> {
    let repository = open(directory, true)?;
    let session = repository.begin(DATASET)?;
    let files = (0..SNAPSHOTS).map(|number| store_file(&session, number, chunks)).collect::<Result<Vec<_>>>()?;
    commit(session, files)?;
    Ok(String::new())
}

/// A file of its share of the chunks; every so many are stored, as a pack where they are new.
fn store_file(session: &Session<'_>, number: u64, chunks: u64) -> Result<File> {
    let (first, end) = (number * chunks / SNAPSHOTS, (number + 1) * chunks / SNAPSHOTS);
    let mut list = Vec::new();
    for begin in (first..end).step_by(PACK_CHUNKS as usize) {
        let contents = (begin..end.min(begin + PACK_CHUNKS)).map(content);
        list.extend(store_chunks(session, &contents.collect::<Vec<_>>())?);
    }
    // Lists of lists, until the rest fits into the recipe.
    let mut levels = 0;
    while list.len() > LIST_ENTRIES {
        let pieces: Vec<Vec<u8>> = list.chunks(LIST_ENTRIES).map(<[Vec<u8>]>::concat).collect();
        list = store_chunks(session, &pieces)?;
        levels += 1;
    }
    let length = (end - first) * CHUNK as u64;
    Ok(file(number, Stream { length, levels, top: list.concat(), labelled: None }))
}

/// Stores chunks and answers with their entries: a stream that is shorter than the smallest chunk is one chunk, and its
/// list, which is in line, one entry.
fn store_chunks(session: &Session<'_>, chunks: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let put = |intake: &mut Intake<'_>, bytes: &Vec<u8>| {
        let mut stream = StreamWriter::new(session.repository());
        stream.write(intake, bytes)?;
        Ok::<_, RepositoryError>(stream.finish(intake)?.top)
    };
    let all = |intake: &mut Intake<'_>| chunks.iter().map(|bytes| put(intake, bytes)).collect();
    Ok(session.store(IntakeOptions::default(), &|| false, all)?.0)
}

fn content(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK];
    bytes.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    bytes
}

fn file(number: u64, content: Stream) -> File {
    File {
        path: format!("file-{number}").into_bytes().into(),
        kind: FileKind::File,
        mode: 0o600,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: 0,
        mtime_nanos: 0,
        size: content.length,
        // Nobody restores it.
        hash: Some(ObjectHash([0; 32])),
        recipe: Some(vec![Part::opaque(content)]),
        target: None,
        role: Role::Other,
        suspect: None,
        form: None,
    }
}

fn commit(session: Session<'_>, files: Vec<File>) -> Result<()> {
    let ambient = session.repository().ambient();
    let snapshot = Snapshot {
        dataset: DATASET.into(),
        sequence: session.sequence(),
        previous: session.previous(),
        begin: session.begin(),
        end: ambient.now(),
        moment: None,
        host: ambient.host.clone(),
        directory: b"/million".to_vec(),
        facts: Default::default(),
        files,
        marks: Vec::new(),
        warnings: Vec::new(),
        tags: Vec::new(),
        made_by: "the bench".into(),
        summary: Summary::default(),
        place: None,
    };
    session.commit(&snapshot)?;
    Ok(())
}

fn store(directory: &Path) -> Result<Arc<dyn Store>> {
    Ok(redkeep::store::open(&Location::Local(directory.join("repository")), Intent::Create)?)
}

fn credential() -> Credential {
    Credential { kind: SecretKind::Password, secret: b"million".to_vec().into() }
}

fn places(directory: &Path) -> Places {
    let at = |name| -> Option<PathBuf> { Some(directory.join(name)) };
    Places { cache: at("cache"), state: at("state"), scratch: None }
}

/// Opens it on the host that made it, or on one that remembers nothing.
fn open(directory: &Path, warm: bool) -> Result<Repository> {
    let places = if warm { places(directory) } else { Places::default() };
    Ok(Repository::open(store(directory)?, credential(), Ambient::system(), places, None)?)
}

fn processor_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name in brackets: utime and stime are the 12th and 13th, in hundredths of a second.
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
