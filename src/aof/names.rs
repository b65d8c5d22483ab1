//! The names of files around an append-only file.

/// Whether a file of this name is a server's work in progress and so no part of a dataset: `temp-<pid>.rdb`,
/// `temp-rewriteaof-<pid>.aof`, `temp-<appendfilename>.manifest`, `temp-<appendfilename>.incr`.
pub fn is_temporary(name: &[u8]) -> bool {
    const ENDINGS: [&[u8]; 4] = [b".rdb", b".aof", b".manifest", b".incr"];
    name.strip_prefix(b"temp-").is_some_and(|rest| {
        rest.starts_with(b"rewriteaof-")
            || ENDINGS.iter().any(|ending| rest.len() > ending.len() && rest.ends_with(ending))
    })
}

/// Name of the manifest in the append-only directory, for this `appendfilename`.
pub fn manifest_name(append_file_name: &[u8]) -> Vec<u8> {
    [append_file_name, b".manifest"].concat()
}
