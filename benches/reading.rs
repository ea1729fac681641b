//! What reading costs: a player's head, an engine's, and a stream's packets on their way in.
//! `cargo bench --bench reading`.

mod rig;

use ace_emulator::signed::Signed;
use ace_emulator::signed::SignedConfig;
use rig::Case;
use rig::Rig;
use ringcast::ts::Scanner;
use ringcast::ts::Sync;

const REQUEST: &[u8] =
    b"GET /ace/getstream?id=0123456789abcdef0123456789abcdef01234567 HTTP/1.1\r\n\
Host: 192.168.1.10:8878\r\nUser-Agent: VLC/3.0.21 LibVLC/3.0.21\r\nAccept: */*\r\n\
Range: bytes=0-\r\nIcy-MetaData: 1\r\nConnection: close\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/MP2T\r\n\
Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n";

/// Five seconds at 8 Mbit/s.
const PACKETS: usize = 26_595;

/// What one read of an engine's socket brings, on no packet's boundary.
const READ_BYTES: usize = 65_000;

fn main() {
    let mut rig = Rig::from_args();
    let head = |name, what| Case { name, what, per_round: 1, rounds: 2_000_000, is_counted: true };
    rig.run(head("head_request", "a player's head of 204 bytes"), || (), counted::head_request);
    rig.run(head("head_response", "an engine's head of 97 bytes"), || (), counted::head_response);
    let stream =
        |name, what| Case { name, what, per_round: PACKETS as u64, rounds: 500, is_counted: true };
    rig.run(stream("ts_sync", "a packet found in reads of 65 000 bytes"), synced, counted::ts_sync);
    rig.run(stream("ts_scan", "a packet scanned"), scanned, counted::ts_scan);
    rig.finish();
}

fn bytes() -> Vec<u8> {
    let source = Signed::new(SignedConfig::default()).expect("the default is sound");
    (0..PACKETS as u64).flat_map(|index| source.packet(index)).collect()
}

fn synced() -> (Sync, Vec<u8>) {
    (Sync::new(), bytes())
}

fn scanned() -> (Scanner, Vec<u8>) {
    (Scanner::new(), bytes())
}

mod counted {
    use super::*;
    use ringcast::http::head::Parse;
    use ringcast::http::head::parse_request;
    use ringcast::http::head::parse_response;
    use ringcast::ts::Packets;
    use std::hint::black_box;

    #[inline(never)]
    pub(super) fn head_request(_: &mut (), rounds: u64) -> u64 {
        let mut sum = 0;
        for _ in 0..rounds {
            match parse_request(black_box(REQUEST)) {
                Ok(Parse::Complete { head, consumed }) => sum += consumed + head.path.len(),
                Ok(Parse::Partial) | Err(_) => unreachable!("a whole head"),
            }
        }
        sum as u64
    }

    #[inline(never)]
    pub(super) fn head_response(_: &mut (), rounds: u64) -> u64 {
        let mut sum = 0;
        for _ in 0..rounds {
            match parse_response(black_box(RESPONSE)) {
                Ok(Parse::Complete { head, consumed }) => {
                    sum += consumed as u64 + u64::from(head.status)
                }
                Ok(Parse::Partial) | Err(_) => unreachable!("a whole head"),
            }
        }
        sum
    }

    #[inline(never)]
    pub(super) fn ts_sync((sync, bytes): &mut (Sync, Vec<u8>), rounds: u64) -> u64 {
        let mut packets = 0;
        for _ in 0..rounds {
            for read in bytes.chunks(READ_BYTES) {
                sync.feed(black_box(read), &mut |run| packets += run.len() as u64);
            }
        }
        packets
    }

    #[inline(never)]
    pub(super) fn ts_scan((scanner, bytes): &mut (Scanner, Vec<u8>), rounds: u64) -> u64 {
        let packets = Packets::new_checked(bytes).expect("whole packets");
        let mut events = 0;
        for round in 0..rounds {
            scanner.scan(packets, round * bytes.len() as u64, &mut |_| events += 1);
        }
        events
    }
}
