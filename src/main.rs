//! The thin main: everything is in the library.
fn main() {}
