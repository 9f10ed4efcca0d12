//! How `replay` and `archive` survey INPUT before they read it, and how they report input without
//! usable events.

use super::CliError;
use crate::engine::inputs::{
    self, ChainPosition, GivenInput, InputKind, InputMemory, InputPlan, OutputState,
};
use crate::engine::{EvaluatorCommit, InputsError, Job, JobCounts, PartitionCommit};
use crate::event::time::text;
use crate::source::lanes::{FileTimes, assign};
use crate::source::survey::{Surveyed, survey};
use crate::source::{InputFile, Inputs, SourceError, TimeRange, parquet, resolve};
use crate::store::archive_writer::ArchiveCommit;
use crate::store::chain::{head, newest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use tokio::runtime::Handle;

/// Inputs that were surveyed and not yet read.
#[derive(Debug)]
pub struct SurveyedInputs {
    /// What they are.
    pub kind: InputKind,
    given: Vec<GivenInput>,
}

/// The committed progress of a partition.
pub trait PartitionProgress: DeserializeOwned + Serialize {
    /// The next offset to read.
    fn next_offset(&self) -> i64;
    /// Whether the input was read to its end.
    fn ended(&self) -> bool;
}

impl PartitionProgress for PartitionCommit {
    fn next_offset(&self) -> i64 {
        self.next_offset
    }
    fn ended(&self) -> bool {
        self.ended
    }
}

impl PartitionProgress for ArchiveCommit {
    fn next_offset(&self) -> i64 {
        self.next_offset
    }
    fn ended(&self) -> bool {
        self.ended
    }
}

impl SurveyedInputs {
    /// Finds the inputs and surveys them; writes nothing. `all_ends` asks for the end of each,
    /// which is otherwise needed only for files that others follow.
    ///
    /// # Errors
    /// When one can't be read, or is not a file of events.
    pub fn survey(arguments: &[String], all_ends: bool, handle: &Handle) -> Result<Self, SourceError> {
        let (kind, files) = match resolve(arguments, handle)? {
            Inputs::Jsonl(files) => (InputKind::Jsonl, files),
            Inputs::Archive(files) => (InputKind::Archive, files),
        };
        let begins: Vec<Option<i64>> = files.iter().map(InputFile::first).collect();
        let last = (0..files.len()).max_by_key(|i| begins[*i]);
        let surveyed = survey(files, &|i| all_ends || Some(i) != last, handle)?;
        warn_of_copies(&surveyed);
        let given: Vec<GivenInput> = match kind {
            InputKind::Jsonl => surveyed
                .into_iter()
                .map(|surveyed| GivenInput { surveyed, offsets: BTreeMap::new() })
                .collect(),
            InputKind::Archive => {
                let files: Vec<InputFile> = surveyed.iter().map(|s| s.file.clone()).collect();
                let contents = parquet::contents(&files, handle)?;
                let with = |(s, contents): (Surveyed, parquet::ArchiveContents)| {
                    let (first, last) = (contents.times.map(|t| t.0), contents.times.map(|t| t.1));
                    GivenInput { surveyed: Surveyed { first, last, ..s }, offsets: contents.offsets }
                };
                surveyed.into_iter().zip(contents).map(with).collect()
            }
        };
        // They may include remembered files, but never without the files that overlap those.
        let overlap = |g: &GivenInput| {
            let s = &g.surveyed;
            FileTimes { first: s.first, last: s.last, stream: s.file.is_stream() }
        };
        let mut stretches: Vec<FileTimes> = given.iter().map(overlap).collect();
        stretches.sort_by_key(|s| s.first);
        if kind == InputKind::Jsonl {
            assign(&mut Vec::new(), &stretches)?;
        }
        Ok(Self { kind, given })
    }

    /// When the events of all inputs begin and end, as far as known.
    #[must_use]
    pub fn times(&self) -> Option<(i64, i64)> {
        let first = self.given.iter().filter_map(|g| g.surveyed.first).min()?;
        let last = self.given.iter().filter_map(|g| g.surveyed.last).max();
        Some((first, last.unwrap_or(first)))
    }

    /// Fails if no event would be used, judging by the beginnings and ends of the inputs. Called
    /// before an output is emptied.
    ///
    /// # Errors
    /// When no event is in the range, or there is none at all.
    pub fn check_not_empty(&self, range: TimeRange) -> Result<(), CliError> {
        if self.given.iter().any(|g| g.surveyed.file.is_stream()) {
            return Ok(());
        }
        match self.times() {
            None => Err(CliError::failed(
                "no input begins with an event, so nothing was deleted; driftglass check --events FILE shows why",
            )),
            Some((first, last)) if !range.touches(first, last) => Err(CliError::failed(format!(
                "no event lies between --from and --to, so nothing was deleted: the input has events from {} to {}",
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

    /// Decides what to read, and records it in the output before reading. `C` is what partitions
    /// commit; `evaluates` is whether an evaluation follows them.
    ///
    /// # Errors
    /// When the inputs can't continue the output, which is then unchanged.
    pub fn admit<C: PartitionProgress>(
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

    /// The committed state of the job.
    fn state<C: PartitionProgress>(
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

/// Warns of inputs with the same bytes: probably a copy, which counts twice.
fn warn_of_copies(surveyed: &[Surveyed]) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for s in surveyed.iter().filter(|s| s.file.size.is_some_and(|n| n > 0)) {
        let Some(content) = s.content.as_deref() else { continue };
        if let Some(first) = seen.get(content) {
            tracing::warn!(name = %s.file.name, same_as = %first, "two inputs have the same content; both are read");
        } else {
            seen.insert(content, &s.file.name);
        }
    }
}

/// The time range of a command, which must not be empty.
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

/// The error for input without usable events; `fresh` if nothing was read before either.
///
/// # Errors
/// When there was some, and no event in it, or none in the range.
pub fn no_usable_events(
    counts: &JobCounts,
    reasons: &BTreeMap<&'static str, u64>,
    range: TimeRange,
    times: Option<(i64, i64)>,
    fresh: bool,
) -> Result<(), CliError> {
    // The source of an archive filters by time itself, and then returns no message at all.
    let none_left = counts.rejected < counts.messages || (fresh && counts.messages == 0 && times.is_some());
    if counts.events > 0 || (counts.messages == 0 && !none_left) {
        return Ok(());
    }
    if none_left && range != TimeRange::ALL {
        let at = times.map_or(String::new(), |(a, b)| {
            format!(": the input has events from {} to {}", text(a), text(b))
        });
        return Err(CliError::failed(format!("no event lies between --from and --to{at}")));
    }
    if counts.rejected == 0 {
        return Ok(());
    }
    let listed: Vec<String> = reasons.iter().map(|(r, n)| format!("{r} {n}")).collect();
    let most = reasons.iter().max_by_key(|r| r.1).map_or("", |r| *r.0);
    let looks = match most {
        "not_json" => "it looks like text that is not JSON",
        "missing_field" | "mistyped_field" => "it is JSON, but not in the form of the reference event",
        "impossible_time" => "its timestamps are outside the range that events may have",
        _ => "it does not fit the reference event",
    };
    Err(CliError::failed(format!(
        "no message of the input is an event ({} rejected: {}): {looks}; driftglass check --events FILE shows why",
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
        let counts =
            |messages, events, rejected| JobCounts { messages, events, rejected, ..JobCounts::default() };
        let say = |c: JobCounts, range| {
            let reasons = [("not_json", c.rejected)].into();
            no_usable_events(&c, &reasons, range, Some((0, 1)), false).err().map(|e| e.to_string())
        };
        let some = TimeRange { from: 3, to: 4 };
        assert_eq!(say(counts(0, 0, 0), some), None, "nothing was left to read");
        assert_eq!(say(counts(9, 1, 8), some), None);
        assert!(
            say(counts(9, 0, 8), some)
                .unwrap()
                .contains("between --from and --to: the input has events from 1970")
        );
        let none = no_usable_events(&counts(0, 0, 0), &BTreeMap::new(), some, Some((0, 1)), true);
        assert!(none.unwrap_err().to_string().contains("between --from and --to"), "an archive");
        assert!(say(counts(9, 0, 9), some).unwrap().contains("9 rejected: not_json 9): it looks like text"));
    }
}
