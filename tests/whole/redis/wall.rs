//! The wall clock jumps under a server that plays, tells Redis and keeps a journal: times that are said
//! follow it, and nothing is decided by it.

use super::await_clients;
use super::await_state;
use super::mirrored;
use super::path_of;
use super::time_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Start;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

const SECOND: u64 = super::SECOND;

/// A wall clock for one server, which is wrong by as many seconds as the test says.
struct WallClock {
    folder: PathBuf,
    wrong_s: std::fs::File,
}

impl WallClock {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("ringcast-wall-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/wall.c");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.join("wall.so")).arg(source);
        let made = command.output().expect("cc, which links this program too");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let wrong_s = std::fs::File::create(folder.join("wrong_s")).unwrap();
        let clock = Self { folder, wrong_s };
        clock.is_wrong_by(0);
        clock
    }

    fn of(&self, start: Start) -> Start {
        let path = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let start = start.set("LD_PRELOAD", &path("wall.so"));
        start.set("WALL_CLOCK_FILE", &path("wrong_s")).set("RINGCAST_STATE_DIR", &path("state"))
    }

    fn is_wrong_by(&self, seconds: i64) {
        self.wrong_s.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn journals(&self) -> usize {
        std::fs::read_dir(self.folder.join("state")).unwrap().count()
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_wall_clock_that_jumps_moves_what_is_said_and_nothing_else() {
    let clock = WallClock::new();
    let redis = Redis::start();
    let engine = rig::engine(rig::one_channel(2_190));
    let infohash = rig::infohash(2_190);
    let server = clock.of(mirrored(&[&engine], &redis.url())).start().ready();
    await_state(&server, "up");
    let mut view = View::new(redis.client());
    let stays = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let owner = eventually("an owner", || view.owner(&infohash));
    let epoch = view.epoch(&infohash);
    // An hour back, two forward, and right again.
    for wrong_s in [-3_600, 3_600, 0] {
        clock.is_wrong_by(wrong_s);
        let mut guest = Player::open(server.address, &path_of(&infohash));
        assert!(guest.play(SECOND).is_unbroken());
        await_clients(&mut view, &infohash, &[&stays.id, &guest.id()]);
        let told = time_of(&view.client(&infohash, &guest.id())["connected_at"]);
        let now = ace_emulator::now_us() as f64 / 1e6;
        let off = told - (now + wrong_s as f64);
        assert!(off.abs() < 60.0, "what is said is said by this clock: {off} s");
        // Longer than the records and the lease live without being told anew.
        rig::while_they_play(std::slice::from_mut(&mut guest), || stays.await_more(5 * SECOND));
        await_clients(&mut view, &infohash, &[&stays.id, &guest.id()]);
        assert_eq!((view.owner(&infohash), view.epoch(&infohash)), (Some(owner.clone()), epoch));
        assert!(guest.report().is_unbroken(), "{:?}", guest.report());
        guest.leave();
        await_clients(&mut view, &infohash, &[&stays.id]);
    }
    server.await_lines(3, &["viewer end", "reason=left"]);
    let row = server.api(&format!("/api/v1/streams/{infohash}"));
    assert_eq!((&row["failovers"], &row["discontinuities"]), (&0.into(), &0.into()));
    assert_eq!(engine.control().counters().sessions_opened, 1);
    clock.is_wrong_by(-3_600);
    stays.leave_unbroken();
    rig::await_stops(&engine, 1);
    assert!(server.stop().success());
    assert_eq!(clock.journals(), 0, "nothing is left to be stopped");
}
