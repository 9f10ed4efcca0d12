//! Finds ONNX Runtime's shared library: from the environment, or in an installed Python package.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The environment variable of the library's path, as for every program that uses `ort`.
pub const VARIABLE: &str = "ORT_DYLIB_PATH";

/// How long Python may take to find its packages.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the package's folder without running any of its code. Removes empty entries of
/// `sys.path`, which mean the current folder: nothing may be loaded from there.
const WHERE: &str = "import sys
sys.path = [p for p in sys.path if p]
import importlib.util
spec = importlib.util.find_spec('onnxruntime')
for folder in (spec and spec.submodule_search_locations) or []:
    print(folder)
";

/// The library that the environment names, if any.
#[must_use]
pub fn from_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// The library of the Python package `onnxruntime` (or `onnxruntime-gpu`, which has the same
/// folder) in the active virtual environment, else of the first Python on the path. `None` if
/// anything fails.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let active = std::env::var_os("VIRTUAL_ENV").filter(|v| !v.is_empty()).map(PathBuf::from);
    active
        .and_then(|root| in_virtual_environment(&root))
        .or_else(|| ["python3", "python"].into_iter().find_map(|python| asked(python, PATIENCE)))
}

/// Searches a virtual environment's folders, without running its Python.
pub(crate) fn in_virtual_environment(root: &Path) -> Option<PathBuf> {
    let unix = std::fs::read_dir(root.join("lib")).ok().into_iter().flatten().flatten();
    let folders = unix.map(|entry| entry.path()).chain([root.join("Lib")]);
    folders.map(|f| f.join("site-packages").join("onnxruntime")).find_map(|package| in_package(&package))
}

/// Asks a Python for the package's folder.
pub(crate) fn asked(python: &str, patience: Duration) -> Option<PathBuf> {
    let mut child = Command::new(python)
        .args(["-c", WHERE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + patience;
    let done = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                // Nothing else can be done about a process that can't be killed.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    // A few paths fit into the pipe's buffer, so the child never blocks.
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    if done { text.lines().find_map(|folder| in_package(Path::new(folder))) } else { None }
}

/// The library in a package's folder; the highest name where there are several versions.
fn in_package(package: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(package.join("capi")).ok()?;
    let names = entries.flatten().filter(|e| e.file_name().to_str().is_some_and(is_library));
    names.map(|e| e.path()).max()
}

/// Whether a file name is the runtime's own; the folder also has the providers' libraries.
fn is_library(name: &str) -> bool {
    name == "onnxruntime.dll"
        || name == "libonnxruntime.so"
        || name.starts_with("libonnxruntime.so.")
        || name == "libonnxruntime.dylib"
        || name.strip_prefix("libonnxruntime.").is_some_and(|rest| rest.ends_with(".dylib"))
}
