//! How a twin comes, goes on, is given up and goes.

use super::SLAB;
use super::check;
use super::check_turn;
use super::fixture;
use crate::ring::TwinError;
use rustix::fs::SealFlags;

#[test]
fn it_has_the_window_and_what_comes() {
    let mut f = fixture(64, 16);
    let mut reader = f.reader(0);
    f.go(10);
    assert_eq!(check_turn(&mut reader, 9 * SLAB), 0, "there is none");
    f.writer.open_twin(4 * SLAB).unwrap();
    assert!(f.writer.has_twin());
    let head = f.writer.head();
    assert_eq!(check_turn(&mut reader, head), 0, "nothing at head");
    assert_eq!(check_turn(&mut reader, head - 3 * SLAB), 3 * SLAB);
    assert_eq!(check(&reader.turn(None), head - 500, 300), 300);
    assert_eq!(check(&reader.turn(None), head - 500, 0), 0);
    assert_eq!(check_turn(&mut reader, head - 5 * SLAB), 0);
    f.writer.open_twin(8 * SLAB).unwrap();
    assert_eq!(f.arena.twin_bytes(), 5 * SLAB, "it is open already");
    for _ in 0..40 {
        f.go(1);
        let head = f.writer.head();
        assert_eq!(check_turn(&mut reader, head - 4 * SLAB), 4 * SLAB);
        assert_eq!(check_turn(&mut reader, head - 5 * SLAB - 1), 0);
    }
}

#[test]
fn it_begins_anywhere_in_a_slab() {
    for packets in [0, 1, 500, 1_023, 1_024, 1_025] {
        let mut f = fixture(32, 8);
        let mut reader = f.reader(0);
        f.commit(packets);
        f.writer.open_twin(1).unwrap();
        let head = f.writer.head();
        f.commit(700);
        assert_eq!(check_turn(&mut reader, head), 700 * 188, "{packets}");
        f.go(9);
        let head = f.writer.head();
        assert_eq!(check_turn(&mut reader, head - SLAB), SLAB, "{packets}");
        assert!(f.held() <= 2 * SLAB + 4_096);
    }
}

#[test]
fn bytes_below_a_turns_floor_are_not_shared() {
    let mut f = fixture(32, 8);
    let mut reader = f.reader(0);
    f.go(6);
    f.writer.open_twin(4 * SLAB).unwrap();
    let head = f.writer.head();
    let turn = reader.turn(Some(head - SLAB));
    assert!(turn.shared(head - 2 * SLAB, 1).is_none());
    assert!(turn.reach(head - 2 * SLAB));
    assert_eq!(check(&turn, head - 2 * SLAB, 1_000), 1_000);
}

#[test]
fn a_turn_sends_what_it_began_with_whatever_the_owner_does() {
    let mut f = fixture(128, 64);
    f.go(8);
    f.writer.open_twin(4 * SLAB).unwrap();
    let [mut first, mut second, mut late] = [0, 1, 2].map(|index| f.reader(index));
    let oldest = f.writer.head() - 3 * SLAB;
    let (long, short) = (first.turn(Some(oldest)), second.turn(Some(oldest)));
    f.go(20);
    assert_eq!(check(&long, oldest, usize::MAX) as u64, 3 * SLAB);
    drop(short);
    f.writer.close_twin();
    assert_eq!(check(&long, oldest, usize::MAX) as u64, 3 * SLAB);
    assert!(late.turn(None).shared(f.writer.head() - 1, 1).is_none());
    f.writer.open_twin(4 * SLAB).unwrap();
    f.go(20);
    assert_eq!(check(&long, oldest, usize::MAX) as u64, 3 * SLAB);
    let head = f.writer.head();
    assert_eq!(check_turn(&mut late, head - 4 * SLAB), 4 * SLAB);
    drop(long);
    f.writer.tend(&mut f.cache);
    assert!(f.held() <= 6 * SLAB);
}

#[test]
fn a_turn_that_began_before_it_was_opened_sends_from_the_slabs() {
    let mut f = fixture(32, 8);
    let mut reader = f.reader(0);
    f.go(4);
    let turn = reader.turn(Some(2 * SLAB));
    f.writer.open_twin(4 * SLAB).unwrap();
    assert!(turn.shared(3 * SLAB, 1).is_none());
    drop(turn);
    assert!(check_turn(&mut reader, 3 * SLAB) > 0);
}

