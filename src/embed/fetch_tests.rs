//! Attacks on the fetcher that need a disk, a server or a resolver, and what comes of each.

use super::*;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use tempfile::TempDir;

/// An HTTP server on loopback whose answers go by the path; counts requests by path.
pub(crate) struct Server {
    pub port: u16,
    hits: Arc<Mutex<HashMap<String, usize>>>,
}

impl Server {
    /// `answer` gets the path, the request's head, how often the path was asked for before, and the
    /// connection.
    pub fn start(
        answer: impl Fn(&str, &str, usize, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hits = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
        let (answer, counts) = (Arc::new(answer), Arc::clone(&hits));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (answer, counts) = (Arc::clone(&answer), Arc::clone(&counts));
                std::thread::spawn(move || {
                    let head = read_head(&mut stream);
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let before = {
                        let mut counts = counts.lock().unwrap();
                        let count = counts.entry(path.clone()).or_default();
                        *count += 1;
                        *count - 1
                    };
                    let _ = answer(&path, &head, before, &mut stream);
                });
            }
        });
        Self { port, hits }
    }

    pub fn hits(&self, path: &str) -> usize {
        self.hits.lock().unwrap().get(path).copied().unwrap_or_default()
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A body with its length, honouring `Range` if asked to.
pub(crate) fn send_file(to: &mut TcpStream, head: &str, body: &[u8], ranges: bool) -> std::io::Result<()> {
    let asked =
        head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let asked = asked.filter(|_| ranges).map(|r| {
        let (a, b) = r.split_once('-').unwrap();
        (a.parse::<usize>().unwrap(), b.parse::<usize>().unwrap() + 1)
    });
    match asked {
        Some((from, _)) if from >= body.len() => {
            write!(to, "HTTP/1.1 416 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Some((from, end)) => {
            let part = &body[from..end.min(body.len())];
            let (last, all) = (from + part.len() - 1, body.len());
            write!(to, "HTTP/1.1 206 Part\r\ncontent-range: bytes {from}-{last}/{all}\r\n")?;
            write!(to, "content-length: {}\r\nconnection: close\r\n\r\n", part.len())?;
            to.write_all(part)
        }
        None => {
            write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
            to.write_all(body)
        }
    }
}

fn status(to: &mut TcpStream, status: &str, headers: &str) -> std::io::Result<()> {
    write!(to, "HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
}

fn answer(path: &str, head: &str, before: usize, to: &mut TcpStream) -> std::io::Result<()> {
    const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
    match path {
        "/ok" => send_file(to, head, b"hello", true),
        "/no-ranges" => send_file(to, head, b"hello", false),
        "/redirect" => status(to, "302 Found", "location: /ok\r\n"),
        "/redirect-out" => status(to, "307 Away", "location: http://169.254.169.254/latest\r\n"),
        "/not-modified" => status(to, "304 Same", ""),
        "/missing" => status(to, "404 No", ""),
        "/denied" => status(to, "403 No", ""),
        "/teapot" => status(to, "418 No", ""),
        "/busy" => status(to, "429 Wait", ""),
        "/broken" => status(to, "500 Sorry", ""),
        "/flaky" if before < 2 => status(to, "503 Sorry", ""),
        "/flaky" => send_file(to, head, b"hello", true),
        "/declared" => write!(to, "{OK}content-length: 99999999\r\n\r\nx"),
        "/undeclared" => write!(to, "{OK}\r\n{}", "x".repeat(5000)),
        "/chunked" => {
            write!(to, "{OK}transfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000))
        }
        "/gzip" => write!(to, "{OK}content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"),
        "/short" => write!(to, "{OK}content-length: 100\r\n\r\nhello"),
        "/more-than-said" => write!(to, "{OK}content-length: 5\r\n\r\nhello{}", "x".repeat(5000)),
        "/other-range" => {
            write!(
                to,
                "HTTP/1.1 206 P\r\nconnection: close\r\ncontent-range: bytes 0-1/9\r\ncontent-length: 2\r\n\r\nhe"
            )
        }
        "/nonsense" => write!(to, "SSH-2.0-hello\r\n"),
        "/silent" => {
            std::thread::sleep(Duration::from_secs(3));
            Ok(())
        }
        "/trickle" => {
            write!(to, "{OK}content-length: 100\r\n\r\n")?;
            (0..100).try_for_each(|_| {
                std::thread::sleep(Duration::from_millis(30));
                to.write_all(b"x")
            })
        }
        "/endless" => {
            write!(to, "{OK}\r\n")?;
            loop {
                to.write_all(&[b'x'; 4096])?;
            }
        }
        _ => status(to, "404 No", ""),
    }
}

pub(crate) fn options(allow: &[String]) -> FetchOptions {
    FetchOptions {
        base_uri: None,
        allow: allow.to_vec(),
        max_bytes: 1000,
        timeout: Duration::from_secs(20),
        retries: 0,
        allow_private: true,
    }
}

fn outcome(done: Result<Bytes, FetchError>) -> String {
    done.map_or_else(|e| e.reason().to_owned(), |b| String::from_utf8(b.to_vec()).unwrap())
}

#[tokio::test]
async fn answers_of_servers() {
    let server = Server::start(answer);
    let at = format!("http://127.0.0.1:{}", server.port);
    let fetcher = Fetcher::new(options(std::slice::from_ref(&at))).unwrap();
    let cases = [
        ("/ok", "hello"),
        ("/gzip", "hello"),
        ("/more-than-said", "hello"),
        ("/redirect", "redirect"),
        ("/redirect-out", "redirect"),
        ("/not-modified", "redirect"),
        ("/missing", "not_found"),
        ("/denied", "forbidden"),
        ("/teapot", "bad_response"),
        ("/other-range", "bad_response"),
        ("/busy", "unavailable"),
        ("/broken", "unavailable"),
        ("/declared", "too_large"),
        ("/undeclared", "too_large"),
        ("/chunked", "too_large"),
        ("/endless", "too_large"),
        ("/short", "unreachable"),
        ("/nonsense", "unreachable"),
    ];
    for (path, expected) in cases {
        assert_eq!(outcome(fetcher.get(&format!("{at}{path}")).await), expected, "{path}");
        assert_eq!(server.hits(path), 1, "{path}");
    }
    assert_eq!(outcome(fetcher.get("http://127.0.0.1:1/ok").await), "not_allowed");
    let timeout = Duration::from_millis(300);
    let fetcher = Fetcher::new(FetchOptions { timeout, ..options(std::slice::from_ref(&at)) }).unwrap();
    for path in ["/silent", "/trickle"] {
        assert_eq!(outcome(fetcher.get(&format!("{at}{path}")).await), "timeout", "{path}");
    }
}

#[tokio::test]
async fn ranges_over_http() {
    let server = Server::start(answer);
    let at = format!("http://127.0.0.1:{}", server.port);
    let fetcher = Fetcher::new(options(std::slice::from_ref(&at))).unwrap();
    let cases = [
        ("/ok", 1..3, "el"),
        ("/ok", 3..100, "lo"),
        ("/ok", 5..6, "bad_range"),
        ("/ok", 3..3, "bad_range"),
        ("/ok", 0..1001, "too_large"),
        ("/no-ranges", 1..3, "el"),
        ("/no-ranges", 3..100, "lo"),
        ("/no-ranges", 5..6, "bad_range"),
        ("/no-ranges", 999..1001, "too_large"),
        ("/endless", 10..12, "xx"),
        ("/other-range", 1..3, "bad_response"),
        ("/missing", 1..3, "not_found"),
    ];
    for (path, range, expected) in cases {
        let done = fetcher.get_range(&format!("{at}{path}"), range.clone()).await;
        assert_eq!(outcome(done), expected, "{path} {range:?}");
    }
}

#[tokio::test]
async fn retries_only_what_may_pass() {
    let server = Server::start(answer);
    let at = format!("http://127.0.0.1:{}", server.port);
    let fetcher = Fetcher::new(FetchOptions { retries: 2, ..options(std::slice::from_ref(&at)) }).unwrap();
    let cases = [
        ("/flaky", "hello", 3),
        ("/broken", "unavailable", 3),
        ("/busy", "unavailable", 3),
        ("/short", "unreachable", 3),
        ("/missing", "not_found", 1),
        ("/redirect", "redirect", 1),
        ("/declared", "too_large", 1),
        ("/denied", "forbidden", 1),
    ];
    for (path, expected, hits) in cases {
        let began = std::time::Instant::now();
        assert_eq!(outcome(fetcher.get(&format!("{at}{path}")).await), expected, "{path}");
        assert_eq!(server.hits(path), hits, "{path}");
        // 100 ms before the second attempt and 200 ms before the third.
        assert_eq!(began.elapsed() >= Duration::from_millis(300), hits == 3, "{path}");
    }
}

/// A resolver that knows a few names; `a.example` is this machine.
fn names() -> HostLookup {
    Arc::new(|name| {
        let addresses: &[&str] = match name {
            "a.example" => &["127.0.0.1"],
            "private.example" => &["10.0.0.5"],
            "metadata.example" => &["169.254.169.254"],
            "metadata6.example" => &["fd00:ec2::254"],
            "mapped.example" => &["::ffff:127.0.0.1"],
            "nat64.example" => &["64:ff9b::7f00:1"],
            "mixed.example" => &["93.184.216.34", "127.0.0.1"],
            _ => return Err(std::io::ErrorKind::NotFound.into()),
        };
        Ok(addresses.iter().map(|a| a.parse::<IpAddr>().unwrap()).collect())
    })
}

#[tokio::test]
async fn names_that_lead_inside() {
    let server = Server::start(answer);
    let hosts = ["a", "private", "metadata", "metadata6", "mapped", "nat64", "mixed"];
    let url = |host: &str| format!("http://{host}.example:{}/ok", server.port);
    let allow: Vec<String> = hosts.iter().chain(&["unknown"]).map(|h| url(h)).collect();
    let guarded = FetchOptions { allow_private: false, retries: 3, ..options(&allow) };
    let fetcher = Fetcher::with_lookup(guarded, names()).unwrap();
    for host in hosts {
        assert_eq!(outcome(fetcher.get(&url(host)).await), "private_address", "{host}");
    }
    assert_eq!(server.hits("/ok"), 0);
    let fetcher = Fetcher::with_lookup(options(&allow), names()).unwrap();
    assert_eq!(outcome(fetcher.get(&url("a")).await), "hello");
    assert_eq!(outcome(fetcher.get(&url("unknown")).await), "unreachable");
    // The system's own resolver, for the one name that needs no network.
    let local = format!("http://localhost:{}", server.port);
    let guarded = FetchOptions { allow_private: false, ..options(std::slice::from_ref(&local)) };
    let fetcher = Fetcher::new(guarded).unwrap();
    assert_eq!(outcome(fetcher.get(&format!("{local}/ok")).await), "private_address");
}

#[cfg(unix)]
#[tokio::test]
async fn local_files() {
    use std::os::unix::fs::symlink;
    let dir = TempDir::new().unwrap();
    let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
    std::fs::create_dir_all(base.join("folder")).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(base.join("x.png"), "hello").unwrap();
    std::fs::write(base.join("exact.png"), "x".repeat(1000)).unwrap();
    std::fs::write(base.join("large.png"), "x".repeat(1001)).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    symlink(base.join("x.png"), base.join("inside")).unwrap();
    symlink(outside.join("secret"), base.join("out")).unwrap();
    symlink("../outside", base.join("out-folder")).unwrap();
    symlink("loop", base.join("loop")).unwrap();
    symlink("/dev/zero", base.join("zero")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(base.join("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(base.join("socket")).unwrap();
    let written = dir.path().join("link-to-base");
    symlink(&base, &written).unwrap();
    let base_uri = Some(written.to_str().unwrap().to_owned());
    let fetcher = Fetcher::new(FetchOptions { base_uri, ..options(&[]) }).unwrap();
    let (base, outside) = (base.display(), outside.display());
    let cases = [
        ("x.png".to_owned(), "hello"),
        ("inside".to_owned(), "hello"),
        (format!("{base}/x.png"), "hello"),
        (format!("{}/x.png", written.display()), "hello"),
        (format!("file://{base}/x.png"), "hello"),
        ("out".to_owned(), "path_traversal"),
        ("out-folder/secret".to_owned(), "path_traversal"),
        ("zero".to_owned(), "path_traversal"),
        ("../outside/secret".to_owned(), "path_traversal"),
        (format!("{outside}/secret"), "not_allowed"),
        ("pipe".to_owned(), "not_a_file"),
        ("socket".to_owned(), "not_a_file"),
        ("folder".to_owned(), "not_a_file"),
        (".".to_owned(), "not_a_file"),
        ("loop".to_owned(), "failed"),
        ("missing.png".to_owned(), "not_found"),
        ("x.png/y".to_owned(), "not_found"),
        ("large.png".to_owned(), "too_large"),
        ("n".repeat(300), "bad_uri"),
    ];
    for (uri, expected) in cases {
        assert_eq!(outcome(fetcher.get(&uri).await), expected, "{uri}");
    }
    assert_eq!(fetcher.get("exact.png").await.unwrap().len(), 1000);
    for (range, expected) in
        [(1..3, "el"), (3..100, "lo"), (5..6, "bad_range"), (u64::MAX - 1..u64::MAX, "bad_range")]
    {
        assert_eq!(outcome(fetcher.get_range("x.png", range.clone()).await), expected, "{range:?}");
    }
    assert_eq!(outcome(fetcher.get_range("large.png", 500..502).await), "xx");
}

#[tokio::test]
async fn object_stores() {
    let store = Arc::new(InMemory::new());
    let root = format!("s3://{}", "bucket/img");
    let mut fetcher = Fetcher::new(FetchOptions { base_uri: Some(root), ..options(&[]) }).unwrap();
    fetcher.put_store("s3://bucket", Arc::clone(&store) as Arc<dyn ObjectStore>);
    for (path, size) in [("img/x y.png", 5), ("img/large.png", 1001), ("secret", 5)] {
        store.put(&ObjectPath::from(path), vec![b'x'; size].into()).await.unwrap();
    }
    let cases = [
        ("x y.png", "xxxxx"),
        ("x%20y.png", "xxxxx"),
        ("s3://bucket/img/x%20y.png", "xxxxx"),
        ("s3://bucket/secret", "not_allowed"),
        ("../secret", "path_traversal"),
        ("missing.png", "not_found"),
        ("large.png", "too_large"),
    ];
    for (uri, expected) in cases {
        assert_eq!(outcome(fetcher.get(uri).await), expected, "{uri}");
    }
    for (range, expected) in [(1..3, "xx"), (3..100, "xx"), (5..6, "bad_range")] {
        assert_eq!(outcome(fetcher.get_range("x y.png", range.clone()).await), expected, "{range:?}");
    }
}

#[test]
fn nothing_of_the_uri_leaves() {
    let fetcher = Fetcher::new(options(&[])).unwrap();
    assert_eq!(format!("{fetcher:?}"), "Fetcher { .. }");
    assert!(!FetchError::NotAllowed.may_pass() && FetchError::Timeout.may_pass());
}
