//! `driftglass bench-drain`: a consumer that only reads, for benchmarks.

use super::CliError;
use super::common::say;
use crate::source::kafka::drain;
use clap::Args;
use std::collections::BTreeMap;

/// Arguments.
#[derive(Debug, Args)]
pub struct BenchDrain {
    /// Bootstrap servers
    #[arg(long)]
    brokers: String,
    /// The topic
    #[arg(long)]
    topic: String,
}

impl BenchDrain {
    /// Reads the topic to its end and prints the counts as JSON.
    ///
    /// # Errors
    /// When the topic can't be read.
    pub fn run(self) -> Result<(), CliError> {
        let s = drain(&self.brokers, &self.topic, &BTreeMap::new()).map_err(CliError::failed)?;
        say(serde_json::json!({ "events": s.events, "bytes": s.bytes, "seconds": s.seconds }))?;
        Ok(())
    }
}
