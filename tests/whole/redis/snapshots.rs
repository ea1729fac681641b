//! The streams' last seconds in Redis: what is there is whole, in order, and of this session; and a
//! node that starts again has a picture before its engine has given it a byte.

use super::SECOND;
use super::await_state;
use super::mirrored;
use super::path_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Start;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Folder;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use ace_emulator::Verifier;
use rustix::process::Signal;

const PACKET: usize = 188;
const CHUNK_BYTES_MAX: usize = 100_000;

/// With chunks that come several times a second.
fn snapshotting(engine: &Emulator, redis: &Redis) -> Start {
    mirrored(&[engine], &redis.url()).set("PROXY_CHUNK_SIZE", &CHUNK_BYTES_MAX.to_string())
}

fn up(start: Start) -> Server {
    let server = start.start().ready();
    await_state(&server, "up");
    server
}

fn number(view: &mut View, infohash: &str, suffix: &str) -> Option<u64> {
    let key = view.key(infohash, suffix);
    view.text(&key).map(|text| text.parse().expect("a number"))
}

/// Of the newest chunk, which never goes back; so many later than the first that was seen.
fn await_chunks(view: &mut View, infohash: &str, more: u64) -> u64 {
    let first = eventually("a chunk", || number(view, infohash, "buffer:index"));
    let mut highest = first;
    eventually("chunks", || {
        let now = number(view, infohash, "buffer:index").expect("it stays");
        assert!(now >= highest, "the index went back from {highest} to {now}");
        highest = now;
        (highest >= first + more).then_some(highest)
    })
}

/// What `snapshot_first` and `snapshot_epoch` say.
fn series(view: &mut View, infohash: &str) -> Option<(u64, u64)> {
    let metadata = view.metadata(infohash);
    let field = |name: &str| metadata.get(name).map(|text| text.parse().expect("a number"));
    Some((field("snapshot_first")?, field("snapshot_epoch")?))
}

#[test]
fn the_chunks_are_the_stream_and_go_with_it() {
    let redis = Redis::start();
    let engine = rig::engine(rig::one_channel(2_110));
    let server = up(snapshotting(&engine, &redis).set("PROXY_BUFFER_TTL", "10"));
    let infohash = rig::infohash(2_110);
    let mut view = View::new(redis.client());
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let index = await_chunks(&mut view, &infohash, 3);

    let (first, epoch) = series(&mut view, &infohash).expect("before the first chunk");
    assert!(first <= index, "{first}..={index}");
    assert_eq!(view.epoch(&infohash), Some(epoch));
    let mut verifier = Verifier::expecting(engine.control().signed_config(&infohash).unwrap());
    for n in first..=index {
        let key = view.key(&infohash, &format!("buffer:chunk:{n}"));
        let chunk = view.bytes(&key).unwrap_or_else(|| panic!("chunk {n} of {first}..={index}"));
        let length = chunk.len();
        assert!(length > 0 && length.is_multiple_of(PACKET), "{n}: {length} bytes");
        assert!(length <= CHUNK_BYTES_MAX, "{n}: {length} bytes");
        verifier.feed(&chunk);
        let ttl_ms = view.ttl_ms(&key).expect("a chunk goes");
        assert!(ttl_ms <= 10_000, "{ttl_ms}");
    }
    let report = verifier.report();
    assert_eq!((report.wrong_packets, report.gap_count), (0, 0), "{report:?}");
    assert!(report.source_packets > 1_000, "{report:?}");
    assert!(server.metric("ringcast_redis_snapshot_bytes_total") >= report.bytes as f64);

    watch.leave_unbroken();
    rig::await_stops(&engine, 1);
    eventually("the chunks to go with the session, and not only by their time", || {
        let suffixes = view.suffixes(&infohash);
        let gone = suffixes.iter().all(|suffix| !suffix.starts_with("buffer:"));
        (gone && series(&mut view, &infohash).is_none()).then_some(())
    });
}

#[test]
fn snapshots_can_be_switched_off() {
    let redis = Redis::start();
    let engine = rig::engine(rig::one_channel(2_112));
    let server = up(snapshotting(&engine, &redis).set("RINGCAST_SNAPSHOTS", "off"));
    let infohash = rig::infohash(2_112);
    let mut view = View::new(redis.client());
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    super::await_clients(&mut view, &infohash, &[&watch.id]);
    watch.await_more(SECOND);
    let suffixes = view.suffixes(&infohash);
    assert!(suffixes.iter().all(|suffix| !suffix.starts_with("buffer:")), "{suffixes:?}");
    watch.leave_unbroken();
}

