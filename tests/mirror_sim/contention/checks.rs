//! What must hold while nodes contend for an engine, and in the end.

use std::time::Duration;

use ringcast::base::ids::EngineId;
use ringcast::stream::CloseReason;
use ringcast::stream::Tenure;

use super::Event;
use super::Node;
use super::PIECE_EVERY;
use super::STEP;
use super::World;

const SHUN: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(180);
/// An owner goes back after a second; what else it waits for are answers and the next piece.
const OWNER_SILENCE_MAX: Duration = Duration::from_secs(8);

impl World {
    /// It asks an engine on which it was taken over not long ago: for a reason that holds.
    pub(super) fn check_return(&mut self, node: usize, engine: EngineId) {
        let now = self.now;
        let it = &mut self.nodes[node];
        let last = |engine: EngineId| it.taken.iter().rev().find(|taken| taken.1 == engine);
        let is_taken = |engine: EngineId, within: Duration| {
            last(engine).is_some_and(|(at, ..)| now.since(*at) < within)
        };
        // Its time may have ended in the moment in which it was gone back to.
        let slack = STEP * 4;
        if it.tenure == Tenure::Other && is_taken(engine, SHUN + slack) {
            it.returns.push(now);
        }
        if !is_taken(engine, SHUN) {
            return;
        }
        let is_only = self.engines.keys().all(|other| is_taken(*other, SHUN + slack));
        assert!(is_only, "{node}: there is another engine");
        let (at, _, tenure) = *last(engine).expect("it was taken there");
        let waited = now.since(at);
        let was_other = tenure == Tenure::Other && it.tenure == tenure && it.tenure_since <= at;
        let tenure = it.tenure;
        self.trace(|| format!("{node}: goes back after {waited:?} as {tenure:?}"));
        let at_least = Duration::from_secs(if was_other { 10 } else { 1 });
        assert!(waited >= at_least, "{node}: back after {waited:?}");
    }

    /// While Redis knows that it is, whoever else wants the content costs its player seconds.
    pub(super) fn check_owner(&self, node: usize) {
        let it = &self.nodes[node];
        let is_served = it.session.as_ref().is_some_and(|session| session.viewers() > 0);
        if it.tenure != Tenure::Owner || !is_served || !it.has_access {
            return;
        }
        let silence = self.now.since(it.heard_at.max(it.tenure_since));
        assert!(silence <= OWNER_SILENCE_MAX, "{node}: an owner is silent for {silence:?}");
    }

    pub(super) fn check_the_end(&self) {
        let is_playing = |node: &&Node| {
            self.now.since(node.heard_at) <= PIECE_EVERY * 2 && node.session.is_some()
        };
        let playing = self.nodes.iter().filter(is_playing).count();
        let (nodes, engines) = (self.nodes.len(), self.engines.len());
        assert!(playing >= 1, "nobody plays");
        let lately = self.takeovers.iter().filter(|at| self.now.since(**at) <= WITHIN).count();
        if engines >= nodes {
            assert_eq!((playing, lately), (nodes, 0), "{engines} engines for {nodes}");
        }
        // Of each that does not play two returns and one try a minute: who is displaced by it may
        // displace the next one.
        let tries = (nodes - 1) * (2 + WITHIN.as_secs() as usize / 60);
        let most = nodes * tries;
        assert!(lately <= most, "{lately} takeovers in three minutes");
    }

    /// Whoever is closed was contended for, and has gone back as often as it may.
    pub(super) fn close(&mut self, node: usize, reason: CloseReason) {
        let it = &self.nodes[node];
        self.trace(|| format!("{node}: its player is closed: {reason:?}"));
        if reason == CloseReason::Unstable {
            // Who leaves stops its session, and with it that of whoever has just taken its place.
            assert!(self.now.since(self.left_at) < WITHIN, "{node}: nobody has stopped anything");
        } else {
            assert_eq!(reason, CloseReason::Contended, "{node} was taken over {:?}", it.taken);
            assert_eq!(it.tenure, Tenure::Other, "{node}: an owner's player is closed");
            let tries = it.returns.iter().filter(|at| self.now.since(**at) < WITHIN).count();
            assert!(tries >= 2, "{node}: went back {tries} times");
        }
        self.closed += 1;
        // Players come back by themselves.
        self.after_ms(0, 8_000, Event::Come { node });
    }
}
