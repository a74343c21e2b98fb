//! Glyphs with their places → words, lines and paragraphs.
//!
//! A page says where glyphs are and nothing of words: a gap is a space, a move across the direction of the text a new
//! line, a larger one than between the lines before a new paragraph. All of it is measured along that direction, so that
//! text may run up a margin. The order is that of the page's instructions, which is the order of reading in what word
//! processors, browsers and TeX write.

use super::super::{Blocks, ExtractFault, MAX_TEXT_BYTES};

/// A gap wider than this is a space, in parts of the size. Pairs of letters that are set apart have less than 0.1, words in
/// the tightest lines of TeX 0.14.
const SPACE: f64 = 0.13;
/// Between characters that are written without spaces.
const WIDE_SPACE: f64 = 0.8;
/// Cells of a table are at least so far apart.
const CELL: f64 = 1.5;
/// Across or back by more than this is another line. Indices are nearer.
const LINE: f64 = 0.5;

/// Between lines of one paragraph there is at most this of the least distance of lines on the page…
const LEADING: f64 = 1.3;
/// …which counts as this at least, and as that before one is known, in parts of the size.
const LEAST_LEADING: f64 = 1.15;
const USUAL_LEADING: f64 = 1.4;
/// Lines of one paragraph have sizes that differ by less.
const SIZES: f64 = 1.2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

impl Point {
    fn to(self, other: Self) -> Self {
        Self {
            x: other.x - self.x,
            y: other.y - self.y,
        }
    }

    /// How far this goes along `direction`.
    fn along(self, direction: Self) -> f64 {
        self.x * direction.x + self.y * direction.y
    }

    /// How far this goes to the left of `direction`, which is up in upright text.
    fn across(self, direction: Self) -> f64 {
        direction.x * self.y - direction.y * self.x
    }
}

/// Where a glyph stands on the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    pub(super) start: Point,
    /// Where the next one would stand.
    pub(super) end: Point,
    /// Of length 1.
    pub(super) direction: Point,
    pub(super) size: f64,
}

/// The text of a page as it grows.
#[derive(Default)]
pub(super) struct Layout {
    anchor: String,
    text: String,
    line: Option<Line>,
    /// The least distance of two lines on this page, in parts of the size.
    leading: Option<f64>,
}

struct Line {
    origin: Point,
    last: Stand,
    /// The largest of its glyphs.
    size: f64,
    /// Whether it has cells.
    has_cells: bool,
}

enum Step {
    Same { gap: f64 },
    Line,
    Paragraph,
}

impl Layout {
    pub(super) fn start_page(&mut self, number: usize) {
        *self = Self {
            anchor: format!("page {number}"),
            ..Self::default()
        };
    }

    pub(super) fn end_page(&mut self, blocks: &mut Blocks) -> Result<(), ExtractFault> {
        self.end_paragraph(blocks)
    }

    /// Takes in a glyph that is written as `text`, which may be nothing.
    pub(super) fn glyph(
        &mut self,
        stand: Stand,
        text: &str,
        blocks: &mut Blocks,
    ) -> Result<(), ExtractFault> {
        let Some(line) = &self.line else {
            if !is_blank(text) {
                self.begin_line(stand);
                self.push(text)?;
            }
            return Ok(());
        };
        let step = self.step(line, stand, text);
        if is_blank(text) {
            // White space stands anywhere, also where no line is.
            if let (Step::Same { .. }, Some(line)) = (step, &mut self.line) {
                line.last = stand;
                if !text.is_empty() {
                    self.space();
                }
            }
            return Ok(());
        }
        match step {
            Step::Same { gap } => {
                let joined = self.joins(text);
                if gap > if joined { WIDE_SPACE } else { SPACE } {
                    self.space();
                }
                if let Some(line) = &mut self.line {
                    line.has_cells |= gap > CELL;
                    line.last = stand;
                    line.size = line.size.max(stand.size);
                }
            }
            Step::Line => {
                self.end_line(text);
                self.begin_line(stand);
            }
            Step::Paragraph => {
                self.end_paragraph(blocks)?;
                self.begin_line(stand);
            }
        }
        self.push(text)
    }

    fn begin_line(&mut self, stand: Stand) {
        if let Some(line) = &self.line
            && let Some(ratio) = leading(line, stand)
        {
            self.leading = Some(self.leading.map_or(ratio, |least| least.min(ratio)));
        }
        self.line = Some(Line {
            origin: stand.start,
            last: stand,
            size: stand.size,
            has_cells: false,
        });
    }

    fn step(&self, line: &Line, stand: Stand, text: &str) -> Step {
        let direction = line.last.direction;
        if direction.along(stand.direction) < 0.9 {
            return Step::Paragraph;
        }
        let size = line.size.max(stand.size);
        let moved = line.last.end.to(stand.start);
        if moved.across(direction).abs() <= LINE * size {
            let gap = moved.along(direction) / stand.size;
            if gap >= -LINE {
                return Step::Same { gap };
            }
            // Letters of scripts from right to left stand one before the other.
            if text.chars().all(is_rtl) {
                let gap = stand.end.to(line.last.start).along(direction) / stand.size;
                if gap >= -LINE {
                    return Step::Same { gap };
                }
            }
            return Step::Line;
        }
        let least = self
            .leading
            .map_or(USUAL_LEADING, |least| least.max(LEAST_LEADING));
        match leading(line, stand) {
            Some(ratio) if ratio <= least * LEADING => Step::Line,
            _ => Step::Paragraph,
        }
    }

    /// Whether nothing stands between the character before and `next` in writing: Chinese, Japanese.
    fn joins(&self, next: &str) -> bool {
        let before = self.text.chars().next_back();
        before.is_some_and(is_unspaced) && next.chars().next().is_some_and(is_unspaced)
    }

    fn end_line(&mut self, next: &str) {
        let length = self.text.trim_end().len();
        self.text.truncate(length);
        let has_cells = self.line.as_ref().is_some_and(|line| line.has_cells);
        let mut before = self.text.chars().rev();
        let last = before.next();
        let is_lower = |c: Option<char>| c.is_some_and(char::is_lowercase);
        let parts_word = match last {
            Some('\u{AD}') => true,
            Some('-' | '\u{2010}') => is_lower(before.next()) && is_lower(next.chars().next()),
            _ => false,
        };
        if parts_word {
            self.text.pop();
        } else if has_cells || !self.joins(next) {
            self.text.push('\n');
        }
    }

    fn end_paragraph(&mut self, blocks: &mut Blocks) -> Result<(), ExtractFault> {
        blocks.push("", &self.anchor, &self.text)?;
        self.text.clear();
        Ok(())
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(char::is_whitespace) {
            self.text.push(' ');
        }
    }

    fn push(&mut self, text: &str) -> Result<(), ExtractFault> {
        if self.text.len().saturating_add(text.len()) > MAX_TEXT_BYTES {
            return Err(ExtractFault::TooLong {
                limit: MAX_TEXT_BYTES,
            });
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// How far below `line` a line is that begins at `stand`, in parts of the size; `None` where it is no next line: above, or
/// of another size.
fn leading(line: &Line, stand: Stand) -> Option<f64> {
    let down = -line.origin.to(stand.start).across(line.last.direction);
    let (small, large) = (line.size.min(stand.size), line.size.max(stand.size));
    (down > LINE * large && large <= small * SIZES).then_some(down / large)
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

const fn is_rtl(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
}

/// Ideographs, kana and their punctuation. Hangul has spaces between words.
const fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{312F}' | '\u{3190}'..='\u{A4CF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FF9F}' | '\u{20000}'..='\u{3FFFF}')
}
