//! What the outbox promises, over sinks that fail as told.

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

/// Fails as `plan` says, one entry an attempt, then takes everything.
struct Told {
    plan: VecDeque<SinkError>,
    taken: Arc<Mutex<Vec<i64>>>,
    pending_too: bool,
    attempted: Option<Sender<()>>,
}

impl Sink for Told {
    fn name(&self) -> String {
        "told".into()
    }

    fn wants_pending(&self) -> bool {
        self.pending_too
    }

    fn deliver(&mut self, rows: &[AlertRow]) -> Result<(), SinkError> {
        if let Some(tell) = &self.attempted {
            let _ = tell.send(());
        }
        match self.plan.pop_front() {
            Some(e) => Err(e),
            None => {
                self.taken.lock().extend(rows.iter().map(|r| r.at - T));
                Ok(())
            }
        }
    }
}

fn told(plan: impl IntoIterator<Item = SinkError>) -> (Box<dyn Sink>, Arc<Mutex<Vec<i64>>>) {
    let taken = Arc::default();
    (
        Box::new(Told {
            plan: plan.into_iter().collect(),
            taken: Arc::clone(&taken),
            pending_too: false,
            attempted: None,
        }),
        taken,
    )
}

fn retry() -> SinkError {
    SinkError::Retry { sink: "told".into(), message: "busy".into() }
}

fn refused() -> SinkError {
    SinkError::Refused { sink: "told".into(), reason: "redirected", message: "no".into() }
}

#[test]
fn rows_arrive_in_order_through_failures() {
    let (sink, taken) = told([retry(), retry(), retry()]);
    let mut outbox = Outbox::start_with(vec![sink], QUICK, QUEUE).unwrap();
    outbox.send(firing(0..450));
    let last = outbox.send(firing(450..453));
    assert_eq!(last, 2);
    assert_eq!(outbox.finish(LONG), 0);
    assert_eq!(*taken.lock(), (0..453).collect::<Vec<_>>());
}

#[test]
fn what_is_refused_is_counted_and_the_rest_goes_on() {
    let (sink, taken) = told([refused()]);
    let mut outbox = Outbox::start_with(vec![sink], QUICK, QUEUE).unwrap();
    outbox.send(firing(0..1));
    outbox.send(firing(1..3));
    let watch = outbox.watch();
    assert_eq!(outbox.finish(LONG), 1, "a refused row is an undelivered one");
    assert_eq!(*taken.lock(), [1, 2]);
    let status = watch.status().remove(0);
    assert_eq!((status.pending, status.delivered), (0, 2));
    assert_eq!(status.given_up(), [("queue_full", 0), ("redirected", 1), ("refused", 0)].into());
}

#[test]
fn a_dead_sink_holds_up_neither_the_caller_nor_the_other_sink() {
    let never = Backoff { first: LONG, cap: LONG };
    let ((dead, _), (alive, taken)) = (told((0..100).map(|_| retry())), told([]));
    let mut outbox = Outbox::start_with(vec![dead, alive], never, 5).unwrap();
    outbox.send(firing(0..4));
    let alive = outbox.posts[1].clone();
    let mut q = alive.queue.lock();
    while q.pending > 0 {
        alive.changed.wait(&mut q);
    }
    drop(q);
    // The dead one has room for one more.
    outbox.send(firing(4..7));
    assert_eq!(outbox.watch().status()[0].pending, 5);
    assert_eq!(outbox.watch().status()[0].dropped, 2);
    assert_eq!(outbox.settled(), 0);
    assert_eq!(outbox.finish(Duration::ZERO), 7 + alive.status().pending);
    assert!(taken.lock().starts_with(&[0, 1, 2, 3]));
}

#[test]
fn settled_follows_the_slowest_and_never_passes_a_drop() {
    let (sink, _) = told([]);
    let mut outbox = Outbox::start_with(vec![sink], QUICK, 2).unwrap();
    assert_eq!(outbox.settled(), 0);
    let post = outbox.posts[0].clone();
    let emptied = |post: &Post| {
        let mut q = post.queue.lock();
        while q.pending > 0 {
            post.changed.wait(&mut q);
        }
    };
    outbox.send(firing(0..2));
    emptied(&post);
    assert_eq!(outbox.settled(), 1);
    outbox.send(firing(2..5));
    outbox.send(Vec::new());
    emptied(&post);
    assert_eq!(outbox.settled(), 1, "a row of ticket 2 was dropped");
}

#[test]
fn without_sinks_everything_is_settled() {
    let mut outbox = Outbox::start(Vec::new()).unwrap();
    assert_eq!(outbox.send(firing(0..3)), outbox.settled());
    assert_eq!(outbox.finish(Duration::ZERO), 0);
}

#[test]
fn only_a_sink_that_asks_gets_pending_ones() {
    for (pending_too, want) in [(false, vec![1]), (true, vec![0, 1])] {
        let taken = Arc::default();
        let sink = Told { plan: VecDeque::new(), taken: Arc::clone(&taken), pending_too, attempted: None };
        let mut outbox = Outbox::start(vec![Box::new(sink)]).unwrap();
        outbox.send(vec![alert(AlertState::Pending, 0), alert(AlertState::Firing, 1)]);
        assert_eq!(outbox.finish(LONG), 0);
        assert_eq!(*taken.lock(), want);
    }
}

#[test]
fn finishing_cuts_the_wait_for_the_next_attempt_short() {
    // The wait alone would last an hour; the end of the outbox makes the second attempt at once.
    let hour = Duration::from_secs(3600);
    let (tell, attempted) = channel();
    let taken = Arc::default();
    let sink =
        Told { plan: [retry()].into(), taken: Arc::clone(&taken), pending_too: false, attempted: Some(tell) };
    let mut outbox =
        Outbox::start_with(vec![Box::new(sink)], Backoff { first: hour, cap: hour }, QUEUE).unwrap();
    outbox.send(firing(0..1));
    attempted.recv().unwrap();
    assert_eq!(outbox.finish(LONG), 0);
    assert_eq!(*taken.lock(), [0]);
}

#[test]
fn waits_double_up_to_the_cap() {
    let b = Backoff::default();
    let waits: Vec<u64> = [1, 2, 3, 6, 7, 60].map(|n| b.wait(n).as_secs()).into();
    assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
}
