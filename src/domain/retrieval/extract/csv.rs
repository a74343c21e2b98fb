//! Tables: comma-separated values (RFC 4180), and with semicolons or tabulators where the first line has those.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{Blocks, ExtractFault, label};

/// The most columns of a row.
const MAX_COLUMNS: usize = 4096;

/// The longest name of a column, in bytes; it stands in front of every cell.
const NAME_BYTES: usize = 80;

/// A stretch for each row: its cells on a line each, behind their names from the first row. The anchor is the row, counted
/// as spreadsheets count: the names are row 1. Lines that are empty are no rows.
pub(super) fn read(text: &str, blocks: &mut Blocks) -> Result<(), ExtractFault> {
    let mut rows = Rows::of(text);
    let Some(first) = rows.next_row()? else {
        return Ok(());
    };
    let names: Vec<String> = first.iter().map(|name| short(&label(name))).collect();
    let mut number = 1_usize;
    while let Some(cells) = rows.next_row()? {
        number = number.saturating_add(1);
        let mut row = String::new();
        for (cell, column) in cells.iter().zip(0_usize..) {
            let cell = cell.trim();
            if cell.is_empty() {
                continue;
            }
            if let Some(name) = names.get(column)
                && !name.is_empty()
            {
                row.push_str(name);
                row.push_str(": ");
            }
            row.push_str(cell);
            row.push('\n');
        }
        blocks.push("", &format!("row {number}"), &row)?;
    }
    if number == 1 {
        // Nothing but names: they are all there is.
        blocks.push("", "row 1", &names.join("\n"))?;
    }
    Ok(())
}

fn short(name: &str) -> String {
    let end = name.floor_char_boundary(NAME_BYTES);
    name.get(..end).unwrap_or(name).trim_end().to_owned()
}

struct Rows<'a> {
    reader: Reader,
    rest: &'a [u8],
    cells: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            reader: ReaderBuilder::new().delimiter(delimiter(text)).build(),
            rest: text.as_bytes(),
            cells: vec![0; 4096],
            ends: vec![0; MAX_COLUMNS],
        }
    }

    /// The cells of the next row; `None` behind the last.
    fn next_row(&mut self) -> Result<Option<Vec<&str>>, ExtractFault> {
        let (mut written, mut ended) = (0_usize, 0_usize);
        loop {
            let room = self.cells.get_mut(written..).unwrap_or_default();
            let ends = self.ends.get_mut(ended..).unwrap_or_default();
            let (result, read, wrote, more) = self.reader.read_record(self.rest, room, ends);
            self.rest = self.rest.get(read..).unwrap_or_default();
            written = written.saturating_add(wrote);
            ended = ended.saturating_add(more);
            match result {
                // At the end of the text the reader wants to be told so: by no bytes.
                ReadRecordResult::InputEmpty => {}
                // Never longer than the text that it is read from.
                ReadRecordResult::OutputFull => {
                    let doubled = self.cells.len().saturating_mul(2);
                    self.cells.resize(doubled, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(ExtractFault::Malformed("a row of more than 4096 cells"));
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let mut start = 0_usize;
        let ends = self.ends.get(..ended).unwrap_or_default().iter();
        let cells = ends.map(|end| {
            let cell = self.cells.get(start..*end).unwrap_or_default();
            start = *end;
            // Cut at ASCII out of UTF-8.
            str::from_utf8(cell).unwrap_or_default()
        });
        Ok(Some(cells.collect()))
    }
}

/// What parts the cells of the first line most often, outside of quotes.
fn delimiter(text: &str) -> u8 {
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            _ => {
                if let Some((_, count)) = counts.iter_mut().find(|(mark, _)| *mark == byte) {
                    *count = count.saturating_add(1);
                }
            }
        }
    }
    // Of equals the last is taken, and the comma should be.
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    most.map_or(b',', |(mark, _)| *mark)
}
