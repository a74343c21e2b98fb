//! The checks that look at a place of a block: which bytes may begin what, so that most are passed over at once.

use super::archives::Zip;
use super::bytes::is_word;
use super::matched::Match;
use super::policy::Policy;
use super::records::Note;
use super::report::{Findings, Kind, Place};
use super::types::Known;
use super::window::{Block, Spot};
use super::{active, eicar, hidden, injection, personal, secrets};

/// What a byte may begin.
type Class = u8;
/// Part of a word: what begins with one begins where a word does.
const WORD: Class = 1;
/// Something may begin with it anywhere.
const ANYWHERE: Class = 2;
/// Something may begin with it where a word begins, if the next byte is one of [`PAIRS`].
const OF_A_WORD: Class = 4;
/// Something may begin with it anywhere, if the next byte is one of [`PAIRS`].
const OF_A_CHARACTER: Class = 8;

static CLASSES: [Class; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "at compile time, below 256"
)]
const fn classes() -> [Class; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if is_word(b) {
            classes[byte] |= WORD;
        }
        if b.is_ascii_alphanumeric() || b == b'+' {
            classes[byte] |= OF_A_WORD;
        }
        if matches!(
            b,
            b'X' | b'P' | b'@' | b'=' | b':' | b'-' | b'<' | b'[' | b'/' | b'(' | b'_'
        ) {
            classes[byte] |= ANYWHERE;
        }
        if matches!(b, 0xC2 | 0xE2 | 0xE4..=0xE9 | 0xEF | 0xF3) {
            classes[byte] |= OF_A_CHARACTER;
        }
        byte += 1;
    }
    classes
}

/// For each byte the next ones with which something may begin, a bit each.
static PAIRS: [[u64; 4]; 256] = pairs();

type Pairs = [[u64; 4]; 256];

const fn pairs() -> Pairs {
    let mut pairs = [[0; 4]; 256];
    let mut byte: u8 = 0;
    // Numbers, telephone numbers, and the two letters of a country that an IBAN begins with.
    while byte < 128 {
        let mut next: u8 = 0;
        while next < 128 {
            if byte.is_ascii_digit()
                || byte == b'+'
                || byte.is_ascii_uppercase() && next.is_ascii_uppercase()
            {
                mark(&mut pairs, byte, next);
            }
            next = next.wrapping_add(1);
        }
        byte = byte.wrapping_add(1);
    }
    each(&mut pairs, &secrets::BEGINNINGS, false);
    each(&mut pairs, &[secrets::BEARER], true);
    each(&mut pairs, &injection::BEGINNINGS, true);
    each(&mut pairs, &injection::ZH_BEGINNINGS, false);
    each(&mut pairs, &active::ATTRIBUTE_BEGINNINGS, true);
    each(&mut pairs, &hidden::BEGINNINGS, false);
    pairs
}

/// Marks the first two bytes of each word, in upper and lower case where that does not matter.
const fn each(pairs: &mut Pairs, words: &[&str], any_case: bool) {
    let mut words = words;
    while let [word, rest @ ..] = words {
        words = rest;
        let [first, second, ..] = word.as_bytes() else {
            continue;
        };
        mark(pairs, *first, *second);
        if any_case {
            let (first, second) = (first.to_ascii_uppercase(), second.to_ascii_uppercase());
            let (small, little) = (first.to_ascii_lowercase(), second.to_ascii_lowercase());
            mark(pairs, first, second);
            mark(pairs, first, little);
            mark(pairs, small, second);
            mark(pairs, small, little);
        }
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "a byte is below 256, its quarter below 4"
)]
const fn mark(pairs: &mut Pairs, byte: u8, next: u8) {
    pairs[byte as usize][(next >> 6) as usize] |= 1 << (next & 63);
}

/// May something begin with these two?
fn may_begin(byte: u8, next: Option<&u8>) -> bool {
    next.is_some_and(|next| {
        PAIRS
            .get(usize::from(byte))
            .and_then(|nexts| nexts.get(usize::from(next >> 6)))
            .is_some_and(|bits| bits >> (next & 63) & 1 == 1)
    })
}

/// The checks of one document.
pub(super) struct Checks {
    known: Known,
    zip: Zip,
    /// Lines that ended before the block.
    lines: u64,
    /// Up to where the last finding of a secret or of a person reached.
    taken: u64,
}

