//! The two places: which repository they hold, and what the second one gets and loses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::objects::{Listed, Listing, fault, limit, object_name, tells_itself};
use super::transfer::each;
use super::{Options, Sum};
use crate::format::Id16;
use crate::format::limits::SMALL_MAX;
use crate::format::object::Name;
use crate::format::sealing::Header;
use crate::operations::{Observer, OperationError};
use crate::repository::{Fault, RepositoryError};
use crate::store::{Store, StoreError};

/// The repository that a place holds, and its `config`.
pub(super) fn identity(store: &dyn Store) -> Result<(Id16, Vec<u8>), OperationError> {
    let config = match store.get(&object_name(&Name::Config), SMALL_MAX) {
        Err(StoreError::NotFound { .. }) => {
            return Err(RepositoryError::NoRepository { location: store.location() }.into());
        }
        other => other.map_err(RepositoryError::from)?,
    };
    let malformed = |source: Fault| RepositoryError::Damaged { object: Name::Config.to_string(), source };
    Ok((repository_of(&config).map_err(malformed)?, config))
}

fn repository_of(config: &[u8]) -> Result<Id16, Fault> {
    let (header, _) = Header::decode(config)?;
    header.check(&Name::Config, None)?;
    Ok(header.repository)
}

/// Refuses a place that holds anything else than this repository, in whole or in part. Answers whether it holds none yet.
///
/// MIRROR-5: `config` is never rewritten, so that two of one repository are equal byte by byte.
pub(super) fn refuse_others(
    source: &dyn Store,
    target: &dyn Store,
    config: &[u8],
    there: &Listing,
) -> Result<bool, OperationError> {
    let refuse = |what: String| {
        let hint = "name an empty place, or a mirror of this repository".into();
        Err(OperationError::Refused { what, hint })
    };
    let location = target.location();
    if there.contains_key(&Name::Config) {
        let (other, bytes) = identity(target)?;
        return match bytes == config {
            true => Ok(false),
            false => refuse(format!("{location} holds repository {other}, and is no mirror of {}", source.location())),
        };
    }
    // What a mirror that was cut off at its begin leaves is here too.
    let stranger = there.values().find_map(|of| match source.stat(&object_name(&of.name)) {
        Ok(Some(stat)) if stat.size == of.size => None,
        Ok(_) => Some(Ok(of.name.to_string())),
        Err(error) => Some(Err(error)),
    });
    let entries = target.entries("").map_err(RepositoryError::from)?;
    let foreign =
        entries.iter().find(|entry| Name::parse(entry.name.as_str()).is_none()).map(|entry| entry.name.to_string());
    let stranger = stranger.transpose().map_err(RepositoryError::from)?.or(foreign);
    stranger.map_or(Ok(true), |name| refuse(format!("{location} is not empty: it holds {name}")))
}

/// Refuses a place in which somebody backs up or prunes: what is put there again may be on its way out.
pub(super) fn refuse_writers(there: &Listing, target: Option<&dyn Store>) -> Result<(), OperationError> {
    let is_writers = |name: &&Name| matches!(name, Name::Lease(_) | Name::Condemned(_) | Name::Burial(_));
    match (there.keys().find(is_writers), target) {
        (Some(name), Some(target)) => Err(OperationError::Refused {
            what: format!("{} is written to by backups or prunes, and no mirror: it holds {name}", target.location()),
            hint: "a mirror is only read: name another place; or copy snapshots into this one's repository with redkeep copy".into(),
        }),
        _ => Ok(()),
    }
}

/// The second place.
pub(super) struct Target<'a> {
    store: Option<&'a dyn Store>,
    there: Listing,
    repository: Id16,
    pub sent: Sum,
    pub known: Sum,
    pub damaged: Vec<(String, String)>,
    pub mended: Vec<String>,
    /// What was looked at already, and need not be again.
    seen: Listing,
}

/// In which order objects are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Many at a time.
    Any,
    /// One after the other, up to one that is gone.
    Strict,
}

/// What became of one object.
enum Came {
    Was,
    Sent,
    Mended,
    Gone,
    Damaged(String),
}

