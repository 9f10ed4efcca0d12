//! Archives as other programs write them are read as if they had not touched them; what can't be is
//! refused by column and type.

use super::*;
use crate::enrich::{Enricher, IdHasher, Plan};
use crate::event::decode;
use crate::store::event_rows::{ArchiveBuilder, ArchiveReader, Place};
use arrow::array::{Decimal128Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{Decimal128Type, Int32Type};

/// Events with and without most fields, one of them of a user who opted out.
fn archive() -> RecordBatch {
    let full = r#"{"request_id":"r-1","session_id":"s-7","user_id_hash":"u-9","timestamp":"2026-01-12T06:00:00.123456Z",
        "pipeline_stage":"generate","region":"eu","tenant":"birch","prompt":{"text":"a fox in the forest"},
        "model":{"version":"M2","loras":["b","a"]},"params":{"sampler":"ddim","steps":30,"cfg":7.5,"seed":-3},
        "metrics":{"latency_ms":812.5},"quality":{"aesthetic":5.5,"nsfw_flag":false},"outcome":{"accepted":true}}"#;
    let bare = r#"{"request_id":"r-2","timestamp":"2026-01-12T06:00:01Z","pipeline_stage":"deliver"}"#;
    let out = full.replace(r#""region""#, r#""consent":{"opt_out":true},"region""#);
    let plan = Plan {
        features: vec![],
        dimensions: vec![],
        hasher: IdHasher::new("k"),
        hidden: Default::default(),
        vectors: None,
    };
    let (mut enricher, mut builder) = (Enricher::new(Arc::new(plan)), ArchiveBuilder::default());
    for (offset, message) in (100..).zip([full, bare, &out]) {
        let event = decode(message.as_bytes(), &mut Vec::new()).unwrap();
        let clean = enricher.clean(&event);
        let place = Place { topic: "events", partition: 3, offset, record_time_us: Some(offset * 7) };
        builder.push(&event, &clean, place);
    }
    builder.finish().unwrap()
}

/// The archive with the columns that `change` gives another form.
fn rewritten(change: impl Fn(&str, &ArrayRef) -> Option<ArrayRef>) -> RecordBatch {
    let rows = archive();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let column = change(field.name(), column).unwrap_or_else(|| Arc::clone(column));
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Every column whose type is `from` as `to`.
fn as_type(from: &DataType, to: &DataType) -> RecordBatch {
    rewritten(|_, c| (c.data_type() == from).then(|| cast(c, to).unwrap()))
}

fn list(kind: fn(Arc<Field>) -> DataType, of: DataType) -> DataType {
    kind(Arc::new(Field::new("element", of, true)))
}

/// What the events of a batch say.
fn events(batch: &RecordBatch) -> Vec<String> {
    let reader = ArchiveReader::new(batch).unwrap();
    (0..reader.len())
        .map(|i| format!("{} {:?} {:?}", reader.offset(i), reader.record_time_us(i), reader.event(i)))
        .collect()
}

fn assert_untouched(rewritten: &RecordBatch, what: &str) {
    check_types(&rewritten.schema()).unwrap();
    let read = conform(rewritten).unwrap();
    assert_eq!(read.columns(), archive().columns(), "{what}");
    assert_eq!(events(&read), events(&archive()), "{what}");
}

#[test]
fn text_in_every_form_is_text() {
    let dictionary = |key: DataType, of: DataType| DataType::Dictionary(Box::new(key), Box::new(of));
    for to in [
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        dictionary(DataType::Int32, DataType::Utf8),
        dictionary(DataType::UInt32, DataType::LargeUtf8),
    ] {
        assert_untouched(&as_type(&DataType::Utf8, &to), &format!("text as {to}"));
    }
}

#[test]
fn lists_in_every_form_are_lists() {
    for kind in [DataType::List as fn(Arc<Field>) -> DataType, DataType::LargeList, DataType::LargeListView] {
        for (name, of) in [
            ("prompt_tokens", DataType::UInt16),
            ("prompt_tokens", DataType::Int32),
            ("prompt_tokens", DataType::Int64),
            ("loras", DataType::LargeUtf8),
            ("loras", DataType::Utf8View),
        ] {
            let to = list(kind, of);
            let rows = rewritten(|n, c| (n == name).then(|| cast(c, &to).unwrap()));
            assert_untouched(&rows, &format!("{name} as {to}"));
        }
    }
}

#[test]
fn times_of_every_unit_and_zone_are_the_same_moments() {
    let own = archive().column_by_name("timestamp").unwrap().data_type().clone();
    for zone in [None, Some("UTC"), Some("+00:00"), Some("Etc/UTC"), Some("Europe/Berlin")] {
        let change = |unit: TimeUnit| {
            rewritten(|_, c| {
                // Another zone is another name of the same count from 1970.
                let to = DataType::Timestamp(unit, Some("UTC".into()));
                (*c.data_type() == own).then(|| relabelled(&cast(c, &to).unwrap(), unit, zone))
            })
        };
        assert_untouched(&change(TimeUnit::Nanosecond), &format!("nanoseconds in {zone:?}"));
        assert_untouched(&change(TimeUnit::Microsecond), &format!("microseconds in {zone:?}"));
        let coarse = conform(&change(TimeUnit::Millisecond)).unwrap();
        let at =
            coarse.column_by_name("timestamp").unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!(at % 1_000_000, 123_000, "milliseconds in {zone:?}");
    }
    let text = rewritten(|n, c| {
        let utc = |c: &ArrayRef| cast(c, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
        (n == "timestamp").then(|| cast(&utc(c), &DataType::Utf8).unwrap())
    });
    assert_untouched(&text, "times as text");
}

fn relabelled(times: &ArrayRef, unit: TimeUnit, zone: Option<&str>) -> ArrayRef {
    fn of<T: ArrowTimestampType>(times: &ArrayRef, zone: Option<&str>) -> ArrayRef {
        Arc::new(times.as_primitive::<T>().clone().with_timezone_opt(zone))
    }
    match unit {
        TimeUnit::Nanosecond => of::<TimestampNanosecondType>(times, zone),
        TimeUnit::Microsecond => of::<TimestampMicrosecondType>(times, zone),
        TimeUnit::Millisecond => of::<TimestampMillisecondType>(times, zone),
        TimeUnit::Second => of::<TimestampSecondType>(times, zone),
    }
}

#[test]
fn numbers_of_other_widths_are_the_same_numbers() {
    for (name, to) in [
        ("partition", DataType::Int64),
        ("partition", DataType::UInt8),
        ("partition", DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int64))),
        ("offset", DataType::Int32),
        ("offset", DataType::UInt64),
        ("seed", DataType::Float64),
        ("params_steps", DataType::Int32),
        ("params_cfg", DataType::Float32),
        ("quality_aesthetic", DataType::Decimal128(10, 2)),
        ("opt_out", DataType::Int8),
    ] {
        let rows = rewritten(|n, c| (n == name).then(|| cast(c, &to).unwrap()));
        assert_untouched(&rows, &format!("{name} as {to}"));
    }
}

#[test]
fn not_a_number_is_none() {
    let numbers = |values: [f64; 3]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
    let rows = rewritten(|n, _| match n {
        "seed" => Some(numbers([f64::NAN, 7.0, f64::NAN])),
        "quality_aesthetic" => Some(numbers([f64::NAN, f64::INFINITY, 5.5])),
        _ => None,
    });
    let read = conform(&rows).unwrap();
    let reader = ArchiveReader::new(&read).unwrap();
    assert_eq!([0, 1, 2].map(|i| reader.event(i).seed), [None, Some(7), None]);
    let aesthetic = [0, 1, 2].map(|i| reader.event(i).nums[crate::event::Num::Aesthetic as usize]);
    assert!(aesthetic[0].is_nan() && aesthetic[1].is_nan() && aesthetic[2] == 5.5, "{aesthetic:?}");
}

#[test]
fn hashes_survive_decimals_and_signs_whole_and_floating_point_nearly() {
    let hash = |n: &str| ["request_hash", "session_hash", "user_hash"].contains(&n);
    let of = |c: &ArrayRef| c.as_primitive::<UInt64Type>().clone();
    let signed = rewritten(|n, c| {
        hash(n)
            .then(|| Arc::new(of(c).iter().map(|v| v.map(|v| v as i64)).collect::<Int64Array>()) as ArrayRef)
    });
    assert_untouched(&signed, "hashes as signed numbers");
    let decimal = rewritten(|n, c| {
        hash(n).then(|| {
            let values = of(c).iter().map(|v| v.map(i128::from)).collect::<Decimal128Array>();
            Arc::new(values.with_precision_and_scale(20, 0).unwrap()) as ArrayRef
        })
    });
    assert_eq!(decimal.column_by_name("user_hash").unwrap().as_primitive::<Decimal128Type>().len(), 3);
    assert_untouched(&decimal, "hashes as decimals");

    let floating = conform(&rewritten(|n, c| hash(n).then(|| cast(c, &DataType::Float64).unwrap()))).unwrap();
    for name in ["request_hash", "session_hash", "user_hash"] {
        let (before, after) =
            (of(archive().column_by_name(name).unwrap()), of(floating.column_by_name(name).unwrap()));
        for (a, b) in before.iter().zip(after.iter()) {
            assert_eq!(a.map(|a| a >> 59), b.map(|b| b >> 59), "{name} stays in its session bucket");
            assert!(a.unwrap_or(0).abs_diff(b.unwrap_or(0)) < 4096, "{name}");
        }
    }
    let floats: Float64Array = (0..512u64).map(|i| Some((i << 55 | 1 << 54 | 12_345) as f64)).collect();
    let users: std::collections::BTreeSet<u64> =
        hashes(&floats).unwrap().values().iter().map(|u| u & 63).collect();
    assert!(users.len() > 50, "users keep apart by their lowest bits: {}", users.len());
    let small = hashes(&Float64Array::from(vec![Some(77.0), None, Some(f64::NAN), Some(EXACT as f64 - 1.0)]))
        .unwrap();
    assert_eq!(small.iter().collect::<Vec<_>>(), [Some(77), None, None, Some(EXACT - 1)]);
    assert!(
        hashes(&Float64Array::from(vec![-1.0])).is_none() && hashes(&Float64Array::from(vec![0.5])).is_none()
    );
}

#[test]
fn other_orders_other_columns_and_fewer_of_them_are_read() {
    let rows = archive();
    let mut order: Vec<usize> = (0..rows.num_columns()).collect();
    order.reverse();
    let reversed = rows.project(&order).unwrap();
    let mut fields: Vec<Field> = reversed.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("__index_level_0__", DataType::Int64, true));
    let mut columns = reversed.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![0, 1, 2])));
    assert_untouched(
        &RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap(),
        "an index and another order",
    );

    let fewer: Vec<usize> = (0..rows.num_columns()).filter(|i| *i % 40 != 20).collect();
    let fewer = conform(&rows.project(&fewer).unwrap()).unwrap();
    assert!(fewer.num_columns() < rows.num_columns());
    assert_eq!(ArchiveReader::new(&fewer).unwrap().event(0).request_id, "r-1");
    let nulls = rewritten(|n, c| {
        (n == "safety_category").then(|| arrow::array::new_null_array(&DataType::Null, c.len()))
    });
    assert_untouched(&nulls, "a column without a value has no type");
}

