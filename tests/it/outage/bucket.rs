//! A bucket in an S3 server of the test's own, and a line to it that can be cut.

use crate::support::*;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Weak};

const NAME: &str = "bucket";
const REGION: &str = "us-east-1";
/// Key and secret; the server takes any.
const CREDENTIAL: &str = "test";

/// A server with an empty bucket; ended when dropped.
pub struct Bucket {
    dir: PathBuf,
    address: String,
}

fn s3(args: &[&str]) -> Output {
    Command::new("bash")
        .arg(script("s3.sh"))
        .args(args)
        .env("S3_OWNER_PID", std::process::id().to_string())
        .output()
        .expect("bash starts")
}

impl Bucket {
    /// Starts one, or says why there is none.
    pub fn start(dir: &Path, test: &str) -> Option<Self> {
        let available = s3(&["available"]);
        if !available.status.success() {
            say(&format!("skipped {test}: {}", String::from_utf8_lossy(&available.stdout).trim()));
            return None;
        }
        let started = s3(&["start", text(dir)]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let address = String::from_utf8_lossy(&started.stdout).trim().to_owned();
        let bucket = Self { dir: dir.to_owned(), address };
        bucket.make();
        Some(bucket)
    }

    fn make(&self) {
        let mut stream = TcpStream::connect(&self.address).expect("the S3 server listens");
        let (host, mut answer) = (&self.address, String::new());
        write!(
            stream,
            "PUT /{NAME} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .and_then(|()| stream.read_to_string(&mut answer))
        .expect("the S3 server answers");
        assert!(answer.starts_with("HTTP/1.1 200 "), "the bucket was not made: {answer}");
    }

    /// A URL in it.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{NAME}/{prefix}")
    }

    /// A line to the server.
    pub fn line(&self) -> Line {
        Line::to(&self.address)
    }

    /// Copies what is under a prefix to a folder.
    pub fn download(&self, prefix: &str, to: &Path) {
        let store = AmazonS3Builder::new()
            .with_endpoint(format!("http://{}", self.address))
            .with_allow_http(true)
            .with_bucket_name(NAME)
            .with_region(REGION)
            .with_access_key_id(CREDENTIAL)
            .with_secret_access_key(CREDENTIAL)
            .build()
            .expect("a client of the bucket");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let under = object_store::path::Path::from(prefix);
        runtime.block_on(async {
            let found = store.list(Some(&under)).try_collect::<Vec<ObjectMeta>>().await;
            for object in found.expect("a list of the bucket") {
                let got = store.get(&object.location).await.expect("a listed object is there");
                let bytes = got.bytes().await.expect("an object reads");
                let name: &str = object.location.as_ref();
                let file = to.join(name.strip_prefix(prefix).unwrap_or(name).trim_start_matches('/'));
                std::fs::create_dir_all(file.parent().unwrap_or(to)).expect("a folder in the test's folder");
                std::fs::write(&file, &bytes).expect("a file in the test's folder");
            }
        });
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        s3(&["stop", text(&self.dir)]);
    }
}

/// A proxy on loopback: while it is cut, connections are taken and closed at once.
pub struct Line {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    /// Both ends of what is connected; whoever copies between them holds them.
    open: Vec<Weak<TcpStream>>,
}

impl Line {
    fn to(target: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::<Mutex<State>>::default();
        let (target, shared) = (target.to_owned(), Arc::clone(&state));
        // It ends with the test's process, and harms nobody until then.
        std::thread::spawn(move || listener.incoming().flatten().for_each(|c| connect(c, &target, &shared)));
        Self { port, state }
    }

    /// Has a command reach the bucket through it.
    pub fn lead(&self, command: &mut Command) {
        // What else says where S3 is or who asks would win over it.
        let names = std::env::vars_os().map(|v| v.0).filter(|n| n.to_string_lossy().starts_with("AWS_"));
        names.for_each(|n| {
            command.env_remove(n);
        });
        command
            .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", CREDENTIAL)
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
            .env("NO_PROXY", "127.0.0.1");
    }

    /// Cuts it, also for requests that are under way.
    pub fn cut(&self) {
        let mut state = self.state.lock();
        state.cut = true;
        for stream in state.open.drain(..).filter_map(|s| s.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Mends it.
    pub fn mend(&self) {
        self.state.lock().cut = false;
    }
}

fn connect(client: TcpStream, target: &str, state: &Mutex<State>) {
    let Ok(server) = TcpStream::connect(target) else { return };
    let (client, server) = (Arc::new(client), Arc::new(server));
    let mut state = state.lock();
    if state.cut {
        return;
    }
    state.open.retain(|s| s.strong_count() > 0);
    state.open.extend([&client, &server].map(Arc::downgrade));
    let back = (Arc::clone(&server), Arc::clone(&client));
    std::thread::spawn(move || copy(&client, &server));
    std::thread::spawn(move || copy(&back.0, &back.1));
}

/// Copies until one side says no more, and passes that on.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
