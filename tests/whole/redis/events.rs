//! What is published, and on which channels.

use super::SECOND;
use super::await_clients;
use super::await_state;
use super::mirrored;
use super::path_of;
use super::with_short_times;
use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Redis;
use crate::rig::redis::Subscriber;
use crate::rig::redis::View;
use ace_emulator::now_us;
use serde_json::Value;

fn check_common(json: &Value, worker: &str) {
    assert_eq!(json["content_id"], rig::content_id(2_020), "{json}");
    assert_eq!(json["infohash"], rig::infohash(2_020), "{json}");
    assert_eq!(json["worker_id"], worker, "{json}");
    let at = json["timestamp"].as_f64().expect("a time");
    assert!((now_us() as f64 / 1e6 - at).abs() < 30.0, "{json}");
}

#[test]
fn every_event_is_published_once_on_both_channels() {
    let redis = Redis::start();
    let engine = rig::engine(rig::one_channel(2_020));
    let heard = Subscriber::new(&redis.place(), "ace_proxy:");
    let server = mirrored(&[&engine], &redis.url()).start().ready();
    await_state(&server, "up");
    let (infohash, path) = (rig::infohash(2_020), Server::play(&rig::content_id(2_020)));
    let mut view = View::new(redis.client());
    let mut first = Player::open(server.address, &path);
    let mut second = Player::open(server.address, &path);
    let (one, two) = (first.id(), second.id());
    first.play(SECOND);
    let sent = second.play(2 * SECOND).bytes;
    await_clients(&mut view, &infohash, &[&one, &two]);
    let owner = eventually("an owner", || view.owner(&infohash));
    let epoch = view.epoch(&infohash).expect("an epoch");
    first.leave();
    await_clients(&mut view, &infohash, &[&two]);
    second.leave();
    rig::await_stops(&engine, 1);

    let plan = format!("ace_proxy:stream:{infohash}:events");
    let old = format!("ace_proxy:events:{infohash}");
    for channel in [&plan, &old] {
        let on = |said: &rig::redis::Message| said.channel == *channel;
        let started = heard.await_event("stream_started", on);
        check_common(&started.json, &owner);
        let changed =
            heard.await_event("owner_changed", |said| on(said) && said.json["owner"] == *owner);
        assert_eq!(changed.json["epoch"], epoch, "{}", changed.json);
        for (id, left) in [(&one, 1), (&two, 0)] {
            let of = |said: &rig::redis::Message| on(said) && said.json["client_id"] == **id;
            let connected = heard.await_event("client_connected", of);
            check_common(&connected.json, &owner);
            assert_eq!(connected.json["user_agent"], "test player");
            let gone = heard.await_event("client_disconnected", of);
            check_common(&gone.json, &owner);
            assert_eq!(gone.json["remaining_clients"], left, "{}", gone.json);
            assert_eq!(gone.json["reason"], "left");
            assert!(gone.json["bytes_sent"].as_u64().is_some_and(|bytes| bytes > 0));
            assert!(gone.json["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
        }
        let of_two = heard
            .await_event("client_disconnected", |said| on(said) && said.json["client_id"] == *two);
        assert!(of_two.json["bytes_sent"].as_u64() >= Some(sent), "{}", of_two.json);
        let stopped = heard.await_event("stream_stopped", on);
        check_common(&stopped.json, &owner);
        assert!(stopped.json["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        let events = heard.events_on(channel);
        for (event, times) in [
            ("stream_started", 1),
            ("stream_stopped", 1),
            ("client_connected", 2),
            ("client_disconnected", 2),
        ] {
            let said = events.iter().filter(|said| *said == event).count();
            assert_eq!(said, times, "{event} on {channel}: {events:?}");
        }
    }
    let strange: Vec<_> = heard
        .messages()
        .into_iter()
        .filter(|said| said.channel != plan && said.channel != old)
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(server.stop().success());
}

#[test]
fn a_failover_names_both_engines_as_they_are_called() {
    let redis = Redis::start();
    let engines = [rig::engine(rig::one_channel(2_021)), rig::engine(rig::one_channel(2_021))];
    let heard = Subscriber::new(&redis.place(), "ace_proxy:stream:");
    let specs = format!("{},name=a {},name=b", engines[0].addr(), engines[1].addr());
    let server = with_short_times(Server::with_specs(&specs), &redis.url()).start().ready();
    await_state(&server, "up");
    eventually("both engines up", || {
        let rows = server.api("/api/v1/engines");
        let up = rows["engines"].as_array()?.iter().filter(|row| row["state"] == "up").count();
        (up == 2).then_some(())
    });
    let infohash = rig::infohash(2_021);
    let mut view = View::new(redis.client());
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    watch.await_more(SECOND);
    let from = eventually("its engine", || view.metadata(&infohash).remove("engine_id"));
    let (dying, to) = if from == "a" { (&engines[0], "b") } else { (&engines[1], "a") };
    dying.control().kill();
    let failover = heard.await_event("stream_failover", |said| said.json["infohash"] == infohash);
    assert_eq!(failover.json["from_engine"], from, "{}", failover.json);
    assert_eq!(failover.json["to_engine"], to, "{}", failover.json);
    assert!(server.stop().success());
}
