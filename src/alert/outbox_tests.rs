//! What the outbox promises, over sinks that fail as a test's script says.

use super::super::row::AlertState;
use super::super::samples::{T, info, row};
use super::*;
use std::sync::mpsc::{Sender, channel};

const LONG: Duration = Duration::from_secs(60);
const QUICK: Backoff = Backoff { first: Duration::from_millis(1), cap: Duration::from_millis(2) };

fn alert(state: AlertState, number: i64) -> AlertRow {
    let mut a = AlertRow::new(&info("r", 0, 0), state, &row("tenant=a", "nsfw", T), T + number, T);
    a.firing_since = (state != AlertState::Pending).then_some(T);
    a
}

fn firing(numbers: std::ops::Range<i64>) -> Vec<AlertRow> {
    numbers.map(|n| alert(AlertState::Firing, n)).collect()
}

/// Fails as `plan` says, one entry per attempt, then accepts everything.
struct ScriptedSink {
    plan: VecDeque<SinkError>,
    accepted: Arc<Mutex<Vec<i64>>>,
    attempted: Option<Sender<()>>,
}

impl Sink for ScriptedSink {
    fn name(&self) -> String {
        "scripted".into()
    }

    fn deliver(&mut self, rows: &[AlertRow]) -> Result<(), SinkError> {
        if let Some(tell) = &self.attempted {
            let _ = tell.send(());
        }
        match self.plan.pop_front() {
            Some(e) => Err(e),
            None => {
                self.accepted.lock().extend(rows.iter().map(|r| r.at - T));
                Ok(())
            }
        }
    }
}

fn scripted(plan: impl IntoIterator<Item = SinkError>) -> (Box<dyn Sink>, Arc<Mutex<Vec<i64>>>) {
    let accepted = Arc::default();
    (
        Box::new(ScriptedSink {
            plan: plan.into_iter().collect(),
            accepted: Arc::clone(&accepted),
            attempted: None,
        }),
        accepted,
    )
}

fn retry() -> SinkError {
    SinkError::Retry { sink: "scripted".into(), message: "busy".into() }
}

fn refused() -> SinkError {
    SinkError::Refused { sink: "scripted".into(), reason: "redirected", message: "no".into() }
}

#[test]
fn rows_arrive_in_order_through_failures() {
    let (sink, accepted) = scripted([retry(), retry(), retry()]);
    let mut outbox = Outbox::start_with(vec![sink], QUICK, QUEUE).unwrap();
    outbox.send(firing(0..450));
    let last = outbox.send(firing(450..453));
    assert_eq!(last, 2);
    assert_eq!(outbox.finish(LONG), 0);
    assert_eq!(*accepted.lock(), (0..453).collect::<Vec<_>>());
}

#[test]
fn what_is_refused_is_counted_and_the_rest_goes_on() {
    let (sink, accepted) = scripted([refused()]);
    let mut outbox = Outbox::start_with(vec![sink], QUICK, QUEUE).unwrap();
    outbox.send(firing(0..1));
    outbox.send(firing(1..3));
    let monitor = outbox.monitor();
    assert_eq!(outbox.finish(LONG), 1, "a refused row is an undelivered one");
    assert_eq!(*accepted.lock(), [1, 2]);
    let status = monitor.status().remove(0);
    assert_eq!((status.pending, status.delivered), (0, 2));
    assert_eq!(status.given_up(), [("queue_full", 0), ("redirected", 1), ("refused", 0)].into());
}

#[test]
fn a_dead_sink_holds_up_neither_the_caller_nor_the_other_sink() {
    let never = Backoff { first: LONG, cap: LONG };
    let ((dead, _), (alive, accepted)) = (scripted((0..100).map(|_| retry())), scripted([]));
    let mut outbox = Outbox::start_with(vec![dead, alive], never, 5).unwrap();
    outbox.send(firing(0..4));
    let alive = outbox.queues[1].clone();
    let mut state = alive.state.lock();
    while state.pending > 0 {
        alive.changed.wait(&mut state);
    }
    drop(state);
    // The dead one has room for one more.
    outbox.send(firing(4..7));
    assert_eq!(outbox.monitor().status()[0].pending, 5);
    assert_eq!(outbox.monitor().status()[0].dropped, 2);
    assert_eq!(outbox.settled(), 0);
    assert_eq!(outbox.finish(Duration::ZERO), 7 + alive.status().pending);
    assert!(accepted.lock().starts_with(&[0, 1, 2, 3]));
}

#[test]
fn settled_follows_the_slowest_and_never_passes_a_drop() {
    let (sink, _) = scripted([]);
    let mut outbox = Outbox::start_with(vec![sink], QUICK, 2).unwrap();
    assert_eq!(outbox.settled(), 0);
    let queue = outbox.queues[0].clone();
    let wait_until_empty = |queue: &SinkQueue| {
        let mut state = queue.state.lock();
        while state.pending > 0 {
            queue.changed.wait(&mut state);
        }
    };
    outbox.send(firing(0..2));
    wait_until_empty(&queue);
    assert_eq!(outbox.settled(), 1);
    outbox.send(firing(2..5));
    outbox.send(Vec::new());
    wait_until_empty(&queue);
    assert_eq!(outbox.settled(), 1, "a row of ticket 2 was dropped");
}

#[test]
fn without_sinks_everything_is_settled() {
    let mut outbox = Outbox::start(Vec::new()).unwrap();
    assert_eq!(outbox.send(firing(0..3)), outbox.settled());
    assert_eq!(outbox.finish(Duration::ZERO), 0);
}

#[test]
fn an_alert_that_never_fired_is_not_sent() {
    let (sink, accepted) = scripted([]);
    let mut outbox = Outbox::start(vec![sink]).unwrap();
    outbox.send(vec![alert(AlertState::Pending, 0), alert(AlertState::Firing, 1)]);
    assert_eq!(outbox.finish(LONG), 0);
    assert_eq!(*accepted.lock(), [1]);
}

#[test]
fn finishing_cuts_the_wait_for_the_next_attempt_short() {
    // The wait alone would last an hour; the end of the outbox makes the second attempt at once.
    let hour = Duration::from_secs(3600);
    let (tell, attempted) = channel();
    let accepted = Arc::default();
    let sink =
        ScriptedSink { plan: [retry()].into(), accepted: Arc::clone(&accepted), attempted: Some(tell) };
    let mut outbox =
        Outbox::start_with(vec![Box::new(sink)], Backoff { first: hour, cap: hour }, QUEUE).unwrap();
    outbox.send(firing(0..1));
    attempted.recv().unwrap();
    assert_eq!(outbox.finish(LONG), 0);
    assert_eq!(*accepted.lock(), [0]);
}

#[test]
fn waits_double_up_to_the_cap() {
    let b = Backoff::default();
    let waits: Vec<u64> = [1, 2, 3, 6, 7, 60].map(|n| b.wait(n).as_secs()).into();
    assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
}
