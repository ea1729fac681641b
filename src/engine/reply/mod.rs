//! What an engine answers, parsed with the tolerance that its many versions need.
//!
//! Bytes in, values out. Nothing here trusts a number, a URL or a text: numbers are clamped, URLs
//! are reduced to a path on the engine that was asked, texts are cut and escaped.

mod failure;

pub use failure::Failure;
pub use failure::TEXT_BYTES_MAX;
pub use failure::clean;

/// What `get_status` says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    pub version: Option<String>,
}
