//! The polling side of a running job: asks the source, passes on what it gives, holds it back where workers can't follow.

use super::decoding::{Outcome, Task};
use super::partition_writer::Owned;
use crate::engine::error::EngineError;
use crate::engine::evaluate::thread::Holding;
use crate::engine::progress::Progress;
use crate::engine::run::Finish;
use crate::source::{Again, CHUNK_BYTES, Chunk, Claimed, Offset, Owning, PartitionId, Polled, Source};
use crate::store::chain::Epoch;
use crate::window::Reach;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time before a partition that was lost to another process, and that the group still assigns to this one, is claimed again: where both
/// believe to own it, one of them learns better within a few heartbeats.
const RECLAIM: Duration = Duration::from_secs(2);

/// Pieces of work that may wait for a worker's full queue before no more is asked for.
const MANY_WAITING: usize = 4;

/// Time that full queues keep the source from being asked before their partitions are paused. A client that pauses a partition throws
/// away what it has fetched of it ahead, so that a worker which only writes its commit would cost a fetch; on the other hand it learns
/// of a rebalance only when it is asked.
const HOLD: Duration = Duration::from_secs(1);

/// Chunks of [`CHUNK_BYTES`] that wait for one worker, of those that `engine.queue` has room for.
pub fn queue_length(queue: u64, workers: usize) -> usize {
    let chunks = queue / CHUNK_BYTES as u64 / workers.max(1) as u64;
    usize::try_from(chunks).unwrap_or(usize::MAX).clamp(2, 1024)
}

/// What the polling thread has to pass on.
enum Work {
    Assign(Box<Owned>),
    Chunk(Chunk),
    Quiet(PartitionId, Reach),
    End(PartitionId),
    Log(PartitionId, Option<Arc<str>>, Option<Offset>),
    Drop(PartitionId),
}

/// What a worker is told.
pub enum Order {
    Assign(Box<Owned>),
    /// A chunk that is being decoded.
    Chunk(Receiver<Outcome>),
    /// Nothing more is expected of it for now.
    Quiet(PartitionId, Reach),
    /// Its input is over.
    End(PartitionId),
    /// What comes next is in this log, which begins there if it is another one.
    Log(PartitionId, Option<Arc<str>>, Option<Offset>),
    Drop(PartitionId),
}

/// The polling side.
pub struct Feed<'a> {
    pub claimed: &'a Claimed<Owned>,
    pub queues: Queues<'a>,
    pub assigned: &'a Sender<Holding>,
    /// Partitions whose chain another process has taken.
    pub lost: &'a Receiver<PartitionId>,
    /// All partitions that exist; a topic may be given more.
    pub partitions: &'a Mutex<Vec<PartitionId>>,
    /// Those of which records are still to come, where the source knows.
    pub unread: &'a Mutex<Vec<(PartitionId, Epoch)>>,
    pub hints: &'a Receiver<(PartitionId, Offset)>,
    pub recycled: &'a Receiver<Vec<u8>>,
    pub progress: &'a Progress,
}

