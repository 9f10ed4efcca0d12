//! What every source must keep, checked against each of them: order, no loss, no repetition,
//! resuming, pausing, ending.

use super::input_file::{FileLocation, InputFormat};
use super::lanes::{FileLane, LaneFile};
use super::*;
use crate::store::event_rows::ArchiveReader;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A record as all sources show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The event's request.
    pub id: String,
}

/// A reference event; partitions run at different speeds in event time.
pub fn message(partition: i32, n: i64) -> String {
    let time = crate::event::time::text(1_768_197_600_000_000 + n * 1_000_000 * i64::from(partition + 1));
    format!(
        r#"{{"request_id":"p{partition}-{n}","timestamp":"{time}","pipeline_stage":"generate","tenant":"birch"}}"#
    )
}

/// The records that reference partitions hold.
pub fn reference(partitions: i32, each: i64) -> Vec<Record> {
    let all = (0..partitions).flat_map(|p| (0..each).map(move |n| (p, n)));
    all.map(|(partition, offset)| Record { partition, offset, id: format!("p{partition}-{offset}") })
        .collect()
}

/// Positions given one by one.
#[derive(Debug, Default)]
pub struct FixedPositions(pub BTreeMap<i32, i64>);

impl Positions for FixedPositions {
    fn position(&self, p: PartitionId) -> Result<Option<Offset>, PositionError> {
        Ok(self.0.get(&p.0).map(|o| Offset(*o)))
    }
}

/// The records of a chunk.
pub fn records(chunk: &Chunk) -> Vec<Record> {
    let partition = chunk.partition.0;
    match &chunk.payload {
        Payload::Messages { buffer, spans } => spans
            .iter()
            .map(|s| {
                let message = &buffer[s.start as usize..s.end as usize];
                let event = crate::event::decode(message, &mut Vec::new()).unwrap();
                Record { partition, offset: s.offset, id: event.request_id.into_owned() }
            })
            .collect(),
        Payload::Archive(rows) => {
            let reader = ArchiveReader::new(rows).unwrap();
            (0..reader.len())
                .map(|row| {
                    assert_eq!(reader.partition(row), partition);
                    Record {
                        partition,
                        offset: reader.offset(row),
                        id: reader.event(row).request_id.into_owned(),
                    }
                })
                .collect()
        }
    }
}

/// Reads a source to its end; `paused` is held back until the others have ended or nothing more
/// comes.
pub fn read(source: &mut dyn Source, paused: Option<i32>) -> Vec<Record> {
    let mut all = Vec::new();
    let mut ended = BTreeSet::new();
    let (mut holding, mut quiet) = (false, 0);
    let mut waited = Duration::ZERO;
    let timeout = Duration::from_millis(50);
    loop {
        assert!(waited < Duration::from_secs(60), "nothing comes: {} records, ended {ended:?}", all.len());
        match source.poll(timeout).unwrap() {
            Polled::Chunk(chunk) => {
                assert!(!chunk.is_empty() && chunk.len() <= CHUNK_MESSAGES);
                assert!(!(holding && paused == Some(chunk.partition.0)), "a paused partition speaks");
                all.extend(records(&chunk));
                if !holding && quiet == 0 && paused == Some(chunk.partition.0) {
                    source.pause(chunk.partition).unwrap();
                    holding = true;
                }
                if let Payload::Messages { buffer, .. } = chunk.payload {
                    source.recycle(buffer);
                }
            }
            Polled::Ended(p) => assert!(ended.insert(p), "{p} ended twice"),
            Polled::Log { begins, .. } => assert_eq!(begins, None, "the same log"),
            Polled::Finished => break,
            Polled::Nothing if holding => {
                quiet += 1;
                if quiet > 5 {
                    source.resume(PartitionId(paused.unwrap())).unwrap();
                    holding = false;
                }
            }
            Polled::Nothing => waited += timeout,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(
        ended.into_iter().collect::<Vec<_>>(),
        source.partitions(),
        "every partition says that it has ended"
    );
    assert!(matches!(source.poll(timeout).unwrap(), Polled::Finished), "the end stays the end");
    all
}

/// A chunk's records may come between those of other partitions; within a partition order is what
/// counts.
fn by_partition(mut all: Vec<Record>) -> Vec<Record> {
    all.sort_by_key(|r| r.partition);
    all
}

/// Checks a source that holds `expected`, in that order per partition. `open` makes a new one each
/// time.
pub fn check(expected: &[Record], rotations: usize, open: &dyn Fn(Arc<dyn Positions>) -> Box<dyn Source>) {
    assert_eq!(
        by_partition(read(&mut *open(Arc::new(FromBeginning)), None)),
        expected,
        "everything, in order, once"
    );

    let partitions: BTreeSet<i32> = expected.iter().map(|r| r.partition).collect();
    for rotation in 0..rotations {
        let mut at = FixedPositions::default();
        for (i, &p) in partitions.iter().enumerate() {
            let offsets: Vec<i64> = expected.iter().filter(|r| r.partition == p).map(|r| r.offset).collect();
            let (n, last) = (offsets.len(), offsets[offsets.len() - 1]);
            let position = [last + 1, offsets[n / 2], offsets[0], last, offsets[1], offsets[n * 2 / 3] + 1];
            at.0.insert(p, position[(i + rotation) % position.len()]);
        }
        let rest: Vec<Record> = expected.iter().filter(|r| r.offset >= at.0[&r.partition]).cloned().collect();
        let got = by_partition(read(&mut *open(Arc::new(FixedPositions(at.0.clone()))), None));
        assert_eq!(got, rest, "resuming at {at:?} gives the rest exactly");
    }

    let paused = partitions.first().copied();
    assert_eq!(
        by_partition(read(&mut *open(Arc::new(FromBeginning)), paused)),
        expected,
        "pausing loses nothing"
    );
}

/// A runtime for sources that need one.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn file(path: &Path) -> InputFile {
    let name = path.display().to_string();
    let format = InputFormat::of(&name).unwrap();
    let size = Some(std::fs::metadata(path).unwrap().len());
    InputFile::new(name, FileLocation::Local(path.to_owned()), size, format)
}

/// The same files in an object store.
fn stored(paths: &[std::path::PathBuf], runtime: &tokio::runtime::Runtime) -> Vec<InputFile> {
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let put = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap();
        runtime
            .block_on(object_store::ObjectStoreExt::put(&store, &name.as_str().into(), bytes.into()))
            .unwrap();
        InputFile {
            place: FileLocation::Object { store: Arc::clone(&store), path: name.into() },
            ..file(path)
        }
    };
    paths.iter().map(put).collect()
}

