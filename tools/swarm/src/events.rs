//! What happens in the window: zapping, a storm of joins, readers that pause.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::crowd;
use crate::crowd::Crowd;
use crate::crowd::Occasion;
use crate::crowd::Role;
use crate::crowd::Shared;
use crate::crowd::State;
use crate::options::Options;

const STORM: Duration = Duration::from_secs(1);

/// Tasks that go on until the window ends.
pub(crate) struct Events(Vec<JoinHandle<()>>);

impl Events {
    pub(crate) fn stop(self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn start(options: &Options, shared: &Shared, start: Instant) -> Events {
    let mut tasks = Vec::new();
    let middle = start + options.window() / 2;
    if options.churn > 0.0 {
        let churn = churn(Rc::clone(shared), start, options.churn);
        tasks.push(tokio::task::spawn_local(churn));
    }
    if options.storm > 0 {
        let storm = storm(Rc::clone(shared), middle, options.storm);
        tasks.push(tokio::task::spawn_local(storm));
    }
    if options.pausing > 0 {
        let pause = Duration::from_millis(options.pause_ms.unwrap_or(0));
        let pause = self::pause(Rc::clone(shared), middle - pause / 2, pause);
        tasks.push(tokio::task::spawn_local(pause));
    }
    Events(tasks)
}

/// One leaves, one joins, `rate` times a second; who leaves goes round all that discard.
async fn churn(shared: Shared, start: Instant, rate: f64) {
    let mut after = 0;
    for count in 1_u64.. {
        tokio::time::sleep_until(start + Duration::from_secs_f64((count as f64 - 0.5) / rate))
            .await;
        let mut crowd = shared.borrow_mut();
        let Some(number) = crowd.next_leaver(after) else { continue };
        after = number;
        crowd.leave(number);
        tokio::task::spawn_local(crowd::live(Rc::clone(&shared), number, Occasion::Churn));
    }
}

async fn storm(shared: Shared, middle: Instant, count: u32) {
    for joined in 0..count {
        tokio::time::sleep_until(middle + STORM * joined / count).await;
        let number = shared.borrow_mut().add(Role::Discards);
        tokio::task::spawn_local(crowd::live(Rc::clone(&shared), number, Occasion::Storm));
    }
}

async fn pause(shared: Shared, from: Instant, length: Duration) {
    tokio::time::sleep_until(from).await;
    shared.borrow_mut().paused = true;
    tokio::time::sleep_until(from + length).await;
    let mut crowd = shared.borrow_mut();
    crowd.paused = false;
    crowd.resumed.notify_waiters();
}

impl Crowd {
    /// A discarding viewer that plays; a stride through all, so that neighbours, who joined
    /// together, do not leave together.
    fn next_leaver(&self, after: usize) -> Option<usize> {
        let count = self.viewers.len();
        let leaves = |number: &usize| {
            let viewer = &self.viewers[*number];
            viewer.role == Role::Discards && viewer.state == State::Playing
        };
        // A prime, so that every number comes by unless the count is its multiple.
        let first = (after + 7_919) % count.max(1);
        (first..count).chain(0..first).find(leaves)
    }

    /// It closes its connection and will watch another stream, if there is one.
    fn leave(&mut self, number: usize) {
        let streams = self.streams.len();
        let viewer = &mut self.viewers[number];
        viewer.socket = None;
        viewer.state = State::Waiting;
        viewer.stays = false;
        viewer.hot = false;
        viewer.stream = (viewer.stream + 1) % streams;
    }
}
