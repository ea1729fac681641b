//! The order of choice, limits under a race, and whom a choice leaves out: engines that rest, that are
//! drained, that have something to do.

use super::tests::Bench;
use super::tests::T0;
use super::tests::address;
use super::tests::seconds;
use super::*;

fn fails(bench: &mut Bench, name: &str) {
    let engine = bench.pool.find(name).unwrap();
    let result = Err(Failure::Other("broken".to_owned()));
    bench.handle(Input::Outcome { engine, result });
}

#[test]
fn an_engine_that_fails_whatever_is_asked_of_it_rests() {
    let mut bench = Bench::new("10.0.0.1,name=a,forwarded 10.0.0.2,name=b");
    assert_eq!(bench.chosen(), "a", "forwarded");
    (0..3).for_each(|_| fails(&mut bench, "a"));
    for _ in 0..4 {
        assert_eq!(bench.chosen(), "b", "however many it has");
    }
    let engine = bench.pool.find("b").unwrap();
    bench.handle(Input::Drain { engine, draining: true });
    assert_eq!(bench.chosen(), "a", "there is no other");
    bench.handle(Input::Drain { engine, draining: false });
    // One session finds out whether it is better, the others wait for that.
    bench.advance(seconds(11));
    assert_eq!((bench.chosen(), bench.chosen()), ("a".to_owned(), "b".to_owned()));
    let engine = bench.pool.find("a").unwrap();
    bench.handle(Input::Media { engine });
    assert_eq!(bench.row("a").rest, None);
    assert_eq!(bench.chosen(), "a");
    // An operator ends a rest, by a word or by taking it back in.
    for word in [Input::EndRest { engine }, Input::Drain { engine, draining: false }] {
        (0..3).for_each(|_| fails(&mut bench, "a"));
        let rest = bench.row("a").rest.expect("it rests");
        assert_eq!((rest.until, rest.reason.as_str()), (seconds(11 + 10), "broken"));
        assert_eq!(bench.chosen(), "b");
        bench.handle(word);
        assert_eq!(bench.row("a").rest, None);
        assert_eq!(bench.chosen(), "a", "as if it had never failed");
    }
}

#[test]
fn an_engine_that_answers_and_gives_no_bytes_rests_all_the_same() {
    let mut bench = Bench::new("10.0.0.1,name=a,forwarded 10.0.0.2,name=b");
    let engine = bench.pool.find("a").unwrap();
    for _ in 0..3 {
        // Its status, the open and the head of the body are fine; then that is cut.
        bench.handle(Input::Outcome { engine, result: Ok(()) });
        bench.handle(Input::Outcome { engine, result: Err(Failure::Cut) });
    }
    assert!(bench.row("a").rest.is_some());
    assert_eq!((bench.chosen(), bench.chosen()), ("b".to_owned(), "b".to_owned()));
    bench.handle(Input::Outcome { engine, result: Ok(()) });
    assert!(bench.row("a").rest.is_some(), "an answer proves nothing");
    bench.handle(Input::Media { engine });
    (0..2).for_each(|_| fails(&mut bench, "a"));
    assert_eq!(bench.row("a").rest, None, "bytes do: it counts anew");
}

#[test]
fn an_engine_whose_body_fell_silent_is_asked_at_once_and_comes_last_when_it_hangs() {
    let mut bench = Bench::new("10.0.0.1,name=a,forwarded 10.0.0.2,name=b");
    let engine = bench.pool.find("a").unwrap();
    bench.advance(seconds(3));
    bench.silent.insert(address("10.0.0.1:6878"));
    bench.handle(Input::Quiet { engine });
    assert_eq!(bench.chosen(), "a", "nothing is known against it yet");
    // Its turn would have come at ten seconds.
    bench.advance(seconds(9));
    assert_eq!((bench.chosen(), bench.chosen()), ("b".to_owned(), "b".to_owned()));
}

#[test]
fn a_second_start_takes_from_those_who_have_nothing_to_do() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b 10.0.0.3,name=c");
    let spare = |bench: &mut Bench| {
        let granted = bench.select_with(|select| select.need = Need::Spare);
        granted.map(|granted| granted.name.to_string())
    };
    assert_eq!(bench.chosen(), "a");
    assert_eq!(spare(&mut bench), Ok("b".to_owned()), "two of three are idle");
    assert_eq!(spare(&mut bench), Err(Denied::NoneToSpare), "one of three is");
}

#[test]
fn what_another_node_does_on_an_engine_is_something_to_do() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b 10.0.0.3,name=c");
    let spare = |bench: &mut Bench| bench.select_with(|select| select.need = Need::Spare);
    bench.handle(Input::Elsewhere(BTreeMap::from([("b".to_owned(), 2)])));
    assert_eq!(bench.chosen(), "a");
    assert_eq!(spare(&mut bench), Err(Denied::NoneToSpare), "one of three is idle");
    bench.handle(Input::Elsewhere(BTreeMap::new()));
    assert_eq!(spare(&mut bench).unwrap().name.as_ref(), "b", "two of three are");
}

