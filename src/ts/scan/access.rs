//! Decides whether an access unit is one that a player can begin with.
//!
//! Fed with the payloads of one video PID from the packet on in which a PES packet begins, until it
//! is decided: most access units are after their first few dozen bytes. Start codes, PES headers
//! and SEI messages may straddle packets. At most [`SEARCH_BYTES_MAX`] are looked at.

use crate::ts::psi::Codec;
use crate::ts::scan::AccessKind;

/// Parameter sets and SEI before the first slice take hundreds of bytes, some thousand with HDR
/// metadata and captions.
const SEARCH_BYTES_MAX: usize = 32 * 1024;
/// A PES header until its own length is known.
const PES_FIXED_BYTES: usize = 9;
/// The SEI message that says where decoding may begin without an IDR picture.
const SEI_RECOVERY_POINT: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Undecided,
    Found(AccessKind),
    NotFound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grammar {
    H264,
    Hevc,
    Mpeg2,
    /// Nothing known of its inside: the random access indicator is believed.
    Opaque,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Between what is of interest.
    Seek,
    /// The next byte follows a start code.
    Unit,
    SeiType(u32),
    SeiSize {
        kind: u32,
        size: u32,
    },
    SeiBody(u32),
}

/// The search in one access unit.
#[derive(Clone, Debug)]
pub(super) struct AccessSearch {
    grammar: Grammar,
    /// The packet carries the random access indicator.
    flagged: bool,
    has_parameters: bool,
    has_recovery_point: bool,
    mode: Mode,
    /// Zero bytes in a row just read, at most 2.
    zeros: u8,
    pes_read: usize,
    pes_bytes: usize,
    searched: usize,
}

impl AccessSearch {
    /// At the first byte of a PES packet.
    pub(super) fn begin(codec: Codec, flagged: bool) -> AccessSearch {
        let grammar = match codec {
            Codec::H264 => Grammar::H264,
            Codec::Hevc => Grammar::Hevc,
            Codec::Mpeg1Video | Codec::Mpeg2Video => Grammar::Mpeg2,
            Codec::Mpeg4Video
            | Codec::OtherVideo
            | Codec::MpegAudio
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
            | Codec::Other => Grammar::Opaque,
        };
        AccessSearch {
            grammar,
            flagged,
            has_parameters: false,
            has_recovery_point: false,
            mode: Mode::Seek,
            zeros: 0,
            pes_read: 0,
            pes_bytes: PES_FIXED_BYTES,
            searched: 0,
        }
    }

    /// Looks at the next payload of the access unit.
    pub(super) fn feed(&mut self, payload: &[u8]) -> Verdict {
        if self.grammar == Grammar::Opaque {
            return self.by_flag();
        }
        let Some(mut rest) = self.skip_pes_header(payload) else {
            return Verdict::NotFound;
        };
        self.searched += rest.len();
        while let Some((&byte, tail)) = rest.split_first() {
            if self.mode == Mode::Seek && self.zeros == 0 {
                let Some(zero) = memchr::memchr(0, rest) else {
                    break;
                };
                rest = &rest[zero + 1..];
                self.zeros = 1;
                continue;
            }
            rest = tail;
            let verdict = self.step(byte);
            if verdict != Verdict::Undecided {
                return verdict;
            }
        }
        if self.searched > SEARCH_BYTES_MAX { self.finish() } else { Verdict::Undecided }
    }

    /// The access unit ended undecided.
    pub(super) fn finish(&self) -> Verdict {
        match self.grammar {
            Grammar::H264 => self.by_recovery(),
            Grammar::Hevc | Grammar::Mpeg2 => Verdict::NotFound,
            Grammar::Opaque => self.by_flag(),
        }
    }

    fn by_flag(&self) -> Verdict {
        if self.flagged { Verdict::Found(AccessKind::RecoveryPoint) } else { Verdict::NotFound }
    }

    fn by_recovery(&self) -> Verdict {
        if self.has_parameters && (self.flagged || self.has_recovery_point) {
            Verdict::Found(AccessKind::RecoveryPoint)
        } else {
            Verdict::NotFound
        }
    }