/// What is looked for in a block.
#[derive(Clone, Copy)]
struct Wanted {
    /// It is text, as far as one can see.
    text: bool,
    secrets: bool,
    personal: bool,
    injection: bool,
}

impl Checks {
    pub(super) fn new(known: Known) -> Self {
        Self {
            known,
            zip: Zip::default(),
            lines: 0,
            taken: 0,
        }
    }

    /// Looks at a block.
    pub(super) fn look(&mut self, block: &Block<'_>, policy: &Policy, findings: &mut Findings) {
        let bytes = block.bytes.get(block.start..block.end).unwrap_or_default();
        // Binary formats hold, by chance, what looks like an address or a number.
        let text =
            self.known.is_text() || !bytes.iter().any(|b| matches!(b, 0..=8 | 14..=26 | 28..=31));
        let wanted = Wanted {
            text,
            secrets: policy.looks_at(Kind::Secret),
            personal: text && policy.looks_at(Kind::Personal),
            injection: policy.looks_at(Kind::Injection),
        };
        let mut in_word = block
            .start
            .checked_sub(1)
            .and_then(|at| block.bytes.get(at))
            .is_some_and(|b| is_word(*b));
        let mut counted = block.start;
        for (by, byte) in bytes.iter().enumerate() {
            let class = CLASSES.get(usize::from(*byte)).copied().unwrap_or(0);
            let begins_word = !in_word && class & OF_A_WORD != 0;
            in_word = class & WORD != 0;
            if !begins_word && class & (ANYWHERE | OF_A_CHARACTER) == 0 {
                continue;
            }
            let at = block.start.saturating_add(by);
            let next = block.bytes.get(at.saturating_add(1));
            if class & ANYWHERE == 0 && !may_begin(*byte, next) {
                continue;
            }
            let spot = block.spot(at);
            if *byte == b'P' && spot.rest.get(1) == Some(&b'K') {
                self.zip(&spot, block.offset(at), policy, findings);
            }
            let Some(found) = self.at(*byte, begins_word, &spot, wanted) else {
                continue;
            };
            self.found(&found, at, &mut counted, block, policy, findings);
        }
        self.count(block, &mut counted, block.end);
    }

    fn found(
        &mut self,
        found: &Match,
        at: usize,
        counted: &mut usize,
        block: &Block<'_>,
        policy: &Policy,
        findings: &mut Findings,
    ) {
        let (kind, _) = found.rule.facts();
        let begins = at.saturating_sub(found.back);
        let (offset, length) = (block.offset(begins), block.length(begins, found.length));
        // What was found is not found once more in its own middle.
        if matches!(kind, Kind::Secret | Kind::Personal) {
            if block.offset(at) < self.taken {
                return;
            }
            self.taken = offset.saturating_add(length);
        }
        self.count(block, counted, at);
        let line = self.known.is_text().then(|| self.lines.saturating_add(1));
        let place = Place {
            offset,
            line,
            length,
        };
        findings.add(policy, found.rule, place, &found.excerpt);
    }

    /// Counts the lines that end before that place of the block.
    fn count(&mut self, block: &Block<'_>, counted: &mut usize, to: usize) {
        if let Some(passed) = block.bytes.get(*counted..to) {
            let ended = passed.iter().filter(|b| **b == b'\n').count();
            let ended = u64::try_from(ended).unwrap_or(u64::MAX);
            self.lines = self.lines.saturating_add(ended);
            *counted = to;
        }
    }

    fn zip(&mut self, spot: &Spot<'_>, offset: u64, policy: &Policy, findings: &mut Findings) {
        let mut notes: Vec<Note> = Vec::new();
        if self.known.inert && offset > 0 && spot.rest.starts_with(b"PK\x03\x04") {
            self.zip.behind(spot.rest, offset, &mut notes);
        }
        self.zip.read(spot.rest, offset, &policy.limits, &mut notes);
        for note in notes {
            findings.add(policy, note.rule, note.place, &note.excerpt);
        }
    }

