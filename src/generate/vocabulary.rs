//! The words of generated prompts: original, harmless, most common first (weights fall with the
//! rank).

/// Style collections, in the order in which every table here lists them.
pub const STYLES: [&str; 5] = ["photo", "illustration", "painting", "anime", "comic"];
/// Index of `anime` in [`STYLES`]: where a prompt shift turns to.
pub(super) const ANIME: u8 = 3;
/// Languages of prompts, in the order in which every table here lists them; the first is by far the
/// most common.
pub(super) const LANGUAGES: [&str; 5] = ["en", "de", "es", "fr", "ja"];

#[rustfmt::skip]
pub(super) const SUBJECTS: &[&str] = &[
    "cat", "woman", "dog", "castle", "man", "dragon", "house", "robot", "fox", "car", "wizard", "city street",
    "knight", "astronaut", "bird", "horse", "child", "owl", "ship", "lighthouse", "wolf", "queen", "bicycle",
    "train", "tiger", "garden", "teapot", "violin player", "fisherman", "whale", "cottage", "bookshop",
    "mountain goat", "clockwork beetle", "baker", "tram", "rabbit", "hot air balloon", "deer", "watchmaker",
    "dancer", "windmill", "octopus", "market stall", "librarian", "hedgehog", "cathedral", "airship",
    "ceramic vase", "red panda", "greenhouse", "sailor", "heron", "typewriter", "jellyfish", "chess board",
    "mushroom", "submarine", "caravan", "beekeeper",
];

#[rustfmt::skip]
pub(super) const ADJECTIVES: &[&str] = &[
    "beautiful", "small", "old", "cute", "giant", "red", "mysterious", "golden", "happy", "tiny",
    "futuristic",
    "ancient", "lonely", "elegant", "colorful", "sleepy", "blue", "wooden", "glowing", "majestic", "curious",
    "weathered", "mechanical", "fluffy", "silver", "crystal", "brave", "quiet", "translucent", "gentle",
    "ornate",
    "rusty", "emerald", "velvet", "porcelain", "wandering", "overgrown", "luminous", "paper", "striped",
];

#[rustfmt::skip]
pub(super) const ACTIONS: &[&str] = &[
    "standing", "sitting", "running", "reading a book", "looking at the viewer", "sleeping", "flying",
    "dancing",
    "holding a lantern", "drinking tea", "walking", "waiting", "playing the piano", "surrounded by flowers",
    "wearing a long coat", "riding a bicycle", "looking up at the stars", "swimming", "cooking dinner",
    "painting a picture", "carrying an umbrella", "repairing a clock", "jumping", "covered in snow",
    "wearing a straw hat", "playing chess", "watching the rain", "singing", "feeding birds", "climbing",
];

#[rustfmt::skip]
pub(super) const PLACES: &[&str] = &[
    "in a forest", "on a beach", "in the city", "in the mountains", "at night", "in the rain", "at sunset",
    "by the sea", "in a garden", "on a hill", "in the desert", "under a starry sky", "in a cafe",
    "in the snow",
    "on the moon", "in a library", "by a lake", "in a meadow", "on a rooftop", "at a train station",
    "underwater in a reef",
    "in a small village", "on a bridge", "in a workshop", "among the clouds", "in an old kitchen",
    "in the fog",
    "on a market square", "by a campfire", "in a greenhouse", "at the harbor", "in a quiet alley",
    "near a waterfall",
    "in a field of lavender", "on a wooden pier", "inside a clock tower", "in deep space",
    "on a frozen river",
    "beneath cherry trees", "at the edge of a cliff",
];

/// Terms of any style: light, composition, quality, mood.
#[rustfmt::skip]
pub(super) const TERMS: &[&str] = &[
    "highly detailed", "soft light", "4k", "masterpiece", "cinematic lighting", "intricate", "sharp focus",
    "best quality", "warm colors", "dramatic lighting", "8k", "centered composition", "golden hour",
    "high contrast",
    "depth of field", "pastel colors", "wide view", "close up", "volumetric light", "rule of thirds", "moody",
    "symmetrical", "vibrant", "mist", "rim light", "full body", "backlit", "muted palette", "low angle",
    "reflections",
    "elegant", "dreamlike", "minimalist", "ultra wide", "portrait", "from above", "fine texture", "blue hour",
    "long shadows", "ambient occlusion", "calm atmosphere", "simple background", "negative space",
    "tilted horizon",
];

