//! Listings, page by page: a page that fails is asked for again, not the whole listing. Rules: format-spec/20-object-stores.md.

use http::StatusCode;
use opendal::options::ListOptions;
use opendal::raw::{Service as _, oio};
use serde::de::IgnoredAny;

use super::calls::STALL;
use super::failure::Failure;
use super::transport::{CALL, Call};
use super::{Kind, ServiceStore, failed};
use crate::store::error::StoreError;
use crate::store::name::ObjectName;
use crate::store::{Entry, Store as _};

/// Names that the first page of a listing is asked for where the service does not say which page is the last.
const FIRST_PAGE: usize = 1000;

/// A first page with fewer is all there is. A service may be set up to give less at a time than it is asked for, and whoever takes
/// that for all would miss what is there: none is known that gives less than ten times as many.
const SURELY_MORE: usize = 100;

/// How many entries a page in JSON has.
pub(super) fn count(page: &[u8]) -> Option<usize> {
    serde_json::from_slice::<Vec<IgnoredAny>>(page).ok().map(|entries| entries.len())
}

impl ServiceStore {
    /// All objects below a directory, in the service's order, which come behind `after`.
    pub(super) fn entries_from(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<Entry>, StoreError> {
        self.all_below(prefix, after).map_err(|failure| match failure.is_not_found() {
            true => self.no_bucket(),
            false => failed("list", if prefix.is_empty() { &self.location } else { prefix }, failure),
        })
    }

    fn all_below(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        let mut last = after.map(|after| after.as_str().to_owned());
        if self.kind == Kind::Swift && self.is_one_page(prefix, &mut last, &mut entries)? {
            return Ok(entries);
        }
        let mut lister = self.lister(prefix, None, last)?;
        while let (Some(entry), _) = self.next(&mut lister)? {
            self.add(&entry, &mut entries);
        }
        Ok(entries)
    }

    /// STORE-14: the first page of a listing, and whether it is all of it: then the service is not asked whether there is more.
    /// Otherwise `last` is where the rest begins.
    fn is_one_page(&self, prefix: &str, last: &mut Option<String>, entries: &mut Vec<Entry>) -> Result<bool, Failure> {
        let mut lister = self.lister(prefix, Some(FIRST_PAGE), last.clone())?;
        let (mut next, count) = match self.next(&mut lister) {
            // The service gives no pages of so many.
            Err(failure) if failure.heard.status == Some(StatusCode::PRECONDITION_FAILED) => return Ok(false),
            other => other?,
        };
        let Some(count) = count else { return Ok(false) };
        for left in (0..count).rev() {
            let Some(entry) = next else { break };
            *last = Some(entry.path().to_owned());
            self.add(&entry, entries);
            next = if left > 0 { self.next(&mut lister)?.0 } else { None };
        }
        Ok(count < SURELY_MORE)
    }

    fn lister(&self, prefix: &str, limit: Option<usize>, start_after: Option<String>) -> Result<oio::Lister, Failure> {
        let options = ListOptions { recursive: true, limit, start_after, ..ListOptions::default() };
        let path = if prefix.is_empty() { "/" } else { prefix };
        let listed = self.operator.service().list(self.operator.context(), path, options.into());
        listed.map_err(|error| Failure::of(&error, None))
    }

    /// The next entry, and how many there were in the page that it is the first of.
    fn next(&self, lister: &mut oio::Lister) -> Result<(Option<oio::Entry>, Option<usize>), Failure> {
        self.try_all(|| {
            let call = Call { counts: self.kind == Kind::Swift, ..Call::default() };
            self.once(call, STALL, async || {
                let entry = lister.next_dyn().await?;
                Ok((entry, CALL.with(|call| call.counted.get())))
            })
        })
    }

    /// Adds an entry, where it is an object.
    fn add(&self, entry: &oio::Entry, entries: &mut Vec<Entry>) {
        let metadata = entry.metadata();
        // Directories end with a slash, so they are no names of objects either.
        let Ok(name) = entry.path().parse::<ObjectName>() else { return };
        let size = match metadata.is_file() {
            true => metadata.content_length(),
            // The store in memory lists no lengths.
            false => match self.stat(&name) {
                Ok(Some(stat)) => stat.size,
                _ => return,
            },
        };
        entries.push(Entry { name, size, modified: metadata.last_modified().map(Into::into) });
    }
}
