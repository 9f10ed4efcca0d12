use super::super::session::SqlSession;
use super::super::shell::{Script, execute};
use super::*;
use crate::query::{QueryError, ResultFormat};
use datafusion::sql::parser::DFParser;

async fn open(dir: &str) -> SqlSession {
    SqlSession::open(dir, &[], 5).await.unwrap()
}

/// Why one of the statements is refused; `None` where all ran.
async fn why(session: &SqlSession, sql: &str) -> Option<String> {
    for statement in DFParser::parse_sql(sql).unwrap() {
        let done = async { session.execute(session.plan(statement).await?).await?.collect().await };
        match done.await {
            Err(e) if RefusedStatement::of(&e).is_none() => panic!("{sql}: {e}"),
            Err(e) => return RefusedStatement::of(&e).map(|r| r.to_string()),
            Ok(_) => {}
        }
    }
    None
}

#[tokio::test]
async fn statements_that_change_the_jobs_tables_are_refused_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let session = open(dir.path().to_str().unwrap()).await;
    for sql in [
        "INSERT INTO windows SELECT * FROM windows",
        "INSERT OVERWRITE windows SELECT * FROM windows",
        "WITH w AS (SELECT * FROM windows) INSERT INTO windows SELECT * FROM w",
        "INSERT INTO windows WITH w AS (SELECT * FROM windows) SELECT * FROM w",
        "EXPLAIN INSERT INTO windows SELECT * FROM windows",
        "EXPLAIN ANALYZE INSERT INTO windows SELECT * FROM windows",
        "EXPLAIN VERBOSE INSERT INTO windows SELECT * FROM windows",
        "PREPARE p AS INSERT INTO windows SELECT * FROM windows",
        "DELETE FROM windows",
        "DELETE FROM alerts WHERE rule = 'x'",
        "UPDATE windows SET n = 0",
        "TRUNCATE TABLE windows",
        "TRUNCATE windows, alerts",
        "MERGE INTO windows USING alerts ON true WHEN MATCHED THEN DELETE",
        "ALTER TABLE windows ADD COLUMN a INT",
        "PREPARE p AS DELETE FROM windows",
        "SELECT 1; INSERT INTO panes SELECT * FROM panes",
        "CREATE TABLE mine AS SELECT 1 AS a; INSERT INTO mine SELECT 2",
    ] {
        let why = why(&session, sql).await.unwrap_or_else(|| panic!("{sql} ran"));
        assert!(why.starts_with("sql only reads: ") && why.contains("COPY … TO"), "{sql}: {why}");
        assert!(!why.contains('\n'));
    }
    for sql in [
        "DROP TABLE panes",
        "DROP TABLE IF EXISTS panes",
        "DROP VIEW drift_now",
        "DROP SCHEMA public CASCADE",
        "DROP FUNCTION psi",
        "CREATE OR REPLACE TABLE windows AS SELECT 1",
        "CREATE TABLE windows AS SELECT 1",
        "CREATE OR REPLACE VIEW windows AS SELECT 1",
        "CREATE OR REPLACE VIEW drift_now AS SELECT 1",
        "CREATE VIEW datafusion.public.windows AS SELECT 1",
        "CREATE OR REPLACE EXTERNAL TABLE windows STORED AS PARQUET LOCATION '/tmp/x/'",
        "CREATE EXTERNAL TABLE alerts (a INT) STORED AS CSV LOCATION '/tmp/x/'",
        "EXPLAIN ANALYZE DROP TABLE panes",
    ] {
        // DataFusion refuses some of these itself.
        let mut statements = DFParser::parse_sql(sql).unwrap();
        let Ok(plan) = session.plan(statements.pop_front().unwrap()).await else { continue };
        assert!(session.execute(plan).await.is_err(), "{sql} ran");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
    session.ctx.sql("SELECT * FROM windows").await.unwrap();
}

#[tokio::test]
async fn what_is_made_in_memory_or_elsewhere_is_the_users_own() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = open(dir.path().to_str().unwrap()).await;
    let to = other.path().display();
    for sql in [
        format!("COPY (SELECT 1 AS a) TO '{to}/a.csv'"),
        format!("COPY (SELECT 1 AS a, 2 AS b) TO '{to}/parts/' STORED AS PARQUET PARTITIONED BY (a)"),
        format!("CREATE EXTERNAL TABLE mine STORED AS CSV LOCATION '{to}/a.csv'; SELECT * FROM mine"),
        "CREATE TABLE t AS SELECT 1 AS a; CREATE VIEW v AS SELECT a FROM t; SELECT * FROM v".into(),
        "DROP VIEW v; DROP TABLE t".into(),
        "CREATE TABLE IF NOT EXISTS windows AS SELECT 1; SET datafusion.execution.batch_size = 1024".into(),
        "PREPARE p AS SELECT 1; EXECUTE p; EXPLAIN ANALYZE SELECT * FROM windows".into(),
    ] {
        assert_eq!(why(&session, &sql).await, None, "{sql}");
    }
}

