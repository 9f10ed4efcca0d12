//! Every spelling of a URI that has been used to get out of an allow list, and what comes of it.

use super::*;
use tempfile::TempDir;

fn roots(base: Option<&str>, allow: &[&str]) -> AllowedRoots {
    let allow: Vec<String> = allow.iter().map(|&a| a.to_owned()).collect();
    AllowedRoots::new(base, &allow, false).unwrap()
}

fn outcome(roots: &AllowedRoots, uri: &str) -> &'static str {
    roots.place(uri).map_or_else(|e| e.reason(), |_| "allowed")
}

#[test]
fn http_prefixes_end_at_a_segment() {
    let roots = roots(None, &["https://a.example/img", "http://b.example:8080"]);
    let cases = [
        ("https://a.example/img", "allowed"),
        ("https://a.example/img/", "allowed"),
        ("https://a.example/img/x.png", "allowed"),
        ("HTTPS://A.EXAMPLE:443/img/x.png?sig=../a%2e%2e#f", "allowed"),
        ("https://a.example/img/./x.png", "allowed"),
        ("https://a.example/img/a%20b..c/..d/e..", "allowed"),
        ("http://b.example:8080/any/thing", "allowed"),
        ("http://b.example:8080", "allowed"),
        ("https://a.example/img-evil/x.png", "not_allowed"),
        ("https://a.example/im%67/x.png", "not_allowed"),
        ("https://a.example/img%2fx.png", "not_allowed"),
        ("https://a.example/IMG/x.png", "not_allowed"),
        ("https://a.example/", "not_allowed"),
        ("https://a.example.evil/img/x.png", "not_allowed"),
        ("https://a.example./img/x.png", "not_allowed"),
        ("https://sub.a.example/img/x.png", "not_allowed"),
        ("https://a.example:8443/img/x.png", "not_allowed"),
        ("http://a.example/img/x.png", "not_allowed"),
        ("http://b.example/x.png", "not_allowed"),
        ("https://evil.example/https://a.example/img/x.png", "not_allowed"),
        ("https://evil.example/?https://a.example/img/x.png", "not_allowed"),
        ("https://evil.example#https://a.example/img/x.png", "not_allowed"),
        ("https://169.254.169.254/latest/meta-data", "not_allowed"),
        ("s3://a.example/img/x.png", "not_allowed"),
        ("gopher://a.example/img/x.png", "not_allowed"),
        ("file:///etc/passwd", "not_allowed"),
        ("/etc/passwd", "not_allowed"),
        ("img/x.png", "not_allowed"),
        ("https://a.example@evil.example/img/x.png", "userinfo"),
        ("https://user:pass@a.example/img/x.png", "userinfo"),
        ("https://@a.example/img/x.png", "userinfo"),
        ("https://a.example/img/../secret", "path_traversal"),
        ("https://a.example/img/..", "path_traversal"),
        ("https://a.example/img/%2e%2e/secret", "path_traversal"),
        ("https://a.example/img/.%2E/secret", "path_traversal"),
        ("https://a.example/img/%252e%252e/secret", "path_traversal"),
        ("https://a.example/img/%25252e%25252e/secret", "path_traversal"),
        ("https://a.example/img/%2525252525252525252e/secret", "path_traversal"),
        ("https://a.example/img/x%2f..%2f..%2fsecret", "path_traversal"),
        ("https://a.example/img/..;x=1/secret", "path_traversal"),
        ("https://a.example/img/..%5csecret", "path_traversal"),
        ("https://a.example\\@evil.example/img/x.png", "path_traversal"),
        ("https:\\\\evil.example/img/x.png", "path_traversal"),
        ("https://a.example/img/x.png%00.txt", "path_traversal"),
        ("https://a.example/img/x\0.png", "path_traversal"),
        ("https://a.example/img/%c0%ae%c0%ae/secret", "bad_uri"),
        ("https:///evil.example/img/x.png", "bad_uri"),
        ("https:////a.example/img/x.png", "bad_uri"),
        ("https:a.example/img/x.png", "bad_uri"),
        ("https://a.example:0/img/x.png", "bad_uri"),
        ("https://a.example:99999/img/x.png", "bad_uri"),
        ("https://[::1/img/x.png", "bad_uri"),
        ("//a.example/img/x.png", "bad_uri"),
        ("ht\ttps://a.example/img/x.png", "bad_uri"),
        ("https://a.example/img/.\n./secret", "bad_uri"),
        (" https://a.example/img/x.png", "bad_uri"),
        ("javascript:alert(1)", "bad_uri"),
        ("data:image/png;base64,AAAA", "bad_uri"),
        ("", "bad_uri"),
    ];
    for (uri, expected) in cases {
        assert_eq!(outcome(&roots, uri), expected, "{uri:?}");
    }
    assert_eq!(outcome(&roots, &format!("https://a.example/img/{}", "x".repeat(URI_BYTES))), "bad_uri");
}

