//! A Kafka producer that counts deliveries: a message counts as written once the broker
//! acknowledges it.

use crate::cli::error::{PRODUCER_CONNECT_TIMEOUT, ProduceError};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Messages sent between two checks of delivery reports.
const POLL_EVERY: u64 = 256;

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
            // A retried batch must not arrive after later ones: its events would be late.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Large batches: throughput matters here, latency doesn't.
            .set("linger.ms", "20")
            .set("batch.num.messages", "10000")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "262144")
            // The Java client's choice of partition, so that a session stays where other producers
            // put it.
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
        // Asks for all topics: asking for this one would create it where brokers allow that.
        let metadata = client
            .client()
            .fetch_metadata(None, PRODUCER_CONNECT_TIMEOUT)
            .map_err(|source| ProduceError::Unreachable { brokers: brokers.to_owned(), source })?;
        if !metadata.topics().iter().any(|t| t.name() == topic && !t.partitions().is_empty()) {
            return Err(ProduceError::NoTopic { topic: topic.to_owned(), brokers: brokers.to_owned() });
        }
        Ok(Self { client, topic: topic.to_owned(), sent: 0 })
    }

    /// Sends a message; waits while the client's queue is full. Without a partition, the key
    /// decides.
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

    /// Processes delivery reports, for a caller that waits before it sends more.
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
