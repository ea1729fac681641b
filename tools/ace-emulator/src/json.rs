//! JSON as Python's `json.dumps` writes it: `", "` and `": "`, keys in the order given.

use serde_json::Value;

/// An object whose members are already written.
pub(crate) fn object(members: &[(&str, String)]) -> String {
    let body: Vec<String> =
        members.iter().map(|(name, value)| format!("{}: {value}", text(name))).collect();
    format!("{{{}}}", body.join(", "))
}

pub(crate) fn array(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// A JSON string.
pub(crate) fn text(value: &str) -> String {
    Value::from(value).to_string()
}

/// The envelope of `/ace/*`: `{"response": …, "error": …}`.
pub(crate) fn envelope(response: &str, error: &str) -> String {
    object(&[("response", response.to_owned()), ("error", error.to_owned())])
}

/// `{"response": null, "error": "…"}`.
pub(crate) fn refusal(error: &str) -> String {
    envelope("null", &text(error))
}
