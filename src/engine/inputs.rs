//! What a job over files has read: its inputs by name, size and content, so that further files
//! continue it, interrupted ones are resumed, and changed ones are refused.
//!
//! `_inputs/JOB/version=N.json` is created if absent, before any of the inputs that it adds is
//! read. It does not say how far they were read: that is in the commits of partitions and
//! evaluator.

use super::error::InputsError;
use crate::event::time::text;
use crate::source::lanes::{self, FileLane, FileTimes, LaneFile};
use crate::source::survey::Surveyed;
use crate::source::{InputFile, PartitionId, TimeRange};
use crate::store::{CreateOutcome, Storage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The folder in which jobs record their inputs.
pub const FOLDER: &str = "_inputs";
const FORMAT: u32 = 1;

/// What kind of files an output was filled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// JSON lines.
    Jsonl,
    /// Archives.
    Archive,
}

/// An input as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RememberedInput {
    /// As it was given.
    name: String,
    /// Its name with links and `..` resolved.
    canonical: String,
    size: Option<u64>,
    /// What its content is; none of a stream.
    content: Option<String>,
    /// JSON lines: the partition that it is read in. The rows of an archive have theirs.
    lane: Option<i32>,
    /// Offset of its first line, and number of its lines, where known.
    start: Option<i64>,
    lines: Option<i64>,
    /// When its events begin and end, where known.
    first: Option<i64>,
    last: Option<i64>,
    /// Archives: its partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<i32>,
}

impl RememberedInput {
    /// The offset after its last line.
    fn end(&self) -> Option<i64> {
        Some(self.start? + self.lines?)
    }

    /// Whether it can be read only once.
    fn is_stream(&self) -> bool {
        self.content.is_none()
    }
}

/// All inputs of a job, in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputMemory {
    format: u32,
    kind: InputKind,
    from: Option<String>,
    to: Option<String>,
    files: Vec<RememberedInput>,
    /// By partition: the epoch of its chain when files were last added, after which it may say that
    /// it has ended.
    since: BTreeMap<i32, u64>,
}

/// An input that is given now.
#[derive(Debug, Clone)]
pub struct GivenInput {
    /// What was found in it.
    pub surveyed: Surveyed,
    /// Archives: first offset by partition.
    pub offsets: BTreeMap<i32, i64>,
}

/// How far a partition's chain is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChainPosition {
    /// The newest epoch.
    pub head: u64,
    /// The epoch of the newest commit.
    pub committed: Option<u64>,
    /// The offset at which it continues.
    pub next_offset: i64,
    /// Whether its commit says that its input is over.
    pub ended: bool,
}

/// What is committed so far.
#[derive(Debug, Clone, Default)]
pub struct OutputState {
    /// The output, for messages.
    pub dir: String,
    /// The last tick evaluated; files that begin before it can't be read any more. `None` where
    /// nothing was evaluated, or never will be.
    pub evaluated_to: Option<i64>,
    /// By partition.
    pub partitions: BTreeMap<i32, ChainPosition>,
    /// Something was committed, even if nothing is remembered.
    pub filled: bool,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct InputPlan {
    /// What to read, of JSON lines.
    pub lanes: Vec<FileLane>,
    /// Partitions that were read before, of archives.
    pub partitions: BTreeSet<i32>,
    /// The record to write, if it has more than the stored one.
    pub memory: Option<InputMemory>,
    /// How far an earlier run came, for a message.
    pub resuming: Option<String>,
    /// Nothing was remembered before.
    pub fresh: bool,
}

fn shown(range: TimeRange) -> (Option<String>, Option<String>) {
    ((range.from != i64::MIN).then(|| text(range.from)), (range.to != i64::MAX).then(|| text(range.to)))
}

fn range_text((from, to): &(Option<String>, Option<String>)) -> String {
    match (from, to) {
        (None, None) => "no --from and --to".to_owned(),
        (Some(from), None) => format!("--from {from}"),
        (None, Some(to)) => format!("--to {to}"),
        (Some(from), Some(to)) => format!("--from {from} --to {to}"),
    }
}

impl InputMemory {
    /// All partitions that the inputs are read in.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<i32> {
        self.files.iter().flat_map(|f| f.lane.iter().chain(&f.partitions)).copied().collect()
    }

    /// Whether all of a partition's files were read to their end.
    fn is_done(&self, partition: i32, state: &OutputState) -> bool {
        let since = self.since.get(&partition).copied().unwrap_or(0);
        state.partitions.get(&partition).is_some_and(|s| s.ended && s.committed.is_some_and(|e| e > since))
    }

