//! Rows: who may come in, and where.

use super::Group::Access;
use super::Key;
use super::Row;
use crate::config::kind::Kind;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Key::Listen,
        Access,
        ("RINGCAST_LISTEN", "listen"),
        Kind::Addresses,
        "[::]:8878",
        "Addresses to listen on. [::] takes IPv4 too, and becomes 0.0.0.0 where the kernel has no \
         IPv6",
    )
    .essential(),
    Row::new(
        Key::Allow,
        Access,
        ("RINGCAST_ALLOW", "allow"),
        Kind::Allow,
        "private",
        "Who may connect: private is loopback, RFC 1918, ULA, link-local and 100.64/10",
    )
    .means("any when a play token is set")
    .reload()
    .essential(),
    Row::new(
        Key::TrustedProxies,
        Access,
        ("RINGCAST_TRUSTED_PROXIES", "trusted-proxies"),
        Kind::Networks,
        "",
        "Reverse proxies whose X-Forwarded headers are believed; exempt from limits per address",
    )
    .reload(),
    Row::new(
        Key::PlayToken,
        Access,
        ("RINGCAST_PLAY_TOKEN", "play-token"),
        Kind::Tokens,
        "",
        "Tokens that players must show (?token=, Authorization: Bearer or cookie); a name shows in \
         viewers and logs",
    )
    .secret("play-token-file")
    .reload()
    .essential(),
    Row::new(
        Key::ApiToken,
        Access,
        ("RINGCAST_API_TOKEN", "api-token"),
        Kind::Tokens,
        "",
        "Tokens for the API. Without one, writes are taken from loopback only, reads from private \
         addresses",
    )
    .secret("api-token-file")
    .reload(),
    Row::new(
        Key::AllowUrl,
        Access,
        ("RINGCAST_ALLOW_URL", "allow-url"),
        Kind::Prefixes,
        "",
        "Prefixes that url= of a player may have; others are refused, file: always",
    )
    .reload(),
    Row::new(
        Key::AllowMagnet,
        Access,
        ("RINGCAST_ALLOW_MAGNET", "allow-magnet"),
        Kind::Switch,
        "off",
        "Let players use magnet=",
    )
    .reload(),
    Row::new(
        Key::ChannelsOnly,
        Access,
        ("RINGCAST_CHANNELS_ONLY", "channels-only"),
        Kind::Switch,
        "off",
        "Play only the ids of the configured channels; others are 404 before any engine is asked",
    )
    .reload(),
    Row::new(
        Key::BaseUrl,
        Access,
        ("RINGCAST_BASE_URL", "base-url"),
        Kind::Url(&["http://", "https://"]),
        "",
        "How players reach this server, for the URLs in playlists and replies",
    )
    .means("made from each request")
    .pending(),
];
