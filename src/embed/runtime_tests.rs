//! Tests of the choice of a backend. A process has one for good: here that is tract, and what needs
//! ONNX Runtime runs in a process of its own.

use super::runtime::{Backend, InferenceRuntime, PROBE, RuntimeError, RuntimeOptions, start};
use crate::config::Provider;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Names ONNX Runtime's library (`tests/clip.sh runtime` prints one).
pub(crate) const LIBRARY: &str = "DRIFTGLASS_ONNXRUNTIME";

/// The built-in backend.
pub(crate) fn tract() -> InferenceRuntime {
    start(&RuntimeOptions { provider: Provider::Tract, ..RuntimeOptions::default() }).unwrap()
}

/// ONNX Runtime on the CPU.
pub(crate) fn cpu() -> InferenceRuntime {
    start(&RuntimeOptions { threads: 2, ..onnx_runtime(Provider::Cpu) }).unwrap()
}

fn onnx_runtime(provider: Provider) -> RuntimeOptions {
    let library = std::env::var_os(LIBRARY).map(PathBuf::from);
    RuntimeOptions { provider, library, ..RuntimeOptions::default() }
}

/// The value of a variable without which a test can't run; says so where it is not set.
pub(crate) fn needed(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).map(PathBuf::from);
    if value.is_none() {
        // The harness holds back what macros print, not this.
        let _ = writeln!(std::io::stderr(), "skipped a test: {variable} is not set");
    }
    value
}

/// Runs one ignored test in a process of its own, if there is a library.
pub(crate) fn alone_with_library(module: &str, test: &str) {
    if needed(LIBRARY).is_some() {
        alone(module, test);
    }
}

/// Runs one ignored test of module `module` (as `module_path!` says) in a process of its own.
fn alone(module: &str, test: &str) {
    let module = module.split_once("::").map_or("", |(_, module)| module);
    let name = format!("{module}::{test}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name.as_str(), "--exact", "--ignored", "--nocapture", "--test-threads", "1"])
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{name} failed:\n{text}");
}

#[test]
fn providers_have_their_names_in_the_configuration() {
    for provider in [Provider::Auto, Provider::Cuda, Provider::Cpu, Provider::Tract] {
        let json = format!("\"{}\"", provider.name());
        assert_eq!(serde_json::to_string(&provider).unwrap(), json);
        assert_eq!(serde_json::from_str::<Provider>(&json).unwrap(), provider);
    }
}

#[test]
fn the_probe_is_the_fixture() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/embed/probe.onnx");
    assert_eq!(PROBE, std::fs::read(file).unwrap());
}

#[test]
fn the_built_in_backend_starts_any_number_of_times_and_then_no_other_does() {
    assert_eq!(tract().backend(), Backend::Tract);
    assert_eq!(tract().to_string(), "tract");
    assert_eq!(tract().library(), None);
    let error = start(&RuntimeOptions { provider: Provider::Cpu, ..RuntimeOptions::default() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this process already computes embeddings with tract and can't change to ONNX Runtime"
    );
    let auto = start(&RuntimeOptions::default()).unwrap();
    assert_eq!(auto.backend(), Backend::Tract);
}

#[test]
fn a_configured_library_that_is_not_there_is_an_error_for_every_provider() {
    tract();
    for provider in [Provider::Auto, Provider::Cuda, Provider::Cpu] {
        let options = RuntimeOptions {
            provider,
            library: Some("/nowhere/libonnxruntime.so".into()),
            ..RuntimeOptions::default()
        };
        let error = start(&options).unwrap_err();
        assert!(matches!(error, RuntimeError::Load { .. }), "{error}");
        assert!(
            error.to_string().starts_with("can't load ONNX Runtime from /nowhere/libonnxruntime.so: "),
            "{error}"
        );
    }
}

#[test]
fn messages_say_what_to_do() {
    let error = RuntimeError::NoLibrary { provider: Provider::Cuda };
    assert_eq!(
        error.to_string(),
        "embedding provider cuda needs the ONNX Runtime library, and none was found: set embedding.runtime or \
         ORT_DYLIB_PATH to the path of libonnxruntime, or install the Python package onnxruntime-gpu, or use \
         provider tract"
    );
}

#[test]
fn what_is_no_library_is_refused_for_every_provider() {
    alone(module_path!(), "no_library_alone");
}

#[test]
#[ignore = "runs in a process of its own, started by what_is_no_library_is_refused_for_every_provider"]
fn no_library_alone() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("libonnxruntime.so");
    std::fs::write(&broken, b"not a library").unwrap();
    let other = folder.path().join("another.so");
    std::fs::write(&other, b"not a library").unwrap();
    // Whichever comes first: the later ones must not build upon what it left behind.
    for library in [&broken, &broken, &other] {
        for provider in [Provider::Auto, Provider::Cpu, Provider::Cuda, Provider::Tract] {
            let library = Some(library.clone());
            let error =
                start(&RuntimeOptions { provider, library, ..RuntimeOptions::default() }).unwrap_err();
            assert!(matches!(error, RuntimeError::Load { .. }), "{error}");
        }
    }
    assert_eq!(tract().backend(), Backend::Tract);
}

#[test]
fn onnx_runtime_is_chosen() {
    alone_with_library(module_path!(), "onnx_runtime_alone");
}

#[test]
#[ignore = "runs in a process of its own, started by onnx_runtime_is_chosen"]
fn onnx_runtime_alone() {
    let runtime = cpu();
    assert_eq!(runtime.backend(), Backend::Cpu);
    assert!(runtime.library().is_some());
    assert!(runtime.notes().is_empty());

    let auto = start(&onnx_runtime(Provider::Auto)).unwrap();
    match start(&onnx_runtime(Provider::Cuda)) {
        Ok(cuda) => assert_eq!((cuda.backend(), auto.backend()), (Backend::Cuda, Backend::Cuda)),
        Err(error) => {
            assert!(matches!(error, RuntimeError::NoCuda { .. }), "{error}");
            assert!(error.to_string().contains("onnxruntime-gpu"), "{error}");
            assert_eq!(auto.backend(), Backend::Cpu);
            assert_eq!(auto.notes().len(), 1);
        }
    }
    let error =
        start(&RuntimeOptions { provider: Provider::Tract, ..RuntimeOptions::default() }).unwrap_err();
    assert!(matches!(error, RuntimeError::Started { .. }), "{error}");
}
