//! Real demultiplexers and decoders on what the emulator makes. Without ffmpeg they do nothing.

use std::io::ErrorKind;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::DEMO_CONTENT_ID;
use ace_emulator::DEMO_INFOHASH;
use ace_emulator::Emulator;
use ace_emulator::Picture;
use ace_emulator::signed::Signed;
use ace_emulator::signed::SignedConfig;
use ace_emulator::signed::Video;
use ace_emulator::source::Media;

use crate::client::Body;
use crate::client::get;
use crate::client::json_of;

/// Decodes everything; gives what ffmpeg complained about, or `None` when there is no ffmpeg.
fn complaints(bytes: Vec<u8>) -> Option<String> {
    let arguments = "-hide_banner -nostdin -loglevel warning -xerror -threads 1 \
                     -err_detect crccheck+bitstream+buffer+explode -i pipe:0 -f null -";
    let spawned = Command::new("ffmpeg")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut ffmpeg = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    let mut input = ffmpeg.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&bytes).is_ok());
    let output = ffmpeg.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { text } else { format!("{}\n{text}", output.status) })
}

fn media(source: &dyn Media, first: u64, packets: u64) -> Vec<u8> {
    let mut bytes = vec![0; packets as usize * 188];
    source.fill(first, &mut bytes);
    bytes
}

#[test]
fn three_loops_of_the_picture_decode_without_a_word() {
    let picture = Picture::shared();
    let packets = picture.segment(12).first;
    assert_eq!(complaints(media(picture.as_ref(), 0, packets)).unwrap_or_default(), "");
}

#[test]
fn signed_streams_decode_without_a_word() {
    for video in Video::ALL {
        // The clock wraps in the middle.
        let clock_start_90k = (1 << 33) - 5 * 90_000;
        let config =
            SignedConfig { video, bitrate_bps: 1_000_000, clock_start_90k, ..Default::default() };
        let signed = Signed::new(config).unwrap();
        let bytes = media(&signed, 0, signed.segment(2).first);
        assert_eq!(complaints(bytes).unwrap_or_default(), "", "{video:?}");
    }
}

#[test]
fn the_demonstration_is_warm() {
    let begin = ace_emulator::now_us();
    let emulator = Emulator::start(Config::demo()).unwrap();
    let addr = emulator.addr();
    let reply = get(addr, &format!("/ace/getstream?id={DEMO_CONTENT_ID}&format=json"));
    assert_eq!(json_of(&reply)["response"]["infohash"], DEMO_INFOHASH);
    let bytes = Body::start(addr, DEMO_INFOHASH, "a").read(150_000);
    assert!(ace_emulator::now_us() - begin < 5_000_000);
    assert!(bytes.iter().step_by(188).all(|byte| *byte == 0x47));
}

#[test]
fn broken_configurations_are_errors() {
    let slow = Channel::signed(&"a".repeat(40)).bitrate_bps(1_000);
    assert!(Emulator::start(Config::default().channel(slow)).is_err());
    let taken = Emulator::start(Config::default()).unwrap();
    assert!(Emulator::start(Config::default().listen(taken.addr())).is_err());
    for spec in
        ["abc", &format!("{},bitrate=x", "a".repeat(40)), &format!("{},q=1", "a".repeat(40))]
    {
        assert!(Channel::parse(spec).is_err(), "{spec}");
    }
    let spec = format!("{},picture,name=Card,id=x,cold_start_ms=5", "A".repeat(40));
    let channel = Channel::parse(&spec).unwrap();
    assert_eq!((channel.name.as_str(), channel.cold_start_ms), ("Card", 5));
}
