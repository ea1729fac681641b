//! The lease brain against replies given by hand; the simulator runs it against a bad Redis.

use super::*;

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

struct Case {
    lease: Lease,
    standings: Vec<Standing>,
    asks: Vec<Ask>,
}

impl Case {
    fn new(known: u64) -> Self {
        let lease = Lease::new(known, true, at(0));
        let mut case = Self { lease, standings: Vec::new(), asks: Vec::new() };
        case.drain();
        case
    }

    fn drain(&mut self) {
        while let Some(output) = self.lease.poll_output() {
            match output {
                Output::Ask(ask) => self.asks.push(ask),
                Output::Changed(standing) => self.standings.push(standing),
            }
        }
    }

    fn handle(&mut self, input: Input, ms: u64) {
        self.lease.handle(input, at(ms));
        self.drain();
    }

    fn pass(&mut self, ms: u64) {
        self.lease.handle_timeout(at(ms));
        self.drain();
    }

    fn reply(&mut self, reply: Reply, ms: u64) {
        let number = self.last().number;
        self.handle(Input::Answered { number, reply }, ms);
    }

    fn last(&self) -> Ask {
        *self.asks.last().unwrap()
    }

    fn owned(epoch: u64) -> Self {
        let mut case = Self::new(0);
        case.reply(Reply::Owned { epoch }, 1);
        case
    }
}

fn held(epoch: u64, ttl_ms: u64) -> Reply {
    Reply::Held { by: "n:1:00000000".to_owned(), epoch, ttl: Duration::from_millis(ttl_ms) }
}

#[test]
fn an_owner_refreshes_before_its_lease_ends() {
    let mut case = Case::owned(7);
    assert_eq!(case.asks[0].verb, Verb::Acquire { known: 0 });
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 7 });
    assert_eq!(case.lease.poll_timeout(), Some(at(3_000)));
    case.pass(3_000);
    assert_eq!(case.last().verb, Verb::Refresh { epoch: 7 });
    case.reply(Reply::Owned { epoch: 7 }, 3_100);
    // Counted from the question, not from the answer.
    assert_eq!(case.lease.poll_timeout(), Some(at(6_000)));
}

#[test]
fn after_a_lost_acquire_it_reads_and_does_not_acquire_again() {
    let mut case = Case::new(3);
    case.pass(500);
    assert_eq!(case.lease.standing(), &Standing::Unknown { epoch: 0 });
    case.pass(1_000);
    assert_eq!(case.last().verb, Verb::Read);
    case.pass(1_500);
    case.pass(2_000);
    assert_eq!(case.last().verb, Verb::Read);
    case.reply(Reply::Owned { epoch: 4 }, 2_010);
    // A read gives a lease no time, and says nothing of how much is left: a refresh does.
    assert_eq!(case.lease.standing(), &Standing::Unknown { epoch: 4 });
    assert_eq!(case.last().verb, Verb::Refresh { epoch: 4 });
    case.reply(Reply::Owned { epoch: 4 }, 2_020);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 4 });
    // Or it was not carried out.
    let mut case = Case::new(3);
    case.pass(500);
    case.pass(1_000);
    case.reply(Reply::Free { epoch: 9 }, 1_010);
    assert_eq!(case.last().verb, Verb::Acquire { known: 9 });
}

#[test]
fn late_and_double_answers_say_nothing() {
    let mut case = Case::owned(7);
    let first = case.asks[0].number;
    case.handle(Input::Answered { number: first, reply: held(9, 5_000) }, 10);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 7 });
    case.pass(3_000);
    let lost = case.last().number;
    case.pass(3_500);
    case.handle(Input::Answered { number: lost, reply: Reply::Owned { epoch: 7 } }, 3_600);
    assert_eq!(case.lease.poll_timeout(), Some(at(4_000)), "it asks again all the same");
    case.handle(Input::Lost { number: first }, 3_700);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 7 });
}

#[test]
fn a_lease_that_is_not_confirmed_is_unknown_and_neither_owned_nor_lost() {
    let mut case = Case::owned(7);
    case.handle(Input::Link { up: false }, 2_000);
    assert_eq!(case.lease.poll_timeout(), Some(at(10_000)));
    case.pass(9_999);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 7 });
    case.pass(10_000);
    assert_eq!(case.lease.standing(), &Standing::Unknown { epoch: 7 });
    case.handle(Input::Link { up: true }, 60_000);
    assert_eq!(case.last().verb, Verb::Refresh { epoch: 7 });
    case.reply(Reply::Owned { epoch: 7 }, 60_010);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 7 });
}

/// The answer had come when the process was stopped; when it goes on, half a minute has passed.
#[test]
fn an_answer_that_is_older_than_a_lease_confirms_nothing() {
    let mut case = Case::owned(7);
    case.pass(3_000);
    case.reply(Reply::Owned { epoch: 7 }, 33_000);
    assert_eq!(case.lease.standing(), &Standing::Unknown { epoch: 7 });
    assert_eq!(case.last().verb, Verb::Refresh { epoch: 7 });
    assert_eq!(case.asks.len(), 3, "asked again at once");
}

