//! Engines that refuse, hang, lie or speak HTTP in their own way.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Web;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Knob;

const SECOND: u64 = 250_000;

fn by_infohash(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

fn config(channels: std::ops::Range<u32>) -> Config {
    channels.fold(rig::one_channel(599), |config, n| {
        let channel = Channel::signed(&rig::infohash(n)).content_id(&rig::content_id(n));
        config.channel(channel.bitrate_bps(2_000_000))
    })
}

#[test]
fn only_the_engine_that_was_granted_is_ever_dialled() {
    let foreign = Web::json("{}");
    let engine = rig::engine(config(500..502));
    let host = foreign.address.to_string();
    engine.control().set_for(&rig::infohash(500), Knob::WrongHost, host.as_str());
    engine.control().set_for(&rig::infohash(501), Knob::RedirectTo, host.as_str());
    let server = Server::with(&[&engine]).start().ready();
    for n in 500..502 {
        let mut player = Player::open(server.address, &by_infohash(n));
        assert_eq!(player.status, 200, "{}", player.head);
        assert!(player.play(4 * SECOND).is_unbroken());
        player.leave();
    }
    rig::await_stops(&engine, 2);
    assert_eq!(foreign.connections(), 0, "a foreign host was dialled");
}

#[test]
fn every_framing_of_a_body_is_read_byte_for_byte() {
    let low = |n| Channel::signed(&rig::infohash(n)).bitrate_bps(400_000);
    let config = (510..513).fold(Config::default(), |config, n| config.channel(low(n)));
    let engine = rig::engine(config.knob(Knob::BurstBytes, 120_000_u64));
    let server = Server::with(&[&engine]).start().ready();
    engine.control().set_for(&rig::infohash(510), Knob::ChunkBytes, 1_u64);
    engine.control().set_for(&rig::infohash(511), Knob::BodyMode, "length");
    engine.control().set_for(&rig::infohash(512), Knob::BodyMode, "close");
    for n in 510..513 {
        let mut player = Player::open(server.address, &by_infohash(n));
        let report = player.play(150_000);
        assert!(report.is_unbroken(), "{n}: {report:?}");
    }
}

#[test]
fn a_broken_engine_is_left_for_one_that_works() {
    let web = |reply: &'static str| Web::new(move |_| reply.as_bytes().to_vec());
    let broken = [
        web("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot JSON!"),
        web("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        web(""),
    ];
    let engine = rig::engine(config(520..523));
    for (at, web) in broken.iter().enumerate() {
        let specs = format!("{},name=bad,forwarded {},name=good", web.address, engine.addr());
        let server = Server::with_specs(&specs).start().ready();
        let n = 520 + at as u32;
        let mut player = Player::open(server.address, &by_infohash(n));
        assert_eq!(player.status, 200, "{}", player.head);
        assert!(player.play(2 * SECOND).is_unbroken());
        player.leave();
        rig::await_stops(&engine, at as u64 + 1);
    }
}

#[test]
fn two_names_of_one_content_become_one_stream_when_the_engine_cannot_resolve() {
    let engines = [rig::engine(config(530..534)), rig::engine(config(530..534))];
    for engine in &engines {
        engine.control().set(Knob::UnknownMediaFiles, true);
    }
    let server = Server::with(&[&engines[0], &engines[1]]).start().ready();
    for n in 530..534 {
        let mut first = Player::open(server.address, &by_infohash(n));
        first.play(SECOND);
        let mut second = Player::open(server.address, &Server::play(&rig::content_id(n)));
        assert_eq!(second.status, 200, "{}", second.head);
        assert!(second.play(2 * SECOND).is_unbroken());
        assert!(first.play(4 * SECOND).is_unbroken(), "the first one plays on");
    }
    eventually("the second sessions' stops", || {
        let open: usize = engines.iter().map(|engine| engine.control().sessions_open()).sum();
        (open == 0).then_some(())
    });
    for engine in &engines {
        let counters = engine.control().counters();
        assert_eq!(counters.stops, counters.sessions_opened, "{counters:?}");
        assert_eq!((counters.double_stops, counters.superseded_stops), (0, 0));
    }
}
