//! The media clock of a stream and its bitrate, both from program clock references alone.
//!
//! The clock never goes back: a wrap continues it, and over a jump of the references it advances by
//! what the bytes in between are worth at the bitrate known. No wall clock is involved.

use crate::ts::packet::PCR_HZ;
use crate::ts::packet::PCR_WRAP;

/// References come every 100 ms; a lost stretch of a live stream is seconds. What goes back, or
/// further than this, is another time base.
const STEP_TICKS_MAX: u64 = 10 * PCR_HZ;
/// A jump is worth at most this.
const JUMP_TICKS_MAX: u64 = PCR_HZ;
/// One sample each 250 ms: 32 of them look back 8 s, longer than a piece of a swarm takes.
const SAMPLE_TICKS: u64 = PCR_HZ / 4;
const SAMPLES: usize = 32;
/// Below half a second a single large frame would be taken for the bitrate.
const SPAN_TICKS_MIN: u64 = PCR_HZ / 2;

/// Unwrapped clock and bitrate.
#[derive(Clone, Debug)]
pub struct MediaClock {
    now: Option<Reference>,
    rebase: bool,
    samples: [Sample; SAMPLES],
    /// All samples taken in this time base; the newest is at `(sampled − 1) % SAMPLES`.
    sampled: usize,
    bitrate_bps: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Reference {
    /// Ticks of 27 MHz, unwrapped.
    ticks: u64,
    pcr: u64,
    offset: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    ticks: u64,
    offset: u64,
}

impl MediaClock {
    /// Not started.
    pub fn new() -> MediaClock {
        MediaClock {
            now: None,
            rebase: false,
            samples: [Sample::default(); SAMPLES],
            sampled: 0,
            bitrate_bps: None,
        }
    }

    /// Takes the reference carried at stream offset `offset`; true when it is of another time base
    /// than the one before. `flagged`: its packet says so itself.
    pub fn on_pcr(&mut self, pcr: u64, offset: u64, flagged: bool) -> bool {
        let Some(last) = self.now else {
            self.now = Some(Reference { ticks: pcr, pcr, offset });
            self.rebase = false;
            self.sample();
            return false;
        };
        let step = (pcr + PCR_WRAP - last.pcr) % PCR_WRAP;
        let jumped = flagged || self.rebase || step > STEP_TICKS_MAX;
        let step = if jumped { self.worth(offset.saturating_sub(last.offset)) } else { step };
        self.now = Some(Reference { ticks: last.ticks + step, pcr, offset });
        self.rebase = false;
        if jumped {
            self.sampled = 0;
        }
        self.sample();
        jumped
    }

    /// The next reference is of another time base.
    pub fn expect_jump(&mut self) {
        self.rebase = true;
    }

    /// Ticks of 27 MHz; None before the first reference.
    pub fn ticks(&self) -> Option<u64> {
        self.now.map(|now| now.ticks)
    }

    /// Where the last reference stood.
    pub fn offset(&self) -> Option<u64> {
        self.now.map(|now| now.offset)
    }

    /// Over the last 8 s at most; over a jump the last one known stays.
    pub fn bitrate_bps(&self) -> Option<u64> {
        self.bitrate_bps
    }

    fn sample(&mut self) {
        let Some(now) = self.now else {
            return;
        };
        if self.sampled > 0 {
            let newest = self.samples[(self.sampled - 1) % SAMPLES];
            if now.ticks - newest.ticks < SAMPLE_TICKS {
                return;
            }
        }
        self.samples[self.sampled % SAMPLES] = Sample { ticks: now.ticks, offset: now.offset };
        self.sampled += 1;
        let oldest = self.samples[self.sampled.saturating_sub(SAMPLES) % SAMPLES];
        let span = now.ticks - oldest.ticks;
        if span >= SPAN_TICKS_MIN {
            let bits = now.offset.saturating_sub(oldest.offset).saturating_mul(8);
            self.bitrate_bps = Some(bits.saturating_mul(PCR_HZ) / span);
        }
    }

    /// The media time of so many bytes.
    fn worth(&self, bytes: u64) -> u64 {
        match self.bitrate_bps {
            None | Some(0) => 0,
            Some(bps) => (bytes.saturating_mul(8).saturating_mul(PCR_HZ) / bps).min(JUMP_TICKS_MAX),
        }
    }
}

impl Default for MediaClock {
    fn default() -> MediaClock {
        MediaClock::new()
    }
}
