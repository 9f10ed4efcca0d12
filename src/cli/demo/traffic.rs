//! The demo's traffic: an in-process broker, and a thread that produces generated events into it.

use super::flow::{Flow, FlowError};
use crate::cli::CliError;
use crate::cli::generate::{Producer, session_key};
use crate::generate::{Generator, GeneratorSettings as Traffic, InjectedIncident};
use chrono::Duration as Span;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The demo's topic.
pub const TOPIC: &str = "generation-events";
/// Its partitions.
pub const PARTITIONS: usize = 6;

/// The in-process broker with the demo's topic; it lives as long as this.
pub struct Broker(MockCluster<'static, DefaultProducerContext>);

impl Broker {
    /// Starts it.
    ///
    /// # Errors
    /// When no port on the loopback can be opened.
    pub fn start() -> Result<Self, CliError> {
        let failed = |e| CliError::failed(format!("can't start the in-process broker: {e}"));
        let cluster = MockCluster::new(1).map_err(failed)?;
        cluster.create_topic(TOPIC, PARTITIONS as i32, 1).map_err(failed)?;
        Ok(Self(cluster))
    }

    /// Its bootstrap servers.
    #[must_use]
    pub fn brokers(&self) -> String {
        self.0.bootstrap_servers()
    }
}

/// What goes wrong in the demo, at times that scale with its length: of ten days, one of other prompts
/// from the 6th on, a release on the 7th that stays, a day of images in another style for one tenant on the 8th, and twelve slow
/// hours on the 9th.
///
/// # Errors
/// Never for the demo's own texts.
pub fn incidents(traffic: &Traffic) -> Result<Vec<InjectedIncident>, CliError> {
    let hours = traffic.duration.num_hours();
    let at = |share: f64| traffic.start + Span::hours((hours as f64 * share).round() as i64);
    let text = |share: f64| at(share).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let (slow, over) = (text(0.81), (at(0.81) + Span::hours(12)).to_rfc3339());
    [
        format!("prompt-shift:tenant=birch:{}..{}", text(0.52), text(0.62)),
        format!("aesthetic-drop:model_version=sdxl-1.1:{}", text(0.61)),
        format!("style-shift:tenant=cobalt:{}..{}:share=0.8", text(0.72), text(0.82)),
        format!("latency-and-errors:region=ap-south:{slow}..{over}"),
    ]
    .iter()
    .map(|t| t.parse().map_err(CliError::usage))
    .collect()
}

/// Starts the producing thread. It books what it sends in `flow`, and ends when all is acknowledged or the stream has failed.
///
/// # Errors
/// When the broker can't be reached.
pub fn produce(brokers: &str, generator: Generator, flow: Arc<Flow>) -> Result<JoinHandle<()>, CliError> {
    // Small batches, soon sent: what waits here is unread for the consumer, and counts as in flight.
    let properties = [("linger.ms", "5"), ("batch.num.messages", "2000"), ("batch.size", "500000")];
    let properties: BTreeMap<_, _> = properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let producer = Producer::connect(brokers, TOPIC, &properties).map_err(CliError::failed)?;
    std::thread::Builder::new()
        .name("producer".into())
        .spawn(move || match send_all(producer, generator, &flow) {
            Ok(()) => flow.done(),
            Err(e) => flow.fail(e),
        })
        .map_err(CliError::failed)
}

fn send_all(mut producer: Producer, mut generator: Generator, flow: &Flow) -> Result<(), FlowError> {
    let failed = |e: crate::cli::generate::ProduceError| FlowError::Producer(e.to_string());
    let mut message = Vec::with_capacity(2_048);
    while let Some(about) = generator.next_into(&mut message) {
        let partition = (about.session % PARTITIONS as u64) as usize;
        while !flow.admit(partition, message.len(), Duration::from_millis(50))? {
            producer.look().map_err(failed)?;
        }
        let key = session_key(about.session);
        let time_ms = about.time_us / 1_000;
        producer.send(Some(partition as i32), &key, &message, time_ms).map_err(failed)?;
    }
    let (sent, _) = flow.counts();
    let delivered = producer.finish().map_err(failed)?;
    if delivered == sent { Ok(()) } else { Err(FlowError::Unequal { produced: sent, consumed: delivered }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_incident_has_a_weeks_baseline_and_lies_within_the_demo() {
        for days in [10, 21, 60] {
            let traffic = Traffic { duration: Span::days(days), ..Traffic::default() };
            let incidents = incidents(&traffic).unwrap();
            assert_eq!(incidents.len(), 4);
            let end = traffic.start + traffic.duration;
            for i in incidents {
                // Half of a week's days is the least that a 7-day baseline is made of.
                assert!(i.start >= traffic.start + Span::days(4), "{i}");
                assert!(i.end.unwrap_or(i.start) + Span::hours(24) <= end, "{i}");
            }
        }
    }
}
