//! The queues between the polling thread and the workers: bounded, one for each worker.

use super::decoding::{DecodeResult, DecodeTask};
use super::partition_writer::PartitionWriter;
use crate::source::{CHUNK_BYTES, Chunk, Offset, PartitionId};
use crate::window::Reach;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::sync::Arc;

/// Chunks of [`CHUNK_BYTES`] that wait for one worker, of those that `engine.queue` has room for.
pub fn queue_length(queue: u64, workers: usize) -> usize {
    let chunks = queue / CHUNK_BYTES as u64 / workers.max(1) as u64;
    usize::try_from(chunks).unwrap_or(usize::MAX).clamp(2, 1024)
}

/// What the polling thread has to pass on.
pub enum PolledWork {
    Assign(Box<PartitionWriter>),
    Chunk(Chunk),
    Quiet(PartitionId, Reach),
    End(PartitionId),
    Log(PartitionId, Option<Arc<str>>, Option<Offset>),
    Drop(PartitionId),
}

/// What a worker is told.
pub enum WorkerOrder {
    Assign(Box<PartitionWriter>),
    /// A chunk that is being decoded.
    Chunk(Receiver<DecodeResult>),
    /// Nothing more is expected of it for now.
    Quiet(PartitionId, Reach),
    /// Its input is over.
    End(PartitionId),
    /// What comes next is in this log, which begins there if it is another one.
    Log(PartitionId, Option<Arc<str>>, Option<Offset>),
    Drop(PartitionId),
}

/// The way to the workers, and to the decoders that work ahead of them.
pub struct WorkerQueues<'a> {
    pub workers: &'a [Sender<WorkerOrder>],
    pub decode: &'a Sender<DecodeTask>,
}

impl WorkerQueues<'_> {
    pub fn worker(&self, p: PartitionId) -> usize {
        p.0.unsigned_abs() as usize % self.workers.len()
    }

    fn of(&self, p: PartitionId) -> &Sender<WorkerOrder> {
        &self.workers[self.worker(p)]
    }

    /// Passes on what waits; what comes back waits on, in the same order. A full queue keeps back the work of its own worker only.
    pub fn offer_all(
        &self,
        waiting: VecDeque<(PartitionId, PolledWork)>,
    ) -> VecDeque<(PartitionId, PolledWork)> {
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
    pub fn crowds(&self, waiting: &VecDeque<(PartitionId, PolledWork)>) -> Vec<usize> {
        let mut crowds = vec![0; self.workers.len()];
        waiting.iter().for_each(|(p, _)| crowds[self.worker(*p)] += 1);
        crowds
    }

    /// Passes work on; it comes back where the worker's queue is full. A worker that is gone takes everything: its error is found when it
    /// is joined.
    fn offer(&self, p: PartitionId, work: PolledWork) -> Option<PolledWork> {
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
    pub fn send_all(&self, waiting: VecDeque<(PartitionId, PolledWork)>) {
        for (p, work) in waiting {
            let (order, task) = order(work);
            let _ = self.of(p).send(order);
            task.map(|t| self.decode.send(t));
        }
    }
}

/// What a worker is told, and what is to be decoded for it meanwhile.
fn order(work: PolledWork) -> (WorkerOrder, Option<DecodeTask>) {
    match work {
        PolledWork::Assign(owned) => (WorkerOrder::Assign(owned), None),
        PolledWork::Quiet(p, reach) => (WorkerOrder::Quiet(p, reach), None),
        PolledWork::End(p) => (WorkerOrder::End(p), None),
        PolledWork::Log(p, id, begins) => (WorkerOrder::Log(p, id, begins), None),
        PolledWork::Drop(p) => (WorkerOrder::Drop(p), None),
        PolledWork::Chunk(chunk) => {
            let (to, from) = bounded(1);
            (WorkerOrder::Chunk(from), Some(DecodeTask { chunk, to }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_keeps_back_the_work_of_its_own_worker_only_and_its_order() {
        let (to, from): (Vec<_>, Vec<_>) = (0..2).map(|_| bounded(1)).unzip();
        let (decode, _decoder) = bounded(1);
        let queues = WorkerQueues { workers: &to, decode: &decode };
        let quiet = |p| (PartitionId(p), PolledWork::Quiet(PartitionId(p), Reach::Idle));
        let told = |worker: usize| match from[worker].try_recv() {
            Ok(WorkerOrder::Quiet(p, _)) => Some(p.0),
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
}
