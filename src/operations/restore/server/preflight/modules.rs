//! Values of modules are of types whose names are not those of the modules. A server without the module ends while it
//! loads them. What is part of a server brings the types of its own name, and no others.

use std::collections::BTreeSet;

use super::{may, refuse};
use crate::operations::module_types::modules_of;
use crate::operations::restore::server::target::Target;
use crate::operations::restore::server::{Consent, Options};
use crate::redis::RedisError;

/// What becomes of the types in a server with these modules.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judged<'t> {
    /// Known, and their module is not there: the type, and the modules that would do.
    missing: Vec<(&'t str, &'static [&'static str])>,
    /// Not known here.
    unknown: Vec<&'t str>,
}

fn judge<'t>(types: impl Iterator<Item = &'t str>, loaded: &[&str]) -> Judged<'t> {
    let mut judged = Judged::default();
    for name in types {
        match modules_of(name) {
            Some(modules) => {
                if !modules.iter().any(|module| loaded.contains(module)) {
                    judged.missing.push((name, modules));
                }
            }
            None => judged.unknown.push(name),
        }
    }
    judged
}

pub(super) fn must_have(types: &BTreeSet<String>, target: &Target, options: &Options) -> Result<(), RedisError> {
    let names: Vec<&str> = target.modules.iter().map(|module| module.name.as_str()).collect();
    let judged = judge(types.iter().map(String::as_str).filter(|name| !name.is_empty()), &names);
    let has_own = target.modules.iter().any(|module| !module.is_built_in);
    if has_own && may(options, Consent::Modules) {
        return Ok(());
    }
    if let Some((missing, modules)) = judged.missing.first() {
        let module = modules.first().copied().unwrap_or_default();
        let what = format!(
            "the snapshot holds data of the module {module} (type {missing}), and the server has not loaded it"
        );
        return match *missing {
            "vectorset" => refuse(what, "vector sets are a part of Redis from 8.0 on: restore into one"),
            _ => refuse(what, "load the module in the server's configuration first"),
        };
    }
    match (judged.unknown.as_slice(), has_own) {
        ([], _) => Ok(()),
        (unknown, false) => {
            let what =
                format!("the snapshot holds data of modules ({}), and the server has none loaded", unknown.join(", "));
            refuse(what, "load the modules in the server's configuration first")
        }
        (unknown, true) => {
            let what = format!(
                "the snapshot holds data of modules of the types {}, and whether the server's modules have them is not known",
                unknown.join(", ")
            );
            let own = target.modules.iter().filter(|module| !module.is_built_in).map(|module| module.name.as_str());
            let own = own.collect::<Vec<_>>().join(", ");
            refuse(what, format!("the server has loaded {own}: if these have the types, say: --force modules"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_needs_one_of_its_modules_and_what_is_built_in_brings_only_its_own() {
        let judged = |types: &[&'static str], loaded: &[&str]| judge(types.iter().copied(), loaded);
        let missing = |types: &[&'static str], loaded: &[&str]| {
            judged(types, loaded).missing.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(missing(&["graphdata"], &["vectorset"]), ["graphdata"]);
        assert_eq!(missing(&["graphdata", "ReJSON-RL"], &["graph", "vectorset"]), ["ReJSON-RL"]);
        assert_eq!(missing(&["vectorset"], &["bf"]), ["vectorset"]);
        assert!(missing(&["vectorset", "MBbloom--", "ReJSON-RL"], &["vectorset", "bf", "json"]).is_empty());
        assert_eq!(judged(&["own-type1", "TSDB-TYPE"], &["timeseries"]).unknown, ["own-type1"]);
    }
}
