//! The pure middle of driftglass: what an event is, what is kept of it, how it is summed up in
//! sketches and windows, what a baseline is, and how far a window has drifted from one.
//!
//! Nothing here does I/O, reads a clock or starts a thread, but for reading the configuration's
//! file and environment ([`config`]). The crate `driftglass` re-exports all of it under its own name
//! and adds the sources, the stores, the engine and the commands. It is a crate of its own so that
//! a change of a statistic, a sketch or a window is compiled and tested within seconds.

pub mod baseline;
pub mod config;
pub mod drift;
pub mod enrich;
pub mod event;
pub mod sketch;
pub mod window;
