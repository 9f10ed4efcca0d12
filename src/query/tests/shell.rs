//! The shell and what is written down: scripts, formats, the declared tables, the list of
//! functions.

use super::*;

pub(super) async fn printed(
    ctx: &SessionContext,
    text: &str,
    format: ResultFormat,
) -> (Result<(), QueryError>, String) {
    let mut out = Vec::new();
    let script = Script { origin: "q.sql".into(), text: text.into() };
    let session = SqlSession::without_job(ctx.clone());
    let done = execute(&session, &script, format, true, &mut out).await;
    (done, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_failing_statement_ends_the_script_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = open(dir.path()).await;
    let (done, out) =
        printed(&ctx, "SELECT 1 AS a; SELECT nothing FROM panes; SELECT 3 AS c", ResultFormat::NdJson).await;
    let message = done.unwrap_err().to_string();
    assert!(message.starts_with("q.sql, statement 2: ") && message.contains("nothing"), "{message}");
    assert_eq!(out, "{\"a\":1}\n", "the first ran, the third did not");
    let (done, out) = printed(&ctx, "SELECT 1 AS a; SELEC 2", ResultFormat::NdJson).await;
    assert!(matches!(done, Err(QueryError::Syntax { .. })));
    assert_eq!(out, "", "nothing runs of what is no SQL");
}

#[tokio::test]
async fn results_print_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = open(dir.path()).await;
    let two = "#!/usr/bin/env driftglass\nSELECT 'x' AS a, NULL AS b UNION ALL SELECT 'y', 2 ORDER BY a";
    let of = async |sql: &str, format| {
        let (done, out) = printed(&ctx, sql, format).await;
        done.unwrap();
        out
    };
    assert_eq!(of(two, ResultFormat::Csv).await, "a,b\nx,\ny,2\n");
    assert_eq!(of(two, ResultFormat::Tsv).await, "a\tb\nx\t\ny\t2\n");
    assert_eq!(of(two, ResultFormat::Json).await, "[{\"a\":\"x\",\"b\":null},{\"a\":\"y\",\"b\":2}]\n");
    assert_eq!(of(two, ResultFormat::NdJson).await, "{\"a\":\"x\",\"b\":null}\n{\"a\":\"y\",\"b\":2}\n");
    assert!(of(two, ResultFormat::Table).await.contains("| x |   |"));
    let none = "SELECT 1 AS a WHERE false";
    assert_eq!(of(none, ResultFormat::Csv).await, "a\n");
    assert_eq!(of(none, ResultFormat::Json).await, "[]\n");
    assert_eq!(of("CREATE VIEW v AS SELECT 1", ResultFormat::Table).await, "");
    assert!(of("SELECT * FROM windows", ResultFormat::Csv).await.contains("anime"), "lists are text in CSV");
    assert_eq!(of("SELECT * FROM panes", ResultFormat::NdJson).await.lines().count(), 40);
    let to = dir.path().join("copy.csv");
    of(&format!("COPY (SELECT 1 AS a) TO '{}'", to.display()), ResultFormat::Table).await;
    assert!(to.exists());
}

#[tokio::test]
async fn stock_datafusion_runs_the_tables_and_views() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = SessionContext::new();
    // The files name locations relative to the output, where a shell stands; a test stands
    // elsewhere.
    let tables = include_str!("../../../sql/tables.sql")
        .replace("LOCATION '", &format!("LOCATION '{}/", dir.path().to_str().unwrap()));
    for sql in [tables.as_str(), VIEWS] {
        printed(&ctx, sql, ResultFormat::Table).await.0.unwrap();
    }
    assert_eq!(query(&ctx, "SELECT * FROM drift_now").await.num_rows(), 1);
    assert_eq!(query(&ctx, "SELECT * FROM alert_history").await.num_rows(), 0);
    alerts_and_rejects(dir.path());
    let ctx = SessionContext::new();
    printed(&ctx, &tables, ResultFormat::Table).await.0.unwrap();
    printed(&ctx, VIEWS, ResultFormat::Table).await.0.unwrap();
    let history = query(&ctx, "SELECT minutes_firing FROM alert_history").await;
    assert_eq!(floats(&history, 0), [Some(30.0)]);
    assert_eq!(query(&ctx, "SELECT * FROM data_quality").await.num_rows(), 2);
}

#[tokio::test]
async fn the_declared_columns_are_those_of_the_tables() {
    let ctx = SessionContext::new();
    printed(&ctx, &declared(), ResultFormat::Table).await.0.unwrap();
    for table in [PublicTable::Alerts, PublicTable::Rejects, PublicTable::Exclusions] {
        let declared = ctx.table(table.name()).await.unwrap();
        let mut declared: Vec<&str> = declared.schema().fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(declared.pop(), Some("date"));
        let schema = table.schema(&[]);
        let written: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(declared, written, "{}", table.name());
    }
}

/// The statements of `tables.sql` that declare columns.
fn declared() -> String {
    let all = include_str!("../../../sql/tables.sql");
    all[all.find("CREATE EXTERNAL TABLE IF NOT EXISTS alerts").unwrap()..].to_owned()
}

#[tokio::test]
async fn the_examples_run() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = open(dir.path()).await;
    let examples = include_str!("../../../sql/examples.sql");
    let (done, out) = printed(&ctx, examples, ResultFormat::Table).await;
    done.unwrap();
    assert!(out.contains("photo") && out.contains("error_rate"), "{out}");
}

#[tokio::test]
async fn show_functions_lists_ours_first() {
    let dir = tempfile::tempdir().unwrap();
    let session = SqlSession::open(dir.path().to_str().unwrap(), &[], MIN_USERS).await.unwrap();
    let shown = async |sql: &str| -> Vec<String> {
        let script = Script { origin: "-e".into(), text: sql.into() };
        let mut out = Vec::new();
        execute(&session, &script, ResultFormat::Csv, true, &mut out).await.unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    };
    let all = shown("SHOW FUNCTIONS").await;
    let ours: Vec<&str> = all[1..].iter().map(|l| l.split(',').next().unwrap()).collect();
    for name in functions::NAMES {
        assert!(ours[..functions::NAMES.len() + 1].contains(&name), "{name}: {ours:?}");
    }
    assert!(ours.contains(&"quantile") && ours.contains(&"abs"), "DataFusion's follow");
    let one = shown("SHOW FUNCTIONS LIKE 'psi%'").await;
    assert_eq!(one.len(), 3, "{one:?}");
    assert!(
        one[1].starts_with("psi,Float64,\"[baseline, window]\",\"[Binary, Binary]\",SCALAR,"),
        "{}",
        one[1]
    );
    assert!(one[1].ends_with("\"psi(baseline, window)\""), "{}", one[1]);
}

#[tokio::test]
async fn every_function_is_there_and_documented() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = open(dir.path()).await;
    let state = ctx.state();
    for name in functions::NAMES {
        let documentation = match (state.scalar_functions().get(name), state.aggregate_functions().get(name))
        {
            (Some(f), _) => f.documentation().cloned(),
            (None, f) => f.and_then(|f| f.documentation().cloned()),
        };
        let documentation = documentation.unwrap_or_else(|| panic!("{name} has no documentation"));
        assert!(documentation.syntax_example.starts_with(name));
    }
}
