//! What an engine answers, parsed with the tolerance that its many versions need.
//!
//! Bytes in, values out. Nothing here trusts a number, a URL or a text: numbers are clamped, URLs
//! are reduced to a path on the engine that was asked, texts are cut and escaped.

mod failure;
mod json;
mod open;
mod playback;
mod service;
mod stat;

pub use failure::Failure;
pub use failure::TEXT_BYTES_MAX;
pub use failure::clean;
pub use open::Live;
pub use open::OpenReply;
pub use open::open;
pub use playback::Hop;
pub use playback::REDIRECTS_MAX;
pub use playback::REJECTION_BYTES_MAX;
pub use playback::bad_head;
pub use playback::playback_head;
pub use playback::rejected;
pub use service::MediaFiles;
pub use service::Status;
pub use service::command;
pub use service::engine_status;
pub use service::media_files;
pub use stat::StatReply;
pub use stat::StatStatus;
pub use stat::stat;

/// The caller reads no more of a JSON reply.
pub const REPLY_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests;