impl<'a> Target<'a> {
    /// A place with what is there.
    pub fn new(store: Option<&'a dyn Store>, there: Listing, repository: Id16) -> Target<'a> {
        let (sent, known, seen) = (Sum::default(), Sum::default(), Listing::new());
        Target { store, there, repository, sent, known, damaged: Vec::new(), mended: Vec::new(), seen }
    }

    pub fn has_snapshots(&self) -> bool {
        self.there.keys().any(|name| matches!(name, Name::Snapshot(_)))
    }

    pub fn holds(&self, name: &Name) -> bool {
        self.there.contains_key(name)
    }

    /// What is there of a folder.
    pub fn in_folder(&self, folder: &'static str) -> impl Iterator<Item = Listed> {
        self.there.values().filter(move |of| of.name.to_string().starts_with(folder)).copied()
    }

    /// Takes those of some objects that it has not. Answers with those that were gone from the source.
    pub fn take(
        &mut self,
        source: &dyn Store,
        objects: &[Listed],
        order: Order,
        options: &Options,
        observer: &dyn Observer,
    ) -> Result<Vec<Name>, OperationError> {
        let new: Vec<Listed> = objects.iter().filter(|of| !self.seen.contains_key(&of.name)).copied().collect();
        let missing = |of: &&Listed| self.there.get(&of.name).is_none_or(|there| there.size != of.size);
        let missing: u64 = new.iter().filter(missing).map(|of| of.size).sum();
        if missing > 0 {
            observer.begin("mirroring", Some(missing));
        }
        let (came, is_ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let one = |of: &Listed| {
            if is_ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            let became = self.take_one(source, of, options)?;
            if matches!(became, Came::Sent | Came::Mended) {
                observer.advance(of.size);
            }
            is_ended.fetch_or(order == Order::Strict && matches!(became, Came::Gone), Ordering::Relaxed);
            came.lock().unwrap_or_else(PoisonError::into_inner).push((*of, became));
            Ok(())
        };
        let threads = match (order, self.store) {
            (Order::Any, Some(store)) => store.connections().min(source.connections()),
            (Order::Strict, _) | (_, None) => 1,
        };
        let done = each(threads, &new, &one, observer);
        let mut gone = Vec::new();
        for (of, became) in came.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match became {
                Came::Was => self.known.add(of.size),
                Came::Sent => self.sent.add(of.size),
                Came::Mended => {
                    self.sent.add(of.size);
                    self.mended.push(of.name.to_string());
                }
                Came::Gone => {
                    gone.push(of.name);
                    continue;
                }
                Came::Damaged(why) => self.damaged.push((of.name.to_string(), why)),
            }
            self.seen.insert(of.name, of);
            if !options.is_dry {
                self.there.insert(of.name, of);
            }
        }
        done.map(|()| gone)
    }

    fn take_one(&self, source: &dyn Store, of: &Listed, options: &Options) -> Result<Came, OperationError> {
        let there = self.there.get(&of.name).map(|there| there.size == of.size);
        if there == Some(true) && !options.verifies {
            return Ok(Came::Was);
        }
        let Some(target) = self.store else { return Ok(Came::Sent) };
        if self.is_as_it_should_be(target, of, there)? {
            return Ok(Came::Was);
        }
        let is_rewritten = tells_itself(&of.name);
        let send = if there.is_some() && is_rewritten { Came::Mended } else { Came::Sent };
        if options.is_dry && (there.is_none() || is_rewritten) {
            return Ok(send);
        }
        let name = object_name(&of.name);
        let bytes = match source.get(&name, limit(&of.name)) {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(Came::Gone),
            Err(StoreError::TooLarge { limit, .. }) => {
                return Ok(Came::Damaged(format!("it has more than the {limit} bytes its kind may have")));
            }
            Err(error) => return Err(failed(error)),
        };
        if let Some(why) = fault(&of.name, &bytes, self.repository) {
            return Ok(Came::Damaged(why));
        }
        let bytes = Bytes::from(bytes);
        let put = match (there, is_rewritten) {
            // What was cut off or damaged there is told from what should be.
            (_, true) => target.put(&name, bytes.clone()),
            (None, false) => target.put_new(&name, bytes.clone()),
            (Some(_), false) => Err(StoreError::Exists { name: name.clone() }),
        };
        match put {
            Ok(()) => Ok(send),
            Err(StoreError::Exists { .. }) => match target.get(&name, limit(&of.name)).map_err(failed)? == bytes {
                true => Ok(Came::Was),
                false => Ok(Came::Damaged(format!("{} has other bytes under this name", target.location()))),
            },
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether an object is there, although no listing says so, or is whole, although it is looked at more closely. `there`:
    /// whether it is listed, and as long as it should be.
    fn is_as_it_should_be(&self, target: &dyn Store, of: &Listed, there: Option<bool>) -> Result<bool, OperationError> {
        let name = object_name(&of.name);
        match there {
            Some(true) if tells_itself(&of.name) => {
                let found = target.get(&name, limit(&of.name)).map_err(failed)?;
                Ok(fault(&of.name, &found, self.repository).is_none())
            }
            // A listing that lags does not show what was sent a while ago.
            None if !target.promises().timing.lag.is_zero() => {
                let stat = target.stat(&name).map_err(failed)?;
                Ok(stat.is_some_and(|stat| stat.size == of.size))
            }
            Some(_) | None => Ok(false),
        }
    }

    /// Deletes an object, unless the source has it all the same.
    pub fn delete(&self, source: &dyn Store, of: &Listed, is_dry: bool) -> Result<bool, OperationError> {
        let name = object_name(&of.name);
        if source.stat(&name).map_err(RepositoryError::from)?.is_some() {
            return Ok(false);
        }
        if let (Some(target), false) = (self.store, is_dry) {
            target.delete(&name).map_err(RepositoryError::from)?;
        }
        Ok(true)
    }
}

fn failed(error: StoreError) -> OperationError {
    RepositoryError::from(error).into()
}
