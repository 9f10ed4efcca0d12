//! The nearest of the names that would do, for messages about one that does not.

/// Names that a message lists before it says how many more there are.
const LISTED: usize = 40;

/// The valid name that is most like this one, if any is like it at all.
pub fn nearest<'v>(name: &str, valid: impl IntoIterator<Item = &'v str>) -> Option<&'v str> {
    // One typing error makes a short name look very different by the measure for longer ones.
    let score = |v: &str| match strsim::damerau_levenshtein(name, v) {
        0 | 1 => 1.0,
        _ => strsim::jaro_winkler(name, v),
    };
    valid
        .into_iter()
        .map(|v| (score(v), v))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, v)| v)
}

/// "did you mean …?", or the list of valid names.
pub fn near(name: &str, what: &str, valid: &[&str]) -> String {
    match nearest(name, valid.iter().copied()) {
        Some(v) => format!("did you mean {v:?}?"),
        None if valid.is_empty() => format!("there are no {what} here"),
        None => format!("{what} here are {}", listed(valid)),
    }
}

/// Names in quotes, joined by commas, not without end.
pub fn listed(names: &[&str]) -> String {
    let mut text = names.iter().take(LISTED).map(|v| format!("{v:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        text += &format!(" and {} more", names.len() - LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_or_all_of_them() {
        assert_eq!(near("drfit", "verdicts", &["ok", "drift"]), "did you mean \"drift\"?");
        assert_eq!(nearest("cgf", ["volume", "cfg", "aesthetic"]), Some("cfg"));
        assert_eq!(near("zzz", "windows", &["30m", "24h"]), "windows here are \"30m\", \"24h\"");
        assert_eq!(near("x", "pins", &[]), "there are no pins here");
        assert!(listed(&["a"; 50]).ends_with("and 10 more"));
    }
}
