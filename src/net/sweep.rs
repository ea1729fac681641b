//! Deadlines of sockets: one timer per thread, and a socket whose time is up is shut down.
//!
//! A wait is never dropped by a timeout. The sweeper shuts the socket down instead, its waiter
//! wakes by itself and finds out that it was swept. Setting a later deadline costs one store: the
//! queue holds a socket at or before its deadline, and a socket found too early is put back.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::task::Waker;

use crate::base::time;
use crate::base::time::Instant;
use crate::net::runtime;
use crate::net::source::Held;

/// What a passed deadline shuts down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sweep {
    /// The waiting `recv` ends; answering is still possible (a 408).
    Read,
    /// Everything: connecting, reading, writing.
    Both,
}

#[derive(Default)]
struct Sweeper {
    queue: RefCell<BTreeMap<(Instant, u64), Rc<Held>>>,
    sequence: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    /// A deadline came before the one that the timer is set to.
    poked: Cell<bool>,
}

thread_local! {
    static SWEEPER: Sweeper = Sweeper::default();
}

pub(super) fn set_deadline(held: &Rc<Held>, at: Instant, sweep: Sweep) {
    held.sweep.set(sweep);
    held.deadline.set(at);
    let is_queued = held.queued.get().is_some_and(|(queued_at, _)| queued_at <= at);
    if !is_queued && at != Instant::NEVER {
        forget(held);
        enqueue(held, at);
    }
}

pub(super) fn clear_deadline(held: &Held) {
    held.deadline.set(Instant::NEVER);
}

/// Takes a socket that goes away out of the queue.
pub(super) fn forget(held: &Held) {
    if let Some(key) = held.queued.take() {
        // A thread that is being torn down has no sweeper any more.
        let _ = SWEEPER.try_with(|sweeper| sweeper.queue.borrow_mut().remove(&key));
    }
}

fn enqueue(held: &Rc<Held>, at: Instant) {
    SWEEPER.with(|sweeper| {
        let sequence = sweeper.sequence.get();
        sweeper.sequence.set(sequence + 1);
        held.queued.set(Some((at, sequence)));
        let mut queue = sweeper.queue.borrow_mut();
        queue.insert((at, sequence), Rc::clone(held));
        let is_first = queue.first_key_value().is_some_and(|(key, _)| *key == (at, sequence));
        drop(queue);
        if is_first {
            sweeper.poked.set(true);
            let waker = sweeper.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    });
}

/// The task of the sweeper. Sleeps until the first deadline, or until an earlier one is set.
pub(super) async fn run() {
    loop {
        let first = SWEEPER.with(|sweeper| sweeper.queue.borrow().keys().next().map(|(at, _)| *at));
        let mut sleep = pin!(async {
            match first {
                Some(at) => runtime::sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|context| {
            SWEEPER.with(|sweeper| {
                if sweeper.poked.take() {
                    return Poll::Ready(());
                }
                *sweeper.waker.borrow_mut() = Some(context.waker().clone());
                sleep.as_mut().poll(context)
            })
        })
        .await;
        sweep(time::now());
    }
}

fn sweep(now: Instant) {
    loop {
        let due = SWEEPER.with(|sweeper| {
            let mut queue = sweeper.queue.borrow_mut();
            let first = queue.first_entry()?;
            (first.key().0 <= now).then(|| first.remove())
        });
        let Some(held) = due else { return };
        held.queued.set(None);
        let deadline = held.deadline.get();
        if deadline <= now {
            held.swept.set(true);
            held.deadline.set(Instant::NEVER);
            held.shut_down(held.sweep.get());
        } else if deadline != Instant::NEVER {
            enqueue(&held, deadline);
        }
    }
}

/// A new runtime on this thread begins with no deadlines.
pub(super) fn reset() {
    let old = SWEEPER.with(|sweeper| {
        sweeper.poked.set(false);
        drop(sweeper.waker.borrow_mut().take());
        std::mem::take(&mut *sweeper.queue.borrow_mut())
    });
    for held in old.values() {
        held.queued.set(None);
    }
}
