//! A pane: the sketches of one segment over one short stretch of event time.

use super::events::{Definition, Definitions, Events};
use super::filling::SegmentSum;
use super::packed::PackedError;
use crate::config::features::{Feature, FeatureKind, clipped, scaled};
use crate::config::segments::Groupings;
use crate::enrich::{Batch, Plan, Row, Value};
use crate::sketch::{
    Body, CategorySketch, MissingSketch, NumericSketch, RateSketch, Sketch, SketchId, TokenSketch,
    UnlikeSketches, VectorSketch, session_bucket,
};
use std::sync::Arc;

/// A segment: its grouping (by index in [`Groupings::all`]) and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    /// Index of the grouping.
    pub grouping: u16,
    /// `tenant=birch`; empty for the whole stream.
    pub name: Arc<str>,
}

/// What one segment's events left in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SketchSet {
    /// Sketches by feature index; `None` where no event carried the feature.
    pub sketches: Vec<Option<Box<Sketch>>>,
}

impl SketchSet {
    /// Adds another stretch, or another partition's part of the same one.
    ///
    /// # Errors
    /// When sketches of one feature were made by different definitions.
    pub fn merge(&mut self, other: &Self) -> Result<(), UnlikeSketches> {
        self.merge_wanted(other, &|_| true)
    }

    /// As [`SketchSet::merge`], of the wanted features only.
    ///
    /// # Errors
    /// As there.
    pub fn merge_wanted(
        &mut self,
        other: &Self,
        wanted: &impl Fn(usize) -> bool,
    ) -> Result<(), UnlikeSketches> {
        self.room_for(other);
        for (f, (mine, theirs)) in self.sketches.iter_mut().zip(&other.sketches).enumerate() {
            match (mine, theirs) {
                (_, None) => {}
                _ if !wanted(f) => {}
                (Some(a), Some(b)) => a.merge(b)?,
                (a @ None, Some(b)) => *a = Some(b.clone()),
            }
        }
        Ok(())
    }

    /// Adds another stretch and keeps its sketches where there was none, instead of copying them.
    ///
    /// # Errors
    /// As [`SketchSet::merge`].
    pub fn absorb(&mut self, other: Self) -> Result<(), UnlikeSketches> {
        self.room_for(&other);
        for (mine, theirs) in self.sketches.iter_mut().zip(other.sketches) {
            match (mine, theirs) {
                (_, None) => {}
                (Some(a), Some(b)) => a.merge(&b)?,
                (a @ None, b) => *a = b,
            }
        }
        Ok(())
    }

    /// Bounds the values of each category to `most`; returns how many were folded. What is left is
    /// cheap to copy and to add to several sums.
    pub fn fold(&mut self, most: usize) -> u64 {
        let all = self.sketches.iter_mut().flatten();
        let folded = all.map(|s| match &mut s.body {
            Body::Category(c) => c.fold(most),
            _ => 0,
        });
        let folded = folded.sum();
        self.settle();
        folded
    }

    /// Makes it cheap to copy and to add to several sums.
    pub fn settle(&mut self) {
        for sketch in self.sketches.iter_mut().flatten() {
            if let Body::Category(c) = &mut sketch.body {
                c.settle();
            }
        }
    }

    fn room_for(&mut self, other: &Self) {
        if self.sketches.len() < other.sketches.len() {
            self.sketches.resize_with(other.sketches.len(), || None);
        }
    }

    /// About how many bytes of memory its sketches take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let places = self.sketches.capacity() * size_of::<Option<Box<Sketch>>>();
        places + self.sketches.iter().flatten().map(|s| s.memory_bytes()).sum::<usize>()
    }

    /// Which session buckets any event filled, as a bitmap.
    #[must_use]
    pub fn filled_buckets(&self) -> u32 {
        self.sketches.iter().flatten().fold(0, |set, s| set | s.events().used())
    }
}

/// A segment's part of a stretch of time: a pane that closed (or, in a checkpoint, is still open), which is one row of the internal
/// `_panes`; an hour; a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneRow<C = SketchSet> {
    /// Where it starts, microseconds.
    pub start: i64,
    /// The watermark at which it closes: its end, or for late events the end of the pane in which the watermark stood when they
    /// came. It counts in windows evaluated at this time or later.
    pub close_at: i64,
    /// The segment, of a grouping that is sketched directly.
    pub segment: Segment,
    /// What it holds.
    pub contents: C,
}

