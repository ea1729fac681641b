//! Tests of the HTTP room.

mod addr;
mod body;
mod forwarded;
mod head;
mod render;
mod token;
mod uri;

use crate::http::head::Parse;
use crate::http::head::Request;
use crate::http::head::parse_request;

/// A GET with these header lines.
fn with_request<T>(target: &str, headers: &str, f: impl FnOnce(&Request<'_>) -> T) -> T {
    let text = format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
    match parse_request(text.as_bytes()) {
        Ok(Parse::Complete { head, .. }) => f(&head),
        other => panic!("{text:?}: {other:?}"),
    }
}
