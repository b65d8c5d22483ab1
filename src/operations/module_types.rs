//! Values of modules are of types whose names are not those of the modules.

use crate::redis::server::LoadedModule;

/// Types, and the modules that have them.
const KNOWN: &[(&str, &[&str])] = &[
    ("vectorset", &["vectorset"]),
    ("graphdata", &["graph", "falkordb"]),
    ("graphmeta", &["graph", "falkordb"]),
    ("ReJSON-RL", &["ReJSON", "json"]),
    ("MBbloom--", &["bf"]),
    ("MBbloomCF", &["bf"]),
    ("CMSk-TYPE", &["bf"]),
    ("TopK-TYPE", &["bf"]),
    ("TDIS-TYPE", &["bf"]),
    ("bloomfltr", &["bf"]),
    ("TSDB-TYPE", &["timeseries"]),
    ("ft_index0", &["search", "searchlight", "ft"]),
    ("ft_invidx", &["search", "searchlight", "ft"]),
    ("trietype0", &["search", "searchlight", "ft"]),
    ("numericdx", &["search", "searchlight", "ft"]),
];

/// The modules that have a type of this name, where that is known.
pub(super) fn modules_of(name: &str) -> Option<&'static [&'static str]> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, modules)| *modules)
}

/// The module that has a type of this name, as people know it.
pub(super) fn module_named(name: &str) -> String {
    match modules_of(name).and_then(|modules| modules.first()) {
        Some(module) if *module != name => format!("the module {module} (type {name})"),
        _ => format!("the module of the type {name}"),
    }
}

/// Whether a server with these modules certainly lacks the type: of one that is not known here it is told where there is no module but
/// those that are part of the server, which bring the types of their own names only.
pub(super) fn is_lacking(name: &str, loaded: &[LoadedModule]) -> bool {
    match modules_of(name) {
        Some(modules) => !loaded.iter().any(|module| modules.contains(&module.name.as_str())),
        None => loaded.iter().all(|module| module.is_built_in),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_lacking_where_no_loaded_module_can_have_it() {
        let loaded = [("vectorset", true), ("json", false)];
        let loaded = loaded.map(|(name, is_built_in)| LoadedModule { name: name.into(), path: None, is_built_in });
        let lacking = |loaded: &[LoadedModule]| {
            ["vectorset", "ReJSON-RL", "MBbloom--", "own-type1"].map(|name| is_lacking(name, loaded))
        };
        assert_eq!(lacking(&loaded), [false, false, true, false]);
        assert_eq!(lacking(&loaded[..1]), [false, true, true, true]);
        assert_eq!(lacking(&[]), [true; 4]);
    }

    #[test]
    fn every_type_has_the_nine_letters_of_one() {
        assert!(KNOWN.iter().all(|(name, modules)| name.len() == 9 && !modules.is_empty()));
    }
}
