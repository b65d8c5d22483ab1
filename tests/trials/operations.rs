//! The operations that are tried: each opens the repository on a host, as a command does, and works on it.

use std::sync::{Arc, LazyLock};

use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::copy::{Became, Options, copy};
use redkeep::operations::list::{Selector, choose};
use redkeep::operations::{Silent, repair, restore, slots};
use redkeep::repository::IntakeOptions;
use redkeep::store::Store;

use crate::content::Version;
use crate::support::repository::{CHEAP, PASSWORD, password};
use crate::world::{Committed, Failure, Host, STRICT, World, temporary};

/// What a host does in a world, to a store that may fail or wait.
type Run = fn(&World, &Host, Arc<dyn Store>) -> Result<(), Failure>;

/// Something that is done to a repository.
#[derive(Clone, Copy)]
pub struct Operation {
    pub name: &'static str,
    pub run: Run,
    /// Folders in which objects come (`+`) or go (`-`) when nothing stops it, on every kind of store.
    pub does: &'static [&'static str],
    /// Whether it has to succeed however long it was held.
    pub is_backup: bool,
}

const fn backup(name: &'static str, does: &'static [&'static str], run: Run) -> Operation {
    Operation { name, run, does, is_backup: true }
}

const fn other(name: &'static str, does: &'static [&'static str], run: Run) -> Operation {
    Operation { name, run, does, is_backup: false }
}

/// What a backup of something new does.
const STORES: &[&str] = &["+index", "+leases", "+packs", "+snapshots"];

/// A dataset that was never backed up.
pub const FIRST_BACKUP: Operation =
    backup("first backup", STORES, |world, host, store| world.back_up(&host.open(store)?, "new", 7).map(drop));

/// A dataset that was backed up before, and changed since.
pub const BACKUP: Operation =
    backup("backup", STORES, |world, host, store| world.back_up(&host.open(store)?, "old", 5).map(drop));

/// A dataset that was backed up before, and did not change.
pub const UNCHANGED_BACKUP: Operation = backup("unchanged backup", &["+leases", "+snapshots"], |world, host, store| {
    world.back_up(&host.open(store)?, "old", 3).map(drop)
});

/// Snapshots of another repository, the first time.
pub const COPY: Operation = other("copy", STORES, |world, host, store| {
    let from = elsewhere();
    let (source, target) = (from.host("alpha").open_anew(from.store.clone())?, host.open(store)?);
    let intake = IntakeOptions { level: 1, workers: 1 };
    let report = copy(&source, &target, &Options { intake, ..Options::default() }, &Silent)?;
    for one in report.snapshots {
        let name = match one.became {
            Became::Copied(copied) => copied.name,
            Became::WasThere(name) => name,
            other => return Err(format!("{other:?}").into()),
        };
        let version = from.truth()[&one.info.name].version;
        world.truth().entry(name).or_insert(Committed { version, forgotten: None });
    }
    Ok(())
});

/// The other repository.
pub fn elsewhere() -> &'static World {
    static ELSEWHERE: LazyLock<World> = LazyLock::new(|| {
        let world = World::seeded(STRICT, 2);
        let repository = world.host("alpha").open(world.store.clone()).unwrap();
        for version in FAR {
            world.back_up(&repository, "far", version).unwrap();
        }
        world
    });
    &ELSEWHERE
}

/// What it holds.
pub const FAR: [Version; 3] = [11, 12, 13];

pub const RESTORE: Operation = other("restore", &[], |_, host, store| {
    let (repository, target) = (host.open(store)?, temporary());
    let chosen = choose(&repository, &Selector::Latest(0), Some("old"))?;
    let options = restore::Options::new(target.path().join("out"));
    restore::restore(&repository, &chosen, &options, &Silent)?;
    Ok(())
});

pub const CHECK: Operation =
    other("check", &["+notes"], |_, host, store| Ok(check(&host.open(store)?, CheckDepth::Data, &Silent).map(drop)?));

/// Another key slot with the same password, so that who opens the repository may meet either.
pub const ADD_KEY: Operation = other("key add", &["+keys"], |_, host, store| {
    Ok(slots::add(&host.open(store)?, &password(PASSWORD), "second", CHEAP).map(drop)?)
});

pub const CHANGE_KEY: Operation = other("key passwd", &["+keys", "-keys"], |_, host, store| {
    Ok(slots::passwd(&host.open(store)?, &password(PASSWORD), CHEAP).map(drop)?)
});

/// All slots there are open with the one password.
pub const ROTATE: Operation = other("key rotate", &["+epochs", "+keys", "-keys"], |_, host, store| {
    Ok(slots::rotate(&host.open(store)?, &[], false, CHEAP).map(drop)?)
});

pub const FORGET: Operation = other("forget", &["+forgotten"], |world, host, store| {
    let repository = host.open(store)?;
    let oldest = world.oldest(&repository, "old").ok_or("nothing is left to forget")?;
    world.forget(&repository, &oldest)
});

pub const PRUNE: Operation =
    other("prune", &["+index", "+packs", "-snapshots"], |world, host, store| world.prune(&host.open(store)?).map(drop));

pub const REPAIR: Operation = other("check --repair", &["+burials", "+leases", "+notes"], |_, host, store| {
    Ok(repair::repair(&host.open(store)?, CheckDepth::Data, &Silent).map(drop)?)
});

/// Forgets a snapshot, and has it back.
pub const UNDELETE: Operation = other("undelete", &["+forgotten", "+leases", "+snapshots"], |world, host, store| {
    let repository = host.open(store)?;
    let oldest = world.oldest(&repository, "old").ok_or("nothing is left to forget")?;
    world.forget(&repository, &oldest)?;
    // What was forgotten is looked for in a LIST.
    world.hands.pass(world.lag());
    world.undelete(&repository, &oldest)
});

/// Another snapshot takes the place of the tagged one.
pub const TAG: Operation = other("tag", &["+forgotten", "+leases", "+snapshots"], |world, host, store| {
    let repository = host.open(store)?;
    let oldest = world.oldest(&repository, "old").ok_or("nothing is left to tag")?;
    world.tag(&repository, &oldest, "kept".into())
});
