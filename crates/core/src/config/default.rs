//! The annotated default configuration: documentation that is also read.

/// What `driftglass check --print-default` prints.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

#[cfg(test)]
mod tests {
    use super::super::{Config, parse};
    use super::DEFAULT_TOML;

    #[test]
    fn the_annotated_file_is_the_default() {
        let read = parse(DEFAULT_TOML, "default.toml", |_| None).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn what_is_commented_out_reads_too() {
        let text: String = DEFAULT_TOML
            .lines()
            .filter(|l| !l.contains('…') && !l.contains("${"))
            .map(|l| match l.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') || rest.starts_with('"') || rest.contains(" = ") => {
                    format!("{rest}\n")
                }
                _ if l.starts_with('#') => "\n".to_owned(),
                _ => format!("{l}\n"),
            })
            .collect();
        let config = parse(&text, "default.toml", |_| None).unwrap();
        assert_eq!((config.segments.len(), config.rules.len(), config.features.len()), (6, 1, 1));
    }
}
