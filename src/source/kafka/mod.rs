//! Reads a topic as a member of a consumer group, from the positions that [`super::Positions`]
//! returns.

mod config;
mod context;
mod drain;
mod membership;
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
pub use probe::{TopicProbe, probe};
pub use source::KafkaSource;
