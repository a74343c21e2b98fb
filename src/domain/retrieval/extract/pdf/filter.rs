//! Stream filters that text is stored with (ISO 32000-1 section 7.4). Every one stops at a limit of its output.

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

use super::syntax::{Object, is_white, unhex};

/// Why a stream was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterFault {
    /// More comes of it than is taken.
    TooLong,
    /// Damaged, or of a filter that is for images.
    Unreadable,
}

/// The longest row of a predictor, in bytes.
const MAX_ROW: usize = 1 << 20;

/// One filter over `input`; `parameters` is its dictionary or null. At most `limit` bytes come of it.
pub(super) fn apply(
    filter: &[u8],
    parameters: &Object,
    input: &[u8],
    limit: usize,
) -> Result<Vec<u8>, FilterFault> {
    match filter {
        b"FlateDecode" | b"Fl" => predicted(inflate(input, limit)?, parameters),
        b"LZWDecode" | b"LZW" => {
            let early = parameters.get("EarlyChange").and_then(Object::number) != Some(0.0);
            predicted(lzw(input, early, limit)?, parameters)
        }
        b"ASCIIHexDecode" | b"AHx" => {
            let end = input.iter().position(|b| *b == b'>');
            let digits = input.get(..end.unwrap_or(input.len())).unwrap_or_default();
            Ok(unhex(digits))
        }
        b"ASCII85Decode" | b"A85" => ascii85(input),
        b"RunLengthDecode" | b"RL" => run_length(input, limit),
        _ => Err(FilterFault::Unreadable),
    }
}

/// Zlib (RFC 1950). The checksum is not looked at: viewers do not, and files are around whose last bytes are cut off.
fn inflate(input: &[u8], limit: usize) -> Result<Vec<u8>, FilterFault> {
    let deflated = match input {
        [method, _, rest @ ..] if method & 0x0F == 8 && method >> 4 <= 7 => rest,
        [] => return Ok(Vec::new()),
        raw => raw,
    };
    decompress_to_vec_with_limit(deflated, limit).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => FilterFault::TooLong,
        _ => FilterFault::Unreadable,
    })
}

/// LZW as TIFF has it: codes of 9 to 12 bits, 256 clears the table, 257 ends.
fn lzw(input: &[u8], early: bool, limit: usize) -> Result<Vec<u8>, FilterFault> {
    let mut out: Vec<u8> = Vec::new();
    // Where in the output each sequence behind 257 was last written, and how long it is.
    let mut table: Vec<(usize, usize)> = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut width = 9_u32;
    for byte in input {
        bits = (bits << 8) | u32::from(*byte);
        held = held.saturating_add(8);
        if held < width {
            continue;
        }
        held = held.saturating_sub(width);
        let code = (bits >> held) & !(u32::MAX << width);
        bits &= !(u32::MAX << held);
        match code {
            256 => {
                table.clear();
                last = None;
                width = 9;
                continue;
            }
            257 => return Ok(out),
            _ => {}
        }
        let start = out.len();
        match u8::try_from(code) {
            Ok(byte) => out.push(byte),
            Err(_) => {
                let index = (code as usize).saturating_sub(258);
                let entry = match last {
                    // A code that is only now being made is the last sequence and its own first byte.
                    Some((at, length)) if index == table.len() => {
                        Some((at, length.saturating_add(1)))
                    }
                    _ => table.get(index).copied(),
                };
                let (from, length) = entry.ok_or(FilterFault::Unreadable)?;
                for at in from..from.saturating_add(length) {
                    let byte = out.get(at).copied().ok_or(FilterFault::Unreadable)?;
                    out.push(byte);
                }
            }
        }
        if out.len() > limit {
            return Err(FilterFault::TooLong);
        }
        // The last sequence with the first byte of this one stands in the output as it is.
        if let Some((at, length)) = last
            && table.len() < 4096 - 258
        {
            table.push((at, length.saturating_add(1)));
        }
        last = Some((start, out.len().saturating_sub(start)));
        let next = table.len().saturating_add(258);
        width = match next.saturating_add(usize::from(early)) {
            0..=511 => 9,
            512..=1023 => 10,
            1024..=2047 => 11,
            _ => 12,
        };
    }
    Ok(out)
}

