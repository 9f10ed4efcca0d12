//! Events that are produced, in order, while the group is in trouble.

use crate::broker::{Broker, key};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two portions.
const PORTION: Duration = Duration::from_millis(50);
/// A portion is this part of what may be produced, so that it comes over some three seconds and not in one burst.
const PART: usize = 60;
/// How long the broker may take for what is left at the end.
const FLUSH: Duration = Duration::from_secs(180);

/// What the thread and its owner share.
#[derive(Default)]
struct Shared {
    allowed: AtomicUsize,
    sent: AtomicUsize,
    rush: AtomicBool,
    dropped: AtomicBool,
}

/// A thread that produces the lines of a text as far as it is allowed to.
pub struct Load {
    /// Lines of the text.
    pub total: usize,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts the thread; nothing is allowed yet.
    pub fn start(broker: &Broker, topic: &str, lines: &Arc<str>) -> Self {
        let shared = Arc::<Shared>::default();
        let total = lines.lines().count();
        let (address, topic) = (broker.address.clone(), topic.to_owned());
        let (lines, own) = (Arc::clone(lines), Arc::clone(&shared));
        let thread = std::thread::spawn(move || produce(&address, &topic, &lines, &own));
        Self { total, shared, thread: Some(thread) }
    }

    /// Allows this share of all lines.
    pub fn allow(&self, share: f64) {
        let lines = (share.min(1.0) * self.total as f64) as usize;
        self.shared.allowed.store(lines, Ordering::Relaxed);
    }

    /// Lines handed to the client so far.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Produces what is left, and waits until the broker has all of it.
    pub fn finish(&mut self) {
        self.shared.rush.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the producer's thread; its panic stands above");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::Relaxed);
    }
}

/// Counts what the broker refused for good.
#[derive(Clone, Default)]
struct Refused(Arc<AtomicUsize>);

impl ClientContext for Refused {}

impl ProducerContext for Refused {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn produce(address: &str, topic: &str, lines: &str, shared: &Shared) {
    let refused = Refused::default();
    // Idempotent: a broker that dies with a batch half acknowledged gets it again, and neither doubles nor reorders it.
    let producer: ThreadedProducer<Refused> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "600000")
        .set("reconnect.backoff.max.ms", "1000")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "200000")
        .create_with_context(refused.clone())
        .expect("a producer");
    let mut lines = lines.lines();
    let mut sent = 0;
    loop {
        if shared.dropped.load(Ordering::Relaxed) {
            return;
        }
        let rush = shared.rush.load(Ordering::Relaxed);
        let allowed = shared.allowed.load(Ordering::Relaxed);
        let portion = if rush { usize::MAX } else { allowed.saturating_sub(sent).div_ceil(PART) };
        for line in lines.by_ref().take(portion) {
            send(&producer, topic, line);
            sent += 1;
        }
        shared.sent.store(sent, Ordering::Relaxed);
        if rush {
            break;
        }
        std::thread::sleep(PORTION);
    }
    producer.flush(FLUSH).expect("the broker takes what is left");
    assert_eq!(refused.0.load(Ordering::Relaxed), 0, "lines that the broker refused");
}

fn send(producer: &ThreadedProducer<Refused>, topic: &str, line: &str) {
    let key = key(line);
    let mut record = BaseRecord::to(topic).key(&key).payload(line);
    while let Err((e, back)) = producer.send(record) {
        // A full queue empties; a producer that has failed for good would be asked for ever.
        assert_eq!(e.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "producing: {e}");
        std::thread::sleep(Duration::from_millis(5));
        record = back;
    }
}
