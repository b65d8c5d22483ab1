//! Sorted records that a thread fetches while those before them are used: their memory, or their scratch file, is waited for
//! beside the work that is done with them.

use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::buffer::{Place, Record};
use super::error::SpillError;
use super::merge::Sorted;

/// Bytes of records that are fetched together, or one longer record.
const GROUP: usize = 256 << 10;

/// Records in the order of their keys, one of them at hand.
///
/// Memory: three groups of 256 KiB, each with a record more, beside what the records are fetched from.
pub struct Fetched {
    groups: Receiver<Result<Vec<u8>, SpillError>>,
    used: Sender<Vec<u8>>,
    group: Vec<u8>,
    at_hand: Place,
    is_broken: bool,
}

impl Sorted {
    /// Has a thread fetch them. It ends with them, or where nobody takes more; what they were in is let go of then.
    pub fn fetched<'scope>(mut self, scope: &'scope Scope<'scope, '_>) -> Fetched {
        let (to, groups) = bounded(1);
        let (used, to_use_again) = bounded::<Vec<u8>>(1);
        scope.spawn(move || {
            while let Some(group) = self.group(to_use_again.try_recv().unwrap_or_default()).transpose() {
                let is_last = group.is_err();
                if to.send(group).is_err() || is_last {
                    return;
                }
            }
        });
        Fetched { groups, used, group: Vec::new(), at_hand: Place::default(), is_broken: false }
    }

    /// The next records, encoded; `None` behind the last.
    fn group(&mut self, mut group: Vec<u8>) -> Result<Option<Vec<u8>>, SpillError> {
        group.clear();
        while group.len() < GROUP
            && let Some(record) = self.next_encoded()?
        {
            group.extend_from_slice(record);
        }
        Ok((!group.is_empty()).then_some(group))
    }
}

impl Fetched {
    /// The record at hand; `None` before the first and behind the last.
    pub fn record(&self) -> Option<Record<'_>> {
        (!self.group.is_empty()).then(|| self.at_hand.record(&self.group))
    }

    /// Goes on to the next record. After an error there is no next one.
    pub fn advance(&mut self) -> Result<(), SpillError> {
        if let Some(next) = Place::of(&self.group, self.at_hand.end) {
            self.at_hand = next;
            return Ok(());
        }
        if self.is_broken {
            return Err(SpillError::Broken);
        }
        let spent = std::mem::take(&mut self.group);
        // Fails where there is enough already, or no more come.
        let _ = self.used.try_send(spent);
        let Ok(came) = self.groups.recv() else { return Ok(()) };
        self.is_broken = came.is_err();
        self.group = came?;
        self.at_hand = Place::of(&self.group, 0).ok_or(SpillError::Broken)?;
        Ok(())
    }
}
