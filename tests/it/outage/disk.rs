//! A small disk: memory that is mounted where only its holder and those who join it see it.

use crate::support::*;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Mounts it, says so, and keeps it until its standard input is closed.
const MOUNT: &str = "mount -t tmpfs -o size=\"$2\" tmpfs \"$1\" && echo mounted && exec cat";

/// A file system of its own that is gone when dropped.
pub struct Disk {
    holder: Child,
    /// What whoever joins the holder's namespaces has to ask for.
    join: &'static [&'static str],
    /// Its folder, as those who joined see it.
    pub dir: PathBuf,
    /// The same folder, as everybody else sees it.
    pub seen: PathBuf,
}

impl Disk {
    /// Mounts one of so many bytes over an absolute path, or says why that can't be done.
    pub fn mount(dir: &Path, bytes: u64, test: &str) -> Option<Self> {
        let ways: [(&str, &'static [&'static str]); 2] =
            [("-m", &["-m"]), ("-rm", &["-U", "-m", "--preserve-credentials"])];
        let mut why = String::new();
        for (unshare, join) in ways {
            match hold(unshare, dir, bytes) {
                Ok(holder) => {
                    let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
                    let seen = root.join(dir.strip_prefix("/").expect("an absolute path"));
                    return Some(Self { holder, join, dir: dir.to_owned(), seen });
                }
                Err(e) => why = e,
            }
        }
        say(&format!("skipped {test}: no file system can be mounted here ({why})"));
        None
    }

    /// The binary under test, started where the disk is seen.
    pub fn driftglass(&self) -> Command {
        let inner = driftglass();
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.holder.id().to_string()])
            .args(self.join)
            .arg("--")
            .arg(inner.get_program());
        inner.get_envs().filter(|(_, value)| value.is_none()).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command
    }

    /// Writes a file that leaves so many bytes free.
    pub fn fill(&self, left: u64) {
        let mut file = File::create(self.filler()).expect("a file on the small disk");
        let zeros = vec![0_u8; 1 << 16];
        let mut written = 0;
        while let Ok(n) = file.write(&zeros) {
            written += n as u64;
        }
        file.set_len(written.saturating_sub(left)).expect("a file can be cut");
    }

    /// Removes that file.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("the file that fills the disk");
    }

    fn filler(&self) -> PathBuf {
        self.seen.join("filler")
    }
}

/// Starts a process that holds the disk.
fn hold(unshare: &str, dir: &Path, bytes: u64) -> Result<Child, String> {
    let mut holder = Command::new("unshare")
        .args([unshare, "sh", "-c", MOUNT, "sh", text(dir), &bytes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("unshare: {e}"))?;
    let mut line = String::new();
    let read = holder.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    if line.trim() == "mounted" {
        return Ok(holder);
    }
    let failed = holder.wait_with_output().map_err(|e| e.to_string())?;
    let errors = String::from_utf8_lossy(&failed.stderr);
    Err(errors.lines().next_back().map_or_else(|| format!("{read:?}"), str::to_owned))
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
