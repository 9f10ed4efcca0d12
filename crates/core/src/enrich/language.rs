//! The language that a prompt seems to be in.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::LazyLock;
use whatlang::{Detector, Info, Lang, Script};

/// Bytes of a prompt that decide its language.
const BYTES: usize = 160;
/// Letters below which a text has no language.
const LETTERS: usize = 4;

/// How languages are detected, with versions. Part of the sketch id of languages, since another
/// method gives other results.
pub const READER: &str = "whichlang-0.1 whatlang-0.18 #2";

/// The ISO 639 code of a text's language, or `und` where the text is too short. Plain ASCII is left
/// to `whichlang`, which reads a prompt in a microsecond and does well on short ones. With letters
/// beyond ASCII `whatlang` is asked first: it knows many more languages and reports when it is not
/// sure.
pub fn of(text: &str) -> &'static str {
    let head = &text[..text.floor_char_boundary(BYTES)];
    if head.chars().filter(|c| c.is_alphabetic()).nth(LETTERS - 1).is_none() {
        return "und";
    }
    let first = whichlang::detect_language(head).three_letter_code();
    if head.chars().any(is_beyond_ascii) {
        match detect(head, first) {
            Some(info) if info.is_reliable() => return two_letters(info.lang().code()),
            Some(info) if info.script() != Script::Latin => return "und",
            _ => {}
        }
    }
    two_letters(first)
}

/// Whether a letter is evidence of a language: the ordinal signs and the micro sign are not.
fn is_beyond_ascii(c: char) -> bool {
    !c.is_ascii() && c.is_alphabetic() && !matches!(c, 'ª' | 'º' | 'µ')
}

/// Asks `whatlang` about the languages that the text's letters leave possible: its time grows with
/// the number of languages.
fn detect(head: &str, first: &str) -> Option<Info> {
    match candidates(head, first) {
        Some(languages) => Detector::with_allowlist(languages).detect(head),
        None => whatlang::detect(head),
    }
}

