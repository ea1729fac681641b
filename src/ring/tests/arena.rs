//! Sizes, regions, promises, the free list and the caches.

use super::small_arena;
use crate::base::prng::Prng;
use crate::base::sizes::MIB;
use crate::ring::arena::Arena;
use crate::ring::arena::ArenaConfig;
use crate::ring::arena::ArenaError;
use crate::ring::arena::Slab;
use crate::ring::cache::SlabCache;
use crate::ring::free_list::FreeList;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

fn config(budget_bytes: u64, page_bytes: usize) -> ArenaConfig {
    ArenaConfig { budget_bytes, page_bytes, region_bytes_max: (64 * MIB) as usize }
}

#[test]
fn a_slab_is_whole_packets_and_whole_pages_for_every_page_size() {
    for page_bytes in [4_096, 16_384, 65_536] {
        let arena = Arena::reserve(&config(64 * MIB, page_bytes)).unwrap();
        assert!(arena.slab_bytes().is_multiple_of(188));
        assert!(arena.slab_bytes().is_multiple_of(page_bytes));
        assert_eq!(u64::from(arena.slabs_total()), 64 * MIB / arena.slab_bytes() as u64);
    }
    assert_eq!(Arena::reserve(&config(64 * MIB, 4_096)).unwrap().slab_bytes(), 192_512);
    assert_eq!(Arena::reserve(&config(64 * MIB, 16_384)).unwrap().slab_bytes(), 770_048);
}

#[test]
fn nonsense_is_refused() {
    let error = |budget, page| Arena::reserve(&config(budget, page)).err().unwrap();
    assert!(matches!(error(64 * MIB, 5_000), ArenaError::Page(5_000)));
    assert!(matches!(error(64 * MIB, 1_024), ArenaError::Page(1_024)));
    assert!(matches!(error(MIB, 4_096), ArenaError::Small { slabs: 5, .. }));
    assert!(matches!(error(u64::MAX, 4_096), ArenaError::Large(_)));
}

#[test]
fn regions_are_committed_when_they_are_needed() {
    let config = ArenaConfig {
        budget_bytes: 32 * MIB,
        page_bytes: 4_096,
        region_bytes_max: (8 * MIB) as usize,
    };
    let arena = Arena::reserve(&config).unwrap();
    assert_eq!((arena.slabs_total(), arena.committed_bytes()), (174, 0));
    let mut slabs = vec![arena.take(false).unwrap()];
    assert_eq!(arena.committed_bytes(), 43 * 192_512);
    while let Some(slab) = arena.take(false) {
        slabs.push(slab);
    }
    assert_eq!(slabs.len(), 174);
    assert_eq!(arena.committed_bytes(), 174 * 192_512);
    let regions: Vec<_> = arena.regions().collect();
    assert_eq!(regions.iter().map(|r| r.bytes / 192_512).collect::<Vec<_>>(), [43, 43, 43, 43, 2]);
    for pair in regions.windows(2) {
        assert_eq!(pair[0].ptr.wrapping_add(pair[0].bytes), pair[1].ptr);
    }
    assert_eq!(arena.slabs_free(), 0);
    for slab in slabs {
        arena.give(slab);
    }
    assert_eq!(arena.slabs_free(), 174);
}

#[test]
fn promises_leave_one_sixteenth() {
    let arena = Arena::reserve(&config(32 * MIB, 4_096)).unwrap();
    let promise = || arena.promise(8 * MIB);
    let held: Vec<_> = std::iter::from_fn(promise).collect();
    assert_eq!(held.len(), 3, "174 slabs less 10, 44 each");
    assert_eq!(arena.slabs_promised(), 132);
    drop(held);
    assert_eq!(arena.slabs_promised(), 0);
    assert!(arena.promise(33 * MIB).is_none());
    assert!(arena.promise(u64::MAX).is_none());
}