    /// Whether a file was read to its end.
    fn is_read(&self, at: usize, state: &OutputState) -> bool {
        let file = &self.files[at];
        let Some(lane) = file.lane else {
            return file.partitions.iter().all(|p| self.is_done(*p, state));
        };
        let Some(stands) = state.partitions.get(&lane).filter(|s| s.committed.is_some()) else {
            return false;
        };
        let next = || self.files[at + 1..].iter().find(|f| f.lane == Some(lane))?.start;
        self.is_done(lane, state) || file.end().or_else(next).is_some_and(|end| end <= stands.next_offset)
    }
}

/// Decides what to read of the given files, according to what is recorded and committed.
///
/// # Errors
/// When they can't continue what is there; the error names the file and what to do.
pub fn plan(
    memory: Option<InputMemory>,
    kind: InputKind,
    range: TimeRange,
    given: Vec<GivenInput>,
    state: &OutputState,
) -> Result<InputPlan, InputsError> {
    let dir = || state.dir.clone();
    let (from, to) = shown(range);
    let before = memory.clone();
    let mut memory = match memory {
        None if state.filled => return Err(InputsError::Unknown { dir: dir() }),
        None => InputMemory {
            format: FORMAT,
            kind,
            from: from.clone(),
            to: to.clone(),
            files: Vec::new(),
            since: BTreeMap::new(),
        },
        Some(m) => m,
    };
    if memory.kind != kind {
        let stored = if memory.kind == InputKind::Jsonl { "JSON lines" } else { "an archive" };
        let given = given.first().map(|g| g.surveyed.file.name.clone()).unwrap_or_default();
        return Err(InputsError::OtherKind { dir: dir(), stored, given });
    }
    let stored = (memory.from.clone(), memory.to.clone());
    if stored != (from.clone(), to.clone()) {
        let (stored, given) = (range_text(&stored), range_text(&(from, to)));
        return Err(InputsError::OtherRange { dir: dir(), stored, given });
    }
    let (mut files, new) = matched(&mut memory, given, state)?;
    let old = memory.files.len();
    let missing: Vec<usize> =
        (0..old).filter(|i| !files.contains_key(i) && !memory.is_read(*i, state)).collect();
    if let Some(first) = missing.first() {
        let more =
            if missing.len() > 1 { format!(" (and {} more)", missing.len() - 1) } else { String::new() };
        return Err(InputsError::NotNamed { dir: dir(), name: memory.files[*first].name.clone(), more });
    }
    let resuming = resuming(&memory, &new, state);
    add(&mut memory, new, range, &mut files, state)?;
    let partitions: BTreeSet<i32> = memory.files.iter().flat_map(|f| f.partitions.iter().copied()).collect();
    let count = memory.files.iter().filter_map(|f| f.lane).max().map_or(0, |last| last + 1);
    let given_streams: BTreeSet<i32> = files
        .keys()
        .filter(|i| memory.files[**i].is_stream())
        .filter_map(|i| memory.files[*i].lane)
        .collect();
    let lanes = (0..count).map(|lane| FileLane {
        partition: PartitionId(lane),
        // The content of a stream is known only when it is read.
        finished: memory.is_done(lane, state) && !given_streams.contains(&lane),
        files: memory
            .files
            .iter()
            .enumerate()
            .filter(|(_, f)| f.lane == Some(lane))
            .filter_map(|(i, f)| Some(LaneFile { file: files.get(&i)?.clone(), start: f.start }))
            .collect(),
    });
    let lanes = if kind == InputKind::Jsonl { lanes.collect() } else { Vec::new() };
    let memory = (before.as_ref() != Some(&memory)).then_some(memory);
    Ok(InputPlan { lanes, partitions, memory, resuming, fresh: before.is_none() })
}

