//! Text → search terms, the same way for pages and questions.
//!
//! * Words of any alphabet are lower-cased; endings are folded ([`fold`]).
//! * A name such as `OPENAI_API_KEY`, `gatehouse.toml` or `RateLimit-Policy` is a term as a whole and by its parts.
//! * Chinese, Japanese and Korean have no spaces between words: each pair of neighbours is a term, and each
//!   character by itself is one of less weight. Of Thai, Lao, Burmese and Khmer each three neighbouring letters are one.
//! * Words that every page has (`the`, `的`) are left out.

use std::collections::BTreeMap;

/// The longest part of a question that is read, in bytes. A longer question is cut, at a character.
pub const QUESTION_CAP_BYTES: usize = 4 * 1024;

/// The longest term, in characters; the rest of a longer word is ignored.
const TERM_CAP_CHARS: usize = 48;

/// One search term and how it was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// Lower-case, without white space.
    pub text: String,
    /// What it is.
    pub kind: Kind,
}

/// What a term is; its text alone decides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One character of a script without spaces.
    Single,
    /// Neighbours in such a script: often a word, often only the seam between two.
    Gram,
    /// A word, a number or a name.
    Word,
}

/// The terms of `text`, in reading order, repeated as often as they come.
#[must_use]
pub fn terms(text: &str) -> Vec<Term> {
    let mut found = Vec::new();
    let mut run = String::new();
    let mut run_class = Class::Gap;
    for c in text.chars().filter(|c| !is_ignorable(*c)).map(narrow) {
        let class = class(c);
        let continues = match class {
            Class::Joiner => run_class == Class::Word,
            class => class == run_class,
        };
        if !continues {
            end_run(&mut found, run_class, &run);
            run.clear();
            run_class = class;
        }
        run.push(c);
    }
    end_run(&mut found, run_class, &run);
    found
}

/// The terms of several texts, each text with what a term in it counts, and their length: the sum of what words and
/// neighbours count. Single characters repeat the pairs and make nothing longer.
#[must_use]
pub fn counted(parts: &[(&str, u32)]) -> (BTreeMap<Term, u32>, u32) {
    let mut counts = BTreeMap::new();
    let mut length: u32 = 0;
    for (text, weight) in parts {
        for term in terms(text) {
            if term.kind != Kind::Single {
                length = length.saturating_add(*weight);
            }
            let count: &mut u32 = counts.entry(term).or_default();
            *count = count.saturating_add(*weight);
        }
    }
    (counts, length)
}

/// The first [`QUESTION_CAP_BYTES`] of `text`.
#[must_use]
pub fn capped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(QUESTION_CAP_BYTES))
        .unwrap_or(text)
}

/// Chinese characters (also used in Japanese): the Unified Ideographs with their extensions, compatibility forms, 々〇.
#[must_use]
pub const fn is_han(c: char) -> bool {
    matches!(c, '\u{3005}' | '\u{3007}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// Letters of the scripts that are written without spaces or with long words: Han, Kana and Hangul.
#[must_use]
pub const fn is_cjk(c: char) -> bool {
    is_han(c)
        || matches!(c, '\u{3041}'..='\u{3096}' | '\u{309D}'..='\u{309F}' | '\u{30A1}'..='\u{30FA}'
            | '\u{30FC}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{FF66}'..='\u{FF9D}'
            | '\u{1100}'..='\u{11FF}' | '\u{3130}'..='\u{318F}' | '\u{AC00}'..='\u{D7A3}')
}

/// Letters and signs of the alphabets that are written without spaces between words: Thai, Lao, Burmese and Khmer.
const fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{E01}'..='\u{E3A}' | '\u{E40}'..='\u{E4E}' | '\u{E81}'..='\u{ECE}' | '\u{EDC}'..='\u{EDF}'
        | '\u{1000}'..='\u{103F}' | '\u{1050}'..='\u{108F}' | '\u{1780}'..='\u{17D3}')
}