#[test]
fn store_prefixes_end_at_a_segment() {
    let roots = roots(None, &["s3://bucket/img/", "gs://whole", "abfss://c@acc.dfs.core.windows.net/img"]);
    let cases = [
        ("s3://bucket/img/x.png", "allowed"),
        ("s3://bucket/img/a%20b.png", "allowed"),
        ("S3://bucket/img/x.png", "allowed"),
        ("s3://bucket/im%67/x.png", "allowed"),
        ("gs://whole/x.png", "allowed"),
        ("abfss://c@acc.dfs.core.windows.net/img/x.png", "allowed"),
        ("s3://bucket/img-evil/x.png", "not_allowed"),
        ("s3://bucket/x.png", "not_allowed"),
        ("s3://bucket.evil/img/x.png", "not_allowed"),
        ("s3a://bucket/img/x.png", "not_allowed"),
        ("gs://bucket/img/x.png", "not_allowed"),
        ("abfss://other@acc.dfs.core.windows.net/img/x.png", "not_allowed"),
        ("abfss://c@evil.dfs.core.windows.net/img/x.png", "not_allowed"),
        ("s3://bucket@evil/img/x.png", "userinfo"),
        ("s3://bucket/img/../x.png", "path_traversal"),
        ("s3://bucket/img/%2e%2e/x.png", "path_traversal"),
        ("s3://bucket/img%2f..%2fx.png", "path_traversal"),
        ("s3://bucket/img/%252e%252e/x.png", "path_traversal"),
        ("s3://bucket/img/x.png?versionId=1", "bad_uri"),
        ("s3://bucket/img/x.png#3", "bad_uri"),
        ("s3://bucket:80/img/x.png", "bad_uri"),
        ("s3:///img/x.png", "bad_uri"),
        ("s3://bucket/img//x.png", "bad_uri"),
    ];
    for (uri, expected) in cases {
        assert_eq!(outcome(&roots, uri), expected, "{uri:?}");
    }
}

