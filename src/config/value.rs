//! A setting's value after its kind has read it: one small enum for fifty settings, so that
//! reading, checking ranges and showing are written once.

use std::net::SocketAddr;
use std::time::Duration;

use super::scalar;
use crate::engine::spec::Spec;
use crate::http::addr::AllowList;
use crate::http::addr::CidrList;
use crate::http::token::Tokens;

/// What one setting is. Having one tells you that it is within the range of its row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Off, none: the setting says that there is nothing.
    Unset,
    /// A word instead of a number (`auto`), or one of a choice.
    Word(&'static str),
    Switch(bool),
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// Bytes a second.
    Rate(u64),
    Count(u64),
    Factor(f64),
    Text(String),
    List(Vec<String>),
    Addresses(Vec<SocketAddr>),
    Engines(Vec<Spec>),
    Allow(AllowList),
    Networks(CidrList),
    Tokens(Tokens),
}

impl Value {
    /// Value and unit, as `ringcast config` prints them. `off` is the row's word for nothing.
    pub fn shown(&self, off: &'static str) -> (String, &'static str) {
        match self {
            Self::Unset => (off.to_owned(), ""),
            Self::Word(word) => ((*word).to_owned(), ""),
            Self::Switch(on) => ((if *on { "on" } else { "off" }).to_owned(), ""),
            Self::Duration(duration) => (scalar::seconds_text(*duration), "s"),
            Self::Size(bytes) => scalar::size_text(*bytes),
            Self::Rate(bytes) => scalar::rate_text(*bytes),
            Self::Count(count) => (count.to_string(), ""),
            Self::Factor(factor) => (factor.to_string(), "x"),
            Self::Text(text) => (text.clone(), ""),
            Self::List(items) => joined(items, off),
            Self::Addresses(addresses) => joined(addresses, off),
            Self::Engines(engines) => joined(engines, off),
            Self::Allow(allow) => (allow.to_string(), ""),
            Self::Networks(networks) if networks.is_empty() => (off.to_owned(), ""),
            Self::Networks(networks) => (networks.to_string(), ""),
            Self::Tokens(tokens) if tokens.is_empty() => (off.to_owned(), ""),
            Self::Tokens(_) => ("***".to_owned(), ""),
        }
    }
}

fn joined<T: ToString>(items: &[T], off: &'static str) -> (String, &'static str) {
    if items.is_empty() {
        return (off.to_owned(), "");
    }
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    (texts.join(" "), "")
}
