//! A page against what it becomes.

use super::*;
use crate::mirror::outbox::Batch;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

fn settings() -> Settings {
    Settings {
        url: String::new(),
        prefix: "p".to_owned(),
        hash_tags: None,
        worker_id: "n:1:00000001".to_owned(),
        seed: 0,
        node_url: None,
        version: "0",
        client_ttl: Duration::from_secs(60),
        heartbeat: Duration::from_secs(10),
        cleanup: Duration::from_secs(60),
        buffer_ttl: Duration::from_secs(60),
        snapshots: true,
        chunk_bytes: 1_000,
        snapshot_rate_bytes: 0,
        snapshot_memory_bytes: 0,
    }
}

fn words(command: &Cmd) -> Vec<String> {
    command
        .args_iter()
        .map(|arg| match arg {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            redis::Arg::Cursor => "0".to_owned(),
            _ => panic!("an argument of a kind that is not used"),
        })
        .collect()
}

fn page() -> Page {
    let at = Wall::from_unix_ms(1_700_000_000_050);
    let infohash = Infohash::from_bytes([7; 20]);
    let facts = StreamFacts {
        infohash,
        content_id: None,
        state: "stopping",
        state_changed_at: at,
        started_at: at,
        ready_at: None,
        last_byte_at: Some(at),
        engine: None,
        is_live: true,
        is_encrypted: false,
        bitrate_bps: Some(8),
        bytes_total: 9,
        peers: Some(4),
        told_at: at,
    };
    let stats = ViewerStats {
        id: ViewerId(1),
        infohash,
        last_active: at,
        bytes_sent: 2_500,
        behind_ms: 1_234,
        updated_at: at,
    };
    let viewer = ViewerFacts {
        stats,
        address: None,
        agent: "VLC 3".to_owned(),
        name: None,
        connected_at: at,
        is_new: true,
    };
    let full = ViewerWrite::Full(Box::new(viewer), Rates { average: 1.5, current: 2.0 });
    let writes = StreamWrites {
        stream: Some(StreamWrite::Facts(Box::new(facts))),
        viewers: vec![(ViewerId(1), full), (ViewerId(2), ViewerWrite::Gone)],
    };
    let chunk = Chunk { infohash, sequence: 4, first: 2, epoch: 3, bytes: vec![0x47; 188] };
    let batch = Batch {
        streams: BTreeMap::from([(infohash, writes)]),
        events: Vec::new(),
        chunks: vec![chunk],
    };
    let crowds = BTreeMap::from([(infohash, Crowd { viewers: 1, is_owner: true })]);
    let loads = BTreeMap::from([("e1".to_owned(), 1)]);
    let node = Some(NodeWrite { started_at: at, streams: 1, viewers: 1, loads });
    Page { batch, crowds, node, stops: vec![(infohash, vec![ViewerId(1)])] }
}

fn commands(page: &Page) -> Vec<Vec<String>> {
    let (keys, settings) = (Keys::new("p", false), settings());
    let writer = Writer { keys: &keys, settings: &settings, now: Wall::from_unix_ms(0) };
    let groups = writer.groups(page);
    groups.iter().flat_map(|group| &group.commands).map(words).collect()
}

/// What the script does: its verb, the key and what is added.
fn unfolded(words: &[String]) -> Vec<String> {
    let [eval, script, one, key, verb, ttl_ms, rest @ ..] = words else { return words.to_vec() };
    if eval != "EVAL" {
        return words.to_vec();
    }
    assert!(script.contains("PEXPIRE") && one == "1" && ttl_ms.parse::<u64>().is_ok(), "{words:?}");
    [verb, key].into_iter().chain(rest).cloned().collect()
}

/// Not by a command of its own: whoever writes may be gone before it.
#[test]
fn every_key_is_made_with_its_end_but_two() {
    let mut made = BTreeSet::new();
    let mut endless = BTreeSet::new();
    for words in commands(&page()) {
        let has_end = words[0] == "EVAL" || words.contains(&"PX".to_owned());
        let words = unfolded(&words);
        if !matches!(words[0].as_str(), "SET" | "HSET" | "SADD") {
            let harmless = ["UNLINK", "HDEL", "SREM", "PEXPIRE", "MGET"];
            assert!(harmless.contains(&words[0].as_str()), "{words:?}");
            continue;
        }
        if !has_end {
            endless.insert(words[1].clone());
        }
        made.insert(words[1].clone());
    }
    assert!(made.len() > 10, "{made:?}");
    assert_eq!(Vec::from_iter(endless), ["p:schema", "p:workers"]);
}

#[test]
fn values_are_those_of_the_schema() {
    let all: Vec<_> = commands(&page()).iter().map(|words| unfolded(words)).collect();
    let client = "p:stream:0707070707070707070707070707070707070707:clients:0000000000000001";
    let hash = all.iter().find(|words| words[0] == "HSET" && words[1] == client).unwrap();
    let field = |name: &str| {
        let at = hash.iter().position(|word| word == name).unwrap();
        hash[at + 1].as_str()
    };
    assert_eq!(field("connected_at"), "1700000000.050");
    assert_eq!((field("bytes_sent"), field("chunks_sent")), ("2500", "2"));
    assert_eq!((field("avg_rate_KBps"), field("seconds_behind")), ("1.500", "1.234"));
    assert_eq!((field("protocol"), field("user_agent")), ("TS", "VLC 3"));
    assert!(!hash.contains(&"ip_address".to_owned()), "addresses are off");
    let metadata = all.iter().find(|words| words[1].ends_with(":metadata")).unwrap();
    let peers = metadata.iter().position(|word| word == "peers").unwrap();
    assert_eq!(metadata[peers + 1], "4");
    let gone = |words: &&Vec<String>| words[0] == "SREM" && words[2] == "0000000000000002";
    assert!(all.iter().any(|words| gone(&words)));
    let stop = all.last().unwrap();
    assert_eq!(stop[0], "MGET");
    assert!(stop[1].ends_with(":client:0000000000000001:stop"));
}

#[test]
fn what_another_node_owns_is_not_written() {
    let mut page = page();
    page.crowds.values_mut().for_each(|crowd| crowd.is_owner = false);
    page.batch.chunks.clear();
    let all: Vec<_> = commands(&page).iter().map(|words| unfolded(words)).collect();
    assert!(!all.iter().any(|words| words[1].ends_with(":metadata")));
    assert!(all.iter().any(|words| words[0] == "SADD" && words[1].ends_with(":clients")));
}
