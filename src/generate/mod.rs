//! The seeded generator of reference events: a simulated text-to-image service with chosen incidents.
//!
//! Pure: no clock, no I/O; the same [`Settings`] give the same bytes. Sessions arrive with a daily and weekly rhythm per
//! region, re-roll and edit their prompts, and keep their user, tenant and model. [`Incident`]s change what they name, in
//! their segment and time, and nothing else; [`labels`] says what was injected.
//!
//! ```
//! use driftglass::generate::{Generator, Settings};
//!
//! let settings = Settings { duration: chrono::Duration::hours(1), ..Settings::default() };
//! let mut generator = Generator::new(settings)?;
//! let mut message = Vec::new();
//! while let Some(event) = generator.next_into(&mut message) {
//!     assert!(message.starts_with(b"{") && event.time_us > 0);
//! }
//! # Ok::<(), driftglass::generate::GenerateError>(())
//! ```

mod dimensions;
mod effects;
mod error;
mod generator;
mod incident;
mod json;
mod labels;
mod message;
mod names;
mod prompt;
mod rhythm;
mod session;
mod settings;
mod vocabulary;

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

pub use error::{GenerateError, IncidentError};
pub use generator::{Counts, Generated, Generator, Kind};
pub use incident::{Incident, IncidentKind, Segment};
pub use labels::labels;
pub use message::{IMAGES, Malformed, Stage};
pub use names::Dimension;
pub use settings::Settings;
pub use vocabulary::STYLES;
