//! `${NAME}` in a configuration's text: read from the environment in every string, whatever its
//! quotes, and never in a comment.

use super::ConfigError;

/// Values shorter than this are not looked for in messages: they would be found everywhere.
const SHORTEST_SECRET: usize = 4;

/// A text with its variables replaced, line by line where it was.
#[derive(Debug)]
pub(super) struct Expanded {
    pub text: String,
    /// What was read from the environment: names and values.
    values: Vec<(String, String)>,
}

impl Expanded {
    /// A message without values from the environment, which may be secret.
    pub(super) fn hide(&self, message: &str) -> String {
        let long = self.values.iter().filter(|(_, value)| value.len() >= SHORTEST_SECRET);
        long.fold(message.to_owned(), |text, (name, value)| {
            let (quoted, stands) = (format!("{value:?}"), format!("${{{name}}}"));
            text.replace(&quoted[1..quoted.len() - 1], &stands).replace(value, &stands)
        })
    }
}

/// Replaces `${NAME}`; in comments it stays. `path` is for messages, `env` looks variables up.
///
/// # Errors
/// When a variable is not set, or is written where it can't be read.
pub(super) fn expand(
    text: &str,
    path: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Expanded, ConfigError> {
    let mut e = Expander { text, path, env, out: String::with_capacity(text.len()), values: Vec::new() };
    let mut at = 0;
    while let Some(next) = text[at..].find(['#', '"', '\'', '$']).map(|i| at + i) {
        e.out.push_str(&text[at..next]);
        let rest = &text[next..];
        at = next
            + match rest.as_bytes()[0] {
                b'#' => {
                    let line = rest.find('\n').unwrap_or(rest.len());
                    e.out.push_str(&rest[..line]);
                    line
                }
                b'$' => e.bare(next)?,
                _ => e.string(next)?,
            };
    }
    e.out.push_str(&text[at..]);
    Ok(Expanded { text: e.out, values: e.values })
}

struct Expander<'t, E> {
    text: &'t str,
    path: &'t str,
    env: E,
    out: String,
    values: Vec<(String, String)>,
}

impl<E: Fn(&str) -> Option<String>> Expander<'_, E> {
    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn wrong(&self, at: usize, message: impl Into<String>) -> ConfigError {
        ConfigError::Syntax { path: self.path.to_owned(), line: self.line(at), message: message.into() }
    }

    /// The variable whose `${` is at `at`: its value and length.
    fn variable(&mut self, at: usize) -> Result<(String, usize), ConfigError> {
        let rest = &self.text[at..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let Some(end) = line.find('}') else {
            return Err(self.wrong(at, "${ has no }: write ${NAME}, the name of an environment variable"));
        };
        let name = &line[2..end];
        if !is_variable(name) {
            let message = format!(
                "${{{name}}} names no environment variable: write ${{NAME}}, with letters, digits and _"
            );
            return Err(self.wrong(at, message));
        }
        let value = (self.env)(name).ok_or_else(|| ConfigError::Variable {
            path: self.path.to_owned(),
            line: self.line(at),
            name: name.to_owned(),
        })?;
        self.values.push((name.to_owned(), value.clone()));
        Ok((value, end + 1))
    }

    /// A `$` outside strings: a number or a word may come from the environment too.
    fn bare(&mut self, at: usize) -> Result<usize, ConfigError> {
        if !self.text[at..].starts_with("${") {
            self.out.push('$');
            return Ok(1);
        }
        let (value, length) = self.variable(at)?;
        if value.is_empty() || !value.chars().all(|c| c.is_ascii_alphanumeric() || "_+-.:".contains(c)) {
            let (name, _) = self.values.last().cloned().unwrap_or_default();
            let message =
                format!("the value of {name} is neither number nor word: write \"${{{name}}}\", in quotes");
            return Err(self.wrong(at, message));
        }
        self.out.push_str(&value);
        Ok(length)
    }

    /// The string that begins at `at`.
    fn string(&mut self, at: usize) -> Result<usize, ConfigError> {
        let rest = &self.text[at..];
        let quote = if rest.starts_with('"') { '"' } else { '\'' };
        let triple = [quote; 3].iter().collect::<String>();
        let open = if rest.starts_with(&triple) { 3 } else { 1 };
        let Some(length) = content_length(&rest[open..], quote, open == 3) else {
            // It never ends: TOML's own message says so.
            self.out.push_str(rest);
            return Ok(rest.len());
        };
        let (content, whole) = (&rest[open..open + length], open + length + open);
        if let Some(name) = content.strip_prefix('$').filter(|n| is_variable(n)) {
            return Err(
                self.wrong(at, format!("${name} is not read from the environment: write \"${{{name}}}\""))
            );
        }
        if !content.contains("${") {
            self.out.push_str(&rest[..whole]);
            return Ok(whole);
        }
        // Written as a string with escapes, which can contain any value.
        let quotes = &"\"\"\""[..open];
        self.out.push_str(quotes);
        let mut done = 0;
        while let Some(start) = next_variable(&content[done..], quote).map(|i| done + i) {
            self.kept(&content[done..start], quote);
            let (value, taken) = self.variable(at + open + start)?;
            escape(&mut self.out, &value, false);
            done = start + taken;
        }
        self.kept(&content[done..], quote);
        self.out.push_str(quotes);
        Ok(whole)
    }

    /// Text of a string that stays as it is.
    fn kept(&mut self, text: &str, quote: char) {
        match quote {
            '"' => self.out.push_str(text),
            _ => escape(&mut self.out, text, true),
        }
    }
}

