//! Tokens and their text, shown only where enough users used them.

use super::argument::ArgumentType;
use super::listing::SECTION;
use super::scalar::{CallRows, ScalarFunction};
use super::sketch_bytes::decode;
use crate::enrich::{token_of, token_text};
use crate::sketch::{Body, TokenCount, TokenSketch};
use arrow::array::{
    ArrayRef, Float64Builder, ListBuilder, StringArray, StringBuilder, StructBuilder, UInt32Array,
    UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::Documentation;
use std::sync::Arc;

pub(super) fn functions(min_users: u32) -> Vec<ScalarFunction> {
    let fields = token_fields();
    vec![
        ScalarFunction::new(
            "top_tokens",
            &[ArgumentType::Sketch, ArgumentType::Integer],
            DataType::List(Arc::new(Field::new("item", DataType::Struct(fields), true))),
            top_tokens,
            Documentation::builder(
                SECTION,
                format!(
                    "The k most frequent tokens of prompts with their count and their share of all tokens, most frequent first. \
                     A token that fewer than {min_users} distinct users used is not listed. NULL for other features."
                ),
                "top_tokens(sketch, k)",
            )
            .with_sql_example("SELECT unnest(unnest(top_tokens(merge_sketch(sketch), 20))) FROM panes WHERE feature = 'prompt_tokens'")
            .with_argument("sketch", "A sketch of prompt tokens")
            .with_argument("k", "How many")
            .build(),
        )
        .min_users(min_users),
        ScalarFunction::new(
            "token_text",
            &[ArgumentType::Integer],
            DataType::Utf8,
            |rows, _| {
                let of = |i| token_text(u32::try_from(rows.integer(0, i)?).ok()?);
                Ok(Arc::new((0..rows.len).map(of).collect::<StringArray>()))
            },
            Documentation::builder(
                SECTION,
                "The text of a CLIP token; one that is continued by the next has a hyphen behind it. NULL for a number that is none.",
                "token_text(id)",
            )
            .with_argument("id", "The token's number")
            .build(),
        ),
        ScalarFunction::new(
            "token_id",
            &[ArgumentType::Text],
            DataType::UInt32,
            |rows, _| {
                let of = |i| token_of(rows.text(0, i)?);
                Ok(Arc::new((0..rows.len).map(of).collect::<UInt32Array>()))
            },
            Documentation::builder(
                SECTION,
                "The CLIP token of a whole word; NULL where a word is made of several.",
                "token_id(word)",
            )
            .with_argument("word", "A word")
            .build(),
        ),
    ]
}

fn token_fields() -> Fields {
    Fields::from(vec![
        Field::new("token", DataType::UInt32, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("count", DataType::UInt64, false),
        Field::new("share", DataType::Float64, false),
    ])
}

fn top_tokens(rows: &CallRows, min_users: u32) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(StructBuilder::from_fields(token_fields(), 0));
    for i in 0..rows.len {
        let (Some(bytes), Some(k)) = (rows.sketch(0, i), rows.integer(1, i)) else {
            out.append_null();
            continue;
        };
        let Ok(k) = usize::try_from(k) else {
            return exec_err!("top_tokens lists k tokens, and k can't be {k}");
        };
        let sketch = decode(bytes)?;
        let Body::Tokens(tokens) = &sketch.body else {
            out.append_null();
            continue;
        };
        let total = tokens.total().max(1) as f64;
        for (token, c) in most_frequent(tokens, k, min_users) {
            append(out.values(), token, c.count, c.count as f64 / total);
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// The k most frequent tokens that enough users used; of equally frequent ones the lower id first.
fn most_frequent(sketch: &TokenSketch, k: usize, min_users: u32) -> Vec<(u32, TokenCount)> {
    let mut all: Vec<_> = sketch.tokens().filter(|(_, c)| c.users.count_ones() >= min_users).collect();
    all.sort_unstable_by(|a, b| b.1.count.cmp(&a.1.count).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn append(row: &mut StructBuilder, token: u32, count: u64, share: f64) {
    if let Some(b) = row.field_builder::<UInt32Builder>(0) {
        b.append_value(token);
    }
    if let Some(b) = row.field_builder::<StringBuilder>(1) {
        b.append_option(token_text(token));
    }
    if let Some(b) = row.field_builder::<UInt64Builder>(2) {
        b.append_value(count);
    }
    if let Some(b) = row.field_builder::<Float64Builder>(3) {
        b.append_value(share);
    }
    row.append(true);
}
