//! Bodies: tables of framings, and that cuts do not matter.

use proptest::prelude::*;

use crate::http::body::BodyDecoder;
use crate::http::body::BodyError;
use crate::http::head::Framing;

/// The body, and how many bytes were consumed; fed in parts.
fn run(mut decoder: BodyDecoder, parts: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), BodyError> {
    let mut body = Vec::new();
    let mut consumed = 0;
    for part in parts {
        let progress = decoder.feed(part, &mut |bytes| {
            assert!(!bytes.is_empty());
            body.extend_from_slice(bytes);
        })?;
        consumed += progress.consumed;
        assert_eq!(progress.done, decoder.is_done());
        if progress.consumed < part.len() {
            break;
        }
    }
    Ok((body, consumed, decoder.is_done()))
}

fn run_in(
    decoder: &BodyDecoder,
    bytes: &[u8],
    part_bytes: usize,
) -> Result<(Vec<u8>, usize, bool), BodyError> {
    run(decoder.clone(), &bytes.chunks(part_bytes).collect::<Vec<_>>())
}

#[test]
fn chunked_bodies() {
    let long_size = format!("{:015x}", 5);
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(4_000));
    let trailers = format!("0\r\n{}\r\n", "Name: value\r\n".repeat(100));
    let table: &[(&str, &str, usize)] = &[
        ("5\r\nhello\r\n0\r\n\r\n", "hello", 0),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", 0),
        ("5;name=\"value\"\r\nhello\r\n0;last\r\nTrailer: x\r\n\r\n", "hello", 0),
        ("5 \r\nhello\r\n0\r\n\r\n", "hello", 0),
        ("5\nhello\n0\n\n", "hello", 0),
        ("0\r\n\r\nHTTP/1.1 200 OK", "", 15),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0),
        ("a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n0\r\n\r\n", 0),
        (&format!("{long_size}\r\nhello\r\n0\r\n\r\n"), "hello", 0),
        (&extension, "hello", 0),
        (&trailers, "", 0),
    ];
    for (bytes, expected, left) in table {
        for part_bytes in [1, 2, 3, 7, 10_000] {
            let (body, consumed, done) =
                run_in(&BodyDecoder::chunked(), bytes.as_bytes(), part_bytes).unwrap();
            assert_eq!(body, expected.as_bytes(), "{bytes:?} in {part_bytes}");
            assert_eq!((consumed, done), (bytes.len() - left, true), "{bytes:?} in {part_bytes}");
        }
    }
}

#[test]
fn damaged_chunks() {
    let extension = format!("5;{}\r\n", "x".repeat(5_000));
    let trailers = format!("0\r\n{}", "Name: value\r\n".repeat(1_000));
    let table: &[(&str, BodyError)] = &[
        ("\r\n", BodyError::ChunkSize),
        ("x\r\n", BodyError::ChunkSize),
        ("-5\r\n", BodyError::ChunkSize),
        ("5x\r\n", BodyError::ChunkSize),
        ("5\rx", BodyError::ChunkSize),
        ("1000000000000000\r\n", BodyError::ChunkSize),
        ("5\r\nhello!\r\n", BodyError::ChunkEnd),
        ("5\r\nhello\r\r\n", BodyError::ChunkEnd),
        (&extension, BodyError::ExtensionTooLong),
        (&trailers, BodyError::TrailerTooLong),
    ];
    for (bytes, expected) in table {
        for part_bytes in [1, 5, 100_000] {
            let mut decoder = BodyDecoder::chunked();
            let parts = bytes.as_bytes().chunks(part_bytes);
            let error = parts.map(|part| decoder.feed(part, &mut |_| {})).find_map(Result::err);
            assert_eq!(error, Some(*expected), "{bytes:?} in {part_bytes}");
            assert_eq!(decoder.feed(b"0\r\n", &mut |_| {}), Err(*expected), "an error stays");
            assert_eq!(decoder.end(), Err(*expected));
        }
    }
}

#[test]
fn the_last_chunk_ends_the_body_whatever_follows() {
    let mut decoder = BodyDecoder::chunked();
    let progress = decoder.feed(b"2\r\nab\r\n0\r\n", &mut |_| {}).unwrap();
    assert!(progress.done, "an engine may keep the socket open here");
    assert_eq!(decoder.end(), Ok(()));
    let progress = decoder.feed(b"\r\nrest", &mut |_| {}).unwrap();
    assert_eq!((progress.consumed, progress.done), (2, true));
}

#[test]
fn lengths_and_closes() {
    let length = BodyDecoder::content_length(5);
    assert_eq!(length.end(), Err(BodyError::Truncated));
    assert_eq!(run(length, &[b"hel", b"lo!!"]), Ok((b"hello".to_vec(), 5, true)));
    let empty = BodyDecoder::new(Framing::None);
    assert!(empty.is_done());
    assert_eq!(run(empty, &[b"x"]), Ok((vec![], 0, true)));
    let close = BodyDecoder::new(Framing::UntilClose);
    assert_eq!(close.end(), Ok(()));
    assert_eq!(run(close, &[b"a", b"", b"bc"]), Ok((b"abc".to_vec(), 3, false)));
    assert_eq!(BodyDecoder::new(Framing::Chunked).end(), Err(BodyError::Truncated));
    assert_eq!(BodyDecoder::new(Framing::Length(u64::MAX)).end(), Err(BodyError::Truncated));
}

#[test]
fn body_slices_are_borrowed() {
    let bytes = b"5\r\nhello\r\n0\r\n\r\n";
    let mut slices = Vec::new();
    BodyDecoder::chunked().feed(bytes, &mut |slice| slices.push(slice.as_ptr_range())).unwrap();
    assert_eq!(slices, [bytes[3..8].as_ptr_range()]);
}

proptest! {
    #[test]
    fn every_split_is_the_same(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6),
        extension in "(;[a-z]{0,9}(=[a-z]{0,9})?)?",
        part_bytes in 1usize..60,
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let decoder = BodyDecoder::chunked();
        let expected = Ok((chunks.concat(), bytes.len(), true));
        prop_assert_eq!(run_in(&decoder, &bytes, usize::MAX), expected.clone());
        prop_assert_eq!(run_in(&decoder, &bytes, part_bytes), expected.clone());
        prop_assert_eq!(run_in(&decoder, &bytes, 1), expected);
    }

    #[test]
    fn garbage_is_the_same_error_in_every_split(
        bytes in proptest::collection::vec(prop_oneof![
            Just(b'0'), Just(b'3'), Just(b'\r'), Just(b'\n'), Just(b';'), any::<u8>(),
        ], 0..60),
        part_bytes in 1usize..9,
    ) {
        let decoder = BodyDecoder::chunked();
        let whole = run_in(&decoder, &bytes, usize::MAX);
        prop_assert_eq!(run_in(&decoder, &bytes, part_bytes), whole);
    }
}
