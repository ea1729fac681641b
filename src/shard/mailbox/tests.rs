//! Nothing is lost, each sender's order holds, a bell rings once a flush.

use super::MAILBOX_MESSAGES_MAX;
use super::Ring;
use super::mesh;
use crate::base::ids::ShardId;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Default)]
struct Count(AtomicU32);

impl Ring for Count {
    fn ring(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_full_mailbox_keeps_the_message_with_its_sender() {
    let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
    let bells: Vec<Arc<dyn Ring>> = counts.iter().map(|c| c.clone() as Arc<dyn Ring>).collect();
    let mut ends = mesh::<usize>(&bells);
    let mut receiver = ends.pop().unwrap();
    let mut sender = ends.pop().unwrap();
    let all = MAILBOX_MESSAGES_MAX * 2 + 7;
    (0..all).for_each(|n| sender.send(ShardId(1), n));
    let mut got = Vec::new();
    while sender.flush() {
        got.extend(std::iter::from_fn(|| receiver.receive()));
    }
    got.extend(std::iter::from_fn(|| receiver.receive()));
    assert_eq!(got, (0..all).collect::<Vec<_>>());
    // One ring a flush that carried something, however much it was.
    assert_eq!(counts[1].0.load(Relaxed), 3);
    assert_eq!(counts[0].0.load(Relaxed), 0);
}

#[test]
fn a_message_to_oneself_comes_back_first() {
    let bells: Vec<Arc<dyn Ring>> = vec![Arc::new(Count::default())];
    let mut alone = mesh::<&str>(&bells).pop().unwrap();
    alone.send(ShardId(0), "hello");
    assert!(alone.has_own());
    assert!(!alone.flush());
    assert_eq!(alone.receive(), Some("hello"));
    assert_eq!(alone.receive(), None);
}
