//! Floor 4: what outlives a process. Never on the way of a byte, of a join or of a teardown.

pub mod journal;
