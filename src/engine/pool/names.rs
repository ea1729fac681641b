//! Host names of engines and their addresses: who is asked when.
//!
//! It never resolves: it says which names are due, and is told what came of it. Addresses stay
//! in force when a later question fails, so that a DNS outage costs no engine.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::time::Instant;

/// Names are asked again this often, whatever happens.
pub(super) const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// A name without any address.
const RETRY: Duration = Duration::from_secs(2);
/// Failed connects ask again, but not more often than this.
const RESOLVE_GAP_MIN: Duration = Duration::from_secs(1);
/// A question without an answer is given up after this and asked again.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Addresses of one name; the rest is left out.
const ADDRESSES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<String, Name>,
}

#[derive(Debug)]
struct Name {
    addresses: Vec<IpAddr>,
    error: Option<String>,
    next_at: Instant,
    asked_at: Option<Instant>,
    in_flight: bool,
}

/// What an answer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) addresses_changed: bool,
    /// The error, when it is a new one.
    pub(super) complaint: Option<String>,
}

impl Names {
    /// Exactly these names are wanted from now on. Addresses need no resolving.
    pub(super) fn want(&mut self, wanted: &BTreeSet<String>, now: Instant) {
        self.names.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if name.parse::<IpAddr>().is_ok() || self.names.contains_key(name) {
                continue;
            }
            let fresh = Name {
                addresses: Vec::new(),
                error: None,
                next_at: now,
                asked_at: None,
                in_flight: false,
            };
            self.names.insert(name.clone(), fresh);
        }
    }

    /// The addresses of a name, or the address that the text is; IPv4 first, because engines
    /// listen on it alone.
    pub(super) fn addresses(&self, host: &str) -> Vec<IpAddr> {
        match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.names.get(host).map(|name| name.addresses.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn error(&self, host: &str) -> Option<&str> {
        self.names.get(host)?.error.as_deref()
    }

    /// A connect to one of its addresses failed.
    pub(super) fn ask_again(&mut self, host: &str, now: Instant) {
        // An engine of a `dns:` source is known by its address, which is one of a name's.
        let address = host.parse::<IpAddr>().ok();
        for (text, name) in &mut self.names {
            if text == host || address.is_some_and(|address| name.addresses.contains(&address)) {
                let at = name.asked_at.map_or(now, |asked| (asked + RESOLVE_GAP_MIN).max(now));
                name.next_at = name.next_at.min(at);
            }
        }
    }

    /// The names to ask for now; they count as asked.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for (text, name) in &mut self.names {
            if name.next_event() <= now {
                name.in_flight = true;
                name.asked_at = Some(now);
                name.next_at = now + RESOLVE_EVERY;
                due.push(text.clone());
            }
        }
        due
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.names.values().map(Name::next_event).min()
    }

    /// No name waits for its first answer.
    pub(super) fn is_settled(&self) -> bool {
        self.names.values().all(|name| !name.addresses.is_empty() || name.error.is_some())
    }

    pub(super) fn answered(
        &mut self,
        host: &str,
        result: Result<Vec<IpAddr>, String>,
        now: Instant,
    ) -> Answered {
        let Some(name) = self.names.get_mut(host) else { return Answered::default() };
        name.in_flight = false;
        let error = match result {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                name.error = None;
                let addresses_changed = name.addresses != addresses;
                name.addresses = addresses;
                return Answered { addresses_changed, complaint: None };
            }
            Ok(_) => "the name has no address".to_owned(),
            Err(error) => error,
        };
        if name.addresses.is_empty() {
            name.next_at = name.next_at.min(now + RETRY);
        }
        let complaint = (name.error.as_ref() != Some(&error)).then(|| error.clone());
        name.error = Some(error);
        Answered { addresses_changed: false, complaint }
    }
}

impl Name {
    fn next_event(&self) -> Instant {
        match (self.in_flight, self.asked_at) {
            (true, Some(asked)) => asked + ANSWER_MAX,
            (true, None) | (false, _) => self.next_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_micros(1_000_000);

    fn seconds(n: u64) -> Instant {
        T0 + Duration::from_secs(n)
    }

    fn wanted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_asked_at_once_then_every_thirty_seconds_and_after_failed_connects() {
        let mut names = Names::default();
        names.want(&wanted(&["a", "10.0.0.1", "::1"]), T0);
        assert_eq!(names.take_due(T0), ["a"]);
        assert!(names.take_due(seconds(40)).is_empty(), "one question at a time");
        assert!(!names.is_settled());
        let ip: IpAddr = "10.0.0.9".parse().unwrap();
        assert!(names.answered("a", Ok(vec![ip, ip]), seconds(1)).addresses_changed);
        assert_eq!(names.addresses("a"), [ip]);
        assert!(names.is_settled());
        names.ask_again("a", T0);
        assert!(names.take_due(T0).is_empty(), "not twice within a second");
        assert_eq!(names.take_due(seconds(1)), ["a"]);
        assert_eq!(
            names.answered("a", Err("SERVFAIL".to_owned()), seconds(1)).complaint.as_deref(),
            Some("SERVFAIL")
        );
        assert_eq!(names.addresses("a"), [ip], "addresses outlive a failure");
        assert!(names.take_due(seconds(30)).is_empty());
        assert_eq!(names.take_due(seconds(31)), ["a"]);
        assert_eq!(names.answered("a", Err("SERVFAIL".to_owned()), seconds(31)).complaint, None);
        assert_eq!(names.addresses("::1"), ["::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn an_address_that_fails_asks_for_the_name_that_it_came_from() {
        let mut names = Names::default();
        names.want(&wanted(&["a", "b"]), T0);
        assert_eq!(names.take_due(T0).len(), 2);
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let _ = names.answered("a", Ok(vec![a]), T0);
        let _ = names.answered("b", Ok(vec![b]), T0);
        names.ask_again("10.0.0.2", seconds(5));
        assert_eq!(names.take_due(seconds(5)), ["b"]);
    }

    #[test]
    fn a_question_that_is_never_answered_is_asked_again() {
        let mut names = Names::default();
        names.want(&wanted(&["a"]), T0);
        assert_eq!(names.take_due(T0).len(), 1);
        assert_eq!(names.next_event(), Some(T0 + ANSWER_MAX));
        assert_eq!(names.take_due(T0 + ANSWER_MAX).len(), 1);
    }

    #[test]
    fn ipv4_comes_first_and_unwanted_names_are_forgotten() {
        let mut names = Names::default();
        names.want(&wanted(&["localhost"]), T0);
        let v6: IpAddr = "::1".parse().unwrap();
        let v4: IpAddr = "127.0.0.1".parse().unwrap();
        let _ = names.answered("localhost", Ok(vec![v6, v4]), T0);
        assert_eq!(names.addresses("localhost"), [v4, v6]);
        names.want(&wanted(&[]), T0);
        assert_eq!(names.next_event(), None);
        assert_eq!(names.answered("localhost", Ok(vec![v6]), T0), Answered::default());
    }
}
