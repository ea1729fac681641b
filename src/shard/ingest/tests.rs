//! Reading ahead: a burst waits for its viewers, and a stream without a clock is never stuck.

use super::Flow;
use super::Ingest;
use crate::base::ids::Generation;
use crate::base::time::Instant;
use crate::http::body::BodyDecoder;
use crate::ring::Arena;
use crate::ring::ArenaConfig;
use crate::ring::SlabCache;
use crate::ring::Writer;
use crate::ts::packet::NULL_PACKET;
use crate::ts::splice::Join;
use crate::ts::splice::STAGED_MAX;
use crate::ts::splice::Staging;
use ace_emulator::signed::Signed;
use ace_emulator::signed::SignedConfig;
use std::time::Duration;

const CAP: u64 = 8 << 20;
const ORDER: Generation = Generation(1);

struct Fixture {
    ingest: Ingest,
    writer: Writer,
    cache: SlabCache,
    decoder: BodyDecoder,
}

fn fixture() -> Fixture {
    let config =
        ArenaConfig { budget_bytes: 64 << 20, page_bytes: 4_096, region_bytes_max: 64 << 20 };
    let arena = Arena::reserve(&config).unwrap();
    let writer = Writer::open(arena, arena.promise(CAP).unwrap(), 1, CAP, 1);
    let mut ingest = Ingest::new(Instant::ZERO);
    ingest.begin(ORDER);
    ingest.body_begins(ORDER, 0, Instant::ZERO);
    let cache = SlabCache::new(arena);
    Fixture { ingest, writer, cache, decoder: BodyDecoder::identity_until_close() }
}

impl Fixture {
    fn take(&mut self, bytes: &[u8], now: Instant) {
        let Self { ingest, writer, cache, decoder } = self;
        assert!(writer.reserve(bytes.len(), cache));
        assert!(!ingest.take(bytes, decoder, writer, cache, now).unwrap());
        writer.commit(ingest.scanner().media_us().unwrap_or(0), 0);
        writer.tend(cache);
    }

    fn flow(&mut self, now: Instant) -> Flow {
        self.ingest.flow(ORDER, &mut self.writer, &mut self.cache, now)
    }
}

#[test]
fn a_burst_is_read_to_half_of_the_ring_and_on_as_time_goes() {
    let mut f = fixture();
    let source = Signed::new(SignedConfig { bitrate_bps: 8_000_000, ..SignedConfig::default() });
    let source = source.unwrap();
    let mut index = 0;
    let mut read = 0;
    while f.flow(Instant::ZERO) == Flow::Read {
        let bytes: Vec<u8> = (index..index + 100).flat_map(|n| source.packet(n)).collect();
        f.take(&bytes, Instant::ZERO);
        index += 100;
        read += bytes.len() as u64;
        assert!(read < CAP, "the burst would lap its own viewers");
    }
    assert!(read > CAP / 2 - (64 << 10), "{read}");
    let later = Instant::ZERO + Duration::from_secs(1);
    assert_eq!(f.flow(later), Flow::Read, "a second of wall clock is a second of media");
}

#[test]
fn a_stream_without_a_clock_goes_on() {
    let mut f = fixture();
    let bytes = NULL_PACKET.repeat(1_000);
    while f.flow(Instant::ZERO) == Flow::Read {
        f.take(&bytes, Instant::ZERO);
    }
    assert!(f.writer.written() > CAP / 2);
    assert_eq!(f.flow(Instant::ZERO + Duration::from_secs(3)), Flow::Read);
}

#[test]
fn an_order_that_is_not_wanted_any_more_stops() {
    let mut f = fixture();
    assert_eq!(f.flow(Instant::ZERO), Flow::Read);
    f.ingest.close(Generation(7));
    assert_eq!(f.flow(Instant::ZERO), Flow::Read, "somebody else's");
    f.ingest.close(ORDER);
    assert_eq!(f.flow(Instant::ZERO), Flow::Stop);
}

/// A body that ended in the turn of its first bytes: nobody has said that there was one.
#[test]
fn what_follows_a_body_that_nobody_was_told_of_is_declared() {
    let mut f = fixture();
    let now = Instant::ZERO;
    let body = |tag| {
        let config = SignedConfig { tag, bitrate_bps: 1_000_000, ..SignedConfig::default() };
        let source = Signed::new(config).unwrap();
        (0..6_000).flat_map(|n| source.packet(n)).collect::<Vec<u8>>()
    };
    f.take(&body(1)[..50 * 188], now);
    let begins = |f: &mut Fixture, order| {
        f.ingest.begin(order);
        f.ingest.body_begins(order, f.writer.written(), now);
    };
    begins(&mut f, Generation(2));
    // From the middle of a group of pictures: it waits, and goes with its body.
    f.take(&body(2)[2_000 * 188..2_050 * 188], now);
    let waiting = |f: &Fixture| f.ingest.staging.as_ref().unwrap().placed_bytes_max();
    let of_none = Staging::new().placed_bytes_max();
    assert_eq!((f.writer.written(), waiting(&f)), (50 * 188, of_none + 50 * 188));
    begins(&mut f, Generation(3));
    assert_eq!(waiting(&f), of_none);
    f.take(&body(3), now);
    assert_eq!((f.ingest.jumps, f.ingest.joined), (1, Some(Join::Jump)));
}

/// It has come to its end: what follows would be a second gap, and this one could have been none.
#[test]
fn what_waits_of_a_dead_body_is_not_placed_behind_its_end() {
    let mut f = fixture();
    let now = Instant::ZERO;
    let config = SignedConfig { bitrate_bps: 1_000_000, ..SignedConfig::default() };
    let source = Signed::new(config).unwrap();
    let body: Vec<u8> = (0..9_000).flat_map(|n| source.packet(n)).collect();
    f.take(&body[..4_000 * 188], now);
    let begins = |f: &mut Fixture, order| {
        f.ingest.begin(order);
        f.ingest.body_begins(order, f.writer.written(), now);
    };
    begins(&mut f, Generation(2));
    // From the middle of a group of pictures, of a part that is not there yet.
    f.take(&body[6_000 * 188..6_050 * 188], now);
    f.ingest.close(Generation(2));
    let later = now + STAGED_MAX;
    f.ingest.place(&mut f.writer, &mut f.cache, later);
    assert_eq!((f.writer.written(), f.ingest.jumps), (4_000 * 188, 0));
    begins(&mut f, Generation(3));
    f.take(&body[3_000 * 188..], later);
    assert_eq!((f.writer.written(), f.ingest.joined), (9_000 * 188, Some(Join::Overlap)));
}
