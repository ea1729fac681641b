//! The thin main: everything is in the library.

use std::process::ExitCode;

/// Control-plane allocations of many threads; the way of a byte allocates nothing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringcast::app::main()
}
