//! Real players: ffmpeg at its strictest, mpv and VLC play what comes out, from the first byte on,
//! whenever they join and behind a skip; the demonstration; and the same where io_uring is
//! forbidden.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::tool::Played;
use crate::rig::tool::Recording;
use crate::rig::tool::Tool;
use crate::slow;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::DEMO_CONTENT_ID;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use ace_emulator::signed::Signed;
use ace_emulator::signed::Video;
use ace_emulator::source::ts::AUDIO_PID;
use ace_emulator::source::ts::pid_of;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

/// The test card, six seconds of which come at once.
fn picture(n: u32) -> Emulator {
    let config = Config::default()
        .channel(Channel::picture("test card", &rig::infohash(n)))
        .knob(Knob::BurstBytes, 230_000)
        .knob(Knob::PieceBytes, 4_096);
    rig::engine(config)
}

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

fn all_clean(tools: Vec<Tool>) {
    let played: Vec<Played> = tools.into_iter().map(Tool::played).collect();
    for played in played {
        assert!(played.is_clean(), "{}", played.said);
    }
}

#[test]
fn ffmpeg_decodes_from_the_first_byte_whenever_it_joins() {
    rig::steadily(ffmpeg_joins);
}

fn ffmpeg_joins() {
    let engine = picture(300);
    let server = Server::with(&[&engine]).set("RINGCAST_JOIN_SECONDS", "5").start().ready();
    let mut clock = Player::open(server.address, &path(300));
    clock.play(200_000);
    let mut tools = Vec::new();
    for bytes in [100, 7_000, 3_000, 11_000, 2_000, 15_000, 9_000, 500, 13_000, 5_000] {
        clock.play_on(bytes);
        tools.push(Tool::ffmpeg(&server.url(&path(300)), 2));
    }
    all_clean(tools);
    assert_eq!(engine.control().counters().contents, 1);
}

#[test]
fn mpv_and_vlc_play_without_a_complaint() {
    // They also complain of what comes late.
    rig::steadily(mpv_and_vlc);
}

fn mpv_and_vlc() {
    let engine = picture(310);
    let server = Server::with(&[&engine]).start().ready();
    let url = server.url(&path(310));
    all_clean(vec![Tool::mpv(&url, 3), Tool::vlc(&url, 3)]);
    server.await_line(&["viewer start", "agent=\"libmpv\""]);
    server.await_line(&["viewer start", "agent=\"VLC"]);
}

/// What the tests here go by: each of the players notices a hole that nobody declared.
#[test]
fn the_players_would_notice_missing_packets() {
    let engine = picture(320);
    engine.control().set_for(&rig::infohash(320), Knob::LoseAtBytes, 188 * 600_u64);
    engine.control().set_for(&rig::infohash(320), Knob::LoseBytes, 188 * 23_u64);
    let server = Server::with(&[&engine]).set("RINGCAST_JOIN_SECONDS", "30").start().ready();
    let mut first = Player::open(server.address, &path(320));
    first.record();
    first.play(220_000);
    let recording = Recording::new("hole", &first.recording());
    let file = recording.path();
    let tools = [Tool::ffmpeg_whole(file), Tool::mpv(file, 4), Tool::vlc(file, 4)];
    for played in tools.map(Tool::played) {
        assert!(!played.is_clean(), "{}", played.said);
    }
}

/// What a player was sent that had to skip. None: the skip has cut a sound of two packets in two
/// (one in eight hundred does), and no decoder can make that whole.
fn skipped(server: &Server, live: &mut Player) -> Option<Vec<u8>> {
    let mut behind = Player::ask_narrow(server.address, &path(330), slow::NARROW).begin();
    behind.record();
    slow::fall_behind(live, &mut behind);
    let report = slow::play_past_skip(&mut behind);
    assert!(report.is_lawful() && report.gap_count >= 1, "{report:?}");
    behind.play_on(slow::SECOND * 2);
    let source = Signed::new(behind.source().unwrap()).unwrap();
    let report = behind.report();
    let is_cut = report.gaps.iter().any(|(missed, _)| {
        let packet = source.packet(*missed);
        pid_of(&packet) == AUDIO_PID && packet[1] & 0x40 == 0
    });
    (!is_cut).then(|| behind.recording())
}

#[test]
fn players_go_on_behind_a_skip() {
    rig::steadily(players_behind_a_skip);
}

