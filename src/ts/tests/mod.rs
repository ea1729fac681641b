//! Tests of the transport stream room, and the streams that they are run on.

mod clock;
mod generator;
mod packet;
mod psi;
mod scan;
mod speed;
mod splice;
mod staging;
mod sync;
