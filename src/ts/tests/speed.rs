//! How fast alignment and scan are; printed, not judged. `cargo test` runs a little of it, a
//! release build with `RINGCAST_BENCH_MB=4000` as much as it takes for a number:
//! `RINGCAST_BENCH_MB=4000 cargo test --release --lib ts::tests::speed -- --nocapture`.

use crate::base::time;
use crate::ts::packet::PCR_HZ;
use crate::ts::scan::Event;
use crate::ts::scan::Scanner;
use crate::ts::sync::Sync;
use crate::ts::tests::generator::*;

/// Two seconds of video at 8 Mbit/s with audio.
fn typical() -> Vec<u8> {
    let mut generator = Generator::default();
    for frame in 0..50 {
        if frame % 5 == 0 {
            generator.tables(&h264_pmt());
        }
        let pcr = Some(frame * PCR_HZ / 25);
        if frame % 25 == 0 {
            let start = Start { rai: true, pcr, ..Start::default() };
            generator.pes(VIDEO_PID, start, &keyframe(200_000));
        } else {
            let start = Start { pcr, ..Start::default() };
            generator.pes(VIDEO_PID, start, &interframe(32_000));
        }
        for _ in 0..2 {
            generator.pes(AUDIO_PID, Start::default(), &[0x55; 400]);
        }
    }
    generator.bytes
}

#[test]
fn sync_and_scan() {
    let megabytes = std::env::var("RINGCAST_BENCH_MB").ok().and_then(|text| text.parse().ok());
    let total = megabytes.unwrap_or(8u64) * 1_000_000;
    let stream = typical();
    let mut sync = Sync::new();
    let mut scanner = Scanner::new();
    let (mut offset, mut points) = (0, 0u64);
    let started = time::now();
    while offset < total {
        for read in stream.chunks(64 << 10) {
            sync.feed(read, &mut |packets| {
                scanner.scan(packets, offset, &mut |event| {
                    points += u64::from(matches!(event, Event::RandomAccess(_)));
                });
                offset += packets.bytes().len() as u64;
            });
        }
    }
    let seconds = time::now().since(started).as_secs_f64();
    let gigabytes = offset as f64 / 1e9;
    println!("sync and scan: {:.2} GB/s, {points} access points", gigabytes / seconds);
    assert_eq!(scanner.counters().packets * 188, offset);
    assert_eq!(sync.skipped_bytes(), 0);
    assert!(points > 0);
}
