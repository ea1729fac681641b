//! The places where a Redis may be, and the least that it must allow.

use super::await_clients;
use super::await_end;
use super::await_state;
use super::mirrored;
use super::path_of;
use super::weather::Weather;
use crate::rig;
use crate::rig::Player;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Client;
use crate::rig::redis::Cluster;
use crate::rig::redis::Folder;
use crate::rig::redis::Place;
use crate::rig::redis::Redis;
use crate::rig::redis::Reply;
use crate::rig::redis::Sentinel;
use crate::rig::redis::Subscriber;
use crate::rig::redis::View;
use crate::rig::redis::free_port;
use ace_emulator::Channel;
use ace_emulator::Config;
use serde_json::json;
use std::process::Command;

/// What docs/REDIS.md asks an operator to allow, and nothing else; less KEYS, which stops a Redis
/// for as long as it takes.
const ACL: &str = "user ringcast on >se:cret ~ace_proxy:* resetchannels &ace_proxy:* \
                   +@read +@write +@scripting +@pubsub +cluster +info +ping +select -keys";

/// A viewer comes and goes, and is stopped: what each needs of Redis is there.
fn told_as_ever(n: u32, url: &str, view: &mut View) {
    let engine = rig::engine(rig::one_channel(n));
    let server = mirrored(&[&engine], url).start().ready();
    await_state(&server, "up");
    let infohash = rig::infohash(n);
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let second = Watch::of(Player::open(server.address, &path_of(&infohash)));
    await_clients(view, &infohash, &[&watch.id, &second.id]);
    eventually("an owner", || view.owner(&infohash));
    let index = view.key(&infohash, "buffer:index");
    eventually("a snapshot", || view.text(&index));
    let order = json!({"event": "client_stop", "client_id": second.id}).to_string();
    let channel = view.channel(&infohash);
    view.call(&["PUBLISH", &channel, &order]);
    await_clients(view, &infohash, &[&watch.id]);
    eventually("its end", || second.has_ended().then_some(()));
    watch.leave_unbroken();
    await_end(view, &infohash);
    assert!(server.stop().success());
}

#[test]
fn a_unix_socket() {
    let redis = Redis::with(&["unixsocket redis.sock"]);
    let path = redis.file("redis.sock");
    let client = Client::connect(&Place::Unix(path.clone())).expect("a socket");
    told_as_ever(2_080, &format!("unix://{}", path.display()), &mut View::new(client));
}

#[test]
fn a_user_who_may_do_no_more_than_the_page_says() {
    let inspector = "user inspector on >look ~* &* +@all";
    let redis = Redis::with(&["user default off", ACL, inspector]);
    let mut client = redis.client();
    client.call(&["AUTH", "inspector", "look"]);
    client.call(&["SELECT", "3"]);
    let url = format!("redis://ringcast:se%3Acret@{}/3", redis.address());
    let mut view = View::new(client);
    told_as_ever(2_082, &url, &mut view);
    let denied = view.call(&["ACL", "LOG"]);
    assert_eq!(denied, Reply::List(Vec::new()), "what was refused");
    view.call(&["SELECT", "0"]);
    assert_eq!(view.call(&["DBSIZE"]).number(), 0, "the URL names another one");
}

/// A certificate that nobody vouches for, as most of these servers have, and the lines that have a
/// server use it.
fn certified(folder: &Folder) -> Vec<String> {
    let path = |name: &str| folder.0.join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", &path("key.pem")])
        .args(["-out", &path("cert.pem")])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    vec![
        format!("tls-cert-file {}", path("cert.pem")),
        format!("tls-key-file {}", path("key.pem")),
        format!("tls-ca-cert-file {}", path("cert.pem")),
        "tls-auth-clients no".to_owned(),
    ]
}

