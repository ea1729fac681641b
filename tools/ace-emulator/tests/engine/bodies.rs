//! Faults of the body: framing, damage, endings, starvation.

use ace_emulator::Emulator;
use ace_emulator::End as Ending;
use ace_emulator::Knob;
use ace_emulator::Report;
use ace_emulator::Verifier;

use crate::client::Body;
use crate::client::End;
use crate::client::INFOHASH;
use crate::client::config;
use crate::client::content_path;
use crate::client::emulator;
use crate::client::open;

const LENGTH: usize = 400_000;

fn start(emulator: &Emulator) -> Body {
    Body::start(emulator.addr(), INFOHASH, "a")
}

/// What a verifier thinks of the first bytes of a body.
fn examine(emulator: &Emulator) -> Report {
    let mut verifier = Verifier::expecting(emulator.control().signed_config(INFOHASH).unwrap());
    let bytes = start(emulator).read(LENGTH);
    assert!(bytes.len() >= LENGTH);
    verifier.feed(&bytes[..LENGTH]);
    assert!(emulator.control().wait_for(2_000, |control| control.readers() == 0));
    verifier.report()
}

#[test]
fn the_framing_is_a_knob() {
    let emulator = emulator();
    let control = emulator.control();
    control.set(Knob::ContentType, "application/octet-stream");
    control.set(Knob::BodyMode, "close");
    let mut body = start(&emulator);
    assert!(!body.head.contains("Transfer-Encoding") && !body.head.contains("Content-Length"));
    assert!(body.head.contains("Content-Type: application/octet-stream"));
    assert_eq!(body.read(LENGTH)[LENGTH / 188 * 188], 0x47);
    drop(body);
    assert!(control.wait_for(2_000, |control| control.readers() == 0));
    control.set(Knob::BodyMode, "length");
    control.set(Knob::BodyLength, 123_u64);
    assert!(start(&emulator).head.contains("Content-Length: 123"));
}

#[test]
fn chunks_and_writes_of_any_size() {
    let emulator = emulator();
    let control = emulator.control();
    control.set(Knob::ChunkBytes, 1_000_u64);
    let mut body = start(&emulator);
    body.read(70_000);
    assert_eq!(body.chunk_sizes[64..67], [1_000, 536, 1_000]);
    drop(body);
    assert!(control.wait_for(2_000, |control| control.readers() == 0));
    control.set(Knob::ChunkBytes, 3_u64);
    control.set(Knob::WriteBytes, 1_u64);
    let mut verifier = Verifier::new();
    verifier.feed(&start(&emulator).read(20_000));
    assert_eq!((verifier.report().wrong_packets, verifier.report().misaligned_bytes), (0, 0));
}

#[test]
fn bursts_and_pieces_pace_the_body() {
    let emulator = emulator();
    let control = emulator.control();
    control.set(Knob::BurstBytes, 1_880_000_u64);
    control.set(Knob::PieceBytes, 50_000_u64);
    control.set(Knob::JitterMs, 30_u64);
    let begin = ace_emulator::now_us();
    let mut body = start(&emulator);
    let mut verifier = Verifier::new();
    let first = body.read(1_500_000);
    let burst_us = ace_emulator::now_us() - begin;
    verifier.feed(&first);
    // At 4 Mbit/s the burst would be 3.8 s; what comes behind it is 0.4 s.
    verifier.feed(&body.read(2_092_000 - first.len()));
    let elapsed_us = ace_emulator::now_us() - begin;
    assert!(burst_us < 1_500_000 && elapsed_us > 350_000, "{burst_us} {elapsed_us}");
    assert!(body.chunk_sizes.iter().all(|size| *size == 50_000));
    let report = verifier.report();
    assert_eq!((report.wrong_packets, report.gap_count, report.misaligned_bytes), (0, 0, 0));
}

#[test]
fn damage_is_where_it_was_ordered() {
    let emulator = emulator();
    let control = emulator.control();
    control.set_next(1, Knob::MisalignedBytes, 77_u64);
    assert_eq!(examine(&emulator).misaligned_bytes, 77);
    control.set_next(1, Knob::GarbageAtBytes, 188 * 1_000_u64);
    control.set_next(1, Knob::GarbageBytes, 500_u64);
    let report = examine(&emulator);
    assert_eq!((report.misaligned_bytes, report.gap_count), (500, 0));
    control.set_next(1, Knob::LoseAtBytes, 188 * 700_u64);
    control.set_next(1, Knob::LoseBytes, 188 * 3_u64);
    let report = examine(&emulator);
    assert_eq!((report.lost_packets, report.undeclared_gap_count), (3, 1));
    control.set_next(1, Knob::FlipBitAtBytes, 188 * 600 + 100_u64);
    let report = examine(&emulator);
    assert_eq!((report.wrong_packets, report.gap_count), (1, 0));
    let report = examine(&emulator);
    assert_eq!((report.wrong_packets, report.gap_count, report.misaligned_bytes), (0, 0, 0));
}

#[test]
fn bodies_end_in_every_way() {
    let emulator = Emulator::start(config()).unwrap();
    let control = emulator.control();
    for (knob, end, mid_chunk) in [
        (Knob::CutAfterBytes, End::Fin, true),
        (Knob::ResetAfterBytes, End::Reset, true),
        (Knob::EndAfterBytes, End::LastChunk, false),
    ] {
        control.set_next(1, knob, 100_000_u64);
        let mut body = start(&emulator);
        let (bytes, how) = body.rest();
        assert_eq!(how, end, "{knob:?}");
        assert_eq!(body.is_mid_chunk(), mid_chunk, "{knob:?}");
        // A reset may overtake the last bytes.
        assert!(bytes.len() == 100_000 || end == End::Reset, "{knob:?} {}", bytes.len());
    }
    for (order, end) in
        [(Ending::Finished, End::LastChunk), (Ending::Cut, End::Fin), (Ending::Reset, End::Reset)]
    {
        let mut body = start(&emulator);
        body.read(100_000);
        assert!(control.end_body(INFOHASH, order));
        assert_eq!(body.rest().1, end, "{order:?}");
    }
    assert_eq!(control.sessions_open(), 1);
    assert!(control.wait_for(2_000, |control| !control.end_body(INFOHASH, Ending::Cut)));
}

#[test]
fn starvation_is_silence_that_may_end() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    control.set_next(1, Knob::StarveAfterBytes, 70_000_u64);
    let mut body = start(&emulator);
    body.patience_ms(200);
    assert_eq!((body.read(LENGTH).len(), body.rest().1), (70_000, End::Silence));
    drop(body);
    assert!(control.wait_for(2_000, |control| control.readers() == 0));
    control.set(Knob::Starve, true);
    let path = content_path(addr, &open(addr, INFOHASH, "a"));
    let mut body = Body::open(addr, &path);
    assert!(control.wait_for(2_000, |control| control.readers() == 1));
    assert_eq!(control.sessions()[0].bytes_written, 70_000);
    control.clear(Knob::Starve);
    let mut verifier = Verifier::new();
    verifier.feed(&body.read(LENGTH));
    assert_eq!((verifier.report().wrong_packets, verifier.report().gap_count), (0, 0));
}
