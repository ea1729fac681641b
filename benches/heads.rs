//! What reading costs: a player's head in nanoseconds, a stream's scan in bytes a second.
//! `cargo bench --bench heads`; without `--bench` a thousandth of it runs.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use ringcast::base::time::now;
use ringcast::http::head::Parse;
use ringcast::http::head::parse_request;
use ringcast::ts::Packets;
use ringcast::ts::Scanner;

const HEAD: &[u8] = b"GET /ace/getstream?id=0123456789abcdef0123456789abcdef01234567 HTTP/1.1\r\n\
Host: 192.168.1.10:8878\r\nUser-Agent: VLC/3.0.21 LibVLC/3.0.21\r\nAccept: */*\r\n\
Range: bytes=0-\r\nIcy-MetaData: 1\r\nConnection: close\r\n\r\n";

fn main() {
    let large = std::env::args().any(|argument| argument == "--bench");
    let rounds: u64 = if large { 2_000_000 } else { 2_000 };
    let begun = now();
    let mut sum = 0;
    for _ in 0..rounds {
        match parse_request(std::hint::black_box(HEAD)) {
            Ok(Parse::Complete { head, consumed }) => sum += consumed + head.path.len(),
            Ok(Parse::Partial) | Err(_) => unreachable!("a whole head"),
        }
    }
    let ns = now().since(begun).as_nanos() as u64 / rounds;
    println!("head of {} bytes: {ns} ns (sum {sum})", HEAD.len());

    let config = ace_emulator::signed::SignedConfig::default();
    let source = ace_emulator::signed::Signed::new(config).expect("the default is sound");
    let bytes: Vec<u8> = (0..40_000).flat_map(|index| source.packet(index)).collect();
    let packets = Packets::new_checked(&bytes).expect("whole packets");
    let passes = if large { 200 } else { 1 };
    let mut scanner = Scanner::new();
    let mut points = 0;
    let begun = now();
    for pass in 0..passes {
        scanner.scan(packets, pass * bytes.len() as u64, &mut |_| points += 1);
    }
    let seconds = now().since(begun).as_secs_f64();
    let gigabytes = passes as f64 * bytes.len() as f64 / 1e9;
    println!("scan: {:.1} GB/s ({points} events)", gigabytes / seconds);
}
