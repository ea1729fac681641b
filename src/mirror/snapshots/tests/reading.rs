//! When chunks in Redis are worth anything.

use crate::mirror::snapshots::store::may_forget;
use crate::mirror::snapshots::store::plan;
use crate::mirror::snapshots::store::whole;
use redis::Value;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(60);

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn about(first: Value, epoch: Value, index: Value, left_ms: i64) -> Vec<Value> {
    vec![Value::Array(vec![first, epoch]), index, Value::Int(left_ms)]
}

fn planned(about: &[Value]) -> Option<(u64, u64)> {
    plan(about, TTL, 1 << 20).map(|range| (*range.start(), *range.end()))
}

#[test]
fn the_newest_chunks_of_a_young_index_are_read() {
    let of = |first, index, left_ms| planned(&about(text(first), text("3"), text(index), left_ms));
    assert_eq!(of("5", "9", 59_000), Some((5, 9)));
    assert_eq!(of("5", "40", 59_000), Some((33, 40)), "at most 8 MiB");
    assert_eq!(of("9", "9", 50_001), Some((9, 9)));
    assert_eq!(of("9", "9", 50_000), None, "ten seconds old");
    assert_eq!(of("9", "9", 61_000), None, "of another setting");
    assert_eq!(of("10", "9", 59_000), None, "of an earlier session");
    assert_eq!(of("x", "9", 59_000), None);
    assert_eq!(of("9", "9", -1), None, "no time to live");
    assert_eq!(planned(&about(Value::Nil, Value::Nil, text("9"), 59_000)), None);
    assert_eq!(planned(&about(text("5"), Value::Nil, text("9"), 59_000)), None, "no epoch");
    assert_eq!(planned(&about(text("5"), text("3"), Value::Nil, -2)), None);
    assert_eq!(planned(&[]), None);
}

#[test]
fn every_chunk_must_be_there_and_whole() {
    let packet = |byte: u8| {
        let mut packet = vec![byte; 188];
        packet[0] = 0x47;
        packet
    };
    let good = Value::BulkString([packet(1), packet(2)].concat());
    let chunks = |chunks: &[&Value]| Value::Array(chunks.iter().copied().cloned().collect());
    assert_eq!(whole(&chunks(&[&good, &good]), 2).unwrap().len(), 4 * 188);
    assert_eq!(whole(&chunks(&[&good]), 2), None);
    assert_eq!(whole(&chunks(&[&good, &Value::Nil]), 2), None);
    assert_eq!(whole(&chunks(&[&good, &Value::BulkString(Vec::new())]), 2), None);
    assert_eq!(whole(&chunks(&[&Value::BulkString(vec![0x47; 187])]), 1), None);
    assert_eq!(whole(&chunks(&[&Value::BulkString(vec![0; 188])]), 1), None);
}

#[test]
fn chunks_are_forgotten_by_their_owner_or_when_nobody_is() {
    let may = |owner: &Value| may_forget(owner, "tv1:1:00000001");
    assert!(may(&Value::Nil) && may(&text("tv1:1:00000001")));
    assert!(!may(&text("tv2:1:00000001")) && !may(&text("orchestrator-1:17")));
    assert!(!may(&Value::Array(Vec::new())), "of another type");
}