/// Finds those of the files given that are remembered; the others are new.
fn matched(
    memory: &mut InputMemory,
    given: Vec<GivenInput>,
    state: &OutputState,
) -> Result<(BTreeMap<usize, InputFile>, Vec<GivenInput>), InputsError> {
    let mut found: BTreeMap<usize, InputFile> = BTreeMap::new();
    let mut new = Vec::new();
    let mut of_content: BTreeMap<(Option<u64>, Option<String>), Vec<usize>> = BTreeMap::new();
    let remembered = memory.files.clone();
    for (i, f) in remembered.iter().enumerate() {
        of_content.entry((f.size, f.content.clone())).or_default().push(i);
    }
    for g in given {
        let file = &g.surveyed.file;
        let stream = file.is_stream();
        let alike = of_content.get_mut(&(file.size, g.surveyed.content.clone()));
        let at = alike.and_then(|alike| {
            let same = alike.iter().position(|i| remembered[*i].canonical == file.canonical);
            same.or((!stream && !alike.is_empty()).then_some(0)).map(|at| alike.remove(at))
        });
        let Some(at) = at else {
            new.push(g);
            continue;
        };
        // Facts that were unknown before may be known now.
        let known = &mut memory.files[at];
        known.lines = known.lines.or(g.surveyed.lines);
        known.last = known.last.or(g.surveyed.last);
        found.insert(at, g.surveyed.file);
    }
    let unfound = remembered.iter().enumerate().filter(|(i, _)| !found.contains_key(i));
    let by_name: BTreeMap<&str, &RememberedInput> = unfound.map(|(_, f)| (f.canonical.as_str(), f)).collect();
    for g in &new {
        if let Some(before) = by_name.get(g.surveyed.file.canonical.as_str()) {
            let how = match (before.size, g.surveyed.file.size) {
                (Some(was), Some(is)) if is < was => format!("shorter: it had {was} bytes and has {is}"),
                (Some(was), Some(is)) if is > was => format!("longer: it had {was} bytes and has {is}"),
                _ => "as long, with other bytes".to_owned(),
            };
            return Err(InputsError::Changed {
                dir: state.dir.clone(),
                name: g.surveyed.file.name.clone(),
                how,
            });
        }
    }
    Ok((found, new))
}

/// Adds new files after those that are there.
fn add(
    memory: &mut InputMemory,
    mut new: Vec<GivenInput>,
    range: TimeRange,
    files: &mut BTreeMap<usize, InputFile>,
    state: &OutputState,
) -> Result<(), InputsError> {
    for g in &new {
        let name = || g.surveyed.file.name.clone();
        let first = g.surveyed.first.map(|f| f.max(range.from));
        if let (Some(at), Some(first)) = (state.evaluated_to, first)
            && first < at
        {
            let (first, at) = (text(first), text(at));
            return Err(InputsError::Earlier { dir: state.dir.clone(), name: name(), first, at });
        }
        let behind = g.offsets.iter().find_map(|(p, first)| {
            let at = state.partitions.get(p).filter(|s| s.committed.is_some())?.next_offset;
            (*first < at).then_some((*p, *first, at))
        });
        if let Some((partition, first, at)) = behind {
            return Err(InputsError::Behind { dir: state.dir.clone(), name: name(), partition, first, at });
        }
    }
    // Files without any time come first: their lines are refused wherever they are.
    new.sort_by(|a, b| {
        (a.surveyed.first, &a.surveyed.file.name).cmp(&(b.surveyed.first, &b.surveyed.file.name))
    });
    let placed = match memory.kind {
        InputKind::Archive => new.iter().map(|_| None).collect(),
        InputKind::Jsonl => {
            let mut ends = lane_ends(memory, state);
            let stretches: Vec<FileTimes> = new
                .iter()
                .map(|g| FileTimes {
                    first: g.surveyed.first,
                    last: g.surveyed.last,
                    stream: g.surveyed.file.is_stream(),
                })
                .collect();
            lanes::assign(&mut ends, &stretches)?.into_iter().map(|l| Some(l as i32)).collect::<Vec<_>>()
        }
    };
    // The last file of each lane, and where lanes continue that were read to their end.
    let mut last_of: BTreeMap<i32, usize> =
        memory.files.iter().enumerate().filter_map(|(i, f)| Some((f.lane?, i))).collect();
    let done = last_of.keys().filter(|lane| memory.is_done(**lane, state));
    let mut goes_on: BTreeMap<i32, i64> = done.map(|l| (*l, state.partitions[l].next_offset)).collect();
    for (g, lane) in new.into_iter().zip(placed) {
        let Surveyed { file, content, first, last, lines } = g.surveyed;
        let partitions: Vec<i32> = g.offsets.keys().copied().collect();
        for p in lane.iter().chain(&partitions) {
            memory.since.insert(*p, state.partitions.get(p).map_or(0, |s| s.head));
        }
        let start = lane.and_then(|lane| match last_of.insert(lane, memory.files.len()) {
            None => Some(0),
            Some(before) => memory.files[before].end().or(goes_on.remove(&lane)),
        });
        // What was read before does not apply to the file after this one.
        lane.into_iter().for_each(|lane| {
            goes_on.remove(&lane);
        });
        files.insert(memory.files.len(), file.clone());
        let InputFile { name, canonical, size, .. } = file;
        memory.files.push(RememberedInput {
            name,
            canonical,
            size,
            content,
            lane,
            start,
            lines,
            first,
            last,
            partitions,
        });
    }
    Ok(())
}

