//! Steps of commit, hand-over and evaluation at which tests end or delay the process. In a release nothing is compiled of them.
//!
//! With the feature `failpoints` the variable `FAILPOINTS` says what happens at a step, in the words of the crate `fail`:
//! `FAILPOINTS="partition.commit.manifest=3%return"` ends the process there, as `kill -9` would, in three of a hundred cases;
//! `sleep(9000)` makes it hang instead.

/// All steps, for tests that pick one at random.
pub const ALL: [&str; 17] = [
    "partition.claim.link",
    "partition.claim.published",
    "partition.claim.loaded",
    "partition.commit.begin",
    "partition.commit.panes",
    "partition.commit.staged",
    "partition.commit.manifest",
    "partition.commit.published",
    "partition.commit.done",
    "evaluator.claim.link",
    "evaluator.claim.published",
    "evaluator.claim.restored",
    "evaluator.advance",
    "evaluator.commit.staged",
    "evaluator.commit.manifest",
    "evaluator.commit.published",
    "evaluator.commit.done",
];

/// Says that a step is reached.
#[inline]
pub fn reached(step: &'static str) {
    debug_assert!(ALL.contains(&step), "{step} is missing in the list of steps");
    fail::fail_point!(step, |_| std::process::abort());
}

/// Reads `FAILPOINTS` for the rest of the process's life.
pub fn set_up() {
    if cfg!(feature = "failpoints") {
        std::mem::forget(fail::FailScenario::setup());
    }
}
