//! ringcast opens one AceStream session per channel and fans its MPEG-TS out to any number of
//! players.
//!
//! The modules are floors, and imports only go down (`tests/tidy.rs` holds them to it):
//!
//! | floor | modules |
//! |---|---|
//! | 7 | `app` |
//! | 6 | `config` |
//! | 5 | `shard` |
//! | 4 | `net`, `mirror` |
//! | 3 | `stream`, `viewer`, `engine`, `registry`, `router`, `admin` |
//! | 2 | `ring` |
//! | 1 | `ts`, `http` |
//! | 0 | `base` |
//!
//! The ring's memory model (`--cfg ringcast_loom`) swaps the atomics of floor 2; the floors above
//! are not built with it.

#[cfg(not(ringcast_loom))]
pub mod admin;
#[cfg(not(ringcast_loom))]
pub mod app;
pub mod base;
#[cfg(not(ringcast_loom))]
pub mod config;
#[cfg(not(ringcast_loom))]
pub mod engine;
pub mod http;
#[cfg(not(ringcast_loom))]
pub mod mirror;
#[cfg(not(ringcast_loom))]
pub mod net;
#[cfg(not(ringcast_loom))]
pub mod registry;
pub mod ring;
#[cfg(not(ringcast_loom))]
pub mod router;
#[cfg(not(ringcast_loom))]
pub mod shard;
#[cfg(not(ringcast_loom))]
pub mod stream;
pub mod ts;
#[cfg(not(ringcast_loom))]
pub mod viewer;
