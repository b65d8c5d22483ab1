//! What is stored of a file, wherever its bytes come from.

use std::io;

use crate::format::recipe::Part;
use crate::operations::OperationError;
use crate::operations::timeline::proof::Joint;
use crate::rdb::Stretch;
use crate::redis::Reading;
use crate::repository::RepositoryError;

/// Reads a file once, from its first byte to its last, hands every byte on, and each record and opcode of a dump once its
/// bytes were. May be called again.
pub(in crate::operations) type Read<'a> =
    dyn Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>, &mut dyn FnMut(Stretch)) -> Result<Reading, OperationError> + 'a;

/// The content of one file, and what it is expected to resemble.
pub(in crate::operations) struct Input<'a> {
    /// Bytes that are expected.
    pub size: u64,
    /// Its earlier version in the repository.
    pub earlier: &'a [Part],
    /// Of a dump that is stored in canonical form, what it is compared with in place of that.
    pub instead: &'a dyn Fn() -> Result<Option<Instead>, RepositoryError>,
    /// Under which path this host may remember the records of that; `None`: what is remembered is not used.
    pub remembered: Option<&'a [u8]>,
    /// What has to be its begin, if the AOF of the previous snapshot goes on in it.
    pub joint: Option<Joint>,
    /// Its bytes.
    pub read: &'a Read<'a>,
}

/// What a dump is compared with in place of its version in the previous snapshot.
#[derive(Debug, Clone, Default)]
pub(in crate::operations) struct Instead {
    /// Its parts.
    pub parts: Vec<Part>,
    /// The path of the file that it is of, where that is another.
    pub path: Option<Vec<u8>>,
}
