//! What every refusal looks like, whoever refuses: small JSON on a connection that ends.

use super::Reply;
use serde_json::Value;

/// Refusals are small: nobody is paid with kilobytes for nonsense.
const BYTES_MAX: usize = 1_500;

/// A refusal that is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    /// Pages of other origins may read it: on the players' routes and nowhere else.
    pub(crate) cors: bool,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str) -> Self {
        Self { status, code, cors: true }
    }

    /// One that is not on a players' route.
    pub(crate) fn no_cors(status: u16, code: &'static str) -> Self {
        Self { cors: false, ..Self::new(status, code) }
    }

    /// Checks all of the reply; what it says is returned.
    pub(crate) fn check(self, what: &str, reply: &Reply) -> String {
        let text = reply.text();
        let head = &reply.head;
        assert_eq!(reply.status, self.status, "{what}: {head}{text}");
        assert!(head.starts_with("HTTP/1.1 "), "{what}: {head}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
        assert_eq!(reply.header("connection"), Some("close"), "{what}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(reply.header("content-length"), Some(&*text.len().to_string()), "{what}");
        assert!(reply.header("transfer-encoding").is_none(), "{what}");
        assert!(head.len() + text.len() <= BYTES_MAX, "{what}: {head}{text}");
        let cors = reply.header("access-control-allow-origin");
        assert_eq!(cors, self.cors.then_some("*"), "{what}: {head}");
        let allow = reply.header("allow");
        assert_eq!(allow.is_some(), self.status == 405, "{what}: {head}");
        let challenge = reply.header("www-authenticate");
        assert_eq!(challenge.is_some(), self.status == 401, "{what}: {head}");
        self.check_json(what, reply)
    }

    fn check_json(self, what: &str, reply: &Reply) -> String {
        let text = reply.text();
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {text}"));
        let outer = json.as_object().expect("an object");
        assert_eq!(outer.keys().collect::<Vec<_>>(), ["error"], "{what}: {text}");
        let error = outer["error"].as_object().expect("an object");
        let known = ["code", "message", "engine", "retry_after_s"];
        assert!(error.keys().all(|key| known.contains(&key.as_str())), "{what}: {text}");
        assert_eq!(error["code"], self.code, "{what}: {text}");
        let message = error["message"].as_str().expect("a message");
        assert!(!message.is_empty(), "{what}");
        let retry = error.get("retry_after_s").map(|retry| retry.as_u64().expect("a number"));
        let header = reply.header("retry-after").map(|retry| retry.parse::<u64>().unwrap());
        assert_eq!(header, retry, "{what}: the header and the body say the same");
        // The operator's block has an end as well.
        let is_over_by_itself = matches!(self.status, 429 | 502 | 503 | 504);
        let again = is_over_by_itself || message.contains("keeps you out");
        assert_eq!(retry.is_some_and(|seconds| seconds > 0), again, "{what}: {text}");
        message.to_owned()
    }
}
