//! The engine emulator.
