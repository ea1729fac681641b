//! Streams that ffmpeg writes, scanned and joined by us, and read again by ffmpeg.
//!
//! The oracle is a demuxer and decoder that we did not write: what begins at an access point, or
//! goes on behind a jump, must decode without a word. Says so and passes where ffmpeg is missing.

use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use ringcast::ts::AccessKind;
use ringcast::ts::AccessPoint;
use ringcast::ts::Event;
use ringcast::ts::PACKET_BYTES;
use ringcast::ts::Packets;
use ringcast::ts::Scanner;
use ringcast::ts::psi::Codec;
use ringcast::ts::splice::CounterTable;
use ringcast::ts::splice::Jump;
use ringcast::ts::splice::write_jump;

/// Six seconds at 25 pictures a second, a keyframe every 2 s.
const KEYFRAMES: usize = 3;

/// True when ffmpeg can be run; otherwise the reason is printed.
fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !found {
        eprintln!("ffmpeg is not installed: nothing was checked");
    }
    found
}

/// A test card in a transport stream; None when this ffmpeg lacks the encoder.
fn encode(codec_args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=25:duration=6"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:duration=6", "-threads", "1"])
        .args(codec_args)
        .args(["-f", "mpegts", "-muxrate", "1500k", "-pat_period", "0.4", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg runs");
    if !output.status.success() || output.stdout.is_empty() {
        eprintln!("{codec_args:?} skipped: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(output.stdout)
}

/// What ffmpeg has to say about a stream, decoding all of it.
fn complaints(stream: &[u8]) -> String {
    read_back(stream, "warning", &["-xerror"])
}

/// How often ffmpeg misses packets. It says so only when asked for everything, and what it drops
/// for it depends on where in a PES packet the gap is.
fn gaps(stream: &[u8]) -> usize {
    read_back(stream, "debug", &["-c", "copy"]).matches("Continuity check failed").count()
}

fn read_back(stream: &[u8], level: &str, options: &[&str]) -> String {
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", level, "-f", "mpegts", "-i", "-", "-map", "0"])
        .args(options)
        .args(["-f", "null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg runs");
    let mut stdin = ffmpeg.stdin.take().expect("piped");
    // A pipe holds 64 KiB and ffmpeg may give up early: writing must not wait for reading.
    let stream = stream.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&stream)));
    let output = ffmpeg.wait_with_output().expect("ffmpeg ends");
    writer.join().expect("the writer ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { text } else { format!("{text}{}", output.status) }
}

/// A stream scanned as a whole.
struct Scanned<'a> {
    packets: Packets<'a>,
    scanner: Scanner,
    points: Vec<AccessPoint>,
}

impl<'a> Scanned<'a> {
    fn new(stream: &'a [u8]) -> Scanned<'a> {
        let packets = Packets::new_checked(stream).expect("whole packets");
        let mut scanner = Scanner::new();
        let mut points = Vec::new();
        scanner.scan(packets, 0, &mut |event| match event {
            Event::RandomAccess(point) => points.push(point),
            Event::PsiPacket { .. }
            | Event::PsiChanged { .. }
            | Event::ClockReference { .. }
            | Event::ClockJump { .. } => {}
        });
        Scanned { packets, scanner, points }
    }

    fn from(&self, point: &AccessPoint) -> Packets<'a> {
        self.packets.split_at(point.offset as usize / PACKET_BYTES).1
    }
}

fn check_joins(codec_args: &[&str], codec: Codec) {
    let Some(stream) = encode(codec_args) else {
        return;
    };
    let scanned = Scanned::new(&stream);
    let psi = scanned.scanner.psi().expect("tables");
    assert_eq!(psi.streams().next().map(|stream| stream.codec), Some(codec));
    assert!(psi.is_complete());
    assert_eq!(scanned.scanner.counters().cc_errors, 0);
    let bitrate = scanned.scanner.bitrate_bps().expect("a clock");
    assert!((1_490_000..1_510_000).contains(&bitrate), "{bitrate} of 1 500 000 bit/s");
    if scanned.scanner.has_video() {
        let kinds: Vec<AccessKind> = scanned.points.iter().map(|point| point.kind).collect();
        assert_eq!(kinds, [AccessKind::Keyframe; KEYFRAMES]);
    } else {
        assert!(scanned.points.iter().all(|point| point.kind == AccessKind::Audio));
        assert!((10..=13).contains(&scanned.points.len()), "twice a second");
    }
    for point in &scanned.points {
        let mut joined = Vec::new();
        psi.write_leading(&mut joined, point.psi_counters);
        joined.extend_from_slice(scanned.from(point).bytes());
        assert_eq!(complaints(&joined), "", "{codec:?} from {point:?}");
    }
}

#[test]
fn h264_is_joined_at_its_keyframes() {
    if has_ffmpeg() {
        let video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"];
        check_joins(&video, Codec::H264);
    }
}

#[test]
fn hevc_is_joined_at_its_keyframes() {
    if has_ffmpeg() {
        let parameters = "keyint=50:min-keyint=50:scenecut=0:open-gop=0:log-level=none:pools=none";
        let video = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", parameters];
        check_joins(&[&video[..], &["-c:a", "ac3"]].concat(), Codec::Hevc);
    }
}

#[test]
fn mpeg2_is_joined_at_its_sequence_headers() {
    if has_ffmpeg() {
        let video = ["-c:v", "mpeg2video", "-g", "50", "-bf", "0", "-b:v", "600k"];
        check_joins(&[&video[..], &["-c:a", "mp2"]].concat(), Codec::Mpeg2Video);
    }
}

#[test]
fn radio_is_joined_anywhere() {
    if has_ffmpeg() {
        check_joins(&["-map", "1", "-c:a", "mp2"], Codec::MpegAudio);
    }
}

/// From the middle of the stream to a later keyframe: as a slow viewer is skipped.
#[test]
fn a_jump_decodes_without_a_word() {
    if !has_ffmpeg() {
        return;
    }
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "50"];
    let Some(stream) = encode(&[&video[..], &["-c:a", "mp2"]].concat()) else {
        return;
    };
    let scanned = Scanned::new(&stream);
    let psi = scanned.scanner.psi().expect("tables");
    let [first, second, third] = scanned.points[..] else {
        panic!("{KEYFRAMES} keyframes: {:?}", scanned.points);
    };
    // Whole access units are left out, so that what was sent decodes to its end.
    let kept = (second.offset - first.offset) as usize / PACKET_BYTES;
    let before = scanned.from(&first).split_at(kept).0;
    let after = scanned.from(&third);
    let joined = |with_jump: bool| {
        let mut joined = Vec::new();
        psi.write_leading(&mut joined, first.psi_counters);
        joined.extend_from_slice(before.bytes());
        if with_jump {
            let (mut last_sent, mut following) = (CounterTable::new(), CounterTable::new());
            last_sent.note_last(before);
            following.note_first(after);
            write_jump(
                &mut joined,
                &Jump {
                    psi,
                    pcr_pid: scanned.scanner.pcr_pid(),
                    last_sent: &last_sent,
                    following: &following,
                    packets_max: 64,
                },
            );
        }
        joined.extend_from_slice(after.bytes());
        joined
    };
    assert!(gaps(&joined(false)) > 0, "without marks it is noticed");
    assert_eq!(gaps(&joined(true)), 0);
    assert_eq!(complaints(&joined(true)), "");
}