#[test]
fn what_can_not_be_read_is_refused_by_column_and_types() {
    let refused = |name: &str, to: ArrayRef| {
        let rows = rewritten(|n, _| (n == name).then(|| Arc::clone(&to)));
        let types = check_types(&rows.schema()).map_err(|e| e.to_string());
        let error = conform(&rows).unwrap_err().to_string();
        (types, error)
    };
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["secret-1", "2", "3"]));
    for (name, array) in [
        ("timestamp", Arc::clone(&numbers)),
        ("prompt_tokens", Arc::clone(&numbers)),
        ("loras", Arc::clone(&texts)),
        ("session_hash", cast(&numbers, &DataType::Float32).unwrap()),
        ("offset", cast(&numbers, &DataType::Timestamp(TimeUnit::Nanosecond, None)).unwrap()),
    ] {
        let (types, error) = refused(name, Arc::clone(&array));
        assert!(error.contains(&format!("column {name} is {}, not ", array.data_type())), "{error}");
        assert_eq!(types, Err(error), "known before a row is read");
    }
    let (types, error) = refused("offset", texts);
    assert_eq!(types, Ok(()));
    assert!(
        error.contains("column offset is Utf8 and holds values that are no Int64; write it as Int64"),
        "{error}"
    );
    assert!(!error.contains("secret"), "no value is told");
    let (_, error) = refused("partition", Arc::new(Int64Array::from(vec![1, 2, 1 << 40])));
    assert!(error.contains("column partition is Int64 and holds values that are no Int32"), "{error}");
    let tokens = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(70_000)]),
        None,
        None,
    ]);
    let (_, error) = refused("prompt_tokens", Arc::new(tokens));
    assert!(error.contains("column prompt_tokens is"), "{error}");
}
