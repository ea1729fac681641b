//! What is refused, and the one line that says so.

use std::os::unix::ffi::OsStringExt;

use super::*;

fn only_problem(variables: &[(&str, &str)]) -> String {
    let mut lines = problems(&environment(variables));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains('\n'));
    lines.remove(0)
}

#[test]
fn a_wrong_value_names_the_setting_its_origin_and_what_is_accepted() {
    assert_eq!(
        only_problem(&[("RINGCAST_SHARDS", "99")]),
        "RINGCAST_SHARDS=\"99\" (environment RINGCAST_SHARDS): out of range; accepted: auto or 1 to 64"
    );
    let mut sources = Sources::default();
    flag(&mut sources, Key::GracePeriod, &["soon"]);
    assert_eq!(
        problems(&sources),
        ["PROXY_GRACE_PERIOD=\"soon\" (flag --proxy-grace-period): not a time; accepted: a time \
          from 0 s to 3600 s (90, 1.5s, 500ms)"]
    );
}

#[test]
fn an_unknown_name_brings_the_nearest_one() {
    assert_eq!(
        only_problem(&[("RINGCAST_LISTN", "x")]),
        "\"RINGCAST_LISTN\" (environment) is not a setting; the nearest is RINGCAST_LISTEN"
    );
    assert!(only_problem(&[("PROXY_GRACE_PERIODS", "5")]).ends_with("is PROXY_GRACE_PERIOD"));
    let file = TestFile::new("unknown.toml", "\nproxy_grace_perod = 5");
    let lines = problems(&file.sources());
    assert!(lines[0].ends_with(":2) is not a setting; the nearest is proxy_grace_period"));
    let file = TestFile::new("channel.toml", "[[channel]]\nnam = \"x\"");
    assert!(problems(&file.sources())[0].ends_with("the nearest is name"));
}

#[test]
fn variables_of_others_are_left_alone() {
    let sources = environment(&[
        ("PROXY_URL", "http://proxy"),
        ("PROXY_PASSWORD", "x"),
        ("RINGCAST_SERVICE_HOST", "10.0.0.1"),
        ("RINGCAST_PORT", "tcp://10.0.0.1:8878"),
        ("RINGCAST_PORT_8878_TCP_ADDR", "10.0.0.1"),
    ]);
    assert!(problems(&sources).is_empty());
    assert!(only_problem(&[("RINGCAST_PORT", "8878")]).contains("is not a setting"));
}

#[test]
fn values_out_of_range_are_refused_by_every_kind() {
    for (name, value) in [
        ("RINGCAST_MEMORY", "31MiB"),
        ("RINGCAST_MEMORY", "2000TiB"),
        ("RINGCAST_SNAPSHOT_RATE", "1"),
        ("RINGCAST_CATCHUP_RATE", "1"),
        ("RINGCAST_CATCHUP_RATE", "NaN"),
        ("RINGCAST_MAX_VIEWERS", "-1"),
        ("RINGCAST_MAX_VIEWERS", "1.5"),
        ("RINGCAST_STALL_TIMEOUT", "0"),
        ("RINGCAST_STALL_TIMEOUT", "1e300"),
        ("RINGCAST_ALLOW_MAGNET", "maybe"),
        ("RINGCAST_SEND", "fast"),
        ("RINGCAST_ALLOW", "none"),
        ("RINGCAST_ALLOW", "10.0.0.0/33"),
        ("RINGCAST_TRUSTED_PROXIES", "proxy.lan"),
        ("RINGCAST_PLAY_TOKEN", "two words"),
        ("RINGCAST_PLAY_TOKEN", "name:"),
        ("RINGCAST_ENGINES", "ace:0"),
        ("RINGCAST_ENGINES", "ace,forwrded"),
        ("RINGCAST_ENGINES", "ace ace:6878"),
        ("RINGCAST_REDIS_PREFIX", "a b"),
        ("RINGCAST_REDIS_URL", "http://redis"),
        ("RINGCAST_BASE_URL", "https://"),
        ("RINGCAST_LISTEN", "localhost"),
        ("RINGCAST_LISTEN", ":70000"),
        ("RINGCAST_LISTEN", "127.0.0.1:1,127.0.0.1:1"),
        ("RINGCAST_ALLOW_URL", "file:///etc/"),
        ("RINGCAST_ALLOW_URL", "https://example.org"),
        ("RINGCAST_ALLOW_URL", "https:///x"),
    ] {
        let line = only_problem(&[(name, value)]);
        assert!(line.starts_with(name) && line.contains("; accepted: "), "{line}");
    }
}

