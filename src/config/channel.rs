//! A configured channel: a line of the playlist.

use crate::base::ids::Infohash;

/// Channels of one file, and bytes of one text of a channel.
pub const CHANNELS_MAX: usize = 10_000;
pub const TEXT_BYTES_MAX: usize = 1_024;

/// The keys of a `[[channel]]` table.
pub const KEYS: [&str; 4] = ["name", "id", "group", "logo"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub name: String,
    /// A content id or an infohash.
    pub id: Infohash,
    pub group: Option<String>,
    /// The address of a picture.
    pub logo: Option<String>,
}

impl Channel {
    /// What is wrong is said without the channel's number, which the caller knows.
    pub fn from_texts(
        name: Option<String>,
        id: Option<String>,
        group: Option<String>,
        logo: Option<String>,
    ) -> Result<Self, String> {
        let name = name.filter(|name| !name.is_empty()).ok_or("name is missing")?;
        let id = id.ok_or("id is missing")?;
        for text in [Some(&name), group.as_ref(), logo.as_ref()].into_iter().flatten() {
            // A line break would end the channel's line in the playlist.
            if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
                return Err("texts are one line of at most 1024 bytes".to_owned());
            }
        }
        let digits = id.trim();
        let digits = digits.strip_prefix("acestream://").unwrap_or(digits);
        let id = Infohash::parse(digits.as_bytes()).ok_or("id is not 40 hex digits")?;
        Ok(Self { name, id, group, logo })
    }
}
