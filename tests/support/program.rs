//! Programs and scripts that a test makes, to run them.
//!
//! A child writes them: a process that this one starts from another thread would hold a descriptor which is open for
//! writing here, and as long as it does the kernel refuses to run the program (ETXTBSY).

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Copies a program, with its mode.
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("--preserve=mode").args([from, to]).status().unwrap().success());
}

/// Writes a script that everybody may run.
pub fn write_script(path: &Path, text: &str) {
    let mut child = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
