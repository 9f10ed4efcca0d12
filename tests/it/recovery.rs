//! Killed at any moment and started again, a job leaves what an uninterrupted one leaves.

use crate::support::*;
use rand::{Rng, SeedableRng};
use std::time::Duration;

#[test]
fn a_replay_killed_again_and_again_leaves_the_same_record() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 60_000, 8);
    let config = quick_config(d, "");
    let c = text(&config);
    let whole = d.join("whole");
    let began = std::time::Instant::now();
    ok(&["replay", "-c", c, "-o", text(&whole), text(&events), "-q"]);
    let takes = began.elapsed();

    let broken = d.join("broken");
    let args = ["replay", "-c", c, "-o", text(&broken), text(&events), "-q"];
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut killed = 0;
    for _ in 0..20 {
        let mut child = start(&args);
        std::thread::sleep(takes.mul_f64(rng.random_range(0.02..0.6)).max(Duration::from_millis(20)));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
    }
    ok(&args);
    let compared = assert_same(&whole, &broken);
    assert_eq!(rows(&table(&whole, "windows"), &[]).len(), rows(&table(&broken, "windows"), &[]).len());
    say(&format!("killed {killed} times, {compared} window rows are the same"));
    assert!(killed > 3, "only {killed} of 20 kills came before the end");
}

#[test]
fn asked_to_stop_it_exits_with_zero_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 60_000, 8);
    let config = quick_config(d, "");
    let c = text(&config);
    let whole = d.join("whole");
    let began = std::time::Instant::now();
    ok(&["replay", "-c", c, "-o", text(&whole), text(&events), "-q"]);
    let takes = began.elapsed();

    let stopped = d.join("stopped");
    let args = ["replay", "-c", c, "-o", text(&stopped), text(&events), "-q"];
    let mut midway = 0;
    for share in [0.1, 0.3, 0.5] {
        let mut child = start(&args);
        std::thread::sleep(takes.mul_f64(share));
        if child.try_wait().unwrap().is_none() {
            let pid = child.id().to_string();
            assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            midway += 1;
        }
        assert_eq!(child.wait().unwrap().code(), Some(0), "SIGTERM ends it well");
    }
    ok(&args);
    assert!(midway > 0, "it was always done before it was asked to stop");
    assert_same(&whole, &stopped);
}

#[test]
fn another_hashing_key_begins_history_afresh_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 20_000, 4);
    let all = std::fs::read_to_string(&events).unwrap();
    let half = all.len() / 2 + all[all.len() / 2..].find('\n').unwrap() + 1;
    let config = quick_config(d, "");
    let out = d.join("out");
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&events), "-q"];

    std::fs::write(&events, &all[..half]).unwrap();
    ok(&args);
    let before = rows(&table(&out, "windows"), &[]).len();
    std::fs::write(&events, &all).unwrap();
    std::fs::write(
        &config,
        std::fs::read_to_string(&config).unwrap().replace("a key for tests", "another key"),
    )
    .unwrap();
    ok(&args);
    assert!(rows(&table(&out, "windows"), &[]).len() > before + 100, "it went on");
}
