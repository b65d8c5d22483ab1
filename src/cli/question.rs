//! A question to a person at a terminal, where what is asked for is safe to be decided there.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use super::context::Context;
use super::human::plain;

/// Bytes of an answer that are read.
const ANSWER: u64 = 1 << 10;

/// Whether somebody is there to be asked.
pub(crate) fn is_asked() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether the person says yes; `None` where nobody is there to be asked.
pub(crate) fn agreed(question: &str, context: &Context) -> io::Result<Option<bool>> {
    if !is_asked() {
        return Ok(None);
    }
    let answer = context.progress.ask(|| {
        write!(io::stderr(), "{} [y/N] ", plain(question))?;
        let mut answer = String::new();
        io::stdin().lock().take(ANSWER).read_line(&mut answer).map(|_| answer)
    })?;
    Ok(Some(["y", "yes"].contains(&answer.trim().to_lowercase().as_str())))
}
