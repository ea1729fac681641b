//! The book with records and replies given by hand.

mod ownership;

use super::*;
use crate::mirror::events::What;
use crate::mirror::lease::Reply;
use crate::mirror::lease::Verb;
use crate::mirror::outbox::StreamWrite;
use crate::mirror::outbox::ViewerWrite;
use crate::mirror::records::EngineFacts;
use crate::mirror::records::Record;
use crate::mirror::records::StreamFacts;
use crate::mirror::records::StreamOver;
use crate::mirror::records::ViewerFacts;
use crate::mirror::records::ViewerGone;
use crate::mirror::records::ViewerStats;

const ME: &str = "here:1:00000001";
const THERE: &str = "there:1:00000002";

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn wall(ms: u64) -> Wall {
    Wall::from_unix_ms(1_700_000_000_000 + ms)
}

fn stream(n: u8) -> Infohash {
    Infohash::from_bytes([n; 20])
}

fn facts(n: u8, engine: Option<&str>) -> StreamFacts {
    StreamFacts {
        infohash: stream(n),
        content_id: None,
        state: "active",
        state_changed_at: wall(0),
        started_at: wall(0),
        ready_at: engine.map(|_| wall(5)),
        last_byte_at: None,
        engine: engine.map(|id| EngineFacts { id: id.to_owned(), ..EngineFacts::default() }),
        is_live: true,
        is_encrypted: false,
        bitrate_bps: None,
        bytes_total: 0,
        peers: None,
        told_at: wall(9),
    }
}

fn stats(shard: u64, id: u64, n: u8, bytes_sent: u64, ms: u64) -> ViewerStats {
    ViewerStats {
        id: ViewerId(shard << 56 | id),
        infohash: stream(n),
        last_active: wall(ms),
        bytes_sent,
        behind_ms: 0,
        updated_at: wall(ms),
    }
}

fn viewer(shard: u64, id: u64, n: u8) -> Record {
    Record::Viewer(Box::new(ViewerFacts {
        stats: stats(shard, id, n, 0, 0),
        address: Some("127.0.0.1".to_owned()),
        agent: "VLC".to_owned(),
        name: None,
        connected_at: wall(0),
        is_new: true,
    }))
}

fn gone(shard: u64, id: u64, n: u8) -> Record {
    Record::ViewerGone(Box::new(ViewerGone {
        id: ViewerId(shard << 56 | id),
        infohash: stream(n),
        agent: "VLC".to_owned(),
        reason: "left",
        bytes_sent: 1,
        seconds: 1.0,
        at: wall(8),
    }))
}

fn over(n: u8) -> Record {
    let facts = StreamFacts { state: "stopped", engine: None, ..facts(n, None) };
    Record::StreamOver(Box::new(StreamOver { facts, reason: "idle", error: None }))
}

struct Case {
    book: Book,
    ms: u64,
    orders: Vec<(Option<usize>, Order)>,
    questions: Vec<Question>,
    others: Vec<Output>,
}

impl Case {
    fn new() -> Self {
        let book = Book::new(ME, wall(0), 2, Table::default());
        let (orders, questions, others) = (Vec::new(), Vec::new(), Vec::new());
        Self { book, ms: 0, orders, questions, others }
    }

    /// Connected, and what every shard has to tell is told.
    fn up() -> Self {
        let mut case = Self::new();
        case.input(Input::LinkUp);
        for shard in 0..2 {
            case.tell(shard, Record::Synced { generation: 1 });
        }
        case.write(true);
        case
    }

    fn input(&mut self, input: Input) {
        self.book.handle(input, at(self.ms));
        while let Some(output) = self.book.poll_output() {
            match output {
                Output::Ask(question) => self.questions.push(question),
                Output::Order { shard, order } => self.orders.push((shard, order)),
                other @ (Output::LookAtLoads(_)
                | Output::Subscribe(_)
                | Output::Unsubscribe(_)
                | Output::Foreign { .. }) => self.others.push(other),
            }
        }
        self.book.table.check_invariants();
    }

    fn tell(&mut self, shard: usize, record: Record) {
        self.input(Input::Told { shard, record });
    }

    fn stream(&mut self, shard: usize, n: u8) {
        self.tell(shard, Record::Stream(Box::new(facts(n, Some("e1")))));
    }

    /// What is due by then happens.
    fn pass(&mut self, ms: u64) {
        self.ms = ms;
        self.book.handle_timeout(at(ms));
        self.write(true);
    }

    fn tellings(&self) -> usize {
        let all = |(_, order): &&(Option<usize>, Order)| matches!(order, Order::TellAll { .. });
        self.orders.iter().filter(all).count()
    }

