//! The knobs: every number and every fault of the emulator that a test may turn while it runs.
//!
//! A knob has a default; over it lies a setting for all channels, over that one for a single
//! channel, and over those the counted ones ("the next three requests"). A counted setting is
//! consumed by the request that it was applied to and then gone.

use serde_json::Value as Json;

/// What a knob is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Flag(bool),
    Number(u64),
    Text(String),
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Flag(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Flag,
    Number,
    Text,
}

macro_rules! knobs {
    ($($variant:ident $name:literal $kind:ident $help:literal)+) => {
        /// The name of a knob; `Knob::ALL` lists them with their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Knob { $(#[doc = $help] $variant,)+ }

        impl Knob {
            pub const ALL: &[Knob] = &[$(Knob::$variant,)+];

            pub fn name(self) -> &'static str {
                match self { $(Knob::$variant => $name,)+ }
            }

            pub fn kind(self) -> Kind {
                match self { $(Knob::$variant => Kind::$kind,)+ }
            }

            pub fn help(self) -> &'static str {
                match self { $(Knob::$variant => $help,)+ }
            }
        }
    };
}

knobs! {
    BurstBytes "burst_bytes" Number "media sent at socket speed when a reader comes (the last N bytes of the past)"
    PieceBytes "piece_bytes" Number "size of a piece; each is one HTTP chunk, written when it is complete"
    JitterMs "jitter_ms" Number "hold each piece back for a random time up to this"
    LagMs "lag_ms" Number "the newest that a reader gets is this much older than the broadcast (read when it comes)"
    ColdStartMs "cold_start_ms" Number "prebuffering before /ace/r answers"
    ResolveMs "resolve_ms" Number "time that getstream and manifest take to answer"
    IdleExpiryMs "idle_expiry_ms" Number "a session that nobody reads or asks about ends after this"
    WindowMs "window_ms" Number "live window; a reader further behind is moved to the burst's start"
    Peers "peers" Number "peers that stat reports while media flows"
    IsLive "is_live" Text "is_live in replies: 1, 0 or -1"
    IsEncrypted "is_encrypted" Flag "is_encrypted: 1 in replies"
    HlsSource "hls_source" Flag "the source is HLS: playback_url ends in .m3u8 also for MPEG-TS output"
    Offline "offline" Flag "known, but nobody seeds it: prebuffering for ever, no peers, nothing downloaded"
    AnyInfohash "any_infohash" Flag "serve an unknown infohash as a signed channel"
    AnyBitrateBps "any_bitrate_bps" Number "bitrate of those channels"
    IdAcceptsInfohash "id_accepts_infohash" Flag "id= may hold an infohash"
    Refuse "refuse" Flag "close the listening socket: connections are refused"
    SlowAcceptMs "slow_accept_ms" Number "sleep before each accept"
    AcceptHang "accept_hang" Flag "accept, read the request, never answer"
    Reset "reset" Flag "read the request, answer with RST"
    HangGetstream "hang_getstream" Flag "getstream and manifest never answer"
    HangStat "hang_stat" Flag "/ace/stat never answers"
    HangCmd "hang_cmd" Flag "/ace/cmd never answers (and does nothing)"
    HangStop "hang_stop" Flag "method=stop is carried out but never answered"
    HangGetStatus "hang_get_status" Flag "get_status never answers"
    HangMediaFiles "hang_media_files" Flag "get_media_files never answers"
    HangVersion "hang_version" Flag "get_version never answers"
    HangContent "hang_content" Flag "/content never answers"
    UnknownMediaFiles "unknown_media_files" Flag "get_media_files is an unknown method"
    JsonError "json_error" Text "getstream answers {\"response\": null, \"error\": TEXT}"
    JsonErrorObject "json_error_object" Text "getstream answers {\"response\": null, \"error\": {\"message\": TEXT, \"code\": 0}}"
    Premium "premium" Flag "getstream answers with an error text about a premium account"
    ResponseEmpty "response_empty" Flag "getstream answers {\"response\": {}, \"error\": null}"
    Getstream500 "getstream_500" Text "getstream answers 500 text/plain TEXT"
    WrongHost "wrong_host" Text "HOST:PORT in all URLs of replies instead of the request's Host"
    RedirectTo "redirect_to" Text "HOST:PORT, or a whole URL, in the Location of /ace/r"
    SilentPrebuf "silent_prebuf" Flag "/ace/r stays silent while this is set; stat shows prebuf and no peers"
    Start500 "start_500" Text "/ace/r answers 500 text/plain TEXT"
    Prebuf500 "prebuf_500" Flag "while prebuffering /ace/r answers 500 start timeout instead of waiting"
    Takeover403 "takeover_403" Flag "/ace/r and /ace/m answer 403"
    MalformedHead "malformed_head" Flag "/content answers with two status lines, as it does to a second reader"
    Content404 "content_404" Flag "/content answers 404"
    StatUnknown "stat_unknown" Flag "stat answers unknown playback session id"
    StatFrozen "stat_frozen" Flag "downloaded and live_last stand still"
    LiveLastAgeS "live_last_age_s" Number "live_last is this much older than now (a looping source)"
    BodyMode "body_mode" Text "framing of the body: chunked, close or length"
    BodyLength "body_length" Number "the Content-Length of body_mode=length"
    ContentType "content_type" Text "Content-Type of the body"
    ChunkBytes "chunk_bytes" Number "cut the body into HTTP chunks of this many bytes (0: one per piece)"
    WriteBytes "write_bytes" Number "hand the body to the kernel in writes of this many bytes (0: whole pieces)"
    Starve "starve" Flag "write no body while this is set"
    StarveAfterBytes "starve_after_bytes" Number "write no more body after this many bytes"
    CutAfterBytes "cut_after_bytes" Number "close in the middle of a chunk after this many body bytes"
    ResetAfterBytes "reset_after_bytes" Number "RST after this many body bytes"
    EndAfterBytes "end_after_bytes" Number "terminal chunk and FIN after this many body bytes"
    MisalignedBytes "misaligned_bytes" Number "the body begins with this many garbage bytes"
    GarbageAtBytes "garbage_at_bytes" Number "garbage is inserted at this source offset of the body"
    GarbageBytes "garbage_bytes" Number "how much garbage"
    LoseAtBytes "lose_at_bytes" Number "source bytes are missing from this offset of the body on"
    LoseBytes "lose_bytes" Number "how many are missing"
    FlipBitAtBytes "flip_bit_at_bytes" Number "one bit is flipped in the byte at this source offset of the body"
    StopMode "stop_mode" Text "end of the body after stop or expiry: open (terminal chunk, socket stays), close, cut or reset"
    TakeoverMode "takeover_mode" Text "end of the body after a takeover: the same words"
    JsonMode "json_mode" Text "framing of JSON replies: length or close"
}

