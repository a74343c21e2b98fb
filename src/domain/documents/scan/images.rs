//! Images: how many pixels they declare, and whether they are whole. Nothing is decoded: what an image costs who draws
//! it is told by its header.

use super::bytes::{be16, be32, le16, le32};
use super::policy::Limits;
use super::records::{Format, Next, Note};
use super::report::{Place, Rule};

/// An image that is being read.
pub(super) struct Image {
    form: Form,
    limits: Limits,
    /// Width and height in pixels, once they were told.
    size: Option<(u64, u64)>,
    frames: u64,
    told: bool,
}

/// Where the reading is.
#[derive(Clone, Copy)]
enum Form {
    /// A signature and chunks (W3C PNG §5).
    Png(Png),
    /// Marker segments (ITU-T T.81 annex B).
    Jpeg(Jpeg),
    /// Blocks of blocks (GIF89a specification).
    Gif(Gif),
    /// RIFF chunks (RFC 9649).
    Webp(Webp),
    /// Two headers.
    Bmp,
    /// Directories of tags (TIFF 6.0 §2).
    Tiff { big_endian: bool, state: Tiff },
}

#[derive(Clone, Copy)]
enum Png {
    Signature,
    Chunk,
    Header,
    Animation,
}

#[derive(Clone, Copy)]
enum Jpeg {
    Start,
    Marker,
    /// The second byte of a marker, after fill bytes.
    Fill,
    Length {
        marker: u8,
    },
    Frame {
        left: u64,
    },
}

#[derive(Clone, Copy)]
enum Gif {
    Screen,
    Block,
    Label,
    Descriptor,
    /// Length of the next sub-block.
    SubBlock,
}

#[derive(Clone, Copy)]
enum Webp {
    Riff,
    Chunk,
    Payload { kind: [u8; 4], left: u64 },
}

#[derive(Clone, Copy)]
enum Tiff {
    Header,
    Count,
    Entry { left: u16 },
    Link,
}

