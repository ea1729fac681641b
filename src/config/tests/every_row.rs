//! Every row of the table, from every origin; and the docs that are generated from it.

use std::collections::BTreeSet;

use super::*;
use crate::config::table::rows;

/// A value that is not the default, and how it is shown.
fn sample(key: Key) -> (&'static str, &'static str) {
    match key {
        Key::Listen => ("127.0.0.1:9000", "127.0.0.1:9000"),
        Key::Allow => ("any", "any"),
        Key::TrustedProxies => ("10.0.0.0/8", "10.0.0.0/8"),
        Key::PlayToken | Key::ApiToken | Key::NodeToken => ("guest:sesame", "***"),
        Key::AllowUrl => ("https://example.org/", "https://example.org/"),
        Key::AllowMagnet => ("on", "on"),
        Key::BaseUrl | Key::NodeUrl => ("http://tv.lan:80/", "http://tv.lan:80"),
        Key::ChannelsOnly => ("off", "off"),
        Key::Engines => ("ace:6879,name=a,max=3", "ace:6879,name=a,max=3"),
        Key::MaxStreamsPerEngine | Key::MaxStreams => ("7", "7"),
        Key::HedgeAfter | Key::JoinSeconds => ("2.5", "2.5"),
        Key::BufferTtl
        | Key::InitTimeout
        | Key::GracePeriod
        | Key::CleanupInterval
        | Key::StartTimeout
        | Key::OutageTimeout
        | Key::StallTimeout
        | Key::SendStallTimeout
        | Key::ClientTtl => ("45s", "45"),
        Key::HeartbeatInterval => ("1.5", "1.5"),
        Key::CatchupRate => ("2.5", "2.5"),
        Key::SlowViewer => ("close", "close"),
        Key::Send => ("copy", "copy"),
        Key::MaxViewers | Key::MaxViewersPerIp | Key::MaxStartsPerIp => ("12", "12"),
        Key::Shards => ("3", "3"),
        Key::Pin => ("off", "off"),
        Key::Memory | Key::SnapshotMemory => ("2G", "2"),
        Key::StateDir => ("/tmp/state", "/tmp/state"),
        Key::RedisUrl => ("redis://u:secret@r:6379/0", "redis://***@r:6379/***"),
        Key::RedisPrefix => ("tv", "tv"),
        Key::RedisHashTags => ("on", "on"),
        Key::ChunkSize => ("64KiB", "64"),
        Key::Snapshots => ("off", "off"),
        Key::SnapshotRate => ("8 MB/s", "8"),
        Key::NodeId => ("node-1.lan", "node-1.lan"),
        Key::Log => ("json", "json"),
        Key::LogLevel => ("debug", "debug"),
        Key::LogAddresses => ("masked", "masked"),
    }
}

#[test]
fn each_key_has_one_row_and_names_follow_the_rule() {
    let mut keys = BTreeSet::new();
    let mut flags = BTreeSet::new();
    let mut names = BTreeSet::new();
    for row in rows() {
        assert!(keys.insert(row.key), "{:?} has two rows", row.key);
        assert!(flags.insert(row.flag), "{} is two flags", row.flag);
        assert!(names.insert(row.name), "{} is two names", row.name);
        assert!(row.name.starts_with("RINGCAST_") || row.name.starts_with("PROXY_"));
        assert!(!row.help.ends_with('.') && !row.help.is_empty(), "{}", row.name);
        assert_eq!(row.key.name(), row.name);
    }
    // The last variant's number: a key without a row makes them differ.
    assert_eq!(keys.len(), Key::LogAddresses as usize + 1);
    assert_eq!(rows().filter(|row| row.essential).count(), 10);
    assert_eq!(Key::GracePeriod.row().toml(), "proxy_grace_period");
    assert_eq!(Key::Listen.row().toml(), "listen");
}

#[test]
fn every_default_is_what_the_table_says() {
    let loaded = loaded(&Sources::default());
    for row in rows().filter(|row| !row.default.is_empty()) {
        assert!(row.kind.read(&[row.default.to_owned()]).is_ok(), "{}", row.name);
    }
    assert!(loaded.report.rows().iter().all(|row| row.origin == Origin::Default));
}

#[test]
fn every_row_is_read_from_the_environment() {
    for table_row in rows() {
        let (text, shown) = sample(table_row.key);
        let loaded = loaded(&environment(&[(table_row.name, text)]));
        let row = row(&loaded, table_row.name);
        assert_eq!(row.value, shown, "{}", row.name);
        assert_eq!(row.origin, Origin::Environment(row.name.to_owned()));
    }
}

#[test]
fn every_row_is_read_from_a_flag() {
    for table_row in rows() {
        let (text, shown) = sample(table_row.key);
        let mut sources = Sources::default();
        flag(&mut sources, table_row.key, &[text]);
        let loaded = loaded(&sources);
        let row = row(&loaded, table_row.name);
        assert_eq!(row.value, shown, "{}", row.name);
        assert_eq!(row.origin, Origin::Flag(format!("--{}", table_row.flag)));
    }
}

#[test]
fn every_row_is_read_from_the_file() {
    for table_row in rows() {
        let (text, shown) = sample(table_row.key);
        let key = table_row.toml();
        let bare = text.parse::<f64>().is_ok();
        let value = if bare { text.to_owned() } else { format!("{text:?}") };
        let array = format!("[{text:?}]");
        let value = if table_row.kind.is_list() { array } else { value };
        let file = TestFile::new(&key, &format!("# a line\n{key} = {value}\n"));
        let loaded = loaded(&file.sources());
        let row = row(&loaded, table_row.name);
        assert_eq!(row.value, shown, "{}", row.name);
        assert_eq!(row.origin, Origin::File { path: file.0.display().to_string(), line: 2 });
    }
}

#[test]
fn the_docs_page_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SETTINGS.md");
    let generated = docs::settings_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/SETTINGS.md is not what the table says: cargo xtask docs"
    );
}

#[test]
fn the_docs_say_what_is_not_yet_in_effect() {
    let page = docs::settings_markdown();
    assert!(page.contains("### RINGCAST_NODE_TOKEN (secret, not yet in effect)"), "{page}");
    assert!(page.contains("### RINGCAST_LISTEN\n"), "{page}");
}

#[test]
fn the_readme_table_is_the_generated_one() {
    let table = docs::readme_settings_markdown();
    assert_eq!(table.lines().count(), 12);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("| setting | default |").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let generated = format!("{before}{table}\n{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == generated, "the settings in README.md are old: cargo xtask docs");
}
