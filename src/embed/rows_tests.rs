//! Rows of files that are good, forged, cut short or somewhere else.

use super::super::fetch::tests::{Server, options, send_file};
use super::super::npy::tests::npy;
use super::super::vector_parquet::tests::{lists, parquet};
use super::*;
use crate::embed::fetch::FetchOptions;
use parquet::basic::Compression;
use tempfile::TempDir;

fn f4(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
}

fn outcome(row: Result<Vec<f32>, RowError>) -> String {
    row.map_or_else(|e| e.reason().to_owned(), |v| format!("{v:?}"))
}

fn files(dir: &TempDir, max: u64) -> VectorFiles {
    let base_uri = Some(dir.path().to_str().unwrap().to_owned());
    let fetcher = Fetcher::new(FetchOptions { base_uri, ..options(&[]) }).unwrap();
    VectorFiles::new(Arc::new(fetcher), 2).with_max_vector_file(max)
}

#[tokio::test]
async fn rows_of_local_files() {
    let dir = TempDir::new().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    let values = [1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0];
    put("m.npy", &npy(1, &header("<f4", "(3, 2)"), &f4(&values)));
    put("one.NPY", &npy(1, &header("<f4", "(2,)"), &f4(&values[..2])));
    put("cut.npy", &npy(1, &header("<f4", "(3, 2)"), &f4(&values[..3])));
    put("wide.npy", &npy(1, &header("<f4", "(2, 3)"), &f4(&values)));
    put("forged.npy", &npy(1, &header("<f4", "(1099511627776, 2)"), &f4(&values)));
    put("empty.npy", &[]);
    put(
        "big.npy",
        &npy(1, &header("<f8", "(1, 2)"), &[1e300_f64.to_le_bytes(), 0_f64.to_le_bytes()].concat()),
    );
    put("half.npy", &npy(2, &header("<f2", "(2, 2)"), &[0, 0x3c, 0, 0xc0, 0, 0x7c, 0, 0]));
    put("m.parquet", &parquet(vec![("vector", lists(&[Some(&[1.0, 2.0]), None]))], Compression::SNAPPY));
    put("bad.parquet", b"PAR1 no PAR1");
    put("x.png", b"x");
    std::fs::create_dir(dir.path().join("folder.npy")).unwrap();
    let files = files(&dir, 1 << 20);
    let cases = [
        ("m.npy#0", "[1.0, 2.0]"),
        ("m.npy#1", "[3.0, 4.0]"),
        ("m.npy#2", "not_finite"),
        ("m.npy#3", "bad_row"),
        ("m.npy#18446744073709551615", "bad_row"),
        ("m.npy#99999999999999999999", "bad_row"),
        ("m.npy#-1", "bad_row"),
        ("m.npy#+1", "bad_row"),
        ("m.npy#", "bad_row"),
        ("m.npy#x", "bad_row"),
        ("m.npy#1#1", "not_a_vector_file"),
        ("m.npy", "bad_row"),
        ("one.NPY", "[1.0, 2.0]"),
        ("one.NPY#0", "[1.0, 2.0]"),
        ("one.NPY#1", "bad_row"),
        ("cut.npy#0", "[1.0, 2.0]"),
        ("cut.npy#1", "bad_row"),
        ("wide.npy#0", "wrong_dimension"),
        ("forged.npy#0", "[1.0, 2.0]"),
        ("forged.npy#1000000000", "bad_row"),
        ("empty.npy#0", "not_a_vector_file"),
        ("big.npy#0", "not_finite"),
        ("half.npy#0", "[1.0, -2.0]"),
        ("half.npy#1", "not_finite"),
        ("m.parquet#0", "[1.0, 2.0]"),
        ("m.parquet#1", "not_finite"),
        ("m.parquet#2", "bad_row"),
        ("m.parquet", "bad_row"),
        ("bad.parquet#0", "not_a_vector_file"),
        ("x.png#0", "not_a_vector_file"),
        (".npy", "not_a_vector_file"),
        ("folder.npy#0", "not_a_file"),
        ("missing.npy#0", "not_found"),
        ("../m.npy#0", "path_traversal"),
        ("/etc/m.npy#0", "not_allowed"),
    ];
    for (uri, expected) in cases {
        for _ in 0..2 {
            assert_eq!(outcome(files.row(uri).await), expected, "{uri}");
        }
    }
}

#[tokio::test]
async fn large_files_are_read_by_row() {
    let dir = TempDir::new().unwrap();
    let values: Vec<f32> = (0..20_000_u16).map(f32::from).collect();
    let file = npy(1, &header("<f4", "(10000, 2)"), &f4(&values));
    std::fs::write(dir.path().join("m.npy"), &file).unwrap();
    // Longer than the first read, and claiming twice the rows that are there.
    std::fs::write(dir.path().join("cut.npy"), npy(1, &header("<f4", "(20000, 2)"), &f4(&values))).unwrap();
    std::fs::write(dir.path().join("m.parquet"), vec![0; 50_001]).unwrap();
    for (max, large) in [(50_000, true), (1 << 20, false)] {
        let files = files(&dir, max);
        for _ in 0..2 {
            assert_eq!(outcome(files.row("m.npy#9999").await), "[19998.0, 19999.0]");
            assert_eq!(outcome(files.row("m.npy#10000").await), "bad_row");
            assert_eq!(outcome(files.row("cut.npy#9999").await), "[19998.0, 19999.0]");
            assert_eq!(outcome(files.row("cut.npy#10000").await), "bad_row");
            let parquet = if large { "too_large" } else { "not_a_vector_file" };
            assert_eq!(outcome(files.row("m.parquet#0").await), parquet);
        }
        assert_eq!(matches!(files.known("m.npy").await, Ok(VectorFile::LargeNpy(_))), large);
    }
}

#[tokio::test]
async fn a_file_is_fetched_once_for_many_rows() {
    let values: Vec<f32> = (0..20_000_u16).map(f32::from).collect();
    let whole = npy(1, &header("<f4", "(10000, 2)"), &f4(&values));
    let server = Server::start(move |path, head, _, to| match path {
        "/bad.npy" => send_file(to, head, b"no numbers", true),
        "/plain/m.npy" => send_file(to, head, &whole, false),
        _ => send_file(to, head, &whole, true),
    });
    let at = format!("http://127.0.0.1:{}", server.port);
    let fetcher = Arc::new(Fetcher::new(options(std::slice::from_ref(&at))).unwrap());
    let files = VectorFiles::new(fetcher, 2);
    let uri = |file: &str, row: usize| format!("{at}{file}#{row}");
    let uris: Vec<String> = (0..50).map(|r| uri("/m.npy?sig=a.b", r)).collect();
    let rows = futures::future::join_all(uris.iter().map(|u| files.row(u))).await;
    for (i, row) in rows.into_iter().enumerate() {
        let first = f32::from(u16::try_from(2 * i).unwrap());
        assert_eq!(row, Ok(vec![first, first + 1.0]));
    }
    // The header, then the file.
    assert_eq!(server.hits("/m.npy?sig=a.b"), 2);
    for row in 0..20 {
        assert_eq!(outcome(files.row(&uri("/bad.npy", row)).await), "not_a_vector_file");
        assert_eq!(outcome(files.row(&uri("/plain/m.npy", row)).await).matches(',').count(), 1);
    }
    assert_eq!((server.hits("/bad.npy"), server.hits("/plain/m.npy")), (1, 2));
}
