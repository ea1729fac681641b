//! What a verifier found.

/// Lists of events keep this many.
const LISTED_MAX: usize = 1_000;

/// Packets between source packets that the relay may add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    pub psi: u64,
    /// Adaptation-field-only packets that declare a discontinuity.
    pub marks: u64,
    pub nulls: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub bytes: u64,
    /// Whole packets, inserted and wrong ones included.
    pub packets: u64,
    /// Packets that are byte for byte those of the source.
    pub source_packets: u64,
    /// First and last packet index seen of the (last) source.
    pub first_index: Option<u64>,
    pub last_index: Option<u64>,
    /// (index that should have come, index that came); backwards too. The first 1 000.
    pub gaps: Vec<(u64, u64)>,
    pub gap_count: u64,
    /// Gaps without a mark on every media PID before them.
    pub undeclared_gaps: Vec<(u64, u64)>,
    pub undeclared_gap_count: u64,
    /// Gaps after which the stream does not go on with a random access point.
    pub gaps_off_access_point: u64,
    /// Packets that the forward gaps left out.
    pub lost_packets: u64,
    /// Changes to another source (another tag, bitrate, epoch …).
    pub switches: u64,
    pub undeclared_switches: u64,
    pub inserted: Inserted,
    /// Packets that are neither the source's nor allowed between.
    pub wrong_packets: u64,
    pub misaligned_bytes: u64,
    pub continuity_errors: u64,
    pub starts_with_pat_pmt_rap: bool,
    pub latency: Latency,
    pub tail_partial_bytes: usize,
    /// The first thing that was not as it should be, in words.
    pub first_fault: Option<String>,
}

impl Report {
    /// The source's packets without a gap, besides what may be inserted.
    pub fn is_unbroken(&self) -> bool {
        self.is_lawful() && self.gap_count == 0 && self.switches == 0
    }

    /// Whole packets, none wrong, continuous counters, every gap and switch declared.
    pub fn is_lawful(&self) -> bool {
        self.source_packets > 0
            && self.wrong_packets == 0
            && self.misaligned_bytes == 0
            && self.continuity_errors == 0
            && self.undeclared_gap_count == 0
            && self.undeclared_switches == 0
            && self.starts_with_pat_pmt_rap
    }

    pub(crate) fn add_gap(&mut self, from: u64, to: u64, declared: bool) {
        self.gap_count += 1;
        self.lost_packets += to.saturating_sub(from);
        if self.gaps.len() < LISTED_MAX {
            self.gaps.push((from, to));
        }
        if !declared {
            self.undeclared_gap_count += 1;
            if self.undeclared_gaps.len() < LISTED_MAX {
                self.undeclared_gaps.push((from, to));
            }
        }
    }
}

/// A histogram of microseconds, exact to one part in 32.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    buckets: Vec<u64>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

const STEPS: u64 = 32;

impl Latency {
    pub fn record(&mut self, us: u64) {
        let at = bucket_of(us);
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count).unwrap_or(0)
    }

    /// The upper edge of the bucket below which `percent` of the samples lie.
    pub fn percentile_us(&self, percent: f64) -> u64 {
        let rank = (percent / 100.0 * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank.max(1) {
                return upper_edge(at).min(self.max_us);
            }
        }
        0
    }

    pub fn merge(&mut self, other: &Latency) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (bucket, add) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += add;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }
}

fn bucket_of(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let exponent = u64::from(us.ilog2() - STEPS.ilog2());
    (STEPS * (exponent + 1) + (us >> exponent) - STEPS) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let exponent = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_close() {
        for us in [0, 1, 31, 32, 33, 63, 64, 65, 1_000, 123_456, 10_000_000] {
            let edge = upper_edge(bucket_of(us));
            assert!(edge >= us && edge <= us + us / 32, "{us} {edge}");
            assert_eq!(bucket_of(edge + 1), bucket_of(us) + 1);
        }
        let mut latency = Latency::default();
        (1..=1_000).for_each(|us| latency.record(us));
        assert!((500..=516).contains(&latency.percentile_us(50.0)));
        assert_eq!(latency.percentile_us(100.0), 1_000);
    }
}
