//! gzip (RFC 1952): inflated up to a bound, to see how much it becomes. What comes out is counted and dropped.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::policy::Limits;
use super::records::Note;
use super::report::{Place, Rule};

/// Most bytes that are inflated, twice what the limits' ratio begins to count at: 64 MiB = 64 × 1024 × 1024.
const MOST_INFLATED: u64 = 67_108_864;

/// Room for what comes out before it is dropped: 32 KiB = 32 × 1024.
const OUT: usize = 32_768;

/// Bytes that are inflated together: 4 KiB = 4 × 1024.
const PIECE: usize = 4_096;

/// A gzip file that is being read; it takes about 80 KiB.
pub(super) struct Gzip {
    limits: Limits,
    state: State,
    inflater: Box<InflateState>,
    out: Vec<u8>,
    piece: Vec<u8>,
    packed: u64,
    expanded: u64,
    /// The last four bytes: the length of what it becomes, modulo 2^32.
    tail: [u8; 4],
    told: bool,
}

/// Where the reading is. A file may have several members, one after the other (§2.2).
enum State {
    /// Flags are the fourth of ten bytes.
    Head {
        seen: u8,
        flags: u8,
    },
    /// Length of the extra field, two bytes of it seen.
    ExtraLength {
        seen: u8,
        length: u16,
        flags: u8,
    },
    Extra {
        left: u16,
        flags: u8,
    },
    /// Texts that end with a zero: the name, the comment.
    Text {
        flags: u8,
    },
    /// Checksum of the header.
    Checksum {
        left: u8,
    },
    Content,
    /// Checksum and length of what came out.
    Trailer {
        left: u8,
    },
    /// Nothing more is inflated.
    Passed,
}

const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const CHECKSUM: u8 = 2;

impl Gzip {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head { seen: 0, flags: 0 },
            inflater: InflateState::new_boxed(DataFormat::Raw),
            out: vec![0; OUT],
            piece: Vec::with_capacity(PIECE),
            packed: 0,
            expanded: 0,
            tail: [0; 4],
            told: false,
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], notes: &mut Vec<Note>) {
        // Always the same pieces, however the bytes come, so that the same is found.
        while !bytes.is_empty() {
            let room = PIECE.saturating_sub(self.piece.len()).min(bytes.len());
            if let Some((now, later)) = bytes.split_at_checked(room) {
                self.piece.extend_from_slice(now);
                bytes = later;
            }
            if self.piece.len() == PIECE {
                self.look(notes);
            }
        }
    }

    /// Reads a piece.
    fn look(&mut self, notes: &mut Vec<Note>) {
        let piece = core::mem::take(&mut self.piece);
        self.packed = self
            .packed
            .saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if let Some(last) = piece.last_chunk::<4>() {
            self.tail = *last;
        } else {
            for byte in &piece {
                self.tail.rotate_left(1);
                if let Some(last) = self.tail.last_mut() {
                    *last = *byte;
                }
            }
        }
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            rest = match self.state {
                State::Passed => break,
                State::Content => self.content(rest, notes),
                _ => match rest.split_first() {
                    Some((byte, more)) => {
                        self.header(*byte);
                        more
                    }
                    None => break,
                },
            };
        }
        self.piece = piece;
        self.piece.clear();
    }

    fn header(&mut self, byte: u8) {
        self.state = match self.state {
            State::Head { seen, flags } => {
                let flags = if seen == 3 { byte } else { flags };
                if seen < 9 {
                    State::Head {
                        seen: seen.saturating_add(1),
                        flags,
                    }
                } else if flags & EXTRA != 0 {
                    State::ExtraLength {
                        seen: 0,
                        length: 0,
                        flags,
                    }
                } else {
                    texts(flags)
                }
            }
            State::ExtraLength { seen: 0, flags, .. } => State::ExtraLength {
                seen: 1,
                length: u16::from(byte),
                flags,
            },
            State::ExtraLength { length, flags, .. } => match length | (u16::from(byte) << 8) {
                0 => texts(flags),
                left => State::Extra { left, flags },
            },
            State::Extra { left: 1, flags } => texts(flags),
            State::Extra { left, flags } => State::Extra {
                left: left.saturating_sub(1),
                flags,
            },
            State::Text { flags } if byte == 0 => {
                // The name comes first.
                texts(flags & !if flags & NAME != 0 { NAME } else { COMMENT })
            }
            State::Text { flags } => State::Text { flags },
            State::Checksum { left: 1 } => State::Content,
            State::Checksum { left } => State::Checksum {
                left: left.saturating_sub(1),
            },
            State::Trailer { left: 1 } => {
                *self.inflater = InflateState::new(DataFormat::Raw);
                State::Head { seen: 0, flags: 0 }
            }
            State::Trailer { left } => State::Trailer {
                left: left.saturating_sub(1),
            },
            State::Content => State::Content,
            State::Passed => State::Passed,
        };
    }

    /// Inflates; gives what lies behind the content.
    fn content<'a>(&mut self, mut rest: &'a [u8], notes: &mut Vec<Note>) -> &'a [u8] {
        loop {
            let step = inflate(&mut self.inflater, rest, &mut self.out, MZFlush::None);
            rest = rest.get(step.bytes_consumed..).unwrap_or_default();
            let written = u64::try_from(step.bytes_written).unwrap_or(u64::MAX);
            self.expanded = self.expanded.saturating_add(written);
            match step.status {
                Ok(MZStatus::Ok) if self.expanded < MOST_INFLATED => {
                    if rest.is_empty() && step.bytes_written < OUT {
                        break;
                    }
                }
                Ok(MZStatus::StreamEnd) => {
                    self.state = State::Trailer { left: 8 };
                    break;
                }
                // It waits for more bytes.
                Err(MZError::Buf) if rest.is_empty() => break,
                _ => {
                    self.state = State::Passed;
                    break;
                }
            }
        }
        self.judge(notes);
        rest
    }

    fn judge(&mut self, notes: &mut Vec<Note>) {
        let most = self.packed.saturating_mul(self.limits.ratio);
        let much = self.expanded > self.limits.ratio_from_bytes && self.expanded > most;
        if !self.told && (much || self.expanded > self.limits.expanded_bytes) {
            self.told = true;
            self.state = State::Passed;
            notes.push(Note {
                rule: Rule::ArchiveExpansion,
                place: Place::default(),
                excerpt: format!(
                    "it becomes more than {} bytes",
                    self.limits.ratio_from_bytes
                ),
            });
        }
    }

    pub(super) fn finish(&mut self, notes: &mut Vec<Note>) {
        self.look(notes);
        let declared = u64::from(u32::from_le_bytes(self.tail));
        let most = self.packed.saturating_mul(self.limits.ratio);
        // Those are the last bytes of a member, or of what was not inflated to its end.
        let ended = matches!(self.state, State::Head { seen: 0, .. } | State::Passed);
        if !self.told && ended && declared > self.limits.ratio_from_bytes && declared > most {
            notes.push(Note {
                rule: Rule::ArchiveExpansion,
                place: Place::default(),
                excerpt: format!("{} bytes become {declared}", self.packed),
            });
        }
    }
}

/// What of a header's texts is left.
const fn texts(flags: u8) -> State {
    if flags & (NAME | COMMENT) != 0 {
        State::Text { flags }
    } else if flags & CHECKSUM != 0 {
        State::Checksum { left: 2 }
    } else {
        State::Content
    }
}
