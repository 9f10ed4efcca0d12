//! Delivery beside the engine: a thread and a bounded queue for each sink, so that a dead receiver
//! delays nothing else.
//!
//! Each sink gets its rows in order and at least once while the process lives. Rows that a crash or
//! a full queue kept from it are in the `alerts` table, from which they can be sent again
//! ([`super::alerts_from_batch`]). [`Outbox::settled`] says up to which point that is not needed.

use super::error::SinkError;
use super::row::AlertRow;
use super::sink::Sink;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows that wait for one sink before further ones are dropped.
const QUEUE: usize = 10_000;
/// Rows in one delivery: receivers limit the size of a request.
const BATCH: usize = 200;

/// How long to wait before the next attempt: doubled each time, without jitter, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// Never longer than this.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), cap: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after so many failed attempts, from 1.
    #[must_use]
    pub fn wait(&self, failed: u32) -> Duration {
        self.first
            .saturating_mul(1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX))
            .min(self.cap)
    }
}

/// The state of a sink, in rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Rows that wait or are being delivered.
    pub pending: usize,
    /// Rows delivered.
    pub delivered: u64,
    /// Rows that the receiver rejected and that are not sent again, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Rows that were not queued because the queue was full.
    pub dropped: u64,
}

impl SinkStatus {
    /// Rows that are given up, by reason. The reasons that every sink shares are there from the
    /// start, at zero.
    #[must_use]
    pub fn given_up(&self) -> BTreeMap<&'static str, u64> {
        let mut all: BTreeMap<&'static str, u64> =
            [("queue_full", self.dropped), ("redirected", 0), ("refused", 0)].into();
        all.extend(self.refused.iter().map(|(reason, n)| (*reason, *n)));
        all
    }
}

/// Reads the state of an outbox's sinks, also after the outbox is finished.
#[derive(Clone, Default)]
pub struct OutboxMonitor(Vec<Arc<SinkQueue>>);

impl std::fmt::Debug for OutboxMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|p| &p.name)).finish()
    }
}

impl OutboxMonitor {
    /// The state of each sink.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        self.0.iter().map(|p| p.status()).collect()
    }
}

/// What the caller and the sink's thread share.
#[derive(Default)]
struct QueueState {
    /// Batches with the ticket of their [`Outbox::send`]; the first may be in delivery.
    batches: VecDeque<(u64, Arc<[AlertRow]>)>,
    pending: usize,
    delivered: u64,
    refused: BTreeMap<&'static str, u64>,
    dropped: u64,
    /// The first ticket whose rows were dropped.
    first_drop: Option<u64>,
    /// No attempt starts after this; set when the outbox is finished.
    deadline: Option<Instant>,
    /// The thread has ended.
    done: bool,
}

/// One sink's queue.
struct SinkQueue {
    name: String,
    state: Mutex<QueueState>,
    /// Signals that something in the queue has changed.
    changed: Condvar,
}

/// Delivers alerts to sinks. Dropped without [`Outbox::finish`], it ends after the current
/// attempts.
pub struct Outbox {
    queues: Vec<Arc<SinkQueue>>,
    sent: u64,
    limit: usize,
}

impl Outbox {
    /// Starts a thread for each sink.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub fn start(sinks: Vec<Box<dyn Sink>>) -> std::io::Result<Self> {
        Self::start_with(sinks, Backoff::default(), QUEUE)
    }

    /// As [`Outbox::start`], with its own back-off and a limit on the rows in each queue.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub(super) fn start_with(
        sinks: Vec<Box<dyn Sink>>,
        backoff: Backoff,
        limit: usize,
    ) -> std::io::Result<Self> {
        let mut outbox = Self { queues: Vec::new(), sent: 0, limit };
        for sink in sinks {
            let queue =
                Arc::new(SinkQueue { name: sink.name(), state: Mutex::default(), changed: Condvar::new() });
            outbox.queues.push(queue.clone());
            std::thread::Builder::new()
                .name("alerts".into())
                .spawn(move || queue.deliver_all(sink, backoff))?;
        }
        Ok(outbox)
    }

    /// Queues the rows that people are notified of ([`AlertRow::notifies`]) and returns at once.
    /// The result is the ticket of this call, one more than the last. Rows that no longer fit a
    /// sink's queue are dropped for that sink and counted.
    pub fn send(&mut self, rows: Vec<AlertRow>) -> u64 {
        self.sent += 1;
        let notified: Vec<AlertRow> = rows.into_iter().filter(AlertRow::notifies).collect();
        for queue in &self.queues {
            queue.push(self.sent, &notified, self.limit);
        }
        self.sent
    }

    /// The highest ticket up to which every sink has accepted or refused every row. Later rows must
    /// be sent again after a restart. It never passes rows that were dropped.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let settled_by = |queue: &Arc<SinkQueue>| {
            let state = queue.state.lock();
            let waiting = state.batches.front().map(|(ticket, _)| *ticket);
            [waiting, state.first_drop].into_iter().flatten().min().map_or(self.sent, |t| t - 1)
        };
        self.queues.iter().map(settled_by).min().unwrap_or(self.sent)
    }

    /// A handle that reads the state of the sinks.
    #[must_use]
    pub fn monitor(&self) -> OutboxMonitor {
        OutboxMonitor(self.queues.clone())
    }

    /// Waits until everything is delivered, at most `timeout`, and returns how many rows were not:
    /// waiting, dropped or refused, over all sinks. A sink that waits for its next attempt makes it
    /// at once.
    pub fn finish(self, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
        self.set_deadline(deadline);
        let mut undelivered = 0;
        for queue in &self.queues {
            let mut state = queue.state.lock();
            // An attempt may outlast the deadline (a receiver that doesn't answer). Don't wait for
            // it.
            while !state.done && !queue.changed.wait_until(&mut state, deadline).timed_out() {}
            let given_up = state.dropped + state.refused.values().sum::<u64>();
            undelivered += state.pending + usize::try_from(given_up).unwrap_or(usize::MAX);
        }
        undelivered
    }

    fn set_deadline(&self, deadline: Instant) {
        for queue in &self.queues {
            queue.state.lock().deadline.get_or_insert(deadline);
            queue.changed.notify_all();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.set_deadline(Instant::now());
    }
}