/// When each lane is over.
fn lane_ends(memory: &InputMemory, state: &OutputState) -> Vec<i64> {
    let mut ends = Vec::new();
    for f in &memory.files {
        let Some(lane) = f.lane.and_then(|l| usize::try_from(l).ok()) else { continue };
        ends.resize(ends.len().max(lane + 1), i64::MIN);
        let over = memory.is_done(lane as i32, state).then_some(state.evaluated_to).flatten();
        let end = match (over, f.first) {
            _ if f.is_stream() => i64::MAX,
            // Further files begin after the evaluation, which has included all of it.
            (Some(at), _) => at,
            (None, None) => i64::MIN,
            (None, Some(_)) => f.last.unwrap_or(i64::MAX),
        };
        ends[lane] = ends[lane].max(end);
    }
    ends
}

/// How far an earlier run came; `None` where there was none, or where it had read everything and
/// there is nothing new.
fn resuming(memory: &InputMemory, new: &[GivenInput], state: &OutputState) -> Option<String> {
    if !state.partitions.values().any(|s| s.committed.is_some()) {
        return None;
    }
    let all = memory.files.len();
    let unread: Vec<usize> = (0..all).filter(|i| !memory.is_read(*i, state)).collect();
    let files = |n: usize| if n == 1 { "1 file".to_owned() } else { format!("{n} files") };
    if unread.is_empty() {
        let is = if all == 1 { "is" } else { "are" };
        return (!new.is_empty()).then(|| format!("continuing: {} {is} read, {} new", files(all), new.len()));
    }
    let f = &memory.files[unread[0]];
    let line = f.lane.and_then(|lane| {
        let stands = state.partitions.get(&lane).filter(|s| s.committed.is_some())?;
        (stands.next_offset - f.start?).checked_add(1).filter(|line| *line > 1)
    });
    let place = line.map_or(String::new(), |line| format!(" line {line}"));
    let added = if new.is_empty() { String::new() } else { format!(", {} new", files(new.len())) };
    Some(format!(
        "resuming: {} of {all} files are read{added}, continuing in {}{place}",
        all - unread.len(),
        f.name
    ))
}

fn folder(job: &str) -> String {
    format!("{FOLDER}/{job}")
}

fn version_of(path: &str) -> Option<u64> {
    path.rsplit_once("version=")?.1.strip_suffix(".json")?.parse().ok()
}

/// A job's record of its inputs, and its version; 0 where there is none.
///
/// # Errors
/// When it can't be read.
pub fn recall(storage: &Storage, job: &str) -> Result<(u64, Option<InputMemory>), InputsError> {
    let versions = storage.list(&folder(job))?;
    let Some((version, path)) = versions.iter().filter_map(|p| Some((version_of(p)?, p))).max() else {
        return Ok((0, None));
    };
    let damaged = |message: String| InputsError::Damaged { path: path.clone(), message };
    let bytes = storage.get(path)?.ok_or_else(|| damaged("it is gone".to_owned()))?;
    let memory: InputMemory = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if memory.format != FORMAT {
        return Err(damaged(format!("its format is {}, and this build reads {FORMAT}", memory.format)));
    }
    Ok((version, Some(memory)))
}

/// Records what is about to be read, as the version after the one that was loaded. Two versions are
/// kept.
///
/// # Errors
/// When the output fails, or another process was faster.
pub fn remember(storage: &Storage, job: &str, after: u64, memory: &InputMemory) -> Result<(), InputsError> {
    let path = |version: u64| format!("{}/version={version:06}.json", folder(job));
    let bytes = serde_json::to_vec(memory)
        .map_err(|e| InputsError::Damaged { path: path(after + 1), message: e.to_string() })?;
    if storage.create(&path(after + 1), bytes)? == CreateOutcome::Exists {
        return Err(InputsError::Taken { dir: storage.url().to_owned() });
    }
    for old in storage.list(&folder(job))?.iter().filter(|p| version_of(p).is_some_and(|v| v < after)) {
        storage.delete(old)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