/// The shards that were told to leave an engine.
fn told(bench: &Bench) -> Vec<ShardId> {
    let mut owners = Vec::new();
    for output in &bench.outputs {
        if let Output::Vacate { owner, .. } = output {
            owners.push(*owner);
        }
    }
    owners
}

#[test]
fn on_an_engine_that_is_removed_sessions_play_on() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b");
    bench.select_with(|select| select.owner = ShardId(3)).unwrap();
    let engine = bench.pool.find("a").unwrap();
    bench.handle(Input::Remove { engine });
    assert_eq!((bench.row("a").sessions, bench.row("a").draining), (1, true));
    assert!(told(&bench).is_empty(), "they play on");
    assert_eq!(bench.chosen(), "b");
    // Drained on top of it, it is to be left.
    bench.handle(Input::Drain { engine, draining: true });
    assert_eq!(told(&bench), [ShardId(3)]);
}

#[test]
fn a_drained_engine_tells_those_who_are_on_it_once() {
    let mut bench = Bench::new("10.0.0.1,name=a");
    for owner in [3, 3, 4] {
        bench.select_with(|select| select.owner = ShardId(owner)).unwrap();
    }
    let engine = bench.pool.find("a").unwrap();
    for draining in [true, true, false, true] {
        bench.outputs.clear();
        let was = bench.pool.rows()[0].draining;
        bench.handle(Input::Drain { engine, draining });
        let expected = if draining && !was { vec![ShardId(3), ShardId(4)] } else { Vec::new() };
        assert_eq!(told(&bench), expected);
    }
}

#[test]
fn who_names_an_engine_gets_that_one_or_none() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b,max=1");
    let only = bench.pool.find("b");
    let named = |bench: &mut Bench| bench.select_with(|select| select.only = only);
    assert_eq!(named(&mut bench).map(|granted| granted.name.to_string()), Ok("b".to_owned()));
    assert_eq!(named(&mut bench).map(|_| ()), Err(Denied::AllAtLimit { setting: "max" }));
}

#[test]
fn who_takes_a_session_over_answers_for_it_from_then_on() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b");
    let granted = bench.select_with(|select| select.owner = ShardId(3)).unwrap();
    let (engine, reservation) = (granted.engine, granted.reservation.unwrap());
    let told = |bench: &Bench, owner| bench.has(|o| *o == Output::Vacate { engine, owner });
    bench.handle(Input::Pass { reservation, to: ShardId(4) });
    assert!(!told(&bench, ShardId(4)));
    bench.handle(Input::Drain { engine, draining: true });
    assert!(told(&bench, ShardId(4)) && !told(&bench, ShardId(3)));
    // And who takes over what is to be left is told at once.
    bench.handle(Input::Pass { reservation, to: ShardId(5) });
    assert!(told(&bench, ShardId(5)));
    bench.handle(Input::ReleaseAll { owner: ShardId(3), kept: Vec::new() });
    assert_eq!(bench.pool.sessions(), 1, "it is not that shard's any more");
}

#[test]
fn least_sessions_then_forwarded_then_least_recently_chosen() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b 10.0.0.3,name=c,forwarded");
    assert_eq!(bench.chosen(), "c", "forwarded wins among equals");
    assert_eq!(bench.chosen(), "a", "fewer sessions beat forwarded");
    assert_eq!(bench.chosen(), "b");
    assert_eq!(bench.chosen(), "c");
    // All at 1 or 2 sessions; give everything back and the order of choice remains.
    let held: Vec<_> = bench.pool.reservations.keys().copied().collect();
    for reservation in held {
        bench.handle(Input::Release { reservation });
    }
    assert_eq!(bench.pool.sessions(), 0);
    assert_eq!(bench.chosen(), "c");
    assert_eq!(bench.chosen(), "a", "chosen before b");
    assert_eq!(bench.row("a").chosen_total, 2);
}

#[test]
fn sessions_of_other_nodes_count_for_the_choice_and_not_for_the_limit() {
    let mut bench = Bench::new("10.0.0.1,name=a,max=2 10.0.0.2,name=b");
    let elsewhere = |a, b| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    bench.handle(Input::Elsewhere(elsewhere(2, 0)));
    assert_eq!([bench.chosen(), bench.chosen()], ["b", "b"]);
    bench.handle(Input::Elsewhere(elsewhere(2, 9)));
    assert_eq!([bench.chosen(), bench.chosen()], ["a", "a"], "its limit is for ours");
    // They are gone, or nobody knows of them any more.
    bench.handle(Input::Elsewhere(BTreeMap::new()));
    assert_eq!(bench.chosen(), "b", "a is full");
}

