//! Composes prompts from the vocabulary: a scene with modifiers of its style, which edits change a
//! little.

use rand::Rng;
use smallvec::SmallVec;

use super::dimensions::Weighted;
use super::vocabulary::{
    ACTIONS, ADJECTIVES, ANIME, ANIME_SUBJECTS, FOREIGN, ForeignWords, LEADS, MODIFIERS, PLACES, SIGNS,
    SUBJECTS, TERMS,
};

/// Maximum number of words in a prompt.
pub(super) const MAX_WORDS: usize = 40;

/// Weights of the word lists, built once.
#[derive(Debug, Clone)]
pub(super) struct Composer {
    subjects: Weighted,
    anime_subjects: Weighted,
    adjectives: Weighted,
    actions: Weighted,
    places: Weighted,
    terms: Weighted,
    leads: [Weighted; 5],
    modifiers: [Weighted; 5],
    foreign_subjects: [Weighted; 4],
    foreign_places: [Weighted; 4],
    foreign_terms: [Weighted; 4],
}

/// A phrase after the scene.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Modifier {
    /// From the style's own list.
    Style(u8),
    /// From the terms of all styles.
    Term(u8),
}

/// What a prompt says, as indices into the vocabulary.
#[derive(Debug, Clone, Default)]
pub(super) struct PromptPlan {
    pub style: u8,
    pub language: u8,
    form: u8,
    lead: u8,
    subject: u8,
    anime_subject: bool,
    adjective: u8,
    action: Option<u8>,
    place: u8,
    sign: Option<u8>,
    modifiers: SmallVec<[Modifier; 12]>,
}

fn zipf(list: &[&str]) -> Weighted {
    Weighted::zipf(list.len(), 0.9)
}

impl Composer {
    pub(super) fn new() -> Self {
        Self {
            subjects: zipf(SUBJECTS),
            anime_subjects: zipf(ANIME_SUBJECTS),
            adjectives: zipf(ADJECTIVES),
            actions: zipf(ACTIONS),
            places: zipf(PLACES),
            terms: zipf(TERMS),
            leads: LEADS.map(zipf),
            modifiers: MODIFIERS.map(zipf),
            foreign_subjects: FOREIGN.each_ref().map(|f| zipf(f.subjects)),
            foreign_places: FOREIGN.each_ref().map(|f| zipf(f.places)),
            foreign_terms: FOREIGN.each_ref().map(|f| zipf(f.terms)),
        }
    }

    /// Makes `prompt` a new one of this style and language.
    pub(super) fn compose(&self, prompt: &mut PromptPlan, style: u8, language: u8, rng: &mut impl Rng) {
        prompt.style = style;
        prompt.language = language;
        prompt.form = rng.random_range(0..3);
        prompt.modifiers.clear();
        let foreign = foreign_index(language);
        match foreign {
            Some(f) => {
                prompt.subject = self.foreign_subjects[f].draw(rng) as u8;
                prompt.place = self.foreign_places[f].draw(rng) as u8;
            }
            None => {
                prompt.anime_subject = style == ANIME && rng.random_bool(0.7);
                let subjects = if prompt.anime_subject { &self.anime_subjects } else { &self.subjects };
                prompt.subject = subjects.draw(rng) as u8;
                prompt.lead = self.leads[usize::from(style)].draw(rng) as u8;
                prompt.adjective = self.adjectives.draw(rng) as u8;
                prompt.action = rng.random_bool(0.6).then(|| self.actions.draw(rng) as u8);
                prompt.place = self.places.draw(rng) as u8;
                prompt.sign = rng.random_bool(0.03).then(|| rng.random_range(0..SIGNS.len() as u8));
            }
        }
        for _ in 0..rng.random_range(1..=8) {
            self.add_modifier(prompt, rng);
        }
    }

    /// Changes one part of `prompt`: adds, removes or replaces a modifier, or changes place,
    /// adjective or action.
    pub(super) fn edit(&self, prompt: &mut PromptPlan, rng: &mut impl Rng) {
        let foreign = foreign_index(prompt.language);
        match rng.random_range(0..6) {
            0 | 1 => self.add_modifier(prompt, rng),
            2 if prompt.modifiers.len() > 1 => {
                let at = rng.random_range(0..prompt.modifiers.len());
                prompt.modifiers.remove(at);
            }
            3 => match foreign {
                Some(f) => prompt.place = self.foreign_places[f].draw(rng) as u8,
                None => prompt.place = self.places.draw(rng) as u8,
            },
            4 if foreign.is_none() => prompt.adjective = self.adjectives.draw(rng) as u8,
            5 if foreign.is_none() => prompt.action = Some(self.actions.draw(rng) as u8),
            _ => {
                prompt.modifiers.pop();
                self.add_modifier(prompt, rng);
            }
        }
    }

    fn add_modifier(&self, prompt: &mut PromptPlan, rng: &mut impl Rng) {
        let modifier = match foreign_index(prompt.language) {
            Some(f) => Modifier::Term(self.foreign_terms[f].draw(rng) as u8),
            None if rng.random_bool(0.55) => {
                Modifier::Style(self.modifiers[usize::from(prompt.style)].draw(rng) as u8)
            }
            None => Modifier::Term(self.terms.draw(rng) as u8),
        };
        if prompt.modifiers.len() < 12 && !prompt.modifiers.contains(&modifier) {
            prompt.modifiers.push(modifier);
        }
    }
}

