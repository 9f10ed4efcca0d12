//! Invalid values, key by key, and the error for each.

use super::super::{ConfigError, DEFAULT_TOML, parse};
use super::*;

fn env(name: &str) -> Option<String> {
    (name == "SECRET").then(|| "hunter2-hunter2".to_owned())
}

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, "job.toml", env)
}

/// The error for the second line of a section.
fn said(section: &str, line: &str) -> String {
    let text = format!("[{section}]\n{line}\n");
    match read(&text) {
        Ok(_) => panic!("{text:?} passes"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn nonsense_is_refused_with_its_line_key_and_what_would_do() {
    for (section, line, key, says) in [
        ("input", "max_message = \"0\"", "input.max_message", "0 B is out of range"),
        ("input", "max_message = \"4TiB\"", "input.max_message", "to 1.0 GiB"),
        ("input", "max_message = \"lots\"", "input.max_message", "not a size such as \"64MiB\""),
        (
            "input",
            "max_bad_share = 1.5",
            "input.max_bad_share",
            "1.5 is not a share; write a number from 0 to 1",
        ),
        ("input", "max_bad_share = nan", "input.max_bad_share", "NaN is not a share"),
        ("input", "kafka = { brokers = \"\", topic = \"t\" }", "input.kafka.brokers", "write HOST:PORT"),
        (
            "input",
            "kafka = { brokers = \"b:x\", topic = \"t\" }",
            "input.kafka.brokers",
            "\"b:x\" is not a broker",
        ),
        ("input", "kafka = { brokers = \"b:0\", topic = \"t\" }", "input.kafka.brokers", "is not a broker"),
        (
            "input",
            "kafka = { brokers = \"a:1,,b:2\", topic = \"t\" }",
            "input.kafka.brokers",
            "is not a broker",
        ),
        ("input", "kafka = { brokers = \"b:9092\", topic = \"\" }", "input.kafka.topic", "is not a topic"),
        (
            "input",
            "kafka = { brokers = \"b:9092\", topic = \"a b\" }",
            "input.kafka.topic",
            "\"a b\" is not a topic",
        ),
        (
            "input",
            "kafka = { brokers = \"b\", topic = \"t\", group = \" \" }",
            "input.kafka.group",
            "is empty",
        ),
        ("input", "kafka = \"localhost:9092\"", "input.kafka", "write a table"),
        ("input", "kafka = { brokers = \"b\" }", "input.kafka", "the key `topic` is missing"),
        ("output", "dir = \"\"", "output.dir", "is empty"),
        ("output", "dir = \"ftp://host/x\"", "output.dir", "ftp:// is not a store"),
        ("output", "dir = \"file://out\"", "output.dir", "write file:/// and the whole path"),
        ("output", "dir = \"s3:///x\"", "output.dir", "names no bucket"),
        ("output", "dir = \"~/out\"", "output.dir", "write ${HOME}"),
        ("output", "keep_panes = \"28d\"", "output.keep_panes", "write \"29d\" or more"),
        ("output", "keep_panes = \"400000d\"", "output.keep_panes", "too long"),
        ("privacy", "min_users = 0", "privacy.min_users", "write 1 to show every token"),
        ("privacy", "min_users = -1", "privacy.min_users", "write a whole number from 0"),
        ("privacy", "key = \"  \"", "privacy.key", "has only spaces"),
        ("privacy", "key = \"$SECRET\"", "", "write \"${SECRET}\""),
        ("privacy", "key = 'a#${NOWHERE}'", "", "environment variable NOWHERE is not set"),
        ("windows", "pane = \"7s\"", "windows.pane", "7s does not divide an hour"),
        ("windows", "pane = \"2h\"", "windows.pane", "does not divide an hour"),
        ("windows", "pane = \"0s\"", "windows.pane", "does not divide an hour"),
        ("windows", "rolling = []", "windows.rolling", "at least one window"),
        ("windows", "rolling = \"6h\"", "windows.rolling", "is the text \"6h\"; write a list"),
        ("windows", "rolling = [6]", "windows.rolling", "is the number 6; write \"24h\" or { length"),
        ("windows", "rolling = [\"soon\"]", "windows.rolling", "\"soon\" is not a duration"),
        ("windows", "rolling = [{ length = \"6h\" }]", "windows.rolling", "the key `slide` is missing"),
        ("windows", "rolling = [\"6h\", \"6h\"]", "windows.rolling", "the window of 6h is given twice"),
        ("windows", "rolling = [\"24h\", \"1d\"]", "windows.rolling", "the window of 24h is given twice"),
        ("windows", "rolling = [\"6h\", { length = \"360m\", slide = \"1h\" }]", "windows.rolling", "twice"),
        ("windows", "rolling = [\"8d\"]", "windows.rolling", "8d is too long"),
        ("windows", "rolling = [\"0s\"]", "windows.rolling", "is not a length of a window"),
        ("windows", "rolling = [\"90m\", \"7m\"]", "windows.rolling", "{ length = \"7m\", slide = \"1m\" }"),
        (
            "windows",
            "rolling = [{ length = \"90m\", slide = \"45m\" }]",
            "windows.rolling",
            "a part or a multiple of an hour",
        ),
        ("windows", "lateness = 300", "windows.lateness", "is the number 300; write text in quotes"),
        ("windows", "lateness = \"-5m\"", "windows.lateness", "is negative"),
        ("windows", "lateness = \"5M\"", "windows.lateness", "write \"5m\" for minutes"),
        ("windows", "lateness = \"3d\"", "windows.lateness", "3d must lie between 0s and 2d"),
        ("windows", "lateness = \"\"", "windows.lateness", "not a duration"),
        ("windows", "lateness = \"5\"", "windows.lateness", "not a duration"),
        ("windows", "idle = \"0s\"", "windows.idle", "is out of range"),
        ("windows", "idle = \"99999999999999999999d\"", "windows.idle", "not a duration"),
        ("windows", "idle = \"2d\"", "windows.idle", "is out of range"),
        ("windows", "max_segments = 0", "windows.max_segments", "0 is out of range; write a value from 1"),
        ("baselines", "rolling_days = []", "baselines.rolling_days", "names no baseline"),
        ("baselines", "rolling_days = [7, 7]", "baselines.rolling_days", "7 is given twice"),
        ("baselines", "rolling_days = [0]", "baselines.rolling_days", "0 is out of range"),
        ("baselines", "rolling_days = [400]", "baselines.rolling_days", "400 is out of range"),
        (
            "baselines",
            "rolling_days = [70000]",
            "baselines.rolling_days",
            "write a whole number from 0 to 65535",
        ),
        ("baselines", "rolling_days = 7", "baselines.rolling_days", "write a list"),
        ("baselines", "min_share = nan", "baselines.min_share", "NaN is not a share"),
        ("baselines", "exclude_drifted = \"no\"", "baselines.exclude_drifted", "write true or false"),
        ("alerts", "false_alarms_per_quarter = 0", "alerts.false_alarms_per_quarter", "0 is not a budget"),
        (
            "alerts",
            "false_alarms_per_quarter = inf",
            "alerts.false_alarms_per_quarter",
            "inf is not a budget",
        ),
        (
            "alerts",
            "false_alarms_per_quarter = nan",
            "alerts.false_alarms_per_quarter",
            "NaN is not a budget",
        ),
        ("alerts", "false_alarms_per_quarter = -1", "alerts.false_alarms_per_quarter", "-1 is not a budget"),
        ("alerts", "jsonl = \"\"", "alerts.jsonl", "is empty"),
        ("alerts", "webhook = \"\"", "alerts.webhook", "is not a URL"),
        ("alerts", "webhook = \"ftp://x/y\"", "alerts.webhook", "ftp: can't be posted to"),
        ("alerts", "webhook = \"https://…\"", "alerts.webhook", "write https://HOST/PATH"),
        ("alerts", "stale_after = \"1s\"", "alerts.stale_after", "shorter than the longest slide"),
        ("engine", "job = \"a/b\"", "engine.job", "\"a/b\" is not a valid name"),
        ("engine", "job = \"\"", "engine.job", "is not a valid name"),
        ("engine", "job = \"..\"", "engine.job", "is not a valid name"),
        ("engine", "job = \"my job\"", "engine.job", "is not a valid name"),
        ("engine", "workers = 5000", "engine.workers", "is out of range"),
        ("engine", "workers = 1.5", "engine.workers", "is the number 1.5; write a whole number"),
        ("engine", "commit_every = \"0s\"", "engine.commit_every", "is out of range"),
        ("engine", "commit_every = \"1d\"", "engine.commit_every", "is out of range"),
        ("engine", "queue = \"0\"", "engine.queue", "is out of range"),
        ("serve", "listen = \"9464\"", "serve.listen", "write HOST:PORT, \"127.0.0.1:9464\""),
        ("serve", "listen = \":8080\"", "serve.listen", "\"127.0.0.1:8080\""),
        ("serve", "listen = \"localhost\"", "serve.listen", "is not an address"),
        ("serve", "listen = \"http://localhost:1\"", "serve.listen", "is not an address"),
        ("serve", "listen = \"localhost:70000\"", "serve.listen", "is not an address"),
        (
            "kafka",
            "properties = { \"fetch.max.bytes\" = 5 }",
            "kafka.properties.fetch.max.bytes",
            "write text in quotes",
        ),
        ("embedding", "rate = nan", "embedding.rate", "NaN is not a share"),
        ("embedding", "dimension = 0", "embedding.dimension", "0 is out of range"),
        ("embedding", "std = [1.0, 0.0, 1.0]", "embedding.std", "0 is not a deviation"),
        ("embedding", "mean = [1.0, inf, 1.0]", "embedding.mean", "inf is not a mean"),
        ("embedding", "mean = [1.0, 1.0]", "embedding.mean", "write a list of 3 numbers"),
        ("embedding", "model = \"\"", "embedding.model", "is empty"),
        ("embedding", "base_uri = \"\"", "embedding.base_uri", "is empty"),
        ("embedding", "allow = [\"\"]", "embedding.allow", "is empty"),
        ("embedding", "provider = \"rocm\"", "embedding.provider", "write one of auto, cuda, cpu, tract"),
        ("embedding", "device = -1", "embedding.device", "-1 is out of range"),
        ("embedding", "retries = 1000", "embedding.retries", "1000 is out of range"),
        ("embedding", "concurrency = 0", "embedding.concurrency", "0 is out of range"),
        ("embedding", "timeout = \"0s\"", "embedding.timeout", "is out of range"),
        ("embedding", "per_minute = 0", "embedding.per_minute", "0 is out of range"),
        ("embedding", "name = \"a b\"", "embedding.name", "is not a valid name"),
        ("window", "rolling = [\"6h\"]", "", "unknown key `window`; did you mean `windows`?"),
        ("windows", "roling = [\"6h\"]", "", "unknown key `roling`; did you mean `rolling`?"),
        ("[segment]", "by = [\"tenant\"]", "", "unknown key `segment`; did you mean `segments`?"),
        (
            "[segments]",
            "by = [\"tenat\"]",
            "segments.by",
            "\"tenat\" is not a dimension; did you mean \"tenant\"?",
        ),
        ("[segments]", "by = [\"tenant\", \"tenant\"]", "segments.by", "is given twice in one grouping"),
        ("[segments]", "by = \"tenant\"", "segments.by", "write a list"),
        ("[features]", "name = \"x\"", "features.x", "a new feature needs `from`"),
        (
            "[features]",
            "name = \"x\"\nfrom = \"metrics.latency\"",
            "features.x",
            "did you mean \"metrics.latency_ms\"?",
        ),
        (
            "[features]",
            "name = \"x y\"\nfrom = \"metrics.rps\"",
            "features.x y",
            "a name has 1 to 64 letters",
        ),
        ("[features]", "name = \"cgf\"\nenabled = false", "features.cgf", "did you mean \"cfg\"?"),
        ("[features]", "name = \"cfg\"\nstages = []", "features.stages", "names no stage"),
        ("[features]", "name = \"cfg\"\nstages = [\"render\"]", "features.stages", "is not a pipeline stage"),
        (
            "[features]",
            "name = \"cfg\"\nstages = [\"deliver\", \"deliver\"]",
            "features.stages",
            "is given twice",
        ),
        ("[features]", "name = \"cfg\"\nkind = \"rate\"", "features.cfg", "can't be read from that field"),
        ("[features]", "name = \"error\"\nlog = 1.0", "features.error", "`log` and `test` are for numbers"),
        ("[features]", "name = \"cfg\"\ntolerance = -0.1", "features.cfg", "`tolerance` is a number from 0"),
    ] {
        let text = said(section, line);
        assert!(!text.contains('\n'), "{text}");
        assert!(text.starts_with("job.toml:"), "{line}: {text}");
        let at = text["job.toml:".len()..].split(':').next().and_then(|at| at.parse::<usize>().ok());
        let at = at.unwrap_or_else(|| panic!("{line}: no line in {text}"));
        assert!((1..=3).contains(&at), "{line}: {text}");
        assert!(text.contains(key) && text.contains(says), "{line}: {text}");
        for word in ["struct ", "sequence", "untagged", "usize", "u16", "u32", "f64", "variant", "Option"] {
            assert!(!text.contains(word), "{line}: {text}");
        }
    }
}

#[test]
fn what_contradicts_itself_is_told_with_the_line_of_the_second() {
    let rule = "[[rules]]\nname = \"r\"\nfeature = \"cfg\"\nwhen = \"n > 0\"\n";
    for (text, says) in [
        ("[[segments]]\nby = [\"tenant\", \"region\"]\n[[segments]]\nby = [\"region\", \"tenant\"]\n".to_owned(),
         "job.toml:4: segments.by: the grouping by \"region,tenant\" is given twice"),
        ("[[segments]]\nby = []\n[[segments]]\nby = []\n".to_owned(), "job.toml:4: segments.by: the grouping by \"\""),
        ("[[features]]\nname = \"x\"\nfrom = \"metrics.rps\"\n[[features]]\nname = \"x\"\nfrom = \"metrics.gpu_util\"\n".to_owned(),
         "job.toml:5: features.name: two entries are called \"x\""),
        (format!("{rule}{rule}"), "job.toml:6: rules.name: two rules are called \"r\""),
        (format!("{rule}for = \"100d\"\n"), "job.toml:5: rules.for: 100d is out of range"),
        (format!("{rule}severity = \"hihg\"\n"), "job.toml:5: rules.severity: \"hihg\" is not valid here; did you mean \"high\"?"),
        (format!("{rule}window = []\n"), "job.toml:5: rules.window: is an empty list"),
        (format!("{rule}window = [\"6h\", \"6h\"]\n"), "job.toml:5: rules.window: \"6h\" is given twice"),
        (format!("{rule}runbook = \"\"\n"), "job.toml:5: rules.runbook: \"\" is empty"),
        (rule.replace("\"r\"", "\"\""), "job.toml:2: rules.name: \"\" is empty"),
        (rule.replace("feature = \"cfg\"", "feature = 5"), "job.toml:3: rules.feature: is the number 5; write a name in quotes"),
        (rule.replace("when = \"n > 0\"\n", ""), "the key `when` is missing"),
        ("[input]\nmax_message = \"64MiB\"\n[engine]\nqueue = \"32MiB\"\n".to_owned(),
         "job.toml:4: engine.queue: 32.0 MiB is less than input.max_message"),
        ("[windows]\nrolling = [\"6h\"]\n\n[alerts]\nstale_after = \"30m\"\n".to_owned(), "job.toml:5: alerts.stale_after: 30m"),
        ("a = 1\na = 2\n".to_owned(), "job.toml:2: duplicate key"),
        ("\u{0}".to_owned(), "job.toml:1: "),
    ] {
        let said = read(&text).unwrap_err().to_string();
        assert!(said.contains(says) && !said.contains('\n'), "{said}, not {says}");
    }
}

#[test]
fn what_is_right_passes() {
    for text in [
        "",
        DEFAULT_TOML,
        "\u{feff}[windows]\r\nlateness = \"5m\"\r\n",
        "[windows]\nlateness = \"1.5m\"\n",
        "[input]\nmax_message = \"1MB\"\nkafka = { brokers = \"SSL://a.b:9093, [::1]:9092,c\", topic = \"a-b_c.d\" }\n",
        "[serve]\nlisten = \"[::1]:9464\"\n",
        "[serve]\nlisten = \"localhost:0\"\n",
        "[output]\ndir = \"s3://bucket/a\"\n",
        "[output]\ndir = 'C#/${SECRET}'\n",
        "[engine]\njob = \"a.b_c:d@e+f-g\"\n",
        "[windows]\nrolling = [{ length = \"7d\", slide = \"6h\" }]\n",
        "[embedding]\n",
    ] {
        if let Err(e) = read(text) {
            panic!("{text:?}: {e}");
        }
    }
}

#[test]
fn lists_have_an_end() {
    let rules: String = (0..=MOST_RULES)
        .map(|i| format!("[[rules]]\nname = \"r{i}\"\nfeature = \"cfg\"\nwhen = \"n > {i}\"\n"))
        .collect();
    let said = read(&rules).unwrap_err().to_string();
    assert!(said.contains("rules: has 2001 entries, 2000 at most"), "{said}");
    let windows: Vec<String> = (1..=25).map(|i| format!("\"{}m\"", 6 * i)).collect();
    let said = read(&format!("[windows]\nrolling = [{}]\n", windows.join(","))).unwrap_err().to_string();
    assert!(said.contains("windows.rolling: has 25 entries, 24 at most"), "{said}");
}

#[test]
fn secrets_are_not_told() {
    for (section, line) in [
        ("alerts", "webhook = \"ftp://${SECRET}/x\""),
        ("windows", "lateness = \"${SECRET}\""),
        ("engine", "job = \"a/${SECRET}\""),
        ("baselines", "rolling_days = \"${SECRET}\""),
    ] {
        let text = said(section, line);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn names_are_parts_of_paths() {
    for good in ["replay", "run-events-1", "a.b_c:d@e+f", "日本"] {
        assert!(plain_name(good), "{good}");
    }
    for bad in ["", ".", "..", "a/b", "a b", "a\nb", &"x".repeat(65)] {
        assert!(!plain_name(bad), "{bad:?}");
    }
}
