//! Scanning of content, before a document becomes readable by others or by a model.
//!
//! ```text
//! let mut scanner = Scanner::new(policy, claim);
//! for segment in … { scanner.push(&segment); }
//! let report = scanner.finish();
//! ```
//!
//! * [`policy`]: what each kind of finding leads to, and the limits; [`report`]: what was found.
//! * [`state`]: who may read a document, from what its scans said.
//! * [`external`]: what is asked of a scanner outside.
//!
//! Whatever the bytes, and however they come: the memory is bounded (about 80 KiB, for gzip 160), the time is linear, and
//! the findings are the same. Nothing is decoded but gzip, up to a bound. So what lies compressed in a ZIP, a PDF or an
//! office document is not looked at: of those the frame is judged, and an external scanner is asked for more.
//!
//! A finding is no proof and a clean report no promise: patterns find what looks like what they were made from.

mod active;
mod archives;
mod bytes;
mod checks;
mod eicar;
pub mod external;
mod gzip;
mod hidden;
mod images;
mod injection;
mod matched;
mod personal;
pub mod policy;
mod records;
pub mod report;
mod secrets;
pub mod state;
mod types;
mod window;

#[cfg(test)]
mod tests;

use checks::Checks;
pub use policy::Policy;
use records::Note;
use report::Findings;
pub use report::{Report, Verdict};
pub use types::Claim;
use types::{HEAD_BYTES, Known, Walk};
use window::{Wide, Window};

/// Scans one document.
pub struct Scanner {
    policy: Policy,
    claim: Claim,
    findings: Findings,
    bytes: u64,
    /// The first bytes, until there are enough to know the format.
    head: Vec<u8>,
    reading: Option<Reading>,
}

/// What reads a document whose format is known.
struct Reading {
    walk: Walk,
    wide: Option<Wide>,
    window: Window,
    checks: Checks,
}

impl Scanner {
    /// Begins a document.
    #[must_use]
    pub const fn new(policy: Policy, claim: Claim) -> Self {
        Self {
            policy,
            claim,
            findings: Findings::new(),
            bytes: 0,
            head: Vec::new(),
            reading: None,
        }
    }

    /// Reads on.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(more);
        if self.reading.is_none() {
            let room = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
            if let Some((now, later)) = bytes.split_at_checked(room) {
                self.head.extend_from_slice(now);
                bytes = later;
            }
            if self.head.len() < HEAD_BYTES {
                return;
            }
            self.begin();
        }
        if let Some(reading) = &mut self.reading {
            reading.push(bytes, &self.policy, &mut self.findings);
        }
    }

    /// The document is over.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if self.reading.is_none() {
            self.begin();
        }
        if let Some(reading) = &mut self.reading {
            reading.finish(&self.policy, &mut self.findings);
        }
        self.findings.report(self.bytes)
    }

    /// Judges the first bytes, and reads them.
    fn begin(&mut self) {
        let head = core::mem::take(&mut self.head);
        let known = Known::of(&head);
        let mut notes = Vec::new();
        types::judge(&head, &known, &self.claim, &self.policy, &mut notes);
        note(notes, &self.policy, &mut self.findings);
        let mut reading = Reading {
            walk: Walk::of(&head, &self.policy),
            wide: known.wide.map(Wide::new),
            window: Window::new(known.wide.is_some()),
            checks: Checks::new(known),
        };
        reading.push(&head, &self.policy, &mut self.findings);
        self.reading = Some(reading);
    }
}

impl Reading {
    fn push(&mut self, bytes: &[u8], policy: &Policy, findings: &mut Findings) {
        let mut notes = Vec::new();
        self.walk.push(bytes, &mut notes);
        note(notes, policy, findings);
        let Self {
            wide,
            window,
            checks,
            ..
        } = self;
        let Some(wide) = wide else {
            return look(window, checks, bytes, policy, findings);
        };
        // In pieces, so that the memory does not grow with what comes at once.
        let mut text = Vec::new();
        for piece in bytes.chunks(HEAD_BYTES) {
            wide.read(piece, &mut text);
            look(window, checks, &text, policy, findings);
            text.clear();
        }
    }

    fn finish(&mut self, policy: &Policy, findings: &mut Findings) {
        loop {
            self.checks.look(&self.window.block(), policy, findings);
            if !self.window.pass() {
                break;
            }
        }
        let mut notes = Vec::new();
        self.walk.finish(&mut notes);
        note(notes, policy, findings);
    }
}

/// Takes bytes into the window, and looks at each block that is complete.
fn look(
    window: &mut Window,
    checks: &mut Checks,
    mut bytes: &[u8],
    policy: &Policy,
    findings: &mut Findings,
) {
    while !bytes.is_empty() {
        if window.take(&mut bytes) {
            checks.look(&window.block(), policy, findings);
            window.pass();
        }
    }
}

fn note(notes: Vec<Note>, policy: &Policy, findings: &mut Findings) {
    for note in notes {
        findings.add(policy, note.rule, note.place, &note.excerpt);
    }
}
