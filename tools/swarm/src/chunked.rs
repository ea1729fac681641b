//! Takes the chunks off a chunked body, in any splits. Some servers frame an endless body so.
//!
//! It never buffers: a size line is a few digits that are kept as a number.

/// A size line with its extension is no longer.
const LINE_BYTES_MAX: usize = 256;

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Bytes are media as they come.
    Plain,
    Chunked(Chunks),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Chunks {
    part: Part,
    /// Of the chunk whose bytes come now.
    left: u64,
    line_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    /// The rest of a size line.
    Extension,
    Data,
    /// The line end after a chunk.
    After,
    /// The last chunk was there, or something that is none.
    Over,
}

impl Body {
    pub(crate) fn new(chunked: bool) -> Body {
        if chunked { Body::Chunked(Chunks::default()) } else { Body::Plain }
    }

    /// Hands the media in these bytes to `media`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut media: impl FnMut(&[u8])) {
        match self {
            Body::Plain => media(bytes),
            Body::Chunked(chunks) => chunks.feed(bytes, media),
        }
    }
}

impl Chunks {
    fn feed(&mut self, mut bytes: &[u8], mut media: impl FnMut(&[u8])) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.part == Part::Data {
                let len = usize::try_from(self.left).map_or(bytes.len(), |l| l.min(bytes.len()));
                media(&bytes[..len]);
                self.left -= len as u64;
                bytes = &bytes[len..];
                if self.left == 0 {
                    self.part = Part::After;
                }
                continue;
            }
            self.framing(first);
            bytes = rest;
        }
    }

    /// One byte that is not media.
    fn framing(&mut self, byte: u8) {
        self.line_bytes += 1;
        self.part = match (self.part, byte) {
            (Part::Over, _) => Part::Over,
            _ if self.line_bytes > LINE_BYTES_MAX => Part::Over,
            (Part::Size | Part::Extension, b'\n') => {
                self.line_bytes = 0;
                if self.left == 0 { Part::Over } else { Part::Data }
            }
            (Part::Extension, _) => Part::Extension,
            (Part::Size, digit) => match (digit as char).to_digit(16) {
                Some(digit) if self.left < 1 << 56 => {
                    self.left = self.left << 4 | u64::from(digit);
                    Part::Size
                }
                Some(_) => Part::Over,
                None => Part::Extension,
            },
            (Part::After, b'\n') => {
                self.line_bytes = 0;
                Part::Size
            }
            (Part::After, _) => Part::After,
            (Part::Data, _) => unreachable!("data is taken in whole stretches"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_off_in_any_splits() {
        let wire = b"5\r\nhello\r\n0a;x=1\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\nrest";
        for split in 1..wire.len() {
            let mut body = Body::new(true);
            let mut media = Vec::new();
            for part in wire.chunks(split) {
                body.feed(part, |bytes| media.extend_from_slice(bytes));
            }
            assert_eq!(media, b"hello0123456789!", "in pieces of {split}");
        }
    }

    #[test]
    fn nonsense_ends_it() {
        let mut body = Body::new(true);
        body.feed(&[b'f'; 64], |_| panic!("no media"));
        body.feed(b"\r\nabc", |_| panic!("no media"));
    }
}
