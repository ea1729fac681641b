//! MPEG transport stream: bytes in, packets, tables and access points out.
//!
//! Nothing here reads a clock, a socket or a file, and nothing allocates per packet: a damaged
//! stream is counted, never an error and never a panic.

pub mod clock;
pub mod packet;
pub mod psi;
pub mod scan;
pub mod splice;
pub mod sync;

#[cfg(test)]
mod tests;

pub use packet::PACKET_BYTES;
pub use packet::Packet;
pub use packet::Packets;
pub use psi::Psi;
pub use psi::PsiCounters;
pub use scan::AccessKind;
pub use scan::AccessPoint;
pub use scan::Event;
pub use scan::Scanner;
pub use sync::Sync;
