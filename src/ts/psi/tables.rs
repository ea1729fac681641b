//! What a PAT and a PMT say: programs, streams, and which codec a stream is.
//!
//! Takes sections whose CRC was checked; lengths inside them are still not trusted.

/// One program of a PAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    pub number: u16,
    pub pmt_pid: u16,
}

/// The first section of a program association table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pat {
    pub transport_stream_id: u16,
    pub version: u8,
    /// In the order of the table, without the network information PID.
    pub programs: Vec<Program>,
}

impl Pat {
    /// None unless `section` is the first section of a PAT that is valid now.
    pub fn parse(section: &[u8]) -> Option<Pat> {
        let (header, body) = split_long_section(section, 0x00)?;
        let entries = body.as_chunks::<4>().0;
        let programs = entries.iter().map(|entry| Program {
            number: u16::from_be_bytes([entry[0], entry[1]]),
            pmt_pid: pid_of(entry[2], entry[3]),
        });
        Some(Pat {
            transport_stream_id: header.extension,
            version: header.version,
            programs: programs.filter(|program| program.number != 0).collect(),
        })
    }
}

/// A program map table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pmt {
    pub program_number: u16,
    pub version: u8,
    /// None when the table says that there is no clock (PID 0x1FFF).
    pub pcr_pid: Option<u16>,
    pub streams: Vec<ElementaryStream>,
}

impl Pmt {
    /// None unless `section` is a PMT that is valid now.
    pub fn parse(section: &[u8]) -> Option<Pmt> {
        let (header, body) = split_long_section(section, 0x02)?;
        let &[pcr_high, pcr_low, info_high, info_low, ref rest @ ..] = body else {
            return None;
        };
        let mut rest = rest.get(length_of(info_high, info_low)..)?;
        let mut streams = Vec::new();
        while let &[stream_type, pid_high, pid_low, info_high, info_low, ref tail @ ..] = rest {
            let (descriptors, after) = tail.split_at_checked(length_of(info_high, info_low))?;
            streams.push(ElementaryStream {
                pid: pid_of(pid_high, pid_low),
                stream_type,
                codec: Codec::of(stream_type, descriptors),
            });
            rest = after;
        }
        let pcr_pid = pid_of(pcr_high, pcr_low);
        Some(Pmt {
            program_number: header.extension,
            version: header.version,
            pcr_pid: (pcr_pid != crate::ts::packet::PID_NULL).then_some(pcr_pid),
            streams,
        })
    }
}

/// One stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementaryStream {
    pub pid: u16,
    pub stream_type: u8,
    pub codec: Codec,
}

/// What a stream carries, as far as its table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Mpeg1Video,
    Mpeg2Video,
    Mpeg4Video,
    H264,
    Hevc,
    OtherVideo,
    MpegAudio,
    Aac,
    AacLatm,
    Ac3,
    Eac3,
    Ac4,
    Dts,
    Opus,
    OtherAudio,
    Subtitle,
    Teletext,
    Other,
}

impl Codec {
    /// By stream type, and where that says "private" by descriptors.
    pub fn of(stream_type: u8, descriptors: &[u8]) -> Codec {
        match stream_type {
            0x01 => Codec::Mpeg1Video,
            0x02 => Codec::Mpeg2Video,
            0x03 | 0x04 => Codec::MpegAudio,
            0x0F => Codec::Aac,
            0x10 => Codec::Mpeg4Video,
            0x11 => Codec::AacLatm,
            0x1B => Codec::H264,
            0x1C | 0x2D | 0x2E => Codec::OtherAudio,
            0x24 => Codec::Hevc,
            // JPEG 2000, VVC, EVC, AVS, AVS2, AVS3, Dirac, VC-1.
            0x21 | 0x33 | 0x35 | 0x42 | 0xD2 | 0xD4 | 0xD1 | 0xEA => Codec::OtherVideo,
            0x81 => Codec::Ac3,
            0x82 | 0x85 | 0x86 | 0x8A => Codec::Dts,
            0x83 => Codec::OtherAudio,
            0x84 | 0x87 => Codec::Eac3,
            0x05 | 0x06 | 0x80 | 0x88.. => Codec::of_descriptors(descriptors),
            0x00 | 0x07..=0x0E | 0x12..=0x1A | 0x1D..=0x20 => Codec::Other,
            0x22..=0x23 | 0x25..=0x2C | 0x2F..=0x32 | 0x34 => Codec::Other,
            0x36..=0x41 | 0x43..=0x7F => Codec::Other,
        }
    }

