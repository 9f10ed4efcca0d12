//! What strangers' URIs and files lead to: images, files of vectors, inline vectors, URIs and addresses.
//!
//! The low three bits of the first byte choose, the others are an option. Checked is that
//!
//! - an image is a tensor of finite numbers or refused with a reason and nothing written, within the limit on pixels and the
//!   memory that goes with it;
//! - a `.npy` or Parquet file gives rows of the length it says, from bytes that it has, or an error. Parquet's own reader may
//!   panic at a forged file, as its caller contains that;
//! - a URI that is allowed lies below a place that was allowed, in every reading;
//! - an address that is called public is none of the private kinds, in whatever form.
#![no_main]

use driftglass::embed::address::is_public;
use driftglass::embed::npy::NpyHeader;
use driftglass::embed::preprocess::Preprocessing;
use driftglass::embed::uri::{AllowedRoots, ResolvedUri};
use driftglass::embed::vector_parquet;
use driftglass::enrich::vectors::{Head, inline};
use driftglass_fuzz::{DIMENSION, MIB, bounded, contained};
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, PathBuf};
use std::sync::LazyLock;

/// Stands between URIs.
const SEPARATOR: u8 = 0x1e;
/// Sides of the model's input: smaller and larger than most of the images.
const SIZES: [u32; 4] = [16, 17, 32, 64];
/// No normalised pixel has this value.
const UNTOUCHED: f32 = 777.0;
/// Bytes of an `.npy` that are read for its header.
const HEADER_BYTES: usize = 16 * 1024;

/// What is allowed. The folder has no symlinks in its path, so that it is one place under one name.
struct Allowed {
    folder: PathBuf,
    /// Relative URIs stand on a URL, and on the folder.
    roots: [AllowedRoots; 2],
}

static ALLOWED: LazyLock<Allowed> = LazyLock::new(|| {
    let folder = std::env::temp_dir().canonicalize().expect("there is a folder for temporary files");
    let text = folder.to_str().expect("whose name is text");
    let allow =
        ["s3://bucket/img", "gs://whole", "abfss://c@acc.dfs.core.windows.net/img", "http://b.example:8080"]
            .map(str::to_owned);
    let roots = ["https://images.example/v1", text]
        .map(|base| AllowedRoots::new(Some(base), &allow, false).expect("the sample allow list is right"));
    Allowed { folder, roots }
});

fuzz_target!(|data: &[u8]| run(data));

fn run(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let option = first >> 3;
    match first & 7 {
        1 => bounded(MIB + 8 * bytes.len(), || npy(bytes, option)),
        2 => vectors(bytes),
        3 => {
            LazyLock::force(&ALLOWED);
            bounded(MIB + 64 * bytes.len(), || {
                bytes.split(|b| *b == SEPARATOR).filter_map(|u| std::str::from_utf8(u).ok()).for_each(uri);
            });
        }
        4 => addresses(bytes),
        5 => bounded(MIB + 32 * bytes.len(), || json(bytes)),
        _ => image(bytes, option),
    }
}

fn image(bytes: &[u8], option: u8) {
    let size = SIZES[usize::from(option % 4)];
    let max_pixels = 1u64 << (4 + 4 * (option / 4 % 4));
    let preprocessing = Preprocessing { size, ..Preprocessing::default() };
    let mut out = vec![UNTOUCHED; preprocessing.len()];
    // Eight bytes a pixel, a mebibyte for the decoder's own, and as much again for the copy in RGB and the rows between.
    let done = bounded(64 * MIB, || preprocessing.tensor(bytes, max_pixels, &mut out));
    match done {
        Ok(()) => assert!(out.iter().all(|x| x.is_finite() && *x != UNTOUCHED)),
        Err(e) => {
            assert!(!e.reason().is_empty());
            assert!(out.iter().all(|x| *x == UNTOUCHED), "an image that was refused left pixels");
        }
    }
}

