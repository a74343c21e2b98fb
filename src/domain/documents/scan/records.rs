//! Formats that are a row of records: what is skipped, what is read, and what was found on the way.

use super::report::{Place, Rule};

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// After that many bytes, that many; a few hundred at most.
    Read { skip: u64, take: usize },
    /// Nothing; the rest does not matter.
    End,
}

/// Something that a record told.
#[derive(Debug)]
pub(super) struct Note {
    pub rule: Rule,
    pub place: Place,
    pub excerpt: String,
}

/// A format.
pub(super) trait Format {
    /// What is read first.
    fn first(&self) -> Next;

    /// Reads a record, which begins at that offset of the document.
    fn read(&mut self, record: &[u8], at: u64, notes: &mut Vec<Note>) -> Next;

    /// The document is over. `ended` says that the format was too; `missing` is how many bytes it still told of.
    fn finish(&self, ended: bool, missing: u64, notes: &mut Vec<Note>);
}

/// Reads a format, however its bytes come; one record is in memory.
pub(super) struct Records<F> {
    format: F,
    next: Next,
    have: Vec<u8>,
    at: u64,
}

impl<F: Format> Records<F> {
    pub(super) fn new(format: F) -> Self {
        Self {
            next: format.first(),
            format,
            have: Vec::new(),
            at: 0,
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], notes: &mut Vec<Note>) {
        while let Next::Read { skip, take } = &mut self.next {
            let passed = usize::try_from(*skip)
                .unwrap_or(usize::MAX)
                .min(input.len());
            let passed_bytes = u64::try_from(passed).unwrap_or(u64::MAX);
            *skip = skip.saturating_sub(passed_bytes);
            self.at = self.at.saturating_add(passed_bytes);
            input = input.get(passed..).unwrap_or_default();
            if *skip > 0 {
                return;
            }
            let wanted = take.saturating_sub(self.have.len()).min(input.len());
            if let Some((now, later)) = input.split_at_checked(wanted) {
                self.have.extend_from_slice(now);
                input = later;
            }
            if self.have.len() < *take {
                return;
            }
            self.next = self.format.read(&self.have, self.at, notes);
            let read = u64::try_from(self.have.len()).unwrap_or(u64::MAX);
            self.at = self.at.saturating_add(read);
            self.have.clear();
        }
    }

    pub(super) fn finish(&self, notes: &mut Vec<Note>) {
        let (ended, missing) = match self.next {
            Next::Read { skip, .. } => (false, skip),
            Next::End => (true, 0),
        };
        self.format.finish(ended, missing, notes);
    }
}
