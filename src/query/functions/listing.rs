//! Functions as `SHOW FUNCTIONS` lists them.

use super::argument::ArgumentType;
use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{DocSection, Documentation};
use std::sync::Arc;

/// The section of the functions' documentation.
pub(super) const SECTION: DocSection = DocSection {
    include: true,
    label: "Sketch Functions",
    description: Some("Functions over sketches of features"),
};

/// One row of `SHOW FUNCTIONS`.
pub(super) struct FunctionListing {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) returns: DataType,
    pub(super) arguments: &'static [ArgumentType],
    pub(super) documentation: Documentation,
}

/// The rows in the columns of `SHOW FUNCTIONS`.
///
/// # Errors
/// When the columns don't fit together, which is a mistake in this function.
pub(super) fn listing_batch(all: &[FunctionListing]) -> Result<RecordBatch, DataFusionError> {
    let text = |of: &dyn Fn(&FunctionListing) -> String| -> ArrayRef {
        Arc::new(all.iter().map(|l| Some(of(l))).collect::<StringArray>())
    };
    let lists = |of: &dyn Fn(&FunctionListing) -> Vec<String>| -> ArrayRef {
        let mut out = ListBuilder::new(StringBuilder::new());
        for l in all {
            out.append_value(of(l).into_iter().map(Some));
        }
        Arc::new(out.finish())
    };
    let argument_names =
        |l: &FunctionListing| l.documentation.arguments.iter().flatten().map(|a| a.0.clone()).collect();
    let argument_types = |l: &FunctionListing| l.arguments.iter().map(|a| a.type_name().to_owned()).collect();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("function_name", text(&|l| l.name.clone()), true),
        ("return_type", text(&|l| type_name(&l.returns).to_owned()), true),
        ("parameters", lists(&argument_names), true),
        ("parameter_types", lists(&argument_types), true),
        ("function_type", text(&|l| l.kind.to_owned()), true),
        ("description", text(&|l| l.documentation.description.clone()), true),
        ("syntax_example", text(&|l| l.documentation.syntax_example.clone()), true),
    ])?)
}

/// A type by the name under which DataFusion lists it.
fn type_name(of: &DataType) -> &'static str {
    match of {
        DataType::Float64 => "Float64",
        DataType::UInt64 => "UInt64",
        DataType::UInt32 => "UInt32",
        DataType::List(_) => "List(Struct)",
        DataType::BinaryView => "Binary",
        _ => "String",
    }
}