impl Feed<'_> {
    /// Polls until the input ends or it is asked to stop.
    ///
    /// # Errors
    /// When the source fails, or another process took a partition for good.
    pub fn poll_all(
        &self,
        source: &mut dyn Source,
        stop: &AtomicBool,
        failed: &AtomicBool,
    ) -> Result<Finish, EngineError> {
        // Work that a full queue did not take, in order, and since when so much of a worker's waits that no more is asked for.
        let mut waiting: VecDeque<(PartitionId, Work)> = VecDeque::new();
        let mut held: Vec<Option<Instant>> = vec![None; self.queues.workers.len()];
        let mut paused: BTreeSet<PartitionId> = BTreeSet::new();
        let mut again: VecDeque<(Instant, PartitionId)> = VecDeque::new();
        let mut shown = Instant::now();
        loop {
            if failed.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed) {
                return Ok(Finish::Stopped);
            }
            waiting = self.queues.offer_all(waiting);
            for p in paused.clone() {
                if !waiting.iter().any(|w| w.0 == p) {
                    source.resume(p)?;
                    paused.remove(&p);
                }
            }
            while let Ok(buffer) = self.recycled.try_recv() {
                source.recycle(buffer);
            }
            while let Ok((p, next)) = self.hints.try_recv() {
                source.commit_hint(p, next);
            }
            again.extend(self.lost.try_iter().map(|p| (Instant::now() + RECLAIM, p)));
            while let Some((_, p)) = again.pop_front_if(|(due, _)| *due <= Instant::now()) {
                match source.again(p)? {
                    Again::Reading => {
                        tracing::info!(partition = %p, "the group still assigns it here: claiming it again")
                    }
                    Again::NotMine => {}
                    Again::Never => return Err(EngineError::Taken(p)),
                }
            }
            if shown.elapsed() > Duration::from_millis(200) {
                shown = Instant::now();
                self.progress.input_troubles.store(source.troubles(), Ordering::Relaxed);
                *self.partitions.lock() = source.partitions();
                self.progress.lag.store(source.lag().unwrap_or(0), Ordering::Relaxed);
                *self.progress.input.lock() = source.total_bytes().map(|t| (source.read_bytes(), t));
            }
            let crowds = self.queues.crowds(&waiting);
            for (since, crowd) in held.iter_mut().zip(crowds) {
                *since = (crowd > MANY_WAITING).then(|| since.unwrap_or_else(Instant::now));
            }
            if held.iter().flatten().any(|since| since.elapsed() < HOLD) {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            // Their workers stand still; polling goes on, so that the group keeps this member.
            for (p, _) in waiting.iter().filter(|(p, _)| held[self.queues.worker(*p)].is_some()) {
                if paused.insert(*p) {
                    source.pause(*p)?;
                }
            }
            let timeout =
                if waiting.is_empty() { Duration::from_millis(100) } else { Duration::from_millis(2) };
            let polled = source.poll(timeout)?;
            let claimed = self.claimed.take();
            if !claimed.is_empty() {
                let unread = source.unread();
                let owned = claimed.iter().filter_map(|owning| match owning {
                    Owning::Claimed(owned) => Some(owned),
                    Owning::LetGo(_) => None,
                });
                let of = owned.filter(|o| unread.contains(&o.id())).map(|o| (o.id(), o.head()));
                self.unread.lock().extend(of);
            }
            for owning in claimed {
                let (id, work) = match owning {
                    Owning::Claimed(owned) => {
                        let _ = self.assigned.send(Holding::Mine(owned.id()));
                        (owned.id(), Work::Assign(Box::new(owned)))
                    }
                    Owning::LetGo(p) => {
                        let _ = self.assigned.send(Holding::NotMine(p));
                        (p, Work::Drop(p))
                    }
                };
                // It begins anew, unpaused.
                paused.remove(&id);
                waiting.push_back((id, work));
            }
            match polled {
                Polled::Nothing => {
                    if !waiting.is_empty() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                Polled::Chunk(c) => {
                    Progress::add(&self.progress.polled, c.bytes as u64);
                    waiting.push_back((c.partition, Work::Chunk(c)));
                }
                Polled::Ended(p) if !source.goes_on() => waiting.push_back((p, Work::End(p))),
                Polled::Idle(p) | Polled::Ended(p) => {
                    waiting.push_back((p, Work::Quiet(p, Reach::Idle)));
                }
                // Said in order by the claims.
                Polled::Revoked(_) => {}
                Polled::Gap { partition, from, to } => {
                    let lost = to.0.saturating_sub(from.0).unsigned_abs();
                    Progress::add(&self.progress.gaps, lost);
                    tracing::warn!(%partition, from = from.0, to = to.0, "records are gone (retention, or a topic that was created again): counted as a gap");
                }
                Polled::Log { partition, id, begins } => {
                    waiting.push_back((partition, Work::Log(partition, id, begins)));
                }
                Polled::Finished => {
                    self.queues.send_all(waiting);
                    return Ok(Finish::InputEnded);
                }
            }
        }
    }
}

/// The way to the workers, and to the decoders that work ahead of them.
pub struct Queues<'a> {
    pub workers: &'a [Sender<Order>],
    pub decode: &'a Sender<Task>,
}

impl Queues<'_> {
    fn worker(&self, p: PartitionId) -> usize {
        p.0.unsigned_abs() as usize % self.workers.len()
    }

    fn of(&self, p: PartitionId) -> &Sender<Order> {
        &self.workers[self.worker(p)]
    }

    /// Passes on what waits; what comes back waits on, in the same order. A full queue keeps back the work of its own worker only.
    fn offer_all(&self, waiting: VecDeque<(PartitionId, Work)>) -> VecDeque<(PartitionId, Work)> {
        let mut full = vec![false; self.workers.len()];
        let keep = |(p, work)| {
            let worker = self.worker(p);
            let back = if full[worker] { Some(work) } else { self.offer(p, work) };
            full[worker] = back.is_some();
            back.map(|work| (p, work))
        };
        waiting.into_iter().filter_map(keep).collect()
    }

    /// How much waits for each worker.
    fn crowds(&self, waiting: &VecDeque<(PartitionId, Work)>) -> Vec<usize> {
        let mut crowds = vec![0; self.workers.len()];
        waiting.iter().for_each(|(p, _)| crowds[self.worker(*p)] += 1);
        crowds
    }

    /// Passes work on; it comes back where the worker's queue is full. A worker that is gone takes everything: its error is found when it
    /// is joined.
    fn offer(&self, p: PartitionId, work: Work) -> Option<Work> {
        // Nobody else sends to it, so room that is there stays.
        if self.of(p).is_full() {
            return Some(work);
        }
        let (order, task) = order(work);
        let _ = self.of(p).try_send(order);
        task.map(|t| self.decode.send(t));
        None
    }

    /// Passes all of it on, however long the workers take.
    fn send_all(&self, waiting: VecDeque<(PartitionId, Work)>) {
        for (p, work) in waiting {
            let (order, task) = order(work);
            let _ = self.of(p).send(order);
            task.map(|t| self.decode.send(t));
        }
    }
}