    /// The bytes behind the PES header; None when this is no PES header of a video stream.
    fn skip_pes_header<'a>(&mut self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = payload;
        while self.pes_read < self.pes_bytes {
            if self.pes_read >= PES_FIXED_BYTES {
                let skipped = rest.len().min(self.pes_bytes - self.pes_read);
                self.pes_read += skipped;
                rest = &rest[skipped..];
                break;
            }
            let (&byte, tail) = match rest.split_first() {
                Some(split) => split,
                None => break,
            };
            let expected = match self.pes_read {
                0 | 1 => byte == 0,
                2 => byte == 1,
                // Video, and the extended stream id that VC-1 and its like use.
                3 => matches!(byte, 0xE0..=0xEF | 0xFD),
                _ => true,
            };
            if !expected {
                return None;
            }
            if self.pes_read == PES_FIXED_BYTES - 1 {
                self.pes_bytes = PES_FIXED_BYTES + usize::from(byte);
            }
            self.pes_read += 1;
            rest = tail;
        }
        Some(rest)
    }

    fn step(&mut self, byte: u8) -> Verdict {
        if self.zeros == 2 && byte == 1 {
            self.zeros = 0;
            self.mode = Mode::Unit;
            return Verdict::Undecided;
        }
        let emulation_prevention = self.zeros == 2 && byte == 3;
        self.zeros = if byte == 0 { (self.zeros + 1).min(2) } else { 0 };
        match self.mode {
            Mode::Seek => Verdict::Undecided,
            Mode::Unit => {
                self.mode = Mode::Seek;
                self.unit(byte)
            }
            Mode::SeiType(_) | Mode::SeiSize { .. } | Mode::SeiBody(_) => {
                if !emulation_prevention {
                    self.sei(byte);
                }
                Verdict::Undecided
            }
        }
    }

    /// The byte after a start code.
    fn unit(&mut self, byte: u8) -> Verdict {
        match self.grammar {
            Grammar::H264 if byte & 0x80 != 0 => Verdict::Undecided,
            Grammar::H264 => match byte & 0x1F {
                1 | 2 => self.by_recovery(),
                5 => Verdict::Found(AccessKind::Keyframe),
                6 => {
                    self.mode = Mode::SeiType(0);
                    Verdict::Undecided
                }
                7 => {
                    self.has_parameters = true;
                    Verdict::Undecided
                }
                _ => Verdict::Undecided,
            },
            Grammar::Hevc if byte & 0x80 != 0 => Verdict::Undecided,
            Grammar::Hevc => match byte >> 1 {
                16..=21 => Verdict::Found(AccessKind::Keyframe),
                0..=15 | 22..=31 => Verdict::NotFound,
                _ => Verdict::Undecided,
            },
            Grammar::Mpeg2 => match byte {
                0xB3 => Verdict::Found(AccessKind::Keyframe),
                0x00..=0xAF => Verdict::NotFound,
                _ => Verdict::Undecided,
            },
            Grammar::Opaque => Verdict::Undecided,
        }
    }

    /// A byte of an H.264 SEI unit: messages of type, size, body; 0xFF extends type and size.
    fn sei(&mut self, byte: u8) {
        let value = u32::from(byte);
        self.mode = match self.mode {
            Mode::SeiType(kind) if byte == 0xFF => Mode::SeiType(kind.saturating_add(value)),
            Mode::SeiType(kind) => Mode::SeiSize { kind: kind.saturating_add(value), size: 0 },
            Mode::SeiSize { kind, size } if byte == 0xFF => {
                Mode::SeiSize { kind, size: size.saturating_add(value) }
            }
            Mode::SeiSize { kind, size } => {
                self.has_recovery_point |= kind == SEI_RECOVERY_POINT;
                match size.saturating_add(value) {
                    0 => Mode::SeiType(0),
                    size => Mode::SeiBody(size),
                }
            }
            Mode::SeiBody(1) => Mode::SeiType(0),
            Mode::SeiBody(left) => Mode::SeiBody(left - 1),
            Mode::Seek => Mode::Seek,
            Mode::Unit => Mode::Unit,
        };
    }
}