#[test]
fn a_secret_is_not_repeated() {
    let line = only_problem(&[("RINGCAST_REDIS_URL", "redis:hunter2")]);
    assert!(line.starts_with("RINGCAST_REDIS_URL=*** ") && !line.contains("hunter2"), "{line}");
}

#[test]
fn a_missing_token_file_names_its_path() {
    let line = only_problem(&[("RINGCAST_PLAY_TOKEN_FILE", "/nowhere/token")]);
    assert!(line.starts_with("RINGCAST_PLAY_TOKEN_FILE=\"/nowhere/token\" "), "{line}");
    let file = TestFile::new("both", "sesame");
    let path = file.0.display().to_string();
    let both = only_problem(&[("RINGCAST_PLAY_TOKEN", "a"), ("RINGCAST_PLAY_TOKEN_FILE", &path)]);
    assert!(both.contains("given twice"), "{both}");
}

#[test]
fn twice_the_heartbeat_fits_into_the_ttl() {
    let line = only_problem(&[("PROXY_HEARTBEAT_INTERVAL", "31")]);
    assert!(line.contains("PROXY_CLIENT_TTL=60") && line.contains("at most 30 s"), "{line}");
    assert!(problems(&environment(&[("PROXY_HEARTBEAT_INTERVAL", "30")])).is_empty());
}

#[test]
fn a_join_further_back_than_the_ring_is_refused() {
    let line = only_problem(&[("RINGCAST_JOIN_SECONDS", "61")]);
    assert!(line.contains("PROXY_BUFFER_TTL=60"), "{line}");
}

#[test]
fn channels_only_needs_channels() {
    assert!(only_problem(&[("RINGCAST_CHANNELS_ONLY", "on")]).contains("[[channel]]"));
}

#[test]
fn every_problem_is_found_in_one_run() {
    let lines = problems(&environment(&[
        ("RINGCAST_SHARDS", "0"),
        ("RINGCAST_LOG", "xml"),
        ("RINGCAST_NOPE", "1"),
    ]));
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let file = TestFile::new("broken.toml", "shards = 2\nlog = = 3\n");
    let lines = problems(&file.sources());
    assert!(lines[0].starts_with(&format!("{}:2: ", file.0.display())), "{lines:?}");
    let sources = Sources { file: Some("/nowhere/x.toml".into()), ..Sources::default() };
    assert!(problems(&sources)[0].starts_with("--config=\"/nowhere/x.toml\": "));
}

#[test]
fn a_value_of_the_wrong_toml_type_is_refused() {
    for text in ["shards = [1]", "shards = 0x2", "shards = {}", "play_token_file = [\"a\"]"] {
        let file = TestFile::new("type.toml", text);
        let lines = problems(&file.sources());
        assert!(lines.len() == 1 && lines[0].contains("accepted"), "{text}: {lines:?}");
    }
}

#[test]
fn channels_are_checked() {
    for (text, word) in [
        ("id = \"0123456789012345678901234567890123456789\"", "name is missing"),
        ("name = \"x\"", "id is missing"),
        ("name = \"x\"\nid = \"123\"", "40 hex digits"),
        ("name = \"a\\nb\"\nid = \"0123456789012345678901234567890123456789\"", "one line"),
        ("name = 5", "name is not a text"),
    ] {
        let file = TestFile::new("channels-checked.toml", &format!("[[channel]]\n{text}\n"));
        let lines = problems(&file.sources());
        assert!(lines.len() == 1 && lines[0].contains(word), "{text}: {lines:?}");
    }
    let file = TestFile::new("channels-scalar.toml", "channel = 3");
    assert!(problems(&file.sources())[0].contains("[[channel]]"));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let value = OsString::from_vec(vec![0xFF]);
    let sources =
        Sources { environment: vec![("RINGCAST_LOG".into(), value)], ..Sources::default() };
    assert!(problems(&sources)[0].contains("not UTF-8"));
}

#[test]
fn a_line_is_one_line_whatever_was_given() {
    let line = only_problem(&[("RINGCAST_LOG", "a\nb\u{1b}[0m")]);
    assert!(line.contains("\\n") && !line.contains('\u{1b}'), "{line}");
    let long = "x".repeat(3_000);
    assert!(only_problem(&[("RINGCAST_LOG", &long)]).len() < 300);
}