/// What a worker is told, and what is to be decoded for it meanwhile.
fn order(work: Work) -> (Order, Option<Task>) {
    match work {
        Work::Assign(owned) => (Order::Assign(owned), None),
        Work::Quiet(p, reach) => (Order::Quiet(p, reach), None),
        Work::End(p) => (Order::End(p), None),
        Work::Log(p, id, begins) => (Order::Log(p, id, begins), None),
        Work::Drop(p) => (Order::Drop(p), None),
        Work::Chunk(chunk) => {
            let (to, from) = bounded(1);
            (Order::Chunk(from), Some(Task { chunk, to }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;
    use crossbeam_channel::unbounded;

    #[test]
    fn a_full_queue_keeps_back_the_work_of_its_own_worker_only_and_its_order() {
        let (to, from): (Vec<_>, Vec<_>) = (0..2).map(|_| bounded(1)).unzip();
        let (decode, _decoder) = bounded(1);
        let queues = Queues { workers: &to, decode: &decode };
        let quiet = |p| (PartitionId(p), Work::Quiet(PartitionId(p), Reach::Idle));
        let told = |worker: usize| match from[worker].try_recv() {
            Ok(Order::Quiet(p, _)) => Some(p.0),
            _ => None,
        };
        let waiting = queues.offer_all([quiet(0), quiet(2), quiet(1), quiet(4), quiet(3)].into());
        assert_eq!(waiting.iter().map(|w| w.0.0).collect::<Vec<_>>(), [2, 4, 3]);
        assert_eq!([told(0), told(1)], [Some(0), Some(1)]);
        let waiting = queues.offer_all(waiting);
        assert_eq!([told(0), told(1)], [Some(2), Some(3)]);
        assert_eq!(queues.offer_all(waiting).len(), 0);
        assert_eq!(told(0), Some(4));
    }

    /// A source with much to say of partition 0 and then as much of 1, which it says also while 0 is paused.
    #[derive(Default)]
    struct Talking {
        said: [usize; 2],
        paused: BTreeSet<i32>,
        ever_paused: BTreeSet<i32>,
    }

    const MUCH: usize = 20;

    impl Source for Talking {
        fn partitions(&self) -> Vec<PartitionId> {
            vec![PartitionId(0), PartitionId(1)]
        }

        fn poll(&mut self, _timeout: Duration) -> Result<Polled, SourceError> {
            let next = (0..2).find(|p| self.said[*p] < MUCH && !self.paused.contains(&(*p as i32)));
            Ok(next.map_or(Polled::Nothing, |p| {
                self.said[p] += 1;
                Polled::Idle(PartitionId(p as i32))
            }))
        }

        fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
            self.paused.insert(partition.0);
            self.ever_paused.insert(partition.0);
            Ok(())
        }

        fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
            self.paused.remove(&partition.0);
            Ok(())
        }
    }

    #[test]
    fn a_worker_that_stands_still_holds_back_its_partitions_after_a_while_and_no_others() {
        let (to, from): (Vec<_>, Vec<_>) = [1, MUCH].map(bounded).into_iter().unzip();
        let (decode, _decoder) = bounded(1);
        let (assigned, _assigned) = unbounded();
        let ((_lost, lost), (_hint, hints), (_recycle, recycled)) = (unbounded(), unbounded(), unbounded());
        let (claimed, partitions, progress) = (Claimed::default(), Mutex::default(), Progress::default());
        let unread = Mutex::default();
        let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let feed = Feed {
            claimed: &claimed,
            queues: Queues { workers: &to, decode: &decode },
            assigned: &assigned,
            lost: &lost,
            partitions: &partitions,
            unread: &unread,
            hints: &hints,
            recycled: &recycled,
            progress: &progress,
        };
        let mut source = Talking::default();
        std::thread::scope(|scope| {
            scope.spawn(|| feed.poll_all(&mut source, &stop, &failed).map(|_| ()).unwrap());
            let quiet = |worker: usize| {
                let told = from[worker].recv_timeout(Duration::from_secs(20));
                matches!(told, Ok(Order::Quiet(p, _)) if p.0 == worker as i32)
            };
            let second = (0..MUCH).filter(|_| quiet(1)).count();
            // The first one goes on, and all comes that waited.
            let first = (0..MUCH).filter(|_| quiet(0)).count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!([first, second], [MUCH; 2]);
        });
        assert_eq!(source.ever_paused, [0].into());
    }
}
