//! How a topic is read: what the configuration says of it, and defaults.

use crate::source::clock::Clock;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a topic is read.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Bootstrap servers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// librdkafka's properties, passed through. May hold secrets: never logged.
    pub properties: BTreeMap<String, String>,
    /// Quiet time after which a partition that is read to its end is idle.
    pub idle: Duration,
    /// End at the offsets that the topic has now instead of waiting for more.
    pub until_caught_up: bool,
    /// Longer messages are cut to one byte more, which the decoder rejects as too large.
    pub max_message: usize,
    /// How long messages are gathered before they are handed out together: a few at a time cost twice the CPU, as every one then finds
    /// its segments' sketches gone from the caches.
    pub linger: Duration,
    /// How long the brokers may take to answer at the start.
    pub connect_timeout: Duration,
    /// The clock that idle time is measured by.
    pub clock: Clock,
}

impl KafkaOptions {
    /// Options with the defaults of the configuration.
    #[must_use]
    pub fn new(brokers: &str, topic: &str, group: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            properties: BTreeMap::new(),
            idle: Duration::from_secs(60),
            until_caught_up: false,
            max_message: 1 << 20,
            linger: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(15),
            clock: Clock::system(),
        }
    }
}
