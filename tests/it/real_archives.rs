//! Archives that pandas, Polars, DuckDB and Spark have rewritten give what they gave before.

use crate::support::*;
use std::process::Command;

#[test]
fn rewritten_archives_give_the_same_tables() {
    let available = Command::new("bash").arg(script("python.sh")).arg("available").output().unwrap();
    if !available.status.success() {
        say(&format!("skipped rewriting: {}", String::from_utf8_lossy(&available.stdout).trim()));
        return;
    }
    let python = Command::new("bash").arg(script("python.sh")).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let python = String::from_utf8(python.stdout).unwrap().trim().to_owned();

    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 6_000, 6);
    let config = quick_config(d, "");
    let c = text(&config);
    let kept = d.join("kept");
    ok(&["archive", "-c", c, "-o", text(&kept), text(&events), "-q"]);
    let own = d.join("own");
    ok(&["replay", "-c", c, "-o", text(&own), text(&kept.join("archive")), "-q"]);
    let made = Command::new(python)
        .arg(script("readers/rewrite_archive.py"))
        .args([kept.join("archive"), d.join("rewritten")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let names = String::from_utf8(made.stdout).unwrap();
    for name in names.lines() {
        let out = d.join(name);
        ok(&["replay", "-c", c, "-o", text(&out), text(&d.join("rewritten").join(name)), "-q"]);
        if name == "pandas" {
            // Hashes have become floating point: sessions are apart as before, but they are not the
            // same numbers.
            let without = ["sessions", "baseline_sessions", "baseline_id", "contributors"];
            let of = |dir: &std::path::Path| rows(&table(dir, "windows"), &without);
            assert_eq!(of(&own), of(&out), "{name}");
        } else {
            assert_same(&own, &out);
        }
    }
    say(&format!(
        "the same tables from an archive as rewritten by {}",
        names.lines().collect::<Vec<_>>().join(", ")
    ));
}
