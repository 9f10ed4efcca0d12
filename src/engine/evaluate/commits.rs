//! The evaluator's side of the store: which commits it has read, its own chain, publishing,
//! recovery.

use super::evaluator::Evaluator;
use super::history::{self, Days, day_file};
use super::types::EvaluatorState;
use crate::alert::{AlertRow, AlertState, alerts_by_date};
use crate::engine::error::EvaluatorDriverError;
use crate::engine::exclusions::exclusion_batches;
use crate::engine::ingest::commits::{CommittedPanes, PartitionCommit};
use crate::engine::job::Job;
use crate::engine::progress::{FiredAlert, Progress};
use crate::engine::sweep;
use crate::event::time::{DAY, HOUR, floor};
use crate::source::PartitionId;
use crate::steps::reached;
use crate::store::chain::{Chain, ChainError, Epoch, exists, head, read_commit};
use crate::store::panes::PaneFileError;
use crate::store::tables::{StagedFile, Stager, publish};
use crate::window::Pane;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rows of windows and hours after which a commit is due at once.
const MANY_ROWS: usize = 100_000;
/// How far beyond the watermark an evaluation goes when all partitions are quiet: a few events with
/// a clock that is years ahead must not move it to their time, because then every later event would
/// be late.
const QUIET_REACH: i64 = 2 * HOUR;
/// How far ahead of the evaluation rows are kept in memory. Rows that a partition has committed
/// beyond this, while others lag, are read again from their file when the evaluation comes near,
/// unless little data waits.
const FAR: i64 = 6 * HOUR;
/// Bytes of rows that may wait in memory however far ahead they are.
const LITTLE: usize = 64 << 20;
/// Ticks between two checks for new commits.
const TICKS: usize = 48;

/// What the evaluator has read of one partition.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PartitionRead {
    /// The newest epoch read; 0 before the first.
    pub read_to: u64,
    /// The oldest epoch that a restart must read again.
    pub keep_from: u64,
    /// Ticks after which the rows of an epoch count, where they arrived behind the evaluation.
    pub floors: BTreeMap<u64, i64>,
    /// The watermark.
    pub watermark: Option<i64>,
    /// Idle or at its end, or it was and the records since are not decided yet: not waited for.
    pub quiet: bool,
    /// Where the watermark is if the records that it had when it was last quiet are believed.
    #[serde(default)]
    pub likely: Option<i64>,
    /// Its input is over: it has passed every time.
    #[serde(default)]
    pub ended: bool,
    /// No record so far.
    pub empty: bool,
}

/// The content of one commit of the evaluator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvaluatorCommit {
    /// The evaluation's state.
    pub state: EvaluatorState,
    /// What it had read of each partition.
    pub partitions: BTreeMap<i32, PartitionRead>,
    /// Files of public tables that this commit names.
    pub files: Vec<StagedFile>,
    /// Alerts that are sent after this commit, or had not been delivered before it; a restart sends
    /// the last commit's again.
    pub alerts: Vec<AlertRow>,
}

/// A commit of a partition whose rows a restart may need again.
#[derive(Debug, Clone, Copy)]
struct RetainedEpoch {
    epoch: u64,
    /// The latest start of its rows, event time.
    last_start: i64,
    /// The event time from which all of its rows count.
    counts_from: i64,
}

/// The result of an advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// There is more to evaluate right now.
    pub more_to_do: bool,
    /// So much waits that a commit is due at once.
    pub commit_due: bool,
}

/// The evaluator and its bookkeeping.
pub struct EvaluatorDriver {
    job: Arc<Job>,
    chain: Chain,
    writer: String,
    evaluator: Evaluator,
    partitions: BTreeMap<i32, PartitionRead>,
    /// Partitions with records still to come, with the epoch at which each was claimed.
    unread: BTreeMap<i32, Epoch>,
    /// By partition, in the order of epochs.
    retained: BTreeMap<i32, VecDeque<RetainedEpoch>>,
    progress: Arc<Progress>,
    dirty: bool,
    /// Commits whose rows all count later than [`FAR`] ahead: partition and epoch, by the time from
    /// which the first row counts.
    far: BTreeMap<i64, Vec<(i32, Epoch)>>,
    /// The newest commit read of each partition; its state must stay.
    last_commit: BTreeMap<i32, u64>,
    /// The day of the last sweep.
    swept: i64,
}

