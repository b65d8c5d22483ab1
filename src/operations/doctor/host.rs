//! What the kernel is told that servers suffer from.

use std::fs;
use std::path::Path;

use super::configured::ServerFile;
use super::{Finding, Report, below};
use crate::held::abandoned;

pub(super) fn look(root: &Path, servers: &[ServerFile], report: &mut Report) {
    let value = |path: &str| fs::read_to_string(root.join(path)).ok();
    let advice = "sysctl -w vm.overcommit_memory=1, and the same line in /etc/sysctl.d/redis.conf";
    match value("proc/sys/vm/overcommit_memory").as_deref().map(str::trim) {
        Some("1") => {}
        Some(other) => report.findings.push(Finding::warning(
            "overcommit",
            format!(
                "vm.overcommit_memory is {other}: where memory is short a server cannot fork, and BGSAVE and AOF rewrites fail"
            ),
            advice,
        )),
        None => report.notes.push("vm.overcommit_memory cannot be read".into()),
    }
    let left = abandoned(&below(root, Path::new("/tmp")));
    let left: Vec<String> = left.iter().map(|left| left.path().display().to_string()).collect();
    if !left.is_empty() {
        report.notes.push(format!(
            "killed restores or drills of this user left {}: the next restore into a server removes that",
            left.join(", ")
        ));
    }
    let pages = value("sys/kernel/mm/transparent_hugepage/enabled");
    // From 6.2 on servers switch them off for themselves, unless they are told not to.
    let is_kept = servers.iter().any(|server| server.is("disable-thp", "no"));
    if pages.is_some_and(|pages| pages.contains("[always]")) && is_kept {
        report.findings.push(Finding::warning(
            "hugepages",
            "transparent huge pages are on, and a server keeps them (disable-thp no): each BGSAVE copies far more memory",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or disable-thp yes",
        ));
    }
}
