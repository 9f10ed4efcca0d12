//! What `replay` and `archive` do with INPUT before anything is read in earnest, and what they say
//! of input that was refused.

use super::CliError;
use crate::engine::inputs::{
    self, ChainPosition, GivenInput, InputKind, InputMemory, InputPlan, OutputState,
};
use crate::engine::{Counts, EvaluatorCommit, InputsError, Job, PartitionCommit};
use crate::event::time::text;
use crate::source::lanes::{Stretch, assign};
use crate::source::survey::{Surveyed, survey};
use crate::source::{InputFile, Inputs, SourceError, TimeRange, parquet, resolve};
use crate::store::archive_writer::ArchiveCommit;
use crate::store::chain::{head, newest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use tokio::runtime::Handle;

/// Inputs that were looked at and not read yet.
#[derive(Debug)]
pub struct Looked {
    /// What they are.
    pub kind: InputKind,
    given: Vec<GivenInput>,
}

/// What is committed of a job's partitions.
pub trait Commits: DeserializeOwned + Serialize {
    /// The offset to go on from.
    fn next_offset(&self) -> i64;
    /// Whether the input was read to its end.
    fn ended(&self) -> bool;
}

impl Commits for PartitionCommit {
    fn next_offset(&self) -> i64 {
        self.next_offset
    }
    fn ended(&self) -> bool {
        self.ended
    }
}

impl Commits for ArchiveCommit {
    fn next_offset(&self) -> i64 {
        self.next_offset
    }
    fn ended(&self) -> bool {
        self.ended
    }
}

impl Looked {
    /// Finds the inputs and surveys them; nothing is written. `all_ends` asks for the end of each,
    /// which only files that are followed by others need otherwise.
    ///
    /// # Errors
    /// When one can't be read, or holds something else than events.
    pub fn at(arguments: &[String], all_ends: bool, handle: &Handle) -> Result<Self, SourceError> {
        let (kind, files) = match resolve(arguments, handle)? {
            Inputs::Jsonl(files) => (InputKind::Jsonl, files),
            Inputs::Archive(files) => (InputKind::Archive, files),
        };
        let begins: Vec<Option<i64>> = files.iter().map(InputFile::first).collect();
        let last = (0..files.len()).max_by_key(|i| begins[*i]);
        let surveyed = survey(files, &|i| all_ends || Some(i) != last, handle)?;
        alike(&surveyed);
        let given: Vec<GivenInput> = match kind {
            InputKind::Jsonl => surveyed
                .into_iter()
                .map(|surveyed| GivenInput { surveyed, offsets: BTreeMap::new() })
                .collect(),
            InputKind::Archive => {
                let files: Vec<InputFile> = surveyed.iter().map(|s| s.file.clone()).collect();
                let held = parquet::held(&files, handle)?;
                let with = |(s, held): (Surveyed, parquet::Held)| {
                    let (first, last) = (held.times.map(|t| t.0), held.times.map(|t| t.1));
                    GivenInput { surveyed: Surveyed { first, last, ..s }, offsets: held.offsets }
                };
                surveyed.into_iter().zip(held).map(with).collect()
            }
        };
        // Also what is remembered may be among them, but never without what overlaps it.
        let overlap = |g: &GivenInput| {
            let s = &g.surveyed;
            Stretch { first: s.first, last: s.last, stream: s.file.is_stream() }
        };
        let mut stretches: Vec<Stretch> = given.iter().map(overlap).collect();
        stretches.sort_by_key(|s| s.first);
        if kind == InputKind::Jsonl {
            assign(&mut Vec::new(), &stretches)?;
        }
        Ok(Self { kind, given })
    }

    /// When the events of all inputs begin and end, as far as it is known.
    #[must_use]
    pub fn times(&self) -> Option<(i64, i64)> {
        let first = self.given.iter().filter_map(|g| g.surveyed.first).min()?;
        let last = self.given.iter().filter_map(|g| g.surveyed.last).max();
        Some((first, last.unwrap_or(first)))
    }

    /// Fails where nothing of the inputs would be taken in, as far as their beginnings and ends tell:
    /// asked before an output is emptied for them.
    ///
    /// # Errors
    /// When no event lies in the range, or none was seen at all.
    pub fn promise(&self, range: TimeRange) -> Result<(), CliError> {
        if self.given.iter().any(|g| g.surveyed.file.is_stream()) {
            return Ok(());
        }
        match self.times() {
            None => Err(CliError::failed(
                "no event is at the beginning of any input, so nothing was deleted for them; driftglass check --events FILE says more",
            )),
            Some((first, last)) if !range.touches(first, last) => Err(CliError::failed(format!(
                "no event lies between --from and --to, so nothing was deleted: the input's go from {} to {}",
                text(first),
                text(last)
            ))),
            Some(_) => Ok(()),
        }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> Vec<InputFile> {
        self.given.iter().map(|g| g.surveyed.file.clone()).collect()
    }

    /// Decides what to read, and remembers it in the output before anything is read. `C` is what
    /// partitions commit; `evaluates` tells whether an evaluation follows them.
    ///
    /// # Errors
    /// When the inputs can't continue what the output holds; nothing of it has changed then.
    pub fn admit<C: Commits>(
        self,
        job: &Job,
        range: TimeRange,
        evaluates: bool,
    ) -> Result<InputPlan, InputsError> {
        let (version, memory) = inputs::recall(&job.storage, &job.name)?;
        let state = self.state::<C>(job, memory.as_ref(), evaluates)?;
        let plan = inputs::plan(memory, self.kind, range, self.given, &state)?;
        if let Some(memory) = &plan.memory {
            inputs::remember(&job.storage, &job.name, version, memory)?;
        }
        if let Some(line) = &plan.resuming {
            eprintln!("{line}");
        }
        Ok(plan)
    }

    /// What is committed.
    fn state<C: Commits>(
        &self,
        job: &Job,
        memory: Option<&InputMemory>,
        evaluates: bool,
    ) -> Result<OutputState, InputsError> {
        let storage = &job.storage;
        let mut state = OutputState { dir: storage.url().to_owned(), ..OutputState::default() };
        let Some(memory) = memory else {
            state.filled = !storage.list(&format!("_chain/{}", job.name))?.is_empty();
            return Ok(state);
        };
        if evaluates {
            let at = newest::<EvaluatorCommit>(storage, &job.evaluator_chain())?;
            state.evaluated_to = at.and_then(|(_, commit)| commit.state.at);
        }
        let mut partitions: BTreeSet<i32> = memory.partitions();
        partitions.extend(self.given.iter().flat_map(|g| g.offsets.keys().copied()));
        for p in partitions {
            let chain = job.partition_chain(p);
            let Some(head) = head(storage, &chain)? else { continue };
            let commit = newest::<C>(storage, &chain)?;
            let stands = ChainPosition {
                head: head.0,
                committed: commit.as_ref().map(|c| c.0.0),
                next_offset: commit.as_ref().map_or(0, |c| c.1.next_offset()),
                ended: commit.is_some_and(|c| c.1.ended()),
            };
            state.partitions.insert(p, stands);
        }
        Ok(state)
    }
}

/// Says which inputs hold the same bytes: most likely a copy, and it counts twice.
fn alike(surveyed: &[Surveyed]) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for s in surveyed.iter().filter(|s| s.file.size.is_some_and(|n| n > 0)) {
        let Some(content) = s.content.as_deref() else { continue };
        if let Some(first) = seen.get(content) {
            tracing::warn!(name = %s.file.name, same_as = %first, "two inputs hold the same bytes, both are read");
        } else {
            seen.insert(content, &s.file.name);
        }
    }
}

/// The range of times of a command, which must not be empty.
///
/// # Errors
/// When it is.
pub fn range(from: Option<i64>, to: Option<i64>) -> Result<TimeRange, CliError> {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        let (from, to) = (text(from), text(to));
        return Err(CliError::usage(format!(
            "--from {from} is not before --to {to}: no event lies between them"
        )));
    }
    Ok(TimeRange { from: from.unwrap_or(i64::MIN), to: to.unwrap_or(i64::MAX) })
}

