//! A checked viewer: every byte is read and verified, every receive is timed.
//!
//! Times are those at which the kernel took the bytes in, not those at which this thread came to
//! read them: what is measured is the server, not how busy the swarm is.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use ace_emulator::Verifier;
use ace_emulator::now_us;
use tokio::io::Interest;

use crate::chunked::Body;
use crate::crowd::Crowd;
use crate::crowd::Role;
use crate::crowd::Shared;
use crate::join::Joined;
use crate::socket;

/// A quarter second at 8 Mbit/s.
const READ_BYTES: usize = 256 << 10;

thread_local! {
    /// One buffer for all: it is never held over an await.
    static BUFFER: std::cell::RefCell<Vec<u8>> =
        std::cell::RefCell::new(vec![0; READ_BYTES]);
}

struct Watch {
    number: usize,
    body: Body,
    /// A viewer that pauses is late by its own doing: it is verified, not timed.
    timed: bool,
    received_us: Option<u64>,
    emission_us: Option<u64>,
}

/// Reads it until the server ends it.
pub(crate) async fn watch(shared: &Shared, number: usize, joined: Joined) {
    let stream = joined.stream;
    let role = shared.borrow().viewers[number].role;
    let mut watch = Watch {
        number,
        body: Body::new(joined.chunked),
        timed: role == Role::Checked,
        received_us: None,
        emission_us: None,
    };
    shared.borrow_mut().viewers[number].verifier = Some(Box::new(Verifier::new()));
    watch.take(&mut shared.borrow_mut(), &joined.body, joined.arrived_us);
    loop {
        if stream.readable().await.is_err() {
            break;
        }
        let pause = shared.borrow().paused && role == Role::Pauses;
        if pause {
            let resumed = Rc::clone(&shared.borrow().resumed);
            resumed.notified().await;
        }
        let received = BUFFER.with_borrow_mut(|buffer| {
            let received =
                stream.try_io(Interest::READABLE, || socket::receive(stream.as_fd(), buffer));
            if let Ok((len @ 1.., arrived_us)) = received {
                let arrived_us = arrived_us.unwrap_or_else(now_us);
                watch.take(&mut shared.borrow_mut(), &buffer[..len], arrived_us);
            }
            received
        });
        match received {
            Ok((0, _)) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    shared.borrow_mut().close(number);
}

impl Watch {
    fn take(&mut self, crowd: &mut Crowd, bytes: &[u8], arrived_us: u64) {
        let viewer = &mut crowd.viewers[self.number];
        let Some(verifier) = viewer.verifier.as_mut() else { return };
        self.body.feed(bytes, |media| {
            viewer.bytes += media.len() as u64;
            verifier.feed(media);
        });
        let emission_us = verifier.newest_emission_us();
        // A receive without a new packet of the source says nothing of its delivery.
        let fresh = emission_us.filter(|_| emission_us != self.emission_us);
        // Its oldest packet follows the newest of the receive before: what waited for company is
        // late by as long as it waited.
        let oldest_us = std::mem::replace(&mut self.emission_us, emission_us);
        let before_us = self.received_us.replace(arrived_us);
        if !(crowd.in_window && self.timed) {
            return;
        }
        if let Some(emission_us) = fresh {
            for emission_us in [Some(emission_us), oldest_us].into_iter().flatten() {
                crowd.times.delivery.record_us(arrived_us.saturating_sub(emission_us));
            }
        }
        if let Some(before_us) = before_us {
            crowd.times.gap.record_us(arrived_us.saturating_sub(before_us));
        }
    }
}
