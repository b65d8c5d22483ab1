//! Values of modules are of types whose names are not those of the modules.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_the_nine_letters_of_one() {
        assert!(KNOWN.iter().all(|(name, modules)| name.len() == 9 && !modules.is_empty()));
    }
}
