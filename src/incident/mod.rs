//! Incidents: the alerts that one cause raises, as one thing with a lead. Pure: transitions of
//! alerts go in, in the order of event time; incidents come out.

mod book;
mod family;
mod headline;
mod relation;
#[cfg(test)]
mod tests;

pub use book::{Incident, IncidentBook, IncidentState};
pub use family::Family;
pub use headline::headline;
