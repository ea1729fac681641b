//! The hops from a playback URL to its body: redirects on the same engine, refusals that mean
//! "not yet", and heads that mean somebody else is reading.

use super::failure::Failure;
use super::failure::clean;
use super::json;
use crate::http::head::BadResponse;
use crate::http::head::Framing;
use crate::http::head::Response;
use crate::http::uri::EnginePath;

/// `/ace/r` leads to `/content`; a longer way is a loop.
pub const REDIRECTS_MAX: usize = 4;
/// What is worth reading of a refusal's body.
pub const REJECTION_BYTES_MAX: usize = 4_096;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hop {
    /// To be asked of the same engine.
    Redirect(EnginePath),
    Body(Framing),
    /// Neither: read up to [`REJECTION_BYTES_MAX`] of its body and ask [`rejected`].
    Rejected,
}

pub fn playback_head(head: &Response<'_>) -> Result<Hop, Failure> {
    match head.status {
        200 | 206 => {
            let content_type = head.content_type().unwrap_or("").to_ascii_lowercase();
            if ["mpegurl", "application/json", "text/html"].iter().any(|t| content_type.contains(t))
            {
                let text =
                    format!("the engine answered {} instead of a stream", clean(&content_type));
                return Err(Failure::Other(text));
            }
            Ok(Hop::Body(head.framing))
        }
        301 | 302 | 303 | 307 | 308 => {
            let location = head.location().unwrap_or("");
            let path = EnginePath::parse(location);
            path.map(Hop::Redirect).map_err(|error| {
                Failure::Other(clean(&format!("the engine redirects elsewhere: {error}")))
            })
        }
        _ => Ok(Hop::Rejected),
    }
}

/// Why playback was refused.
pub fn rejected(status: u16, body: &[u8]) -> Failure {
    if status == 403 {
        return Failure::Forbidden;
    }
    let members = json::object(status, body);
    let failure = match members.as_ref().map(json::error_text) {
        Ok(Some(text)) => Failure::from_error_text(&text),
        Ok(None) | Err(_) => json::not_json(status, body),
    };
    // A path that the engine does not know any more: it was restarted, or the session is over.
    if let Failure::Other(text) = &failure
        && matches!(status, 404 | 500)
    {
        return Failure::SessionGone(text.clone());
    }
    failure
}

/// Why a reply head cannot be read.
pub fn bad_head(error: BadResponse) -> Failure {
    match error {
        BadResponse::TwoStatusLines | BadResponse::Syntax => Failure::MalformedHead,
        BadResponse::HeadTooLong
        | BadResponse::TooManyHeaders
        | BadResponse::BadContentLength
        | BadResponse::BadTransferEncoding => Failure::Other(error.to_string()),
    }
}