#[tokio::test]
async fn files_are_copied_nowhere_into_the_output_whatever_it_is_called() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().canonicalize().unwrap();
    let dir = root.join("a=1");
    std::fs::create_dir_all(dir.join("windows")).unwrap();
    std::fs::create_dir(root.join("other")).unwrap();
    std::os::unix::fs::symlink(&dir, root.join("link")).unwrap();
    std::os::unix::fs::symlink(dir.join("windows"), root.join("other/deep")).unwrap();
    let session = open(dir.to_str().unwrap()).await;
    let root = root.display();
    for to in [
        format!("{root}/a=1/x.csv"),
        format!("{root}/a=1"),
        format!("{root}/a=1/"),
        format!("{root}/a=1/windows/date=2026-01-01/x.parquet"),
        format!("{root}/other/../a=1/x.csv"),
        format!("{root}/not-there/../a=1/x.csv"),
        format!("{root}/link/x.csv"),
        format!("{root}/other/deep/not/there/x.csv"),
        format!("file://{root}/a=1/x.csv"),
        format!("file://{root}/%61=1/x.csv"),
        format!("file://{root}/other/%2e%2e/a=1/x.csv"),
        format!("/proc/self/root{root}/a=1/x.csv"),
    ] {
        for sql in ["COPY (SELECT 1 AS a) TO", "EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO"] {
            let why = why(&session, &format!("{sql} '{to}' STORED AS CSV")).await;
            assert!(why.is_some_and(|w| w.contains("must not write into the job's output")), "{to}");
        }
    }
    let parts = format!("COPY (SELECT 1 AS a, 2 AS b) TO '{root}/' STORED AS CSV PARTITIONED BY (a)");
    assert!(why(&session, &parts).await.is_some(), "one of its folders is the output");
    let temporary = format!("SET datafusion.runtime.temp_directory = '{root}/a=1/tmp'");
    assert!(why(&session, &temporary).await.is_some());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(dir.join("windows")).unwrap().count(), 0);
    assert_eq!(why(&session, &format!("COPY (SELECT 1 AS a) TO '{root}/a=12.csv'")).await, None);
}

#[test]
fn buckets_are_known_by_all_their_addresses() {
    let of = |url: &str| locations(&Url::parse(url).unwrap());
    let writes =
        |output: &str, target: &str| of(output).iter().any(|o| of(target).iter().any(|t| o.contains(t)));
    for (output, target) in [
        ("s3://bucket/job/", "s3://bucket/job/x.parquet"),
        ("s3://bucket/job/", "s3a://bucket/job/windows/x.parquet"),
        ("s3://bucket/job/", "s3://bucket/other/../job/x.parquet"),
        ("s3://bucket/job/", "s3://bucket/%6aob/x.parquet"),
        ("s3://bucket/job/", "https://bucket.s3.eu-west-1.amazonaws.com/job/x.parquet"),
        ("s3://bucket/job/", "https://s3.eu-west-1.amazonaws.com/bucket/job/x.parquet"),
        ("https://s3.eu-west-1.amazonaws.com/bucket/job/", "s3://bucket/job/x.parquet"),
        ("s3://bucket/", "s3://bucket/x.parquet"),
        ("gs://bucket/job/", "gs://bucket/job/x.parquet"),
        ("az://container/job/", "abfss://container@account.dfs.core.windows.net/job/x.parquet"),
        ("az://container/job/", "https://account.blob.core.windows.net/container/job/x.parquet"),
        ("https://example.org/job/", "https://example.org:443/job/x.parquet"),
        ("driftglass://output/job/", "driftglass://output/job/x.parquet"),
    ] {
        assert!(writes(output, target), "{output} {target}");
    }
    for (output, target) in [
        ("s3://bucket/job/", "s3://bucket/job2/x.parquet"),
        ("s3://bucket/job/", "s3://other/job/x.parquet"),
        ("s3://bucket/job/", "gs://bucket/job/x.parquet"),
        ("s3://bucket/job/", "https://bucket.s3.eu-west-1.amazonaws.com/reports/x.parquet"),
        ("s3://bucket/job/", "file:///job/x.parquet"),
        ("https://example.org/job/", "https://example.com/job/x.parquet"),
    ] {
        assert!(!writes(output, target), "{output} {target}");
    }
}

#[tokio::test]
async fn a_refusal_says_where_it_stands_and_ends_the_script() {
    let dir = tempfile::tempdir().unwrap();
    let session = open(dir.path().to_str().unwrap()).await;
    let text = "SELECT 1 AS a; INSERT INTO windows SELECT * FROM windows; SELECT 3 AS c".to_owned();
    let mut out = Vec::new();
    let script = Script { origin: "q.sql".into(), text };
    let e = execute(&session, &script, ResultFormat::NdJson, true, &mut out).await.unwrap_err();
    assert!(matches!(e, QueryError::Refused { number: 2, .. }));
    let message = e.to_string();
    assert!(message.starts_with("q.sql, statement 2: sql only reads: INSERT is refused; "), "{message}");
    assert_eq!(out, b"{\"a\":1}\n");
}