/// Characters without a glyph of their own: they neither make nor part a word. Soft hyphen, combining marks, zero-width
/// and bidirectional controls, byte order mark.
#[must_use]
pub const fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{300}'..='\u{36F}' | '\u{61C}' | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    /// Holds a name together when it stands between word characters.
    Joiner,
    Cjk,
    Unspaced,
    Gap,
}

fn class(c: char) -> Class {
    match c {
        '_' | '-' | '.' | '/' => Class::Joiner,
        c if is_cjk(c) => Class::Cjk,
        c if is_unspaced(c) => Class::Unspaced,
        c if c.is_alphanumeric() => Class::Word,
        _ => Class::Gap,
    }
}

/// Full-width forms (U+FF01–U+FF5E) as the ASCII characters they stand for (U+0021–U+007E).
fn narrow(c: char) -> char {
    const SHIFT: u32 = 0xFF01 - 0x21;
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c).wrapping_sub(SHIFT)).unwrap_or(c),
        c => c,
    }
}

fn end_run(found: &mut Vec<Term>, class: Class, run: &str) {
    match class {
        Class::Word => words(found, run),
        Class::Cjk => pairs(found, run),
        Class::Unspaced => threes(found, run),
        Class::Joiner | Class::Gap => {}
    }
}

/// A word, or a name with its parts. Two joiners in a row (`a...b`, `a--b`) part words like a space.
fn words(found: &mut Vec<Term>, run: &str) {
    let is_joiner = |c: char| class(c) == Class::Joiner;
    let mut names = vec![String::new()];
    let mut chars = run.trim_matches(is_joiner).chars().peekable();
    while let Some(c) = chars.next() {
        if is_joiner(c) && chars.peek().copied().is_some_and(is_joiner) {
            while chars.next_if(|next| is_joiner(*next)).is_some() {}
            names.push(String::new());
        } else if let Some(name) = names.last_mut() {
            name.push(c);
        }
    }
    for name in &names {
        let parts: Vec<String> = name.split(is_joiner).flat_map(humps).collect();
        if parts.len() > 1 {
            push(found, fold(&lower(name)), Kind::Word);
        }
        for part in parts {
            let word = lower(&part);
            if !STOP_WORDS.contains(&word.as_str()) {
                push(found, fold(&word), Kind::Word);
            }
        }
    }
}

