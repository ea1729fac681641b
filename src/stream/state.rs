//! The states of a stream and their names in the API and in Redis.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No engine yet.
    Initializing,
    /// An engine was asked to open.
    Connecting,
    /// Opened; no random access point in the ring yet.
    Buffering,
    Active,
    /// Started and silent.
    Stalled,
    /// The session died under its viewers; another one is being opened.
    Switching,
    /// Being closed, or waiting for the reply to an open that nobody wants any more.
    Draining,
    Stopped,
    Error,
}

impl State {
    pub const ALL: [Self; 9] = [
        Self::Initializing,
        Self::Connecting,
        Self::Buffering,
        Self::Active,
        Self::Stalled,
        Self::Switching,
        Self::Draining,
        Self::Stopped,
        Self::Error,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Connecting => "connecting",
            Self::Buffering => "buffering",
            Self::Active => "active",
            Self::Stalled => "stalled",
            Self::Switching => "switching",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }

    /// The plan's names, exactly.
    pub const fn redis(self, viewers: u32) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Connecting | Self::Switching => "connecting",
            Self::Active if viewers == 0 => "waiting_for_clients",
            Self::Active => "active",
            Self::Buffering | Self::Stalled => "buffering",
            Self::Draining => "stopping",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}
