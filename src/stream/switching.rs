//! A session that died under its viewers.
//!
//! Where the next session can be spliced behind the last one (`Settings::splice`), the viewers are
//! kept until OUTAGE_TIMEOUT, within the budget of deaths; otherwise they are closed.

use super::Session;
use super::State;
use super::draining::Forced;
use super::input::Failure;
use super::output::CloseReason;
use super::output::Code;
use super::output::Output;
use super::search::Search;
use crate::base::time::Instant;

impl Session {
    pub(super) fn died(&mut self, failure: &Failure, now: Instant) {
        let Some(engine) = self.engine() else { return };
        let is_unstable = self.budget.died(now);
        let reason = match failure {
            Failure::TakenOver(_) | Failure::MalformedHead => CloseReason::TakenOver,
            Failure::Refused
            | Failure::Silent
            | Failure::Prebuffering(_)
            | Failure::Content(_)
            | Failure::Engine(_)
            | Failure::Cut
            | Failure::Gone(_) => CloseReason::EngineGone,
        };
        if self.settings.splice && !is_unstable {
            self.emit(Output::Failover { from: engine, reason: failure.as_str() });
            self.dispose(failure.parting(), now);
            self.state = State::Switching;
            let deadline = now + self.settings.outage_timeout;
            let mut search = Search::switching(now, deadline);
            let next = search.failed(failure, engine, false, now);
            self.search = Some(search);
            return self.follow(next, now);
        }
        if reason == CloseReason::TakenOver {
            self.emit(Output::EngineTakenOver { engine });
        }
        let close = if is_unstable { CloseReason::Unstable } else { reason };
        let message = format!("{} before a picture came: try again", failure.text());
        let refuse = self.answer(Code::EngineRefused, message, Some(engine));
        let parting = failure.parting();
        let forced = Forced { refuse, close: Some(close), error: true, is_final: false, parting };
        self.force_end(forced, now);
    }
}
