//! The redkeep program.

use std::process::ExitCode;

fn main() -> ExitCode {
    redkeep::cli::run(std::env::args_os())
}
