//! What this host allows a swarm: open files, receive buffers.

use std::fs;

use crate::socket;

/// Beside the viewers': the runtime's, the files of /proc, standard streams.
const FILES_BESIDE: u64 = 64;
/// A window of 1 MiB at least, 2 when the host allows.
const RECEIVE_BYTES: u32 = 2 << 20;
const RECEIVE_BYTES_MIN: u64 = 1 << 20;

/// How a viewer's socket gets a receive window that never limits a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receive {
    /// For SO_RCVBUF; `None` leaves it to the kernel, which goes up to tcp_rmem's last number.
    pub(crate) buffer_bytes: Option<u32>,
    pub(crate) note: Option<String>,
}

/// Raises the soft limit and says what lacks.
pub(crate) fn open_files_for(viewers: u64) -> Result<(), String> {
    let limit = socket::raise_open_files().map_err(|error| format!("open files: {error}"))?;
    let needed = viewers + FILES_BESIDE;
    if limit < needed {
        return Err(format!(
            "{viewers} viewers need {needed} open files, the hard limit is {limit} \
             (ulimit -Hn; raise it with `ulimit -n {needed}` as root, LimitNOFILE= or --ulimit)"
        ));
    }
    Ok(())
}

pub(crate) fn receive() -> Receive {
    let fixed_max = number("/proc/sys/net/core/rmem_max", 0);
    let grown_max = number("/proc/sys/net/ipv4/tcp_rmem", 2);
    plan(fixed_max, grown_max)
}

fn plan(fixed_max: u64, grown_max: u64) -> Receive {
    if fixed_max >= RECEIVE_BYTES_MIN {
        let bytes = u32::try_from(fixed_max).map_or(RECEIVE_BYTES, |max| max.min(RECEIVE_BYTES));
        return Receive { buffer_bytes: Some(bytes), note: None };
    }
    // The kernel counts buffers, the window is about half of that.
    let enough = grown_max >= 2 * RECEIVE_BYTES_MIN;
    let note = (!enough).then(|| {
        format!(
            "receive windows stay below 1 MiB and may limit the server: \
             net.core.rmem_max is {fixed_max}, net.ipv4.tcp_rmem ends at {grown_max}"
        )
    });
    Receive { buffer_bytes: None, note }
}

fn number(path: &str, field: usize) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().nth(field).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_maximum_is_left_to_the_kernel_to_grow() {
        assert_eq!(plan(4 << 20, 6 << 20).buffer_bytes, Some(2 << 20));
        assert_eq!(plan(1 << 20, 6 << 20).buffer_bytes, Some(1 << 20));
        assert_eq!(plan(212_992, 6 << 20), Receive::default());
        assert!(plan(212_992, 212_992).note.is_some());
    }

    #[test]
    fn too_few_open_files_are_named() {
        let why = open_files_for(u64::from(u32::MAX)).unwrap_err();
        assert!(why.contains("ulimit -Hn"), "{why}");
    }
}
