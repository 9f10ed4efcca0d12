//! `driftglass archive`: a topic or JSON lines to a redacted Parquet archive of events.

use super::common::{runtime, say, stop_signal, tell_output};
use super::inputs::{Looked, nothing_taken};
use super::live::Shown;
use super::show::refused_fields;
use super::{CliError, ConfigFile, Global};
use crate::config::units::Span;
use crate::engine::inputs::InputKind;
use crate::engine::{Job, JobKind, LastRead, Progress};
use crate::enrich::hash::short_hash;
use crate::enrich::{Enricher, Plan};
use crate::event::archive::Place;
use crate::event::{Reject, RejectReason, decode_within};
use crate::source::{
    Chunk, Claimed, JsonlSource, KafkaOptions, KafkaSource, Offset, Owning, PartitionId, Payload, Polled,
    PositionError, Positions, Source, SourceError, TimeRange,
};
use crate::store::archive_writer::{
    ArchiveCommit, ArchivePartition, ArchiveTarget, ArchiveWriteError, REJECTS, Wrote,
};
use crate::store::chain::ChainError;
use crate::store::{Patience, Storage};
use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use indicatif::{HumanBytes, HumanCount};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Name of the archive's chains, and its folder in the output.
const NAME: &str = "archive";
/// Chunks that wait for one worker.
const QUEUE: usize = 16;
/// Messages after which the share of bad ones is counted anew, and those before it says anything.
const RECENT: (u64, u64) = (10_000, 1_000);

/// Arguments.
#[derive(Debug, Args)]
pub struct Archive {
    #[command(flatten)]
    config: ConfigFile,
    /// JSONL files, folders or globs (plain, .gz, .zst), local or URLs; without any, the topic of the configuration, read as the
    /// consumer group of the configuration with "-archive" behind it
    #[arg(value_name = "INPUT")]
    inputs: Vec<String>,
    /// Stop once everything that the topic holds now is archived
    #[arg(long)]
    until_caught_up: bool,
    /// Rows after which a file is full (it also ends with its day)
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_file: u64,
    /// Time after which a file is written though it is not full
    #[arg(long, value_name = "TIME", default_value_t = Span::minutes(10), value_parser = some_time)]
    every: Span,
}

fn some_time(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0 > 0 { Ok(span) } else { Err("must be above 0, for example 10m".to_owned()) }
}

/// Why archiving stopped.
#[derive(Debug, Error)]
enum ArchiveError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Write(#[from] ArchiveWriteError),
    #[error(
        "partition {partition}: {bad} of the last {of} messages are bad ({reasons}), more than input.max_bad_share = {share} \
         allows; fix the producer, check input.kafka.topic, or raise the share"
    )]
    MostlyBad { partition: PartitionId, bad: u64, of: u64, reasons: String, share: f64 },
    #[error(
        "partition {partition}: its offsets begin again at {to} (they had come to {from}): the topic was created again; archive it into \
         another --output"
    )]
    MadeAnew { partition: PartitionId, from: i64, to: i64 },
    #[error("an archive can't be archived again; give JSON lines, or no INPUT for the topic")]
    ArchiveInput,
    #[error("a worker thread stopped unexpectedly; its panic message stands above")]
    Thread,
}

