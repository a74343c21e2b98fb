//! Content streams: which glyphs they show and where (ISO 32000-1 sections 8.4, 9.3, 9.4 and 14.6).

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::{Blocks, ExtractFault};
use super::file::{File, Held};
use super::font::{Code, Font, Fonts};
use super::glyphs::{Names, ligature, text_string};
use super::layout::{Layout, Point, Stand};
use super::syntax::{Lexer, MAX_VALUES, Object, Token};

/// How deep `q` nests (28 are promised to writers), and forms in each other. What is deeper is passed over.
const MAX_STATES: usize = 256;
const MAX_FORMS: usize = 16;

/// The most operands of one operator, and the most names that one stream's fonts are remembered by.
const MAX_OPERANDS: usize = 64;
const MAX_NAMES: usize = 64;

/// How much longer a glyph takes than a byte that is looked at.
const GLYPH_WORK: usize = 6;

/// Reads pages into blocks.
pub(super) struct Reader<'b> {
    blocks: &'b mut Blocks,
    names: Names,
    fonts: Fonts,
    layout: Layout,
    /// Glyphs that were shown, and those of them whose characters cannot be told.
    glyphs: u64,
    untold: u64,
    /// How deep in marked content, and what an `ActualText` there says.
    marks: u32,
    actual: Option<Actual>,
    /// Forms that show no glyph, by their numbers: drawings that stand on every page.
    textless: BTreeSet<u32>,
}

/// What is read instead of the glyphs of marked content (14.9.4).
struct Actual {
    depth: u32,
    /// `None` once it was taken.
    text: Option<String>,
}

/// `[a b c d e f]`: x' = a·x + c·y + e, y' = b·x + d·y + f.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix([f64; 6]);

#[derive(Clone)]
struct State {
    matrix: Matrix,
    font: Option<Rc<Font>>,
    size: f64,
    char_space: f64,
    word_space: f64,
    scale: f64,
    leading: f64,
    rise: f64,
}

