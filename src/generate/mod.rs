//! The seeded generator of events: simulates a text-to-image service with chosen incidents.
//!
//! Pure: no clock, no I/O. The same [`GeneratorSettings`] give the same bytes. Sessions arrive with
//! a daily and weekly rhythm per region, re-roll and edit their prompts, and keep their user,
//! tenant and model. An [`InjectedIncident`] changes its segment during its time, and nothing else;
//! [`labels`] describes what was injected.
//!
//! ```
//! use driftglass::generate::{Generator, GeneratorSettings};
//!
//! let settings =
//!     GeneratorSettings { duration: chrono::Duration::hours(1), ..GeneratorSettings::default() };
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
mod schedule;
mod session;
mod settings;
mod vocabulary;

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

pub use error::{GenerateError, IncidentError};
pub use generator::{Generated, Generator, MessageCounts, MessageKind};
pub use incident::{IncidentKind, IncidentSegment, InjectedIncident};
pub use labels::labels;
pub use message::{GeneratedStage, IMAGES, Malformed};
pub use names::Dimension;
pub use schedule::{Schedule, WeekDays};
pub use settings::GeneratorSettings;
pub use vocabulary::STYLES;