    fn reply(&mut self, reply: Reply) {
        let question = self.questions.pop().unwrap();
        self.input(Input::Answered { question, reply });
    }

    fn own(&mut self, shard: usize, n: u8) {
        self.stream(shard, n);
        self.reply(Reply::Owned { epoch: 5 });
    }

    fn write(&mut self, ok: bool) -> Page {
        let page = self.book.page(at(self.ms)).unwrap_or_default();
        self.input(Input::Written { ok });
        page
    }

    fn events(page: &Page) -> Vec<&'static str> {
        page.batch
            .events
            .iter()
            .map(|event| match event.what {
                What::ClientConnected { .. } => "connected",
                What::ClientDisconnected { .. } => "disconnected",
                What::StreamStarted => "started",
                What::StreamStopped { .. } => "stopped",
                What::StreamFailover { .. } => "failover",
                What::OwnerChanged { .. } => "owner",
            })
            .collect()
    }
}

#[test]
fn numbers_become_rates_and_a_viewer_that_is_not_known_is_asked_for() {
    let mut case = Case::up();
    case.own(0, 7);
    case.tell(0, viewer(0, 1, 7));
    case.write(true);
    case.tell(0, Record::ViewerStats(stats(0, 1, 7, 4_000_000, 2_000)));
    case.tell(0, Record::ViewerStats(stats(0, 1, 7, 5_000_000, 4_000)));
    let page = case.write(true);
    let ViewerWrite::Stats(_, rates) = page.batch.streams[&stream(7)].viewers[0].1 else {
        panic!()
    };
    assert_eq!((rates.average, rates.current), (1_250.0, 500.0));
    case.ms = 6_000;
    let before = case.orders.len();
    case.tell(0, Record::ViewerStats(stats(0, 2, 7, 1, 5_000)));
    assert_eq!(case.orders[before..], [(None, Order::TellAll { generation: 2 })]);
}

#[test]
fn what_is_not_told_again_is_not_there() {
    let mut case = Case::up();
    case.own(0, 7);
    case.tell(0, viewer(0, 1, 7));
    case.tell(1, viewer(1, 2, 7));
    case.tell(1, viewer(1, 3, 7));
    case.write(true);
    case.ms = 10_000;
    case.input(Input::LinkDown);
    case.input(Input::LinkUp);
    assert_eq!(case.orders.last(), Some(&(None, Order::TellAll { generation: 2 })));
    case.stream(0, 7);
    case.tell(0, viewer(0, 1, 7));
    case.tell(0, Record::Synced { generation: 2 });
    case.tell(1, viewer(1, 3, 7));
    case.tell(1, Record::Synced { generation: 1 });
    assert_eq!(case.book.viewers(&stream(7)), 3, "an answer to an older question");
    case.tell(1, Record::Synced { generation: 2 });
    assert_eq!(case.book.viewers(&stream(7)), 2);
    let page = case.write(true);
    let writes = &page.batch.streams[&stream(7)];
    assert!(writes.viewers.contains(&(ViewerId(1 << 56 | 2), ViewerWrite::Gone)));
    assert!(!Case::events(&page).contains(&"connected"), "nobody has come");
}

#[test]
fn a_stream_that_vanished_unsaid_gives_its_lease_back() {
    let mut case = Case::up();
    case.own(0, 7);
    case.write(true);
    case.ms = 10_000;
    case.input(Input::Overflow);
    case.tell(0, Record::Synced { generation: 2 });
    assert_eq!(case.questions.last().unwrap().ask.verb, Verb::Release { epoch: 5 });
    assert!(case.book.streams.is_empty());
}

#[test]
fn a_lost_batch_is_told_again_but_not_at_once_every_time() {
    let mut case = Case::up();
    case.own(0, 7);
    case.write(false);
    assert_eq!(case.orders.iter().filter(|(shard, _)| shard.is_none()).count(), 1);
    assert_eq!(case.book.poll_timeout(), Some(at(3_000)));
    case.ms = 5_000;
    case.book.handle_timeout(at(5_000));
    case.input(Input::Overflow);
    let all: Vec<_> = case.orders.iter().filter(|(shard, _)| shard.is_none()).collect();
    assert_eq!(all.last(), Some(&&(None, Order::TellAll { generation: 2 })));
    assert_eq!(all.len(), 2);
}

