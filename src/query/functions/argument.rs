//! The types of arguments: what fits, and how errors name them.

use arrow::datatypes::DataType;

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArgumentType {
    /// A sketch's bytes.
    Sketch,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// Text.
    Text,
}

impl ArgumentType {
    /// The type to which a value of type `given` is converted; `None` where it does not fit. Views
    /// share a repeated sketch's bytes between rows, so that a baseline joined to every row is in
    /// memory once.
    pub(super) fn accepts(self, given: &DataType) -> Option<DataType> {
        use DataType::{Binary, BinaryView, Float64, Int64, LargeBinary, LargeUtf8, Null, Utf8, Utf8View};
        let to = match self {
            Self::Sketch => matches!(given, Binary | LargeBinary | BinaryView).then_some(BinaryView),
            Self::Number => given.is_numeric().then_some(Float64),
            Self::Integer => given.is_integer().then_some(Int64),
            Self::Text => matches!(given, Utf8 | LargeUtf8 | Utf8View).then_some(Utf8View),
        };
        to.or_else(|| (*given == Null).then(|| self.of_null()))
    }

    fn of_null(self) -> DataType {
        match self {
            Self::Sketch => DataType::BinaryView,
            Self::Number => DataType::Float64,
            Self::Integer => DataType::Int64,
            Self::Text => DataType::Utf8View,
        }
    }

    /// Its type by the name under which DataFusion lists it.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Sketch => "Binary",
            Self::Number => "Float64",
            Self::Integer => "Int64",
            Self::Text => "String",
        }
    }

    /// What it is, for errors.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Sketch => "a sketch (the column sketch of panes, or merge_sketch of it)",
            Self::Number => "a number",
            Self::Integer => "a whole number",
            Self::Text => "text",
        }
    }
}