/// What to say of input of which nothing was taken in; `fresh` where nothing was read before
/// either.
///
/// # Errors
/// When there was some, and no event in it, or none in the range.
pub fn nothing_taken(
    counts: &Counts,
    reasons: &BTreeMap<&'static str, u64>,
    range: TimeRange,
    times: Option<(i64, i64)>,
    fresh: bool,
) -> Result<(), CliError> {
    // Archives are left out by their source, which then has no message at all.
    let none_left = counts.rejected < counts.messages || (fresh && counts.messages == 0 && times.is_some());
    if counts.events > 0 || (counts.messages == 0 && !none_left) {
        return Ok(());
    }
    if none_left && range != TimeRange::ALL {
        let at =
            times.map_or(String::new(), |(a, b)| format!(": the input's go from {} to {}", text(a), text(b)));
        return Err(CliError::failed(format!("no event lies between --from and --to{at}")));
    }
    if counts.rejected == 0 {
        return Ok(());
    }
    let listed: Vec<String> = reasons.iter().map(|(r, n)| format!("{r} {n}")).collect();
    let most = reasons.iter().max_by_key(|r| r.1).map_or("", |r| *r.0);
    let looks = match most {
        "not_json" => "it looks like text that is not JSON",
        "missing_field" | "mistyped_field" => "it is JSON, but not of the reference event's form",
        "impossible_time" => "its timestamps are no times that an event may have",
        _ => "it does not fit the reference event",
    };
    Err(CliError::failed(format!(
        "no message of the input is an event ({} refused: {}): {looks}; driftglass check --events FILE says more",
        counts.rejected,
        listed.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_range_and_input_that_is_wholly_refused_are_said() {
        assert!(matches!(range(Some(5), Some(5)), Err(CliError::Usage(_))));
        assert!(range(Some(5), Some(6)).is_ok());
        let counts = |messages, events, rejected| Counts { messages, events, rejected, ..Counts::default() };
        let say = |c: Counts, range| {
            let reasons = [("not_json", c.rejected)].into();
            nothing_taken(&c, &reasons, range, Some((0, 1)), false).err().map(|e| e.to_string())
        };
        let some = TimeRange { from: 3, to: 4 };
        assert_eq!(say(counts(0, 0, 0), some), None, "nothing was left to read");
        assert_eq!(say(counts(9, 1, 8), some), None);
        assert!(
            say(counts(9, 0, 8), some).unwrap().contains("between --from and --to: the input's go from 1970")
        );
        let none = nothing_taken(&counts(0, 0, 0), &BTreeMap::new(), some, Some((0, 1)), true);
        assert!(none.unwrap_err().to_string().contains("between --from and --to"), "an archive");
        assert!(say(counts(9, 0, 9), some).unwrap().contains("9 refused: not_json 9): it looks like text"));
    }
}
