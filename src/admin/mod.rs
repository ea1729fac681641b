//! Floor 3: what operators, tools and logs read, rendered from plain values.
//!
//! Pure: records in, text out. It knows no clock, socket, shard or setting; whoever calls it has
//! gathered the values.

pub mod engine_shape;
pub mod hygiene;
pub mod lines;
pub mod metrics;
pub mod records;

#[cfg(test)]
mod tests;