impl Archive {
    /// Archives until the input ends or it is told to stop.
    ///
    /// # Errors
    /// When configuration, input or output fail.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let mut config = self.config.read()?;
        let runtime = runtime()?;
        let looked = match self.inputs.as_slice() {
            [] => None,
            some => match Looked::at(some, true, runtime.handle()).map_err(CliError::failed)? {
                Looked { kind: InputKind::Archive, .. } => {
                    return Err(CliError::usage(ArchiveError::ArchiveInput));
                }
                looked => Some(looked),
            },
        };
        let kafka = config.input.kafka.clone();
        let (topic, names) = match (&looked, &kafka) {
            // Which ones is remembered elsewhere.
            (Some(_), _) => (String::new(), vec!["files".to_owned()]),
            (None, Some(k)) => (k.topic.clone(), vec![format!("topic {}", k.topic)]),
            (None, None) => {
                return Err(CliError::usage(
                    "nothing to archive: name JSONL files, or a topic in the configuration, for example input.kafka = { brokers = \"localhost:9092\", topic = \"generation-events\" }",
                ));
            }
        };
        // The archive is an output of its own within the job's, so that both may run from one configuration.
        let root = format!("{}/{NAME}", config.output.dir.trim_end_matches('/'));
        let storage = Storage::open(&root, runtime.handle().clone()).map_err(CliError::failed)?;
        let storage = storage.with(Patience::Briefly);
        config.engine.job = Some(NAME.to_owned());
        // An archive judges nothing, and the pins that rules may name are in the job's output.
        config.rules.clear();
        let idle = config.windows.idle.duration();
        let properties = config.kafka.properties.clone();
        let max_message = usize::try_from(config.input.max_message.0).unwrap_or(usize::MAX);
        let max_bad_share = config.input.max_bad_share;
        let job = Job::open(config, JobKind::Run, storage.clone(), false)?;
        let times = looked.as_ref().and_then(Looked::times);
        let admit = |looked: Looked| looked.admit::<ArchiveCommit>(&job, TimeRange::ALL, false);
        let plan = looked.map(admit).transpose().map_err(|e| CliError::usage(e.without_overwrite()))?;
        let target = ArchiveTarget {
            storage: storage.clone(),
            chains: format!("_chain/{NAME}"),
            topic: topic.into(),
            inputs: names,
            key_id: job.plan.hasher.key_id(),
            rows_per_file: self.rows_per_file,
        };
        tell_output(&storage, false, global);
        let claims = Arc::new(Claims {
            target: Arc::new(target),
            claimed: Claimed::default(),
            logs: Mutex::default(),
        });
        let positions: Arc<dyn Positions> = Arc::clone(&claims) as Arc<dyn Positions>;
        let stop = stop_signal(&runtime);
        let mut source: Box<dyn Source> = match (plan, kafka) {
            (Some(plan), _) => {
                Box::new(JsonlSource::over(plan.lanes, max_message, positions, runtime.handle().clone()))
            }
            (None, Some(k)) => {
                let group = format!("{}-{NAME}", k.group);
                let options = KafkaOptions {
                    properties,
                    idle,
                    until_caught_up: self.until_caught_up,
                    max_message,
                    ..KafkaOptions::new(&k.brokers, &k.topic, &group)
                };
                Box::new(KafkaSource::connect(options, positions).map_err(CliError::failed)?)
            }
            (None, None) => return Err(CliError::usage("nothing to archive")),
        };
        let progress = Arc::new(Progress::default());
        let began = Instant::now();
        let limits = Limits { max_message, max_bad_share, every: self.every.duration() };
        let shown = Shown::start(Arc::clone(&progress), global);
        let wrote = archive(source.as_mut(), &claims, &job.plan, limits, &progress, &stop)
            .map_err(CliError::failed)?;
        drop(shown);
        tell(&progress, wrote, began.elapsed().as_secs_f64(), storage.url(), global)?;
        nothing_taken(&progress.counts(), &progress.reasons.lock().clone(), TimeRange::ALL, times, false)
    }
}

/// What a message and a file may be.
#[derive(Debug, Clone, Copy)]
struct Limits {
    max_message: usize,
    max_bad_share: f64,
    every: Duration,
}

/// Claims partitions' archives as they are assigned.
struct Claims {
    target: Arc<ArchiveTarget>,
    claimed: Claimed<ArchivePartition>,
    /// What was read last, by each position that was asked for.
    logs: Mutex<BTreeMap<PartitionId, LastRead>>,
}

impl Positions for Claims {
    fn position(&self, partition: PartitionId) -> Result<Option<Offset>, PositionError> {
        let writer = format!("{:016x}", rand::random::<u64>());
        let owned = ArchivePartition::claim(&self.target, partition, writer)
            .map_err(|e| PositionError::Never(Box::new(e)))?;
        let position = owned.position();
        self.logs.lock().insert(partition, (owned.log(), owned.fingerprint()));
        self.claimed.claim(owned);
        Ok(position)
    }

    fn log(&self, partition: PartitionId) -> Option<Arc<str>> {
        self.logs.lock().get(&partition)?.0.clone()
    }