#[test]
fn local_paths_stay_below_their_folders() {
    let dir = TempDir::new().unwrap();
    let (base, more) = (dir.path().join("base"), dir.path().join("more %41"));
    std::fs::create_dir_all(&base).unwrap();
    std::fs::create_dir_all(&more).unwrap();
    let (base, more) = (base.to_str().unwrap(), more.to_str().unwrap());
    let roots = roots(Some(base), &[more]);
    let cases = [
        ("x.png".to_owned(), "allowed"),
        ("a b/100%.png".to_owned(), "allowed"),
        ("./10:30.png".to_owned(), "allowed"),
        (format!("{base}/x.png"), "allowed"),
        (format!("file://{base}/x.png"), "allowed"),
        (format!("file://localhost{base}/x.png"), "allowed"),
        (format!("{more}/x.png"), "allowed"),
        (format!("file://{}/x.png", more.replace(' ', "%20").replace("%41", "%2541")), "allowed"),
        (format!("file://{more}/x.png"), "not_allowed"),
        (format!("{base}-evil/x.png"), "not_allowed"),
        ("/etc/passwd".to_owned(), "not_allowed"),
        ("file:///etc/passwd".to_owned(), "not_allowed"),
        ("../more/x.png".to_owned(), "path_traversal"),
        ("a/../../x.png".to_owned(), "path_traversal"),
        ("%2e%2e/x.png".to_owned(), "path_traversal"),
        ("..%2fx.png".to_owned(), "path_traversal"),
        ("..\\x.png".to_owned(), "path_traversal"),
        ("x\0.png".to_owned(), "path_traversal"),
        (format!("{base}/../more/x.png"), "path_traversal"),
        (format!("file://{base}/%2e%2e/more/x.png"), "path_traversal"),
        (format!("file://{base}/..%252fmore/x.png"), "path_traversal"),
        (format!("file://evil.example{base}/x.png"), "bad_uri"),
        (format!("file:{base}/x.png"), "bad_uri"),
        (format!("/{base}/x.png"), "bad_uri"),
        ("10:30.png".to_owned(), "bad_uri"),
    ];
    for (uri, expected) in cases {
        assert_eq!(outcome(&roots, &uri), expected, "{uri:?}");
    }
}

#[test]
fn relative_uris_stand_on_any_base() {
    let cases = [
        ("https://a.example/img/", "x.png?sig=1", "https://a.example/img/x.png?sig=1"),
        ("https://a.example", "a b.png", "https://a.example/a%20b.png"),
        ("https://a.example", "@evil.example/x.png", "https://a.example/@evil.example/x.png"),
    ];
    for (base, uri, expected) in cases {
        let place = roots(Some(base), &[]).place(uri).unwrap();
        assert_eq!(place, ResolvedUri::Http(Url::parse(expected).unwrap()), "{base} {uri}");
    }
    let place = roots(Some("s3://bucket/img"), &[]).place("a/x.png").unwrap();
    assert_eq!(place, ResolvedUri::Store("s3://bucket".to_owned(), ObjectPath::from("img/a/x.png")));
    let outcomes = [
        ("../x.png", "path_traversal"),
        ("a/%2e%2e/%2e%2e/x.png", "path_traversal"),
        ("/etc/passwd", "not_allowed"),
        ("//evil.example/x.png", "bad_uri"),
        ("https://evil.example/x.png", "not_allowed"),
    ];
    for base in ["https://a.example/img", "s3://bucket/img", "file:///"] {
        for (uri, expected) in outcomes {
            let allowed = base == "file:///" && uri == "/etc/passwd";
            let expected = if allowed { "allowed" } else { expected };
            assert_eq!(outcome(&roots(Some(base), &[]), uri), expected, "{base} {uri}");
        }
    }
}

#[test]
fn says_what_is_wrong_with_a_setting() {
    let cases = [
        ("https://user:secret@a.example/", "has a user or password in it"),
        ("https://a.example/?token=secret", "has a query"),
        ("ftp://a.example/", "has an unknown scheme"),
        ("https://", "can't be read"),
        ("", "can't be read"),
        ("s3://bucket/../secret", "has `..`"),
        ("/no/such/secret", "names a folder that can't be opened"),
        ("http://127.0.0.1:9000/", "names a private address"),
        ("http://0x7f.1/", "names a private address"),
        ("http://2130706433/", "names a private address"),
        ("http://[::ffff:10.0.0.1]/", "names a private address"),
    ];
    for (text, expected) in cases {
        let e = AllowedRoots::new(Some(text), &[], false).unwrap_err();
        assert_eq!(e.key, "embedding.base_uri");
        let allow = AllowedRoots::new(None, &[text.to_owned()], false).unwrap_err();
        assert_eq!((allow.key, &allow.message), ("embedding.allow", &e.message));
        assert!(e.message.starts_with(expected) && !e.message.contains("secret"), "{text}: {e}");
    }
    assert!(AllowedRoots::new(Some("http://127.0.0.1:9000/"), &[], true).is_ok());
}