fn npy(bytes: &[u8], option: u8) {
    let Ok(header) = NpyHeader::parse(&bytes[..bytes.len().min(HEADER_BYTES)]) else { return };
    for row in [None, Some(0), Some(u64::from(option)), Some(u64::MAX)] {
        let Ok(at) = header.row(row) else { continue };
        assert!(
            at.start <= at.end && at.end <= header.end(),
            "a row outside the file that the header tells of"
        );
        // The file may be shorter than its header claims.
        let (Ok(from), Ok(to)) = (usize::try_from(at.start), usize::try_from(at.end)) else { continue };
        if let Some(row) = bytes.get(from..to) {
            assert!(header.values(row).len() as u64 == header.dimension());
        }
    }
}

fn vectors(bytes: &[u8]) {
    let file = bytes.to_vec().into();
    // 128 MiB of vectors, which a few bytes may stand for, in a list that grew by doubling, and pages of 32 MiB.
    let read = contained(|| bounded(512 * MIB, || vector_parquet::decode(&file, DIMENSION)));
    match read {
        None => {}
        Some(Ok(values)) => assert!(values.len().is_multiple_of(DIMENSION)),
        Some(Err(e)) => assert!(!e.reason().is_empty()),
    }
}

fn uri(text: &str) {
    for roots in &ALLOWED.roots {
        match roots.place(text) {
            Err(e) => assert!(!e.reason().is_empty()),
            Ok(ResolvedUri::Local(path)) => {
                assert!(path.starts_with(&ALLOWED.folder), "a file outside the folder");
                assert!(path.components().all(|c| c != Component::ParentDir), "a path that leads up");
            }
            Ok(ResolvedUri::Http(url)) => {
                let place = (url.scheme(), url.host_str(), url.port_or_known_default());
                let base = place == ("https", Some("images.example"), Some(443))
                    && (url.path() == "/v1" || url.path().starts_with("/v1/"));
                assert!(
                    base || place == ("http", Some("b.example"), Some(8080)),
                    "a host that was not allowed"
                );
                assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
                assert!(below(url.path()), "a path that leads up");
            }
            Ok(ResolvedUri::Store(store, path)) => {
                let path = path.to_string();
                assert!(roots.stores().any(|s| s == store), "a store that was not allowed");
                let whole = store.starts_with("gs://");
                assert!(whole || path == "img" || path.starts_with("img/"), "an object that was not allowed");
                assert!(below(&path), "a path that leads up");
            }
        }
    }
}

fn below(path: &str) -> bool {
    path.split('/').all(|part| part != "..")
}

fn addresses(bytes: &[u8]) {
    for chunk in bytes.as_chunks::<4>().0 {
        v4(Ipv4Addr::from(*chunk));
    }
    for chunk in bytes.as_chunks::<16>().0 {
        v6(Ipv6Addr::from(*chunk));
    }
}

fn v4(a: Ipv4Addr) {
    let public = is_public(IpAddr::V4(a));
    let private = a.is_loopback() || a.is_private() || a.is_link_local() || a.is_unspecified();
    let special = a.is_multicast() || a.is_broadcast() || a.is_documentation();
    assert!(!(public && (private || special)), "an address that is not public passed");
    let hidden = [a.to_ipv6_mapped(), a.to_ipv6_compatible(), six_to_four(a)];
    assert!(hidden.iter().all(|a| !is_public(IpAddr::V6(*a))), "an address in another form passed");
    let [.., high, low] = a.to_ipv6_mapped().segments();
    let gateway = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
    assert!(is_public(IpAddr::V6(gateway)) == public, "a gateway hides an address");
}

fn six_to_four(a: Ipv4Addr) -> Ipv6Addr {
    let [.., high, low] = a.to_ipv6_mapped().segments();
    Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)
}

fn v6(a: Ipv6Addr) {
    let private = a.is_loopback() || a.is_unspecified() || a.is_unique_local() || a.is_unicast_link_local();
    let special = a.is_multicast() || a.to_ipv4_mapped().is_some();
    assert!(!(is_public(IpAddr::V6(a)) && (private || special)), "an address that is not public passed");
}

fn json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(reason) = inline(text) {
        assert!(reason == "not_a_vector");
    }
    match Head::from_json(text) {
        Ok(head) => assert!(!head.weights.is_empty() && head.weights.iter().all(|w| w.is_finite())),
        Err(message) => assert!(!message.is_empty()),
    }
}
