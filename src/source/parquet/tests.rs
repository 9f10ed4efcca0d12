//! Archives written and read back: layout, pruning, order, and what is refused.

use super::*;
use crate::enrich::{Enricher, IdHasher, Plan};
use crate::source::conformance::{message, read, runtime};
use crate::source::{FromBeginning, Inputs, resolve};
use crate::store::event_rows::{ArchiveBuilder, ArchiveReader, Place, metadata, schema};
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow::datatypes::{DataType, TimeUnit};
use std::fs::File;
use std::path::{Path, PathBuf};

fn enricher() -> Enricher {
    Enricher::new(Arc::new(Plan {
        features: Vec::new(),
        dimensions: Vec::new(),
        hasher: IdHasher::new("k"),
        hidden: crate::event::NameFields::default(),
        vectors: None,
    }))
}

/// Writes events (partition, offset) as one file with row groups of at most `group` rows.
fn write(path: &Path, topic: &str, events: &[(i32, i64)], group: usize, statistics: EnabledStatistics) {
    let mut enricher = enricher();
    let mut builder = ArchiveBuilder::default();
    for &(partition, offset) in events {
        let text = message(partition, offset);
        let event = crate::event::decode(text.as_bytes(), &mut Vec::new()).unwrap();
        let clean = enricher.clean(&event);
        builder.push(&event, &clean, Place { topic, partition, offset, record_time_us: Some(offset * 1000) });
    }
    let pairs = metadata(IdHasher::new("k").key_id()).map(|(k, v)| KeyValue::new(k.to_owned(), v));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_statistics_enabled(statistics)
        .set_key_value_metadata(Some(pairs.to_vec()))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema(), Some(properties)).unwrap();
    writer.write(&builder.finish().unwrap()).unwrap();
    writer.close().unwrap();
}

/// An archive in three layouts at once: row groups of one partition, of several, and without
/// statistics.
pub fn write_reference(dir: &Path, partitions: i32, each: i64) -> Vec<PathBuf> {
    let cut = [0, each / 3, each * 2 / 3, each];
    let events = |i: usize| (0..partitions).flat_map(move |p| (cut[i]..cut[i + 1]).map(move |n| (p, n)));
    let paths: Vec<_> = (0..3).map(|i| dir.join(format!("{}.parquet", 9 - i))).collect();
    write(&paths[0], "events", &events(0).collect::<Vec<_>>(), (each / 3) as usize, EnabledStatistics::Page);
    let mut mixed: Vec<_> = events(1).collect();
    mixed.sort_by_key(|e| e.1);
    write(&paths[1], "events", &mixed, 400, EnabledStatistics::Page);
    write(&paths[2], "events", &events(2).collect::<Vec<_>>(), 1_500, EnabledStatistics::None);
    paths
}

fn open(
    dir: &Path,
    options: ArchiveOptions,
    runtime: &tokio::runtime::Runtime,
) -> Result<ParquetSource, SourceError> {
    let inputs = resolve(&[dir.display().to_string()], runtime.handle())?;
    let Inputs::Archive(files) = inputs else { panic!("no archive") };
    ParquetSource::open(&files, options, Arc::new(FromBeginning), runtime.handle().clone())
}

#[test]
fn times_prune_row_groups_and_rows() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    write_reference(dir.path(), 2, 3_000);
    let time = |n: i64| 1_768_197_600_000_000 + n * 1_000_000;
    let range = TimeRange { from: time(100), to: time(300) };
    let mut source = open(dir.path(), ArchiveOptions { range, ..Default::default() }, &runtime).unwrap();
    let whole = open(dir.path(), ArchiveOptions::default(), &runtime).unwrap();
    assert!(source.total_bytes() < whole.total_bytes().map(|b| b / 2), "row groups outside are not read");
    let got = read(&mut source, None);
    // Partition 0 has an event each second, partition 1 one every other second.
    assert_eq!(
        got.iter().filter(|r| r.partition == 0).map(|r| r.offset).collect::<Vec<_>>(),
        (100..300).collect::<Vec<_>>()
    );
    assert_eq!(
        got.iter().filter(|r| r.partition == 1).map(|r| r.offset).collect::<Vec<_>>(),
        (50..150).collect::<Vec<_>>()
    );
    assert!(source.read_bytes() <= source.total_bytes().unwrap());
}

