//! A partition's watermark: the running maximum of the median of its last 15 event times, less the
//! lateness.
//!
//! The median keeps one producer with a wrong clock from pushing it ahead; it depends on the
//! partition's records alone. [`super::clock`] decides which records are observed here at all.

/// Number of event times whose median counts.
pub const MEDIAN_OF: usize = 15;

/// This many of the last event times are at the level or beyond: in sparse traffic the median is
/// hours behind the newest event.
const AT_LEVEL: usize = 3;

/// Everything before this event time is assumed to have arrived. `i64::MIN` until 15 events were
/// seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    recent: [i64; MEDIAN_OF],
    seen: u64,
    median: i64,
    /// How far events have come: the running maximum of the third largest of the last times, or
    /// more.
    level: i64,
    lateness: i64,
}

impl Watermark {
    /// A watermark before any event; `lateness` in microseconds.
    #[must_use]
    pub fn new(lateness: i64) -> Self {
        Self { recent: [0; MEDIAN_OF], seen: 0, median: i64::MIN, level: i64::MIN, lateness }
    }

    /// Rebuilds a watermark from a [`Watermark::state`].
    #[must_use]
    pub fn restore(state: &WatermarkState, lateness: i64) -> Self {
        let mut w = Self::new(lateness);
        w.seen = state.seen;
        w.median = state.median;
        for (slot, t) in w.recent.iter_mut().zip(&state.recent) {
            *slot = *t;
        }
        w.level = state.level.unwrap_or_else(|| w.median.max(w.third()));
        w
    }

    /// What a checkpoint keeps.
    #[must_use]
    pub fn state(&self) -> WatermarkState {
        let recent = self.recent.to_vec();
        WatermarkState { seen: self.seen, median: self.median, recent, level: Some(self.level) }
    }

    /// Takes note of an event time.
    pub fn observe(&mut self, time_us: i64) {
        self.recent[(self.seen % MEDIAN_OF as u64) as usize] = time_us;
        self.seen += 1;
        if self.seen >= MEDIAN_OF as u64 {
            let mut sorted = self.recent;
            let (_, median, beyond) = sorted.select_nth_unstable(MEDIAN_OF / 2);
            self.median = self.median.max(*median);
            let third = *beyond.select_nth_unstable(beyond.len() - AT_LEVEL).1;
            self.level = self.level.max(third);
        } else {
            self.level = self.level.max(self.third());
        }
    }

    /// The third largest of the last times, of two the smaller one.
    fn third(&self) -> i64 {
        let n = MEDIAN_OF.min(self.seen as usize);
        let mut sorted = self.recent;
        sorted[..n].sort_unstable();
        sorted[..n].get(n.saturating_sub(AT_LEVEL)).copied().unwrap_or(i64::MIN)
    }

    /// Event times observed.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How far events have come; `None` before the first.
    #[must_use]
    pub fn level(&self) -> Option<i64> {
        (self.level != i64::MIN).then_some(self.level)
    }

    /// Raises the level to this time, although hardly any of its events were observed yet.
    pub fn raise(&mut self, level: i64) {
        self.level = self.level.max(level);
    }

    /// The last event times, the oldest first.
    pub fn recent(&self) -> impl Iterator<Item = i64> {
        let n = MEDIAN_OF.min(self.seen as usize);
        (0..n).map(move |i| self.recent[((self.seen as usize - n) + i) % MEDIAN_OF])
    }

    /// The time of most of the recent events, which no single clock can move; `None` before there
    /// are enough.
    #[must_use]
    pub fn median(&self) -> Option<i64> {
        (self.median != i64::MIN).then_some(self.median)
    }

    /// The watermark, in microseconds.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.median.saturating_sub(self.lateness)
    }
}

/// A watermark at rest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WatermarkState {
    /// Events seen.
    pub seen: u64,
    /// Largest median so far.
    pub median: i64,
    /// The last event times, as a ring.
    pub recent: Vec<i64>,
    /// How far events have come; derived from the other fields where an earlier version wrote them.
    #[serde(default)]
    pub level: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_wrong_clock_does_not_push_it() {
        let mut w = Watermark::new(10);
        for t in 0..100 {
            w.observe(if t % 5 == 0 { 1_000_000 + t } else { t });
        }
        assert!(w.get() < 100);
        assert!(w.get() > 50);
    }

    #[test]
    fn it_waits_for_enough_events() {
        let mut w = Watermark::new(0);
        (0..14).for_each(|_| w.observe(1 << 40));
        assert_eq!(w.get(), i64::MIN);
        w.observe(1 << 40);
        assert_eq!(w.get(), 1 << 40);
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_survives_a_restart(times in proptest::collection::vec(0i64..10_000, 1..80), cut in 0usize..80) {
            let mut whole = Watermark::new(7);
            let mut parts = Watermark::new(7);
            let mut last = i64::MIN;
            for (i, t) in times.iter().enumerate() {
                whole.observe(*t);
                if i == cut {
                    parts = Watermark::restore(&parts.state(), 7);
                }
                parts.observe(*t);
                prop_assert!(whole.get() >= last);
                last = whole.get();
            }
            prop_assert_eq!(whole, parts);
        }
    }
}