    fn is_last_read(&self, partition: PartitionId, look: &mut dyn FnMut() -> Option<Vec<u8>>) -> bool {
        let last = self.logs.lock().get(&partition).map_or(0, |l| l.1);
        last == 0 || look().is_none_or(|value| last == short_hash(&value))
    }

    fn let_go(&self, partition: PartitionId) {
        self.claimed.let_go(partition);
    }
}

/// What a worker is told.
enum Work {
    Assign(Box<ArchivePartition>),
    Chunk(Chunk),
    Ended(PartitionId),
    Log(PartitionId, Option<Arc<str>>),
    Drop(PartitionId),
}

/// Polls on this thread and archives on workers, each of which has some of the partitions.
fn archive(
    source: &mut dyn Source,
    claims: &Claims,
    plan: &Arc<Plan>,
    limits: Limits,
    progress: &Arc<Progress>,
    stop: &AtomicBool,
) -> Result<Wrote, ArchiveError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(source.partitions().len().max(1));
    let failed = AtomicBool::new(false);
    let (hint_to, hints) = unbounded::<(PartitionId, Offset)>();
    let (recycle_to, recycled) = bounded::<Vec<u8>>(64);
    std::thread::scope(|scope| {
        let mut queues = Vec::new();
        let mut handles = Vec::new();
        for _ in 0..workers {
            let (to, from) = bounded::<Work>(QUEUE);
            queues.push(to);
            let worker = Worker {
                owned: BTreeMap::new(),
                enricher: Enricher::new(Arc::clone(plan)),
                limits,
                topic: Arc::clone(&claims.target.topic),
                progress: Arc::clone(progress),
                hints: hint_to.clone(),
                recycle: recycle_to.clone(),
                wrote: Wrote::default(),
            };
            let failed = &failed;
            handles.push(scope.spawn(move || {
                let done = worker.work(&from);
                failed.fetch_or(done.is_err(), Ordering::Relaxed);
                done
            }));
        }
        let halt = || stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed);
        let feed = Feed { claims, queues: &queues, hints: &hints, recycled: &recycled, progress };
        let mut result = feed.poll_all(source, &halt).map(|()| Wrote::default());
        drop(queues);
        for h in handles {
            let done = h.join().map_err(|_| ArchiveError::Thread)?;
            result = match (result, done) {
                (Ok(mut all), Ok(some)) => {
                    all += some;
                    Ok(all)
                }
                (_, Err(e)) | (Err(e), _) => Err(e),
            };
        }
        result
    })
}

/// The polling side.
struct Feed<'a> {
    claims: &'a Claims,
    queues: &'a [Sender<Work>],
    hints: &'a Receiver<(PartitionId, Offset)>,
    recycled: &'a Receiver<Vec<u8>>,
    progress: &'a Progress,
}

impl Feed<'_> {
    /// A full queue holds polling back; a worker never takes so long that a consumer group would give this member up.
    fn poll_all(&self, source: &mut dyn Source, halt: &dyn Fn() -> bool) -> Result<(), ArchiveError> {
        let send = |p: PartitionId, work: Work| {
            // A worker that is gone has an error, which is found when it is joined.
            let _ = self.queues[p.0.unsigned_abs() as usize % self.queues.len()].send(work);
        };
        let mut shown = Instant::now();
        while !halt() {
            while let Ok(buffer) = self.recycled.try_recv() {
                source.recycle(buffer);
            }
            while let Ok((p, next)) = self.hints.try_recv() {
                source.commit_hint(p, next);
            }
            if shown.elapsed() > Duration::from_millis(200) {
                shown = Instant::now();
                self.progress.lag.store(source.lag().unwrap_or(0), Ordering::Relaxed);
                *self.progress.input.lock() = source.total_bytes().map(|t| (source.read_bytes(), t));
            }
            let polled = source.poll(Duration::from_millis(100))?;
            for owning in self.claims.claimed.take() {
                match owning {
                    Owning::Claimed(owned) => send(owned.id(), Work::Assign(Box::new(owned))),
                    Owning::LetGo(p) => send(p, Work::Drop(p)),
                }
            }
            match polled {
                Polled::Chunk(c) => send(c.partition, Work::Chunk(c)),
                Polled::Ended(p) => send(p, Work::Ended(p)),
                Polled::Gap { partition, from, to } if to < from => {
                    return Err(ArchiveError::MadeAnew { partition, from: from.0, to: to.0 });
                }
                Polled::Gap { partition, from, to } => {
                    Progress::add(&self.progress.gaps, to.0.saturating_sub(from.0).unsigned_abs());
                    tracing::warn!(%partition, from = from.0, to = to.0, "records are gone before they were archived: counted as a gap");
                }
                Polled::Log { partition, id, .. } => send(partition, Work::Log(partition, id)),
                Polled::Revoked(_) | Polled::Idle(_) | Polled::Nothing => {}
                Polled::Finished => return Ok(()),
            }
        }
        Ok(())
    }
}

