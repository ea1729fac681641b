//! What a twin may hold and what it is charged for.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

use super::Fixture;
use super::SLAB;
use super::check;
use super::check_turn;
use super::fixture;
use super::small_arena;
use crate::base::sizes::MIB;
use crate::base::sizes::SLAB_PACKETS_AT_4K;
use crate::ring::Arena;
use crate::ring::ArenaConfig;
use crate::ring::SlabCache;
use crate::ring::TwinError;
use crate::ring::Writer;
use std::sync::atomic::Ordering;

const WINDOW: u64 = 4 * SLAB;

/// The window from a slab's end on, and the last turn's bytes.
const HELD_MAX: u64 = WINDOW + 2 * SLAB;

#[test]
fn its_memory_is_the_window_and_a_slab_or_two() {
    let mut f = fixture(64, 8);
    f.writer.open_twin(WINDOW).unwrap();
    for _ in 0..100 {
        f.go(1);
        assert!(f.held() <= HELD_MAX, "{} slabs", f.held() / SLAB);
    }
    assert!(f.held() >= WINDOW);
    f.writer.close_twin();
    assert_eq!((f.held(), f.arena.twin_bytes()), (0, 0));
}

/// What the bound above would see of a twin that gives nothing back.
#[test]
fn without_punching_it_would_hold_all_that_was_ever_written() {
    let mut f = fixture(64, 8);
    f.writer.open_twin(WINDOW).unwrap();
    f.file().pretend.keeps_pages.store(true, Ordering::Relaxed);
    f.go(100);
    assert!(f.held() >= 100 * SLAB, "{} slabs", f.held() / SLAB);
}

#[test]
fn a_running_turn_holds_what_came_since_it_began_and_no_more() {
    let mut f = fixture(256, 64);
    let mut reader = f.reader(0);
    f.go(32);
    f.writer.open_twin(WINDOW).unwrap();
    let turn = reader.turn(Some(0));
    f.go(10);
    assert!((13 * SLAB..=HELD_MAX + 10 * SLAB).contains(&f.held()), "{}", f.held() / SLAB);
    drop(turn);
    f.writer.tend(&mut f.cache);
    assert!(f.held() <= HELD_MAX);
}

#[test]
fn an_operation_in_flight_holds_nothing_of_it() {
    let mut f = fixture(256, 64);
    let mut reader = f.reader(0);
    f.go(8);
    f.writer.open_twin(WINDOW).unwrap();
    let pinned = reader.turn(Some(SLAB)).pin(SLAB, 1_000);
    f.go(30);
    assert!(f.held() <= HELD_MAX);
    reader.done(pinned);
}

#[test]
fn it_is_never_older_than_the_ring() {
    let mut f = fixture(64, 4);
    f.writer.open_twin(20 * SLAB).unwrap();
    f.go(60);
    assert!(f.held() <= 6 * SLAB, "{}", f.held() / SLAB);
    let (tail, head) = (f.writer.tail(), f.writer.head());
    assert_eq!(check_turn(&mut f.reader(0), tail), head - tail);
}

#[test]
fn it_begins_with_four_megabytes_at_most() {
    let mut f = fixture(128, 64);
    f.go(60);
    f.writer.open_twin(40 * SLAB).unwrap();
    let head = f.writer.head();
    let mut reader = f.reader(0);
    assert_eq!(check_turn(&mut reader, head - 4 * MIB), 0);
    assert_eq!(check_turn(&mut reader, head - 20 * SLAB), 20 * SLAB);
}

#[test]
fn the_charge_is_all_or_nothing_and_comes_back() {
    let mut f = fixture(32, 4);
    f.go(6);
    // 32 slabs: 2 kept back, 2 promised, 4 and a batch of the cache taken.
    let free = u64::from(f.arena.slabs_free()) - 2;
    for window in [free * SLAB, u64::MAX, 1 << 45] {
        assert!(matches!(f.writer.open_twin(window), Err(TwinError::NoMemory)));
        assert_eq!((f.arena.twin_bytes(), f.writer.has_twin()), (0, false));
    }
    f.writer.open_twin((free - 1) * SLAB).unwrap();
    assert_eq!(f.arena.twin_bytes(), free * SLAB);
    f.writer.close_twin();
    assert_eq!(f.arena.twin_bytes(), 0);
    f.writer.open_twin((free - 1) * SLAB).unwrap();
}

