use super::*;
use crate::config::Config;
use crate::engine::JobKind;
use crate::engine::ingest::decoding::Rejection;
use crate::store::Storage;

#[test]
fn a_commit_is_due_when_what_closed_outweighs_what_it_writes_besides() {
    let due = |rows, bytes, open_rows, open_bytes| panes_are_due(rows, bytes, open_rows, || open_bytes);
    assert!(due(200, MANY_BYTES, 100, usize::MAX), "sparse traffic: few rows are open");
    assert!(!due(200, MANY_BYTES - 1, 0, 0), "too little closed");
    assert!(!due(199, MANY_BYTES, 100, 0), "most of what it writes would be open panes");
    assert!(due(10, MOST_BYTES, 100, MOST_BYTES), "dense traffic: a row is large");
    assert!(!due(10, MOST_BYTES, 100, MOST_BYTES + 1));
}

#[test]
fn a_field_that_is_always_wrong_fills_neither_the_table_nor_the_time() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
    let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
    let job = Arc::new(Job::open(Config::default(), JobKind::Run, storage, false).unwrap());
    let mut owned = PartitionWriter::claim(&job, PartitionId(0), "events".into(), "w".into()).unwrap();
    let progress = Progress::default();
    let reject = Reject::field(RejectReason::OutOfRange, "params.steps");
    let refused = |offset| Rejection { record_time_us: None, offset, reject, fatal: false };
    let take = |owned: &mut PartitionWriter, n| {
        let mut decoded = DecodedChunk { refused: (0..n).map(refused).collect(), ..DecodedChunk::default() };
        owned.ingest_chunk(&mut decoded, &progress, &|| false).unwrap();
    };
    take(&mut owned, 3000);
    assert_eq!((owned.rejects.len(), owned.is_full()), (FIELD_ROWS, false));
    owned.commit(None, &progress).unwrap();
    take(&mut owned, 2);
    assert_eq!(owned.rejects.len(), 2);
    assert_eq!(progress.counts().fields["out_of_range"]["params.steps"], 3002);
}
