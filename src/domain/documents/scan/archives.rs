//! Archives: what they declare that they unpack to. ZIP is recognised by its headers wherever they stand, so that it is
//! found behind other formats and, where it lies uncompressed, inside of them. Nothing of a ZIP is inflated.

use super::bytes::{holds, le16, le32, le64};
use super::policy::Limits;
use super::records::{Format, Next, Note};
use super::report::{Place, Rule};

// === ZIP (PKWARE APPNOTE 6.3.10) ===

/// What was seen of ZIP archives.
#[derive(Default)]
pub(super) struct Zip {
    /// Entries by their own headers.
    local: Sums,
    /// Entries by the directory that is being read: an inner archive that lies there uncompressed has one too.
    directory: Sums,
    directory_begins: u64,
    /// Where its next row must begin.
    directory_goes_on: u64,
    told: Vec<Rule>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    entries: u64,
    packed: u64,
    expanded: u64,
}

/// An entry as one of its headers tells it.
struct Entry<'a> {
    encrypted: bool,
    packed: u64,
    expanded: u64,
    name: &'a [u8],
    /// Length of the header.
    length: u64,
}

impl Zip {
    /// Reads a header that begins with `PK` at that offset.
    pub(super) fn read(&mut self, header: &[u8], at: u64, limits: &Limits, notes: &mut Vec<Note>) {
        let (directory, entry) = if header.starts_with(b"PK\x01\x02") {
            (true, central(header))
        } else if header.starts_with(b"PK\x03\x04") {
            (false, local(header))
        } else {
            if header.starts_with(b"PK\x05\x06") {
                self.close(at, notes);
            }
            return;
        };
        let Some(entry) = entry else { return };
        if directory && at != self.directory_goes_on {
            self.directory = Sums::default();
            self.directory_begins = at;
        }
        let sums = if directory {
            &mut self.directory
        } else {
            &mut self.local
        };
        sums.entries = sums.entries.saturating_add(1);
        sums.packed = sums.packed.saturating_add(entry.packed);
        sums.expanded = sums.expanded.saturating_add(entry.expanded);
        let sums = *sums;
        if directory {
            self.directory_goes_on = at.saturating_add(entry.length);
        }
        let name = String::from_utf8_lossy(entry.name).into_owned();
        if let Some(text) = expansion(entry.packed, entry.expanded, limits)
            .or_else(|| expansion(sums.packed, sums.expanded, limits))
        {
            self.tell(Rule::ArchiveExpansion, at, text, notes);
        }
        if sums.entries > limits.entries {
            let text = format!("more than {} entries", limits.entries);
            self.tell(Rule::ArchiveEntries, at, text, notes);
        }
        if entry.encrypted {
            self.tell(Rule::ArchiveEncrypted, at, name.clone(), notes);
        }
        if leads_out(entry.name) {
            self.tell(Rule::ArchivePath, at, name.clone(), notes);
        }
        if is_archive(entry.name) {
            self.tell(Rule::ArchiveNested, at, name.clone(), notes);
        }
        if holds(entry.name, b"vbaproject.bin") {
            self.tell(Rule::OfficeMacro, at, name, notes);
        }
    }

    /// A header that begins behind something else: two formats in one document.
    pub(super) fn behind(&mut self, header: &[u8], at: u64, notes: &mut Vec<Note>) {
        if let Some(entry) = local(header) {
            let text = format!("a ZIP archive with {}", String::from_utf8_lossy(entry.name));
            self.tell(Rule::Polyglot, at, text, notes);
        }
    }

    /// A directory is over: its entries cannot have more bytes than lie before it, unless they share them.
    fn close(&mut self, at: u64, notes: &mut Vec<Note>) {
        if self.directory_goes_on == at && self.directory.packed > self.directory_begins {
            let text = format!(
                "{} bytes of entries in {} bytes",
                self.directory.packed, self.directory_begins
            );
            self.tell(Rule::ArchiveOverlap, self.directory_begins, text, notes);
        }
    }

    /// Once is enough for each: an archive has many entries.
    fn tell(&mut self, rule: Rule, at: u64, excerpt: String, notes: &mut Vec<Note>) {
        if !self.told.contains(&rule) {
            self.told.push(rule);
            notes.push(Note {
                rule,
                place: Place::at(at, 0),
                excerpt,
            });
        }
    }
}

