//! The client of a group member, which leaves the group within a limited time when it is dropped.

use super::context::ClientCallbacks;
use crossbeam_channel::bounded;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::ops::Deref;
use std::time::Duration;

/// The client under the source.
pub(super) type GroupConsumer = BaseConsumer<ClientCallbacks>;

/// How long leaving the group may take. Usually it takes less than a second.
const LEAVE: Duration = Duration::from_secs(10);

/// A client that leaves its group when it is dropped.
///
/// The client library waits without a limit for the brokers' answers and for its own threads, and
/// at times forever. Everything is committed by then, so a process that stops must not hang with
/// it: after [`LEAVE`] the client is left to itself, and the group notices by the session timeout.
pub(super) struct GroupMembership {
    /// `Some` until it is dropped.
    consumer: Option<GroupConsumer>,
}

impl GroupMembership {
    /// A member that leaves when this is dropped.
    pub(super) fn new(consumer: GroupConsumer) -> Self {
        Self { consumer: Some(consumer) }
    }
}

impl Deref for GroupMembership {
    type Target = GroupConsumer;

    fn deref(&self) -> &GroupConsumer {
        self.consumer.as_ref().expect("the client is only taken when this is dropped")
    }
}

impl Drop for GroupMembership {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        let topic = consumer.context().topic.clone();
        consumer.context().leave();
        if !ends_within(LEAVE, "kafka-leave", move || drop(consumer)) {
            tracing::warn!(
                %topic, waited_s = LEAVE.as_secs(),
                "can't leave the group in time: it moves the partitions when this member's session ends"
            );
        }
    }
}

/// Runs `work` on a thread of its own; false if it has not ended within the limit. The thread then
/// goes on by itself.
fn ends_within(limit: Duration, name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    let (done_to, done) = bounded::<()>(1);
    let run = move || {
        work();
        let _ = done_to.send(());
    };
    // Where no thread can be started, `work` was dropped with its closure, which is as good here.
    std::thread::Builder::new().name(name.to_owned()).spawn(run).is_err() || done.recv_timeout(limit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    #[test]
    fn work_that_ends_is_waited_for_and_work_that_hangs_is_not() {
        let (ended_to, ended) = unbounded();
        assert!(ends_within(Duration::from_secs(20), "short", move || ended_to.send(1).unwrap()));
        assert_eq!(ended.try_recv(), Ok(1));
        let (release, released) = bounded::<()>(0);
        assert!(!ends_within(Duration::from_millis(20), "long", move || {
            let _ = released.recv();
        }));
        drop(release);
    }
}
