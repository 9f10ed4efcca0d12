//! The state of one assigned partition: its position, gathered messages, and whether it is idle. No
//! I/O.

use super::context::PartitionStart;
use crate::source::buffer::MessageBuffer;
use crate::source::records::RecordTime;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two requests for the end of a quiet partition.
const RECHECK: Duration = Duration::from_secs(5);

/// An assigned partition.
#[derive(Debug)]
pub struct AssignedPartition {
    /// The next offset to read; `None` if the start of the log is unknown.
    pub next: Option<i64>,
    /// One past the last offset, as last reported.
    pub high: Option<i64>,
    /// The id of the topic, if known.
    pub log: Option<Arc<str>>,
    /// Messages of the next chunk.
    pub gathered: MessageBuffer,
    /// When the first of them arrived.
    gathered_since: Instant,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether the client is at the end of the partition.
    pub at_end: bool,
    /// Whether its finite input is read to its end.
    pub ended: bool,
    /// The end of a finite input.
    end: Option<i64>,
    quiet_since: Instant,
    idle_reported: bool,
    /// When to ask for its end again, and the last end beyond the position.
    recheck: Option<(Instant, Option<i64>)>,
}

impl AssignedPartition {
    /// A partition that was just assigned.
    pub fn new(a: &PartitionStart, until_caught_up: bool, now: Instant) -> Self {
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
            idle_reported: false,
            recheck: None,
        }
    }

    /// Continues with the new log of a recreated topic, from `low`.
    pub fn restart_log(&mut self, log: Option<Arc<str>>, (low, high): (i64, i64)) {
        self.next = Some(low);
        self.high = Some(high);
        self.log = log;
        self.at_end = false;
        self.recheck = None;
        self.end = self.end.map(|_| high);
    }

    /// Adds a message. Skips one that was read before (the client may repeat some after an
    /// assignment), and one beyond the end.
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
        self.idle_reported = false;
        self.recheck = None;
        self.quiet_since = now;
    }

    /// Whether a finite input is read to its end. The last offsets may be transaction markers,
    /// which are not messages.
    pub fn is_caught_up(&self) -> bool {
        let passed = self.end.is_some_and(|end| self.next.is_some_and(|n| n >= end));
        !self.ended && self.gathered.is_empty() && (passed || self.at_end)
    }

    /// Whether the gathered messages have waited long enough. A finite input doesn't wait.
    pub fn is_due(&self, now: Instant, linger: Duration) -> bool {
        self.end.is_some() || now.duration_since(self.gathered_since) >= linger
    }

    /// Whether to ask the broker for the partition's end.
    pub fn may_be_idle(&self, now: Instant, idle: Duration) -> bool {
        let due = self.recheck.is_none_or(|(at, _)| now >= at);
        self.at_end
            && !self.idle_reported
            && !self.paused
            && due
            && now.duration_since(self.quiet_since) >= idle
    }

    /// Whether the partition is idle, given its end by the broker. A position before the end counts
    /// if the same end is reported twice: the offsets between are not messages, since the broker
    /// would have sent them.
    pub fn is_idle(&mut self, high: Option<i64>, now: Instant) -> bool {
        let Some(high) = high else {
            self.recheck = Some((now + RECHECK, None));
            return false;
        };
        self.high = Some(high);
        let at_high = self.next.is_none_or(|n| n >= high);
        let seen_before = self.recheck.is_some_and(|(_, seen)| seen == Some(high));
        if at_high || seen_before {
            self.idle_reported = true;
            self.recheck = None;
            return true;
        }
        self.recheck = Some((now + RECHECK, Some(high)));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned() -> PartitionStart {
        PartitionStart {
            partition: 0,
            next: Some(5),
            high: Some(7),
            lost_position: None,
            log: None,
            recreated: false,
        }
    }

    fn part(now: Instant) -> AssignedPartition {
        AssignedPartition::new(&assigned(), false, now)
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
        let mut p = AssignedPartition::new(&assigned(), true, t);
        for offset in [4, 5, 5, 6, 7, 8] {
            p.take(offset, Some(b"x"), RecordTime::default(), t);
        }
        assert_eq!(p.gathered.spans.iter().map(|s| s.offset).collect::<Vec<_>>(), [5, 6]);
        assert!(!p.is_caught_up(), "not before the records are handed out");
        p.gathered.clear();
        assert!(p.is_caught_up());
    }
}
