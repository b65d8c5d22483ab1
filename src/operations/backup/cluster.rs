//! A backup of every shard of a cluster in one run: a set of snapshots. Rules: format-spec/10-snapshot.md, "Sets".
//!
//! All shards are captured at once, so that their moments are near each other, and stored one after the other. What a server
//! sends meanwhile waits in scratch files.
//!
//! Memory: of each shard that is sent what a capture keeps (32 MiB), and once what a backup takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Options, Report, own, store};
use crate::format::Id16;
use crate::format::counts::count;
use crate::format::set::OfSet;
use crate::format::snapshot::Warning;
use crate::operations::attempts::attempt;
use crate::operations::source::{Captured, LiveSource, Source};
use crate::operations::{Observer, OperationError};
use crate::redis::server::{Cluster, Server, Shard};
use crate::redis::{CaptureOptions, RedisError};
use crate::repository::{Repository, RepositoryError};

/// What became of the shards of a cluster.
#[derive(Debug)]
pub struct ClusterReport {
    /// The set's id.
    pub set: Id16,
    /// What the sets of this cluster are called.
    pub name: String,
    /// The shards, by their first slots.
    pub shards: Vec<ShardReport>,
    /// What a person should know of the set.
    pub warnings: Vec<Warning>,
}

/// What became of one shard.
#[derive(Debug)]
pub struct ShardReport {
    /// Its slots.
    pub slots: String,
    /// Where its master is.
    pub server: String,
    /// Its snapshot, or why there is none.
    pub result: Result<Report, OperationError>,
}

impl ClusterReport {
    /// The shards of which there is a snapshot.
    pub fn captured(&self) -> impl Iterator<Item = &Report> {
        self.shards.iter().filter_map(|shard| shard.result.as_ref().ok())
    }

    /// Milliseconds between the first and the last moment, each by its server's clock.
    pub fn skew(&self) -> Option<u64> {
        let moments = || self.captured().filter_map(|report| report.snapshot.moment.map(|moment| moment.0));
        Some(moments().max()?.saturating_sub(moments().min()?))
    }
}

/// Takes a snapshot of each shard of the cluster to which the server belongs that `seed` names. A shard that cannot be
/// captured leaves the set incomplete; where none can, that is an error.
pub fn backup_cluster(
    repository: &Repository,
    seed: &LiveSource,
    options: &Options,
    observer: &dyn Observer,
) -> Result<ClusterReport, OperationError> {
    let cluster = Cluster::of(&mut Server::connect(&seed.address)?)?;
    let name = options.dataset.clone().unwrap_or_else(|| seed.dataset(&repository.ambient().host));
    let mut wanted = CaptureOptions { own: own(repository), ..options.capture.clone() };
    if !options.read_all {
        wanted.know(repository.seen_files().unwrap_or_default());
    }
    observer.begin("capturing", None);
    let captured = capture_all(repository, seed, &cluster, &wanted, observer);
    let warnings = told_of(&cluster, seed);
    let set = repository.ambient().id();
    let of_shard = |shard| OfSet { id: set, name: name.clone(), slots: cluster.slots(), shard };
    let mut shards = Vec::with_capacity(cluster.shards.len());
    for ((shard, number), captured) in cluster.shards.iter().zip(1..).zip(captured) {
        let dataset = format!("{name}/{}", shard.first);
        let result = captured.and_then(|mut captured| {
            captured.capture.facts.extend(of_shard(number).facts());
            captured.capture.warnings.extend(warnings.iter().cloned());
            store_shard(repository, captured, &dataset, options, observer)
        });
        let server = seed.address.at(&shard.host, shard.port).place();
        shards.push(ShardReport { slots: shard.slots.clone(), server, result });
    }
    observer.leaves("");
    let report = ClusterReport { set, name, shards, warnings };
    refuse_none(report)
}