fn players_behind_a_skip() {
    let engine = slow::engine(330);
    let server = slow::small(Server::with(&[&engine])).start().ready();
    let mut live = Player::open(server.address, &path(330));
    live.play(slow::SECOND);
    let mut bytes = skipped(&server, &mut live);
    while bytes.is_none() {
        bytes = skipped(&server, &mut live);
    }
    let recording = Recording::new("skip", &bytes.unwrap());
    let file = recording.path();
    all_clean(vec![Tool::ffmpeg(file, 3), Tool::mpv(file, 3), Tool::vlc(file, 3)]);
}

#[test]
fn a_channel_without_a_picture_starts_at_once() {
    rig::steadily(a_channel_without_a_picture);
}

fn a_channel_without_a_picture() {
    let channel = Channel::signed(&rig::infohash(340)).bitrate_bps(192_000).video(Video::None);
    // Half a second of sound is there; then it comes as it is made.
    let config = Config::default().channel(channel).knob(Knob::BurstBytes, 12_000);
    let engine = rig::engine(config.knob(Knob::PieceBytes, 1_000));
    let server = Server::with(&[&engine]).start().ready();
    let begun = rig::stopwatch();
    let mut player = Player::open(server.address, &path(340));
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    let report = player.play(20_000);
    assert!(report.is_unbroken(), "{report:?}");
    let url = server.url(&path(340));
    all_clean(vec![Tool::ffmpeg(&url, 1), Tool::mpv(&url, 2)]);
}

#[test]
fn the_demonstration_shows_a_picture_and_says_where() {
    rig::steadily(a_demonstration);
}

fn a_demonstration() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let wished = busy.local_addr().unwrap();
    let server = Server::demo().arg("--listen").arg(&wished.to_string()).start().ready();
    assert_ne!(server.address, wished, "the port is taken");
    let said = server.await_line(&["port", &wished.port().to_string(), "in use"]);
    assert!(said.contains(&server.address.port().to_string()), "{said}");
    let url = server.url(&format!("/ace/getstream?id={DEMO_CONTENT_ID}"));
    for player in ["vlc", "mpv", "ffplay"] {
        server.await_line(&[player, &url]);
    }
    // Two seconds are promised.
    let begun = rig::stopwatch();
    all_clean(vec![Tool::ffmpeg_picture(&url)]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.count("engine_sessions"), 1);
    assert!(server.stop().success());
}

#[test]
fn all_of_it_works_where_io_uring_is_forbidden() {
    rig::steadily(everything_without_io_uring);
}

fn everything_without_io_uring() {
    let found = Command::new("strace").arg("-V").output().is_ok_and(|out| out.status.success());
    assert!(found, "strace is not installed");
    let engine = slow::engine(350);
    let mut command = Command::new("strace");
    // The tracer stands aside, so that the child is the server itself.
    command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]);
    command.args(["-e", "trace=io_uring_setup", "-e", "inject=io_uring_setup:error=EPERM"]);
    command.arg(env!("CARGO_BIN_EXE_ringcast"));
    let specs = format!("{},name=e0", engine.addr());
    let server = slow::small(Server::from_command(command, &specs)).start().ready();
    assert_eq!(server.api("/api/v1/status")["send_path"], "epoll shared");

    let mut players: Vec<Player> =
        (0..10).map(|_| Player::open(server.address, &path(350))).collect();
    rig::play_together(&mut players, 1_500_000);
    // The memory file serves those who have caught up, which takes a busy machine some more.
    let shared = || server.metric("ringcast_send_shared_bytes_total");
    let mut until = 1_500_000;
    while shared() == 0.0 {
        until += slow::SECOND / 8;
        assert!(until < 20 * slow::SECOND, "the memory file serves nobody");
        rig::play_together(&mut players, until);
    }
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    assert_eq!(engine.control().counters().getstreams, 1);
    server.await_viewers(10);
    assert_eq!(server.metric("ringcast_send_zerocopy_bytes_total"), 0.0);
    for player in players {
        player.leave();
    }
    server.await_viewers(0);

    slow::a_slow_viewer_skips(&server, 350);
    let mut last = Player::open(server.address, &path(350));
    last.play(500_000);
    let mut server = server;
    server.signal(rustix::process::Signal::TERM);
    assert!(last.play_out().is_unbroken());
    assert!(server.wait().success());
    assert_eq!(engine.control().sessions_open(), 0, "the session was stopped");
}
