//! Which streams of the tables a scan follows: the first video, else the first audio, and a clock.

use crate::ts::psi::ElementaryStream;
use crate::ts::psi::Pmt;
use crate::ts::psi::Psi;
use crate::ts::scan::pids::Role;

/// What of the tables is followed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selection {
    pub(super) video: Option<ElementaryStream>,
    /// The first that the tables name.
    pub(super) audio_pid: Option<u16>,
    /// The PID whose PES starts are access points while there is no video: the first audio, or in
    /// want of one whatever the tables name first.
    pub(super) audio_followed: Option<u16>,
    pub(super) clock_pid: Option<u16>,
    /// Where the tables came.
    pub(super) known_offset: u64,
    /// The second in which they came.
    pub(super) known_s: u32,
}

impl Selection {
    /// From new tables; `adopted` is the clock where they name none.
    pub(super) fn of(psi: &Psi, adopted: Option<u16>) -> Selection {
        let video = first(psi, |stream| stream.codec.is_video());
        let audio = first(psi, |stream| stream.codec.is_audio());
        let any = first(psi, |_| true);
        let main = video.or(audio).or(any);
        Selection {
            video: video.map(|(_, stream)| stream),
            audio_pid: audio.map(|(_, stream)| stream.pid),
            audio_followed: audio.or(any).map(|(_, stream)| stream.pid),
            clock_pid: main.and_then(|(pmt, _)| pmt.pcr_pid).or(adopted),
            known_offset: 0,
            known_s: 0,
        }
    }

    /// What the packets of a PID that carries no tables are.
    pub(super) fn role_of(&self, pid: u16) -> Role {
        if self.video.is_some_and(|video| video.pid == pid) {
            Role::Video
        } else if self.audio_followed == Some(pid) {
            Role::Audio
        } else {
            Role::Other
        }
    }
}

/// The first stream that is wanted, in the order of the PAT, and its program.
fn first(
    psi: &Psi,
    wanted: impl Fn(&ElementaryStream) -> bool,
) -> Option<(&Pmt, ElementaryStream)> {
    let of = |pmt: &Pmt| pmt.streams.iter().find(|stream| wanted(stream)).copied();
    psi.pmts().iter().find_map(|pmt| Some((pmt, of(pmt)?)))
}