/// Fills panes from batches; knows the features and the ids of their sketches.
#[derive(Debug)]
pub struct Filler {
    features: Vec<(Feature, SketchId)>,
    definitions: Definitions,
    /// What segments are made of.
    pub groupings: Arc<Groupings>,
}

impl Filler {
    /// A filler for a plan.
    #[must_use]
    pub fn new(plan: &Plan, groupings: Arc<Groupings>) -> Self {
        let features: Vec<_> = plan.features.iter().map(|f| (f.clone(), plan.sketch_id(f))).collect();
        let definitions = features.iter().map(|(f, id)| Definition::new(f, *id)).collect();
        Self { features, definitions, groupings }
    }

    /// What the features' sketches are made by.
    #[must_use]
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// No events yet.
    #[must_use]
    pub fn nothing(&self) -> SegmentSum {
        SegmentSum::Events(Events::new(Arc::clone(&self.definitions)))
    }

    /// Adds rows of a batch, in their order, to what a segment holds.
    ///
    /// # Errors
    /// When what it holds are damaged bytes.
    pub fn add(&self, filling: &mut SegmentSum, batch: &Batch, rows: &[u32]) -> Result<(), PackedError> {
        for (done, &row) in rows.iter().enumerate() {
            let i = row as usize;
            match filling {
                SegmentSum::Events(e) if e.has_room_for(1) && e.takes(batch, i) => e.push(batch, i),
                _ => {
                    self.sketch(filling.sketches()?, batch, &rows[done..]);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sketches rows of a batch into contents: feature by feature, so that one sketch is worked on at a time.
    pub(super) fn sketch(&self, contents: &mut SketchSet, batch: &Batch, rows: &[u32]) {
        let features = self.features.len();
        if contents.sketches.len() < features {
            contents.sketches.resize_with(features, || None);
        }
        for (f, ((feature, sketch_id), slot)) in self.features.iter().zip(&mut contents.sketches).enumerate()
        {
            for &i in rows {
                let (row, value) = (&batch.rows[i as usize], &batch.values[i as usize * features + f]);
                if !matches!(value, Value::Missing) {
                    let sketch = slot.get_or_insert_with(|| Box::new(empty(feature.kind, *sketch_id)));
                    add_value(feature, &mut sketch.body, value, batch, row);
                }
            }
        }
    }
}

/// An empty sketch for a kind of feature.
#[must_use]
pub fn empty(kind: FeatureKind, id: SketchId) -> Sketch {
    let body = match kind {
        FeatureKind::Tokens => Body::Tokens(TokenSketch::default()),
        FeatureKind::Categorical => Body::Category(CategorySketch::default()),
        FeatureKind::Numeric => Body::Numeric(NumericSketch::default()),
        FeatureKind::Rate | FeatureKind::Volume => Body::Rate(RateSketch::default()),
        FeatureKind::Embedding => Body::Vector(VectorSketch::default()),
        FeatureKind::Missing => Body::Missing(MissingSketch::default()),
    };
    Sketch { id, body }
}

fn add_value(feature: &Feature, body: &mut Body, value: &Value, batch: &Batch, row: &Row) {
    let bucket = session_bucket(row.session);
    let request = || (row.request, &batch.ids[Batch::range(&row.request_id)]);
    match (body, value) {
        (Body::Tokens(s), Value::Tokens(r)) => {
            s.add(&batch.tokens[Batch::range(r)], bucket, row.session, row.user)
        }
        (Body::Category(s), Value::Text(v)) => s.add([v], bucket, row.session, row.user),
        (Body::Category(s), Value::Names(r)) => {
            s.add(&batch.names[Batch::range(r)], bucket, row.session, row.user);
        }
        (Body::Numeric(s), Value::Num(x)) => {
            let by_session = feature.test == crate::config::features::Test::Shape;
            let mean = clipped(feature.clip, *x);
            s.add(*x, mean, scaled(feature.log, mean), bucket, row.session, by_session);
        }
        (Body::Rate(s), Value::Flag(v)) => s.add(*v, bucket, row.session, request()),
        (Body::Rate(s), Value::Event) => {
            s.count(bucket, row.session, (!row.opt_out).then(request), row.user);
        }
        (Body::Vector(s), Value::Vector(i)) => {
            let (unit, projected) = batch.vector(*i);
            s.add(unit, projected, bucket, row.session, request());
        }
        (Body::Missing(s), Value::Lacking { group, fields }) => s.add(*group, *fields, bucket, row.session),
        // The configuration lets a feature read only from fields that fit its kind.
        _ => debug_assert!(false, "a value that does not fit the feature {}", feature.name),
    }
}
