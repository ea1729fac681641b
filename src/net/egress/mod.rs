//! Sending to viewers from a ring of the kernel's own, where the kernel allows one.
//!
//! Never on the runtime's ring: that one knows no zero-copy sends.

use std::io;

use io_uring::IoUring;

/// The ring that sends would go through, but small. An error is an errno.
pub(super) fn probe_ring() -> Result<IoUring, i32> {
    let ring =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_submit_all().build(8);
    ring.map_err(|error: io::Error| error.raw_os_error().unwrap_or(libc::EIO))
}
