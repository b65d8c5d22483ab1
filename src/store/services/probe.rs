//! What a service promises, tried: its word proves nothing.
//!
//! A service that knows "only where none exists" refuses an old name. One that looks whether the name is free only when a
//! request begins lets several creators win whose bodies are still on the way; so the bodies are held back until all of
//! them have begun. One that does not know the condition may answer with an error, or store without a word.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use tokio::sync::Barrier;

use super::super::error::StoreError;
use super::super::name::ObjectName;
use super::super::{PutNew, Store as _};
use super::failure::Failure;
use super::{Kind, ServiceStore, Write, failed};

/// Creators of one name, and races: one trial proves little.
const CREATORS: usize = 4;
const RACES: usize = 3;

/// What `put_new` is worth there. What it stores it deletes, as far as it may.
pub(super) fn put_new(store: &ServiceStore) -> Result<PutNew, StoreError> {
    let old = name("old")?;
    store.put(&old, Bytes::from_static(b"first"))?;
    let again = store.write(&old, Bytes::from_static(b"again"), Write { only_new: true, gate: None });
    let refuses = match again {
        Ok(()) => false,
        Err(failure) if failure.is_there() => true,
        Err(failure) if failure.is_unknown_condition() => {
            store.has_no_condition.store(true, std::sync::atomic::Ordering::Relaxed);
            false
        }
        Err(failure) => return Err(failed("try", old.as_str(), failure)),
    };
    // Whoever may not delete leaves a few bytes.
    let _ = store.delete(&old);
    if !refuses {
        return Ok(PutNew::None);
    }
    // Swift looks only when a request begins: nothing that a race shows would make it more.
    if store.kind == Kind::Swift {
        return Ok(PutNew::Settled);
    }
    for race in 0..RACES {
        let name = name(&format!("race{race}"))?;
        let winners = winners(store, &name);
        let _ = store.delete(&name);
        if winners != 1 {
            return Ok(PutNew::Settled);
        }
    }
    Ok(PutNew::Exclusive)
}

/// A name that nobody else uses.
pub(super) fn name(what: &str) -> Result<ObjectName, StoreError> {
    let number = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    Ok(format!("probes/{number:016x}-{what}").parse()?)
}

/// How many of several creators are told that they made it.
fn winners(store: &ServiceStore, name: &ObjectName) -> usize {
    let gate = Arc::new(Barrier::new(CREATORS));
    let create = |number: usize| -> Result<(), Failure> {
        let write = Write { only_new: true, gate: Some(Arc::clone(&gate)) };
        store.write(name, Bytes::from(format!("creator {number}")), write)
    };
    let create = &create;
    thread::scope(|scope| {
        let creators: Vec<_> = (0..CREATORS).map(|number| scope.spawn(move || create(number))).collect();
        creators.into_iter().map(thread::ScopedJoinHandle::join).filter(|end| matches!(end, Ok(Ok(())))).count()
    })
}
