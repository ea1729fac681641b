//! Where the payload is in what an engine sent: chunked or everything.
//!
//! Fed in any splits; it keeps nothing of the bytes, only where it stands.

use std::ops::Range;

#[derive(Clone, Debug)]
pub(crate) struct Framing {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until the connection ends.
    Everything,
    /// In the digits of a size, or behind them.
    Size {
        bytes: usize,
        digits: bool,
    },
    Payload {
        left: usize,
    },
    /// The line end behind a chunk.
    LineEnd,
    Over,
}

impl Framing {
    pub(crate) fn new(chunked: bool) -> Self {
        let state =
            if chunked { State::Size { bytes: 0, digits: true } } else { State::Everything };
        Self { state }
    }

    /// The last chunk was seen, or something that is no chunk.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The next stretch of payload in `bytes` from `*at` on.
    pub(crate) fn next(&mut self, bytes: &[u8], at: &mut usize) -> Option<Range<usize>> {
        while *at < bytes.len() {
            let from = *at;
            match self.state {
                State::Everything => {
                    *at = bytes.len();
                    return Some(from..*at);
                }
                State::Payload { left } => {
                    let len = left.min(bytes.len() - from);
                    *at += len;
                    self.state = if len == left {
                        State::LineEnd
                    } else {
                        State::Payload { left: left - len }
                    };
                    return Some(from..*at);
                }
                State::LineEnd => {
                    *at += 1;
                    if bytes[from] == b'\n' {
                        self.state = State::Size { bytes: 0, digits: true };
                    }
                }
                State::Size { bytes: size, digits } => {
                    *at += 1;
                    self.state = after_size(size, digits, bytes[from]);
                }
                State::Over => return None,
            }
        }
        None
    }

    /// Moves the payload in `bytes` together at their beginning; gives its length.
    pub(crate) fn squeeze(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut len) = (0, 0);
        while let Some(run) = self.next(bytes, &mut at) {
            let run_len = run.len();
            if run.start != len {
                bytes.copy_within(run, len);
            }
            len += run_len;
        }
        len
    }
}

fn after_size(size: usize, digits: bool, byte: u8) -> State {
    match (byte, char::from(byte).to_digit(16)) {
        (b'\n', _) if size == 0 => State::Over,
        (b'\n', _) => State::Payload { left: size },
        (_, Some(digit)) if digits && size < 1 << 40 => {
            State::Size { bytes: size * 16 + digit as usize, digits }
        }
        (_, Some(_)) if digits => State::Over,
        _ => State::Size { bytes: size, digits: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_in_any_splits_are_one_payload() {
        let wire = b"5\r\nhello\r\n1;x=a\r\n \r\nA\r\n0123456789\r\n0\r\n\r\ntrailing";
        for step in 1..wire.len() {
            let mut framing = Framing::new(true);
            let mut payload = Vec::new();
            for part in wire.chunks(step) {
                let mut part = part.to_vec();
                let len = framing.squeeze(&mut part);
                payload.extend_from_slice(&part[..len]);
            }
            assert_eq!(payload, b"hello 0123456789", "step {step}");
            assert!(framing.is_over());
        }
    }

    #[test]
    fn without_chunks_everything_is_payload() {
        let mut framing = Framing::new(false);
        let mut bytes = b"0\r\n\r\n".to_vec();
        assert_eq!(framing.squeeze(&mut bytes), 5);
        assert!(!framing.is_over());
    }

    #[test]
    fn a_size_that_no_chunk_has_ends_it() {
        let mut framing = Framing::new(true);
        assert_eq!(framing.squeeze(&mut b"ffffffffffffffffff\r\n".to_vec()), 0);
        assert!(framing.is_over());
    }
}