/// Plays on a first server until there are chunks, ends it with `signal`, and has an engine that is
/// silent when the second one is up. The newest chunk then.
fn leave_chunks(start: Start, signal: Signal, view: &mut View, engine: &Emulator, n: u32) -> u64 {
    let infohash = rig::infohash(n);
    let mut server = up(start);
    let mut player = Player::open(server.address, &path_of(&infohash));
    let playing = std::thread::spawn(move || player.play_out());
    await_chunks(view, &infohash, 4);
    engine.control().set(Knob::SilentPrebuf, true);
    server.signal(signal);
    server.wait();
    assert!(playing.join().expect("it played").is_unbroken());
    number(view, &infohash, "buffer:index").expect("they outlive the process")
}

/// The second server's first viewer: it has a picture, and its engine has given nothing.
fn primed(server: &Server, engine: &Emulator, n: u32) -> Player {
    let contents = engine.control().counters().contents;
    let mut player = Player::open(server.address, &path_of(&rig::infohash(n)));
    assert_eq!(player.status, 200, "{}", player.head);
    let report = player.play(50_000);
    assert!(report.is_unbroken(), "from a random access point on: {report:?}");
    assert_eq!(engine.control().counters().contents, contents, "no engine has given a byte");
    assert!(server.metric("ringcast_streams_primed_total") > 0.5);
    player
}

#[test]
fn a_killed_node_that_starts_again_has_a_picture_before_its_engine() {
    let redis = Redis::start();
    // The engine's burst reaches back over the time in which nobody ran.
    let engine = rig::engine(rig::one_channel(2_113).knob(Knob::BurstBytes, 40 * SECOND));
    let state = Folder::new(redis.port + 1);
    let start = || {
        let state = state.0.to_str().unwrap();
        snapshotting(&engine, &redis).set("RINGCAST_STATE_DIR", state)
    };
    let mut view = View::new(redis.client());
    leave_chunks(start(), Signal::KILL, &mut view, &engine, 2_113);
    let server = up(start());
    server.await_line(&["sessions of a dead process", "stopped=1"]);
    let mut player = primed(&server, &engine, 2_113);
    engine.control().clear(Knob::SilentPrebuf);
    rig::while_they_play(std::slice::from_mut(&mut player), || {
        server.await_line(&["stream goes on", "join=overlap"]);
    });
    // What the engine gives is recognised: nothing is lost, nothing comes twice.
    let report = player.play_on(SECOND);
    assert!(report.is_unbroken() && report.inserted.marks == 0, "{report:?}");
    assert!(engine.control().sessions().iter().all(|session| session.stops <= 1));
    player.leave();
    assert!(server.stop().success());
    assert_eq!(engine.control().sessions_open(), 0);
}

#[test]
fn a_node_that_is_restarted_goes_on_where_it_ended_at_a_declared_place() {
    let redis = Redis::start();
    // Less than the restart takes: there is a gap, and it is declared.
    let engine = rig::engine(rig::one_channel(2_114).knob(Knob::BurstBytes, 20_000_u64));
    let infohash = rig::infohash(2_114);
    let mut view = View::new(redis.client());
    let start = || snapshotting(&engine, &redis);
    let index = leave_chunks(start(), Signal::TERM, &mut view, &engine, 2_114);
    let (first, epoch) = series(&mut view, &infohash).expect("they outlive the process");
    assert!(first <= index);
    let server = up(start());
    let mut player = primed(&server, &engine, 2_114);
    engine.control().clear(Knob::SilentPrebuf);
    let report = player.play(6 * SECOND);
    assert!(report.is_lawful() && report.gap_count == 1, "{report:?}");
    assert_eq!(report.gaps_off_access_point, 0, "{report:?}");
    let row = server.api(&format!("/api/v1/streams/{infohash}"));
    assert_eq!(row["discontinuities"], 1, "counted: {row}");
    // The chunks go on behind those of the last owner, and are not mixed with them.
    let watch = Watch::of(player);
    let (first, epoch) = eventually("chunks of the new owner", || {
        series(&mut view, &infohash).filter(|(_, newer)| *newer > epoch)
    });
    assert!(first > index, "{first} after {index} of epoch {epoch}");
    assert!(await_chunks(&mut view, &infohash, 1) > index);
    watch.end().leave();
}

#[test]
fn who_was_primed_is_told_when_no_engine_follows() {
    let redis = Redis::start();
    let engine = rig::engine(rig::one_channel(2_115));
    let mut view = View::new(redis.client());
    let start = || snapshotting(&engine, &redis);
    leave_chunks(start(), Signal::KILL, &mut view, &engine, 2_115);
    let server = up(start().set("RINGCAST_START_TIMEOUT", "3"));
    let mut player = primed(&server, &engine, 2_115);
    let report = player.play_to_the_end();
    assert!(report.is_unbroken() && report.inserted.nulls >= 1, "{report:?}");
    server.await_line(&["viewer end", "reason=engine_gone"]);
    eventually("no stream", || (server.count("streams") == 0).then_some(()));
}
