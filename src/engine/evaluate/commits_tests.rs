use super::*;
use crate::config::Config;
use crate::engine::JobKind;
use crate::engine::ingest::decoding::{DecodedChunk, Decoder};
use crate::engine::ingest::partition_writer::PartitionWriter;
use crate::source::{BufferPool, MessageBuffer, TimeRange};
use crate::store::Storage;
use crate::window::Reach;

/// Gives a partition one event for each of these hours of a day of January 2026.
fn take(job: &Job, owned: &mut PartitionWriter, day: i64, hours: std::ops::Range<i64>) {
    let mut gathered = MessageBuffer::default();
    for hour in hours {
        let event = format!(
            "{{\"request_id\":\"r{day}-{hour}\",\"timestamp\":\"2026-01-{day:02}T{hour:02}:00:00Z\",\
             \"pipeline_stage\":\"generate\",\"metrics\":{{\"latency_ms\":900}}}}"
        );
        gathered.push((day - 1) * 24 + hour, event.as_bytes(), None);
    }
    let (mut decoder, mut decoded) = (Decoder::new(job, TimeRange::ALL), DecodedChunk::default());
    decoder.decode(&gathered.take(owned.id(), &mut BufferPool::default()), &mut decoded).unwrap();
    owned.ingest_chunk(&mut decoded, &Progress::default(), &|| false).unwrap();
}

fn end(owned: &mut PartitionWriter) {
    owned.end();
    owned.commit(Some(Reach::Ended), &Progress::default()).unwrap();
}

#[test]
fn a_partition_that_goes_on_is_waited_for_whenever_the_evaluation_begins() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
    let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
    let job = Arc::new(Job::open(Config::default(), JobKind::Run, storage, false).unwrap());
    let all = [PartitionId(0), PartitionId(1)];
    let claim = |p: PartitionId| PartitionWriter::claim(&job, p, "events".into(), "w".into()).unwrap();
    let evaluate = |unread: &[(PartitionId, Epoch)]| {
        let mut task = EvaluatorDriver::claim(&job, &all, unread, "e".into(), Arc::default()).unwrap().0;
        while task.advance().unwrap().more_to_do {}
        task.commit(Vec::new()).unwrap();
        task.evaluator.at().unwrap()
    };
    for p in all {
        let mut owned = claim(p);
        take(&job, &mut owned, 1, 0..24);
        end(&mut owned);
    }
    let day_1 = evaluate(&[]);

    // Both have begun the next day before anybody evaluates, and one has reached its end.
    let mut owned = all.map(claim);
    let unread = [0, 1].map(|i| (all[i], owned[i].head()));
    for o in &mut owned {
        take(&job, o, 2, 0..12);
        o.commit(None, &Progress::default()).unwrap();
    }
    take(&job, &mut owned[0], 2, 12..24);
    end(&mut owned[0]);
    assert_eq!(evaluate(&unread), day_1, "the other one has more to say of the day");
    take(&job, &mut owned[1], 2, 12..24);
    end(&mut owned[1]);
    assert_eq!(evaluate(&unread), day_1 + DAY);
    assert_eq!(evaluate(&unread), day_1 + DAY, "an end after the claim holds");
}
