//! What an emulator is started with: where it listens, which channels it has, its first knobs.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use crate::knobs::Knob;
use crate::knobs::Value;
use crate::source::signed::Video;

/// The channel of `Config::demo`.
pub const DEMO_INFOHASH: &str = "7465737463617264000000000000000000000001";
pub const DEMO_CONTENT_ID: &str = "64656d6f00000000000000000000000000000001";
pub const DEMO_NAME: &str = "Test card";

/// An engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// A second address with port 0 takes the port of the first.
    pub listen: Vec<SocketAddr>,
    /// Another port for `/emulator/…` alone; it stays up while the engine is killed or refuses.
    pub control_listen: Option<SocketAddr>,
    pub channels: Vec<Channel>,
    /// When the broadcasts began, µs since 1970. Emulators with one epoch serve identical bytes.
    /// `None`: half an hour before the start, so that the live window is full.
    pub epoch_us: Option<u64>,
    /// The engine version in replies.
    pub version: String,
    pub knobs: Vec<(Knob, Value)>,
    pub seed: u64,
}

/// A broadcast that the engine knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub name: String,
    /// 40 lower-case hex digits.
    pub infohash: String,
    /// What `id=`, `content_id=` and `url=` may hold for it.
    pub content_ids: Vec<String>,
    pub source: Source,
    pub cold_start_ms: u64,
    pub resolve_ms: u64,
    pub is_live: i64,
    pub is_encrypted: bool,
    pub hls_source: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Signed(SignedSource),
    /// The looped test card.
    Picture,
    /// Known to the engine, seeded by nobody.
    Offline,
}

/// A signed stream without its epoch, which is the emulator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSource {
    pub bitrate_bps: u64,
    pub gop_ms: u64,
    pub video: Video,
    pub tag: u32,
    pub clock_start_90k: u64,
}

impl Default for SignedSource {
    fn default() -> SignedSource {
        SignedSource {
            bitrate_bps: 8_000_000,
            gop_ms: 2_000,
            video: Video::H264,
            tag: 1,
            clock_start_90k: 0,
        }
    }
}

impl Default for Config {
    /// An engine for tests: no delays, a burst of 2 MB, pieces of 64 KiB, no channels.
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            control_listen: None,
            channels: Vec::new(),
            epoch_us: None,
            version: "3.2.11".to_owned(),
            knobs: Vec::new(),
            seed: 1,
        }
    }
}

impl Config {
    /// An engine with the timing of a real one: the jitter makes the rate over 10 s vary about
    /// between half and twice the mean.
    pub fn real_like() -> Config {
        Config::default()
            .knob(Knob::BurstBytes, 10_000_000)
            .knob(Knob::PieceBytes, 1_048_474)
            .knob(Knob::ColdStartMs, 12_000)
            .knob(Knob::ResolveMs, 100)
            .knob(Knob::JitterMs, 4_000)
    }

    /// A warm engine with the test card: what a demonstration plays. The burst is 6 s.
    pub fn demo() -> Config {
        Config::default()
            .channel(Channel::picture(DEMO_NAME, DEMO_INFOHASH).content_id(DEMO_CONTENT_ID))
            .knob(Knob::BurstBytes, 190_000)
            .knob(Knob::PieceBytes, 8_192)
            .knob(Knob::IdAcceptsInfohash, true)
    }

    /// Sets a knob from the start on.
    pub fn knob(mut self, knob: Knob, value: impl Into<Value>) -> Config {
        self.knobs.push((knob, value.into()));
        self
    }

    pub fn channel(mut self, channel: Channel) -> Config {
        self.channels.push(channel);
        self
    }

    pub fn listen(mut self, addr: SocketAddr) -> Config {
        self.listen = vec![addr];
        self
    }

    pub fn epoch_us(mut self, epoch_us: u64) -> Config {
        self.epoch_us = Some(epoch_us);
        self
    }
}

impl Channel {
    /// A signed H.264 channel of 8 Mbit/s; its tag comes from the infohash.
    pub fn signed(infohash: &str) -> Channel {
        let infohash = infohash.to_ascii_lowercase();
        let tag = tag_of(&infohash);
        Channel {
            name: format!("signed {tag:08x}"),
            infohash,
            content_ids: Vec::new(),
            source: Source::Signed(SignedSource { tag, ..SignedSource::default() }),
            cold_start_ms: 0,
            resolve_ms: 0,
            is_live: 1,
            is_encrypted: false,
            hls_source: false,
        }
    }

    /// The looped test card under a name of its own.
    pub fn picture(name: &str, infohash: &str) -> Channel {
        Channel { name: name.to_owned(), source: Source::Picture, ..Channel::signed(infohash) }
    }

    pub fn offline(infohash: &str) -> Channel {
        Channel { source: Source::Offline, ..Channel::signed(infohash) }
    }

    pub fn content_id(mut self, id: &str) -> Channel {
        self.content_ids.push(id.to_owned());
        self
    }

    pub fn cold_start_ms(mut self, ms: u64) -> Channel {
        self.cold_start_ms = ms;
        self
    }

    pub fn bitrate_bps(mut self, bps: u64) -> Channel {
        if let Source::Signed(signed) = &mut self.source {
            signed.bitrate_bps = bps;
        }
        self
    }

    pub fn video(mut self, video: Video) -> Channel {
        if let Source::Signed(signed) = &mut self.source {
            signed.video = video;
        }
        self
    }

    pub fn gop_ms(mut self, ms: u64) -> Channel {
        if let Source::Signed(signed) = &mut self.source {
            signed.gop_ms = ms;
        }
        self
    }

    pub fn tag(mut self, tag: u32) -> Channel {
        if let Source::Signed(signed) = &mut self.source {
            signed.tag = tag;
        }
        self
    }

    /// A channel from `INFOHASH[,key=value]…`: the form of `--channel`.
    pub fn parse(spec: &str) -> Result<Channel, String> {
        let mut parts = spec.split(',');
        let infohash = parts.next().unwrap_or_default();
        if !is_hex40(infohash) {
            return Err(format!("'{infohash}' is not 40 hex digits"));
        }
        let mut channel = Channel::signed(infohash);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            channel = channel.with(key, value).ok_or(format!("cannot use '{part}'"))?;
        }
        Ok(channel)
    }

    fn with(mut self, key: &str, value: &str) -> Option<Channel> {
        let number = || value.parse::<u64>().ok();
        match key {
            "name" => self.name = value.to_owned(),
            "id" => self = self.content_id(value),
            "bitrate" => self = self.bitrate_bps(number()?),
            "gop_ms" => self = self.gop_ms(number()?),
            "video" => self = self.video(Video::from_name(value)?),
            "tag" => self = self.tag(value.parse().ok()?),
            "cold_start_ms" => self.cold_start_ms = number()?,
            "resolve_ms" => self.resolve_ms = number()?,
            "is_live" => self.is_live = value.parse().ok()?,
            "encrypted" => self.is_encrypted = true,
            "hls_source" => self.hls_source = true,
            "picture" => self.source = Source::Picture,
            "offline" => self.source = Source::Offline,
            _ => return None,
        }
        Some(self)
    }
}

/// The tag of a signed channel that was not given one: the infohash's first eight digits.
pub fn tag_of(infohash: &str) -> u32 {
    infohash.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(1)
}

pub(crate) fn is_hex40(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