impl SinkQueue {
    fn status(&self) -> SinkStatus {
        let state = self.state.lock();
        SinkStatus {
            name: self.name.clone(),
            pending: state.pending,
            delivered: state.delivered,
            refused: state.refused.clone(),
            dropped: state.dropped,
        }
    }

    fn push(&self, ticket: u64, rows: &[AlertRow], limit: usize) {
        let mut state = self.state.lock();
        let fit = rows.len().min(limit.saturating_sub(state.pending));
        for batch in rows[..fit].chunks(BATCH) {
            state.batches.push_back((ticket, batch.into()));
        }
        state.pending += fit;
        if fit < rows.len() {
            let dropped = rows.len() - fit;
            state.dropped += dropped as u64;
            state.first_drop.get_or_insert(ticket);
            tracing::error!(sink = self.name, rows = dropped, limit, "alerts dropped: queue full");
        }
        self.changed.notify_all();
    }

    /// The thread's loop: repeats the first batch until it is accepted or refused, then the next.
    fn deliver_all(&self, mut sink: Box<dyn Sink>, backoff: Backoff) {
        let mut failed = 0;
        while let Some((batch, deadline)) = self.next_batch() {
            match sink.deliver(&batch) {
                Ok(()) => self.remove_first(|state| state.delivered += batch.len() as u64),
                Err(error @ SinkError::Retry { .. }) => {
                    failed += 1;
                    let wait = backoff.wait(failed);
                    tracing::warn!(%error, failed, again_in = ?wait, "alerts not delivered, retrying");
                    self.wait_for_retry(wait, deadline);
                    continue;
                }
                Err(error) => {
                    let reason = match &error {
                        SinkError::Refused { reason, .. } => reason,
                        _ => "refused",
                    };
                    tracing::error!(
                        %error,
                        rows = batch.len(),
                        "alerts refused and not sent again; the table alerts has them"
                    );
                    self.remove_first(|state| {
                        *state.refused.entry(reason).or_default() += batch.len() as u64;
                    });
                }
            }
            failed = 0;
        }
        self.state.lock().done = true;
        self.changed.notify_all();
    }

    /// Waits for a batch, which stays in the queue, and returns it with the deadline, if one is
    /// set. `None` when the outbox is finished and nothing waits, or the deadline has passed.
    fn next_batch(&self) -> Option<(Arc<[AlertRow]>, Option<Instant>)> {
        let mut state = self.state.lock();
        loop {
            let over = state.deadline.is_some_and(|d| Instant::now() >= d);
            match state.batches.front() {
                Some((_, batch)) if !over => return Some((batch.clone(), state.deadline)),
                None if state.deadline.is_none() => self.changed.wait(&mut state),
                _ => return None,
            }
        }
    }

    /// Removes the first batch from the queue and counts it.
    fn remove_first(&self, count: impl FnOnce(&mut QueueState)) {
        let mut state = self.state.lock();
        let rows = state.batches.pop_front().map_or(0, |(_, batch)| batch.len());
        state.pending -= rows;
        count(&mut state);
        self.changed.notify_all();
    }

    /// Waits before the next attempt, but not past the deadline. A deadline that was set since the
    /// last attempt ends the wait.
    fn wait_for_retry(&self, wait: Duration, deadline: Option<Instant>) {
        let mut state = self.state.lock();
        let retry_at = Instant::now() + wait;
        let until = deadline.map_or(retry_at, |d| d.min(retry_at));
        while state.deadline == deadline && !self.changed.wait_until(&mut state, until).timed_out() {}
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