/// How a prompt of each style may begin ("… of a fox").
#[rustfmt::skip]
pub(super) const LEADS: [&[&str]; 5] = [
    &["photo", "photograph", "close-up photo", "portrait photo", "aerial photograph",
        "black and white photo", "macro shot", "film still"],
    &["illustration", "digital illustration", "flat illustration", "storybook illustration", "vector art",
        "concept art", "poster", "ink drawing"],
    &["oil painting", "watercolor painting", "painting", "acrylic painting", "gouache study", "fresco",
        "impressionist painting", "still life"],
    &["anime key visual", "anime screenshot", "anime illustration", "manga cover", "anime portrait",
        "light novel cover", "chibi drawing", "anime poster"],
    &["comic panel", "comic book cover", "comic page", "graphic novel panel", "newspaper strip",
        "superhero splash page", "webcomic panel", "pulp comic cover"],
];

/// What each style's prompts add after the scene.
#[rustfmt::skip]
pub(super) const MODIFIERS: [&[&str]; 5] = [
    &["photorealistic", "35mm", "bokeh", "natural light", "f/1.8", "shallow depth of field", "film grain",
        "85mm lens", "raw photo",
      "dslr", "studio lighting", "long exposure", "street photography", "iso 100", "candid",
      "medium format", "wide angle lens",
      "overcast light", "documentary style", "analog film", "telephoto", "product shot"],
    &["flat colors", "clean lines", "vector", "isometric", "soft shading", "pastel",
        "children's book style", "digital art",
      "line work", "textured brush", "trending design", "paper cut", "geometric shapes", "risograph",
      "screen print", "simple shapes",
      "storybook", "limited palette", "pen and ink", "hand drawn", "matte painting", "editorial style"],
    &["oil on canvas", "impasto", "visible brush strokes", "baroque", "impressionism", "renaissance",
        "watercolor wash", "chiaroscuro",
      "romanticism", "glazing", "palette knife", "rich pigments", "canvas texture", "art nouveau",
      "tempera", "loose brushwork",
      "plein air", "sfumato", "museum quality", "gold leaf", "pre-raphaelite", "expressionism"],
    &["cel shading", "big expressive eyes", "by studio kumori", "colorful hair", "school uniform",
        "manga lines", "anime style",
      "by studio hoshigami", "speed lines", "sakura petals", "detailed anime eyes", "moe", "shonen",
      "shoujo", "mecha",
      "by studio aozora", "twintails", "kimono", "lens flare sky", "kawaii", "isekai", "magical girl",
      "visual novel sprite", "dynamic pose"],
    &["bold outlines", "halftone dots", "speech bubble", "ink wash", "primary colors", "crosshatching",
        "action lines", "retro comic",
      "noir shading", "flat inks", "panel borders", "heroic pose", "onomatopoeia", "silver age style",
      "thick ink", "ben-day dots",
      "exaggerated expression", "cape", "city skyline", "splash page", "pulp", "caption box"],
];

/// Subjects that anime prompts mostly take.
#[rustfmt::skip]
pub(super) const ANIME_SUBJECTS: &[&str] = &[
    "girl with silver hair", "schoolgirl", "samurai", "boy with a sword", "mecha pilot", "catgirl",
    "shrine maiden", "ninja",
    "magical girl", "idol singer", "fox spirit", "student council president", "android girl",
    "demon hunter", "witch with a broom",
    "swordswoman",
];

/// Lettering: prompts that ask for words in the picture have quotation marks.
#[rustfmt::skip]
pub(super) const SIGNS: &[&str] = &[
    "a sign that says \"open late\"", "a banner that reads \"welcome home\"",
    "the word \"hope\" written above",
    "a neon sign saying \"café\"", "a label with \"No. 7\" on it", "the title \"north\" in bold letters",
];

/// A language other than English, with fewer words.
pub(super) struct ForeignWords {
    pub subjects: &'static [&'static str],
    pub places: &'static [&'static str],
    pub terms: &'static [&'static str],
    /// One phrase per style, in the order of [`STYLES`].
    pub styles: [&'static str; 5],
    /// Between the phrases, and between subject and place.
    pub comma: &'static str,
    pub space: &'static str,
}

