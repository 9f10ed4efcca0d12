//! A real Apache Kafka: live equals replay, and kill -9 changes nothing.

use crate::broker::Broker;
use crate::support::*;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The real archive where it is, generated events otherwise.
fn events(dir: &Path) -> String {
    match data("the real archive over Kafka (generated events instead)") {
        Some(data) => {
            let file = std::fs::File::open(data.join("events/generation-events.jsonl.gz")).unwrap();
            std::io::read_to_string(flate2::read::MultiGzDecoder::new(file)).unwrap()
        }
        None => std::fs::read_to_string(generated(dir, 30_000, 10)).unwrap(),
    }
}

fn live_config(dir: &Path, broker: &Broker, topic: &str, group: &str) -> PathBuf {
    // A static member that comes back gets its partitions at once; another one would wait until the dead one has timed out.
    let kafka = format!(
        "[input]\nkafka = {{ brokers = \"{}\", topic = \"{topic}\", group = \"{group}\" }}\n\
         [kafka.properties]\n\"group.instance.id\" = \"one\"\n\"session.timeout.ms\" = \"6000\"\n",
        broker.address
    );
    let file = quick_config(dir, &kafka);
    let to = dir.join(format!("{group}.toml"));
    std::fs::rename(file, &to).unwrap();
    to
}

#[test]
fn live_equals_replay_and_kills_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let Some(broker) = Broker::start(&d.join("kafka"), "live equals replay") else { return };
    let lines = events(d);
    let file = d.join("all.jsonl");
    std::fs::write(&file, &lines).unwrap();
    broker.topic("events", 6);
    broker.produce("events", &lines);

    let config = quick_config(d, "");
    let replayed = d.join("replayed");
    ok(&["replay", "-c", text(&config), "-o", text(&replayed), text(&file), "-q"]);

    let live = d.join("live");
    let config = live_config(d, &broker, "events", "once");
    ok(&["run", "-c", text(&config), "-o", text(&live), "--until-caught-up", "-q"]);
    let compared = assert_same(&replayed, &live);
    say(&format!("{compared} window rows are the same live (6 partitions) and replayed (1)"));

    // Killed at random moments and started again; a job that comes to its end is compared and begun anew, until twenty kills came.
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let (mut killed, mut round, mut last) = (0, 0, 0);
    while killed < 20 {
        round += 1;
        let out = d.join(format!("killed-{round}"));
        let config = live_config(d, &broker, "events", &format!("killed-{round}"));
        let args = ["run", "-c", text(&config), "-o", text(&out), "--until-caught-up", "-q"];
        let mut ended = false;
        while !ended && killed < 20 {
            let mut child = start(&args);
            let until = Instant::now() + Duration::from_millis(rng.random_range(500..7_000));
            while Instant::now() < until && !ended {
                ended = child.try_wait().unwrap().is_some();
                std::thread::sleep(Duration::from_millis(20));
            }
            if !ended {
                child.kill().unwrap();
                killed += 1;
            }
            child.wait().unwrap();
        }
        ok(&args);
        last = assert_same(&live, &out);
    }
    say(&format!("killed {killed} times in {round} rounds, {last} window rows are the same"));
}