/// Does it come to too much?
fn expansion(packed: u64, expanded: u64, limits: &Limits) -> Option<String> {
    let ratio =
        expanded > limits.ratio_from_bytes && expanded > packed.saturating_mul(limits.ratio);
    (ratio || expanded > limits.expanded_bytes).then(|| format!("{packed} bytes become {expanded}"))
}

/// A local file header (§4.3.7). Where its sizes come behind the content they stand as 0 here.
fn local(header: &[u8]) -> Option<Entry<'_>> {
    let [flags, method] = [le16(header, 6)?, le16(header, 8)?];
    let name = header.get(30..)?.get(..usize::from(le16(header, 26)?))?;
    is_plausible(le16(header, 4)?, method, name)?;
    Some(Entry {
        encrypted: flags & 1 != 0,
        packed: size(le32(header, 18)?),
        expanded: size(le32(header, 22)?),
        name,
        length: 0,
    })
}

/// A row of the directory (§4.3.12).
fn central(header: &[u8]) -> Option<Entry<'_>> {
    let [flags, method] = [le16(header, 8)?, le16(header, 10)?];
    let [name_length, extra_length, comment_length] =
        [le16(header, 28)?, le16(header, 30)?, le16(header, 32)?];
    let name = header.get(46..)?.get(..usize::from(name_length))?;
    is_plausible(le16(header, 6)?, method, name)?;
    let [packed, expanded] = [le32(header, 20)?, le32(header, 24)?];
    let extra_at = 46_usize.saturating_add(name.len());
    let extra = header.get(extra_at..).unwrap_or_default();
    let extra = extra.get(..usize::from(extra_length).min(extra.len()))?;
    let (packed, expanded) = zip64(extra, packed, expanded);
    let length = [name_length, extra_length, comment_length]
        .iter()
        .fold(46_u64, |sum, part| sum.saturating_add(u64::from(*part)));
    Some(Entry {
        encrypted: flags & 1 != 0,
        packed,
        expanded,
        name,
        length,
    })
}

/// Four bytes `PK..` come about by chance; a header whose other fields are possible hardly does.
fn is_plausible(version: u16, method: u16, name: &[u8]) -> Option<()> {
    let known = matches!(method, 0 | 1 | 6 | 8 | 9 | 12 | 14 | 93 | 95 | 97..=99);
    let named = !name.is_empty() && !name.iter().any(|b| matches!(b, 0..=0x1F | 0x7F));
    ((version & 0xFF) <= 63 && known && named).then_some(())
}

/// 0xFFFFFFFF says that the size stands elsewhere.
const fn size(field: u32) -> u64 {
    match field {
        u32::MAX => 0,
        size => size as u64,
    }
}

/// The sizes of the extra field 1 (§4.5.3): the expanded one first, each only where its place says so.
fn zip64(extra: &[u8], packed: u32, expanded: u32) -> (u64, u64) {
    let (mut packed_bytes, mut expanded_bytes) = (size(packed), size(expanded));
    let mut rest = extra;
    while let (Some(id), Some(length)) = (le16(rest, 0), le16(rest, 2)) {
        let Some(field) = rest.get(4..) else { break };
        if id == 1 {
            let mut at = 0_usize;
            if expanded == u32::MAX {
                expanded_bytes = le64(field, 0).unwrap_or(0);
                at = 8;
            }
            if packed == u32::MAX {
                packed_bytes = le64(field, at).unwrap_or(0);
            }
            break;
        }
        rest = field.get(usize::from(length)..).unwrap_or_default();
    }
    (packed_bytes, expanded_bytes)
}

fn is_archive(name: &[u8]) -> bool {
    const ENDINGS: [&[u8]; 14] = [
        b".zip", b".jar", b".war", b".apk", b".7z", b".rar", b".tar", b".gz", b".tgz", b".bz2",
        b".xz", b".zst", b".cab", b".iso",
    ];
    let end = |ending: &[u8]| {
        name.len()
            .checked_sub(ending.len())
            .and_then(|at| name.get(at..))
    };
    ENDINGS
        .iter()
        .any(|ending| end(ending).is_some_and(|end| end.eq_ignore_ascii_case(ending)))
}

/// Does a name lead out of the folder into which it is unpacked?
fn leads_out(name: &[u8]) -> bool {
    let absolute = matches!(name.first(), Some(b'/' | b'\\')) || name.get(1) == Some(&b':');
    absolute
        || name
            .split(|b| matches!(b, b'/' | b'\\'))
            .any(|part| part == b"..")
}

