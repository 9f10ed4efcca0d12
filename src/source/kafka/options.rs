//! How a topic is read, with defaults.

use crate::source::clock::MonotonicClock;
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
    /// Properties of librdkafka. May contain secrets: never logged.
    pub properties: BTreeMap<String, String>,
    /// Time without records after which a fully read partition is idle.
    pub idle: Duration,
    /// Stop at the offsets that the topic has at the start.
    pub until_caught_up: bool,
    /// Longer messages are cut to one byte more, which the decoder rejects as too large.
    pub max_message: usize,
    /// How long messages are gathered into a chunk. Small chunks cost twice the CPU, since the
    /// sketches of their segments are no longer in the CPU's caches.
    pub linger: Duration,
    /// Time limit of requests to brokers at the start.
    pub connect_timeout: Duration,
    /// The clock that measures idle time.
    pub clock: MonotonicClock,
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
            clock: MonotonicClock::system(),
        }
    }
}
