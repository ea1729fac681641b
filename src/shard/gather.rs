//! One question to every shard, and a task that waits for all the answers.

use crate::base::ids::ShardId;
use crate::base::time;
use crate::base::time::Instant;
use crate::net::runtime;
use crate::net::runtime::Signal;
use crate::shard::core::Shard;
use crate::shard::message::Ask;
use crate::shard::message::Message;
use crate::shard::message::Told;
use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// A shard that does not answer within this is not ticking.
const ANSWER_MS_MAX: Duration = Duration::from_millis(1_500);

pub(crate) struct Gather {
    answers: RefCell<Vec<Told>>,
    expected: usize,
    late: Cell<bool>,
    signal: Signal,
}

impl Gather {
    pub(crate) fn put(&self, told: Told) {
        self.answers.borrow_mut().push(told);
        if self.answers.borrow().len() == self.expected {
            self.signal.notify();
        }
    }
}

/// What every shard has to say, or what came in time when one of them hangs.
pub(crate) struct Gathered {
    pub(crate) answers: Vec<Told>,
    pub(crate) complete: bool,
}

pub(crate) async fn gather(shard: &Shard, ask: Ask) -> Gathered {
    let (token, gather) = shard.with(|core| {
        let token = core.next_token();
        let gather = Rc::new(Gather {
            answers: RefCell::new(Vec::new()),
            expected: core.mail.shards(),
            late: Cell::new(false),
            signal: Signal::new(),
        });
        core.gathers.insert(token, gather.clone());
        for to in 0..core.mail.shards() {
            let from = core.me;
            core.mail.send(ShardId(to as u8), Message::Ask { from, token, ask: ask.clone() });
        }
        (token, gather)
    });
    let deadline: Instant = time::now() + ANSWER_MS_MAX;
    let timer = gather.clone();
    runtime::spawn(async move {
        runtime::sleep_until(deadline).await;
        timer.late.set(true);
        timer.signal.notify();
    });
    while gather.answers.borrow().len() < gather.expected && !gather.late.get() {
        gather.signal.wait().await;
    }
    shard.quietly(|core| core.gathers.remove(&token));
    let answers = std::mem::take(&mut *gather.answers.borrow_mut());
    Gathered { complete: answers.len() == gather.expected, answers }
}
