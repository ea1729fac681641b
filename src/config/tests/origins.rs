//! Which origin wins, and what the values become.

use std::time::Duration;

use super::*;
use crate::http::addr::AllowList;

fn engines(sources: &Sources) -> String {
    row(&loaded(sources), "RINGCAST_ENGINES").value.clone()
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file =
        TestFile::new("precedence.toml", "shards = 2\nproxy_grace_period = 7\nlog = \"json\"");
    let mut sources = file.sources();
    sources.environment =
        environment(&[("RINGCAST_SHARDS", "3"), ("PROXY_GRACE_PERIOD", "8")]).environment;
    flag(&mut sources, Key::Shards, &["4"]);
    let loaded = loaded(&sources);
    assert_eq!(loaded.settings.shards, 4);
    assert_eq!(loaded.settings.grace_period, Duration::from_secs(8));
    assert_eq!(loaded.settings.log, LogFormat::Json);
    assert_eq!(loaded.settings.init_timeout, Duration::from_secs(30));
    assert_eq!(row(&loaded, "RINGCAST_SHARDS").origin.to_string(), "flag --shards");
    assert_eq!(
        row(&loaded, "PROXY_GRACE_PERIOD").origin.to_string(),
        "environment PROXY_GRACE_PERIOD"
    );
    let path = file.0.display();
    assert_eq!(row(&loaded, "RINGCAST_LOG").origin.to_string(), format!("file {path}:3"));
    assert_eq!(row(&loaded, "PROXY_INIT_TIMEOUT").origin.to_string(), "default");
}

#[test]
fn a_higher_list_replaces_a_lower_one() {
    let mut sources =
        environment(&[("RINGCAST_ENGINES", "a b:1,name=x,forwarded  c;192.0.2.1,192.0.2.2:1")]);
    assert_eq!(engines(&sources), "a:6878 b:1,name=x,forwarded c:6878 192.0.2.1:6878 192.0.2.2:1");
    flag(&mut sources, Key::Engines, &["d", "e:6879"]);
    assert_eq!(engines(&sources), "d:6878 e:6879");
}

#[test]
fn an_empty_value_is_no_value() {
    let file = TestFile::new("empty.toml", "redis_url = \"redis://file\"\nlog_level = \"\"");
    let mut sources = file.sources();
    sources.environment =
        environment(&[("RINGCAST_REDIS_URL", ""), ("PROXY_GRACE_PERIOD", "")]).environment;
    let loaded = loaded(&sources);
    assert_eq!(loaded.settings.redis_url.unwrap().expose(), "redis://file");
    assert_eq!(loaded.settings.log_level, LogLevel::Info);
}

#[test]
fn the_file_may_be_named_by_a_variable() {
    let file = TestFile::new("variable.toml", "shards = 2");
    let path = file.0.display().to_string();
    assert_eq!(loaded(&environment(&[("RINGCAST_CONFIG", &path)])).settings.shards, 2);
}

#[test]
fn toml_takes_every_way_to_write_a_value() {
    let text = "
        memory = 1_073_741_824
        catchup_rate = 2.5
        allow_magnet = true
        channels_only = false
        listen = \"127.0.0.1:1 [::1]:2\"
        engines = [\"a,name=one\", \"dns:aces:6878\"]
        trusted_proxies = []
    ";
    let settings = loaded(&TestFile::new("ways.toml", text).sources()).settings;
    assert_eq!(settings.memory_bytes, 1 << 30);
    assert_eq!(settings.catchup_rate, Some(2.5));
    assert!(settings.allow_magnet);
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.engines.len(), 2);
}

#[test]
fn channels_come_from_the_file() {
    let text = "
        channels_only = true
        [[channel]]
        name = \"One\"
        id = \"acestream://0123456789ABCDEF0123456789abcdef01234567\"
        [[channel]]
        name = \"Two\"
        id = \"fedcba9876543210fedcba9876543210fedcba98\"
        group = \"Films\"
        logo = \"https://example.org/2.png\"
    ";
    let loaded = loaded(&TestFile::new("channels.toml", text).sources());
    let channels = &loaded.settings.channels;
    assert_eq!(channels[0].id.to_string(), "0123456789abcdef0123456789abcdef01234567");
    assert_eq!(channels[1].group.as_deref(), Some("Films"));
    assert!(loaded.settings.channels_only);
    assert_eq!(row(&loaded, "[[channel]]").value, "2");
}

#[test]
fn tokens_are_read_from_files_and_never_shown() {
    let file = TestFile::new("tokens", "kitchen:open\n\nsesame\n");
    let path = file.0.display().to_string();
    let loaded = loaded(&environment(&[
        ("RINGCAST_PLAY_TOKEN_FILE", &path),
        ("RINGCAST_API_TOKEN", "admin:swordfish"),
    ]));
    let tokens = &loaded.settings.play_tokens;
    assert_eq!(tokens.matches("open"), Some("kitchen"));
    assert_eq!(tokens.matches("sesame"), Some(""));
    assert_eq!(tokens.matches("swordfish"), None);
    let shown = format!("{:?} {:?} {}", loaded.settings, loaded.report, loaded.report.table());
    assert!(!shown.contains("sesame") && !shown.contains("swordfish"), "{shown}");
    assert_eq!(row(&loaded, "RINGCAST_PLAY_TOKEN").value, "***");
    assert_eq!(
        row(&loaded, "RINGCAST_PLAY_TOKEN").origin.to_string(),
        "environment RINGCAST_PLAY_TOKEN_FILE"
    );
}