#[test]
fn a_write_that_fails_gives_it_up_and_loses_nothing() {
    for room in [0, 1, 188 * 300, 188 * 1_500] {
        let mut f = fixture(64, 8);
        let mut reader = f.reader(0);
        f.go(5);
        f.writer.open_twin(4 * SLAB).unwrap();
        let oldest = f.writer.head() - 3 * SLAB;
        let turn = reader.turn(Some(oldest));
        *f.file().pretend.room_bytes.lock().unwrap() = Some(room);
        f.commit(2_000);
        assert!(!f.writer.has_twin());
        assert_eq!(check(&turn, oldest, usize::MAX) as u64, 3 * SLAB, "a turn goes on");
        assert!(f.arena.twin_bytes() > 0, "as long as it is held, it is charged");
        assert!(matches!(f.writer.open_twin(4 * SLAB), Err(TwinError::Write(_))));
        assert!(!f.writer.has_twin());
        assert_eq!(check(&turn, oldest, usize::MAX) as u64, 3 * SLAB);
        drop(turn);
        let head = f.writer.head();
        assert_eq!(head, f.writer.written());
        super::check_bytes(reader.turn(None).bytes(head - 188, 188), head - 188);
        assert!(reader.turn(None).shared(head - 188, 188).is_none());
        f.writer.tend(&mut f.cache);
        assert_eq!((f.arena.twin_bytes(), f.held()), (0, 0));
        *f.file().pretend.room_bytes.lock().unwrap() = None;
        f.writer.open_twin(4 * SLAB).unwrap();
        assert_eq!(check_turn(&mut reader, head - 3 * SLAB), 3 * SLAB);
        f.go(5);
        let head = f.writer.head();
        assert_eq!(check_turn(&mut reader, head - 4 * SLAB), 4 * SLAB);
    }
}

#[test]
fn a_file_that_may_not_grow_is_given_up() {
    let mut f = fixture(32, 8);
    f.go(2);
    f.writer.open_twin(4 * SLAB).unwrap();
    rustix::fs::fcntl_add_seals(f.file().fd(), SealFlags::GROW).unwrap();
    f.go(1);
    assert!(!f.writer.has_twin());
    assert_eq!((f.arena.twin_bytes(), f.held()), (0, 0));
    assert!(matches!(f.writer.open_twin(4 * SLAB), Err(TwinError::Write(_))));
    f.go(1);
    assert_eq!((f.arena.twin_bytes(), f.held()), (0, 0));
}

#[test]
fn a_twin_ends_with_its_ring() {
    let mut f = fixture(32, 8);
    let mut reader = f.reader(0);
    f.go(4);
    f.writer.open_twin(4 * SLAB).unwrap();
    let head = f.writer.head();
    let turn = reader.turn(Some(head));
    let ring = f.writer.ring().clone();
    let mut writer = f.writer.close(&mut f.cache).expect_err("a turn may send from it");
    assert!(!writer.has_twin());
    assert!(matches!(writer.open_twin(SLAB), Err(TwinError::Ended)));
    drop(turn);
    assert!(writer.close(&mut f.cache).is_ok());
    assert_eq!(f.arena.twin_bytes(), 0);
    let stat = rustix::fs::fstat(ring.twin_file.get().unwrap().fd()).unwrap();
    assert_eq!(stat.st_blocks, 0);
    assert!(reader.turn(None).shared(head - 1, 1).is_none());
}

#[test]
fn a_writer_that_goes_away_takes_its_twin_along() {
    let mut f = fixture(32, 8);
    let mut reader = f.reader(0);
    f.go(4);
    f.writer.open_twin(4 * SLAB).unwrap();
    let head = f.writer.head();
    let turn = reader.turn(Some(head - SLAB));
    drop(f.writer);
    assert_eq!(f.arena.twin_bytes(), 0);
    assert_eq!(check(&turn, head - SLAB, usize::MAX) as u64, SLAB);
    drop(turn);
    assert!(reader.turn(None).shared(head - 1, 1).is_none());
}
