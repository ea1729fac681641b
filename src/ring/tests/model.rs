//! The protocol under loom: the real types, with loom's atomics and its watch over the memory.