#[test]
fn partitions_advance_together_in_event_time() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    write_reference(dir.path(), 3, 4_000);
    let mut source = open(dir.path(), ArchiveOptions::default(), &runtime).unwrap();
    let mut seen = [0i64; 3];
    loop {
        match source.poll(Duration::ZERO).unwrap() {
            Polled::Chunk(chunk) => {
                let Payload::Archive(rows) = &chunk.payload else { panic!() };
                let reader = ArchiveReader::new(rows).unwrap();
                let first = reader.event(0).time_us;
                let others = seen.iter().enumerate().filter(|(p, _)| *p != chunk.partition.0 as usize);
                // No partition was read further than a chunk past where another still waits.
                others.for_each(|(_, t)| assert!(*t <= first + 3 * CHUNK_MESSAGES as i64 * 1_000_000));
                seen[chunk.partition.0 as usize] = reader.event(reader.len() - 1).time_us;
            }
            Polled::Finished => break,
            _ => {}
        }
    }
}

#[test]
fn a_projection_reads_only_what_is_named() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    write_reference(dir.path(), 1, 900);
    let options = ArchiveOptions { columns: Some(vec!["prompt_tokens".into()]), ..Default::default() };
    let mut source = open(dir.path(), options, &runtime).unwrap();
    let Polled::Chunk(chunk) = source.poll(Duration::ZERO).unwrap() else { panic!() };
    let Payload::Archive(rows) = &chunk.payload else { panic!() };
    assert_eq!(rows.num_columns(), REQUIRED.len() + 1);
    assert_eq!(ArchiveReader::new(rows).unwrap().event(0).request_id, "p0-0");
}

#[test]
fn what_can_not_be_read_together_is_refused() {
    let runtime = runtime();
    let all = EnabledStatistics::Page;
    let refused = |write: &dyn Fn(&Path), options| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        open(dir.path(), options, &runtime).err().map(|e| e.to_string()).unwrap()
    };
    let twice = refused(
        &|d| {
            write(&d.join("a.parquet"), "t", &[(0, 1), (0, 5)], 10, all);
            write(&d.join("b.parquet"), "t", &[(0, 5), (0, 6)], 10, all);
        },
        ArchiveOptions::default(),
    );
    assert!(twice.contains("b.parquet") && twice.contains("a.parquet has too"), "{twice}");
    let topics = refused(
        &|d| {
            write(&d.join("a.parquet"), "t", &[(0, 1)], 10, all);
            write(&d.join("b.parquet"), "u", &[(1, 1)], 10, all);
        },
        ArchiveOptions::default(),
    );
    assert!(topics.contains("topic u"), "{topics}");
    let other_key = ArchiveOptions { key_id: Some(IdHasher::new("other").key_id()), ..Default::default() };
    let key = refused(&|d| write(&d.join("a.parquet"), "t", &[(0, 1)], 10, all), other_key);
    assert!(key.contains("another key"), "{key}");
    let damaged =
        refused(&|d| std::fs::write(d.join("a.parquet"), "PAR1 no").unwrap(), ArchiveOptions::default());
    assert!(damaged.contains("a.parquet"), "{damaged}");
}

#[test]
fn rows_out_of_order_are_an_error_and_not_a_loss() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    write(&dir.path().join("a.parquet"), "t", &[(0, 3), (0, 2)], 10, EnabledStatistics::Page);
    let mut source = open(dir.path(), ArchiveOptions::default(), &runtime).unwrap();
    let e = source.poll(Duration::ZERO).unwrap_err().to_string();
    assert!(e.contains("offset 2 of partition 0"), "{e}");
}

/// Events as another program would write them: nanoseconds, wider partitions, large text, an index,
/// no metadata.
fn write_rewritten(path: &Path, events: &[(i32, i64)], group: usize) {
    let own = path.with_extension("own");
    write(&own, "events", events, 10_000, EnabledStatistics::Page);
    let file = File::open(&own).unwrap();
    let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    let batches: Vec<RecordBatch> = reader.map(|b| b.unwrap()).collect();
    let rows = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    std::fs::remove_file(&own).unwrap();
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let to = match (field.name().as_str(), field.data_type()) {
            ("partition", _) => DataType::Int64,
            (_, DataType::Utf8) => DataType::LargeUtf8,
            (_, DataType::Timestamp(..)) => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            (_, other) => other.clone(),
        };
        columns.push((field.name().clone(), arrow::compute::cast(column, &to).unwrap()));
    }
    columns.reverse();
    let index = arrow::array::Int64Array::from_iter_values(0..rows.num_rows() as i64);
    columns.push(("__index_level_0__".into(), Arc::new(index)));
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_rewritten_archive_gives_the_same_rows_and_is_pruned_by_time() {
    let (before, after, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), runtime());
    let events: Vec<(i32, i64)> = (0..2).flat_map(|p| (0..3_000).map(move |n| (p, n))).collect();
    write(&before.path().join("a.parquet"), "events", &events, 500, EnabledStatistics::Page);
    write_rewritten(&after.path().join("a.parquet"), &events, 500);
    let time = |n: i64| 1_768_197_600_000_000 + n * 1_000_000;
    for range in [TimeRange { from: time(100), to: time(300) }, TimeRange::default()] {
        let options =
            || ArchiveOptions { range, key_id: Some(IdHasher::new("k").key_id()), ..Default::default() };
        let mut own = open(before.path(), options(), &runtime).unwrap();
        let mut theirs = open(after.path(), options(), &runtime).unwrap();
        let whole = std::fs::metadata(after.path().join("a.parquet")).unwrap().len();
        if range != TimeRange::default() {
            assert!(theirs.total_bytes().unwrap() < whole / 2, "row groups outside are not read");
        }
        let (own, theirs) = (read(&mut own, None), read(&mut theirs, None));
        assert!(own.len() >= 200);
        assert_eq!(own, theirs);
    }
}

