//! Whose a stream is, and what is written of it by whom.

use super::*;

#[test]
fn a_stream_is_written_when_redis_has_said_whose_it_is() {
    let mut case = Case::up();
    case.stream(1, 7);
    case.tell(0, viewer(0, 1, 7));
    assert_eq!(case.questions[0].ask.verb, Verb::Acquire { known: 0 });
    assert!(case.write(true).batch.is_empty());
    case.reply(Reply::Owned { epoch: 5 });
    let page = case.write(true);
    let writes = &page.batch.streams[&stream(7)];
    assert!(matches!(writes.stream, Some(StreamWrite::Facts(_))));
    assert_eq!(writes.viewers.len(), 1);
    assert_eq!(page.crowds[&stream(7)], Crowd { viewers: 1, is_owner: true });
    assert_eq!(Case::events(&page), ["started", "connected", "owner"]);
    let view = LeaseView { owner: Some(ME.to_owned()), epoch: 5, standing: StandingName::Owned };
    let order = Order::Lease { infohash: stream(7), view };
    assert_eq!(case.orders.last(), Some(&(Some(1), order)));
    assert_eq!(case.others, [Output::Subscribe(stream(7))]);
}

#[test]
fn a_foreign_writers_keys_are_not_touched() {
    let mut case = Case::up();
    case.stream(0, 7);
    case.tell(0, viewer(0, 1, 7));
    case.reply(Reply::Foreign { by: "orchestrator".to_owned() });
    let by = "orchestrator".to_owned();
    assert!(case.others.contains(&Output::Foreign { infohash: stream(7), by }));
    case.stream(0, 7);
    case.tell(0, gone(0, 1, 7));
    case.tell(0, over(7));
    case.ms = 1_000;
    assert!(case.write(true).batch.is_empty());
    assert!(case.book.streams.is_empty() && case.questions.is_empty());
}

#[test]
fn who_lingers_on_a_foreign_stream_leaves_without_a_trace() {
    for reply in [Some(Reply::Foreign { by: "orchestrator".to_owned() }), None] {
        let mut case = Case::up();
        case.stream(0, 7);
        case.tell(1, viewer(1, 1, 7));
        if let Some(reply) = reply {
            case.reply(reply);
        }
        case.tell(0, over(7));
        case.tell(1, gone(1, 1, 7));
        let page = case.write(true);
        assert!(page.batch.is_empty(), "{:?}", page.batch);
        assert!(case.book.streams.is_empty() && case.book.table.is_empty());
    }
}

#[test]
fn a_stream_that_was_foreign_is_told_whole_when_it_is_ours() {
    let mut case = Case::up();
    case.stream(0, 7);
    case.tell(0, viewer(0, 1, 7));
    case.reply(Reply::Foreign { by: "orchestrator".to_owned() });
    case.ms = 10_001;
    case.input(Input::Overflow);
    let asked = case.orders.len();
    case.ms = 20_000;
    case.book.handle_timeout(at(case.ms));
    case.input(Input::Written { ok: true });
    case.reply(Reply::Owned { epoch: 5 });
    let tell_all = (None, Order::TellAll { generation: 3 });
    assert!(case.orders[asked..].contains(&tell_all), "{:?}", case.orders);
}

#[test]
fn a_redis_that_was_emptied_under_the_connection_is_told_everything() {
    let mut case = Case::up();
    case.own(0, 7);
    case.pass(6_000);
    case.reply(Reply::Free { epoch: 0 });
    let asked = case.questions.last().unwrap().ask.verb;
    assert_eq!((asked, case.tellings()), (Verb::Acquire { known: 5 }, 1));
    case.reply(Reply::Owned { epoch: 6 });
    assert_eq!(case.tellings(), 2);
}

/// Of two nodes one finds out that Redis was emptied; the other one sees that the first has the stream
/// anew, or has it now itself, or has lost it.
#[test]
fn what_passes_from_node_to_node_is_told_again() {
    let held = |epoch| {
        let ttl = Duration::from_secs(9);
        Reply::Held { by: THERE.to_owned(), epoch, ttl }
    };
    let mut case = Case::up();
    case.stream(0, 7);
    case.reply(held(5));
    case.pass(6_000);
    case.reply(held(5));
    assert_eq!(case.tellings(), 1, "it is theirs as before");
    for (ms, reply, tellings) in [
        (12_000, held(6), 2),
        (18_000, Reply::Owned { epoch: 7 }, 3),
        (24_000, Reply::Owned { epoch: 7 }, 3),
        (30_000, Reply::Retaken { epoch: 7 }, 4),
        (36_000, held(8), 5),
    ] {
        case.pass(ms);
        case.reply(reply);
        assert_eq!(case.tellings(), tellings, "at {ms}");
    }
}

/// A process that was stopped for longer than its lease knows nothing of who has it now.
#[test]
fn an_owner_that_is_not_confirmed_writes_no_metadata_until_it_is() {
    let mut case = Case::up();
    case.own(0, 7);
    case.tell(0, viewer(0, 1, 7));
    case.write(true);
    case.ms = 11_000;
    case.stream(0, 7);
    case.book.handle_timeout(at(case.ms));
    let page = case.write(true);
    assert_eq!(page.crowds[&stream(7)], Crowd { viewers: 1, is_owner: false });
    // Confirmed, and all of it is told again at once.
    case.reply(Reply::Owned { epoch: 5 });
    assert_eq!(case.orders.last(), Some(&(None, Order::TellAll { generation: 2 })));
    case.stream(0, 7);
    assert!(case.write(true).crowds[&stream(7)].is_owner);
    // Nor does it tell of an end.
    case.ms = 22_000;
    case.stream(0, 7);
    case.tell(0, over(7));
    let page = case.write(true);
    assert!(page.batch.streams.get(&stream(7)).is_none_or(|writes| writes.stream.is_none()));
}

#[test]
fn another_nodes_stream_keeps_its_metadata() {
    let mut case = Case::up();
    case.stream(0, 7);
    case.tell(0, viewer(0, 1, 7));
    let ttl = Duration::from_secs(5);
    case.reply(Reply::Held { by: THERE.to_owned(), epoch: 9, ttl });
    let page = case.write(true);
    assert_eq!(page.crowds[&stream(7)], Crowd { viewers: 1, is_owner: false });
    case.tell(0, over(7));
    let page = case.write(true);
    assert!(!page.batch.streams.contains_key(&stream(7)), "its end is not ours to tell");
    assert!(case.questions.is_empty(), "and nothing is given back");
}