#[test]
fn a_higher_epoch_wins_and_its_end_is_waited_for() {
    let mut case = Case::owned(7);
    case.pass(3_000);
    case.reply(held(8, 2_000), 3_010);
    assert_eq!(case.lease.standing().epoch(), 8);
    assert_eq!(case.lease.poll_timeout(), Some(at(5_010)));
    case.pass(5_010);
    assert_eq!(case.last().verb, Verb::Acquire { known: 8 });
    case.reply(Reply::Owned { epoch: 9 }, 5_020);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 9 });
}

#[test]
fn a_redis_that_forgot_is_told_above_what_is_known() {
    let mut case = Case::owned(7);
    case.pass(3_000);
    case.reply(Reply::Free { epoch: 0 }, 3_010);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 7 }, "nobody else has it");
    assert_eq!(case.last().verb, Verb::Acquire { known: 7 });
    case.reply(Reply::Owned { epoch: 8 }, 3_020);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 8 });
    // An epoch that goes back is none.
    case.pass(6_010);
    case.reply(Reply::Owned { epoch: 1 }, 6_020);
    assert_eq!(case.last().verb, Verb::Acquire { known: 8 });
}

#[test]
fn a_foreign_owner_is_left_alone_and_looked_at_now_and_then() {
    let mut case = Case::new(0);
    case.reply(Reply::Foreign { by: "orchestrator".to_owned() }, 1);
    assert_eq!(case.lease.standing().epoch(), 0);
    case.pass(9_000);
    assert_eq!(case.asks.len(), 1);
    case.pass(10_001);
    assert_eq!(case.asks.len(), 2);
    case.reply(Reply::Owned { epoch: 5 }, 10_010);
    assert_eq!(case.lease.standing(), &Standing::Owned { epoch: 5 });
}

#[test]
fn what_is_over_is_given_back_once() {
    let mut case = Case::owned(7);
    case.handle(Input::Release, 1_000);
    assert_eq!(case.last().verb, Verb::Release { epoch: 7 });
    assert!(!case.lease.is_over());
    case.reply(Reply::Free { epoch: 7 }, 1_010);
    assert!(case.lease.is_over());
    assert_eq!(case.lease.poll_timeout(), None);
    // Unconfirmed it is said twice, then the lease ends by itself.
    let mut case = Case::owned(7);
    case.handle(Input::Release, 1_000);
    case.pass(1_500);
    case.pass(2_000);
    case.pass(2_500);
    assert_eq!(case.asks.len(), 3);
    assert!(case.lease.is_over());
}

#[test]
fn an_acquire_that_is_out_at_the_end_is_given_back_too() {
    let mut case = Case::new(0);
    case.handle(Input::Release, 100);
    assert!(!case.lease.is_over());
    case.reply(Reply::Owned { epoch: 4 }, 110);
    assert_eq!(case.last().verb, Verb::Release { epoch: 4 });
    case.reply(Reply::Free { epoch: 4 }, 120);
    assert!(case.lease.is_over());
    let mut case = Case::new(0);
    case.handle(Input::Release, 100);
    case.reply(held(4, 100), 110);
    assert!(case.lease.is_over());
}

#[test]
fn without_a_connection_nothing_is_asked() {
    let mut lease = Lease::new(0, false, at(0));
    assert_eq!(lease.poll_output(), Some(Output::Changed(Standing::Unowned)));
    assert_eq!((lease.poll_output(), lease.poll_timeout()), (None, None));
    lease.handle(Input::Link { up: true }, at(50));
    assert!(matches!(lease.poll_output(), Some(Output::Ask(_))));
}

#[test]
fn replies_are_read_as_the_scripts_write_them() {
    let owned = Reply::Owned { epoch: 5 };
    assert_eq!(Reply::parse("owned", "me", 5, 10_000), Some(owned));
    assert_eq!(Reply::parse("held", "n:1:00000000", 6, 9), Some(held(6, 9)));
    assert_eq!(Reply::parse("free", "", 0, 0), Some(Reply::Free { epoch: 0 }));
    assert_eq!(Reply::parse("retaken", "me", 5, 10_000), Some(Reply::Retaken { epoch: 5 }));
    let by = "x".to_owned();
    assert_eq!(Reply::parse("foreign", "x", 0, 0), Some(Reply::Foreign { by }));
    assert_eq!(Reply::parse("owned", "me", 0, 0), None);
    assert_eq!(Reply::parse("held", "n", -1, 0), None);
    assert_eq!(Reply::parse("", "", 1, 0), None);
    let Some(Reply::Held { ttl, .. }) = Reply::parse("held", "n", 1, -1) else { panic!() };
    assert!(ttl > LEASE, "a lease without an end is looked at again like any other");
}
