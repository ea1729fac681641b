//! Whose fault a failure is and whether trying again helps: one value that drives the status
//! code, the log level, the metric label and the engine's health.

use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Engine,
    Viewer,
    Redis,
    Us,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    Now,
    After(Duration),
    Never,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub side: Side,
    pub retry: Retry,
    pub what: String,
}

impl Fault {
    pub fn new(side: Side, retry: Retry, what: impl Into<String>) -> Self {
        Self { side, retry, what: what.into() }
    }
}