/// One content stream as it is read.
struct Frame<'r> {
    resources: &'r Object,
    state: State,
    saved: Vec<State>,
    /// How many `q` were not saved.
    unsaved: u32,
    text: Matrix,
    line: Matrix,
    fonts: Vec<(Vec<u8>, Option<Rc<Font>>)>,
    depth: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(blocks: &'b mut Blocks) -> Self {
        Self {
            blocks,
            names: Names::new(),
            fonts: Fonts::default(),
            layout: Layout::default(),
            glyphs: 0,
            untold: 0,
            marks: 0,
            actual: None,
            textless: BTreeSet::new(),
        }
    }

    /// Reads the page with that number, which is its anchor.
    pub(super) fn page(
        &mut self,
        file: &mut File<'_>,
        number: usize,
        content: &[u8],
        resources: &Object,
    ) -> Result<(), ExtractFault> {
        self.layout.start_page(number);
        (self.marks, self.actual) = (0, None);
        let state = State::new();
        self.stream(file, content, resources, state, 0)?;
        self.layout.end_page(self.blocks)
    }

    /// Refuses what could be read in part only: of a fifth of the glyphs nobody knows the characters.
    pub(super) const fn finish(&self) -> Result<(), ExtractFault> {
        if self.untold.saturating_mul(5) > self.glyphs {
            return Err(ExtractFault::Malformed(
                "a PDF whose letters cannot be told from its fonts",
            ));
        }
        Ok(())
    }

    fn stream(
        &mut self,
        file: &mut File<'_>,
        content: &[u8],
        resources: &Object,
        state: State,
        depth: usize,
    ) -> Result<(), ExtractFault> {
        file.works(content.len().saturating_add(64))?;
        let marks = self.marks;
        let mut frame = Frame {
            resources,
            state,
            saved: Vec::new(),
            unsaved: 0,
            text: Matrix::IDENTITY,
            line: Matrix::IDENTITY,
            fonts: Vec::new(),
            depth,
        };
        let mut lexer = Lexer::new(content);
        let mut operands: Vec<Object> = Vec::new();
        let mut room = MAX_VALUES;
        while let Some(item) = lexer.item(&mut room)? {
            match item {
                Token::Object(object) => {
                    if operands.len() < MAX_OPERANDS {
                        operands.push(object);
                    }
                    continue;
                }
                Token::Word(b"BI") => {
                    while let Some(token) = lexer.token() {
                        if token == Token::Word(b"ID") {
                            lexer.skip_image();
                            break;
                        }
                    }
                }
                Token::Word(operator) => self.operator(file, &mut frame, operator, &operands)?,
                _ => {}
            }
            operands.clear();
            room = MAX_VALUES;
        }
        // What a stream left open ends with it.
        self.end_marks(marks);
        Ok(())
    }

    fn operator(
        &mut self,
        file: &mut File<'_>,
        frame: &mut Frame<'_>,
        operator: &[u8],
        operands: &[Object],
    ) -> Result<(), ExtractFault> {
        let number = |place: usize| {
            let operand = operands.get(place).and_then(Object::number);
            operand.unwrap_or(0.0)
        };
        let last = operands.last().unwrap_or(&Object::Null);
        match operator {
            b"q" => frame.save(),
            b"Q" => frame.restore(),
            b"cm" => frame.state.matrix = Matrix::of(operands).then(frame.state.matrix),
            b"BT" => frame.place(Matrix::IDENTITY),
            b"Tf" => {
                frame.state.font = self.font(file, frame, operands.first())?;
                frame.state.size = number(1);
            }
            b"Tc" => frame.state.char_space = number(0),
            b"Tw" => frame.state.word_space = number(0),
            b"Tz" => frame.state.scale = number(0) / 100.0,
            b"TL" => frame.state.leading = number(0),
            b"Ts" => frame.state.rise = number(0),
            // `Tr` is not looked at: what is invisible (mode 3) is the text of scanned pages, as recognition found it.
            b"Td" => frame.next_line(number(0), number(1)),
            b"TD" => {
                frame.state.leading = -number(1);
                frame.next_line(number(0), number(1));
            }
            b"Tm" => frame.place(Matrix::of(operands)),
            b"T*" => frame.next_line(0.0, -frame.state.leading),
            b"Tj" => self.show(file, frame, last)?,
            b"'" => {
                frame.next_line(0.0, -frame.state.leading);
                self.show(file, frame, last)?;
            }
            b"\"" => {
                frame.state.word_space = number(0);
                frame.state.char_space = number(1);
                frame.next_line(0.0, -frame.state.leading);
                self.show(file, frame, last)?;
            }
            b"TJ" => {
                for item in last.array() {
                    match item.number() {
                        Some(back) => frame.skip(-back / 1000.0 * frame.state.size),
                        None => self.show(file, frame, item)?,
                    }
                }
            }
            b"Do" => self.form(file, frame, last)?,
            b"BMC" => self.marks = self.marks.saturating_add(1),
            b"BDC" => self.mark(file, frame, last)?,
            b"EMC" => self.end_marks(self.marks.saturating_sub(1)),
            _ => {}
        }
        Ok(())
    }

    /// The font that the resources have under that name.
    fn font(
        &mut self,
        file: &mut File<'_>,
        frame: &mut Frame<'_>,
        name: Option<&Object>,
    ) -> Result<Option<Rc<Font>>, ExtractFault> {
        let Some(Object::Name(name)) = name else {
            return Ok(None);
        };
        if let Some((_, font)) = frame.fonts.iter().find(|(known, _)| known == name) {
            return Ok(font.clone());
        }
        let fonts = file.value(frame.resources, "Font")?;
        let font = fonts.dict().and_then(|fonts| fonts.get(name));
        let font = match font {
            Some(font) => Some(self.fonts.get(file, &self.names, font)?),
            None => None,
        };
        if frame.fonts.len() >= MAX_NAMES {
            frame.fonts.clear();
        }
        frame.fonts.push((name.clone(), font.clone()));
        Ok(font)
    }

    fn show(
        &mut self,
        file: &mut File<'_>,
        frame: &mut Frame<'_>,
        string: &Object,
    ) -> Result<(), ExtractFault> {
        let Object::String(bytes) = string else {
            return Ok(());
        };
        file.works(bytes.len().saturating_mul(GLYPH_WORK))?;
        let font = frame.state.font.clone();
        let mut text = String::new();
        let mut rest = bytes.as_slice();
        while let Some(first) = rest.first() {
            let code = match &font {
                Some(font) => font.code(rest),
                None => Code {
                    code: u32::from(*first),
                    length: 1,
                },
            };
            rest = rest.get(code.length..).unwrap_or_default();
            text.clear();
            let is_told = font.as_ref().is_some_and(|font| font.text(code, &mut text));
            let advance = font.as_ref().map_or(0.5, |font| font.advance(code, &text));
            let stand = frame.stand(code, advance, font.as_deref());
            self.glyph(stand, &text, is_told)?;
        }
        Ok(())
    }

    fn glyph(&mut self, stand: Stand, text: &str, is_told: bool) -> Result<(), ExtractFault> {
        self.glyphs = self.glyphs.saturating_add(1);
        if let Some(actual) = &mut self.actual {
            let text = actual.text.take().unwrap_or_default();
            return self.layout.glyph(stand, &text, self.blocks);
        }
        if !is_told {
            self.untold = self.untold.saturating_add(1);
        }
        if !text.chars().any(|c| ligature(c).is_some()) {
            return self.layout.glyph(stand, text, self.blocks);
        }
        let mut spelled = String::new();
        for c in text.chars() {
            match ligature(c) {
                Some(letters) => spelled.push_str(letters),
                None => spelled.push(c),
            }
        }
        self.layout.glyph(stand, &spelled, self.blocks)
    }

    /// Reads a form (8.10). Images and what is missing show no text.
    fn form(
        &mut self,
        file: &mut File<'_>,
        frame: &Frame<'_>,
        name: &Object,
    ) -> Result<(), ExtractFault> {
        let objects = file.value(frame.resources, "XObject")?;
        let name = name.name().unwrap_or_default();
        let Some(Object::Ref(number)) = objects.dict().and_then(|dict| dict.get(name)) else {
            return Ok(());
        };
        let number = *number;
        if self.textless.contains(&number) || frame.depth >= MAX_FORMS {
            return Ok(());
        }
        let form = file.get(number)?;
        let is_form = file.value(&form, "Subtype")?.name() == Some(b"Form");
        let Some(content) = (if is_form { file.stream(number)? } else { None }) else {
            return Ok(());
        };
        let own = file.value(&form, "Resources")?;
        let own = if own.dict().is_some() {
            own
        } else {
            Held::Here(frame.resources)
        };
        let matrix = file.value(&form, "Matrix")?;
        let mut state = frame.state.clone();
        if matrix.array().len() == 6 {
            state.matrix = Matrix::of(matrix.array()).then(state.matrix);
        }
        let glyphs = self.glyphs;
        self.stream(file, &content, &own, state, frame.depth.saturating_add(1))?;
        // At the deepest level forms were passed over, so nothing is known of the ones above.
        if self.glyphs == glyphs && frame.depth == 0 {
            self.textless.insert(number);
        }
        Ok(())
    }

    /// Marked content begins, with its properties or with their name in the resources.
    fn mark(
        &mut self,
        file: &mut File<'_>,
        frame: &Frame<'_>,
        properties: &Object,
    ) -> Result<(), ExtractFault> {
        self.marks = self.marks.saturating_add(1);
        if self.actual.is_some() {
            return Ok(());
        }
        let named;
        let properties = match properties {
            Object::Name(name) => {
                let all = file.value(frame.resources, "Properties")?;
                let null = Object::Null;
                let found = all.dict().and_then(|all| all.get(name)).unwrap_or(&null);
                named = match file.resolve(found)? {
                    Held::Here(object) => Rc::new(object.clone()),
                    Held::There(object) => object,
                };
                &*named
            }
            inline => inline,
        };
        if let Object::String(text) = &*file.value(properties, "ActualText")? {
            file.works(text.len())?;
            self.actual = Some(Actual {
                depth: self.marks,
                text: Some(text_string(text)),
            });
        }
        Ok(())
    }

    fn end_marks(&mut self, left: u32) {
        self.marks = left;
        if self
            .actual
            .as_ref()
            .is_some_and(|actual| actual.depth > left)
        {
            self.actual = None;
        }
    }
}

