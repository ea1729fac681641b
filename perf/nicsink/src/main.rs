//! nicsink.

fn main() {}