/// Index into [`FOREIGN`], none for English.
fn foreign_index(language: u8) -> Option<usize> {
    usize::from(language).checked_sub(1)
}

/// Writes words into a string and counts them.
struct Sentence<'a> {
    text: &'a mut String,
    words: usize,
}

impl Sentence<'_> {
    fn add(&mut self, separator: &str, phrase: &str) {
        let words = phrase.split(' ').count();
        if self.words + words > MAX_WORDS {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str(separator);
        }
        self.text.push_str(phrase);
        self.words += words;
    }
}

impl PromptPlan {
    /// Writes the prompt to `text`, replacing its contents.
    pub(super) fn render(&self, text: &mut String) {
        text.clear();
        let sentence = Sentence { text, words: 0 };
        match foreign_index(self.language) {
            Some(f) => self.render_foreign(&FOREIGN[f], sentence),
            None => self.render_english(sentence),
        }
    }

    fn render_english(&self, mut sentence: Sentence<'_>) {
        let style = usize::from(self.style);
        let subject = if self.anime_subject { ANIME_SUBJECTS } else { SUBJECTS }[usize::from(self.subject)];
        let adjective = ADJECTIVES[usize::from(self.adjective)];
        let article = if adjective.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        let lead = LEADS[style][usize::from(self.lead)];
        match self.form {
            0 => {
                sentence.add("", article);
                sentence.add(" ", adjective);
                sentence.add(" ", subject);
            }
            1 => {
                sentence.add("", lead);
                sentence.add(" ", "of");
                sentence.add(" ", article);
                sentence.add(" ", adjective);
                sentence.add(" ", subject);
            }
            _ => {
                sentence.add("", lead);
                sentence.add(", ", subject);
                sentence.add(", ", adjective);
            }
        }
        let separator = if self.form == 2 { ", " } else { " " };
        if let Some(action) = self.action {
            sentence.add(separator, ACTIONS[usize::from(action)]);
        }
        sentence.add(separator, PLACES[usize::from(self.place)]);
        if let Some(sign) = self.sign {
            sentence.add(", ", SIGNS[usize::from(sign)]);
        }
        for modifier in &self.modifiers {
            sentence.add(
                ", ",
                match modifier {
                    Modifier::Style(index) => MODIFIERS[style][usize::from(*index)],
                    Modifier::Term(index) => TERMS[usize::from(*index)],
                },
            );
        }
    }

    fn render_foreign(&self, words: &ForeignWords, mut sentence: Sentence<'_>) {
        sentence.add("", words.subjects[usize::from(self.subject)]);
        sentence.add(words.space, words.places[usize::from(self.place)]);
        sentence.add(words.comma, words.styles[usize::from(self.style)]);
        for modifier in &self.modifiers {
            if let Modifier::Term(index) = modifier {
                sentence.add(words.comma, words.terms[usize::from(*index)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn prompts_have_five_to_forty_words_whatever_is_edited() {
        let composer = Composer::new();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut prompt, mut text) = (PromptPlan::default(), String::new());
        for round in 0..4_000u32 {
            // Japanese, the last language, puts no spaces between words.
            composer.compose(&mut prompt, (round % 5) as u8, (round / 5 % 4) as u8, &mut rng);
            for _ in 0..4 {
                prompt.render(&mut text);
                let words = text.split_whitespace().count();
                assert!((5..=MAX_WORDS).contains(&words), "{words}: {text}");
                composer.edit(&mut prompt, &mut rng);
            }
        }
    }

    #[test]
    fn an_edit_keeps_most_of_the_prompt() {
        let composer = Composer::new();
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (mut prompt, mut before, mut after) = (PromptPlan::default(), String::new(), String::new());
        let mut changed = 0;
        for _ in 0..1_000 {
            composer.compose(&mut prompt, 0, 0, &mut rng);
            prompt.render(&mut before);
            composer.edit(&mut prompt, &mut rng);
            prompt.render(&mut after);
            let old: HashSet<_> = before.split([' ', ',']).collect();
            let lost = old.iter().filter(|word| !after.contains(**word)).count();
            assert!(lost <= 6, "{before} / {after}");
            changed += usize::from(before != after);
        }
        assert!(changed > 800, "{changed}");
    }

    #[test]
    fn each_style_speaks_its_own_words() {
        let composer = Composer::new();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (mut prompt, mut text) = (PromptPlan::default(), String::new());
        let mut anime = [0; 5];
        for style in 0..5 {
            for _ in 0..500 {
                composer.compose(&mut prompt, style, 0, &mut rng);
                prompt.render(&mut text);
                anime[usize::from(style)] +=
                    usize::from(text.contains("anime") || text.contains("cel shading"));
            }
        }
        assert!(anime[usize::from(ANIME)] > 300, "{anime:?}");
        assert_eq!(anime.iter().sum::<usize>(), anime[usize::from(ANIME)], "{anime:?}");
    }
}