impl Image {
    /// The format whose signature stands at the beginning of `head`.
    pub(super) fn recognise(head: &[u8], limits: Limits) -> Option<Self> {
        let form = if head.starts_with(b"\x89PNG\r\n\x1a\n") {
            Form::Png(Png::Signature)
        } else if head.starts_with(b"\xff\xd8\xff") {
            Form::Jpeg(Jpeg::Start)
        } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
            Form::Gif(Gif::Screen)
        } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
            Form::Webp(Webp::Riff)
        } else if is_bmp(head) {
            Form::Bmp
        } else if head.starts_with(b"II*\0") || head.starts_with(b"MM\0*") {
            Form::Tiff {
                big_endian: head.starts_with(b"MM"),
                state: Tiff::Header,
            }
        } else {
            return None;
        };
        Some(Self {
            form,
            limits,
            size: None,
            frames: 1,
            told: false,
        })
    }

    /// A size was told. The largest counts.
    fn sized(&mut self, width: u64, height: u64, at: u64, notes: &mut Vec<Note>) {
        if width == 0 || height == 0 {
            broken(at, "no width or height", notes);
            return;
        }
        let pixels = width.saturating_mul(height);
        if self.size.is_none_or(|(w, h)| w.saturating_mul(h) < pixels) {
            self.size = Some((width, height));
        }
        self.judge(at, notes);
    }

    /// Too many pixels, in one frame or in all of them?
    fn judge(&mut self, at: u64, notes: &mut Vec<Note>) {
        let Some((width, height)) = self.size else {
            return;
        };
        let pixels = width.saturating_mul(height);
        let of_frames = pixels.saturating_mul(self.frames);
        let many = self.limits.pixels.saturating_mul(100);
        if !self.told && (pixels > self.limits.pixels || of_frames > many) {
            self.told = true;
            let frames = match self.frames {
                1 => String::new(),
                frames => format!(", {frames} frames"),
            };
            notes.push(Note {
                rule: Rule::ImagePixels,
                place: Place::at(at, 0),
                excerpt: format!("{width} × {height} pixels{frames}"),
            });
        }
    }

    fn png(&mut self, state: Png, record: &[u8], at: u64, notes: &mut Vec<Note>) -> (Png, Next) {
        let chunk = |skip| (Png::Chunk, Next::Read { skip, take: 8 });
        match state {
            Png::Signature => chunk(0),
            Png::Chunk => {
                let length = u64::from(be32(record, 0).unwrap_or(0));
                match record.get(4..) {
                    Some(b"IHDR") if length == 13 => {
                        (Png::Header, Next::Read { skip: 0, take: 13 })
                    }
                    Some(b"acTL") if length == 8 => {
                        (Png::Animation, Next::Read { skip: 0, take: 8 })
                    }
                    Some(b"IEND") => (Png::Chunk, Next::End),
                    Some(name) if name.iter().all(u8::is_ascii_alphabetic) => {
                        chunk(length.saturating_add(4))
                    }
                    _ => {
                        broken(at, "not a chunk", notes);
                        (Png::Chunk, Next::End)
                    }
                }
            }
            Png::Header => {
                let [width, height] = [0, 4].map(|at| u64::from(be32(record, at).unwrap_or(0)));
                self.sized(width, height, at, notes);
                chunk(4)
            }
            Png::Animation => {
                self.frames = u64::from(be32(record, 0).unwrap_or(0)).max(1);
                self.judge(at, notes);
                chunk(4)
            }
        }
    }

    fn jpeg(&mut self, state: Jpeg, record: &[u8], at: u64, notes: &mut Vec<Note>) -> (Jpeg, Next) {
        let marker = (Jpeg::Marker, Next::Read { skip: 0, take: 2 });
        match state {
            Jpeg::Start => marker,
            Jpeg::Fill => self.jpeg(
                Jpeg::Marker,
                &[0xFF, record.first().copied().unwrap_or(0)],
                at,
                notes,
            ),
            Jpeg::Marker => match (record.first(), record.get(1)) {
                // Fill bytes may stand before a marker.
                (Some(0xFF), Some(0xFF)) => (Jpeg::Fill, Next::Read { skip: 0, take: 1 }),
                // Start of scan: from here on there is entropy-coded data. End of image.
                (Some(0xFF), Some(0xDA | 0xD9)) => (Jpeg::Marker, Next::End),
                (Some(0xFF), Some(0x01 | 0xD0..=0xD8)) => marker,
                (Some(0xFF), Some(kind)) => (
                    Jpeg::Length { marker: *kind },
                    Next::Read { skip: 0, take: 2 },
                ),
                _ => {
                    broken(at, "not a marker", notes);
                    (Jpeg::Marker, Next::End)
                }
            },
            Jpeg::Length { marker: kind } => {
                let left = u64::from(be16(record, 0).unwrap_or(0)).saturating_sub(2);
                let is_frame = matches!(kind, 0xC0..=0xCF) && !matches!(kind, 0xC4 | 0xC8 | 0xCC);
                if is_frame && left >= 5 {
                    let left = left.saturating_sub(5);
                    (Jpeg::Frame { left }, Next::Read { skip: 0, take: 5 })
                } else {
                    (
                        Jpeg::Marker,
                        Next::Read {
                            skip: left,
                            take: 2,
                        },
                    )
                }
            }
            Jpeg::Frame { left } => {
                let [height, width] = [1, 3].map(|at| u64::from(be16(record, at).unwrap_or(0)));
                self.sized(width, height, at, notes);
                (
                    Jpeg::Marker,
                    Next::Read {
                        skip: left,
                        take: 2,
                    },
                )
            }
        }
    }

    fn gif(&mut self, state: Gif, record: &[u8], at: u64, notes: &mut Vec<Note>) -> (Gif, Next) {
        let byte = |state, skip| (state, Next::Read { skip, take: 1 });
        // Three bytes for each of 2^(n + 1) colours.
        let table = |flags: Option<&u8>| match flags {
            Some(flags) if flags & 0x80 != 0 => 3_u64.saturating_mul(2 << (flags & 7)),
            _ => 0,
        };
        match state {
            Gif::Screen => {
                let [width, height] = [6, 8].map(|at| u64::from(le16(record, at).unwrap_or(0)));
                self.frames = 0;
                self.sized(width, height, at, notes);
                byte(Gif::Block, table(record.get(10)))
            }
            Gif::Block => match record.first() {
                Some(0x21) => byte(Gif::Label, 0),
                Some(0x2C) => (Gif::Descriptor, Next::Read { skip: 0, take: 9 }),
                Some(0x3B) => (Gif::Block, Next::End),
                _ => {
                    broken(at, "not a block", notes);
                    (Gif::Block, Next::End)
                }
            },
            Gif::Label => byte(Gif::SubBlock, 0),
            Gif::Descriptor => {
                self.frames = self.frames.saturating_add(1);
                self.judge(at, notes);
                // The table, and the least size of a code.
                byte(Gif::SubBlock, table(record.get(8)).saturating_add(1))
            }
            Gif::SubBlock => match record.first() {
                Some(0) | None => byte(Gif::Block, 0),
                Some(length) => byte(Gif::SubBlock, u64::from(*length)),
            },
        }
    }

    fn webp(&mut self, state: Webp, record: &[u8], at: u64, notes: &mut Vec<Note>) -> (Webp, Next) {
        let chunk = |skip| (Webp::Chunk, Next::Read { skip, take: 8 });
        match state {
            Webp::Riff => {
                self.frames = 0;
                chunk(0)
            }
            Webp::Chunk => {
                let length = u64::from(le32(record, 4).unwrap_or(0));
                let padded = length.saturating_add(length % 2);
                let kind = record
                    .get(..4)
                    .and_then(|kind| kind.try_into().ok())
                    .unwrap_or_default();
                match &kind {
                    b"VP8X" | b"VP8 " | b"VP8L" if length >= 10 => {
                        let left = padded.saturating_sub(10);
                        (
                            Webp::Payload { kind, left },
                            Next::Read { skip: 0, take: 10 },
                        )
                    }
                    b"ANMF" => {
                        self.frames = self.frames.saturating_add(1);
                        self.judge(at, notes);
                        chunk(padded)
                    }
                    _ => chunk(padded),
                }
            }
            Webp::Payload { kind, left } => {
                let wide = |at: usize| {
                    let low = u64::from(le16(record, at).unwrap_or(0));
                    let high = u64::from(record.get(at.saturating_add(2)).copied().unwrap_or(0));
                    low.saturating_add(high << 16).saturating_add(1)
                };
                let (width, height) = match &kind {
                    b"VP8X" => (wide(4), wide(7)),
                    b"VP8L" => {
                        let bits = le32(record, 1).unwrap_or(0);
                        (
                            u64::from(bits & 0x3FFF).saturating_add(1),
                            u64::from((bits >> 14) & 0x3FFF).saturating_add(1),
                        )
                    }
                    _ => (
                        u64::from(le16(record, 6).unwrap_or(0) & 0x3FFF),
                        u64::from(le16(record, 8).unwrap_or(0) & 0x3FFF),
                    ),
                };
                self.sized(width, height, at, notes);
                chunk(left)
            }
        }
    }

    fn tiff(
        &mut self,
        big_endian: bool,
        state: Tiff,
        record: &[u8],
        at: u64,
        notes: &mut Vec<Note>,
    ) -> (Tiff, Next) {
        let short = |at: usize| {
            if big_endian {
                be16(record, at)
            } else {
                le16(record, at)
            }
        };
        let long = |at: usize| {
            if big_endian {
                be32(record, at)
            } else {
                le32(record, at)
            }
        };
        // Directories lie anywhere; those that lie behind what was read already are not read.
        let directory = |at: Option<u32>, read: u64| match at {
            Some(offset) if u64::from(offset) >= read && offset > 0 => {
                let skip = u64::from(offset).saturating_sub(read);
                (Tiff::Count, Next::Read { skip, take: 2 })
            }
            _ => (Tiff::Count, Next::End),
        };
        let entry = |left: u16| match left {
            0 => (Tiff::Link, Next::Read { skip: 0, take: 4 }),
            _ => (Tiff::Entry { left }, Next::Read { skip: 0, take: 12 }),
        };
        match state {
            Tiff::Header => directory(long(4), 8),
            Tiff::Count => entry(short(0).unwrap_or(0)),
            Tiff::Entry { left } => {
                let value = match short(2) {
                    Some(3) => short(8).map(u64::from),
                    _ => long(8).map(u64::from),
                };
                match (short(0), value) {
                    (Some(256), Some(width)) => self.sized(width, 1, at, notes),
                    (Some(257), Some(height)) => {
                        let width = self.size.map_or(1, |(width, _)| width);
                        self.sized(width, height, at, notes);
                    }
                    _ => {}
                }
                entry(left.saturating_sub(1))
            }
            Tiff::Link => directory(long(0), at.saturating_add(4)),
        }
    }
}