/// German, Spanish, French, Japanese: [`LANGUAGES`] without its first.
#[rustfmt::skip]
pub(super) const FOREIGN: [ForeignWords; 4] = [
    ForeignWords {
        subjects: &["eine Katze", "ein Fuchs", "eine alte Frau", "ein Schloss", "ein kleiner Roboter",
            "ein Drache", "ein Leuchtturm",
            "ein schöner Garten", "ein Mädchen", "ein Zug", "eine Eule", "ein Bäcker", "ein weißes Pferd",
            "eine Brücke"],
        places: &["im Wald", "am Meer", "in der Stadt", "bei Nacht", "im Schnee", "auf einem Hügel",
            "im Regen", "unter den Sternen",
            "in einer Bibliothek", "am See", "über den Wolken", "auf dem Marktplatz"],
        terms: &["sehr detailliert", "weiches Licht", "hohe Auflösung", "warme Farben",
            "dramatische Beleuchtung", "Goldene Stunde",
            "Nahaufnahme", "schöne Komposition", "traumhaft", "leuchtende Farben", "Nebel",
            "ruhige Stimmung"],
        styles: ["realistisches Foto", "digitale Illustration", "Gemälde in Öl", "im Stil eines Anime",
            "Seite aus einem Comic"],
        comma: ", ", space: " ",
    },
    ForeignWords {
        subjects: &["un gato", "una mujer", "un zorro", "un castillo", "un robot pequeño", "un dragón",
            "un faro antiguo", "una niña",
            "un tren", "un búho", "un panadero", "un caballo blanco", "un barco", "una montaña"],
        places: &["en el bosque", "junto al mar", "en la ciudad", "de noche", "en la nieve",
            "sobre una colina", "bajo la lluvia",
            "bajo las estrellas", "en una biblioteca", "en el desierto", "entre las nubes", "en la plaza"],
        terms: &["muy detallado", "luz suave", "alta resolución", "colores cálidos",
            "iluminación dramática", "hora dorada", "primer plano",
            "composición centrada", "ambiente onírico", "colores vivos", "niebla", "gran contraste"],
        styles: ["fotografía realista", "ilustración digital", "pintura al óleo", "estilo de anime",
            "viñeta de cómic"],
        comma: ", ", space: " ",
    },
    ForeignWords {
        subjects: &["un chat", "une femme", "un renard", "un château", "un petit robot", "un dragon",
            "un vieux phare", "une fillette",
            "un train", "un hibou", "un boulanger", "un cheval blanc", "une forêt enchantée", "un bateau"],
        places: &["dans la forêt", "au bord de la mer", "dans la ville", "sous la pluie", "dans la neige",
            "sur une colline",
            "sous les étoiles", "dans une bibliothèque", "près d'un lac", "au marché couvert",
            "dans les nuages", "à l'aube dorée"],
        terms: &["très détaillé", "lumière douce", "haute résolution", "couleurs chaudes",
            "éclairage dramatique", "heure dorée", "gros plan",
            "composition centrée", "ambiance onirique", "couleurs vives", "brume légère", "fort contraste"],
        styles: ["photographie réaliste", "illustration numérique", "peinture à l'huile", "style d'anime",
            "planche de bande dessinée"],
        comma: ", ", space: " ",
    },
    ForeignWords {
        subjects: &["猫", "白い狐", "少女", "古い城", "小さなロボット", "龍", "灯台", "美しい庭", "電車", "梟", "職人", "白い馬", "侍", "風鈴"],
        places: &["森の中", "海辺", "夜の街", "雪の中", "雨の路地", "星空の下", "図書館", "湖のほとり", "雲の上", "桜の木の下", "丘の上", "市場"],
        terms: &["高精細", "柔らかい光", "暖かい色", "最高品質", "ドラマチックな照明", "夕暮れ", "クローズアップ", "幻想的", "鮮やかな色", "霧",
            "静かな雰囲気", "逆光"],
        styles: ["写真", "イラスト", "油絵", "アニメ調", "漫画のコマ"],
        comma: "、", space: "、",
    },
];
