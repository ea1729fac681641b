//! The plain loop over the viewers of one stream on one shard.
//!
//! What kind of round it is was decided before; per viewer there is only the viewer's own plan.
//! The caller's `act` sends what a plan asks for and reports back to the viewer.

use crate::base::time::Instant;
use crate::ring::Turn;
use crate::viewer::Fanout;
use crate::viewer::Following;
use crate::viewer::Plan;
use crate::viewer::Policy;
use crate::viewer::Viewer;
use crate::viewer::fanout::Round;

/// Plans of one viewer in a row: the tail of an inline send, a skip, then ring bytes. Who has more
/// waits until the others had their turn.
const PLANS_IN_A_ROW_MAX: usize = 4;

/// What the shard keeps for a viewer, its socket's slot for one.
pub trait Entry {
    fn viewer(&mut self) -> &mut Viewer;
}

/// Plans every viewer once. `act` gets `Send`, `Inline` and `Close`; after `Inline` it has called
/// `inline_sent`, after a `Send` that was done at once `ring_sent`, and the same viewer is planned
/// again.
pub fn plan_all<'e, 'r, E: Entry + 'e>(
    fanout: &mut Fanout,
    turn: &mut Turn<'r>,
    policy: &Policy,
    entries: impl Iterator<Item = &'e mut E>,
    out: &mut Vec<u8>,
    now: Instant,
    act: &mut impl FnMut(&mut E, Plan, &mut Turn<'r>, &mut Vec<u8>),
) {
    let round = fanout.begin(turn.ended(), now);
    for entry in entries {
        serve(round, turn, policy, entry, fanout.following(), out, now, act);
        fanout.note_viewer(entry.viewer());
    }
}

/// Plans one viewer after its socket had a say, or after its start.
pub fn plan_one<'r, E: Entry>(
    fanout: &mut Fanout,
    turn: &mut Turn<'r>,
    policy: &Policy,
    entry: &mut E,
    out: &mut Vec<u8>,
    now: Instant,
    act: &mut impl FnMut(&mut E, Plan, &mut Turn<'r>, &mut Vec<u8>),
) {
    let round = fanout.between();
    serve(round, turn, policy, entry, fanout.following(), out, now, act);
    fanout.note_viewer(entry.viewer());
}

#[expect(clippy::too_many_arguments, reason = "the loop's body, taken out of two callers")]
fn serve<'r, E: Entry>(
    round: Round,
    turn: &mut Turn<'r>,
    policy: &Policy,
    entry: &mut E,
    following: &mut Following,
    out: &mut Vec<u8>,
    now: Instant,
    act: &mut impl FnMut(&mut E, Plan, &mut Turn<'r>, &mut Vec<u8>),
) {
    for _ in 0..PLANS_IN_A_ROW_MAX {
        let viewer = entry.viewer();
        let tick = round.is_tick || viewer.cursor().is_some_and(|cursor| cursor < round.released);
        let plan = viewer.plan_with(turn, policy, tick, following, out, now);
        match plan {
            Plan::Park | Plan::Wait | Plan::Until(_) => return,
            Plan::Close(_) => return act(entry, plan, turn, out),
            Plan::Send { .. } | Plan::Inline => act(entry, plan, turn, out),
        }
    }
}