// === tar (POSIX.1-2017 pax, "ustar Interchange Format") ===

const BLOCK: usize = 512;

/// A tar archive, which packs nothing: what can be wrong is what it declares.
pub(super) struct Tar {
    limits: Limits,
    entries: u64,
    expanded: u64,
    told: Vec<Rule>,
}

impl Tar {
    pub(super) fn recognise(head: &[u8], limits: Limits) -> Option<Self> {
        let block = head.get(..BLOCK)?;
        (block.iter().any(|b| *b != 0) && has_checksum(block)).then_some(Self {
            limits,
            entries: 0,
            expanded: 0,
            told: Vec::new(),
        })
    }

    fn tell(&mut self, rule: Rule, at: u64, excerpt: String, notes: &mut Vec<Note>) {
        if !self.told.contains(&rule) {
            self.told.push(rule);
            let place = Place::at(at, 0);
            notes.push(Note {
                rule,
                place,
                excerpt,
            });
        }
    }
}

impl Format for Tar {
    fn first(&self) -> Next {
        Next::Read {
            skip: 0,
            take: BLOCK,
        }
    }

    fn read(&mut self, block: &[u8], at: u64, notes: &mut Vec<Note>) -> Next {
        if block.iter().all(|b| *b == 0) {
            return Next::End;
        }
        if !has_checksum(block) {
            self.tell(Rule::ArchiveBroken, at, "not a header".to_owned(), notes);
            return Next::End;
        }
        let kind = block.get(156).copied().unwrap_or(0);
        let size = octal(block.get(124..136));
        // A sparse file of GNU tar: what lies there is not what it becomes.
        let real = if kind == b'S' {
            octal(block.get(483..495))
        } else {
            size
        };
        self.entries = self.entries.saturating_add(1);
        self.expanded = self.expanded.saturating_add(real);
        let text = |from: usize, to: usize| {
            let field = block.get(from..to).unwrap_or_default();
            let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
            field.get(..end).unwrap_or_default()
        };
        let name = text(0, 100);
        let shown = || String::from_utf8_lossy(name).into_owned();
        if self.expanded > self.limits.expanded_bytes
            || (kind == b'S' && expansion(size, real, &self.limits).is_some())
        {
            self.tell(
                Rule::ArchiveExpansion,
                at,
                format!("its entries become {} bytes", self.expanded),
                notes,
            );
        }
        if self.entries > self.limits.entries {
            let text = format!("more than {} entries", self.limits.entries);
            self.tell(Rule::ArchiveEntries, at, text, notes);
        }
        if leads_out(name) || (matches!(kind, b'1' | b'2') && leads_out(text(157, 257))) {
            self.tell(Rule::ArchivePath, at, shown(), notes);
        }
        if is_archive(name) {
            self.tell(Rule::ArchiveNested, at, shown(), notes);
        }
        // Links and folders have a size that is not there.
        let content = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let padded = content.div_ceil(512).saturating_mul(512);
        Next::Read {
            skip: padded,
            take: BLOCK,
        }
    }

    fn finish(&self, _ended: bool, missing: u64, notes: &mut Vec<Note>) {
        if missing > 0 {
            notes.push(Note {
                rule: Rule::ArchiveBroken,
                place: Place::default(),
                excerpt: format!("{missing} bytes are missing"),
            });
        }
    }
}

/// The sum of the header's bytes, its own field taken for blanks.
fn has_checksum(block: &[u8]) -> bool {
    let sum = block.iter().enumerate().fold(0_u64, |sum, (at, byte)| {
        sum.saturating_add(if (148..156).contains(&at) {
            32
        } else {
            u64::from(*byte)
        })
    });
    sum == octal(block.get(148..156))
}

/// Octal digits; where the first bit is set, GNU's big-endian number.
fn octal(field: Option<&[u8]>) -> u64 {
    let field = field.unwrap_or_default();
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        return field.iter().skip(1).fold(0_u64, |sum, b| {
            sum.saturating_mul(256).saturating_add(u64::from(*b))
        });
    }
    field
        .iter()
        .skip_while(|b| **b == b' ')
        .take_while(|b| matches!(b, b'0'..=b'7'))
        .fold(0_u64, |sum, b| {
            sum.saturating_mul(8)
                .saturating_add(u64::from(b.saturating_sub(b'0')))
        })
}