/// `RateLimit` → `Rate`, `Limit`: a new part starts where a capital follows a small letter.
fn humps(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut after_small = false;
    for c in name.chars() {
        if after_small && c.is_uppercase() {
            parts.push(String::new());
        }
        after_small = c.is_lowercase();
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

fn pairs(found: &mut Vec<Term>, run: &str) {
    let mut previous = None;
    for c in run.chars() {
        if let Some(previous) = previous
            && !is_stop_pair(previous, c)
        {
            push(found, String::from_iter([previous, c]), Kind::Gram);
        }
        if !STOP_CHARS.contains(c) {
            push(found, c.to_string(), Kind::Single);
        }
        previous = Some(c);
    }
}

/// On XQuAD's Thai three letters find more than two or four, and as much as three clusters of a letter and its signs.
fn threes(found: &mut Vec<Term>, run: &str) {
    let letters: Vec<char> = run.chars().collect();
    for three in letters.windows(letters.len().clamp(1, 3)) {
        push(found, three.iter().collect(), Kind::Gram);
    }
}

fn is_stop_pair(a: char, b: char) -> bool {
    PARTICLES.contains(a)
        || PARTICLES.contains(b)
        || (STOP_CHARS.contains(a) && STOP_CHARS.contains(b))
        || STOP_PAIRS.iter().any(|pair| pair.chars().eq([a, b]))
}

fn push(found: &mut Vec<Term>, text: String, kind: Kind) {
    if !text.is_empty() {
        found.push(Term { text, kind });
    }
}

fn lower(word: &str) -> String {
    word.chars()
        .flat_map(char::to_lowercase)
        .take(TERM_CAP_CHARS)
        .collect()
}

/// The letters that stay of a word of another alphabet, or with letters that English has not.
const PREFIX_CHARS: usize = 6;

/// Folds endings, so that `limits`, `limited` and `limiting` meet in `limit`, `caches` and `caching` in `cach`.
///
/// Light and repeatable (`fold(fold(w)) == fold(w)`); the result need not be a word. Names and words with digits are left
/// alone. Of a word with other letters than English ones the first six stay: they bring more than any ending takes (on
/// XQuAD's Russian nDCG@10 grows from 0.87 to 0.95). Of an English one, in order, until nothing changes:
/// `-ies`, `-ied` → `-i`, and `-y` after a consonant as well; `-sses`, `-xes`, `-ches`, `-shes`, `-zes` lose `-es`;
/// `-s` goes (not `-ss`, `-us`, `-is`);
/// `-ation` after five letters and `-ment` after four go; `-ing` and `-ed` (not `-eed`) go; a last `-e` goes
/// (not `-ee`); a doubled last consonant (not `s`) becomes single. What stays has at least two letters, one a vowel.
#[must_use]
pub fn fold(word: &str) -> String {
    if !word.is_ascii() && word.chars().all(char::is_alphabetic) {
        return word.chars().take(PREFIX_CHARS).collect();
    }
    let mut word = word.to_owned();
    if word.bytes().all(|b| b.is_ascii_lowercase()) {
        while let Some(shorter) = fold_once(&word) {
            word = shorter;
        }
    }
    word
}

fn fold_once(word: &str) -> Option<String> {
    let stem_of = |ending: &str, least: usize| {
        let stem = word.strip_suffix(ending)?;
        let is_vowel = |c| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y');
        (stem.len() >= least && stem.contains(is_vowel)).then(|| stem.to_owned())
    };
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    let without_last = |count: usize| word.get(..word.len().saturating_sub(count));
    if ends(&["ies", "ied"]) && word.len() > 3 {
        return without_last(2).map(str::to_owned);
    }
    if ends(&["sses", "xes", "ches", "shes", "zes"]) {
        return stem_of("es", 2);
    }
    if !ends(&["ss", "us", "is"]) && ends(&["s"]) {
        return stem_of("s", 2);
    }
    let longer = stem_of("ation", 5)
        .or_else(|| stem_of("ment", 4))
        .or_else(|| stem_of("ing", 2));
    if longer.is_some() {
        return longer;
    }
    if ends(&["ed"]) && !ends(&["eed"]) {
        return stem_of("ed", 2);
    }
    if ends(&["e"]) && !ends(&["ee"]) {
        return stem_of("e", 2);
    }
    let is_consonant = |byte| !matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u');
    let mut from_end = word.bytes().rev();
    let (last, before) = (from_end.next()?, from_end.next()?);
    if last == b'y' && is_consonant(before) {
        return without_last(1).map(|stem| format!("{stem}i"));
    }
    if word.len() > 2 && last == before && last != b's' && is_consonant(last) {
        return without_last(1).map(str::to_owned);
    }
    None
}

/// English function words, what requests to anyone are made of, and the ends of contractions.
const STOP_WORDS: &[&str] = &[
    "a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can",
    "could", "d", "did", "do", "does", "explain", "find", "for", "from", "get", "give", "had",
    "has", "have", "he", "hello", "help", "her", "here", "hey", "hi", "him", "his", "how", "i",
    "if", "in", "into", "is", "it", "its", "just", "know", "let", "like", "ll", "m", "make",
    "many", "may", "me", "might", "much", "my", "need", "of", "on", "or", "our", "please", "re",
    "s", "say", "shall", "she", "should", "show", "so", "some", "sure", "t", "talk", "tell",
    "than", "thank", "thanks", "that", "the", "their", "them", "then", "there", "these", "they",
    "this", "those", "to", "us", "ve", "want", "was", "we", "were", "what", "when", "where",
    "whether", "which", "who", "whom", "whose", "why", "will", "with", "would", "write", "you",
    "your",
];

/// Characters that say nothing alone, though they may in a pair (在线, 存在, 了解).
const STOP_CHARS: &str = "的了吗呢吧啊嘛么是在和与或及也都就很还又把被让给对从到向以于为我你您他她它们这那哪怎什谁其之个请能会要有没不";

/// Particles that only close a word or a sentence: a pair with one is a seam.
const PARTICLES: &str = "的吗呢吧啊嘛";

/// Pairs that ask or link and name nothing.
const STOP_PAIRS: &[&str] = &[
    "什么", "怎么", "么样", "怎样", "如何", "为何", "哪里", "哪个", "哪些", "多少", "几个", "可以",
    "可否", "能否", "是否", "一个", "一些", "这个", "那个", "这些", "那些", "我们", "你们", "他们",
    "请问", "告诉", "需要", "想要", "知道", "应该", "因为", "所以", "如果", "但是", "以及", "或者",
    "而且", "关于", "有关", "没有", "就是", "还是", "时候",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{Kind, QUESTION_CAP_BYTES, capped, fold, terms};

    fn texts(text: &str) -> Vec<String> {
        terms(text).into_iter().map(|term| term.text).collect()
    }

    fn of_kind(text: &str, kind: Kind) -> Vec<String> {
        let of_kind = terms(text).into_iter().filter(|term| term.kind == kind);
        of_kind.map(|term| term.text).collect()
    }

    #[test]
    fn text_becomes_terms() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("How do I set the limits?", &["set", "limit"]),
            (
                "Straße, ÜBER naïve Привет",
                &["straße", "über", "naïve", "привет"],
            ),
            ("429 errors in 10 s", &["429", "error", "10"]),
            (
                "OPENAI_API_KEY",
                &["openai_api_key", "openai", "api", "key"],
            ),
            (
                "edit gatehouse.toml.",
                &["edit", "gatehouse.toml", "gatehous", "toml"],
            ),
            (
                "`/v1/chat/completions`",
                &["v1/chat/completions", "v1", "chat", "completion"],
            ),
            (
                "RateLimit-Policy",
                &["ratelimit-policy", "rat", "limit", "polici"],
            ),
            ("cacheTtl", &["cachettl", "cach", "ttl"]),
            ("wait...done -- now --flag", &["wait", "don", "now", "flag"]),
            ("don't, it’s the site's", &["don", "sit"]),
            ("ＡＰＩ　ｋｅｙ１", &["api", "key1"]),
            (
                "lim\u{200B}its \u{202E}ca\u{AD}che e\u{301}a",
                &["limit", "cach", "ea"],
            ),
            ("tab\tNUL\0line\nend", &["tab", "nul", "lin", "end"]),
            ("... --- ?!", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(texts(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn chinese_japanese_and_korean_become_pairs_and_singles() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("缓存", &["缓存"], &["缓", "存"]),
            (
                "怎么限制访客的请求？",
                &["么限", "限制", "制访", "访客", "请求"],
                &["限", "制", "访", "客", "求"],
            ),
            ("用KV缓存", &["缓存"], &["用", "缓", "存"]),
            ("在线了解", &["在线", "线了", "了解"], &["线", "解"]),
            (
                "キャッシュ",
                &["キャ", "ャッ", "ッシ", "シュ"],
                &["キ", "ャ", "ッ", "シ", "ュ"],
            ),
            ("캐시 키", &["캐시"], &["캐", "시", "키"]),
            ("是什么", &["是什"], &[]),
        ];
        for (text, pairs, singles) in table {
            if *text == "是什么" {
                assert_eq!(of_kind(text, Kind::Gram), Vec::<String>::new());
                continue;
            }
            assert_eq!(of_kind(text, Kind::Gram), *pairs, "{text}");
            assert_eq!(of_kind(text, Kind::Single), *singles, "{text}");
        }
        assert_eq!(of_kind("用KV缓存", Kind::Word), ["kv"]);
    }

    #[test]
    fn alphabets_without_spaces_become_threes() {
        for (text, expected) in [
            ("ค้นหาคำ", &["ค้น", "้นห", "นหา", "หาค", "าคำ"][..]),
            ("มา", &["มา"]),
            ("ก KV", &["ก", "kv"]),
            ("ຄຳຖາມ", &["ຄຳຖ", "ຳຖາ", "ຖາມ"]),
            ("မေး", &["မေး"]),
            ("សួរ", &["សួរ"]),
            ("๑๒", &["๑๒"]),
            ("฿๏", &[]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
        assert_eq!(of_kind("ค้นหา", Kind::Gram).len(), 3);
    }

    #[test]
    fn words_of_other_alphabets_meet_by_their_beginning() {
        for family in [
            &["ограничение", "ограничения", "ограничивать"][..],
            &["Übersetzung", "übersetzt"],
            &["απάντηση", "απάντησης"],
        ] {
            for word in family {
                assert_eq!(texts(word), texts(family[0]), "{word}");
            }
        }
        assert_eq!(texts("кот"), ["кот"]);
        assert_eq!(
            texts("версия-обновления"),
            ["версия-обновления", "версия", "обновл"]
        );
        assert_eq!(texts("версия2026"), ["версия2026"]);
    }

    #[test]
    fn forms_of_a_word_meet() {
        let families: &[&[&str]] = &[
            &["limit", "limits", "limited", "limiting"],
            &["cache", "caches", "cached", "caching"],
            &["retry", "retries", "retried", "retrying"],
            &["use", "uses", "used", "using"],
            &["store", "stores", "stored", "storing"],
            &["stop", "stops", "stopped", "stopping"],
            &["control", "controls", "controlled"],
            &["add", "adds", "added", "adding"],
            &["access", "accesses", "accessed"],
            &["deploy", "deploys", "deployment"],
            &["configure", "configured", "configuration"],
            &["embed", "embedding", "embeddings"],
            &["box", "boxes"],
            &["key", "keys"],
            &["feed", "feeds"],
            &["policy", "policies"],
            &["cookie", "cookies"],
        ];
        for family in families {
            for word in *family {
                assert_eq!(fold(word), fold(family[0]), "{word}");
            }
        }
        for (one, other) in [
            ("status", "stat"),
            ("string", "str"),
            ("key", "k"),
            ("red", "r"),
            ("need", "ne"),
        ] {
            assert_ne!(fold(one), fold(other));
        }
    }

    #[test]
    fn a_question_is_cut_at_a_character() {
        for text in [
            "a".repeat(1_000_000),
            "键".repeat(400_000),
            "🦀".repeat(300_000),
        ] {
            let cut = capped(&text);
            assert!(text.starts_with(cut));
            assert!((QUESTION_CAP_BYTES - 3..=QUESTION_CAP_BYTES).contains(&cut.len()));
        }
        assert_eq!(capped("short"), "short");
    }

    #[test]
    fn one_endless_word_is_one_bounded_term() {
        let found = terms(&"a".repeat(1_000_000));
        assert!(found.iter().all(|term| term.text.len() <= 48));
        assert_eq!(found.len(), 1);
    }

    proptest! {
        #[test]
        fn terms_have_no_white_space_and_survive_another_pass(text in "\\PC{0,60}|[a-zA-Z_./ -]{0,60}") {
            for term in terms(&text) {
                assert!(!term.text.is_empty() && !term.text.contains(char::is_whitespace), "{term:?}");
                if term.kind == Kind::Word {
                    assert_eq!(fold(&term.text), term.text);
                }
            }
        }

        #[test]
        fn folding_ends_and_is_stable(word in "[a-z]{0,12}(s|es|ed|ing|ies|ment|ation)?") {
            assert_eq!(fold(&fold(&word)), fold(&word));
        }
    }
}
