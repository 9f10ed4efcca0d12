//! Panes that leave a partition, and those that stay: what closes, what a checkpoint keeps, and how
//! little room it takes.

use super::{OpenPane, Partition};
use crate::event::time::floor;
use crate::window::clock::Reach;
use crate::window::filling::{Pane, SegmentSum};
use crate::window::pane::PaneRow;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

impl Partition {
    /// Takes out the panes that the watermark has closed, sorted by closing time, start and
    /// segment.
    pub fn take_closed(&mut self) -> Vec<Pane> {
        self.take_until(self.clock.watermark())
    }

    /// Takes out all open panes, since the partition is silent or its input has ended, and those
    /// that stand apart within reach; says where the watermark would stand if these were believed,
    /// if enough records have come.
    pub fn flush(&mut self, reach: Reach) -> (Vec<Pane>, Option<i64>) {
        let quiet = self.clock.quiet(reach);
        quiet.counted.iter().for_each(|r| self.count(r, true));
        quiet.uncounted.iter().for_each(|r| self.uncount(r));
        let mut rows = self.take_until(i64::MAX);
        if let Some(last) = quiet.last {
            let rest = self.apart.split_off(&last.saturating_add(1));
            let taken = std::mem::replace(&mut self.apart, rest);
            self.rows(
                taken.into_iter().map(|(start, pane)| ((start.saturating_add(self.times.pane), start), pane)),
                &mut rows,
            );
            self.forget_names_unless_few();
        }
        (rows, quiet.likely)
    }

    fn take_until(&mut self, mark: i64) -> Vec<Pane> {
        let rest =
            if mark == i64::MAX { BTreeMap::new() } else { self.open.split_off(&(mark + 1, i64::MIN)) };
        let closed = std::mem::replace(&mut self.open, rest);
        let mut rows = Vec::new();
        self.rows(closed.into_iter(), &mut rows);
        self.forget_names_unless_few();
        rows
    }

    /// Appends panes, the segments of each in order.
    fn rows(&self, panes: impl Iterator<Item = ((i64, i64), OpenPane)>, rows: &mut Vec<Pane>) {
        for ((close_at, start), pane) in panes {
            let from = rows.len();
            rows.extend(pane.into_iter().map(|(id, contents)| self.row(start, close_at, id, contents)));
            rows[from..].sort_by(|a: &Pane, b: &Pane| a.segment.cmp(&b.segment));
        }
    }

    fn forget_names_unless_few(&mut self) {
        let none = self.open.is_empty() && self.apart.is_empty();
        if self.segments.len() > 2 * self.open_rows() + self.limits.names || none {
            self.forget_names();
        }
    }

    /// Drops the names of segments that no open pane has: they would stay for ever otherwise.
    fn forget_names(&mut self) {
        let named = std::mem::take(&mut self.segments);
        self.index.iter_mut().for_each(FxHashMap::clear);
        let again = |p: &mut Self, pane: OpenPane| -> OpenPane {
            let renamed = pane.into_iter().map(|(id, contents)| {
                let segment = &named[id as usize];
                (p.intern(segment.grouping, &segment.name), contents)
            });
            renamed.collect()
        };
        for (at, pane) in std::mem::take(&mut self.open) {
            let pane = again(self, pane);
            self.open.insert(at, pane);
        }
        for (at, pane) in std::mem::take(&mut self.apart) {
            let pane = again(self, pane);
            self.apart.insert(at, pane);
        }
    }

    /// Rows that [`Partition::open_panes`] would have.
    #[must_use]
    pub fn open_rows(&self) -> usize {
        self.open.values().chain(self.apart.values()).map(FxHashMap::len).sum()
    }

    /// The open panes, for a checkpoint. Those that stand apart are marked by closing when they
    /// start, as no other pane does.
    #[must_use]
    pub fn open_panes(&self) -> Vec<PaneRow<&SegmentSum>> {
        let apart = self.apart.iter().map(|(start, p)| ((*start, *start), p));
        let panes = self.open.iter().map(|(at, p)| (*at, p)).chain(apart);
        panes
            .flat_map(|((close_at, start), p)| p.iter().map(move |(id, c)| self.row(start, close_at, *id, c)))
            .collect()
    }

    /// Packs the panes that little is added to by now: all but that in which most of the recent
    /// events fall and the one after. Of dense traffic they are most of a job's memory, and a
    /// checkpoint writes them as bytes anyway.
    pub fn pack_others(&mut self) {
        let Some(median) = self.clock.median() else { return };
        let current = floor(median, self.times.pane);
        let filled = current..=current.saturating_add(self.times.pane);
        let others = self.open.iter_mut().filter(|((_, start), _)| !filled.contains(start));
        others.flat_map(|(_, pane)| pane.values_mut()).for_each(SegmentSum::pack);
    }

    /// About how many bytes of memory the open panes take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let panes = self.open.values().chain(self.apart.values());
        panes.flat_map(FxHashMap::values).map(SegmentSum::memory_bytes).sum()
    }

    fn row<C>(&self, start: i64, close_at: i64, id: u32, contents: C) -> PaneRow<C> {
        PaneRow { start, close_at, segment: self.segments[id as usize].clone(), contents }
    }
}
