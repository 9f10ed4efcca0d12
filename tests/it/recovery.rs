//! Killed at any moment and started again, a job leaves what an uninterrupted one leaves.

use crate::support::*;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Generated events replayed without a break: the output, how long it took, and the arguments that do the same to another output.
fn replayed(d: &Path) -> (PathBuf, Duration, impl Fn(&Path) -> Vec<String>) {
    let events = generated(d, 60_000, 8);
    let config = quick_config(d, "");
    let replay_to = move |out: &Path| {
        ["replay", "-c", text(&config), "-o", text(out), text(&events), "-q"].map(str::to_owned).to_vec()
    };
    let whole = d.join("whole");
    let began = std::time::Instant::now();
    ok(&replay_to(&whole).iter().map(String::as_str).collect::<Vec<_>>());
    (whole, began.elapsed(), replay_to)
}

#[test]
fn a_replay_killed_again_and_again_leaves_the_same_record() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, takes, replay_to) = replayed(dir.path());
    let broken = dir.path().join("broken");
    let args = replay_to(&broken);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
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
    let (whole, takes, replay_to) = replayed(dir.path());
    let stopped = dir.path().join("stopped");
    let args = replay_to(&stopped);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
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
    let half = all.find("\"timestamp\":\"2026-01-07").and_then(|at| all[..at].rfind('\n')).unwrap() + 1;
    let second = d.join("second.jsonl");
    let config = quick_config(d, "");
    let out = d.join("out");
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&events), "-q"];

    std::fs::write(&events, &all[..half]).unwrap();
    ok(&args);
    let before = rows(&table(&out, "windows"), &[]).len();
    std::fs::write(&second, &all[half..]).unwrap();
    std::fs::write(
        &config,
        std::fs::read_to_string(&config).unwrap().replace("a key for tests", "another key"),
    )
    .unwrap();
    ok(&["replay", "-c", text(&config), "-o", text(&out), text(&second), "-q"]);
    assert!(rows(&table(&out, "windows"), &[]).len() > before + 100, "it went on");
}