    /// A picture.
    pub fn is_video(self) -> bool {
        match self {
            Codec::Mpeg1Video
            | Codec::Mpeg2Video
            | Codec::Mpeg4Video
            | Codec::H264
            | Codec::Hevc
            | Codec::OtherVideo => true,
            Codec::MpegAudio
            | Codec::Aac
            | Codec::AacLatm
            | Codec::Ac3
            | Codec::Eac3
            | Codec::Ac4
            | Codec::Dts
            | Codec::Opus
            | Codec::OtherAudio
            | Codec::Subtitle
            | Codec::Teletext
            | Codec::Other => false,
        }
    }

    /// A sound.
    pub fn is_audio(self) -> bool {
        let silent = matches!(self, Codec::Subtitle | Codec::Teletext | Codec::Other);
        !silent && !self.is_video()
    }

    /// For people and logs.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Mpeg1Video => "mpeg1video",
            Codec::Mpeg2Video => "mpeg2video",
            Codec::Mpeg4Video => "mpeg4",
            Codec::H264 => "h264",
            Codec::Hevc => "hevc",
            Codec::OtherVideo => "video",
            Codec::MpegAudio => "mpegaudio",
            Codec::Aac => "aac",
            Codec::AacLatm => "aac_latm",
            Codec::Ac3 => "ac3",
            Codec::Eac3 => "eac3",
            Codec::Ac4 => "ac4",
            Codec::Dts => "dts",
            Codec::Opus => "opus",
            Codec::OtherAudio => "audio",
            Codec::Subtitle => "subtitle",
            Codec::Teletext => "teletext",
            Codec::Other => "data",
        }
    }

    fn of_descriptors(descriptors: &[u8]) -> Codec {
        let mut rest = descriptors;
        while let &[tag, length, ref tail @ ..] = rest {
            let Some((body, after)) = tail.split_at_checked(usize::from(length)) else {
                return Codec::Other;
            };
            let found = match tag {
                0x05 => Codec::of_registration(body),
                0x56 => Some(Codec::Teletext),
                0x59 => Some(Codec::Subtitle),
                0x6A => Some(Codec::Ac3),
                0x7A => Some(Codec::Eac3),
                0x7B => Some(Codec::Dts),
                0x7C => Some(Codec::Aac),
                0x7F if body.first() == Some(&0x15) => Some(Codec::Ac4),
                0x7F if body.first() == Some(&0x80) => Some(Codec::Opus),
                _ => None,
            };
            if let Some(codec) = found {
                return codec;
            }
            rest = after;
        }
        Codec::Other
    }

    fn of_registration(body: &[u8]) -> Option<Codec> {
        match body.first_chunk::<4>()? {
            b"AC-3" => Some(Codec::Ac3),
            b"EAC3" => Some(Codec::Eac3),
            b"AC-4" => Some(Codec::Ac4),
            b"DTS1" | b"DTS2" | b"DTS3" | b"DTSH" => Some(Codec::Dts),
            b"Opus" => Some(Codec::Opus),
            b"BSSD" => Some(Codec::OtherAudio),
            b"HEVC" => Some(Codec::Hevc),
            b"AV01" | b"VC-1" | b"drac" => Some(Codec::OtherVideo),
            _ => None,
        }
    }
}

/// What the long section header says before the table's own bytes.
struct LongHeader {
    extension: u16,
    version: u8,
}

/// The header and the bytes between it and the CRC, of the first section valid now of a table.
fn split_long_section(section: &[u8], table_id: u8) -> Option<(LongHeader, &[u8])> {
    let &[id, syntax, _, high, low, flags, number, _, ref rest @ ..] = section else {
        return None;
    };
    let valid_now = flags & 1 == 1;
    if id != table_id || syntax & 0x80 == 0 || !valid_now || number != 0 {
        return None;
    }
    let body = rest.get(..rest.len().checked_sub(4)?)?;
    let header =
        LongHeader { extension: u16::from_be_bytes([high, low]), version: flags >> 1 & 0x1F };
    Some((header, body))
}

fn pid_of(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high & 0x1F, low])
}

fn length_of(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high & 0x0F, low]))
}
