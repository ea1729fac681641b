//! What went wrong with an engine, told apart by what helps against it.
//!
//! The texts are the engine's own words, cut and escaped on the way in: they are shown to people
//! and never interpreted again.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use crate::base::fault::Fault;
use crate::base::fault::Retry;
use crate::base::fault::Side;

/// What is kept of an engine's text.
pub const TEXT_BYTES_MAX: usize = 256;

/// A session that died may be opened again on the same engine after this.
const REOPEN_AFTER: Duration = Duration::from_millis(250);
/// After a takeover: reopening at once would be a fight between two proxies.
const TAKEOVER_AFTER: Duration = Duration::from_secs(1);
/// The same playback URL again while the engine is still collecting.
const PREBUFFERING_AFTER: Duration = Duration::from_millis(1_500);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The engine cannot load this content; another engine is not expected to.
    Content(String),
    /// Somebody else opened the same content on this engine.
    Superseded,
    /// The session expired, was stopped, or the engine was restarted.
    SessionGone(String),
    /// Not yet: the same playback URL is worth asking again.
    Prebuffering(String),
    /// The engine's licence does not allow it.
    Premium(String),
    /// 403 on playback: taken over, as far as anybody saw.
    Forbidden,
    /// No connection.
    Refused,
    /// No connection for want of something of ours, in words that name the setting: of the engine
    /// nothing is known.
    Lack(&'static str),
    /// A connection, and then nothing before the deadline.
    Silent,
    /// Two status lines in a row or worse: another reader is on our session.
    MalformedHead,
    /// The connection ended where more was due.
    Cut,
    /// Everything else, in the engine's words.
    Other(String),
}

impl Failure {
    /// An error text of a JSON reply.
    pub fn from_error_text(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(&["unknown playback session"]) {
            Self::SessionGone(clean(text))
        } else if has(&["got newer download"]) {
            Self::Superseded
        } else if has(&["premium", "subscri", "activat", "missing_option", "missing option"]) {
            Self::Premium(clean(text))
        } else if has(PREBUFFERING_TEXTS) {
            Self::Prebuffering(clean(text))
        } else if has(CONTENT_TEXTS) {
            Self::Content(clean(text))
        } else {
            Self::Other(clean(text))
        }
    }

    /// The metric label and the log field.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Content(_) => "content",
            Self::Superseded => "superseded",
            Self::SessionGone(_) => "session_gone",
            Self::Prebuffering(_) => "prebuffering",
            Self::Premium(_) => "premium",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Lack(_) => "lack",
            Self::Silent => "silent",
            Self::MalformedHead => "malformed_head",
            Self::Cut => "cut",
            Self::Other(_) => "other",
        }
    }

    /// Content is nobody's fault that trying again could mend; all else but a lack of ours is the
    /// engine's.
    pub fn fault(&self) -> Fault {
        let side = if matches!(self, Self::Lack(_)) { Side::Us } else { Side::Engine };
        let retry = match self {
            Self::Content(_) | Self::Premium(_) => Retry::Never,
            Self::Refused | Self::Silent => Retry::Now,
            Self::Lack(_) | Self::SessionGone(_) | Self::Cut | Self::Other(_) => {
                Retry::After(REOPEN_AFTER)
            }
            Self::Superseded | Self::Forbidden | Self::MalformedHead => {
                Retry::After(TAKEOVER_AFTER)
            }
            Self::Prebuffering(_) => Retry::After(PREBUFFERING_AFTER),
        };
        Fault::new(side, retry, self.to_string())
    }

    /// Whether it says something about the engine and not only about one content or session.
    pub fn blames_engine(&self) -> bool {
        match self {
            Self::Premium(_)
            | Self::Refused
            | Self::Silent
            | Self::MalformedHead
            | Self::Cut
            | Self::Other(_) => true,
            Self::Content(_)
            | Self::Superseded
            | Self::SessionGone(_)
            | Self::Prebuffering(_)
            | Self::Lack(_)
            | Self::Forbidden => false,
        }
    }
}

const PREBUFFERING_TEXTS: &[&str] = &["start timeout", "download not found", "failed to start"];
const CONTENT_TEXTS: &[&str] = &[
    "failed to load content",
    "failed to get manifest",
    "cannot get transport file",
    "cannot load transport file",
    "missing content id",
];

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Content(text)
            | Self::SessionGone(text)
            | Self::Prebuffering(text)
            | Self::Premium(text)
            | Self::Other(text) => text,
            Self::Superseded => "got newer download",
            Self::Forbidden => "403 on playback: another player took the session over",
            Self::Refused => "connection refused",
            Self::Lack(text) => text,
            Self::Silent => "no answer in time",
            Self::MalformedHead => "malformed reply head: another reader is on the session",
            Self::Cut => "the connection was cut",
        })
    }
}

/// An engine's text as people may see it: at most [`TEXT_BYTES_MAX`] bytes, control characters
/// escaped, blanks around it gone.
pub fn clean(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        let before = out.len();
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}') {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > TEXT_BYTES_MAX {
            out.truncate(before);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_told_apart() {
        let table = [
            ("failed to load content", "content"),
            ("Failed to load content: timeout", "content"),
            ("cannot get transport file", "content"),
            ("failed to get manifest", "content"),
            ("got newer download", "superseded"),
            ("unknown playback session id", "session_gone"),
            ("start timeout", "prebuffering"),
            ("download not found", "prebuffering"),
            ("failed to start", "prebuffering"),
            ("premium account required", "premium"),
            ("Please activate your Subscription", "premium"),
            ("download_stopped reason=missing_option", "premium"),
            ("something new", "other"),
            ("", "other"),
        ];
        for (text, name) in table {
            assert_eq!(Failure::from_error_text(text).name(), name, "{text}");
        }
    }

    #[test]
    fn a_fault_says_whether_again_helps() {
        assert_eq!(Failure::Content("x".to_owned()).fault().retry, Retry::Never);
        assert_eq!(Failure::Refused.fault().retry, Retry::Now);
        assert_eq!(Failure::Lack("x").fault().side, Side::Us);
        assert!(!Failure::Lack("x").blames_engine());
        assert_eq!(Failure::Superseded.fault().retry, Retry::After(Duration::from_secs(1)));
        assert_eq!(
            Failure::Cut.fault(),
            Fault {
                side: Side::Engine,
                retry: Retry::After(REOPEN_AFTER),
                what: "the connection was cut".to_owned(),
            }
        );
    }

    #[test]
    fn texts_are_cut_and_escaped() {
        assert_eq!(clean(" a\r\nb\u{202E} "), "a\\r\\nb\\u{202e}");
        assert_eq!(clean(&"é".repeat(200)).len(), TEXT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn clean_text_is_short_and_printable(text in any::<String>()) {
            let out = clean(&text);
            prop_assert!(out.len() <= TEXT_BYTES_MAX);
            prop_assert!(!out.chars().any(char::is_control));
            let _ = Failure::from_error_text(&text).fault();
        }
    }
}
