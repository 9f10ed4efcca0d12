//! Prompt text to CLIP tokens, length and language. Cached, because words and whole prompts repeat.

use super::language;
use instant_clip_tokenizer::{Token, Tokenizer};
use rustc_hash::FxHashMap;
use std::sync::{Arc, LazyLock};

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);

/// Words kept, with their tokens.
const MAX_WORDS: usize = 1 << 16;
/// Prompts cached: by hash, with the result.
const MAX_PROMPTS: usize = 1 << 15;
/// Bytes of a prompt that are tokenized; the rest counts only for its length. CLIP itself reads 77
/// tokens.
pub const MAX_TEXT: usize = 4 << 10;
/// Longest word that is encoded in one piece: the encoder's time grows with its square.
const MAX_PIECE: usize = 256;
/// Longest word that is cached; longer ones are rare and take memory.
const MAX_WORD: usize = 32;

/// The tokenizer's name; goes into the id of token sketches.
pub const TOKENIZER_NAME: &str = "clip-bpe-49408";

/// What stays of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptReading {
    /// CLIP's BPE tokens, without the start and end marks.
    pub tokens: Box<[u16]>,
    /// Characters.
    pub length: u32,
    /// ISO 639 code of the language that it seems to be in (`und` where it is too short).
    pub language: &'static str,
}

/// Tokenizes prompts; one per thread.
#[derive(Debug, Default)]
pub struct PromptReader {
    words: FxHashMap<Box<str>, Box<[u16]>>,
    prompts: FxHashMap<[u64; 2], Arc<PromptReading>>,
    scratch: Vec<Token>,
    tokens: Vec<u16>,
}

impl PromptReader {
    /// Reads a prompt. The text itself is not kept, only a 128-bit hash of it with the result.
    pub fn read(&mut self, text: &str) -> Arc<PromptReading> {
        let hash = blake3::hash(text.as_bytes());
        let mut key = [0u64; 2];
        for (k, c) in key.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            *k = c.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        }
        if let Some(r) = self.prompts.get(&key) {
            return Arc::clone(r);
        }
        let cut = &text[..text.floor_char_boundary(MAX_TEXT)];
        self.tokens.clear();
        for word in cut.split_whitespace() {
            self.word(word);
        }
        let read = Arc::new(PromptReading {
            tokens: self.tokens.as_slice().into(),
            length: u32::try_from(text.chars().count()).unwrap_or(u32::MAX),
            language: language::of(text),
        });
        if self.prompts.len() >= MAX_PROMPTS {
            self.prompts.clear();
        }
        self.prompts.insert(key, Arc::clone(&read));
        read
    }

    /// CLIP splits at white space before anything else, so words can be encoded one by one.
    fn word(&mut self, word: &str) {
        if let Some(tokens) = self.words.get(word) {
            self.tokens.extend_from_slice(tokens);
            return;
        }
        let from = self.tokens.len();
        let mut rest = word;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.floor_char_boundary(MAX_PIECE));
            self.scratch.clear();
            TOKENIZER.encode(piece, &mut self.scratch);
            self.tokens.extend(self.scratch.iter().map(|t| t.to_u16()));
            rest = tail;
        }
        if word.len() <= MAX_WORD {
            if self.words.len() >= MAX_WORDS {
                self.words.clear();
            }
            self.words.insert(word.into(), self.tokens[from..].into());
        }
    }
}

/// The text of a token as people read it: a token that ends a word is shown as it is, one that
/// begins or continues a word with a hyphen after it. `None` for a number that is not a token.
#[must_use]
pub fn token_text(token: u32) -> Option<String> {
    let token = Token::from_u16(u16::try_from(token).ok()?, &TOKENIZER)?;
    let text = TOKENIZER.decode([token]);
    Some(match text.strip_suffix(' ') {
        Some(word) => word.to_owned(),
        None => format!("{text}-"),
    })
}

/// The token of a whole word, where CLIP has one.
#[must_use]
pub fn token_of(word: &str) -> Option<u32> {
    let mut out = Vec::new();
    TOKENIZER.encode(word, &mut out);
    match out.as_slice() {
        [t] => Some(u32::from(t.to_u16())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Vec<u16> {
        let mut out = Vec::new();
        TOKENIZER.encode(text, &mut out);
        out.into_iter().map(Token::to_u16).collect()
    }

    #[test]
    fn word_by_word_equals_the_whole_text() {
        let mut r = PromptReader::default();
        for text in [
            "A dog is playing fetch with its owner, and bringing back a ball.",
            "  wet\tclay of Mario's D&D dragon!!  4k, (masterpiece:1.2) ",
            "東京タワー 夜景 ÉCOLE d'été",
            "",
        ] {
            let read = r.read(text);
            assert_eq!(&*read.tokens, whole(text).as_slice());
            assert_eq!(r.read(text), read, "from the cache");
            assert_eq!(read.length as usize, text.chars().count());
        }
    }

    #[test]
    fn known_tokens_of_clip() {
        // From the tokenizer's reference: "Hi there" is 1883 997.
        assert_eq!(&*PromptReader::default().read("Hi there").tokens, [1883, 997]);
        assert_eq!(token_text(997).as_deref(), Some("there"));
        assert_eq!(token_of("there"), Some(997));
        assert_eq!(token_text(60_000), None);
    }

    #[test]
    fn hostile_words_take_bounded_time_and_room() {
        let mut r = PromptReader::default();
        let read = r.read(&"ab".repeat(1 << 20));
        assert!(read.tokens.len() <= MAX_TEXT);
        assert_eq!(read.length, 2 << 20);
        assert!(r.words.is_empty());
    }
}