fn ascii85(input: &[u8]) -> Result<Vec<u8>, FilterFault> {
    let mut out = Vec::with_capacity(input.len());
    let mut group: Vec<u8> = Vec::with_capacity(5);
    let input = input.strip_prefix(b"<~").unwrap_or(input);
    for byte in input {
        match byte {
            b'~' => break,
            b'z' if group.is_empty() => out.extend([0; 4]),
            b'!'..=b'u' => {
                group.push(byte.saturating_sub(b'!'));
                if group.len() == 5 {
                    out.extend(value85(&group));
                    group.clear();
                }
            }
            b if is_white(*b) => {}
            _ => return Err(FilterFault::Unreadable),
        }
    }
    if group.len() > 1 {
        let length = group.len().saturating_sub(1);
        group.resize(5, 84);
        out.extend(value85(&group).into_iter().take(length));
    }
    Ok(out)
}

fn value85(group: &[u8]) -> [u8; 4] {
    let add = |value: u32, digit: &u8| value.wrapping_mul(85).wrapping_add(u32::from(*digit));
    group.iter().fold(0, add).to_be_bytes()
}

fn run_length(input: &[u8], limit: usize) -> Result<Vec<u8>, FilterFault> {
    let mut out = Vec::new();
    let mut rest = input;
    while let [length, behind @ ..] = rest {
        let length = usize::from(*length);
        match length {
            128 => break,
            0..=127 => {
                let count = length.saturating_add(1).min(behind.len());
                let (run, after) = behind.split_at_checked(count).unwrap_or((behind, &[]));
                out.extend_from_slice(run);
                rest = after;
            }
            _ => {
                let Some((byte, after)) = behind.split_first() else {
                    break;
                };
                out.extend(std::iter::repeat_n(*byte, 257_usize.saturating_sub(length)));
                rest = after;
            }
        }
        if out.len() > limit {
            return Err(FilterFault::TooLong);
        }
    }
    Ok(out)
}

/// Undoes the predictor that `parameters` name (7.4.4.4).
fn predicted(data: Vec<u8>, parameters: &Object) -> Result<Vec<u8>, FilterFault> {
    let value = |key: &str, default: usize| {
        let found = parameters.get(key).and_then(Object::index);
        found.unwrap_or(default)
    };
    let predictor = value("Predictor", 1);
    if predictor < 2 {
        return Ok(data);
    }
    let pixel_bits = value("Colors", 1).saturating_mul(value("BitsPerComponent", 8));
    let row_bytes = pixel_bits.saturating_mul(value("Columns", 1)).div_ceil(8);
    let pixel = pixel_bits.div_ceil(8);
    if row_bytes == 0 || row_bytes > MAX_ROW || pixel > row_bytes {
        return Err(FilterFault::Unreadable);
    }
    if predictor == 2 {
        // TIFF's, of whole bytes alone: nothing but images has others.
        let mut data = data;
        for row in data.chunks_mut(row_bytes) {
            for at in pixel..row.len() {
                let left = row.get(at.saturating_sub(pixel)).copied().unwrap_or(0);
                if let Some(byte) = row.get_mut(at) {
                    *byte = byte.wrapping_add(left);
                }
            }
        }
        return Ok(data);
    }
    Ok(unpng(&data, row_bytes, pixel))
}

/// PNG's predictors: a byte in front of each row says which.
fn unpng(data: &[u8], row_bytes: usize, pixel: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut above = vec![0_u8; row_bytes];
    let mut row = Vec::with_capacity(row_bytes);
    for line in data.chunks(row_bytes.saturating_add(1)) {
        let Some((kind, raw)) = line.split_first() else {
            break;
        };
        row.clear();
        for (at, byte) in raw.iter().enumerate() {
            let before = at.checked_sub(pixel);
            let left = before.and_then(|at| row.get(at)).copied().unwrap_or(0);
            let up = above.get(at).copied().unwrap_or(0);
            let corner = before.and_then(|at| above.get(at)).copied().unwrap_or(0);
            let guess = match kind {
                1 => left,
                2 => up,
                3 => left.midpoint(up),
                4 => paeth(left, up, corner),
                _ => 0,
            };
            row.push(byte.wrapping_add(guess));
        }
        out.extend_from_slice(&row);
        row.resize(row_bytes, 0);
        std::mem::swap(&mut row, &mut above);
    }
    out
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left)
        .saturating_add(i16::from(up))
        .saturating_sub(i16::from(corner));
    let away = |value: u8| i16::from(value).saturating_sub(estimate).unsigned_abs();
    if away(left) <= away(up) && away(left) <= away(corner) {
        left
    } else if away(up) <= away(corner) {
        up
    } else {
        corner
    }
}