impl EvaluatorDriver {
    /// Takes over the evaluator's chain, restores its last commit and reads what partitions have
    /// committed since. Returns the alerts of the last commit, which may not have been sent.
    ///
    /// `unread` are partitions with records still to come, each with the epoch at which it was
    /// claimed. They are waited for although they were at their end before that epoch: further
    /// files must continue the evaluation where the earlier files ended.
    ///
    /// # Errors
    /// When chains or files fail.
    pub fn claim(
        job: &Arc<Job>,
        all: &[PartitionId],
        unread: &[(PartitionId, Epoch)],
        writer: String,
        progress: Arc<Progress>,
    ) -> Result<(Self, Vec<AlertRow>), EvaluatorDriverError> {
        let (chain, last) = Chain::claim::<EvaluatorCommit>(&job.storage, &job.evaluator_chain(), &writer)?;
        reached("evaluator.claim.link");
        let (state, mut partitions, alerts) = match last {
            None => (EvaluatorState::default(), BTreeMap::new(), Vec::new()),
            Some(c) => {
                let failed = |e| chain.or_lost(EvaluatorDriverError::from(PaneFileError::from(e)));
                publish(&job.storage, &c.files).map_err(failed)?;
                (c.state, c.partitions, c.alerts)
            }
        };
        reached("evaluator.claim.published");
        sweep::after_evaluator_claim(job, chain.head().0);
        for p in all {
            partitions.entry(p.0).or_insert_with(PartitionRead::default);
        }
        let excluded = history::excluded(&history::exclusions(&job.storage, &job.settings.names)?);
        let days = Days::new(job.storage.clone(), job.days_folder(), job.settings.names.clone());
        let evaluator = Evaluator::new(Arc::clone(&job.settings), Box::new(days), state, excluded);
        let mut task = Self {
            job: Arc::clone(job),
            chain,
            writer,
            evaluator,
            partitions,
            unread: unread.iter().map(|(p, claimed)| (p.0, *claimed)).collect(),
            retained: BTreeMap::new(),
            far: BTreeMap::new(),
            progress,
            dirty: false,
            last_commit: BTreeMap::new(),
            swept: 0,
        };
        task.restore().map_err(|e| task.chain.or_lost(e))?;
        *task.progress.evaluator_bytes.lock() = task.evaluator.memory();
        reached("evaluator.claim.restored");
        Ok((task, alerts))
    }

