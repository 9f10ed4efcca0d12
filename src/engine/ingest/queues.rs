//! The queues between the polling thread and the workers: bounded, one for each worker.

use super::driver::PartitionDriver;
use crate::engine::error::IngestError;
use crate::source::{CHUNK_BYTES, Chunk, Offset, PartitionId};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::sync::Arc;

/// Chunks of [`CHUNK_BYTES`] that wait for one worker, of those that `engine.queue` has room for.
pub fn queue_length(queue: u64, workers: usize) -> usize {
    let chunks = queue / CHUNK_BYTES as u64 / workers.max(1) as u64;
    usize::try_from(chunks).unwrap_or(usize::MAX).clamp(2, 1024)
}

/// What the polling thread has to pass on.
pub enum PolledWork<P> {
    Assign(Box<P>),
    Chunk(Chunk),
    Quiet { partition: PartitionId, caught_up: bool },
    End(PartitionId),
    Log { partition: PartitionId, id: Option<Arc<str>>, begins: Option<Offset> },
    Drop(PartitionId),
}

/// An order to a worker.
pub enum WorkerOrder<P: PartitionDriver> {
    Assign(Box<P>),
    /// A chunk that is being decoded.
    Chunk {
        partition: PartitionId,
        decoded: Receiver<Result<P::Chunk, IngestError>>,
    },
    /// Nothing more is expected of it for now: it is silent, or read to its end so far.
    Quiet {
        partition: PartitionId,
        caught_up: bool,
    },
    /// Its input is over.
    End(PartitionId),
    /// The next records are from this log, which begins at `begins` if it is another one.
    Log {
        partition: PartitionId,
        id: Option<Arc<str>>,
        begins: Option<Offset>,
    },
    Drop(PartitionId),
}

/// Starts decoding a chunk; the result is sent to the channel.
pub type Decode<'a, C> = &'a (dyn Fn(Chunk, Sender<Result<C, IngestError>>) + Sync);

/// A chunk to be decoded, and where its result goes.
type ToDecode<C> = (Chunk, Sender<Result<C, IngestError>>);

/// The queues to the workers, and to the decoders that work ahead of them.
pub struct WorkerQueues<'a, P: PartitionDriver> {
    pub workers: &'a [Sender<WorkerOrder<P>>],
    pub decode: Decode<'a, P::Chunk>,
}

impl<P: PartitionDriver> WorkerQueues<'_, P> {
    /// The worker that has this partition.
    pub fn worker(&self, p: PartitionId) -> usize {
        p.0.unsigned_abs() as usize % self.workers.len()
    }

    fn of(&self, p: PartitionId) -> &Sender<WorkerOrder<P>> {
        &self.workers[self.worker(p)]
    }

    /// Passes on what waits; returns what still has to wait, in the same order. A full queue holds
    /// back only the work of its own worker.
    pub fn offer_all(
        &self,
        waiting: VecDeque<(PartitionId, PolledWork<P>)>,
    ) -> VecDeque<(PartitionId, PolledWork<P>)> {
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
    pub fn crowds(&self, waiting: &VecDeque<(PartitionId, PolledWork<P>)>) -> Vec<usize> {
        let mut crowds = vec![0; self.workers.len()];
        waiting.iter().for_each(|(p, _)| crowds[self.worker(*p)] += 1);
        crowds
    }

    /// Passes on work; returns it if the worker's queue is full. A worker that is gone accepts
    /// everything: its error is found when it is joined.
    fn offer(&self, p: PartitionId, work: PolledWork<P>) -> Option<PolledWork<P>> {
        // Nobody else sends to it, so free places stay free.
        if self.of(p).is_full() {
            return Some(work);
        }
        let (order, task) = order(work);
        let _ = self.of(p).try_send(order);
        if let Some((chunk, to)) = task {
            (self.decode)(chunk, to);
        }
        None
    }

    /// Passes on all of it, however long the workers take.
    pub fn send_all(&self, waiting: VecDeque<(PartitionId, PolledWork<P>)>) {
        for (p, work) in waiting {
            let (order, task) = order(work);
            let _ = self.of(p).send(order);
            if let Some((chunk, to)) = task {
                (self.decode)(chunk, to);
            }
        }
    }
}

/// The order to a worker, and what is to be decoded for it meanwhile.
fn order<P: PartitionDriver>(work: PolledWork<P>) -> (WorkerOrder<P>, Option<ToDecode<P::Chunk>>) {
    let order = match work {
        PolledWork::Assign(owned) => WorkerOrder::Assign(owned),
        PolledWork::Quiet { partition, caught_up } => WorkerOrder::Quiet { partition, caught_up },
        PolledWork::End(p) => WorkerOrder::End(p),
        PolledWork::Log { partition, id, begins } => WorkerOrder::Log { partition, id, begins },
        PolledWork::Drop(p) => WorkerOrder::Drop(p),
        PolledWork::Chunk(chunk) => {
            let (to, decoded) = bounded(1);
            return (WorkerOrder::Chunk { partition: chunk.partition, decoded }, Some((chunk, to)));
        }
    };
    (order, None)
}

#[cfg(test)]
mod tests {
    use super::super::partition_writer::PartitionWriter;
    use super::*;

    #[test]
    fn a_full_queue_keeps_back_the_work_of_its_own_worker_only_and_its_order() {
        let (to, from): (Vec<_>, Vec<_>) = (0..2).map(|_| bounded(1)).unzip();
        let queues = WorkerQueues::<PartitionWriter> { workers: &to, decode: &|_, _| () };
        let quiet = |p| {
            let partition = PartitionId(p);
            (partition, PolledWork::Quiet { partition, caught_up: false })
        };
        let told = |worker: usize| match from[worker].try_recv() {
            Ok(WorkerOrder::Quiet { partition, .. }) => Some(partition.0),
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
