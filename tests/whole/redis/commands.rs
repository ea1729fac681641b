//! What an operator or another tool may order by way of Redis.

use super::SECOND;
use super::await_clients;
use super::await_state;
use super::mirrored;
use super::path_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use ace_emulator::Channel;
use serde_json::json;

#[test]
fn a_viewer_or_a_channel_is_stopped_by_message_and_by_key() {
    let redis = Redis::start();
    let other = Channel::signed(&rig::infohash(2_031)).bitrate_bps(2_000_000);
    let engine = rig::engine(rig::one_channel(2_030).channel(other));
    let server = mirrored(&[&engine], &redis.url()).start().ready();
    await_state(&server, "up");
    let mut view = View::new(redis.client());
    let (infohash, beside) = (rig::infohash(2_030), rig::infohash(2_031));
    let mut watches: Vec<Watch> =
        (0..3).map(|_| Watch::of(Player::open(server.address, &path_of(&infohash)))).collect();
    let bystander = Watch::of(Player::open(server.address, &path_of(&beside)));
    let ids: Vec<String> = watches.iter().map(|watch| watch.id.clone()).collect();
    await_clients(&mut view, &infohash, &[&ids[0], &ids[1], &ids[2]]);
    await_clients(&mut view, &beside, &[&bystander.id]);
    let channel = view.channel(&infohash);
    let order = |view: &mut View, order: serde_json::Value| {
        view.call(&["PUBLISH", &channel, &order.to_string()]);
    };

    // Nonsense, and orders for somebody else, are nobody's.
    view.call(&["PUBLISH", &channel, "no JSON {"]);
    order(&mut view, json!({"event": "client_stop", "client_id": "nobody"}));
    order(&mut view, json!({"event": "something_new", "client_id": ids[0]}));
    order(&mut view, json!({"event": "client_stop", "content_id": infohash, "client_id": ids[0]}));
    let kicked = |id: &str| {
        server.await_line(&["viewer end", &format!("viewer={id} "), "reason=kicked"]);
    };
    kicked(&ids[0]);
    await_clients(&mut view, &infohash, &[&ids[1], &ids[2]]);

    let stop = view.key(&infohash, &format!("client:{}:stop", ids[1]));
    view.call(&["SET", &stop, "true", "EX", "30"]);
    kicked(&ids[1]);
    await_clients(&mut view, &infohash, &[&ids[2]]);
    assert!(!watches[2].has_ended());

    order(&mut view, json!({"event": "channel_stop", "content_id": infohash}));
    kicked(&ids[2]);
    eventually("the session's stop", || (engine.control().sessions_open() == 1).then_some(()));
    assert_eq!(engine.control().counters().stops, 1);
    for watch in watches.drain(..) {
        eventually("its end", || watch.has_ended().then_some(()));
        let report = watch.end().report();
        assert!(report.is_unbroken() && report.tail_partial_bytes == 0, "{report:?}");
    }
    bystander.await_more(SECOND);
    bystander.leave_unbroken();
    // A channel that was stopped is not forbidden.
    let again = Watch::of(Player::open(server.address, &path_of(&infohash)));
    await_clients(&mut view, &infohash, &[&again.id]);
    again.leave_unbroken();
}