#[test]
fn two_hundred_selects_in_one_turn_never_exceed_a_limit() {
    let mut bench = Bench::with_limit("10.0.0.1,max=3 10.0.0.2 10.0.0.3,max=100", 5);
    let mut granted = BTreeMap::<EngineId, u32>::new();
    let mut denied = 0;
    for token in 0..200 {
        let select = Select::any(token, ShardId(0), Need::Session);
        bench.pool.handle(Input::Select(select), T0);
    }
    while let Some(output) = bench.pool.poll_output() {
        if let Output::Granted(one) = &output {
            *granted.entry(one.engine).or_default() += 1;
        }
        if let Output::Denied { reason, .. } = &output {
            assert_eq!(*reason, Denied::AllAtLimit { setting: "max" });
            denied += 1;
        }
    }
    assert_eq!(granted.values().copied().collect::<Vec<_>>(), [3, 5, 100]);
    assert_eq!(denied, 92);
    bench.pool.check_invariants();
}

#[test]
fn the_first_viewer_after_a_boot_is_served_by_an_engine_nobody_asked_yet() {
    let mut bench = Bench::new("");
    bench.silent = [address("10.0.0.1:6878"), address("10.0.0.2:6878")].into();
    assert_eq!(bench.select().unwrap_err(), Denied::NoEngine);
    bench.configure("10.0.0.1,name=a 10.0.0.2,name=b");
    assert!(!bench.pool.is_settled());
    assert_eq!(bench.chosen(), "a");
    assert_eq!(bench.pool.engines_up(), 0);
    // One that answers is preferred, even with more sessions.
    bench.silent.remove(&address("10.0.0.1:6878"));
    bench.advance(seconds(6));
    assert_eq!(bench.pool.engines_up(), 1);
    assert_eq!(bench.chosen(), "a");
    assert_eq!(bench.chosen(), "a");
}

#[test]
fn exclusions_and_preferences() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b");
    let [a, b] = ["a", "b"].map(|name| bench.pool.find(name).unwrap());
    assert_eq!(bench.pool.find(&b.0.to_string()), Some(b));
    let granted = bench.select_with(|s| s.exclude = vec![a]).unwrap();
    assert_eq!(granted.engine, b);
    let granted = bench.select_with(|s| s.prefer_not = Some(a)).unwrap();
    assert_eq!(granted.engine, b, "b has more sessions and is still preferred");
    let granted = bench.select_with(|s| s.only = Some(b)).unwrap();
    assert_eq!(granted.engine, b);
    let granted = bench.select_with(|s| s.prefer = Some(b)).unwrap();
    assert_eq!(granted.engine, b, "preferred before one with fewer sessions");
    let denied = bench.select_with(|s| s.exclude = vec![a, b]).unwrap_err();
    assert_eq!(denied, Denied::OnlyExcluded);
    bench.handle(Input::Drain { engine: b, draining: true });
    let granted = bench.select_with(|s| s.prefer_not = Some(a)).unwrap();
    assert_eq!(granted.engine, a, "the only one, preferred or not");
    assert_eq!(bench.select_with(|s| s.only = Some(b)).unwrap_err(), Denied::OnlyExcluded);
    bench.handle(Input::Drain { engine: a, draining: true });
    assert_eq!(bench.select().unwrap_err(), Denied::NoUsableEngine);
}

#[test]
fn nodes_with_orders_of_their_own_begin_apart() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b 10.0.0.3,name=c");
    let first = |bench: &mut Bench, order| {
        let granted = bench.select_with(|s| s.order = Some(order)).unwrap();
        let reservation = granted.reservation.unwrap();
        bench.handle(Input::Release { reservation });
        granted.engine
    };
    let chosen: Vec<EngineId> = (0..60).map(|order| first(&mut bench, order)).collect();
    let again: Vec<EngineId> = (0..60).map(|order| first(&mut bench, order)).collect();
    assert_eq!(chosen, again, "whoever was chosen last");
    for name in ["a", "b", "c"] {
        let engine = bench.pool.find(name).unwrap();
        let times = chosen.iter().filter(|chosen| **chosen == engine).count();
        assert!((8..=32).contains(&times), "{name} {times} times of 60");
    }
    // Sessions count first.
    let busy = bench.select_with(|s| s.order = Some(1)).unwrap();
    assert_ne!(bench.select_with(|s| s.order = Some(1)).unwrap().engine, busy.engine);
}

#[test]
fn a_query_counts_against_nothing_and_goes_where_the_session_will() {
    let mut bench = Bench::new("10.0.0.1,name=a,max=1 10.0.0.2,name=b,max=1");
    for expected in ["a", "b"] {
        for _ in 0..3 {
            let query = bench.select_with(|s| s.need = Need::Query).unwrap();
            assert_eq!(&*query.name, expected);
            assert_eq!(query.reservation, None);
        }
        assert_eq!(bench.chosen(), expected);
    }
    assert_eq!(bench.select().unwrap_err(), Denied::AllAtLimit { setting: "max" });
    assert!(bench.select_with(|s| s.need = Need::Query).is_ok(), "questions are free");
}
