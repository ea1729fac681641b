//! How an access unit begins, per codec: real headers in front of filler.
//!
//! The parameter sets are those of a 640×360, 25 frames/s encode without B-frames.

use super::Video;
use crate::source::ts::AUDIO_PID;
use crate::source::ts::VIDEO_PID;

/// Elementary streams for the PMT; the first one carries the PCR.
pub(crate) fn streams(video: Video) -> Vec<(u8, u16)> {
    let audio = (0x0f, AUDIO_PID);
    match video {
        Video::H264 => vec![(0x1b, VIDEO_PID), audio],
        Video::Hevc => vec![(0x24, VIDEO_PID), audio],
        Video::Mpeg2 => vec![(0x02, VIDEO_PID), audio],
        Video::None => vec![audio],
    }
}

/// The first bytes of an access unit: `in_gop` 0 is the random access point.
pub(crate) fn access_unit(video: Video, in_gop: u64) -> Vec<u8> {
    match video {
        Video::H264 => h264(in_gop),
        Video::Hevc => hevc(in_gop),
        Video::Mpeg2 => mpeg2(in_gop),
        Video::None => Vec::new(),
    }
}

/// One ADTS header of an AAC-LC frame, 48 kHz stereo.
pub(crate) fn adts_header(frame_bytes: usize) -> [u8; 7] {
    [
        0xff,
        0xf1,
        0x4c,
        0x80 | (frame_bytes >> 11) as u8,
        (frame_bytes >> 3) as u8,
        ((frame_bytes << 5) as u8) | 0x1f,
        0xfc,
    ]
}

fn h264(in_gop: u64) -> Vec<u8> {
    if in_gop == 0 {
        return hex("000000010910 00000001674d401eda0280bfe5c044000003000400000300c83c58ba80 \
             0000000168ef0fc8 0000000165888411");
    }
    let mut unit = hex("000000010930 00000001419a06");
    let at = unit.len();
    // frame_num, four bits after first_mb_in_slice, slice_type and the PPS id.
    let frame_num = (in_gop % 16) as u8;
    unit[at - 2] |= frame_num >> 3;
    unit[at - 1] |= (frame_num & 7) << 5;
    unit
}

fn hevc(in_gop: u64) -> Vec<u8> {
    if in_gop == 0 {
        return hex("00000001460110 \
             0000000140010c01ffff01600000030090000003000003003fba0240 \
             0000000142010101600000030090000003000003003fa00502016965ba924caf016808000003000800000300c840 \
             000000014401c172b46240 000000012801af1d");
    }
    let mut unit = hex("00000001460130 000000010201d001");
    let at = unit.len();
    // slice_pic_order_cnt_lsb, eight bits.
    let count = in_gop as u8;
    unit[at - 2] |= count >> 5;
    unit[at - 1] |= (count & 0x1f) << 3;
    unit
}

fn mpeg2(in_gop: u64) -> Vec<u8> {
    if in_gop == 0 {
        return hex("000001b328016833ffffe118 000001b5148a00010000 000001b800080040 \
             00000100000ffff8 000001b58ffff34180 0000010123f9");
    }
    let reference = (in_gop % 1_024) as u32;
    // temporal_reference (10), P picture (3), vbv_delay (16), full_pel 0, forward_f_code 7, 0.
    let fields = (u64::from(reference) << 30) | (2 << 27) | (0xffff << 11) | (7 << 7);
    let mut unit = hex("00000100");
    unit.extend_from_slice(&fields.to_be_bytes()[3..]);
    unit.extend_from_slice(&hex("000001b5811ff34180 0000010123f9"));
    unit
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4) | pair[1]).collect()
}
