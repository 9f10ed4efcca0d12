//! Tests of where the library is looked for.

use super::library::{asked, in_virtual_environment};
use std::path::Path;
use std::time::{Duration, Instant};

/// A package's folder with files of these names.
fn package(root: &Path, names: &[&str]) {
    let capi = root.join("lib/python3.12/site-packages/onnxruntime/capi");
    std::fs::create_dir_all(&capi).unwrap();
    for name in names {
        std::fs::write(capi.join(name), b"").unwrap();
    }
}

#[test]
fn the_runtime_is_told_from_what_stands_beside_it() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(in_virtual_environment(root.path()), None);
    package(
        root.path(),
        &["libonnxruntime_providers_shared.so", "onnxruntime_pybind11_state.so", "libonnxruntime.txt"],
    );
    assert_eq!(in_virtual_environment(root.path()), None);
    package(root.path(), &["libonnxruntime.so.1.31.1"]);
    let found = in_virtual_environment(root.path()).unwrap();
    assert_eq!(found.file_name().unwrap(), "libonnxruntime.so.1.31.1");
}

#[test]
fn a_python_that_is_not_there_gives_nothing() {
    assert_eq!(asked("no-python-of-this-name", Duration::from_secs(5)), None);
}

#[cfg(unix)]
#[test]
fn a_python_is_waited_for_only_so_long() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let script = root.path().join("python");
    std::fs::write(&script, "#!/bin/sh\nexec sleep 30\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let begun = Instant::now();
    assert_eq!(asked(script.to_str().unwrap(), Duration::from_millis(50)), None);
    assert!(begun.elapsed() < Duration::from_secs(20), "it was waited for");
}

#[cfg(unix)]
#[test]
fn a_python_answers_with_the_package_folder() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    package(root.path(), &["libonnxruntime.so.1.31.1"]);
    let script = root.path().join("python");
    let folder = root.path().join("lib/python3.12/site-packages/onnxruntime");
    std::fs::write(&script, format!("#!/bin/sh\necho '{}'\n", folder.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let found = asked(script.to_str().unwrap(), Duration::from_secs(20));
    assert_eq!(found, Some(folder.join("capi/libonnxruntime.so.1.31.1")));
}