/// The languages whose alphabets contain most of the text's letters beyond ASCII, and in addition
/// `first`, the other library's answer (a foreign name may be in the text), and English, which has
/// no such letters. `None` where a letter is not of a Latin alphabet, or no language is left.
fn candidates(head: &str, first: &str) -> Option<Vec<Lang>> {
    let mut letters: SmallVec<[char; 16]> = head
        .chars()
        .map(|c| if c == 'İ' { 'ı' } else { c }) // in lower case it would be an i and a dot
        .flat_map(char::to_lowercase)
        .filter(|c| is_beyond_ascii(*c))
        .collect();
    letters.sort_unstable();
    letters.dedup();
    let mut held = [0u8; ALPHABETS.len()];
    for letter in &letters {
        let written_in = *WRITTEN_IN.get(letter)?;
        (0..held.len()).filter(|bit| written_in >> bit & 1 == 1).for_each(|bit| held[bit] += 1);
    }
    let most = held.into_iter().max().filter(|most| *most > 0)?;
    let these = ALPHABETS.iter().zip(held).filter(|(_, held)| *held == most).map(|(alphabet, _)| alphabet.0);
    let mut these: Vec<Lang> = these.chain([Lang::Eng]).collect();
    these.extend(Lang::from_code(first).filter(|l| !these.contains(l)));
    Some(these)
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

/// Letters beyond ASCII with which the languages of Latin script that `whatlang` knows are written.
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
    (Lang::Nld, "áàäèéêëíïóöúüĳ"),
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

/// The ISO 639-1 code, where there is one that events are likely to use; else the ISO 639-3 code
/// itself.
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

    /// Prompts as people write them, foreign names and single accents included.
    const SAMPLES: [(&str, &str); 39] = [
        ("ein kleines Mädchen läuft mit ihrem Hund durch den verschneiten Wald am Abend", "de"),
        ("ein alter Mann sitzt auf einer Bank im Park, Ölgemälde", "de"),
        ("ein Löwe sitzt in einem Café in Paris und trinkt Kaffee", "de"),
        ("ein Portrait von einer Frau vor einem Café in der Altstadt", "de"),
        ("une jeune fille près de la rivière, peinture à l'huile", "fr"),
        ("un château médiéval dans les montagnes enneigées, lumière dorée", "fr"),
        ("portrait de Björk au café dans une rue de Paris", "fr"),
        ("une toile dans le style de Salvador Dalí, une montre qui fond", "fr"),
        ("una niña con un vestido rojo en el jardín, fotografía", "es"),
        ("un perro pequeño corre por la montaña al amanecer", "es"),
        ("Zoë está sentada en el jardín de la casa con su perro", "es"),
        ("um cachorro feliz na praia ao pôr do sol, iluminação cinematográfica", "pt"),
        ("uma floresta mágica com árvores de cristal à noite", "pt"),
        ("een meisje op een fiets in Amsterdam, één rode tulp", "nl"),
        ("ett slott på en kulle, målning, vinter och snö", "sv"),
        ("kislány a kertben, olajfestmény, őszi fények", "hun"),
        ("malý chlapec běží po louce, olejomalba, západ slunce", "cs"),
        ("malý chlapec beží po lúke, olejomaľba, západ slnka", "slk"),
        ("mała dziewczynka biegnie z psem przez zaśnieżony las", "pl"),
        ("mała dziewczynka w ogrodzie, obraz olejny, złote światło", "pl"),
        ("bir kız çocuğu bahçede oynuyor, yağlı boya tablo", "tr"),
        ("İstanbul sokaklarında yürüyen bir kedi, gün batımı", "tr"),
        ("một cô gái trong vườn hoa, tranh sơn dầu", "vi"),
        ("o fată în grădină, pictură în ulei, lumină caldă", "ron"),
        ("djevojčica u vrtu, ulje na platnu, večernje svjetlo", "hrv"),
        ("mergaitė sode, aliejinė tapyba, šilta šviesa", "lit"),
        ("meitene dārzā, eļļas glezna, silta gaisma", "lav"),
        ("una ragazza nel giardino, pittura a olio, perché è bella la città", "it"),
        ("tüdruk aias, õlimaal, soe valgus õhtul", "est"),
        ("夕焼けの海辺を歩く少女のイラスト", "ja"),
        (
            "the quick brown fox jumps over the lazy dog while the children are watching them from the old bridge",
            "en",
        ),
        ("a portrait of a woman in a garden, oil painting", "en"),
        ("“A portrait of a woman” – in the style of the old masters", "en"),
        ("a portrait of Beyoncé in a café, oil painting, highly detailed", "en"),
        ("a street in Łódź at night, rain, neon lights, by the painter José", "en"),
        ("naïve art painting of a village fair by the river", "en"),
        ("a girl in a café, golden hour, Pokémon style", "en"),
        ("1234 ::: ---", "und"),
        ("4k", "und"),
    ];

    #[test]
    fn languages_are_told_apart() {
        let told: Vec<_> = SAMPLES.iter().map(|(text, language)| (of(text), language, text)).collect();
        let wrong: Vec<_> = told.into_iter().filter(|t| t.0 != *t.1).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn only_languages_that_the_letters_leave_possible_are_compared_with() {
        let of = |text, first| candidates(text, first).unwrap();
        assert_eq!(of("große Augen", "deu"), [Lang::Deu, Lang::Eng]);
        let a_cafe = of("ein Café", "deu");
        assert!(a_cafe.contains(&Lang::Fra) && a_cafe.contains(&Lang::Deu) && !a_cafe.contains(&Lang::Pol));
        let with_a_name = of("ein Löwe im Café", "deu");
        assert!(with_a_name.contains(&Lang::Deu) && with_a_name.contains(&Lang::Swe), "{with_a_name:?}");
        assert_eq!(of("Łódź, a café", "eng"), [Lang::Pol, Lang::Eng], "most of them");
        assert_eq!(candidates("замок and café", "eng"), None, "not of Latin script");
        assert!(of("İ", "tur").contains(&Lang::Tur));
        assert_eq!(candidates("4 º", "eng"), None);
    }

    #[test]
    fn every_language_of_latin_script_has_an_alphabet_or_none_beyond_ascii() {
        let plain = [Lang::Eng, Lang::Lat, Lang::Sna, Lang::Zul];
        for l in Script::Latin.langs() {
            assert!(plain.contains(l) || ALPHABETS.iter().any(|a| a.0 == *l), "{l}");
        }
    }
}
