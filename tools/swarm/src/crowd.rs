//! Every viewer and what is known of it; shared by the tasks of the one thread.
//!
//! A viewer that discards has no task: its socket lies here and the sweep empties it. A borrow of
//! the crowd never lasts over an await.

use std::cell::RefCell;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use ace_emulator::Verifier;
use tokio::sync::Notify;

use crate::checked;
use crate::distribution::Distribution;
use crate::join::Door;
use crate::join::Joined;
use crate::options::Options;
use crate::options::Stream;
use crate::socket;

/// A stuck viewer reads so much.
pub(crate) const STUCK_AFTER_BYTES: u64 = 256 << 10;

pub(crate) type Shared = Rc<RefCell<Crowd>>;

pub(crate) struct Crowd {
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) streams: Vec<Stream>,
    requests: Vec<Rc<[u8]>>,
    door: Door,
    /// Joins of the ramp that have neither a first byte nor a refusal.
    pub(crate) undecided: usize,
    pub(crate) decided: Rc<Notify>,
    pub(crate) paused: bool,
    pub(crate) resumed: Rc<Notify>,
    pub(crate) refused: u64,
    /// Somebody who reads was left without.
    pub(crate) closed_early: u64,
    /// Somebody who does not read was thrown out: the server's good right.
    pub(crate) stuck_closed: u64,
    pub(crate) first_refusal: Option<String>,
    /// What happens now counts.
    pub(crate) in_window: bool,
    /// The latest that a sweep of the window began.
    pub(crate) late_max: Duration,
    pub(crate) times: Times,
}

pub(crate) struct Times {
    pub(crate) first_byte: Distribution,
    pub(crate) churn_first_byte: Distribution,
    pub(crate) storm_first_byte: Distribution,
    pub(crate) delivery: Distribution,
    pub(crate) gap: Distribution,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Discards,
    /// Reads 256 KiB and then no more.
    Sticks,
    Checked,
    /// Checked, and pauses.
    Pauses,
    /// Sends its GET and reads nothing.
    Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No byte yet.
    Waiting,
    Playing,
    Refused,
    Closed,
}

/// Why a viewer joins: each has its own distribution of first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    Ramp,
    Churn,
    Storm,
}

pub(crate) struct Viewer {
    pub(crate) role: Role,
    pub(crate) state: State,
    /// Which of the streams.
    pub(crate) stream: usize,
    /// Of those that are not read by a task.
    pub(crate) socket: Option<TcpStream>,
    pub(crate) verifier: Option<Box<Verifier>>,
    /// Of bodies, all joins together.
    pub(crate) bytes: u64,
    pub(crate) bytes_at_start: u64,
    /// Plays since before the window, without a new join.
    pub(crate) stays: bool,
    /// Received so much that the next tick looks at it again.
    pub(crate) hot: bool,
}

impl Crowd {
    pub(crate) fn new(options: &Options, receive_bytes: Option<u32>) -> Crowd {
        let streams = options.streams();
        let request = |stream: &Stream| {
            let path = options.path.replace("{id}", &stream.id);
            let target = options.target;
            let text = format!(
                "GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: swarm\r\nAccept: */*\r\n\r\n"
            );
            Rc::from(text.into_bytes())
        };
        Crowd {
            viewers: Vec::new(),
            requests: streams.iter().map(request).collect(),
            streams,
            door: Door { target: options.target, receive_bytes },
            undecided: 0,
            decided: Rc::default(),
            paused: false,
            resumed: Rc::default(),
            refused: 0,
            closed_early: 0,
            stuck_closed: 0,
            first_refusal: None,
            in_window: false,
            late_max: Duration::ZERO,
            times: Times {
                first_byte: Distribution::new(),
                churn_first_byte: Distribution::new(),
                storm_first_byte: Distribution::new(),
                delivery: Distribution::new(),
                gap: Distribution::new(),
            },
        }
    }

    /// Receive buffers are set and large, not grown by the kernel.
    pub(crate) fn windows_fixed(&self) -> bool {
        self.door.receive_bytes.is_some()
    }

    /// A new viewer, not yet connected; its number.
    pub(crate) fn add(&mut self, role: Role) -> usize {
        let number = self.viewers.len();
        self.viewers.push(Viewer {
            role,
            state: State::Waiting,
            stream: number % self.streams.len(),
            socket: None,
            verifier: None,
            bytes: 0,
            bytes_at_start: 0,
            stays: false,
            hot: false,
        });
        number
    }

    pub(crate) fn note_late(&mut self, late: Duration) {
        if self.in_window {
            self.late_max = self.late_max.max(late);
        }
    }

