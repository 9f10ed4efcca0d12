//! Claims of partitions, made on the polling thread as the source is assigned them.

use super::commits::LastRead;
use super::driver::PartitionDriver;
use super::partition_writer::PartitionWriter;
use crate::engine::error::IngestError;
use crate::engine::job::{Job, writer_name};
use crate::enrich::hash::short_hash;
use crate::source::{ClaimQueue, Offset, PartitionId, PositionError, Positions};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Claims a partition for the writer of this name.
type Claim<P> = dyn Fn(PartitionId, String) -> Result<P, IngestError> + Send + Sync;

/// Claims partitions as they are assigned. Called back by the source while it polls.
pub struct PartitionClaims<P> {
    claim: Box<Claim<P>>,
    claimed: ClaimQueue<P>,
    /// What identifies the record before each requested position.
    last_read: Mutex<BTreeMap<PartitionId, LastRead>>,
}

impl PartitionClaims<PartitionWriter> {
    /// Claims for a job, with a store that is not waited for: the polling thread must not block.
    #[must_use]
    pub fn new(job: Arc<Job>, topic: Arc<str>) -> Self {
        let hasty = Arc::new(Job { storage: job.storage.hasty(), ..Job::clone(&job) });
        Self::with(move |partition, writer| {
            let owned = PartitionWriter::claim(&hasty, partition, Arc::clone(&topic), writer)?;
            Ok(owned.of(&job))
        })
    }
}

impl<P> PartitionClaims<P> {
    /// Claims by a function of the partition and the writer's name, which must not wait for the
    /// store.
    pub fn with(
        claim: impl Fn(PartitionId, String) -> Result<P, IngestError> + Send + Sync + 'static,
    ) -> Self {
        Self { claim: Box::new(claim), claimed: ClaimQueue::default(), last_read: Mutex::default() }
    }

    /// Claims and releases, for the polling thread.
    pub fn claimed(&self) -> &ClaimQueue<P> {
        &self.claimed
    }
}

impl<P: PartitionDriver> Positions for PartitionClaims<P> {
    fn position(&self, partition: PartitionId) -> Result<Option<Offset>, PositionError> {
        let driver = (self.claim)(partition, writer_name()).map_err(|e| {
            let passes = e.is_passing();
            let e = Box::new(e);
            if passes { PositionError::NotNow(e) } else { PositionError::Never(e) }
        })?;
        let position = driver.position();
        self.last_read.lock().insert(partition, driver.last_read());
        self.claimed.claim(driver);
        Ok(position)
    }

    fn log(&self, partition: PartitionId) -> Option<Arc<str>> {
        self.last_read.lock().get(&partition)?.0.clone()
    }

    fn is_last_read(&self, partition: PartitionId, look: &mut dyn FnMut() -> Option<Vec<u8>>) -> bool {
        let last = self.last_read.lock().get(&partition).map_or(0, |l| l.1);
        last == 0 || look().is_none_or(|value| last == short_hash(&value))
    }

    fn release(&self, partition: PartitionId) {
        self.claimed.release(partition);
    }
}
