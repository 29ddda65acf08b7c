//! pingora-core depends on zlib-ng, whose build needs CMake. The gateway compresses nothing, so plain zlib,
//! which needs only a C compiler, replaces it: both crates have the same API.

pub use libz_sys::*;
