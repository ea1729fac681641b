//! HTTP/1.x as values: heads, bodies, addresses and tokens. One head scanner serves viewers and
//! engine replies.
//!
//! Nothing here does I/O; a malformed message is an error value that names its reason.

pub mod addr;
pub mod body;
pub mod forwarded;
pub mod head;
pub mod render;
pub mod token;
pub mod uri;

#[cfg(test)]
mod tests;
