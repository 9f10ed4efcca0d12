//! The language that a prompt seems to be in.

use rustc_hash::FxHashMap;
use std::sync::LazyLock;
use whatlang::{Detector, Info, Lang, Script};

/// Bytes of a prompt that decide its language.
const BYTES: usize = 160;
/// Letters below which a text has no language.
const LETTERS: usize = 4;

/// The ISO 639 code of a text's language, or `und` where there is too little to tell. Plain ASCII is told by `whichlang`, which reads a
/// prompt in a microsecond and does well on short ones; with letters beyond it `whatlang` is asked first, which knows many more
/// languages and says where it is not sure.
pub fn of(text: &str) -> &'static str {
    let head = &text[..text.floor_char_boundary(BYTES)];
    if head.chars().filter(|c| c.is_alphabetic()).nth(LETTERS - 1).is_none() {
        return "und";
    }
    if head.chars().any(is_beyond_ascii) {
        match detect(head) {
            Some(info) if info.is_reliable() => return two_letters(info.lang().code()),
            Some(info) if info.script() != Script::Latin => return "und",
            _ => {}
        }
    }
    two_letters(whichlang::detect_language(head).three_letter_code())
}

fn is_beyond_ascii(c: char) -> bool {
    !c.is_ascii() && c.is_alphabetic()
}

/// Asks `whatlang`, whose time goes by the languages that it compares with: only those that are written with the letters at hand.
fn detect(head: &str) -> Option<Info> {
    match candidates(head) {
        Some(languages) => Detector::with_allowlist(languages).detect(head),
        None => whatlang::detect(head),
    }
}

/// Languages whose alphabets hold all letters of a text that are not of ASCII, or any of them where none holds all; `None` where one of
/// these letters is of no Latin alphabet. English is always among them: it has none of its own, and names of the others' places and
/// dishes stand in it.
fn candidates(head: &str) -> Option<Vec<Lang>> {
    let (mut all, mut any) = (u64::MAX, 0);
    for letter in head.chars().flat_map(char::to_lowercase).filter(|c| is_beyond_ascii(*c)) {
        let written_in = *WRITTEN_IN.get(&letter)?;
        all &= written_in;
        any |= written_in;
    }
    let these = if all == 0 { any } else { all };
    let of_bits = ALPHABETS.iter().enumerate().filter(|(bit, _)| these >> bit & 1 == 1);
    Some(of_bits.map(|(_, alphabet)| alphabet.0).chain([Lang::Eng]).collect())
}

/// Of each letter the languages, as bits by their place in [`ALPHABETS`].
static WRITTEN_IN: LazyLock<FxHashMap<char, u64>> = LazyLock::new(|| {
    let mut map = FxHashMap::default();
    for (bit, (_, letters)) in ALPHABETS.iter().enumerate() {
        for letter in letters.chars() {
            *map.entry(letter).or_default() |= 1 << bit;
        }
    }
    map
});

/// Letters beyond ASCII with which the languages of Latin script that `whatlang` knows are written, those of common loan words included.
const ALPHABETS: [(Lang, &str); 33] = [
    (Lang::Afr, "áäèéêëíîïóôöúûü"),
    (Lang::Aka, "ɔɛ"),
    (Lang::Aze, "çəğıöşü"),
    (Lang::Cat, "àçèéíïòóúü"),
    (Lang::Ces, "áčďéěíňóřšťúůýž"),
    (Lang::Cym, "àáâäèéêëìíîïòóôöùúûüẁẃŵẅỳýŷÿ"),
    (Lang::Dan, "åæéø"),
    (Lang::Deu, "äöüß"),
    (Lang::Epo, "ĉĝĥĵŝŭ"),
    (Lang::Est, "äõöšüž"),
    (Lang::Fin, "äåöšž"),
    (Lang::Fra, "àâæçèéêëîïôùûüÿœ"),
    (Lang::Hrv, "ćčđšž"),
    (Lang::Hun, "áéíóöőúüű"),
    (Lang::Ind, "é"),
    (Lang::Ita, "àèéìíîòóùú"),
    (Lang::Jav, "åèéê"),
    (Lang::Lav, "āčēģīķļņōŗšūž"),
    (Lang::Lit, "ąčęėįšųūž"),
    (Lang::Nld, "áàäèéêëíïóöúü"),
    (Lang::Nob, "àåæéòóôø"),
    (Lang::Pol, "ąćęłńóśźż"),
    (Lang::Por, "àáâãçéêíóôõúü"),
    (Lang::Ron, "âăîșşțţ"),
    (Lang::Slk, "áäčďéíĺľňóôŕšťúýž"),
    (Lang::Slv, "ćčđšž"),
    (Lang::Spa, "áéíñóúü"),
    (Lang::Swe, "äåéö"),
    (Lang::Tgl, "áàâéèêíìîñóòôúùû"),
    (Lang::Tuk, "äçňöşüýž"),
    (Lang::Tur, "âçğıîöşûü"),
    (Lang::Uzb, "ʻʼ"),
    (Lang::Vie, "àáâãèéêìíòóôõùúýăđĩũơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ"),
];

/// The ISO 639-1 code, where there is one that events are likely to use; else the ISO 639-3 code itself.
fn two_letters(code: &'static str) -> &'static str {
    const CODES: [(&str, &str); 24] = [
        ("eng", "en"),
        ("deu", "de"),
        ("fra", "fr"),
        ("spa", "es"),
        ("ita", "it"),
        ("por", "pt"),
        ("nld", "nl"),
        ("rus", "ru"),
        ("ukr", "uk"),
        ("pol", "pl"),
        ("swe", "sv"),
        ("dan", "da"),
        ("fin", "fi"),
        ("ces", "cs"),
        ("tur", "tr"),
        ("ell", "el"),
        ("ara", "ar"),
        ("heb", "he"),
        ("hin", "hi"),
        ("jpn", "ja"),
        ("kor", "ko"),
        ("cmn", "zh"),
        ("vie", "vi"),
        ("tha", "th"),
    ];
    CODES.iter().find(|c| c.0 == code).map_or(code, |c| c.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        assert_eq!(of("ein kleines Mädchen läuft mit ihrem Hund durch den verschneiten Wald am Abend"), "de");
        assert_eq!(
            of(
                "the quick brown fox jumps over the lazy dog while the children are watching them from the old bridge"
            ),
            "en"
        );
        assert_eq!(of("a portrait of a woman in a garden, oil painting"), "en");
        assert_eq!(of("“A portrait of a woman” – in the style of the old masters"), "en");
        assert_eq!(of("mała dziewczynka biegnie z psem przez zaśnieżony las"), "pl");
        assert_eq!(of("夕焼けの海辺を歩く少女のイラスト"), "ja");
        assert_eq!(of("1234 ::: ---"), "und");
    }

    #[test]
    fn only_languages_with_the_letters_at_hand_are_compared_with() {
        assert_eq!(candidates("löwe mit großen Augen"), Some(vec![Lang::Deu, Lang::Eng]));
        assert!(candidates("a café").is_some_and(|c| c.contains(&Lang::Fra) && !c.contains(&Lang::Deu)));
        assert!(
            candidates("Łódź and Málaga").is_some_and(|c| c.contains(&Lang::Pol) && c.contains(&Lang::Spa)),
            "no alphabet has all"
        );
        assert_eq!(candidates("замок and café"), None, "not of Latin script");
        assert_eq!(of("a portrait of Beyoncé in a café, oil painting, highly detailed"), "en");
    }
}