#[test]
fn spare_slabs_stop_where_the_reserve_begins() {
    let arena = small_arena(2, 32);
    let slabs: Vec<_> = std::iter::from_fn(|| arena.take(true)).collect();
    assert_eq!((slabs.len(), arena.slabs_free()), (30, 2));
    let rest: Vec<_> = std::iter::from_fn(|| arena.take(false)).collect();
    assert_eq!(rest.len(), 2);
}

#[test]
fn a_cache_takes_a_batch_and_gives_the_surplus_back() {
    let arena = small_arena(2, 512);
    let mut cache = SlabCache::new(arena);
    let mut slabs = vec![cache.take(None, true).unwrap()];
    assert_eq!((cache.len(), arena.slabs_free()), (7, 504));
    slabs.extend((0..20).map(|_| cache.take(None, true).unwrap()));
    assert_eq!((cache.len(), arena.slabs_free()), (3, 488));
    for slab in slabs {
        cache.give(slab);
        assert!(cache.len() <= 16);
    }
    drop(cache);
    assert_eq!(arena.slabs_free(), 512);
    let few = small_arena(2, 64);
    let mut cache = SlabCache::new(few);
    let _one = cache.take(None, true);
    assert!(cache.is_empty(), "a small arena is not emptied into caches");
}

#[test]
fn neighbours_are_registered_together() {
    let config = ArenaConfig { region_bytes_max: 4 * 192_512, ..config(8 * MIB, 4_096) };
    let arena = Arena::reserve(&config).unwrap();
    let neighbours = (0..12).filter(|slab| arena.are_neighbours(*slab, slab + 1));
    assert_eq!(neighbours.collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 8, 9, 10]);
    assert!(
        !arena.are_neighbours(1, 0) && !arena.are_neighbours(1, 1) && !arena.are_neighbours(1, 3)
    );
}

#[test]
fn a_stream_is_given_neighbours_where_they_are_at_hand() {
    let arena = small_arena(2, 512);
    let mut cache = SlabCache::new(arena);
    let mut take = |after| cache.take(after, true).unwrap();
    // Two streams, one slab after the other: each goes on behind its last where that is free.
    let first: Vec<_> = (0..3).map(|_| take(None)).collect();
    assert_eq!(first.iter().map(Slab::number).collect::<Vec<_>>(), [0, 1, 2]);
    let other = take(Some(5));
    assert_eq!(other.number(), 6);
    assert_eq!(take(Some(first[2].number())).number(), 3);
    // Back in any order, a ring is the same run again.
    let [zero, one, two] = <[_; 3]>::try_from(first).unwrap();
    [two, zero, one].into_iter().for_each(|slab| cache.give(slab));
    let mut take = |after| cache.take(after, true).unwrap().number();
    assert_eq!([take(None), take(Some(0)), take(Some(1))], [0, 1, 2]);
}

#[test]
fn the_free_list_gives_each_number_to_one_thread() {
    const NUMBERS: u32 = 64;
    let list = FreeList::new(NUMBERS);
    (0..NUMBERS).for_each(|number| list.push(number));
    let owned: Vec<_> = (0..NUMBERS).map(|_| AtomicBool::new(false)).collect();
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (list, owned) = (&list, &owned);
            let give = move |number: u32| {
                owned[number as usize].store(false, Ordering::Relaxed);
                list.push(number);
            };
            scope.spawn(move || {
                let mut prng = Prng::new(seed);
                let mut mine = Vec::new();
                for _ in 0..rounds {
                    if prng.chance(500)
                        && let Some(number) = list.pop()
                    {
                        assert!(!owned[number as usize].swap(true, Ordering::Relaxed));
                        mine.push(number);
                    } else if let Some(number) = mine.pop() {
                        give(number);
                    }
                }
                mine.into_iter().for_each(give);
            });
        }
    });
    let mut numbers: Vec<_> = std::iter::from_fn(|| list.pop()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..NUMBERS).collect::<Vec<_>>());
}
