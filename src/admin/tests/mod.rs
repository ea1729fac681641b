//! The shapes that others rely on, byte for byte where they do.

mod hygiene;
mod lines;
mod metrics;
mod shapes;
