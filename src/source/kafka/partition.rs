//! One assigned partition: where it is read, what was gathered of it, and whether it has gone quiet. Decisions only, no I/O.

use super::context::Assigned;
use crate::source::buffer::MessageBuffer;
use crate::source::records::RecordTime;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time before a look at a quiet partition's end is repeated.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// An assigned partition.
#[derive(Debug)]
pub struct Part {
    /// The next record wanted; `None` where the log's beginning was not told.
    pub next: Option<i64>,
    /// One past the last record, as last seen.
    pub high: Option<i64>,
    /// The id of the topic, where it is known.
    pub log: Option<Arc<str>>,
    /// Messages that make the next chunk.
    pub gathered: MessageBuffer,
    /// When the first of them came.
    gathered_since: Instant,
    /// Held back.
    pub paused: bool,
    /// The client has read to the end and found nothing since.
    pub at_end: bool,
    /// Its finite input is over.
    pub ended: bool,
    /// Where a finite input ends.
    end: Option<i64>,
    quiet_since: Instant,
    idle_said: bool,
    /// When to look at its end again, and the end that was seen ahead of the position.
    look_again: Option<(Instant, Option<i64>)>,
}

impl Part {
    /// A partition that was just assigned.
    pub fn new(a: &Assigned, until_caught_up: bool, now: Instant) -> Self {
        Self {
            next: a.next,
            high: a.high,
            log: a.log.clone(),
            gathered: MessageBuffer::default(),
            gathered_since: now,
            paused: false,
            at_end: false,
            ended: false,
            end: if until_caught_up { a.high } else { None },
            quiet_since: now,
            idle_said: false,
            look_again: None,
        }
    }

    /// Another log has taken the place of this one: it is read from `low`.
    pub fn begin_anew(&mut self, log: Option<Arc<str>>, (low, high): (i64, i64)) {
        self.next = Some(low);
        self.high = Some(high);
        self.log = log;
        self.at_end = false;
        self.look_again = None;
        self.end = self.end.map(|_| high);
    }

    /// Takes in a message. One that was read before (the client may repeat after a new assignment) or lies beyond the end is left out.
    pub fn take(&mut self, offset: i64, payload: Option<&[u8]>, time: RecordTime, now: Instant) {
        if self.ended || self.next.is_some_and(|n| offset < n) {
            return;
        }
        self.next = Some(offset + 1);
        if self.end.is_some_and(|end| offset >= end) {
            return;
        }
        if self.gathered.is_empty() {
            self.gathered_since = now;
        }
        self.gathered.push_record(offset, payload, time);
        self.at_end = false;
        self.idle_said = false;
        self.look_again = None;
        self.quiet_since = now;
    }

    /// Whether a finite input is read to its end. The last offsets may be marks of transactions, which never come as messages.
    pub fn is_caught_up(&self) -> bool {
        let passed = self.end.is_some_and(|end| self.next.is_some_and(|n| n >= end));
        !self.ended && self.gathered.is_empty() && (passed || self.at_end)
    }

    /// Whether what was gathered has waited for more for long enough. A finite input waits for nothing.
    pub fn is_due(&self, now: Instant, linger: Duration) -> bool {
        self.end.is_some() || now.duration_since(self.gathered_since) >= linger
    }

    /// Whether it is worth asking the broker if there is more to read.
    pub fn may_be_idle(&self, now: Instant, idle: Duration) -> bool {
        let due = self.look_again.is_none_or(|(at, _)| now >= at);
        self.at_end && !self.idle_said && !self.paused && due && now.duration_since(self.quiet_since) >= idle
    }

    /// Decides with the partition's end as the broker tells it now. A position behind the end is believed at the second look at
    /// the same end: what lies between are no messages, for a broker that answers would have sent them.
    pub fn is_idle(&mut self, high: Option<i64>, now: Instant) -> bool {
        let Some(high) = high else {
            self.look_again = Some((now + LOOK_AGAIN, None));
            return false;
        };
        self.high = Some(high);
        let at_high = self.next.is_none_or(|n| n >= high);
        let seen_before = self.look_again.is_some_and(|(_, seen)| seen == Some(high));
        if at_high || seen_before {
            self.idle_said = true;
            self.look_again = None;
            return true;
        }
        self.look_again = Some((now + LOOK_AGAIN, Some(high)));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned() -> Assigned {
        Assigned { partition: 0, next: Some(5), high: Some(7), gone: None, log: None, recreated: false }
    }

    fn part(now: Instant) -> Part {
        Part::new(&assigned(), false, now)
    }

    #[test]
    fn idle_needs_the_end_the_high_watermark_and_quiet() {
        let t = Instant::now();
        let minute = Duration::from_secs(60);
        let mut p = part(t);
        p.take(5, Some(b"a"), RecordTime::default(), t);
        p.take(6, Some(b"b"), RecordTime::default(), t);
        assert!(!p.may_be_idle(t + minute, minute), "not at the end");
        p.at_end = true;
        assert!(!p.may_be_idle(t + minute / 2, minute), "not quiet for long enough");
        assert!(p.may_be_idle(t + minute, minute));
        assert!(!p.is_idle(None, t + minute), "the broker doesn't answer");
        assert!(!p.may_be_idle(t + minute, minute), "it is not asked again at once");
        assert!(!p.is_idle(Some(8), t + minute), "there is more");
        assert!(!p.is_idle(Some(9), t + minute * 2), "and still more");
        assert!(p.is_idle(Some(9), t + minute * 3), "marks of transactions");
        assert!(!p.may_be_idle(t + minute * 9, minute), "said once");
        p.take(9, Some(b"c"), RecordTime::default(), t + minute * 10);
        p.at_end = true;
        assert!(p.may_be_idle(t + minute * 11, minute), "and again after new records");
    }

    #[test]
    fn repeats_and_records_beyond_the_end_are_left_out() {
        let t = Instant::now();
        let mut p = Part::new(&assigned(), true, t);
        for offset in [4, 5, 5, 6, 7, 8] {
            p.take(offset, Some(b"x"), RecordTime::default(), t);
        }
        assert_eq!(p.gathered.spans.iter().map(|s| s.offset).collect::<Vec<_>>(), [5, 6]);
        assert!(!p.is_caught_up(), "not before the records are handed out");
        p.gathered.clear();
        assert!(p.is_caught_up());
    }
}
