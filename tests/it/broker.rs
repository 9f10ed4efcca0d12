//! A real Apache Kafka of a test's own: started, filled, killed and started again.

use crate::support::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::JoinHandle;
use std::time::Duration;

/// A broker that is stopped when dropped.
pub struct Broker {
    /// Its folder: logs and data.
    pub dir: PathBuf,
    /// Where it listens; the same after a restart.
    pub address: String,
    restarting: Option<JoinHandle<Output>>,
}

fn kafka(args: &[&str]) -> Output {
    Command::new("bash")
        .arg(script("kafka.sh"))
        .args(args)
        .env("KAFKA_OWNER_PID", std::process::id().to_string())
        .output()
        .unwrap()
}

/// The key of an event: its session, so that a session's events stay in order; a line that is no event is its own key.
pub fn key(line: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(event) => event["session_id"].as_str().unwrap_or("").to_owned(),
        Err(_) => line.to_owned(),
    }
}

impl Broker {
    /// Starts one, or says why there is none.
    pub fn start(dir: &Path, test: &str) -> Option<Self> {
        let available = kafka(&["available"]);
        if !available.status.success() {
            say(&format!("skipped {test}: {}", String::from_utf8_lossy(&available.stdout).trim()));
            return None;
        }
        let got = kafka(&["get"]);
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        let started = kafka(&["start", text(dir)]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let address = String::from_utf8(started.stdout).unwrap().trim().to_owned();
        Some(Self { dir: dir.to_owned(), address, restarting: None })
    }

    /// Makes a topic.
    pub fn topic(&self, name: &str, partitions: u32) {
        let made = kafka(&["topic", text(&self.dir), name, &partitions.to_string()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Produces the lines of a file, a session's always to the same partition and in their order, also where a batch is sent again.
    pub fn produce(&self, topic: &str, lines: &str) {
        use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
        let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> =
            rdkafka::ClientConfig::new()
                .set("bootstrap.servers", &self.address)
                .set("enable.idempotence", "true")
                .set("linger.ms", "20")
                .set("queue.buffering.max.messages", "200000")
                .create()
                .unwrap();
        for line in lines.lines() {
            let key = key(line);
            let mut record = BaseRecord::to(topic).key(&key).payload(line);
            while let Err((_, back)) = producer.send(record) {
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Deletes a topic, and waits until it is gone.
    pub fn delete_topic(&self, name: &str) {
        use rdkafka::admin::{AdminClient, AdminOptions};
        let admin: AdminClient<_> =
            rdkafka::ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let done = futures::executor::block_on(admin.delete_topics(&[name], &options)).unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        let is_there = || {
            let all = admin.inner().fetch_metadata(Some(name), Duration::from_secs(10)).unwrap();
            all.topics().iter().any(|t| !t.partitions().is_empty())
        };
        while is_there() {
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Says of so many keys that their records are deleted.
    pub fn delete_keys(&self, topic: &str, n: usize) {
        use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
        let producer: BaseProducer =
            rdkafka::ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap();
        for i in 0..n {
            let key = format!("k{i}");
            producer.send(BaseRecord::<_, [u8]>::to(topic).key(&key)).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Ends it as a crash would; it is started again after `down`, on the same address and data, while the caller goes on.
    pub fn crash(&mut self, down: Duration) {
        assert!(self.serves(), "a broker that is down can't crash");
        let killed = kafka(&["kill", text(&self.dir)]);
        assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
        let dir = self.dir.clone();
        self.restarting = Some(std::thread::spawn(move || {
            std::thread::sleep(down);
            kafka(&["restart", text(&dir)])
        }));
    }

    /// Whether it serves: false from a crash until it is back.
    pub fn serves(&mut self) -> bool {
        if self.restarting.as_ref().is_some_and(|r| !r.is_finished()) {
            return false;
        }
        if let Some(restarting) = self.restarting.take() {
            let back = restarting.join().expect("the thread that restarts the broker");
            assert!(back.status.success(), "restart: {}", String::from_utf8_lossy(&back.stderr));
            assert_eq!(String::from_utf8_lossy(&back.stdout).trim(), self.address, "the same address");
        }
        true
    }

    /// How often a consumer group was shared out anew, as the broker's log tells.
    pub fn rebalances(&self, group: &str) -> usize {
        let line = format!("Stabilized group {group} generation");
        let count = |log: &str| {
            let bytes = std::fs::read(self.dir.join(log)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).lines().filter(|l| l.contains(&line)).count()
        };
        // A restart moves the log aside.
        count("server.log") + count("server.log.old")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Stopped while it starts, it would be left running.
        if let Some(restarting) = self.restarting.take() {
            let _ = restarting.join();
        }
        kafka(&["stop", text(&self.dir)]);
    }
}
