//! Who runs when: rounds in which everybody has a turn, there and back, with the same load.
//!
//! Odd rounds go down the list and even ones up, so that what drifts (heat, neighbours, caches)
//! falls on everybody alike. Pure decisions; nothing is started here.

use crate::perf::scenario::Contender;
use crate::perf::scenario::Scenario;
use crate::perf::scenario::SendSize;
use std::collections::BTreeMap;

/// What a floor takes: a packet and a megabyte.
const SEND_MIN: u64 = 188;
const SEND_MAX: u64 = 1 << 20;

/// The contenders that this machine has cores for, and a note for each that it has not: the
/// load needs one of its own.
pub(crate) fn able(scenario: &Scenario, cores: usize) -> (Vec<&Contender>, Vec<String>) {
    let (able, unable): (Vec<_>, Vec<_>) =
        scenario.contenders.iter().partition(|contender| (contender.shards as usize) < cores);
    let note = |contender: &&Contender| {
        format!("{} was left out: it needs {} cores", contender.name, contender.shards + 1)
    };
    let notes = unable.iter().map(note).collect();
    (able, notes)
}

pub(crate) fn order<'a>(contenders: &[&'a Contender], round: u32) -> Vec<&'a Contender> {
    let mut order = contenders.to_vec();
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// `0` and `1` for one shard of two cores; the load has all the cores that are left.
pub(crate) fn cpus(shards: u32, cores: usize) -> (String, String) {
    let range = |first: usize, last: usize| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let shards = shards as usize;
    // A machine with one core serves and loads on it; its numbers say so by themselves.
    let first_of_load = shards.min(cores - 1);
    (range(0, shards - 1), range(first_of_load, cores - 1))
}

/// What each ringcast contender last sent at a time, on average.
#[derive(Default)]
pub(crate) struct MeanSends(BTreeMap<String, u64>);

impl MeanSends {
    pub(crate) fn saw(&mut self, contender: &str, mean: Option<f64>) {
        if let Some(mean) = mean {
            self.0.insert(contender.to_owned(), (mean.round() as u64).clamp(SEND_MIN, SEND_MAX));
        }
    }

    /// `None` for ringcast itself. In an even round the floor comes first and takes the size of
    /// the round before.
    pub(crate) fn size_for(&self, contender: &Contender) -> Result<Option<u64>, String> {
        match contender.send {
            None => Ok(None),
            Some(SendSize::Bytes(bytes)) => Ok(Some(bytes)),
            Some(SendSize::Same(_)) => {
                let model = contender.same_as.as_deref().unwrap_or_default();
                let known = self.0.get(model).copied().map(Some);
                known.ok_or_else(|| {
                    format!("{}: {model} has not said how much it sends at a time", contender.name)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        let text = r#"
            title = "t"
            where = "loopback"
            streams = 1
            viewers = 2
            bitrate_bps = 8000000
            ramp_ms = 1
            settle_ms = 1
            seconds = 1
            rounds = 2
            check = 1
            [[contender]]
            name = "ringcast"
            program = "ringcast"
            [[contender]]
            name = "same"
            program = "floor"
            kind = "sendfile"
            send = "same"
            [[contender]]
            name = "wide"
            program = "ringcast"
            shards = 4
        "#;
        Scenario::parse("t", text).unwrap()
    }

    #[test]
    fn rounds_go_there_and_back() {
        let scenario = scenario();
        let (able, notes) = able(&scenario, 2);
        let names = |round| -> Vec<&str> {
            order(&able, round).iter().map(|one| one.name.as_str()).collect()
        };
        assert_eq!(names(1), ["ringcast", "same"]);
        assert_eq!(names(2), ["same", "ringcast"]);
        assert_eq!(names(3), names(1));
        assert_eq!(notes, ["wide was left out: it needs 5 cores"]);
        assert_eq!(super::able(&scenario, 5).0.len(), 3);
    }

    #[test]
    fn cores_are_shared_out() {
        assert_eq!(cpus(1, 2), ("0".to_owned(), "1".to_owned()));
        assert_eq!(cpus(4, 16), ("0-3".to_owned(), "4-15".to_owned()));
        assert_eq!(cpus(1, 1), ("0".to_owned(), "0".to_owned()));
    }

    #[test]
    fn a_floor_sends_what_its_model_sent() {
        let scenario = scenario();
        let same = scenario.contender("same").unwrap();
        let mut means = MeanSends::default();
        assert!(means.size_for(same).unwrap_err().contains("ringcast has not said"));
        means.saw("ringcast", None);
        means.saw("ringcast", Some(98_304.4));
        assert_eq!(means.size_for(same), Ok(Some(98_304)));
        assert_eq!(means.size_for(scenario.contender("ringcast").unwrap()), Ok(None));
    }
}
