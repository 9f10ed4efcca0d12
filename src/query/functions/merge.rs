//! `merge_sketch`: many sketches into one, in parallel, and over sliding frames.

use super::argument::ArgumentType;
use super::listing::{FunctionListing, SECTION};
use super::sketch_bytes::decode;
use crate::sketch::{Body, Sketch, UnlikeSketches};
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray};
use arrow::datatypes::DataType;
use datafusion::common::{
    DataFusionError, Result, ScalarValue, exec_datafusion_err, internal_datafusion_err, plan_err,
};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility};

/// The aggregate function.
#[derive(Debug)]
pub(super) struct MergeSketch {
    signature: Signature,
    documentation: Documentation,
}

impl MergeSketch {
    pub(super) fn new() -> Self {
        let documentation = Documentation::builder(
            SECTION,
            "All sketches of a group merged into one, exactly as if it had been made of all their events. They must be of one feature \
             and definition: group by feature, and by sketch_id where definitions have changed. Also over sliding frames (OVER).",
            "merge_sketch(sketch)",
        )
        .with_sql_example(
            "SELECT segment, sketch_quantile(merge_sketch(sketch), 0.95) FROM panes WHERE feature = 'latency_ms' GROUP BY segment",
        )
        .with_argument("sketch", "The column sketch of panes")
        .build();
        Self { signature: Signature::user_defined(Volatility::Immutable), documentation }
    }

    /// The function's row of `SHOW FUNCTIONS`.
    pub(super) fn listing(self) -> FunctionListing {
        FunctionListing {
            name: "merge_sketch".to_owned(),
            kind: "AGGREGATE",
            returns: DataType::BinaryView,
            arguments: &[ArgumentType::Sketch],
            documentation: self.documentation,
        }
    }
}

impl PartialEq for MergeSketch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for MergeSketch {}

impl std::hash::Hash for MergeSketch {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        "merge_sketch".hash(state);
    }
}

impl AggregateUDFImpl for MergeSketch {
    fn name(&self) -> &'static str {
        "merge_sketch"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::BinaryView)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [given] = given else {
            return plan_err!("merge_sketch(sketch) takes 1 argument, {} given", given.len());
        };
        match ArgumentType::Sketch.accepts(given) {
            Some(to) => Ok(vec![to]),
            None => plan_err!(
                "argument 1 of merge_sketch(sketch) must be {}, not {given}",
                ArgumentType::Sketch.description()
            ),
        }
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(MergeAccumulator::default()))
    }

    fn create_sliding_accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SlidingMergeAccumulator::default()))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn unlike(e: &UnlikeSketches) -> DataFusionError {
    exec_datafusion_err!("{e}; group by feature and sketch_id")
}

fn add(sum: &mut Option<Sketch>, sketch: &Sketch) -> Result<()> {
    match sum {
        Some(s) => s.merge(sketch).map_err(|e| unlike(&e)),
        None => {
            *sum = Some(sketch.clone());
            Ok(())
        }
    }
}

fn column(values: &[ArrayRef]) -> Result<&BinaryViewArray> {
    let column = values.first().and_then(|v| v.as_binary_view_opt());
    column.ok_or_else(|| internal_datafusion_err!("merge_sketch got a column that is no binary view"))
}

fn value(sketch: Option<&Sketch>) -> ScalarValue {
    ScalarValue::BinaryView(sketch.map(Sketch::encode))
}

/// Approximate bytes that a sketch takes in memory.
fn size(sketch: &Sketch) -> usize {
    let body = match &sketch.body {
        Body::Tokens(s) => s.tokens().size_hint().0 * 32 + s.presence().size_hint().0 * 16,
        Body::Category(s) => s.kept() * 256,
        Body::Numeric(s) => s.quantiles().by_session().size_hint().0 * 16,
        Body::Rate(_) => 0,
        Body::Vector(s) => 8 * 32 * (s.projected_length() + 16),
        Body::Missing(s) => s.groups().len() * 1024,
    };
    // Session buckets, distinct sessions and examples.
    size_of::<Sketch>() + body + 4096
}

#[derive(Debug, Default)]
struct MergeAccumulator {
    sum: Option<Sketch>,
}

impl Accumulator for MergeAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        column(values)?.iter().flatten().try_for_each(|b| add(&mut self.sum, &decode(b)?))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(value(self.sum.as_ref()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sum.as_ref().map_or(0, size)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// A queue with a running merge, made of two stacks: unions can't be subtracted from a merged
/// sketch, so the older half is stored as running merges from its newest to its oldest. Each sketch
/// is merged twice, whatever the length of the frame.
#[derive(Debug, Default)]
struct SlidingMergeAccumulator {
    /// Newest last.
    back: Vec<Sketch>,
    back_sum: Option<Sketch>,
    /// Each is the merge of itself and all newer sketches of this half; the oldest last.
    front: Vec<Sketch>,
}

impl SlidingMergeAccumulator {
    fn push(&mut self, sketch: Sketch) -> Result<()> {
        add(&mut self.back_sum, &sketch)?;
        self.back.push(sketch);
        Ok(())
    }

    fn pop(&mut self) -> Result<()> {
        if self.front.is_empty() {
            self.back_sum = None;
            for mut s in self.back.drain(..).rev() {
                if let Some(newer) = self.front.last() {
                    s.merge(newer).map_err(|e| unlike(&e))?;
                }
                self.front.push(s);
            }
        }
        self.front.pop();
        Ok(())
    }
}

impl Accumulator for SlidingMergeAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        column(values)?.iter().flatten().try_for_each(|b| self.push(decode(b)?))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = column(values)?;
        (column.null_count()..column.len()).try_for_each(|_| self.pop())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = self.front.last().cloned();
        if let Some(back) = &self.back_sum {
            add(&mut sum, back)?;
        }
        Ok(value(sum.as_ref()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.back.iter().chain(&self.front).chain(&self.back_sum).map(size).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