#[test]
fn the_end_of_a_stream_and_its_next_life() {
    let mut case = Case::up();
    case.own(0, 7);
    case.tell(1, viewer(1, 2, 7));
    case.write(true);
    case.tell(0, over(7));
    let page = case.write(true);
    assert!(matches!(page.batch.streams[&stream(7)].stream, Some(StreamWrite::Over(_))));
    assert_eq!(Case::events(&page), ["stopped"]);
    let release = case.questions.pop().unwrap();
    assert_eq!(release.ask.verb, Verb::Release { epoch: 5 });
    // Who lingers is taken off when it goes.
    case.tell(1, gone(1, 2, 7));
    let page = case.write(true);
    assert_eq!(page.crowds[&stream(7)], Crowd { viewers: 0, is_owner: true });
    // It runs again before the release is answered, and counts on from where it was.
    case.stream(0, 7);
    assert_eq!(case.questions.last().unwrap().ask.verb, Verb::Acquire { known: 5 });
    case.input(Input::Answered { question: release, reply: Reply::Free { epoch: 5 } });
    case.reply(Reply::Owned { epoch: 6 });
    assert_eq!(case.book.standing(&stream(7)), Some(&Standing::Owned { epoch: 6 }));
}

#[test]
fn commands_reach_the_shard_that_can_obey() {
    let mut case = Case::up();
    case.own(1, 7);
    case.tell(0, viewer(0, 4, 7));
    let before = case.orders.len();
    let (infohash, viewer) = (stream(7), ViewerId(4));
    case.input(Input::Command(Command::ClientStop { infohash, viewer }));
    case.input(Input::Command(Command::ClientStop { infohash, viewer: ViewerId(5) }));
    case.input(Input::Command(Command::ChannelStop { infohash }));
    case.input(Input::Command(Command::ChannelStop { infohash: stream(8) }));
    assert_eq!(
        case.orders[before..],
        [
            (Some(0), Order::StopViewer { infohash, viewer }),
            (Some(1), Order::StopStream { infohash })
        ]
    );
}

#[test]
fn a_failover_is_told_with_the_engine_that_follows() {
    let mut case = Case::up();
    case.own(0, 7);
    case.write(true);
    let failover = Record::Failover { infohash: stream(7), from: "e1".to_owned(), reason: "cut" };
    case.tell(0, failover);
    case.tell(0, Record::Stream(Box::new(facts(7, None))));
    assert!(Case::events(&case.write(true)).is_empty());
    case.tell(0, Record::Stream(Box::new(facts(7, Some("e2")))));
    let page = case.write(true);
    assert_eq!(Case::events(&page), ["failover"]);
    let node = page.node.unwrap();
    assert_eq!(node.loads.get("e2"), Some(&1));
    assert!(!node.loads.contains_key("e1"), "told as gone when it went");
}

#[test]
fn a_stream_that_was_stopping_and_is_not_any_more_is_said_to_be_so_once() {
    let mut case = Case::up();
    case.own(0, 7);
    case.write(true);
    let mut tell = |state| {
        let facts = StreamFacts { state, ..facts(7, None) };
        case.tell(0, Record::Stream(Box::new(facts)));
        case.write(true).revived.len()
    };
    assert_eq!(["stopping", "connecting", "active"].map(&mut tell), [0, 1, 0]);
}

#[test]
fn what_others_have_on_the_engines_is_looked_at_and_handed_on() {
    let mut case = Case::up();
    let engines = vec!["e1".to_owned(), "e2".to_owned()];
    case.tell(0, Record::Engines(engines.clone()));
    assert_eq!(case.others.pop(), Some(Output::LookAtLoads(engines.clone())));
    case.pass(10_000);
    case.input(Input::Written { ok: true });
    assert_eq!(case.others.pop(), Some(Output::LookAtLoads(engines)), "with every heartbeat");
    let loads = BTreeMap::from([("e2".to_owned(), 3)]);
    case.input(Input::Loads(loads.clone()));
    assert_eq!(case.orders.pop(), Some((Some(0), Order::Loads(loads))));
    case.input(Input::LinkDown);
    assert_eq!(case.orders.pop(), Some((Some(0), Order::Loads(BTreeMap::new()))));
}

#[test]
fn a_process_that_ends_gives_everything_back() {
    let mut case = Case::up();
    case.own(0, 7);
    case.write(true);
    case.input(Input::Close);
    assert!(!case.book.is_done());
    case.reply(Reply::Free { epoch: 5 });
    assert!(case.book.is_done());
}

#[test]
fn nothing_is_written_twice_at_once_nor_without_a_connection() {
    let mut case = Case::up();
    case.own(0, 7);
    assert!(case.book.page(at(0)).is_some());
    case.tell(0, viewer(0, 1, 7));
    assert!(case.book.page(at(0)).is_none());
    case.input(Input::Written { ok: true });
    assert!(case.book.page(at(0)).is_some());
    case.input(Input::LinkDown);
    case.tell(0, viewer(0, 2, 7));
    assert!(case.book.page(at(0)).is_none());
}
