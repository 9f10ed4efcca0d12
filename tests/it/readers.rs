//! Every public table is read by DuckDB, Polars, pyarrow and a stock DataFusion.

use crate::support::*;
use std::process::Command;

#[test]
fn other_engines_read_every_table() {
    let available = Command::new("bash").arg(script("python.sh")).arg("available").output().unwrap();
    if !available.status.success() {
        say(&format!("skipped the readers: {}", String::from_utf8_lossy(&available.stdout).trim()));
        return;
    }
    let python = Command::new("bash").arg(script("python.sh")).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let python = String::from_utf8(python.stdout).unwrap().trim().to_owned();

    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 40_000, 10);
    let mut bad = std::fs::read_to_string(&events).unwrap();
    bad.push_str("not an event\n");
    std::fs::write(&events, bad).unwrap();
    let config = quick_config(d, "");
    let out = d.join("out");
    ok(&["replay", "-c", text(&config), "-o", text(&out), text(&events), "-q"]);
    for t in ["panes", "windows", "alerts", "rejects"] {
        assert!(!table(&out, t).is_empty(), "{t} has rows");
    }
    let read = Command::new(&python).arg(script("readers/read_tables.py")).arg(&out).output().unwrap();
    print!("{}", String::from_utf8_lossy(&read.stdout));
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let sql = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let stock = Command::new(&python)
        .arg(script("readers/stock_sql.py"))
        .arg(&out)
        .args([sql.join("tables.sql"), sql.join("views.sql")])
        .output()
        .unwrap();
    assert!(
        stock.status.success(),
        "{}{}",
        String::from_utf8_lossy(&stock.stdout),
        String::from_utf8_lossy(&stock.stderr)
    );
}
