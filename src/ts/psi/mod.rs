//! Program specific information: sections out of packets, the tables that matter, and the set of
//! them that a viewer must get before anything else.
//!
//! Limits: [`PROGRAMS_MAX`] programs and [`PSI_PACKETS_MAX`] packets, the first that fit; the first
//! section of a PAT (253 programs) and one section for each PMT.

mod section;
mod set;
mod tables;

pub use section::SECTION_BYTES_MAX;
pub use section::SectionAssembler;
pub use section::crc32;
pub use section::packetise;
pub use set::PROGRAMS_MAX;
pub use set::PSI_PACKETS_MAX;
pub use set::Psi;
pub use set::PsiCounters;
pub use set::PsiTracker;
pub(crate) use set::push_with_cc;
pub use tables::Codec;
pub use tables::ElementaryStream;
pub use tables::Pat;
pub use tables::Pmt;
pub use tables::Program;