#[test]
fn a_play_token_opens_the_door_unless_a_list_was_given() {
    let open = loaded(&environment(&[("RINGCAST_PLAY_TOKEN", "sesame")]));
    assert_eq!(open.settings.allow, AllowList::Any);
    assert_eq!(open.settings.max_starts_per_ip, Some(8));
    assert_eq!(row(&open, "RINGCAST_ALLOW").value, "any");
    assert_eq!(row(&open, "RINGCAST_ALLOW").because, "a play token is set");
    let listed =
        loaded(&environment(&[("RINGCAST_PLAY_TOKEN", "sesame"), ("RINGCAST_ALLOW", "private")]));
    assert_eq!(listed.settings.allow, AllowList::Private);
    assert_eq!(listed.settings.max_starts_per_ip, None);
}

#[test]
fn acexy_variables_are_understood_with_a_line() {
    let loaded = loaded(&environment(&[
        ("ACEXY_HOST", "ace"),
        ("ACEXY_PORT", "6880"),
        ("ACEXY_LISTEN_ADDR", ":8080"),
        ("ACEXY_M3U8", "true"),
    ]));
    assert_eq!(loaded.settings.engines[0].to_string(), "ace:6880");
    assert_eq!(loaded.settings.listen[0].to_string(), "[::]:8080");
    let lines = loaded.notices.join("\n");
    assert!(lines.contains("ACEXY_HOST is understood; its name here is RINGCAST_ENGINES=ace:6880"));
    assert!(lines.contains("RINGCAST_LISTEN=:8080"));
}

#[test]
fn our_names_win_over_acexy_names() {
    let sources = environment(&[("RINGCAST_ENGINES", "ours"), ("ACEXY_HOST", "theirs")]);
    let loaded = loaded(&sources);
    assert_eq!(loaded.settings.engines[0].to_string(), "ours:6878");
    assert!(!loaded.notices.iter().any(|line| line.contains("ACEXY")));
}

#[test]
fn auto_is_decided_from_the_host() {
    let facts = Facts {
        ram_bytes: 64 << 30,
        cgroup_memory_bytes: Some(1 << 30),
        nofile: 1_024,
        cores: 8,
        cpu_quota: Some(1.5),
        journal: true,
    };
    let loaded = load(&Sources::default(), &facts).unwrap();
    assert_eq!(loaded.settings.memory_bytes, 256 << 20);
    assert_eq!(loaded.settings.shards, 2);
    assert!(!loaded.settings.pin);
    assert_eq!(loaded.settings.max_viewers, Some(1_024 - 256 - 4));
    assert_eq!(loaded.settings.log, LogFormat::Journald);
    assert_eq!(row(&loaded, "RINGCAST_MEMORY").value, "256");
    assert_eq!(row(&loaded, "RINGCAST_MEMORY").because, "auto");
    let small = Facts { ram_bytes: 1 << 20, ..facts };
    assert_eq!(small.memory_auto_bytes(), 32 << 20);
    let large = Facts { cgroup_memory_bytes: None, ..facts };
    assert_eq!(large.memory_auto_bytes(), 4 << 30);
}

#[test]
fn zero_is_no_limit_of_its_own() {
    let loaded = loaded(&environment(&[("RINGCAST_MAX_VIEWERS", "0")]));
    assert_eq!(loaded.settings.max_viewers, None);
    assert_eq!(loaded.settings.max_streams, None);
    assert!(loaded.notices.iter().any(|line| line.contains("RINGCAST_MAX_VIEWERS")));
}

#[test]
fn the_state_directory_comes_from_systemd_or_the_user() {
    let state = |variables: &[(&str, &str)]| loaded(&environment(variables)).settings.state_dir;
    assert_eq!(state(&[]), None);
    assert_eq!(state(&[("XDG_STATE_HOME", "/x")]), Some("/x/ringcast".into()));
    assert_eq!(state(&[("STATE_DIRECTORY", "/s:/t"), ("XDG_STATE_HOME", "/x")]), Some("/s".into()));
    assert_eq!(state(&[("STATE_DIRECTORY", "/s"), ("RINGCAST_STATE_DIR", "off")]), None);
}

#[test]
fn a_reload_names_what_only_a_restart_applies() {
    let old = loaded(&environment(&[("RINGCAST_PLAY_TOKEN", "a"), ("RINGCAST_SHARDS", "1")]));
    let new = loaded(&environment(&[("RINGCAST_PLAY_TOKEN", "b"), ("RINGCAST_SHARDS", "2")]));
    assert_eq!(old.report.changed_at_restart_only(&new.report), ["RINGCAST_SHARDS"]);
    assert!(old.report.changed_at_restart_only(&old.report).is_empty());
}