impl Knob {
    pub fn from_name(name: &str) -> Option<Knob> {
        Knob::ALL.iter().copied().find(|knob| knob.name() == name)
    }

    /// A value for this knob from what a command line or a JSON body says.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let wrong = || format!("{}: cannot use '{text}' as a {:?}", self.name(), self.kind());
        match self.kind() {
            Kind::Flag => match text {
                "true" | "1" | "on" | "yes" => Ok(Value::Flag(true)),
                "false" | "0" | "off" | "no" => Ok(Value::Flag(false)),
                _ => Err(wrong()),
            },
            Kind::Number => text.parse().map(Value::Number).map_err(|_| wrong()),
            Kind::Text => Ok(Value::Text(text.to_owned())),
        }
    }

    pub(crate) fn parse_json(self, json: &Json) -> Result<Value, String> {
        match json {
            Json::String(text) => self.parse(text),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                self.parse(&json.to_string())
            }
        }
    }

    fn default(self) -> Value {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other knobs are off")]
        match self {
            Knob::BurstBytes => Value::Number(2_000_000),
            Knob::PieceBytes => Value::Number(65_536),
            Knob::IdleExpiryMs => Value::Number(60_000),
            Knob::WindowMs => Value::Number(1_800_000),
            Knob::Peers => Value::Number(4),
            Knob::AnyBitrateBps => Value::Number(8_000_000),
            Knob::BodyLength => Value::Number(1 << 40),
            Knob::GarbageBytes => Value::Number(1_000),
            Knob::LoseBytes => Value::Number(188),
            _ => match self.kind() {
                Kind::Flag => Value::Flag(false),
                Kind::Number => Value::Number(0),
                Kind::Text => Value::Text(String::new()),
            },
        }
    }
}

#[derive(Clone, Debug)]
struct Setting {
    knob: Knob,
    value: Value,
    channel: Option<String>,
    left: Option<u64>,
}

/// The settings in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knobs {
    settings: Vec<Setting>,
}

impl Knobs {
    pub(crate) fn set(
        &mut self,
        knob: Knob,
        value: Value,
        channel: Option<String>,
        count: Option<u64>,
    ) {
        self.settings.retain(|setting| {
            setting.knob != knob
                || setting.channel != channel
                || setting.left.is_some() != count.is_some()
        });
        if count != Some(0) {
            self.settings.push(Setting { knob, value, channel, left: count });
        }
    }

    pub(crate) fn clear(&mut self, knob: Knob) {
        self.settings.retain(|setting| setting.knob != knob);
    }

    pub(crate) fn clear_for(&mut self, knob: Knob, channel: &str) {
        self.settings
            .retain(|setting| setting.knob != knob || setting.channel.as_deref() != Some(channel));
    }

