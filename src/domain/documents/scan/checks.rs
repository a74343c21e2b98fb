//! The checks that look at a place of a block: which byte may begin what, so that most bytes are passed over at once.

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
/// Something may begin with it where a word begins.
const OF_A_WORD: Class = 4;

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
        ) || matches!(b, 0xC2 | 0xE2 | 0xE4..=0xE9 | 0xEF | 0xF3)
        {
            classes[byte] |= ANYWHERE;
        }
        byte += 1;
    }
    classes
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
            if !begins_word && class & ANYWHERE == 0 {
                continue;
            }
            let at = block.start.saturating_add(by);
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
