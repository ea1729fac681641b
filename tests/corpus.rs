//! The fuzzer's committed inputs, replayed without a fuzzer, each also cut short and damaged a
//! little: what was broken once stays mended, and no nightly compiler is needed to see it.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use ringcast::base::prng::Prng;
use std::path::Path;

/// Of each input, beside itself.
const DAMAGED: u64 = 16;

fn replay(name: &str) {
    let (_, body) = bodies::ALL.iter().find(|(known, _)| *known == name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut inputs: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no input in {}", folder.display());
    for path in inputs {
        let bytes = std::fs::read(&path).unwrap();
        let run = |bytes: &[u8]| {
            let caught = std::panic::catch_unwind(|| body(bytes));
            assert!(caught.is_ok(), "{}: {bytes:?}", path.display());
        };
        run(&bytes);
        let mut prng = Prng::new(bytes.len() as u64);
        for _ in 0..DAMAGED {
            let mut bytes = bytes.clone();
            bytes.truncate(prng.below(bytes.len() as u64 + 1) as usize);
            for _ in 0..prng.below(4) {
                let at = prng.below(bytes.len() as u64 + 1) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = prng.next_u64() as u8;
                }
            }
            run(&bytes);
        }
    }
}

#[test]
fn request_heads() {
    replay("request_head");
}

#[test]
fn heads_of_engines() {
    replay("engine_head");
}

#[test]
fn bodies_of_engines() {
    replay("engine_body");
}

#[test]
fn json_of_engines() {
    replay("engine_json");
}

#[test]
fn streams() {
    replay("ts_sync_scan");
}

#[test]
fn tables_of_streams() {
    replay("psi");
}

#[test]
fn settings_of_operators() {
    replay("settings");
}

#[test]
fn texts_of_strangers() {
    replay("texts");
}

#[test]
fn operations_of_the_ring() {
    replay("ring");
}
