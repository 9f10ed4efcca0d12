//! Fills panes: adds the events of a batch to what their segments hold.

use super::events::{Definition, Definitions, Events};
use super::packed::PackedError;
use super::segment_sum::SegmentSum;
use super::sketch_set::{SketchSet, empty};
use crate::config::features::{Feature, clipped, counted, scaled};
use crate::config::segments::Groupings;
use crate::enrich::{Batch, Plan, Row, Value};
use crate::sketch::{Body, SketchId, session_bucket};
use std::sync::Arc;

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
            let x = counted(feature.kind, *x);
            let mean = clipped(feature.clip, x);
            s.add(x, mean, scaled(feature.log, mean), bucket, row.session, feature.by_session());
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
