//! Pingora's core asks for zlib-ng, whose build asks for CMake. The gateway compresses nothing, so
//! plain zlib, built by a C compiler alone, stands in its place: both crates have the same API.

pub use libz_sys::*;
