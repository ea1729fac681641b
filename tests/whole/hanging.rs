//! Engines that take a request and say nothing, or hang up on it.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Knob;
use std::time::Duration;

const SECOND: u64 = 250_000;

#[test]
fn an_engine_that_hangs_up_is_left_for_one_that_works() {
    let (bad, good) = (rig::engine(rig::one_channel(1_501)), rig::engine(rig::one_channel(1_501)));
    let specs = format!("{},name=bad,forwarded {},name=good", bad.addr(), good.addr());
    let server = rig::both_up(Server::with_specs(&specs).start().ready());
    bad.control().set(Knob::Reset, true);
    let path = format!("/ace/getstream?infohash={}", rig::infohash(1_501));
    let mut player = Player::open(server.address, &path);
    assert_eq!(player.status, 200, "{}", player.head);
    assert!(player.play(2 * SECOND).is_unbroken());
    assert_eq!(good.control().sessions_open(), 1);
}

#[test]
fn an_engine_that_never_opens_is_a_504_and_nothing_hangs_behind_it() {
    let engine = rig::engine(rig::one_channel(1_502));
    engine.control().set_for(&rig::infohash(1_599), Knob::HangGetstream, true);
    let server = Server::with(&[&engine])
        .set("PROXY_INIT_TIMEOUT", "3")
        .set("RINGCAST_START_TIMEOUT", "4")
        .start()
        .ready();
    let hanging = format!("/ace/getstream?infohash={}", rig::infohash(1_599));
    let waiting: Vec<_> = (0..10).map(|_| Player::ask(server.address, &hanging)).collect();
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(1_502)));
    assert!(player.play(2 * SECOND).is_unbroken(), "a channel beside it plays");
    for asked in waiting {
        let reply = asked.reply();
        assert_eq!((reply.status, reply.error_code().as_str()), (504, "nothing_to_play"));
    }
    eventually("only the channel that plays", || (server.count("streams") == 1).then_some(()));
}

#[test]
fn silent_stat_and_resolution_cost_a_player_nothing() {
    let engine = rig::engine(rig::one_channel(1_503));
    let server = Server::with(&[&engine]).start().ready();
    engine.control().set(Knob::HangStat, true);
    engine.control().set(Knob::HangGetStatus, true);
    // Resolution gives up after 3 s and a second try; the id is then opened as it was given.
    engine.control().set(Knob::HangMediaFiles, true);
    let begun = rig::stopwatch();
    let path = Server::play(&rig::content_id(1_503));
    let mut player = Player::open(server.address, &path);
    assert!(begun.elapsed() < 5 * Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(player.status, 200, "{}", player.head);
    assert!(player.play(4 * SECOND).is_unbroken());
}