impl Format for Image {
    fn first(&self) -> Next {
        let take = match self.form {
            Form::Png(_) | Form::Tiff { .. } => 8,
            Form::Jpeg(_) => 2,
            Form::Gif(_) => 13,
            Form::Webp(_) => 12,
            Form::Bmp => 26,
        };
        Next::Read { skip: 0, take }
    }

    fn read(&mut self, record: &[u8], at: u64, notes: &mut Vec<Note>) -> Next {
        let (form, next) = match self.form {
            Form::Png(state) => {
                let (state, next) = self.png(state, record, at, notes);
                (Form::Png(state), next)
            }
            Form::Jpeg(state) => {
                let (state, next) = self.jpeg(state, record, at, notes);
                (Form::Jpeg(state), next)
            }
            Form::Gif(state) => {
                let (state, next) = self.gif(state, record, at, notes);
                (Form::Gif(state), next)
            }
            Form::Webp(state) => {
                let (state, next) = self.webp(state, record, at, notes);
                (Form::Webp(state), next)
            }
            Form::Bmp => {
                let (width, height) = match le32(record, 14) {
                    Some(12) => (
                        le16(record, 18).map(u64::from),
                        le16(record, 20).map(u64::from),
                    ),
                    _ => (
                        le32(record, 18).map(unsigned),
                        le32(record, 22).map(unsigned),
                    ),
                };
                self.sized(width.unwrap_or(0), height.unwrap_or(0), at, notes);
                (Form::Bmp, Next::End)
            }
            Form::Tiff { big_endian, state } => {
                let (state, next) = self.tiff(big_endian, state, record, at, notes);
                (Form::Tiff { big_endian, state }, next)
            }
        };
        self.form = form;
        next
    }

