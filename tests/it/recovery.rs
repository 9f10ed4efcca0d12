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