    /// The server ended it, or its connection broke.
    pub(crate) fn close(&mut self, number: usize) {
        let viewer = &mut self.viewers[number];
        viewer.state = State::Closed;
        viewer.stays = false;
        viewer.socket = None;
        match viewer.role {
            Role::Sticks => self.stuck_closed += 1,
            Role::Discards | Role::Checked | Role::Pauses | Role::Holds => self.closed_early += 1,
        }
    }

    /// Those that nobody reads do not notice that they are over: looks after them.
    pub(crate) fn close_silent(&mut self) {
        for number in 0..self.viewers.len() {
            let viewer = &self.viewers[number];
            let silent = matches!(viewer.role, Role::Sticks | Role::Holds);
            let over = |socket: &TcpStream| socket::is_over(socket.as_fd());
            if silent && viewer.socket.as_ref().is_some_and(over) {
                self.close(number);
            }
        }
    }

    pub(crate) fn playing(&self) -> usize {
        self.viewers.iter().filter(|viewer| viewer.state == State::Playing).count()
    }

    fn refuse(&mut self, number: usize, why: String) {
        let viewer = &mut self.viewers[number];
        viewer.state = State::Refused;
        self.refused += 1;
        let id = &self.streams[viewer.stream].id;
        // What the server answers is about the stream, a broken connection is not.
        let answered = why.starts_with(|first: char| first.is_ascii_digit());
        let about = if answered { format!(" (id {id})") } else { String::new() };
        self.first_refusal.get_or_insert_with(|| why + &about);
    }

    /// Gives the connection back when it is one to be read by a task.
    fn arrive(
        &mut self,
        number: usize,
        occasion: Occasion,
        joined: Result<Joined, String>,
    ) -> Option<Joined> {
        self.decide(occasion);
        let joined = match joined {
            Ok(joined) => joined,
            Err(why) => {
                self.refuse(number, why);
                return None;
            }
        };
        self.admit(number, occasion, Some(joined.first_byte_us));
        match self.viewers[number].role {
            Role::Discards | Role::Sticks => {
                sit(self, number, joined);
                None
            }
            Role::Checked | Role::Pauses => Some(joined),
            Role::Holds => unreachable!("it joins nothing"),
        }
    }

    /// It plays, or holds.
    fn admit(&mut self, number: usize, occasion: Occasion, first_byte_us: Option<u64>) {
        self.viewers[number].state = State::Playing;
        let times = &mut self.times;
        let (first_byte, occasion) = match occasion {
            Occasion::Ramp => (&mut times.first_byte, None),
            Occasion::Churn => (&mut times.first_byte, Some(&mut times.churn_first_byte)),
            Occasion::Storm => (&mut times.storm_first_byte, None),
        };
        let Some(us) = first_byte_us else { return };
        first_byte.record_us(us);
        if let Some(occasion) = occasion {
            occasion.record_us(us);
        }
    }

    fn decide(&mut self, occasion: Occasion) {
        if occasion == Occasion::Ramp {
            self.undecided -= 1;
            self.decided.notify_one();
        }
    }
}

/// A viewer's life up to its first byte, and a checked one's whole life.
pub(crate) async fn live(shared: Shared, number: usize, occasion: Occasion) {
    let (door, request, role) = {
        let crowd = shared.borrow();
        let viewer = &crowd.viewers[number];
        (crowd.door.clone(), Rc::clone(&crowd.requests[viewer.stream]), viewer.role)
    };
    if role == Role::Holds {
        return hold(&shared, number, &door, &request).await;
    }
    // Who stops reading has the window that the kernel gives.
    let receive_bytes = door.receive_bytes.filter(|_| role != Role::Sticks);
    let joined = Door { receive_bytes, ..door }.join(&request).await;
    let checked = shared.borrow_mut().arrive(number, occasion, joined);
    if let Some(joined) = checked {
        checked::watch(&shared, number, joined).await;
    }
}

/// From here on the sweep empties it.
fn sit(crowd: &mut Crowd, number: usize, joined: Joined) {
    crowd.viewers[number].bytes += joined.body.len() as u64;
    // Nobody asks any more; the kernel need not write it down.
    let _ = socket::note_arrivals(joined.stream.as_fd(), false);
    match joined.stream.into_std() {
        Ok(socket) => crowd.viewers[number].socket = Some(socket),
        Err(_) => crowd.close(number),
    }
}

async fn hold(shared: &Shared, number: usize, door: &Door, request: &[u8]) {
    let asked = door.ask(request).await;
    let mut crowd = shared.borrow_mut();
    crowd.decide(Occasion::Ramp);
    let socket = asked.and_then(|stream| stream.into_std().map_err(|error| error.to_string()));
    match socket {
        Ok(socket) => {
            crowd.admit(number, Occasion::Ramp, None);
            crowd.viewers[number].socket = Some(socket);
        }
        Err(why) => crowd.refuse(number, why),
    }
}
