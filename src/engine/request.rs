//! What is said to an engine, byte by byte: one request per connection.
//!
//! It writes only what was validated before (ids, paths of [`EnginePath`]) or encodes what was not
//! (URLs, magnets): no input can end the request line. HEAD and Range are never sent, engines
//! handle both badly.
//!
//! [`EnginePath`]: crate::http::uri::EnginePath

use std::fmt::Write as _;

use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::http::uri::encode_component;

/// A header-less client was measured to get sessions without a single media byte.
const USER_AGENT: &str = concat!("ringcast/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    Stop,
    /// How long the engine keeps a session that nobody reads.
    ActivityTimeout {
        seconds: u32,
    },
}

/// Opens a session. `pid` names the player: two sessions with one pid share a key and kill each
/// other, so it is fresh for every session.
pub fn getstream(target: &Target, pid: &str) -> String {
    let mut path = String::from("/ace/getstream?");
    match target {
        Target::Id(id) => {
            let _ = write!(path, "id={id}");
        }
        Target::Infohash(infohash) => {
            let _ = write!(path, "infohash={infohash}");
        }
        Target::Url(url) => {
            path.push_str("url=");
            encode_component(&mut path, url);
        }
        Target::Magnet(magnet) => {
            path.push_str("magnet=");
            encode_component(&mut path, magnet);
        }
    }
    path.push_str("&format=json&pid=");
    encode_component(&mut path, pid);
    path
}

/// Which infohash a content id stands for, without opening a session.
pub fn media_files(id: &Infohash) -> String {
    format!("/server/api?api_version=3&method=get_media_files&content_id={id}")
}

/// The question that hangs when the engine does.
pub fn status() -> String {
    "/server/api?api_version=3&method=get_status".to_owned()
}

/// A command to the session whose `command_url` had this path.
pub fn command(path: &str, command: Command) -> String {
    let joint = match path.bytes().last() {
        Some(b'?' | b'&') => "",
        _ if path.contains('?') => "&",
        _ => "?",
    };
    match command {
        Command::Stop => format!("{path}{joint}method=stop"),
        Command::ActivityTimeout { seconds } => {
            format!("{path}{joint}method=set_player_activity_timeout&timeout={seconds}")
        }
    }
}

/// The whole GET. `host` is a `HOST:PORT` of [`crate::engine::spec::host_header`].
pub fn request(host: &str, path_and_query: &str) -> Vec<u8> {
    let mut text = String::with_capacity(160 + path_and_query.len());
    text.push_str("GET ");
    push_graphic(&mut text, path_and_query);
    text.push_str(" HTTP/1.1\r\nHost: ");
    push_graphic(&mut text, host);
    text.push_str("\r\nUser-Agent: ");
    text.push_str(USER_AGENT);
    text.push_str("\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    text.into_bytes()
}

/// The second line of defence: what cannot stand in a request line is encoded.
fn push_graphic(out: &mut String, text: &str) {
    let mut buffer = [0; 4];
    for c in text.chars() {
        if c.is_ascii_graphic() {
            out.push(c);
        } else {
            encode_component(out, c.encode_utf8(&mut buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::uri::EnginePath;

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    fn id() -> Infohash {
        Infohash::parse(HEX.as_bytes()).unwrap()
    }

    #[test]
    fn targets_become_parameters() {
        let table = [
            (Target::Id(id()), format!("id={HEX}")),
            (Target::Infohash(id()), format!("infohash={HEX}")),
            (Target::Url("http://h/a?b&c".to_owned()), "url=http%3A%2F%2Fh%2Fa%3Fb%26c".to_owned()),
            (Target::Magnet("magnet:?x=1&y".to_owned()), "magnet=magnet%3A%3Fx%3D1%26y".to_owned()),
        ];
        for (target, what) in table {
            let path = getstream(&target, "p-1");
            assert_eq!(path, format!("/ace/getstream?{what}&format=json&pid=p-1"));
        }
        assert_eq!(
            media_files(&id()),
            format!("/server/api?api_version=3&method=get_media_files&content_id={HEX}")
        );
    }

    #[test]
    fn commands_join_with_what_the_path_has() {
        assert_eq!(command("/ace/cmd/a/b", Command::Stop), "/ace/cmd/a/b?method=stop");
        assert_eq!(command("/ace/cmd/a/b?", Command::Stop), "/ace/cmd/a/b?method=stop");
        assert_eq!(command("/ace/cmd/a?x=1", Command::Stop), "/ace/cmd/a?x=1&method=stop");
        assert_eq!(
            command("/ace/cmd/a", Command::ActivityTimeout { seconds: 60 }),
            "/ace/cmd/a?method=set_player_activity_timeout&timeout=60"
        );
    }

    #[test]
    fn the_bytes_of_a_request() {
        let bytes = request("[::1]:6878", &status());
        let expected = format!(
            "GET /server/api?api_version=3&method=get_status HTTP/1.1\r\nHost: [::1]:6878\r\n\
             User-Agent: ringcast/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn nothing_can_end_the_request_line(url in any::<String>(), pid in any::<String>()) {
            for target in [Target::Url(url.clone()), Target::Magnet(url.clone())] {
                let path = getstream(&target, &pid);
                prop_assert!(path.bytes().all(|b| b.is_ascii_graphic()));
                prop_assert_eq!(path.matches('&').count(), 2);
                prop_assert!(EnginePath::parse(&path).is_ok() || path.len() > 2_000);
            }
            let bytes = request(&pid, &url);
            prop_assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 6);
        }
    }
}
