//! How an access unit begins, per codec: a real, tiny, flat picture in front of filler.
//!
//! The pictures were encoded once (25 frames/s, no B-frames, 128×96, MPEG-2 64×32); a P picture
//! repeats the one before it, so only its counters differ. Behind the picture stands a unit that
//! decoders skip (filler data, user data), which lasts until the next access unit. A player can
//! therefore decode a signed stream without an error: one colour, and silence.

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

/// The last byte of every packet of a kind, behind the signature.
pub(crate) const VIDEO_END: u8 = 0x80;
/// ID_END and its padding: an AAC frame ends with its packet.
pub(crate) const AUDIO_END: u8 = 0xe0;

/// The first bytes of an AAC-LC frame, 48 kHz stereo: ADTS header, a silent channel pair, and the
/// header of a byte-aligned data stream element that lasts until the frame's `AUDIO_END`.
pub(crate) fn aac_frame(frame_bytes: usize) -> Vec<u8> {
    let mut frame = vec![
        0xff,
        0xf1,
        0x4c,
        0x80 | (frame_bytes >> 11) as u8,
        (frame_bytes >> 3) as u8,
        ((frame_bytes << 5) as u8) | 0x1f,
        0xfc,
    ];
    // 43 bits of silence, then 100 (data stream element), tag 0000, aligned 1, count, alignment.
    let silence = [0x21, 0x10, 0x04, 0x60, 0x8c];
    let short = frame_bytes - frame.len() - 8 - 1;
    let data = if short < 255 { short } else { short - 1 };
    let count = data.min(255);
    let escape = if count == 255 { data - 255 } else { 0 };
    frame.extend_from_slice(&silence);
    frame.push(0b0001_0000);
    frame.push(0b0010_0000 | (count >> 3) as u8);
    frame.push(((count << 5) as u8) | (escape >> 3) as u8);
    if count == 255 {
        frame.push((escape << 5) as u8);
    }
    frame
}

fn h264(in_gop: u64) -> Vec<u8> {
    let filler_unit = hex("0000010c");
    if in_gop == 0 {
        let mut unit = hex("000000010910 \
             000000016742c00ada0836c044000003000400000300c83c489a80 \
             0000000168ce044b20 \
             0000016588843a118a000205f1c000d470002f7df7df7df7d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75e0");
        unit.extend_from_slice(&filler_unit);
        return unit;
    }
    let mut unit = hex("000000010930 000001419a02818c");
    let at = unit.len();
    // frame_num, four bits after first_mb_in_slice, slice_type and the PPS id.
    let frame_num = (in_gop % 16) as u8;
    unit[at - 4] |= frame_num >> 3;
    unit[at - 3] |= (frame_num & 7) << 5;
    unit.extend_from_slice(&filler_unit);
    unit
}

fn hevc(in_gop: u64) -> Vec<u8> {
    let filler_unit = hex("0000014c01");
    if in_gop == 0 {
        let mut unit = hex("00000001460110 \
             0000000140010c01ffff01600000030090000003000003001eba0240 \
             00000142010101600000030090000003000003001ea010206165ba924c2b01680080 \
             0000014401c07181a480 \
             0000012801ac2da901ff191b06c574fa046c2a1b12");
        unit.extend_from_slice(&filler_unit);
        return unit;
    }
    let mut unit = hex("00000001460130 0000010201d001798720853800");
    unit.pop();
    let at = unit.len();
    // slice_pic_order_cnt_lsb, eight bits.
    let count = in_gop as u8;
    unit[at - 7] |= count >> 5;
    unit[at - 6] |= (count & 0x1f) << 3;
    unit.extend_from_slice(&filler_unit);
    unit
}

fn mpeg2(in_gop: u64) -> Vec<u8> {
    let user_data = hex("000001b2");
    if in_gop == 0 {
        let mut unit = hex("000001b304002023ffffe018 000001b5148a00010000 000001b800080040 \
             00000100000ffff8 000001b58ffff34180 \
             0000010123f394a52f4ef3ee529488b94a5222e5294888 \
             0000010223f394a52f4ef3ee529488b94a5222e5294888");
        unit.extend_from_slice(&user_data);
        return unit;
    }
    let reference = (in_gop % 1_024) as u32;
    // temporal_reference (10), P picture (3), vbv_delay (16), full_pel 0, forward_f_code 7, 0.
    let fields = (u64::from(reference) << 30) | (2 << 27) | (0xffff << 11) | (7 << 7);
    let mut unit = hex("00000100");
    unit.extend_from_slice(&fields.to_be_bytes()[3..]);
    unit.extend_from_slice(&hex("000001b5811ff34180 0000010122747000 0000010222747000"));
    unit.pop();
    unit.extend_from_slice(&user_data);
    unit
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4) | pair[1]).collect()
}
