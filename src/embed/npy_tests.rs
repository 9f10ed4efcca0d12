//! Headers as NumPy writes them, and forged ones.

use super::*;

pub(crate) fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = [MAGIC, &[version, 0]].concat();
    match version {
        1 => out.extend(u16::try_from(header.len()).unwrap().to_le_bytes()),
        _ => out.extend(u32::try_from(header.len()).unwrap().to_le_bytes()),
    }
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

fn header(version: u8, text: &str) -> Result<(u64, u64, u64), RowError> {
    NpyHeader::parse(&npy(version, text, &[])).map(|h| (h.rows, h.dimension, h.end - h.start))
}

#[test]
fn reads_what_numpy_writes() {
    let matrix = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }            \n";
    let vector = "{'descr': '<f8', 'fortran_order': False, 'shape': (5,), }\n";
    let cases = [
        (1, matrix, (3, 4, 48)),
        (2, matrix, (3, 4, 48)),
        (3, matrix, (3, 4, 48)),
        (1, vector, (1, 5, 40)),
        (1, "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f2\"}", (2, 3, 12)),
        (1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }", (0, 4, 0)),
    ];
    for (version, text, expected) in cases {
        assert_eq!(header(version, text), Ok(expected), "{text}");
    }
    let parsed = NpyHeader::parse(&npy(1, matrix, &[])).unwrap();
    assert_eq!(parsed.row(Some(2)), Ok(parsed.end - 16..parsed.end));
    assert_eq!(parsed.row(Some(3)), Err(RowError::BadRow));
    assert_eq!(parsed.row(Some(u64::MAX)), Err(RowError::BadRow));
    assert_eq!(parsed.row(None), Err(RowError::BadRow));
    let parsed = NpyHeader::parse(&npy(1, vector, &[])).unwrap();
    assert_eq!(parsed.row(None), parsed.row(Some(0)));
    assert_eq!(parsed.row(Some(1)), Err(RowError::BadRow));
}

#[test]
fn refuses_forged_headers() {
    let cases = [
        "",
        "{",
        "{}",
        "()",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'shape': (3, 4)}",
        "{'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 5)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 18446744073709551615)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387903, 1)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'x': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} + 1",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4",
        "{'descr': '<f4",
        "{'é",
    ];
    for text in cases {
        assert_eq!(header(1, text), Err(RowError::NotAVectorFile), "{text}");
    }
}

#[test]
fn refuses_other_files_and_false_lengths() {
    let good = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", &[]);
    for end in 0..good.len() {
        assert_eq!(NpyHeader::parse(&good[..end]), Err(RowError::NotAVectorFile));
    }
    let mut long = npy(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", &[]);
    long[8..12].fill(0xff);
    let mut unknown = good.clone();
    unknown[6] = 4;
    let mut binary = good.clone();
    binary[20] = 0xff;
    for file in [long, unknown, binary, b"\x89PNG\r\n\x1a\n0000".to_vec(), vec![0; 1000]] {
        assert_eq!(NpyHeader::parse(&file), Err(RowError::NotAVectorFile));
    }
}

#[test]
fn half_floats_are_exact() {
    let cases = [
        (0x0000, 0.0),
        (0x0001, 5.960_464_5e-8),
        (0x03ff, 6.097_555e-5),
        (0x0400, 6.103_515_6e-5),
        (0x3555, 0.333_251_95),
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x7c00, f32::INFINITY),
        (0xfc00, f32::NEG_INFINITY),
    ];
    for (bits, expected) in cases {
        assert_eq!(half(bits).to_bits(), f32::to_bits(expected), "{bits:x}");
    }
    assert!(half(0x7e00).is_nan());
}
