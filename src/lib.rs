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

pub mod admin;
pub mod app;
pub mod base;
pub mod config;
pub mod engine;
pub mod http;
pub mod net;
pub mod registry;
pub mod ring;
pub mod router;
pub mod shard;
pub mod stream;
pub mod ts;
pub mod viewer;
