//! Delivery beside the engine: a thread and a bounded queue for each sink, so that a dead receiver holds up nothing else.
//!
//! Each sink gets its rows in order and at least once while the process lives; what a crash or a full queue kept back is in the
//! `alerts` table, from which it can be sent again ([`super::alerts_from_batch`]). [`Outbox::settled`] tells up to where there
//! is no need.

use super::row::AlertRow;
use super::sink::{Sink, SinkError};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows that wait for one sink before further ones are dropped.
const QUEUE: usize = 10_000;
/// Rows in one delivery; receivers limit the size of a body.
const BATCH: usize = 200;

/// How long to wait before the next attempt: doubled each time, without jitter, up to a cap.
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

/// How a sink does, in rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Waiting, or being delivered.
    pub pending: usize,
    /// Delivered.
    pub delivered: u64,
    /// Not taken by the receiver, and not tried again: by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Not queued, because the queue was full.
    pub dropped: u64,
}

impl SinkStatus {
    /// Rows that are given up, by reason. The reasons that any sink may have are there from the start, at zero.
    #[must_use]
    pub fn given_up(&self) -> BTreeMap<&'static str, u64> {
        let mut all: BTreeMap<&'static str, u64> =
            [("queue_full", self.dropped), ("redirected", 0), ("refused", 0)].into();
        all.extend(self.refused.iter().map(|(reason, n)| (*reason, *n)));
        all
    }
}

/// Looks on at an outbox, also after it is finished.
#[derive(Clone, Default)]
pub struct Watch(Vec<Arc<Post>>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|p| &p.name)).finish()
    }
}

impl Watch {
    /// How each sink does.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        self.0.iter().map(|p| p.status()).collect()
    }
}

#[derive(Default)]
struct Queue {
    /// Batches with the ticket of their [`Outbox::send`]; the first may be under way.
    batches: VecDeque<(u64, Arc<[AlertRow]>)>,
    pending: usize,
    delivered: u64,
    refused: BTreeMap<&'static str, u64>,
    dropped: u64,
    /// The first ticket of which rows were dropped.
    first_drop: Option<u64>,
    /// No attempt begins after this; set when the outbox is finished.
    deadline: Option<Instant>,
    /// The thread has ended.
    done: bool,
}

struct Post {
    name: String,
    wants_pending: bool,
    queue: Mutex<Queue>,
    /// Something in the queue has changed.
    changed: Condvar,
}

/// Delivers alerts to sinks. Dropped without [`Outbox::finish`], it ends after the attempts under way.
pub struct Outbox {
    posts: Vec<Arc<Post>>,
    sent: u64,
    limit: usize,
}

impl Outbox {
    /// Starts a thread for each sink.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(sinks: Vec<Box<dyn Sink>>) -> std::io::Result<Self> {
        Self::start_with(sinks, Backoff::default(), QUEUE)
    }

    /// As [`Outbox::start`], with its own back-off and room for so many rows in each queue.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_with(sinks: Vec<Box<dyn Sink>>, backoff: Backoff, limit: usize) -> std::io::Result<Self> {
        let mut outbox = Self { posts: Vec::new(), sent: 0, limit };
        for sink in sinks {
            let post = Arc::new(Post {
                name: sink.name(),
                wants_pending: sink.wants_pending(),
                queue: Mutex::default(),
                changed: Condvar::new(),
            });
            outbox.posts.push(post.clone());
            std::thread::Builder::new().name("alerts".into()).spawn(move || post.run(sink, backoff))?;
        }
        Ok(outbox)
    }

    /// Queues rows and returns at once with their ticket, one more than the last. Rows that no longer fit a sink's queue are
    /// dropped for that sink and counted.
    pub fn send(&mut self, rows: Vec<AlertRow>) -> u64 {
        self.sent += 1;
        for post in &self.posts {
            let wanted: Vec<AlertRow> =
                rows.iter().filter(|r| post.wants_pending || r.notifies()).cloned().collect();
            post.put(self.sent, &wanted, self.limit);
        }
        self.sent
    }

    /// The highest ticket up to which every sink has taken or refused every row. Rows behind it are to be sent again after a
    /// restart; it never passes rows that were dropped.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let of = |post: &Arc<Post>| {
            let q = post.queue.lock();
            let waits = q.batches.front().map(|(ticket, _)| *ticket);
            [waits, q.first_drop].into_iter().flatten().min().map_or(self.sent, |first| first - 1)
        };
        self.posts.iter().map(of).min().unwrap_or(self.sent)
    }

    /// Looks on at the sinks.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.posts.clone())
    }

    /// Waits until everything is delivered, at most so long, and returns how many rows were not (waiting, dropped or refused,
    /// over all sinks). A sink that waits for its next attempt makes it at once.
    pub fn finish(self, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
        self.end_at(deadline);
        let mut left = 0;
        for post in &self.posts {
            let mut q = post.queue.lock();
            // An attempt may outlast the deadline (a receiver that doesn't answer): it is not waited for.
            while !q.done && !post.changed.wait_until(&mut q, deadline).timed_out() {}
            let given_up = q.dropped + q.refused.values().sum::<u64>();
            left += q.pending + usize::try_from(given_up).unwrap_or(usize::MAX);
        }
        left
    }

    fn end_at(&self, deadline: Instant) {
        for post in &self.posts {
            post.queue.lock().deadline.get_or_insert(deadline);
            post.changed.notify_all();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.end_at(Instant::now());
    }
}

