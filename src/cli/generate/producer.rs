//! A Kafka producer that knows what was delivered: nothing counts as written until the broker has said so.

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;

/// How long the brokers may take to answer at the start.
const CONNECT: Duration = Duration::from_secs(15);
/// Messages sent between two looks at what was delivered.
const POLL_EVERY: u64 = 256;

/// Why messages can't be produced.
#[derive(Debug, Error)]
pub enum ProduceError {
    /// A setting of the client is wrong. The client's own text is left out: it may quote a secret.
    #[error("kafka.properties: librdkafka refuses {0}")]
    Property(String),
    /// The client can't be made.
    #[error("can't create the Kafka producer: {0}")]
    Create(#[source] KafkaError),
    /// No broker answers.
    #[error("no broker of {brokers} answered within {} s: {source}; check --kafka and that the port is reachable", CONNECT.as_secs())]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// What the client said.
        source: KafkaError,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist on {brokers}; create it first or mend --topic")]
    NoTopic {
        /// The topic.
        topic: String,
        /// The bootstrap servers.
        brokers: String,
    },
    /// A message can't be handed to the client.
    #[error("can't send to topic {topic}: {source}")]
    Send {
        /// The topic.
        topic: String,
        /// Why.
        source: KafkaError,
    },
    /// The broker did not take some of the messages.
    #[error("{failed} messages to topic {topic} were not delivered, the first because of: {reason}")]
    Undelivered {
        /// The topic.
        topic: String,
        /// How many.
        failed: u64,
        /// What the client said of the first.
        reason: String,
    },
}

/// Counts what the broker has acknowledged.
#[derive(Debug, Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    reason: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((e, _)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.reason.lock().get_or_insert_with(|| e.to_string());
            }
        }
    }
}

/// Produces to one topic.
pub struct Producer {
    client: BaseProducer<Deliveries>,
    topic: String,
    sent: u64,
}

impl Producer {
    /// Connects and makes sure that the topic exists; it is never created here.
    ///
    /// # Errors
    /// When a property is wrong, no broker answers, or the topic does not exist.
    pub fn connect(
        brokers: &str,
        topic: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<Self, ProduceError> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "driftglass-generate")
            // A batch that is sent again must not come behind those after it: its events would be late.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Large batches: the topic is filled, nobody waits for a single message.
            .set("linger.ms", "20")
            .set("batch.num.messages", "10000")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "262144")
            // The Java client's choice of partition, so that a session stays where other producers put it.
            .set("partitioner", "murmur2_random");
        for (key, value) in properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", brokers);
        let client: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).map_err(|e| match e {
                KafkaError::ClientConfig(_, _, key, _) => ProduceError::Property(key),
                e => ProduceError::Create(e),
            })?;
        // All topics are asked for, since asking for this one would create it where brokers allow that.
        let metadata = client
            .client()
            .fetch_metadata(None, CONNECT)
            .map_err(|source| ProduceError::Unreachable { brokers: brokers.to_owned(), source })?;
        if !metadata.topics().iter().any(|t| t.name() == topic && !t.partitions().is_empty()) {
            return Err(ProduceError::NoTopic { topic: topic.to_owned(), brokers: brokers.to_owned() });
        }
        Ok(Self { client, topic: topic.to_owned(), sent: 0 })
    }

    /// Hands over a message; waits while the client's queue is full. Without a partition the key decides.
    ///
    /// # Errors
    /// When the client refuses it, or the broker has refused an earlier one.
    pub fn send(
        &mut self,
        partition: Option<i32>,
        key: &[u8],
        payload: &[u8],
        time_ms: i64,
    ) -> Result<(), ProduceError> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(payload).timestamp(time_ms);
        record.partition = partition;
        while let Err((e, back)) = self.client.send(record) {
            if e.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(ProduceError::Send { topic: self.topic.clone(), source: e });
            }
            self.client.poll(Duration::from_millis(20));
            self.check()?;
            record = back;
        }
        self.sent += 1;
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.client.poll(Duration::ZERO);
            self.check()?;
        }
        Ok(())
    }

    /// Messages that the broker has acknowledged so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.client.context().delivered.load(Ordering::Relaxed)
    }

    /// Takes in what was delivered meanwhile. For whoever waits before sending on.
    ///
    /// # Errors
    /// When the broker has refused a message.
    pub fn look(&self) -> Result<(), ProduceError> {
        self.client.poll(Duration::ZERO);
        self.check()
    }

    /// Waits until everything is delivered; the number of messages.
    ///
    /// # Errors
    /// When the broker did not take all of them.
    pub fn finish(self) -> Result<u64, ProduceError> {
        while self.client.in_flight_count() > 0 {
            self.client.poll(Duration::from_millis(100));
        }
        self.check()?;
        Ok(self.delivered())
    }

    fn check(&self) -> Result<(), ProduceError> {
        let deliveries = self.client.context();
        match deliveries.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => {
                let reason = deliveries.reason.lock().clone().unwrap_or_default();
                Err(ProduceError::Undelivered { topic: self.topic.clone(), failed, reason })
            }
        }
    }
}