/// Bytes up to a string's end; `None` where it has none.
fn content_length(content: &str, quote: char, multiline: bool) -> Option<usize> {
    let mut chars = content.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            '\n' if !multiline => return None,
            c if c == quote && !multiline => return Some(i),
            c if c == quote => {
                let run = content[i..].chars().take_while(|c| *c == quote).count();
                if run >= 3 {
                    // Up to two quotes may precede the three that end it.
                    return Some(i + run.min(5) - 3);
                }
                for _ in 1..run {
                    chars.next();
                }
            }
            _ => {}
        }
    }
    None
}

/// The position of the next `${` that no backslash escapes.
fn next_variable(content: &str, quote: char) -> Option<usize> {
    let mut chars = content.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            '$' if content[i..].starts_with("${") => return Some(i),
            _ => {}
        }
    }
    None
}

/// Writes a text for a string with escapes; `lines`: line breaks stay, so that lines keep their
/// numbers.
fn escape(out: &mut String, text: &str, lines: bool) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' if lines => out.push(c),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("s\"e'c\\r#e\nt".to_owned()),
            "N" => Some("7".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    /// The key `x` of a text.
    fn read(text: &str) -> String {
        let expanded = expand(text, "job.toml", env).unwrap().text;
        let lines = |t: &str| t.matches('\n').count();
        assert_eq!(lines(&expanded), lines(text), "{expanded}");
        let table: toml::Table = toml::from_str(&expanded).unwrap_or_else(|e| panic!("{expanded}: {e}"));
        table["x"].as_str().map_or_else(|| table["x"].to_string(), str::to_owned)
    }

    #[test]
    fn every_kind_of_string_is_read() {
        let secret = env("KEY").unwrap();
        for (text, is) in [
            ("x = \"${KEY}\"", secret.clone()),
            ("x = '${KEY}'", secret.clone()),
            ("x = 'a#${KEY}'", format!("a#{secret}")),
            ("x = \"a#${KEY}\"", format!("a#{secret}")),
            ("x = \"a\\\"#${KEY}\"", format!("a\"#{secret}")),
            ("x = \"\"\"\na\n${KEY}\"\"\"", format!("a\n{secret}")),
            ("x = '''\na\\\"\n${KEY}'''", format!("a\\\"\n{secret}")),
            ("x = '''a'${N}''''", "a'7'".to_owned()),
            ("x = \"${EMPTY}${N}${N}\" # ${NOWHERE}", "77".to_owned()),
            ("# it's ${NOWHERE}\nx = '${N}'", "7".to_owned()),
            ("x = ${N}", "7".to_owned()),
            ("y = '\\'\nx = '${N}'", "7".to_owned()),
        ] {
            assert_eq!(read(text), is, "{text}");
        }
    }

    #[test]
    fn what_can_t_be_read_is_refused_with_its_line() {
        for (text, says) in [
            ("\nx = 'a#${NOWHERE}'", "job.toml:2: environment variable NOWHERE is not set"),
            ("x = \"${N\"", "job.toml:1: ${ has no }"),
            ("x = \"${N:-5}\"", "${N:-5} names no environment variable"),
            ("x = \"${}\"", "names no environment variable"),
            ("x = ${KEY}", "write \"${KEY}\", in quotes"),
            ("x = \"$KEY\"", "$KEY is not read from the environment: write \"${KEY}\""),
            ("x = '''\n\n${NOWHERE}'''", "job.toml:3:"),
        ] {
            let said = expand(text, "job.toml", env).unwrap_err().to_string();
            assert!(said.contains(says) && !said.contains('\n'), "{text}: {said}");
        }
    }

    #[test]
    fn strings_without_an_end_are_left_to_the_parser() {
        for text in ["x = \"${N}", "x = '${N}\ny = 1", "x = \"\"\"a"] {
            assert!(toml::from_str::<toml::Table>(&expand(text, "j", env).unwrap().text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_do_not_tell_what_came_from_the_environment() {
        let expanded = expand("x = \"${KEY}\"", "j", env).unwrap();
        assert_eq!(expanded.hide("is the text \"s\"e'c\\r#e\nt\""), "is the text \"${KEY}\"");
    }
}