#[test]
fn what_is_charged_is_neither_taken_nor_promised() {
    let arena = small_arena(SLAB_PACKETS_AT_4K, 32);
    let promise = arena.promise(2 * SLAB).unwrap();
    let mut writer = Writer::open(arena, promise, 1, 64 * SLAB, 1);
    writer.open_twin(11 * SLAB).unwrap();
    assert_eq!(arena.twin_bytes(), 12 * SLAB);
    assert!(arena.promise(17 * SLAB).is_none(), "32 less 2 kept back, 2 promised, 12 charged");
    let promise = arena.promise(16 * SLAB).unwrap();
    assert!(arena.promise(1).is_none());
    drop(promise);
    let spare: Vec<_> = std::iter::from_fn(|| arena.take(true)).collect();
    assert_eq!((spare.len(), arena.slabs_free()), (18, 14));
    let kept: Vec<_> = std::iter::from_fn(|| arena.take(false)).collect();
    assert_eq!((kept.len(), arena.slabs_free()), (2, 12));
    writer.close_twin();
    assert!(arena.take(false).is_some());
    assert!(writer.close(&mut SlabCache::new(arena)).is_ok());
    assert_eq!(arena.slabs_promised(), 0);
}

#[test]
fn promises_and_charges_share_one_budget() {
    let arena = small_arena(SLAB_PACKETS_AT_4K, 32);
    let _held = arena.promise(25 * SLAB).unwrap();
    let mut writer = Writer::open(arena, arena.promise(0).unwrap(), 1, 8 * SLAB, 1);
    assert!(matches!(writer.open_twin(5 * SLAB), Err(TwinError::NoMemory)));
    writer.open_twin(4 * SLAB).unwrap();
}

/// The fixture with the slabs of a larger page.
fn paged(page_bytes: usize) -> Fixture {
    let config =
        ArenaConfig { budget_bytes: 512 * MIB, page_bytes, region_bytes_max: (64 * MIB) as usize };
    let arena = Arena::reserve(&config).unwrap();
    let promise = arena.promise(0).unwrap();
    let writer = Writer::open(arena, promise, 3, 40 * SLAB, 1);
    Fixture { arena, writer, cache: SlabCache::new(arena) }
}

/// Where the file's memory begins.
fn hole_end(f: &Fixture) -> u64 {
    rustix::fs::seek(f.file().fd(), rustix::fs::SeekFrom::Data(0)).expect("it holds something")
}

#[test]
fn pages_of_16_kib_are_punched_whole() {
    const PAGE: u64 = 16 * 1024;
    let mut f = paged(PAGE as usize);
    f.go(3);
    f.writer.open_twin(WINDOW).unwrap();
    for _ in 0..40 {
        f.go(1);
        let hole_end = hole_end(&f);
        assert!(hole_end.is_multiple_of(PAGE) && hole_end.is_multiple_of(4 * SLAB), "{hole_end}");
        assert!(f.held() <= WINDOW + 2 * 4 * SLAB);
    }
    let head = f.writer.head();
    assert_eq!(check_turn(&mut f.reader(0), head - WINDOW), WINDOW);
}

#[test]
fn larger_pages_and_slabs_that_are_no_pages_have_no_twin() {
    let mut f = paged(65_536);
    assert!(matches!(f.writer.open_twin(WINDOW), Err(TwinError::Page(65_536))));
    let arena = small_arena(4, 32);
    let mut writer = Writer::open(arena, arena.promise(0).unwrap(), 1, 64 * SLAB, 1);
    assert!(matches!(writer.open_twin(WINDOW), Err(TwinError::Page(_))));
    assert_eq!((f.arena.twin_bytes(), arena.twin_bytes()), (0, 0));
}

#[test]
fn huge_pages_are_punched_whole() {
    const HUGE: u64 = 2 * MIB;
    let mut f = fixture(512, 64);
    let mut reader = f.reader(0);
    f.go(8);
    f.writer.open_twin(20 * SLAB).unwrap();
    f.go(30);
    // Somebody allows the kernel huge pages while the stream runs.
    *f.file().pretend.page_bytes_max.lock().unwrap() = Some(HUGE);
    let head = f.writer.head();
    let turn = reader.turn(Some(head - 2 * SLAB));
    f.go(4);
    assert_eq!(check(&turn, head - 2 * SLAB, usize::MAX) as u64, 2 * SLAB);
    drop(turn);
    assert!(f.writer.has_twin(), "there was nothing to punch");
    f.go(1);
    assert!(!f.writer.has_twin(), "no punch of a slab is right any more");
    f.writer.open_twin(20 * SLAB).unwrap();
    let opened = hole_end(&f);
    for _ in 0..40 {
        f.go(1);
        let hole_end = hole_end(&f);
        assert!(hole_end == opened || hole_end.is_multiple_of(HUGE), "{hole_end}");
        assert!(f.held() <= f.arena.twin_bytes() + SLAB);
    }
    let head = f.writer.head();
    assert_eq!(check_turn(&mut reader, head - 20 * SLAB), 20 * SLAB);
    // What was huge may still be there: it stays so.
    *f.file().pretend.page_bytes_max.lock().unwrap() = None;
    f.go(40);
    assert!(hole_end(&f).is_multiple_of(HUGE));
    f.writer.close_twin();
    *f.file().pretend.page_bytes_max.lock().unwrap() = Some(16 * HUGE);
    assert!(matches!(f.writer.open_twin(20 * SLAB), Err(TwinError::HugePages(_))));
}
