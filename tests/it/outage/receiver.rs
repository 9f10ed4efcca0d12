//! A receiver of alerts that can be down.

use parking_lot::Mutex;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long it waits for a request to come in whole.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Shared {
    up: AtomicBool,
    refused: AtomicUsize,
    taken: Mutex<Vec<Value>>,
}

/// A webhook: answers 503 until it is up, and keeps what it takes.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Starts one that is down.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A sender that was killed in the middle is no trouble of the receiver's.
                let _ = serve(stream, &own);
            }
        });
        Self { port, shared }
    }

    /// Where to post.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/alerts", self.port)
    }

    /// From now on it takes what comes.
    pub fn come_up(&self) {
        self.shared.up.store(true, Ordering::SeqCst);
    }

    /// Posts that it has answered with 503.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// The alerts that it took, in the order in which they came.
    pub fn taken(&self) -> Vec<Value> {
        self.shared.taken.lock().clone()
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(&stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let status = if shared.up.load(Ordering::SeqCst) {
        let posted: Value = serde_json::from_slice(&body)?;
        shared.taken.lock().extend(posted["alerts"].as_array().into_iter().flatten().cloned());
        "200 OK"
    } else {
        shared.refused.fetch_add(1, Ordering::SeqCst);
        "503 Service Unavailable"
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}
