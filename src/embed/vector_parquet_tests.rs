//! Vectors as writers lay them out, and forged files.

use super::*;
use arrow::array::RecordBatch;
use arrow::array::{
    FixedSizeListBuilder, Float32Builder, Float64Builder, Int32Array, LargeListBuilder, ListBuilder,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) fn parquet(columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Bytes {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties =
        WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(2)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

pub(crate) fn lists(rows: &[Option<&[f32]>]) -> ArrayRef {
    let mut out = ListBuilder::new(Float32Builder::new());
    for row in rows {
        out.append_option(row.map(|r| r.iter().map(|&v| v.is_finite().then_some(v))));
    }
    Arc::new(out.finish())
}

const ROWS: [Option<&[f32]>; 3] = [Some(&[1.0, 2.0]), Some(&[3.0, 4.0]), Some(&[5.0, 6.0])];

#[test]
fn reads_every_kind_of_list() {
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![7, 8, 9]));
    let mut large = LargeListBuilder::new(Float64Builder::new());
    let mut fixed = FixedSizeListBuilder::new(Float32Builder::new(), 2);
    for row in ROWS.iter().flatten() {
        large.append_value(row.iter().map(|&v| Some(f64::from(v))));
        fixed.values().append_slice(row);
        fixed.append(true);
    }
    let columns: [ArrayRef; 3] = [lists(&ROWS), Arc::new(large.finish()), Arc::new(fixed.finish())];
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for column in columns {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd] {
            let file = parquet(vec![("id", ids.clone()), ("embedding", column.clone())], compression);
            assert_eq!(*decode(&file, 2).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        }
    }
}

#[test]
fn nulls_are_not_numbers_and_other_lengths_are_refused() {
    let plain = Compression::UNCOMPRESSED;
    let file = parquet(vec![("vector", lists(&[Some(&[1.0, f32::NAN]), None, Some(&[5.0, 6.0])]))], plain);
    let values = decode(&file, 2).unwrap();
    let finite: Vec<bool> = values.iter().map(|v| v.is_finite()).collect();
    assert_eq!(finite, [true, false, false, false, true, true]);
    let file = parquet(vec![("vector", lists(&ROWS))], plain);
    for dimension in [0, 1, 3] {
        assert_eq!(decode(&file, dimension), Err(RowError::WrongDimension), "{dimension}");
    }
    let uneven = parquet(vec![("vector", lists(&[Some(&[1.0]), Some(&[1.0, 2.0, 3.0])]))], plain);
    assert_eq!(decode(&uneven, 2), Err(RowError::WrongDimension));
}

#[test]
fn other_columns_and_files_are_refused() {
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let plain = Compression::UNCOMPRESSED;
    let files = [
        parquet(vec![("vector", ids)], plain),
        parquet(vec![("vectors", lists(&ROWS))], plain),
        Bytes::new(),
        Bytes::from_static(b"PAR1"),
        Bytes::from_static(b"PAR1\0\0\0\0PAR1"),
        Bytes::from_static(b"PAR1\xff\xff\xff\xffPAR1"),
        // A schema, then two thousand million row groups.
        Bytes::from_static(b"PAR1\x15\x02\x19\x1c\x48\x01x\x15\x00\x00\x16\x02\x19\xfc\xff\xff\xff\xff\x07\x00\x15\0\0\0PAR1"),
    ];
    for file in files {
        assert_eq!(decode(&file, 2), Err(RowError::NotAVectorFile));
    }
}

#[test]
fn too_many_rows_are_refused_before_they_are_decoded() {
    let file = parquet(vec![("vector", lists(&ROWS))], Compression::UNCOMPRESSED);
    let dimension = usize::try_from(DECODED_BYTES).unwrap();
    assert_eq!(decode(&file, dimension), Err(RowError::Fetch(FetchError::TooLarge)));
    assert_eq!(decode(&file, usize::MAX), Err(RowError::Fetch(FetchError::TooLarge)));
}

/// Each byte of a file set to each of a few values, and the file cut at each length: never more
/// than an error or a panic that the caller catches, and never much memory or time.
#[test]
fn survives_every_damaged_byte() {
    for compression in
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())]
    {
        let file = parquet(vec![("vector", lists(&ROWS))], compression);
        for at in 0..file.len() {
            let cut = file.slice(..at);
            assert!(decode(&cut, 2).is_err());
            for value in [0, 0x7f, 0xff] {
                let mut bytes = file.to_vec();
                bytes[at] = value;
                let _ = catch_unwind(AssertUnwindSafe(|| decode(&bytes.into(), 2)));
            }
        }
    }
}

#[test]
fn huge_pages_are_refused_by_their_headers() {
    let file = parquet(vec![("vector", lists(&ROWS))], Compression::SNAPPY);
    // The first page begins behind the magic: its type, then its size decompressed, each one field.
    assert_eq!((file[4], file[6]), (0x15, 0x15));
    let mut forged = file[..7].to_vec();
    forged.extend([0xfe, 0xff, 0xff, 0xff, 0x0f]);
    forged.extend(&file[8..]);
    let pages = CheckedPages::new(forged.into(), PAGE_BYTES);
    assert!(pages.get_read(4).is_err() && CheckedPages::new(file, PAGE_BYTES).get_read(4).is_ok());
    assert!(pages.get_read(u64::MAX).is_err());
}