impl State {
    const fn new() -> Self {
        Self {
            matrix: Matrix::IDENTITY,
            font: None,
            size: 1.0,
            char_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        }
    }
}

impl Frame<'_> {
    fn save(&mut self) {
        if self.saved.len() < MAX_STATES {
            self.saved.push(self.state.clone());
        } else {
            self.unsaved = self.unsaved.saturating_add(1);
        }
    }

    fn restore(&mut self) {
        if self.unsaved > 0 {
            self.unsaved = self.unsaved.saturating_sub(1);
        } else if let Some(state) = self.saved.pop() {
            self.state = state;
        }
    }

    const fn place(&mut self, matrix: Matrix) {
        self.text = matrix;
        self.line = matrix;
    }

    fn next_line(&mut self, x: f64, y: f64) {
        let matrix = Matrix([1.0, 0.0, 0.0, 1.0, x, y]).then(self.line);
        self.place(matrix);
    }

    /// Moves on along the line, unscaled.
    fn skip(&mut self, distance: f64) {
        let is_vertical = self
            .state
            .font
            .as_ref()
            .is_some_and(|font| font.is_vertical);
        let (x, y) = if is_vertical {
            (0.0, distance)
        } else {
            (distance * self.state.scale, 0.0)
        };
        self.text = Matrix([1.0, 0.0, 0.0, 1.0, x, y]).then(self.text);
    }

    /// Where a glyph stands, and moves on behind it.
    fn stand(&mut self, code: Code, advance: f64, font: Option<&Font>) -> Stand {
        let state = &self.state;
        let mut distance = advance * state.size + state.char_space;
        // A space is the single byte 32, in fonts of simple codes and others (9.3.3).
        if code.length == 1 && code.code == 32 {
            distance += state.word_space;
        }
        let is_vertical = font.is_some_and(|font| font.is_vertical);
        let (ahead, rise) = if is_vertical {
            (Point { x: 0.0, y: -1.0 }, 0.0)
        } else {
            (Point { x: 1.0, y: 0.0 }, state.rise)
        };
        let page = self.text.then(state.matrix);
        let start = page.apply(Point { x: 0.0, y: rise });
        let height = state.size * font.map_or(1.0, |font| font.height);
        let size = if is_vertical {
            length(page.turn(Point { x: height, y: 0.0 }))
        } else {
            length(page.turn(Point { x: 0.0, y: height }))
        };
        let direction = page.turn(ahead);
        let long = length(direction);
        let direction = if long > 0.0 {
            Point {
                x: direction.x / long,
                y: direction.y / long,
            }
        } else {
            ahead
        };
        self.skip(distance);
        let end = self
            .text
            .then(self.state.matrix)
            .apply(Point { x: 0.0, y: rise });
        Stand {
            start,
            end,
            direction,
            size: if size > 0.0 && size.is_finite() {
                size
            } else {
                1.0
            },
        }
    }
}

fn length(point: Point) -> f64 {
    point.x.hypot(point.y)
}

impl Matrix {
    const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    fn of(operands: &[Object]) -> Self {
        let mut matrix = [0.0; 6];
        for (place, operand) in matrix.iter_mut().zip(operands) {
            *place = operand.number().unwrap_or(0.0);
        }
        Self(matrix)
    }

    /// First this, then `next`.
    fn then(self, next: Self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let [na, nb, nc, nd, ne, nf] = next.0;
        Self([
            a * na + b * nc,
            a * nb + b * nd,
            c * na + d * nc,
            c * nb + d * nd,
            e * na + f * nc + ne,
            e * nb + f * nd + nf,
        ])
    }

    fn apply(self, point: Point) -> Point {
        let turned = self.turn(point);
        let [.., e, f] = self.0;
        Point {
            x: turned.x + e,
            y: turned.y + f,
        }
    }

    /// A direction: without the shift.
    fn turn(self, point: Point) -> Point {
        let [a, b, c, d, ..] = self.0;
        Point {
            x: a * point.x + c * point.y,
            y: b * point.x + d * point.y,
        }
    }
}