/// A set without a snapshot is none, and one that was interrupted is not told as a success.
fn refuse_none(mut report: ClusterReport) -> Result<ClusterReport, OperationError> {
    let is_interrupted = |error: &OperationError| {
        matches!(
            error,
            OperationError::Redis(RedisError::Interrupted) | OperationError::Repository(RepositoryError::Interrupted)
        )
    };
    let is_over = |shard: &ShardReport| shard.result.as_ref().is_err_and(is_interrupted);
    let over = report.shards.iter().position(is_over);
    let over = over.or((report.captured().next().is_none() && !report.shards.is_empty()).then_some(0));
    match over.map(|place| report.shards.swap_remove(place).result) {
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Ok(report),
    }
}

fn store_shard(
    repository: &Repository,
    captured: Captured,
    dataset: &str,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let report = attempt(repository, || store(repository, &captured, dataset, options, None, observer));
    let left_behind = captured.tidy();
    if let (Err(_), Some(left_behind)) = (&report, &left_behind) {
        observer.remark(left_behind);
    }
    report.map(|report| Report { left_behind, left_out: captured.capture.left, ..report })
}

/// Captures every shard at the same time.
fn capture_all(
    repository: &Repository,
    seed: &LiveSource,
    cluster: &Cluster,
    wanted: &CaptureOptions,
    observer: &dyn Observer,
) -> Vec<Result<Captured, OperationError>> {
    let left = Mutex::new(BTreeMap::new());
    let capture = |shard: &Shard| {
        let address = seed.address.at(&shard.host, shard.port);
        let of_shard = OfShard { observer, place: address.place(), left: &left };
        let source = Source::Server(Box::new(LiveSource { address, ..seed.clone() }));
        source.capture(repository, wanted, &of_shard)
    };
    thread::scope(|scope| {
        let captures: Vec<_> = cluster.shards.iter().map(|shard| scope.spawn(move || capture(shard))).collect();
        let join = |capture: thread::ScopedJoinHandle<'_, _>| {
            capture.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        captures.into_iter().map(join).collect()
    })
}

/// SET-6: slots that nobody served, and such that went elsewhere while the set was captured.
fn told_of(cluster: &Cluster, seed: &LiveSource) -> Vec<Warning> {
    let warning = |code: &str, message: String| Warning { code: code.into(), path: Vec::new().into(), message };
    let mut warnings = Vec::new();
    if cluster.unserved > 0 {
        let slots = count(cluster.unserved, "slot");
        warnings.push(warning(
            "cluster-unserved",
            format!("no node of the cluster serves {slots}: what is in them is in no snapshot of the set"),
        ));
    }
    let moved = match Server::connect(&seed.address).and_then(|mut server| Cluster::of(&mut server)) {
        Ok(now) if now.slots() != cluster.slots() => Some("slots went from one shard to another".to_owned()),
        Ok(now) if cluster.moving.max(now.moving) > 0 => {
            Some(format!("{} on the way from one shard to another", count(cluster.moving.max(now.moving), "slot")))
        }
        Ok(_) => None,
        Err(error) => Some(format!("whether slots went from one shard to another is not known ({error})")),
    };
    warnings.extend(moved.map(|how| {
        let keys = "keys of these may be in two snapshots of the set, or in none: take another when that is over";
        warning("cluster-moved", format!("while the cluster was captured, {how}: {keys}"))
    }));
    warnings
}

/// Tells of several captures at once, each by its place.
struct OfShard<'a> {
    observer: &'a dyn Observer,
    place: String,
    left: &'a Mutex<BTreeMap<String, String>>,
}

impl Observer for OfShard<'_> {
    fn begin(&self, _: &str, _: Option<u64>) {}

    fn say(&self, how: &str) {
        self.observer.say(&format!("{}: {how}", self.place));
    }

    fn remark(&self, what: &str) {
        self.observer.remark(&format!("{}: {what}", self.place));
    }

    fn leaves(&self, what: &str) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match what.is_empty() {
            true => left.remove(&self.place),
            false => left.insert(self.place.clone(), what.to_owned()),
        };
        self.observer.leaves(&left.values().map(String::as_str).collect::<Vec<_>>().join("; "));
    }

    fn advance(&self, bytes: u64) {
        self.observer.advance(bytes);
    }

    fn interrupted(&self) -> bool {
        self.observer.interrupted()
    }
}