impl Post {
    fn status(&self) -> SinkStatus {
        let q = self.queue.lock();
        SinkStatus {
            name: self.name.clone(),
            pending: q.pending,
            delivered: q.delivered,
            refused: q.refused.clone(),
            dropped: q.dropped,
        }
    }

    fn put(&self, ticket: u64, rows: &[AlertRow], limit: usize) {
        let mut q = self.queue.lock();
        let fit = rows.len().min(limit.saturating_sub(q.pending));
        for batch in rows[..fit].chunks(BATCH) {
            q.batches.push_back((ticket, batch.into()));
        }
        q.pending += fit;
        if fit < rows.len() {
            q.dropped += (rows.len() - fit) as u64;
            q.first_drop.get_or_insert(ticket);
            tracing::error!(
                sink = self.name,
                rows = rows.len() - fit,
                "alerts not sent: {limit} wait already"
            );
        }
        self.changed.notify_all();
    }

    /// The thread's life: the first batch until it is taken or refused, then the next.
    fn run(&self, mut sink: Box<dyn Sink>, backoff: Backoff) {
        let mut failed = 0;
        while let Some((batch, ending)) = self.next() {
            match sink.deliver(&batch) {
                Ok(()) => self.settle(|q| q.delivered += batch.len() as u64),
                Err(e @ SinkError::Retry { .. }) => {
                    failed += 1;
                    let wait = backoff.wait(failed);
                    tracing::warn!(failed, again_in = ?wait, "alerts not delivered: {e}");
                    self.pause(wait, ending);
                    continue;
                }
                Err(e) => {
                    let reason = match &e {
                        SinkError::Refused { reason, .. } => reason,
                        _ => "refused",
                    };
                    tracing::error!(
                        rows = batch.len(),
                        "alerts refused, not sent again (the table alerts has them): {e}"
                    );
                    self.settle(|q| *q.refused.entry(reason).or_default() += batch.len() as u64);
                }
            }
            failed = 0;
        }
        self.queue.lock().done = true;
        self.changed.notify_all();
    }

    /// Waits for a batch, which stays in the queue, and says when the outbox ends, as far as that is known; `None` when it is
    /// finished and nothing waits, or its time is up.
    fn next(&self) -> Option<(Arc<[AlertRow]>, Option<Instant>)> {
        let mut q = self.queue.lock();
        loop {
            let over = q.deadline.is_some_and(|d| Instant::now() >= d);
            match q.batches.front() {
                Some((_, batch)) if !over => return Some((batch.clone(), q.deadline)),
                None if q.deadline.is_none() => self.changed.wait(&mut q),
                _ => return None,
            }
        }
    }

    /// Takes the first batch off the queue.
    fn settle(&self, count: impl FnOnce(&mut Queue)) {
        let mut q = self.queue.lock();
        let n = q.batches.pop_front().map_or(0, |(_, b)| b.len());
        q.pending -= n;
        count(&mut q);
        self.changed.notify_all();
    }

    /// Waits before the next attempt, but not past the end. That the end has been set since the last attempt ends the wait.
    fn pause(&self, wait: Duration, ending: Option<Instant>) {
        let mut q = self.queue.lock();
        let until = ending.map_or(Instant::now() + wait, |d| d.min(Instant::now() + wait));
        while q.deadline == ending && !self.changed.wait_until(&mut q, until).timed_out() {}
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
