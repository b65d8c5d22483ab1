//! The names of files around an append-only file.

/// Whether a server calls work in progress so, wherever that stands: [`is_unfinished_save`], or a file of a rewrite in
/// the append-only directory. An operator may have given a dataset's own file such a name: what a server or a manifest
/// names is to be asked first.
pub fn is_temporary(name: &[u8]) -> bool {
    is_unfinished_save(name) || aof_of_temporary(name).is_some()
}

/// Whether a server calls a dump, or the base of an AOF, so in its data directory while it is not whole:
/// `temp-<pid>.rdb`, `temp-<time>.<pid>.rdb` for what a replica receives, `temp-rewriteaof-<pid>.aof`,
/// `temp-rewriteaof-bg-<pid>.aof`.
pub fn is_unfinished_save(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"temp-") else { return false };
    if let Some(rest) = rest.strip_prefix(b"rewriteaof-") {
        return rest.strip_suffix(b".aof").is_some_and(|rest| is_number(rest.strip_prefix(b"bg-").unwrap_or(rest)));
    }
    let Some(numbers) = rest.strip_suffix(b".rdb") else { return false };
    let parts: Vec<&[u8]> = numbers.split(|byte| *byte == b'.').collect();
    parts.len() <= 2 && parts.into_iter().all(is_number)
}

/// The `appendfilename` of the AOF that a server is about to write a manifest of, or an increment, under this name in the
/// append-only directory: `temp-<appendfilename>.manifest`, `temp-<appendfilename>.incr`.
pub fn aof_of_temporary(name: &[u8]) -> Option<&[u8]> {
    let rest = name.strip_prefix(b"temp-")?;
    let of = rest.strip_suffix(b".manifest").or_else(|| rest.strip_suffix(b".incr"))?;
    (!of.is_empty()).then_some(of)
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Name of the manifest in the append-only directory, for this `appendfilename`.
pub fn manifest_name(append_file_name: &[u8]) -> Vec<u8> {
    [append_file_name, b".manifest"].concat()
}
