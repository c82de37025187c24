//! The `utp` command.
fn main() {}