#[test]
fn what_is_wrong_with_a_rewritten_archive_is_said_of_the_file() {
    let runtime = runtime();
    let said = |write: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let opened = open(dir.path(), ArchiveOptions::default(), &runtime);
        opened.and_then(|mut s| s.poll(Duration::ZERO).map(|_| ())).unwrap_err().to_string()
    };
    let twice = said(&|d| write_rewritten(&d.join("b.parquet"), &[(0, 1), (0, 2), (0, 2)], 10));
    assert!(twice.contains("b.parquet: row 3 has offset 2 of partition 0 twice"), "{twice}");
    assert!(twice.contains("write it sorted by partition and offset"), "{twice}");
    let late = said(&|d| write_rewritten(&d.join("b.parquet"), &[(1, 1), (0, 5), (1, 9), (0, 4)], 10));
    assert!(late.contains("b.parquet: row 4 has offset 4 of partition 0 late"), "{late}");
    let shuffled: Vec<(i32, i64)> = (0..40).map(|n| (0, n * 7 % 40)).collect();
    let groups = said(&|d| write_rewritten(&d.join("b.parquet"), &shuffled, 10));
    assert!(groups.contains("b.parquet: its rows are not in the order of their offsets"), "{groups}");
    assert!(groups.contains("row groups from rows") && groups.contains("write it sorted"), "{groups}");

    let changed = |name: &'static str, to: ArrayRef| {
        said(&move |d| {
            let mut builder = ArchiveBuilder::default();
            let mut enricher = enricher();
            for offset in 0..3 {
                let text = message(0, offset);
                let event = crate::event::decode(text.as_bytes(), &mut Vec::new()).unwrap();
                let clean = enricher.clean(&event);
                let place = Place { topic: "t", partition: 0, offset, record_time_us: None };
                builder.push(&event, &clean, place);
            }
            let rows = builder.finish().unwrap();
            let own = rows.schema();
            let columns = own.fields().iter().zip(rows.columns()).map(|(f, c)| {
                (f.name().clone(), if f.name() == name { Arc::clone(&to) } else { Arc::clone(c) }, true)
            });
            let columns: Vec<_> = columns.collect();
            let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            let mut writer =
                ArrowWriter::try_new(File::create(d.join("c.parquet")).unwrap(), rows.schema(), None)
                    .unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
        })
    };
    let texts = |v: Vec<Option<&str>>| Arc::new(arrow::array::StringArray::from(v)) as ArrayRef;
    let stage = changed("pipeline_stage", texts(vec![Some("generate"), Some("secret"), Some("deliver")]));
    assert!(
        stage.contains("c.parquet: the row of partition 0 and offset 1 has an unknown pipeline_stage"),
        "{stage}"
    );
    assert!(!stage.contains("secret"));
    let null = changed("request_id", texts(vec![Some("a"), None, None]));
    assert!(null.contains("c.parquet: row 2 has no request_id"), "{null}");
    let unit = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![1_768_197_600_000i64; 3]));
    let unit = changed("timestamp", unit);
    assert!(unit.contains("c.parquet: row 1 has a timestamp outside 2000 to 2100"), "{unit}");
    let topics = changed("topic", texts(vec![Some("t"), Some("u"), Some("t")]));
    assert!(topics.contains("c.parquet") && topics.contains("one topic at a time"), "{topics}");
    let column = changed("seed", texts(vec![Some("1"), Some("secret"), None]));
    assert!(column.contains("c.parquet: column seed is Utf8 and holds values that are no Int64"), "{column}");
}