/// Writes files of lines of a partition, with a blank line after every seventh; returns what they
/// hold.
fn write_lines(partition: i32, files: &[Written<'_>]) -> Vec<Record> {
    let (mut expected, mut line, mut n) = (Vec::new(), 0, 0);
    for f in files {
        let mut text = String::new();
        for _ in 0..1_300 {
            text += &message(partition, n);
            text += if n % 2 == 0 { "\n" } else { "\r\n" };
            expected.push(Record { partition, offset: line, id: format!("p{partition}-{n}") });
            line += 1;
            n += 1;
            if n % 7 == 0 {
                text += "  \n";
                line += 1;
            }
        }
        (f.write)(f.path, text.as_bytes());
    }
    expected
}

struct Written<'a> {
    path: &'a Path,
    write: fn(&Path, &[u8]),
}

fn plain(path: &Path, text: &[u8]) {
    std::fs::write(path, text).unwrap();
}

/// Two members, as appending to a gzip file gives.
fn gzip(path: &Path, text: &[u8]) {
    let mut out = Vec::new();
    for half in [&text[..text.len() / 2], &text[text.len() / 2..]] {
        let mut member = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        member.write_all(half).unwrap();
        member.finish().unwrap();
    }
    std::fs::write(path, out).unwrap();
}

fn zstandard(path: &Path, text: &[u8]) {
    let (a, b) = text.split_at(text.len() / 2);
    let frames = [zstd::encode_all(a, 1).unwrap(), zstd::encode_all(b, 1).unwrap()];
    std::fs::write(path, frames.concat()).unwrap();
}

fn check_lines(suffix: &str, write: fn(&Path, &[u8])) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..3).map(|i| dir.path().join(format!("{i}.jsonl{suffix}"))).collect();
    let expected = write_lines(0, &paths.iter().map(|path| Written { path, write }).collect::<Vec<_>>());
    let runtime = runtime();
    for files in [paths.iter().map(|p| file(p)).collect(), stored(&paths, &runtime)] {
        check(&expected, 6, &|positions| {
            Box::new(JsonlSource::new(files.clone(), 1 << 20, positions, runtime.handle().clone()))
        });
    }
}

/// Three partitions of files, of which one begins when the others are over.
#[test]
fn lanes_conform() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let (mut expected, mut lanes) = (Vec::new(), Vec::new());
    for (partition, write) in [(0, plain as fn(&Path, &[u8])), (1, gzip), (2, plain)] {
        let suffix = if partition == 1 { ".gz" } else { "" };
        let name = |i| dir.path().join(format!("lane{partition}-{i}.jsonl{suffix}"));
        let paths: Vec<_> = (0..3).map(name).collect();
        let records =
            write_lines(partition, &paths.iter().map(|path| Written { path, write }).collect::<Vec<_>>());
        lanes.push((partition, paths));
        expected.extend(records);
    }
    let line_of = |text: &Path| std::fs::read(text).unwrap().iter().filter(|b| **b == b'\n').count() as i64;
    for stored_ones in [false, true] {
        let lane = |(partition, paths): &(i32, Vec<std::path::PathBuf>)| {
            let files =
                if stored_ones { stored(paths, &runtime) } else { paths.iter().map(|p| file(p)).collect() };
            // Where lines were not counted, only the first file's offsets are known.
            let mut start = Some(0);
            let files = files.into_iter().zip(paths).map(|(file, path)| {
                let this = start;
                start = start.filter(|_| *partition != 1).map(|s| s + line_of(path));
                LaneFile { file, start: this }
            });
            FileLane { partition: PartitionId(*partition), files: files.collect(), finished: false }
        };
        check(&expected, 6, &|positions| {
            let lanes = lanes.iter().map(lane).collect();
            Box::new(JsonlSource::from_lanes(lanes, 1 << 20, positions, runtime.handle().clone()))
        });
    }
}

