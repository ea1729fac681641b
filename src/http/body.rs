//! Takes a message body out of its framing: slices of the input, nothing copied.
//!
//! May be fed any cut of the bytes, also one at a time, with the same result. Chunk extensions and
//! trailers are passed over within limits. Invariant: what goes to the sink are body bytes only, in
//! order; `consumed` never exceeds what was fed.

use crate::http::head::Framing;

/// Of one chunk's extensions.
const EXTENSION_BYTES_MAX: usize = 4096;
/// Of all trailers.
const TRAILER_BYTES_MAX: usize = 8192;
/// 2^60 bytes at most: more digits would overflow, and are no size but an attack.
const SIZE_DIGITS_MAX: u8 = 15;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("a chunk size is not a hexadecimal number")]
    ChunkSize,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    #[error("a chunk extension is longer than {EXTENSION_BYTES_MAX} bytes")]
    ExtensionTooLong,
    #[error("trailers are longer than {TRAILER_BYTES_MAX} bytes")]
    TrailerTooLong,
    #[error("the connection closed before the body ended")]
    Truncated,
}

/// How far a feed came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that belonged to the body and its framing.
    pub consumed: usize,
    /// The body is complete: its length is reached, or its last chunk was announced.
    pub done: bool,
}

/// One body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyDecoder {
    state: State,
    body_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    UntilClose,
    Length(u64),
    Chunk(Chunk),
    Failed(BodyError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size { value: u64, digits: u8 },
    Extension { value: u64, read: usize },
    SizeEnd { value: u64 },
    Data { left: u64 },
    DataEnd { after_cr: bool },
    Trailer { read: usize, line_empty: bool },
    End,
}

impl BodyDecoder {
    /// As the head says.
    pub fn new(framing: Framing) -> BodyDecoder {
        match framing {
            Framing::None => BodyDecoder::content_length(0),
            Framing::Length(length) => BodyDecoder::content_length(length),
            Framing::Chunked => BodyDecoder::chunked(),
            Framing::UntilClose => BodyDecoder::identity_until_close(),
        }
    }

    /// Everything until the connection closes.
    pub fn identity_until_close() -> BodyDecoder {
        BodyDecoder::with(State::UntilClose)
    }

    /// So many bytes.
    pub fn content_length(length: u64) -> BodyDecoder {
        BodyDecoder::with(State::Length(length))
    }

    /// Chunks, each with its size.
    pub fn chunked() -> BodyDecoder {
        BodyDecoder::with(State::Chunk(Chunk::Size { value: 0, digits: 0 }))
    }

    fn with(state: State) -> BodyDecoder {
        BodyDecoder { state, body_bytes: 0 }
    }

    /// What the sinks got so far: the body without its framing.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Takes more bytes and gives those of the body to `sink`. An error stays.
    ///
    /// The last chunk makes it `done` as soon as its size line was read: an engine may keep the
    /// socket open after it. Trailers fed with or after it are still consumed.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Progress, BodyError> {
        let mut body_bytes = 0;
        let sink = &mut |body: &[u8]| {
            body_bytes += body.len() as u64;
            sink(body);
        };
        let consumed = match self.state {
            State::UntilClose => {
                emit(bytes, sink);
                bytes.len()
            }
            State::Length(left) => {
                let (body, _) = bytes.split_at(within(bytes, left));
                emit(body, sink);
                self.state = State::Length(left - body.len() as u64);
                body.len()
            }
            State::Chunk(chunk) => self.feed_chunks(chunk, bytes, sink)?,
            State::Failed(error) => return Err(error),
        };
        self.body_bytes += body_bytes;
        Ok(Progress { consumed, done: self.is_done() })
    }

    /// The connection closed: Ok where that is a proper end.
    pub fn end(&self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose => Ok(()),
            State::Failed(error) => Err(error),
            State::Length(_) | State::Chunk(_) if self.is_done() => Ok(()),
            State::Length(_) | State::Chunk(_) => Err(BodyError::Truncated),
        }
    }

    /// Nothing of the body is missing.
    pub fn is_done(&self) -> bool {
        match self.state {
            State::Length(left) => left == 0,
            State::Chunk(Chunk::Trailer { .. } | Chunk::End) => true,
            State::Chunk(_) | State::UntilClose | State::Failed(_) => false,
        }
    }

    fn feed_chunks(
        &mut self,
        chunk: Chunk,
        bytes: &[u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<usize, BodyError> {
        let mut chunk = chunk;
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if chunk == Chunk::End {
                break;
            }
            if let Chunk::Data { left } = chunk {
                let (body, after) = rest.split_at(within(rest, left));
                emit(body, sink);
                rest = after;
                chunk = match left - body.len() as u64 {
                    0 => Chunk::DataEnd { after_cr: false },
                    left => Chunk::Data { left },
                };
                continue;
            }
            rest = tail;
            chunk = match chunk.step(byte) {
                Ok(next) => next,
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            };
        }
        self.state = State::Chunk(chunk);
        Ok(bytes.len() - rest.len())
    }
}

impl Chunk {
    /// The state after one byte of framing.
    fn step(self, byte: u8) -> Result<Chunk, BodyError> {
        match self {
            Chunk::Size { value, digits } => match (byte as char).to_digit(16) {
                Some(_) if digits == SIZE_DIGITS_MAX => Err(BodyError::ChunkSize),
                Some(digit) => {
                    Ok(Chunk::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
                }
                None if digits == 0 => Err(BodyError::ChunkSize),
                None => Chunk::Extension { value, read: 0 }.step(byte),
            },
            Chunk::Extension { value, read } => match byte {
                b'\r' => Ok(Chunk::SizeEnd { value }),
                b'\n' => Chunk::SizeEnd { value }.step(byte),
                // Nothing but an extension or blanks may stand behind the digits.
                b';' | b' ' | b'\t' if read == 0 => Ok(Chunk::Extension { value, read: 1 }),
                _ if read == 0 => Err(BodyError::ChunkSize),
                _ if read == EXTENSION_BYTES_MAX => Err(BodyError::ExtensionTooLong),
                _ => Ok(Chunk::Extension { value, read: read + 1 }),
            },
            Chunk::SizeEnd { value } => match (byte, value) {
                (b'\n', 0) => Ok(Chunk::Trailer { read: 0, line_empty: true }),
                (b'\n', left) => Ok(Chunk::Data { left }),
                _ => Err(BodyError::ChunkSize),
            },
            Chunk::DataEnd { after_cr } => match byte {
                b'\r' if !after_cr => Ok(Chunk::DataEnd { after_cr: true }),
                b'\n' => Ok(Chunk::Size { value: 0, digits: 0 }),
                _ => Err(BodyError::ChunkEnd),
            },
            Chunk::Trailer { read, line_empty } => match byte {
                b'\n' if line_empty => Ok(Chunk::End),
                _ if read == TRAILER_BYTES_MAX => Err(BodyError::TrailerTooLong),
                b'\n' => Ok(Chunk::Trailer { read: read + 1, line_empty: true }),
                b'\r' => Ok(Chunk::Trailer { read: read + 1, line_empty }),
                _ => Ok(Chunk::Trailer { read: read + 1, line_empty: false }),
            },
            Chunk::Data { .. } | Chunk::End => Ok(self),
        }
    }
}

fn emit(body: &[u8], sink: &mut impl FnMut(&[u8])) {
    if !body.is_empty() {
        sink(body);
    }
}

/// How many of `bytes` lie within the next `left` bytes.
fn within(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}
