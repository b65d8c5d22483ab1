//! The redkeep program.

fn main() {}
