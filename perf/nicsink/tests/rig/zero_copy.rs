//! Zero-copy sends from a registered buffer, one at a time, and what the kernel says became of
//! them.

#![expect(unsafe_code, reason = "the kernel reads the buffer after the call that named it")]

use io_uring::IoUring;
use io_uring::cqueue;
use io_uring::opcode;
use io_uring::types;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// IORING_SEND_ZC_REPORT_USAGE, and what it makes the notification say.
const REPORT_USAGE: u16 = 1 << 3;
const COPIED: u32 = 1 << 31;

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) bytes: usize,
    pub(crate) copied: usize,
}

/// Sends the chunk so many times; returns when the kernel has let go of all of them, which is when
/// they are acknowledged.
pub(crate) fn send(socket: BorrowedFd<'_>, chunk: &[u8], times: usize) -> Report {
    let mut ring = IoUring::new(8).expect("io_uring");
    let memory = libc::iovec { iov_base: chunk.as_ptr().cast_mut().cast(), iov_len: chunk.len() };
    // SAFETY: the chunk outlives the ring: it is borrowed for longer than this function runs.
    unsafe { ring.submitter().register_buffers(&[memory]) }.unwrap();
    let mut report = Report::default();
    for _ in 0..times {
        let length = u32::try_from(chunk.len()).unwrap();
        let entry = opcode::SendZc::new(types::Fd(socket.as_raw_fd()), chunk.as_ptr(), length)
            .buf_index(Some(0))
            .flags(libc::MSG_WAITALL)
            .zc_flags(REPORT_USAGE)
            .build();
        // SAFETY: the chunk and the socket are borrowed, and the notification is awaited below.
        unsafe { ring.submission().push(&entry) }.unwrap();
        let mut open = 1;
        while open > 0 {
            let patience = types::Timespec::new().sec(8);
            let limits = types::SubmitArgs::new().timespec(&patience);
            ring.submitter().submit_with_args(1, &limits).expect("an acknowledgement");
            for entry in ring.completion() {
                if cqueue::notif(entry.flags()) {
                    report.copied += usize::from(entry.result().cast_unsigned() & COPIED != 0);
                } else {
                    report.bytes += usize::try_from(entry.result()).expect("the send succeeds");
                }
                open -= usize::from(!cqueue::more(entry.flags()));
            }
        }
    }
    report
}
