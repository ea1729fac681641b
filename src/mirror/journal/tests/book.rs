//! The format: what is written is read back, whatever has happened to the rest of the file.

use super::book;
use super::engine;
use super::lines;
use super::opens;
use super::runs;
use super::session;
use crate::mirror::journal::record::Engine;
use crate::mirror::journal::record::Record;
use crate::mirror::journal::record::Session;
use crate::mirror::journal::record::parse;
use proptest::prelude::*;

#[test]
fn the_lines_of_a_journal() {
    let text =
        lines(&[Record::Begun { pid: 7, unix_s: 9 }, opens(1, 6878), Record::Over { entry: 1 }]);
    let words: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let id = format!("{:040x}", 1);
    assert_eq!(
        words,
        ["begun 7 9", &format!("opens 1 127.0.0.1:6878 engine:6878 infohash={id}"), "over 1"]
    );
}

#[test]
fn a_session_is_open_from_its_answer_to_its_end() {
    let mut book = book(&[opens(1, 1), opens(2, 1), runs(1), runs(2)]);
    let path = session(2).command_path;
    assert_eq!(book.entry_of(engine(1).socket, &path), Some(2));
    assert_eq!(book.entry_of(engine(2).socket, &path), None, "another engine's");
    assert!(book.apply(&Record::Over { entry: 2 }));
    assert!(!book.apply(&Record::Over { entry: 2 }), "said once");
    assert!(!book.apply(&runs(2)), "an end is final");
    assert_eq!(book.entry_of(engine(1).socket, &path), None);
    assert_eq!(book.entries.len(), 1);
}

#[test]
fn verbs_of_a_later_version_are_passed_over() {
    let later = {
        let words = "moved 1 2 3";
        let sum = words
            .bytes()
            .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        format!("{sum:08x} {words}\n")
    };
    let parsed = parse(format!("{}{later}{}", opens(1, 1).line(), runs(1).line()).as_bytes());
    assert_eq!((parsed.torn, parsed.book), (0, book(&[opens(1, 1), runs(1)])));
}

#[test]
fn what_could_end_a_request_line_is_not_kept() {
    for path in ["/ace/cmd/a b", "/ace/cmd/a\r\nX: y", "", "-", "/ä"] {
        let session = Session { command_path: path.to_owned(), ..session(1) };
        let line = Record::Runs { entry: 1, session }.line();
        let parsed = parse(format!("{}{line}", opens(1, 1).line()).as_bytes());
        assert_eq!(parsed.torn, 0, "{path:?}");
        let session = parsed.book.entries[&1].session.clone().unwrap();
        assert_eq!(session.command_path, "", "{path:?}");
    }
}

fn some_record() -> impl Strategy<Value = Record> {
    let word = || "[!-,.-~]{1,60}";
    prop_oneof![
        (any::<u32>(), any::<u64>()).prop_map(|(pid, unix_s)| Record::Begun { pid, unix_s }),
        (0..20_u64, any::<[u8; 4]>(), any::<u16>(), word(), word()).prop_map(
            |(entry, ip, port, host, what)| Record::Opens {
                entry,
                engine: Engine { socket: (ip, port).into(), host },
                what
            }
        ),
        (0..20_u64, word(), word(), word()).prop_map(|(entry, command, stat, id)| Record::Runs {
            entry,
            session: Session { command_path: command, stat_path: stat, playback_session_id: id }
        }),
        (0..20_u64).prop_map(|entry| Record::Over { entry }),
        any::<u64>().prop_map(|unix_s| Record::Found { unix_s }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(records in prop::collection::vec(some_record(), 0..60)) {
        let parsed = parse(lines(&records).as_bytes());
        let expected = book(&records);
        prop_assert_eq!(parsed.torn, 0);
        prop_assert_eq!(&parsed.book, &expected);
        // Written anew it says the same.
        let anew = parse(expected.text(1, 2).as_bytes());
        prop_assert_eq!((anew.torn, anew.book), (0, expected));
    }

    #[test]
    fn a_torn_end_loses_nothing_before_it(
        records in prop::collection::vec(some_record(), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = lines(&records);
        let cut = cut.index(text.len());
        let parsed = parse(&text.as_bytes()[..cut]);
        let whole = text[..cut].matches('\n').count();
        prop_assert_eq!(parsed.book, book(&records[..whole]));
        prop_assert!(parsed.torn <= 1);
        prop_assert_eq!(parsed.whole_bytes, lines(&records[..whole]).len());
    }

    #[test]
    fn a_flipped_bit_loses_one_line(
        records in prop::collection::vec(some_record(), 1..20),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut bytes = lines(&records).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let broken = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        let parsed = parse(&bytes);
        prop_assert!(parsed.torn <= 2);
        // A line's end that is gone takes the next line with it; a digit may only change its case.
        let without = |lost: usize| {
            let kept = records.iter().enumerate();
            let kept = kept.filter(|(n, _)| *n < broken || *n >= broken + lost);
            book(&kept.map(|(_, record)| record.clone()).collect::<Vec<_>>())
        };
        prop_assert!((0..=2).any(|lost| parsed.book == without(lost)), "{:?}", parsed.book);
    }

    #[test]
    fn garbage_is_no_journal(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
        let parsed = parse(&bytes);
        prop_assert!(parsed.whole_bytes <= bytes.len());
        prop_assert!(parsed.book.entries.is_empty());
    }
}
