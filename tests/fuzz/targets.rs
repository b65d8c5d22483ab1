//! The decoders, each as a function of hostile bytes that panics where a decoder breaks its word.

mod canonical;
mod codecs;
mod streams;
mod values;

/// A decoder and what its seeds are made of.
pub struct Target {
    /// Its name, and that of its corpus directory.
    pub name: &'static str,
    /// Kinds of vectors in format-spec/vectors whose bytes are inputs.
    pub kinds: &'static [&'static str],
    /// Feeds it. Whatever the input, this returns.
    pub run: fn(&[u8]),
    /// Inputs of a pass: about a third of a second on one core.
    pub rounds: u64,
}

const fn target(name: &'static str, kinds: &'static [&'static str], run: fn(&[u8]), rounds: u64) -> Target {
    Target { name, kinds, run, rounds }
}

/// Every decoder of `src/format`, `src/compress.rs`, `src/rdb` and `src/aof`.
pub const TARGETS: &[Target] = &[
    target("header", &["header", "object"], codecs::header, 20_000),
    target("name", &["name"], codecs::name, 20_000),
    target("varint", &["varint", "u32"], codecs::varint, 20_000),
    target("config", &["config"], codecs::config, 20_000),
    target("bag", &["bag"], codecs::bag, 20_000),
    target("slot", &["slot", "slot read"], codecs::slot, 20_000),
    target("about", &["about", "about read"], codecs::about, 20_000),
    target("epoch", &[], codecs::epoch, 20_000),
    target("footer", &["footer"], codecs::footer, 20_000),
    target("trailer", &["trailer"], codecs::trailer, 20_000),
    target("index", &["index"], codecs::index, 20_000),
    target("recipe", &["recipe", "opaque part"], codecs::recipe, 20_000),
    target("list", &["list"], streams::list, 10_000),
    target("snapshot", &["snapshot"], codecs::snapshot, 20_000),
    target("lease", &["lease"], codecs::lease, 20_000),
    target("tombstone", &["tombstone"], codecs::tombstone, 20_000),
    target("condemned", &["condemned"], codecs::condemned, 20_000),
    target("burial", &[], codecs::burial, 20_000),
    target("forgotten", &["forgotten"], codecs::forgotten, 20_000),
    target("ledger", &["ledger"], codecs::ledger, 20_000),
    target("roster", &["roster"], codecs::roster, 20_000),
    target("note", &["note"], codecs::note, 20_000),
    target("recovery", &[], codecs::recovery, 20_000),
    target("zstd", &["zstd"], streams::zstd, 10_000),
    target("delta", &["delta"], streams::delta, 5_000),
    target("copies", &["copies"], streams::copies, 20_000),
    target("columns", &["columns"], streams::columns, 20_000),
    target("rdb", &[], streams::rdb, 2_000),
    target("lzf", &[], streams::lzf, 10_000),
    target("string", &[], streams::string, 10_000),
    target("records", &[], values::records, 2_000),
    target("value", &[], values::value, 20_000),
    target("canonical", &["dump"], canonical::dump, 500),
    target("kept", &[], canonical::kept, 2_000),
    target("order", &[], canonical::order, 2_000),
    target("elements", &[], canonical::elements, 20_000),
    target("events", &["events"], canonical::events, 20_000),
    target("parameters", &["parameters"], canonical::parameters, 20_000),
    target("scanner", &[], streams::scanner, 10_000),
    target("cut", &[], streams::cut, 5_000),
    target("lookup", &[], values::lookup, 10_000),
    target("manifest", &[], codecs::manifest, 20_000),
];
