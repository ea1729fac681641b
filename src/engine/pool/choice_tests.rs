//! Whom a choice leaves out: engines that rest, that are drained, that have something to do.

use super::tests::Bench;
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
    assert_eq!(bench.row("a").rests_until, None);
    assert_eq!(bench.chosen(), "a");
    // An operator ends a rest by taking it back in.
    (0..3).for_each(|_| fails(&mut bench, "a"));
    assert!(bench.row("a").rests_until.is_some());
    bench.handle(Input::Drain { engine, draining: false });
    assert_eq!(bench.row("a").rests_until, None);
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
    assert!(bench.row("a").rests_until.is_some());
    assert_eq!((bench.chosen(), bench.chosen()), ("b".to_owned(), "b".to_owned()));
    bench.handle(Input::Outcome { engine, result: Ok(()) });
    assert!(bench.row("a").rests_until.is_some(), "an answer proves nothing");
    bench.handle(Input::Media { engine });
    (0..2).for_each(|_| fails(&mut bench, "a"));
    assert_eq!(bench.row("a").rests_until, None, "bytes do: it counts anew");
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