    fn restore(&mut self) -> Result<(), EvaluatorDriverError> {
        if let Some(at) = self.evaluator.at() {
            let hours = history::hours_since(
                &self.job.storage,
                self.evaluator.needs_hours_from(),
                (self.evaluator.late_days(), floor(at, DAY)),
                &self.job.settings.names,
            )?;
            self.evaluator.restore_hours(hours)?;
            self.evaluator.restore_baselines()?;
        }
        for (p, read) in self.partitions.clone() {
            for epoch in read.keep_from.max(1)..=read.read_to {
                if let Some((_, rows)) = self.commit_of(p, epoch)? {
                    let after = read.floors.get(&epoch).copied();
                    self.retain_epoch(p, epoch, &rows, after);
                    self.evaluator.restore(rows, after)?;
                }
            }
        }
        self.evaluator.merge_restored()?;
        for (p, claimed) in &self.unread {
            let read = self.partitions.entry(*p).or_default();
            if read.read_to <= claimed.0 {
                (read.quiet, read.ended) = (false, false);
            }
        }
        for p in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.read_new_commits(PartitionId(p))?;
        }
        Ok(())
    }

    fn commit_of(
        &self,
        partition: i32,
        epoch: u64,
    ) -> Result<Option<(PartitionCommit, Vec<Pane>)>, EvaluatorDriverError> {
        let folder = self.job.partition_chain(partition);
        let Some(Some(commit)) = read_commit::<PartitionCommit>(&self.job.storage, &folder, Epoch(epoch))?
        else {
            return Ok(None);
        };
        let rows = match &commit.panes {
            None => Vec::new(),
            Some(path) => history::read_panes(&self.job.storage, path, &self.job.settings.names)?,
        };
        Ok(Some((commit, rows)))
    }

    /// Reads a partition's new commits.
    ///
    /// # Errors
    /// When its chain or files fail.
    pub fn catch_up(&mut self, partition: PartitionId) -> Result<(), EvaluatorDriverError> {
        self.read_new_commits(partition).map_err(|e| self.chain.or_lost(e))
    }

    fn read_new_commits(&mut self, partition: PartitionId) -> Result<(), EvaluatorDriverError> {
        let folder = self.job.partition_chain(partition.0);
        let from = self.partitions.entry(partition.0).or_default().read_to + 1;
        // Epochs are requested by name, because listing a bucket is slow and costs money.
        if from > 1 && !exists(&self.job.storage, &folder, Epoch(from))? {
            return Ok(());
        }
        let newest = head(&self.job.storage, &folder)?.map_or(0, |e| e.0);
        for epoch in from..=newest {
            match self.commit_of(partition.0, epoch)? {
                Some((commit, rows)) => {
                    self.offer_commit(CommittedPanes::of(partition, Epoch(epoch), &commit, rows))?;
                }
                None => self.partitions.entry(partition.0).or_default().read_to = epoch,
            }
        }
        Ok(())
    }

    /// Offers a commit of this process.
    ///
    /// # Errors
    /// When epochs between, that others wrote, can't be read.
    pub fn offer_own_commit(&mut self, c: CommittedPanes) -> Result<(), EvaluatorDriverError> {
        self.offer_after_gap(c).map_err(|e| self.chain.or_lost(e))
    }

    fn offer_after_gap(&mut self, c: CommittedPanes) -> Result<(), EvaluatorDriverError> {
        let read_to = self.partitions.entry(c.partition.0).or_default().read_to;
        if c.epoch.0 <= read_to {
            return Ok(());
        }
        for epoch in read_to + 1..c.epoch.0 {
            if let Some((between, rows)) = self.commit_of(c.partition.0, epoch)? {
                let epoch = Epoch(epoch);
                self.offer_commit(CommittedPanes::of(c.partition, epoch, &between, rows))?;
            }
        }
        self.offer_commit(c)
    }

    fn offer_commit(&mut self, c: CommittedPanes) -> Result<(), EvaluatorDriverError> {
        let p = c.partition.0;
        let at = self.evaluator.at().unwrap_or(i64::MIN);
        let behind = c.rows.iter().any(|r| r.close_at <= at);
        let read = self.partitions.entry(p).or_default();
        read.read_to = c.epoch.0;
        self.last_commit.insert(p, c.epoch.0);
        read.watermark = (c.watermark > i64::MIN).then_some(c.watermark);
        // An end before the claim is no longer the end.
        let goes_on = self.unread.get(&p).is_some_and(|claimed| c.epoch <= *claimed);
        // A partition that continues with unconfirmed records is not waited for until these are
        // confirmed: with sparse traffic that may take days.
        read.quiet = !goes_on && (c.quiet || (read.quiet && c.unsettled));
        read.ended = !goes_on && c.ended;
        read.likely = if c.quiet { c.likely } else { read.likely.filter(|_| read.quiet) };
        read.empty = c.empty;
        let after = behind.then_some(at + 1);
        if let Some(after) = after {
            read.floors.insert(c.epoch.0, after);
        }
        self.retain_epoch(p, c.epoch.0, &c.rows, after);
        match c.rows.iter().map(|r| r.close_at).min() {
            Some(first)
                if self.evaluator.at().is_some()
                    && first > at.saturating_add(FAR)
                    && self.evaluator.pending().memory() > LITTLE =>
            {
                self.far.entry(first).or_default().push((p, c.epoch));
            }
            _ => self.evaluator.offer(c.rows, after)?,
        }
        self.dirty = true;
        Ok(())
    }

    /// Reads back rows that count from `until` or earlier.
    fn reload_far(&mut self, until: i64) -> Result<(), EvaluatorDriverError> {
        while let Some(entry) = self.far.first_entry().filter(|e| *e.key() <= until) {
            for (p, epoch) in entry.remove() {
                tracing::debug!(
                    partition = p,
                    epoch = epoch.0,
                    "reading a commit back that was far ahead of the evaluation"
                );
                let Some((_, rows)) = self.commit_of(p, epoch.0)? else {
                    return Err(EvaluatorDriverError::Gone { partition: PartitionId(p), epoch });
                };
                self.evaluator.offer(rows, None)?;
            }
        }
        Ok(())
    }

    fn retain_epoch(&mut self, partition: i32, epoch: u64, rows: &[Pane], after: Option<i64>) {
        if rows.is_empty() {
            return;
        }
        let last_start = rows.iter().map(|r| r.start).max().unwrap_or(i64::MIN);
        let counts_from =
            rows.iter().map(|r| r.close_at).max().unwrap_or(i64::MIN).max(after.unwrap_or(i64::MIN));
        let retained = RetainedEpoch { epoch, last_start, counts_from };
        self.retained.entry(partition).or_default().push_back(retained);
    }

    /// Evaluates some ticks, as far as the partitions allow.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn advance(&mut self) -> Result<Advance, EvaluatorDriverError> {
        self.evaluate().map_err(|e| self.chain.or_lost(e))
    }

    fn evaluate(&mut self) -> Result<Advance, EvaluatorDriverError> {
        reached("evaluator.advance");
        let all_quiet = self.partitions.values().all(|p| p.quiet);
        self.reload_far(match self.evaluator.at() {
            Some(at) if !all_quiet => at + (TICKS as i64 + 1) * self.evaluator.tick_length(),
            _ => i64::MAX,
        })?;
        if self.evaluator.pending().is_empty() {
            // With no row in memory, the next one decides whether there is a gap.
            self.reload_far(self.far.first_key_value().map_or(i64::MIN, |f| *f.0))?;
        }
        let waited: Vec<&PartitionRead> = self.partitions.values().filter(|p| !p.quiet).collect();
        let mark = if waited.is_empty() {
            self.quiet_mark()
        } else {
            waited.iter().map(|p| p.watermark.unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN)
        };
        let passed = self.partitions.values().filter(|p| !(p.ended || p.quiet && p.empty));
        let all_over = if self.partitions.values().any(|p| p.ended) { i64::MAX } else { i64::MIN };
        let complete = passed.map(|p| p.watermark.unwrap_or(i64::MIN)).min().unwrap_or(all_over);
        let before = self.evaluator.at();
        self.note_begin();
        // Never beyond rows that were not read.
        let next_far = self.far.first_key_value().map_or(i64::MAX, |f| *f.0);
        let done = self.evaluator.advance(mark.min(next_far.saturating_sub(1)), complete, TICKS)?;
        self.dirty |= self.evaluator.at() != before;
        if let Some(at) = self.evaluator.at() {
            self.progress.evaluated_to.store(at, Ordering::Relaxed);
            self.progress.folded.store(self.evaluator.folded(), Ordering::Relaxed);
            self.progress.folded_values.store(self.evaluator.folded_values(), Ordering::Relaxed);
        }
        Ok(Advance {
            more_to_do: !done || next_far <= mark,
            commit_due: self.evaluator.rows_to_commit() >= MANY_ROWS,
        })
    }

    /// Notes from where this run evaluates, for progress.
    fn note_begin(&self) {
        let from = &self.progress.evaluated_from;
        let Some(begins) = self.evaluator.begins() else { return };
        if from.load(Ordering::Relaxed) == 0 || self.progress.evaluated_to.load(Ordering::Relaxed) == 0 {
            from.store(begins, Ordering::Relaxed);
            self.progress.goes_on.store(self.evaluator.at().is_some(), Ordering::Relaxed);
        }
    }

    /// Whether another process has taken over the chain.
    ///
    /// # Errors
    /// When the chain can't be read.
    pub fn is_fenced(&self) -> Result<bool, EvaluatorDriverError> {
        match self.chain.check() {
            Ok(()) => Ok(false),
            Err(ChainError::Lost { .. }) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// The tick to evaluate to when no partition is waited for: the last that any row counts from,
    /// within reach of the watermark.
    fn quiet_mark(&self) -> i64 {
        let reached = self
            .partitions
            .values()
            .filter_map(|p| p.watermark.max(p.likely))
            .max()
            .or_else(|| self.evaluator.pending().middle());
        let Some(reached) = reached else { return i64::MIN };
        self.evaluator.pending().last(reached.saturating_add(QUIET_REACH)).unwrap_or(i64::MIN)
    }

    /// Commits what was evaluated, publishes it, and returns the alerts that may be sent now.
    /// `waiting` are alerts of earlier commits that are not known to be delivered.
    ///
    /// # Errors
    /// When the storage fails permanently or another process evaluates now.
    pub fn commit(&mut self, waiting: Vec<AlertRow>) -> Result<Vec<AlertRow>, EvaluatorDriverError> {
        if !self.dirty {
            return Ok(Vec::new());
        }
        let outputs = self.evaluator.drain_outputs();
        let windows = outputs.windows.iter().map(|w| w.1.num_rows() as u64).sum();
        let job = Arc::clone(&self.job);
        let names = &job.settings.names;
        let stem = format!("{:012}-{}", self.chain.next().0, self.writer);
        let mut stager = Stager::new(&job.storage, stem.clone());
        stager.table("windows", &outputs.windows)?;
        stager.table("panes", &outputs.hours)?;
        stager.table("alerts", &alerts_by_date(&outputs.alerts)?)?;
        stager.table("exclusions", &exclusion_batches(&outputs.exclusions, names)?)?;
        if let (Some(first), Some(last)) = (outputs.days.first(), outputs.days.last()) {
            // Staged like a public table: earlier days are found by listing their folder, so that
            // may contain committed ones only.
            let days: Vec<_> = outputs.days.iter().map(|d| &d.rows).collect();
            stager.file(day_file(&job.days_folder(), first.close_at, last.close_at, &stem), &days)?;
        }
        let files = stager.files;
        self.forget();
        let commit = EvaluatorCommit {
            state: self.evaluator.state(),
            partitions: self.partitions.clone(),
            files: files.clone(),
            alerts: waiting.into_iter().chain(outputs.alerts.iter().cloned()).collect(),
        };
        reached("evaluator.commit.staged");
        self.chain.commit(commit)?;
        reached("evaluator.commit.manifest");
        publish(&job.storage, &files).map_err(PaneFileError::from)?;
        reached("evaluator.commit.published");
        self.dirty = false;
        self.sweep();
        Progress::add(&self.progress.windows, windows);
        Progress::add(&self.progress.alert_rows, outputs.alerts.len() as u64);
        let firing = outputs.alerts.iter().filter(|a| a.state == AlertState::Firing);
        Progress::add(&self.progress.alerts_fired, firing.clone().count() as u64);
        let mut standing = self.progress.standing.lock();
        standing.counts.add(&outputs.verdicts);
        standing.nearest = self.evaluator.verdict_counts().nearest();
        standing.waiting = self.evaluator.verdict_counts().waiting();
        if let Some(a) = firing.max_by_key(|a| a.at) {
            let (rule, segment) = (Arc::from(&*a.rule), Arc::from(&*a.segment));
            standing.fired = Some(FiredAlert { rule, segment, at: a.at });
        }
        drop(standing);
        *self.progress.evaluator_bytes.lock() = self.evaluator.memory();
        reached("evaluator.commit.done");
        Ok(outputs.alerts)
    }

    /// Once a day of event time, deletes files that no restart and no baseline needs.
    fn sweep(&mut self) {
        let Some(at) = self.evaluator.at() else { return };
        let day = at.div_euclid(DAY);
        if day <= self.swept {
            return;
        }
        self.swept = day;
        let keep =
            |(p, read): (&i32, &PartitionRead)| Some((*p, read.keep_from.min(*self.last_commit.get(p)?)));
        let partitions: Vec<(i32, u64)> = self.partitions.iter().filter_map(keep).collect();
        sweep::outlived(&self.job, at, &partitions, self.chain.head().0);
    }

    /// Forgets epochs whose rows no restart needs.
    fn forget(&mut self) {
        let Some(at) = self.evaluator.at() else { return };
        let (chunks, hour) = (at - self.evaluator.fine_length(), floor(at, HOUR));
        for (p, retained) in &mut self.retained {
            // Needed while one of their chunks is within a window, while any row waits, and until
            // the hour that includes them is written.
            let outlived = |r: &mut RetainedEpoch| r.last_start < chunks && r.counts_from <= hour;
            while retained.pop_front_if(outlived).is_some() {}
            let read = self.partitions.entry(*p).or_default();
            read.keep_from = retained.front().map_or(read.read_to + 1, |r| r.epoch);
            let keep_from = read.keep_from;
            read.floors.retain(|epoch, _| *epoch >= keep_from);
        }
    }
}

#[cfg(test)]
#[path = "commits_tests.rs"]
mod tests;
