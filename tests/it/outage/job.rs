//! A running driftglass: what it says over HTTP and in its log.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long an answer over HTTP may take; one that doesn't come counts as none.
const ANSWER: Duration = Duration::from_secs(5);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A port of loopback that nobody had a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    listener.local_addr().expect("its address").port()
}

/// A process; killed when dropped.
pub struct Job {
    child: Child,
    /// Where it serves its metrics, if it does.
    port: u16,
    log: PathBuf,
}

impl Job {
    /// Starts a command whose standard error goes to a file.
    pub fn start(mut command: Command, port: u16, log: &Path) -> Self {
        let errors = File::create(log).expect("a log in the test's folder");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        Self { child: child.expect("the binary starts"), port, log: log.to_owned() }
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// What `/health` answers.
    pub fn health(&self) -> Option<u16> {
        self.get("/health").map(|(status, _)| status)
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, all) = self.get("/metrics")?;
        let value = all.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
        value.trim().parse().ok()
    }

    /// Waits until something holds while the process runs; returns how long that took.
    pub fn until(&mut self, what: &str, limit: Duration, holds: impl FnMut(&Self) -> bool) -> Duration {
        self.wait(what, limit, holds, false)
    }

    /// The same of a job that reads to an end and may reach it, well, between two looks.
    pub fn until_or_done(
        &mut self,
        what: &str,
        limit: Duration,
        holds: impl FnMut(&Self) -> bool,
    ) -> Duration {
        self.wait(what, limit, holds, true)
    }

    fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> bool,
        may_be_done: bool,
    ) -> Duration {
        let began = Instant::now();
        while !holds(self) {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                assert!(
                    may_be_done && status.success(),
                    "it ended ({status}) before {what}:\n{}",
                    self.tail()
                );
                break;
            }
            assert!(began.elapsed() < limit, "not within {limit:?}: {what}:\n{}", self.tail());
            std::thread::sleep(LOOK);
        }
        began.elapsed()
    }

    /// Waits for the end, looking `meanwhile` at what it says.
    pub fn ends(&mut self, limit: Duration, mut meanwhile: impl FnMut(&Self)) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(began.elapsed() < limit, "it still runs after {limit:?}:\n{}", self.tail());
            meanwhile(self);
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for the end and fails the test unless all went well.
    pub fn ends_well(&mut self, limit: Duration) {
        let status = self.ends(limit, |_| ());
        assert!(status.success(), "{status}:\n{}", self.tail());
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success(), "it ended before it was asked to:\n{}", self.tail());
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert!(ended.is_none(), "it ended ({ended:?}) before it was killed:\n{}", self.tail());
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log, for the message of a failure.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].iter().map(|l| format!("  {l}\n")).collect()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
