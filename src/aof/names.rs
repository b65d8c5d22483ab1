//! The names of files around an append-only file.

/// Whether a file of this name is a server's work in progress and so no part of a dataset: `temp-*.rdb`,
/// `temp-rewriteaof-*`, `temp-*.manifest`, `temp-*.incr`. An operator may have given a dataset's own file such a name:
/// what the configuration or the manifest names is to be asked first.
pub fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(b"temp-").is_some_and(|rest| {
        rest.starts_with(b"rewriteaof-")
            || rest.ends_with(b".rdb")
            || rest.ends_with(b".manifest")
            || rest.ends_with(b".incr")
    })
}

/// Name of the manifest in the append-only directory, for this `appendfilename`.
pub fn manifest_name(append_file_name: &[u8]) -> Vec<u8> {
    [append_file_name, b".manifest"].concat()
}