    /// What is set for a channel, and one use of a counted setting.
    pub(crate) fn take(&mut self, knob: Knob, channel: Option<&str>) -> Option<Value> {
        let at = self.find(knob, channel, true)?;
        let value = self.settings[at].value.clone();
        if let Some(left) = &mut self.settings[at].left {
            *left -= 1;
            if *left == 0 {
                self.settings.remove(at);
            }
        }
        Some(value)
    }

    /// One use of a counted setting, others left out.
    pub(crate) fn take_counted(&mut self, knob: Knob, channel: Option<&str>) -> Option<Value> {
        let at = self.find(knob, channel, true)?;
        self.settings[at].left.and_then(|_| self.take(knob, channel))
    }

    /// What is set for a channel without counting, counted settings left out.
    pub(crate) fn peek(&self, knob: Knob, channel: Option<&str>) -> Option<Value> {
        self.find(knob, channel, false).map(|at| self.settings[at].value.clone())
    }

    pub(crate) fn take_flag(&mut self, knob: Knob, channel: Option<&str>) -> bool {
        self.take(knob, channel) == Some(Value::Flag(true))
    }

    pub(crate) fn peek_flag(&self, knob: Knob, channel: Option<&str>) -> bool {
        self.peek(knob, channel) == Some(Value::Flag(true))
    }

    pub(crate) fn take_number(&mut self, knob: Knob, channel: Option<&str>) -> u64 {
        number(self.take(knob, channel), knob)
    }

    pub(crate) fn peek_number(&self, knob: Knob, channel: Option<&str>) -> u64 {
        number(self.peek(knob, channel), knob)
    }

    /// The least value that any channel has.
    pub(crate) fn least_number(&self, knob: Knob) -> u64 {
        let set = self.settings.iter().filter(|setting| setting.knob == knob);
        let least = set.map(|setting| number(Some(setting.value.clone()), knob)).min();
        least.unwrap_or_else(|| number(None, knob))
    }

    /// `None` unless it is set: offsets, where 0 is a place.
    pub(crate) fn take_offset(&mut self, knob: Knob, channel: Option<&str>) -> Option<u64> {
        self.take(knob, channel).map(|value| number(Some(value), knob))
    }

    pub(crate) fn take_text(&mut self, knob: Knob, channel: Option<&str>) -> Option<String> {
        text(self.take(knob, channel))
    }

    pub(crate) fn peek_text(&self, knob: Knob, channel: Option<&str>) -> Option<String> {
        text(self.peek(knob, channel))
    }

    /// Every setting in force, for `/emulator/state`.
    pub(crate) fn list(&self) -> Vec<(Knob, Value, Option<String>, Option<u64>)> {
        let row = |s: &Setting| (s.knob, s.value.clone(), s.channel.clone(), s.left);
        self.settings.iter().map(row).collect()
    }

    fn find(&self, knob: Knob, channel: Option<&str>, counted: bool) -> Option<usize> {
        let rank = |setting: &Setting| {
            let applies = setting.knob == knob
                && (counted || setting.left.is_none())
                && (setting.channel.is_none() || setting.channel.as_deref() == channel);
            applies.then(|| (setting.left.is_some(), setting.channel.is_some()))
        };
        let ranked = self.settings.iter().enumerate();
        ranked.filter_map(|(at, setting)| Some((rank(setting)?, at))).max().map(|(_, at)| at)
    }
}

fn number(value: Option<Value>, knob: Knob) -> u64 {
    match value.unwrap_or_else(|| knob.default()) {
        Value::Number(number) => number,
        Value::Flag(_) | Value::Text(_) => 0,
    }
}

fn text(value: Option<Value>) -> Option<String> {
    match value? {
        Value::Text(text) if !text.is_empty() => Some(text),
        Value::Text(_) | Value::Flag(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_then_channel_then_global_then_default() {
        let mut knobs = Knobs::default();
        assert_eq!(knobs.take_number(Knob::PieceBytes, Some("a")), 65_536);
        knobs.set(Knob::PieceBytes, Value::Number(1), None, None);
        knobs.set(Knob::PieceBytes, Value::Number(2), Some("a".into()), None);
        knobs.set(Knob::PieceBytes, Value::Number(3), None, Some(2));
        assert_eq!(knobs.peek_number(Knob::PieceBytes, Some("a")), 2);
        assert_eq!(knobs.take_number(Knob::PieceBytes, Some("a")), 3);
        assert_eq!(knobs.take_number(Knob::PieceBytes, Some("b")), 3);
        assert_eq!(knobs.take_number(Knob::PieceBytes, Some("a")), 2);
        assert_eq!(knobs.take_number(Knob::PieceBytes, Some("b")), 1);
        knobs.clear(Knob::PieceBytes);
        assert_eq!(knobs.take_number(Knob::PieceBytes, Some("a")), 65_536);
    }

    #[test]
    fn names_are_unique_and_found() {
        for knob in Knob::ALL {
            assert_eq!(Knob::from_name(knob.name()), Some(*knob));
        }
    }
}
