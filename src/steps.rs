//! Steps of commit, hand-over and evaluation at which tests stop or delay the process. A release
//! build contains none of them.
//!
//! With the feature `failpoints`, the variable `FAILPOINTS` defines what happens at a step, in the
//! syntax of the crate `fail`: `FAILPOINTS="partition.commit.manifest=3%return"` kills the process
//! there, as `kill -9` would, in three percent of cases; `sleep(9000)` makes it hang instead.

/// All steps, for tests that choose one at random.
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

/// Marks that a step is reached.
#[inline]
pub fn reached(step: &'static str) {
    debug_assert!(ALL.contains(&step), "{step} is missing in the list of steps");
    fail::fail_point!(step, |_| std::process::abort());
}

/// Activates `FAILPOINTS` for the lifetime of the process.
pub fn set_up() {
    if cfg!(feature = "failpoints") {
        std::mem::forget(fail::FailScenario::setup());
    }
}
