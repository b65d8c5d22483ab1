//! What the credentials may do, tried on an object that is nobody's, and what the service keeps of what goes. Rules:
//! format-spec/20-object-stores.md.

use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::calls::Write;
use super::failure::{Failure, Trouble};
use super::{ServiceStore, failed, probe};
use crate::store::error::StoreError;
use crate::store::{Keeping, PutNew, Rights, Service, Store as _};

/// What answers said so far of what is kept.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Keeping>);

impl Heard {
    /// STORE-12: what the service does counts, not how its bucket is said to be set up.
    pub fn listen(&self, method: &Method, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let says = |name: &str| text(name).is_some_and(|value| !matches!(value, "" | "null" | "false" | "False"));
        let changes = *method == Method::PUT || *method == Method::DELETE;
        let of_object = ["x-amz-version-id", "x-amz-delete-marker", "x-object-version-id"].into_iter().any(says);
        let of_container = says("x-versions-enabled") || says("x-history-location");
        let (is_kept, comes_back) = ((changes && of_object) || of_container, says("x-versions-location"));
        let until = text("x-amz-object-lock-retain-until-date");
        if is_kept || comes_back || until.is_some() {
            let mut kept = super::lock(&self.0);
            kept.versions |= is_kept;
            kept.comes_back |= comes_back;
            if let Some(until) = until {
                kept.locked_until = Some(until.chars().filter(|c| c.is_ascii_graphic()).take(40).collect());
            }
        }
    }

    pub fn so_far(&self) -> Keeping {
        super::lock(&self.0).clone()
    }
}

impl Service for ServiceStore {
    fn try_rights(&self) -> Result<Rights, StoreError> {
        let name = probe::name("rights")?;
        let may = |done: Result<(), Failure>| match done {
            Ok(()) => Ok(true),
            Err(failure) if failure.trouble == Trouble::Forbidden => Ok(false),
            Err(failure) => Err(failed("try", name.as_str(), failure)),
        };
        let put = |text: &'static str| {
            may(self.try_put(|| self.write(&name, Bytes::from_static(text.as_bytes()), Write::default())))
        };
        let store = put("first")?;
        let replace = store && put("again")?;
        if store {
            // Its answer says whether the object is locked.
            self.stat(&name)?;
        }
        self.entries_from("probes/", None)?;
        let delete = may(self.tries(async || self.operator.delete(name.as_str()).await))?;
        Ok(Rights { store, replace, delete })
    }

    fn try_put_new(&self) -> Result<PutNew, StoreError> {
        probe::put_new(self)
    }

    fn keeping(&self) -> Keeping {
        self.transport.as_ref().map(super::Transport::keeping).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(method: &Method, headers: &[(&'static str, &'static str)]) -> Keeping {
        let heard = Heard::default();
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        heard.listen(method, &headers.collect());
        heard.so_far()
    }

    /// STORE-12
    #[test]
    fn what_is_kept_is_told_by_what_a_service_answers() {
        let versions = Keeping { versions: true, ..Keeping::default() };
        for (method, name, value) in [
            (Method::PUT, "x-amz-version-id", "abc"),
            (Method::DELETE, "x-amz-delete-marker", "true"),
            (Method::PUT, "x-object-version-id", "1700000000.00000"),
            (Method::GET, "x-versions-enabled", "True"),
            (Method::GET, "x-history-location", "archive"),
        ] {
            assert_eq!(after(&method, &[(name, value)]), versions, "{name}");
        }
        for (method, name, value) in [
            (Method::PUT, "x-amz-version-id", "null"),
            (Method::GET, "x-amz-version-id", "abc"),
            (Method::GET, "x-versions-enabled", "False"),
            (Method::PUT, "etag", "abc"),
        ] {
            assert_eq!(after(&method, &[(name, value)]), Keeping::default(), "{name}");
        }
        let locked = after(&Method::HEAD, &[("x-amz-object-lock-retain-until-date", "2026-12-01T00:00:00Z")]);
        assert_eq!(locked.locked_until.as_deref(), Some("2026-12-01T00:00:00Z"));
        assert!(after(&Method::GET, &[("x-versions-location", "old")]).comes_back);
    }
}