/// With the port at which it speaks TLS.
fn speaking_tls() -> Option<(Redis, u16, Vec<String>, Folder)> {
    let port = free_port();
    let folder = Folder::new(port);
    let certified = certified(&folder);
    let mut lines = certified.clone();
    lines.push(format!("tls-port {port}"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let redis = Redis::with_what_not_all_know(&lines);
    if redis.is_none() {
        rig::say(&format!("NOT RUN: TLS ({} is built without)", rig::redis::program()));
    }
    Some((redis?, port, certified, folder))
}

#[test]
fn tls() {
    let Some((redis, port, ..)) = speaking_tls() else { return };
    let mut view = View::new(redis.client());
    let url = format!("rediss://127.0.0.1:{port}");
    // Not without being told to.
    let engine = rig::engine(rig::one_channel(2_098));
    let server = mirrored(&[&engine], &url).start().ready();
    server.await_line(&["WARN", "edis down", "ertificate"]);
    assert!(server.stop().success());
    told_as_ever(2_099, &format!("{url}#insecure"), &mut view);
}

/// Sentinel, too, has to speak TLS to the master that it names.
#[test]
fn sentinel_names_a_master_that_speaks_tls() {
    let Some((redis, port, mut lines, _folder)) = speaking_tls() else { return };
    lines.push("tls-replication yes".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let sentinel = Sentinel::watch(port, &lines);
    let url = format!("rediss+sentinel://{}/{}#insecure", sentinel.address(), Sentinel::NAME);
    told_as_ever(2_118, &url, &mut View::new(redis.client()));
}

#[test]
fn a_cluster_of_three() {
    let cluster = Cluster::start();
    let mut view = cluster.view();
    // Of different slots.
    let many: Vec<u32> = (2_084..2_090).collect();
    let config = many.iter().fold(Config::default(), |config, n| {
        config.channel(Channel::signed(&rig::infohash(*n)).bitrate_bps(1_000_000))
    });
    let engine = rig::engine(config);
    let server = mirrored(&[&engine], &cluster.url()).start().ready();
    await_state(&server, "up");
    let watches: Vec<(String, Watch)> = many
        .iter()
        .map(|n| {
            let infohash = rig::infohash(*n);
            let player = Player::open(server.address, &path_of(&infohash));
            (infohash, Watch::of(player))
        })
        .collect();
    let mut nodes_with_keys = 0;
    for (infohash, watch) in &watches {
        await_clients(&mut view, infohash, &[&watch.id]);
        eventually("an owner", || view.owner(infohash));
    }
    for node in &cluster.nodes {
        let mut client = node.client();
        nodes_with_keys += usize::from(client.call(&["DBSIZE"]).number() > 0);
        let errors = client.call(&["INFO", "errorstats"]).text().unwrap();
        assert!(!errors.contains("CROSSSLOT"), "{errors}");
    }
    assert!(nodes_with_keys >= 2, "six streams on {nodes_with_keys} of three nodes");
    for (infohash, watch) in watches {
        watch.leave_unbroken();
        await_end(&mut view, &infohash);
    }
    assert!(server.stop().success());
}

#[test]
fn commands_and_events_in_a_cluster() {
    let cluster = Cluster::start();
    // Messages reach the subscribers of every node.
    let heard = Subscriber::new(&cluster.nodes[2].place(), "ace_proxy:");
    told_as_ever(2_092, &cluster.url(), &mut cluster.view());
    heard.await_event("stream_started", |_| true);
    heard.await_event("stream_stopped", |_| true);
}

#[test]
fn sentinel_fails_over() {
    let mut sentinel = Sentinel::start();
    let url = sentinel.url();
    let weather = Weather::new(2_094, |engine| mirrored(&[engine], &url));
    let look = |sentinel: &Sentinel| View::new(sentinel.client_of_master());
    weather.passes(&mut sentinel, look, |sentinel| sentinel.master.kill(), Sentinel::fail_over);
}

#[test]
fn a_cluster_fails_over() {
    let mut cluster = Cluster::with_a_replica();
    let url = cluster.url_of_all();
    // A stream of the master that is going to die.
    let mut client = cluster.nodes[0].client();
    let mut slot = |n: u32| client.call(&["CLUSTER", "KEYSLOT", &rig::infohash(n)]).number();
    let n = (2_120..2_140).find(|n| slot(*n) < Cluster::FIRST_SLOTS).expect("a third of them");
    let weather = Weather::new(n, |engine| mirrored(&[engine], &url));
    let kill = |cluster: &mut Cluster| cluster.nodes[0].kill();
    weather.passes(&mut cluster, Cluster::view, kill, Cluster::fail_over);
}

#[test]
fn valkey() {
    let found = Command::new("valkey-server").arg("--version").output().is_ok();
    if !found {
        rig::say("NOT RUN: valkey (apt-get install valkey-server, where Debian has it)");
        return;
    }
    let redis = Redis::of(&["valkey-server"], &[]);
    told_as_ever(2_096, &redis.url(), &mut View::new(redis.client()));
}