    fn finish(&self, ended: bool, _missing: u64, notes: &mut Vec<Note>) {
        let open_end = matches!(self.form, Form::Webp(_));
        if !ended && (!open_end || self.size.is_none()) {
            broken(0, "it ends early", notes);
        }
    }
}

/// A height may be negative: the image is stored from the top.
const fn unsigned(value: u32) -> u64 {
    value.cast_signed().unsigned_abs() as u64
}

/// `BM` is short: what follows must be right too.
pub(super) fn is_bmp(head: &[u8]) -> bool {
    head.starts_with(b"BM")
        && le32(head, 6) == Some(0)
        && matches!(le32(head, 14), Some(12 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// Width and height of an AVIF or HEIF image, as its property `ispe` tells them (ISO/IEC 23008-12 §6.5.3); it stands in
/// the first box of nearly every one.
pub(super) fn heif(head: &[u8], limits: Limits) -> Option<Note> {
    let brand = head
        .get(8..12)
        .filter(|_| head.get(4..8) == Some(b"ftyp"))?;
    if ![b"avif", b"avis", b"heic", b"heix", b"mif1"]
        .iter()
        .any(|known| brand == *known)
    {
        return None;
    }
    let sizes = head
        .windows(16)
        .enumerate()
        .filter(|(_, window)| window.starts_with(b"ispe"));
    let (at, width, height) = sizes
        .filter_map(|(at, window)| {
            Some((
                at,
                u64::from(be32(window, 8)?),
                u64::from(be32(window, 12)?),
            ))
        })
        .max_by_key(|(_, width, height)| width.saturating_mul(*height))?;
    (width.saturating_mul(height) > limits.pixels).then(|| Note {
        rule: Rule::ImagePixels,
        place: Place::at(u64::try_from(at).unwrap_or(0), 0),
        excerpt: format!("{width} × {height} pixels"),
    })
}

fn broken(at: u64, why: &str, notes: &mut Vec<Note>) {
    notes.push(Note {
        rule: Rule::ImageBroken,
        place: Place::at(at, 0),
        excerpt: why.to_owned(),
    });
}
