//! What Redis says about a lease, once its script has run.

use std::time::Duration;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Owned {
        epoch: u64,
    },
    /// Ours as it was asked to be: another one had it with a lower epoch, from a Redis that had forgotten
    /// ours, and whatever else it had.
    Retaken {
        epoch: u64,
    },
    Held {
        by: String,
        epoch: u64,
        ttl: Duration,
    },
    /// Nobody has it. The counter as it stands, 0 when there is none.
    Free {
        epoch: u64,
    },
    /// An owner without a valid epoch, or a key of another type.
    Foreign {
        by: String,
    },
}

impl Reply {
    /// The four values that every script answers with. `None`: not an answer of ours.
    pub fn parse(outcome: &str, owner: &str, epoch: i64, ttl_ms: i64) -> Option<Self> {
        let epoch = u64::try_from(epoch).ok()?;
        match outcome {
            "owned" if epoch > 0 => Some(Self::Owned { epoch }),
            "retaken" if epoch > 0 => Some(Self::Retaken { epoch }),
            "held" if epoch > 0 => {
                // -1: a key without an end. It is looked at again like any other.
                let ttl = Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(u64::MAX));
                Some(Self::Held { by: owner.to_owned(), epoch, ttl })
            }
            "free" => Some(Self::Free { epoch }),
            "foreign" => Some(Self::Foreign { by: owner.to_owned() }),
            _ => None,
        }
    }
}
