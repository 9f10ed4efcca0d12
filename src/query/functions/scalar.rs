//! The common form of the scalar functions: typed arguments, rows, and errors that name what was
//! expected.

use super::argument::ArgumentType;
use super::listing::FunctionListing;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};

/// The rows of a call. A constant is stored once.
pub(super) struct CallRows {
    columns: Vec<(ArrayRef, bool)>,
    /// The number of rows.
    pub(super) len: usize,
}

impl CallRows {
    fn column(&self, argument: usize, row: usize) -> (&ArrayRef, usize) {
        let (array, constant) = &self.columns[argument];
        (array, if *constant { 0 } else { row })
    }

    /// A sketch's bytes.
    pub(super) fn sketch(&self, argument: usize, row: usize) -> Option<&[u8]> {
        let (a, i) = self.column(argument, row);
        a.is_valid(i).then(|| a.as_binary_view().value(i))
    }

    /// A number.
    pub(super) fn number(&self, argument: usize, row: usize) -> Option<f64> {
        let (a, i) = self.column(argument, row);
        a.is_valid(i).then(|| a.as_primitive::<Float64Type>().value(i))
    }

    /// A whole number.
    pub(super) fn integer(&self, argument: usize, row: usize) -> Option<i64> {
        let (a, i) = self.column(argument, row);
        a.is_valid(i).then(|| a.as_primitive::<Int64Type>().value(i))
    }

    /// Text.
    pub(super) fn text(&self, argument: usize, row: usize) -> Option<&str> {
        let (a, i) = self.column(argument, row);
        a.is_valid(i).then(|| a.as_string_view().value(i))
    }
}

/// Computes a function over rows; `min_users` is for functions that show tokens.
pub(super) type EvaluateRows = fn(rows: &CallRows, min_users: u32) -> Result<ArrayRef>;

/// A scalar function.
#[derive(Debug)]
pub(super) struct ScalarFunction {
    name: &'static str,
    aliases: Vec<String>,
    arguments: &'static [ArgumentType],
    returns: DataType,
    evaluate: EvaluateRows,
    min_users: u32,
    documentation: Documentation,
    signature: Signature,
}

impl ScalarFunction {
    pub(super) fn new(
        name: &'static str,
        arguments: &'static [ArgumentType],
        returns: DataType,
        evaluate: EvaluateRows,
        documentation: Documentation,
    ) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            arguments,
            returns,
            evaluate,
            min_users: 0,
            documentation,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    pub(super) fn alias(mut self, name: &str) -> Self {
        self.aliases.push(name.to_owned());
        self
    }

    /// The function under each of its names.
    pub(super) fn listings(&self) -> Vec<FunctionListing> {
        let names = std::iter::once(self.name).chain(self.aliases.iter().map(String::as_str));
        names
            .map(|name| FunctionListing {
                name: name.to_owned(),
                kind: "SCALAR",
                returns: self.returns.clone(),
                arguments: self.arguments,
                documentation: self.documentation.clone(),
            })
            .collect()
    }

    pub(super) fn min_users(mut self, min_users: u32) -> Self {
        self.min_users = min_users;
        self
    }
}

impl PartialEq for ScalarFunction {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.min_users) == (other.name, other.min_users)
    }
}

impl Eq for ScalarFunction {}

impl Hash for ScalarFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, self.min_users).hash(state);
    }
}

impl ScalarUDFImpl for ScalarFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let usage = &self.documentation.syntax_example;
        if given.len() != self.arguments.len() {
            return plan_err!("{usage} takes {} arguments, {} given", self.arguments.len(), given.len());
        }
        let mut out = Vec::with_capacity(given.len());
        for (i, (wanted, given)) in self.arguments.iter().zip(given).enumerate() {
            match wanted.accepts(given) {
                Some(to) => out.push(to),
                None => {
                    return plan_err!(
                        "argument {} of {usage} must be {}, not {given}",
                        i + 1,
                        wanted.description()
                    );
                }
            }
        }
        Ok(out)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let columns = args
            .args
            .into_iter()
            .map(|a| match a {
                ColumnarValue::Array(a) => Ok((a, false)),
                ColumnarValue::Scalar(s) => Ok((s.to_array()?, true)),
            })
            .collect::<Result<_>>()?;
        let rows = CallRows { columns, len: if constant { 1 } else { args.number_rows } };
        let out = (self.evaluate)(&rows, self.min_users)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)
        } else {
            ColumnarValue::Array(out)
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
