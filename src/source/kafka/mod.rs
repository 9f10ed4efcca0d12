//! Kafka: a consumer group's share of a topic, polled by whoever calls [`super::Source::poll`], started where
//! [`super::Positions`] says.

mod config;
mod context;
mod drain;
mod metadata;
mod options;
mod partition;
mod probe;
mod recreated;
mod source;
#[cfg(test)]
pub mod tests;
mod topic_id;
mod trouble;
#[cfg(test)]
mod trouble_tests;

pub use config::client_config;
pub use drain::{DrainStats, drain};
pub use options::KafkaOptions;
pub use probe::{Probed, probe};
pub use source::KafkaSource;
