//! driftglass: the engine that tells a text-to-image service, per segment and within minutes, that its
//! prompts, its images, its quality or its speed have drifted, since when, because of what, and how sure it is.
//!
//! The rooms follow an event's path; `ARCHITECTURE.md` draws them and says where each kind of change goes.

pub mod alert;
pub mod cli;
pub mod embed;
pub mod engine;
pub mod generate;
pub mod query;
pub mod serve;
pub mod source;
pub mod stdout;
pub mod steps;
pub mod store;

pub use driftglass_core::{baseline, config, drift, enrich, event, sketch, window};