    /// What begins at the place.
    fn at(&self, byte: u8, begins_word: bool, spot: &Spot<'_>, wanted: Wanted) -> Option<Match> {
        let known = &self.known;
        match byte {
            b'X' if let Some(found) = eicar::at(spot) => return Some(found),
            b'@' if wanted.personal => return personal::email(spot),
            b'=' | b':' if wanted.secrets && wanted.text => return secrets::assignment(spot),
            b'-' if wanted.secrets && !in_dashes(spot) => return secrets::private_key(spot),
            b'<' => {
                return injection::control_token(spot)
                    .filter(|_| wanted.injection)
                    .or_else(|| known.is_markup().then(|| active::markup_script(spot))?)
                    .or_else(|| known.image.then(|| active::markup_inside(spot))?);
            }
            b'[' if wanted.injection => return injection::control_token(spot),
            b'/' if known.pdf => return active::pdf_name(spot),
            b'_' if known.compound => return active::old_macro(spot),
            b'(' if wanted.personal => return personal::bracketed_phone(spot),
            0xC2 | 0xE2 | 0xEF | 0xF3 if wanted.text && wanted.injection => {
                return hidden::at(spot);
            }
            0xE4..=0xE9 if wanted.injection => return injection::chinese(spot),
            _ => {}
        }
        if !begins_word {
            return None;
        }
        if byte == b'+' {
            return wanted
                .personal
                .then(|| personal::international_phone(spot))?;
        }
        if byte.is_ascii_digit() {
            return wanted.personal.then(|| personal::number(spot))?;
        }
        let secret = || {
            let bearer = || wanted.text.then(|| secrets::bearer(spot))?;
            secrets::token_at(spot).or_else(bearer)
        };
        (wanted.secrets.then(secret))
            .flatten()
            .or_else(|| wanted.personal.then(|| personal::iban(spot))?)
            .or_else(|| wanted.injection.then(|| injection::phrase(spot))?)
            .or_else(|| known.is_markup().then(|| active::markup_attribute(spot))?)
    }
}

/// Not the first one of a row.
fn in_dashes(spot: &Spot<'_>) -> bool {
    spot.last() == Some(b'-')
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
    use proptest::sample::select;

    use super::{ANYWHERE, CLASSES, Checks, Spot, Wanted, is_word, may_begin};
    use crate::domain::documents::scan::types::Known;
    use crate::domain::documents::scan::{active, hidden, injection, secrets};

    const ALL: Wanted = Wanted {
        text: true,
        secrets: true,
        personal: true,
        injection: true,
    };

    /// Text of what things begin with, in any case, and of what may follow.
    fn text() -> impl Strategy<Value = String> {
        let mut words: Vec<&str> = Vec::new();
        words.extend(secrets::BEGINNINGS);
        words.extend(injection::BEGINNINGS);
        words.extend(injection::ZH_BEGINNINGS);
        words.extend(active::ATTRIBUTE_BEGINNINGS);
        words.extend(hidden::BEGINNINGS);
        words.extend([
            secrets::BEARER,
            "+49 30 901820",
            "DE89 3704 0044 0532 0130 00",
            "4242 4242 4242 4242",
            "078-05-1121",
            "load=\"x\"",
            "all previous instructions",
            "你的系统指令",
            "q7Zx2Lw9Vb4Kt8Rm3Hy6Nc5Jd1Pf0GsTaUeQiXoW7zYvB2nM",
        ]);
        let word = (select(words), proptest::bool::ANY).prop_map(|(word, upper)| {
            if upper {
                word.to_uppercase()
            } else {
                word.to_owned()
            }
        });
        let piece = prop_oneof![
            4 => word,
            2 => Just(" ".to_owned()),
            1 => "\\PC{0,6}",
        ];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_begins_where_two_bytes_say_that_nothing_can(text in text()) {
            let bytes = text.as_bytes();
            for head in ["plain text", "<html><body>", "<svg xmlns='http://www.w3.org/2000/svg'>"] {
                let checks = Checks::new(Known::of(head.as_bytes()));
                for (at, byte) in bytes.iter().enumerate() {
                    let anywhere = CLASSES[usize::from(*byte)] & ANYWHERE != 0;
                    if anywhere || may_begin(*byte, bytes.get(at + 1)) {
                        continue;
                    }
                    let spot = Spot { behind: &bytes[..at], rest: &bytes[at..] };
                    let begins_word = at == 0 || !is_word(bytes[at - 1]);
                    let found = checks.at(*byte, begins_word, &spot, ALL);
                    assert!(found.is_none(), "{found:?} at {at} of {text:?}");
                }
            }
        }
    }
}