/// The lane that is farthest behind is read, so that none is more than a chunk ahead; each tells at
/// the start where it begins.
#[test]
fn lanes_stay_in_step() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let mut lanes = Vec::new();
    // Partition p is p + 1 times as fast; 2 begins late.
    for (partition, from) in [(0, 0), (1, 0), (2, 5_000)] {
        let path = dir.path().join(format!("{partition}.jsonl"));
        let text: String = (from..9_000).map(|n| message(partition, n) + "\n").collect();
        std::fs::write(&path, text).unwrap();
        let files = vec![LaneFile { file: file(&path), start: Some(0) }];
        lanes.push(FileLane { partition: PartitionId(partition), files, finished: false });
    }
    let mut source =
        JsonlSource::from_lanes(lanes, 1 << 20, Arc::new(FromBeginning), runtime.handle().clone());
    let mut read = Vec::new();
    loop {
        match source.poll(Duration::ZERO).unwrap() {
            Polled::Chunk(chunk) => read.push((chunk.partition.0, chunk.len() as i64)),
            Polled::Finished => break,
            _ => {}
        }
    }
    assert_eq!(read[..3], [(0, 1_000), (1, 1_000), (2, 1_000)], "the beginnings");
    // Seconds that each has come: while lane 0 reads its 9,000, lane 1 is at most a chunk of 2,000
    // seconds ahead.
    let mut come = [0, 0];
    for (p, n) in read.iter().filter(|r| r.0 < 2) {
        come[*p as usize] += n * i64::from(p + 1);
        assert!(come[0] == 9_000 || come[1] - come[0] <= 2_000, "{come:?} in {read:?}");
    }
    let late = read.iter().skip(3).position(|r| r.0 == 2).unwrap();
    let before: i64 = read[..late + 3].iter().filter(|r| r.0 == 1).map(|r| 2 * r.1).sum();
    assert!(before >= 15_000, "what begins late waits: {before}");
}

#[test]
fn plain_lines_conform() {
    check_lines("", plain);
}

#[test]
fn gzip_lines_conform() {
    check_lines(".gz", gzip);
}

#[test]
fn zstd_lines_conform() {
    check_lines(".zst", zstandard);
}

#[test]
fn archives_conform() {
    let dir = tempfile::tempdir().unwrap();
    let paths = parquet::tests::write_reference(dir.path(), 3, 2_500);
    let runtime = runtime();
    for files in [paths.iter().map(|p| file(p)).collect(), stored(&paths, &runtime)] {
        check(&reference(3, 2_500), 6, &|positions| {
            let options = parquet::ArchiveOptions::default();
            Box::new(ParquetSource::open(&files, options, positions, runtime.handle().clone()).unwrap())
        });
    }
}

#[test]
fn kafka_conforms() {
    let cluster = kafka::tests::Cluster::new("events", 3);
    cluster.produce(&reference(3, 2_500));
    let opened = std::sync::atomic::AtomicU32::new(0);
    check(&reference(3, 2_500), 2, &|positions| {
        // A group of its own each time: leaving a group takes the mock cluster seconds.
        let group = format!("g{}", opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let options =
            KafkaOptions { until_caught_up: true, ..KafkaOptions::new(&cluster.brokers(), "events", &group) };
        Box::new(KafkaSource::connect(options, positions).unwrap())
    });
}

/// The mock cluster has no real log, retention or cooperative groups.
#[test]
fn a_real_broker_conforms() {
    let topic = format!("conformance-{}", std::process::id());
    let Some(brokers) = kafka::tests::real_broker(&topic, 3) else { return };
    kafka::tests::send(&brokers, &topic, kafka::tests::messages(&reference(3, 30_000)));
    for strategy in ["range", "cooperative-sticky"] {
        let opened = std::sync::atomic::AtomicU32::new(0);
        check(&reference(3, 30_000), 2, &|positions| {
            let n = opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut options = KafkaOptions::new(&brokers, &topic, &format!("{topic}-{strategy}-{n}"));
            options.until_caught_up = true;
            options.properties.insert("partition.assignment.strategy".into(), strategy.into());
            Box::new(KafkaSource::connect(options, positions).unwrap())
        });
    }
}