/// A partition's archive and the messages that were bad lately.
struct Owned {
    archive: Box<ArchivePartition>,
    bad: u64,
    of: u64,
    reasons: BTreeMap<&'static str, u64>,
    newest: i64,
}

/// The archiving side: some of the partitions.
struct Worker {
    owned: BTreeMap<PartitionId, Owned>,
    enricher: Enricher,
    limits: Limits,
    topic: Arc<str>,
    progress: Arc<Progress>,
    hints: Sender<(PartitionId, Offset)>,
    recycle: Sender<Vec<u8>>,
    wrote: Wrote,
}

impl Worker {
    fn work(mut self, from: &Receiver<Work>) -> Result<Wrote, ArchiveError> {
        loop {
            match from.recv_timeout(Duration::from_millis(200)) {
                Ok(Work::Assign(archive)) => {
                    let owned = Owned { archive, bad: 0, of: 0, reasons: BTreeMap::new(), newest: 0 };
                    self.owned.insert(owned.archive.id(), owned);
                }
                Ok(Work::Drop(p)) => {
                    self.owned.remove(&p);
                }
                Ok(Work::Ended(p)) => {
                    self.owned.get_mut(&p).into_iter().for_each(|o| o.archive.end());
                    self.commit(p)?;
                }
                Ok(Work::Log(p, id)) => {
                    if let Some(owned) = self.owned.get_mut(&p) {
                        owned.archive.follow(id);
                    }
                }
                Ok(Work::Chunk(chunk)) => self.chunk(chunk)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let late = |o: &Owned| o.archive.since().is_some_and(|t| t.elapsed() >= self.limits.every);
            let due: Vec<PartitionId> =
                self.owned.iter().filter(|(_, o)| o.archive.is_full() || late(o)).map(|(p, _)| *p).collect();
            due.into_iter().try_for_each(|p| self.commit(p))?;
        }
        let all: Vec<PartitionId> = self.owned.keys().copied().collect();
        all.into_iter().try_for_each(|p| self.commit(p))?;
        Ok(self.wrote)
    }

    fn commit(&mut self, p: PartitionId) -> Result<(), ArchiveError> {
        let Some(owned) = self.owned.get_mut(&p) else { return Ok(()) };
        let done = owned.archive.commit();
        self.took(p, done)
    }

    /// Counts what was written; a partition that another process has taken over is dropped.
    fn took(&mut self, p: PartitionId, done: Result<Wrote, ArchiveWriteError>) -> Result<(), ArchiveError> {
        match done {
            Ok(wrote) => {
                self.wrote += wrote;
                if let Some(o) = self.owned.get(&p).filter(|_| wrote.files > 0) {
                    let _ = self.hints.send((p, o.archive.committed()));
                }
                Ok(())
            }
            Err(ArchiveWriteError::Chain(ChainError::Lost { chain, epoch })) => {
                tracing::warn!(partition = %p, %chain, %epoch, "another process archives this partition now; dropping it here");
                self.owned.remove(&p);
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), ArchiveError> {
        let (p, bytes) = (chunk.partition, chunk.bytes);
        let Payload::Messages { buffer, spans } = chunk.payload else {
            return Err(ArchiveError::ArchiveInput);
        };
        Progress::add(&self.progress.messages, spans.len() as u64);
        Progress::add(&self.progress.bytes, bytes as u64);
        let mut mistyped = Vec::new();
        let mut events = 0;
        for s in &spans {
            let Some(owned) = self.owned.get_mut(&p) else { break };
            if s.tombstone {
                Progress::add(&self.progress.tombstones, 1);
                owned.archive.pass(s.offset);
                continue;
            }
            let message = &buffer[s.start as usize..s.end as usize];
            owned.archive.read(message);
            mistyped.clear();
            let decoded = decode_within(message, self.limits.max_message, &mut mistyped);
            let time = s.record_time_us.unwrap_or(owned.newest);
            owned.of += 1;
            let done = match decoded {
                Err(reject) => {
                    owned.bad += 1;
                    *owned.reasons.entry(reject.reason.name()).or_default() += 1;
                    Progress::add(&self.progress.rejected, 1);
                    *self.progress.reasons.lock().entry(reject.reason.name()).or_default() += 1;
                    owned.archive.reject(time, s.offset, reject);
                    Ok(Wrote::default())
                }
                Ok(event) => {
                    events += 1;
                    owned.newest = owned.newest.max(event.time_us);
                    let clean = self.enricher.clean(&event);
                    let left_out = |f: &&'static str| Reject::field(RejectReason::MistypedField, f);
                    let names = clean.refused.paths();
                    let names = names.map(|f| Reject::field(RejectReason::RefusedName, f));
                    self.progress.count_fields(mistyped.iter().map(left_out).chain(names));
                    let place = Place {
                        topic: &self.topic,
                        partition: p.0,
                        offset: s.offset,
                        record_time_us: s.record_time_us,
                    };
                    owned.archive.push(&event, &clean, place, &mistyped)
                }
            };
            self.took(p, done)?;
        }
        Progress::add(&self.progress.events, events);
        let _ = self.recycle.try_send(buffer);
        self.mostly_bad(p)
    }

    fn mostly_bad(&mut self, partition: PartitionId) -> Result<(), ArchiveError> {
        let share = self.limits.max_bad_share;
        let Some(o) = self.owned.get_mut(&partition) else { return Ok(()) };
        let (bad, of) = (o.bad, o.of);
        if of >= RECENT.1 && bad as f64 > share * of as f64 {
            let reasons: Vec<&str> = o.reasons.keys().copied().collect();
            return Err(ArchiveError::MostlyBad { partition, bad, of, reasons: reasons.join(", "), share });
        }
        if of >= RECENT.0 {
            (o.bad, o.of) = (0, 0);
            o.reasons.clear();
        }
        Ok(())
    }
}

/// Prints what was archived.
fn tell(progress: &Progress, wrote: Wrote, seconds: f64, url: &str, global: &Global) -> Result<(), CliError> {
    let c = progress.counts();
    let reasons = progress.reasons.lock().clone();
    if global.json {
        say(serde_json::json!({
            "archive": url, "seconds": seconds, "messages": c.messages, "events": wrote.rows, "files": wrote.files,
            "bytes": wrote.bytes, "rejected": c.rejected, "reasons": reasons, "mistyped_fields": c.mistyped_fields,
            "fields": c.fields, "gaps": c.gaps, "tombstones": c.tombstones,
        }))?;
        return Ok(());
    }
    if c.messages == 0 {
        say(format_args!("nothing new to archive: {url} goes on where it ended"))?;
        return Ok(());
    }
    let mut text = format!(
        "{} events in {} files, {} (was {}), in {seconds:.1} s ({}/s): {url}",
        HumanCount(wrote.rows),
        HumanCount(wrote.files),
        HumanBytes(wrote.bytes),
        HumanBytes(c.bytes),
        HumanCount((wrote.rows as f64 / seconds.max(1e-9)) as u64),
    );
    if c.rejected > 0 {
        let reasons: Vec<String> = reasons.iter().map(|(r, n)| format!("{r} {n}")).collect();
        text += &format!(
            "; {} messages rejected ({}), listed in {REJECTS}",
            HumanCount(c.rejected),
            reasons.join(", ")
        );
    }
    for (reason, fields) in &c.fields {
        let left_out = if *reason == RejectReason::RefusedName.name() { "" } else { " left out" };
        text += &format!("; {}{left_out}", refused_fields(reason, fields));
    }
    for (n, what) in [(c.tombstones, "tombstones"), (c.gaps, "offsets lost")] {
        if n > 0 {
            text += &format!("; {} {what}", HumanCount(n));
        }
    }
    say(text)?;
    Ok(())
}
