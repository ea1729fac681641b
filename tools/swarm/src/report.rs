//! What a run found, as JSON. All keys are always there; null is "not measured".

use serde::Serialize;

use crate::crowd::Crowd;
use crate::crowd::Role;
use crate::distribution::Percentiles;
use crate::metrics::Counted;

pub(crate) const GB: f64 = 1e9;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// All that were to play, the storm's included.
    pub(crate) viewers: u64,
    /// At the end of the window.
    pub(crate) playing: u64,
    pub(crate) refused: u64,
    /// Streams that the server ended for somebody who reads.
    pub(crate) closed_early: u64,
    pub(crate) stuck: Stuck,
    pub(crate) window_s: f64,
    /// Of bodies, in the window; with --hold what the server says it sent.
    pub(crate) bytes: Option<u64>,
    /// Of those that read throughout the window.
    pub(crate) bytes_per_viewer: Option<Spread>,
    pub(crate) cpu_s: Option<f64>,
    pub(crate) cpu_wait_s: Option<f64>,
    pub(crate) cpu_s_per_gb: Option<f64>,
    pub(crate) threads: Option<u64>,
    /// Threads that ended in the window, whose time is not in `cpu_s`.
    pub(crate) threads_lost: Option<u64>,
    pub(crate) rss_bytes: Option<Ends>,
    pub(crate) context_switches: Option<Switches>,
    pub(crate) steal_percent: Option<f64>,
    pub(crate) swarm_cpu_s: f64,
    /// The latest sweep: a swarm that is often late has too little of a core.
    pub(crate) swarm_late_ms_max: f64,
    pub(crate) first_byte_ms: Option<Percentiles>,
    /// Those of `first_byte_ms` that joined in the window.
    pub(crate) churn_first_byte_ms: Option<Percentiles>,
    pub(crate) storm_first_byte_ms: Option<Percentiles>,
    pub(crate) delivery_ms: Option<Percentiles>,
    pub(crate) gap_ms: Option<Percentiles>,
    pub(crate) checked: Option<Checked>,
    pub(crate) metrics: Option<Counted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) max: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ends {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Switches {
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Stuck {
    pub(crate) viewers: u64,
    pub(crate) closed: u64,
}

/// Over the whole life of the checked viewers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Checked {
    pub(crate) viewers: u64,
    pub(crate) bytes: u64,
    pub(crate) wrong_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) undeclared_gaps: u64,
    pub(crate) declared_gaps: u64,
    /// Bytes out of step.
    pub(crate) misaligned: u64,
    /// Viewers whose stream did not begin with PAT, PMT, random access.
    pub(crate) bad_starts: u64,
    #[serde(skip)]
    pub(crate) first_fault: Option<String>,
}

impl Checked {
    /// `None` when nobody was to be checked.
    pub(crate) fn of(crowd: &Crowd) -> Option<Checked> {
        let mut sum = Checked::default();
        for (number, viewer) in crowd.viewers.iter().enumerate() {
            if !matches!(viewer.role, Role::Checked | Role::Pauses) {
                continue;
            }
            sum.viewers += 1;
            let Some(verifier) = &viewer.verifier else { continue };
            let found = verifier.report();
            let undeclared = found.undeclared_gap_count + found.undeclared_switches;
            sum.bytes += found.bytes;
            sum.wrong_packets += found.wrong_packets;
            sum.lost_packets += found.lost_packets;
            sum.undeclared_gaps += undeclared;
            sum.declared_gaps += found.gap_count + found.switches - undeclared;
            sum.misaligned += found.misaligned_bytes;
            sum.bad_starts += u64::from(!found.starts_with_pat_pmt_rap);
            let mut fault = found.first_fault;
            let wanted = crowd.streams[viewer.stream].tag;
            match verifier.config() {
                // Good packets of somebody else's stream.
                Some(config) if wanted.is_some_and(|tag| tag != config.tag) => {
                    sum.wrong_packets += found.source_packets;
                    fault = Some(format!("is sent the stream with tag {:#x}", config.tag));
                }
                Some(_) => {}
                None => fault = Some("no signed packet: is the source a signed one?".to_owned()),
            }
            if let (None, Some(fault)) = (&sum.first_fault, fault) {
                sum.first_fault = Some(format!("viewer {number}: {fault}"));
            }
        }
        (sum.viewers > 0).then_some(sum)
    }
}

impl Stuck {
    pub(crate) fn of(crowd: &Crowd) -> Stuck {
        let stuck = crowd.viewers.iter().filter(|viewer| viewer.role == Role::Sticks);
        Stuck { viewers: stuck.count() as u64, closed: crowd.stuck_closed }
    }
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(mut bytes: Vec<u64>) -> Option<Spread> {
        bytes.sort_unstable();
        let (min, max) = (*bytes.first()?, *bytes.last()?);
        Some(Spread { min, p50: bytes[bytes.len() / 2], max })
    }
}
