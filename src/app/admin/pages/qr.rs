//! A QR code (ISO/IEC 18004) as an inline image: authenticators read the second factor's secret from it.

use qrcodegen::{QrCode, QrCodeEcc};

use crate::domain::page::escape;

/// Empty modules that must surround a code (ISO/IEC 18004 §6.3.8).
const QUIET: i32 = 4;
/// More than an `otpauth:` address ever has, in bytes. A larger code is hard to read from a screen.
const MAX_BYTES: usize = 600;
/// Pixels of a module: a code of 61 modules then has some 5 cm on a screen.
const MODULE_PX: i32 = 4;

/// The code of a text as SVG, dark on light in every theme, because readers expect it; `None` for a text that is too
/// long.
pub fn qr(label: &str, text: &str) -> Option<String> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let mut path = String::new();
    for y in 0..size {
        let mut x = 0;
        while x < size {
            let run = (x..size)
                .take_while(|x| code.get_module(*x, y))
                .fold(0_i32, |run, _| run.saturating_add(1));
            if run > 0 {
                let (left, top) = (x.saturating_add(QUIET), y.saturating_add(QUIET));
                path.push_str(&format!("M{left} {top}h{run}v1h-{run}z"));
            }
            x = x.saturating_add(run).saturating_add(1);
        }
    }
    let side = size.saturating_add(QUIET.saturating_mul(2));
    let pixels = side.saturating_mul(MODULE_PX);
    Some(format!(
        "<svg class=\"qr\" role=\"img\" aria-label=\"{}\" width=\"{pixels}\" height=\"{pixels}\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>",
        escape(label),
    ))
}

#[cfg(test)]
mod tests {
    use super::{QUIET, qr};

    /// The modules that the path draws, row by row.
    fn drawn(svg: &str) -> Vec<Vec<bool>> {
        let number = |text: &str| text.parse::<usize>().unwrap();
        let side = number(
            svg.split("viewBox=\"0 0 ")
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap(),
        );
        let mut rows = vec![vec![false; side]; side];
        let path = svg
            .rsplit(" d=\"")
            .next()
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        for run in path.split('M').filter(|run| !run.is_empty()) {
            let (at, rest) = run.split_once('h').unwrap();
            let (x, y) = at.split_once(' ').unwrap();
            let length = number(rest.split('v').next().unwrap());
            rows[number(y)][number(x)..][..length].fill(true);
        }
        rows
    }

    #[test]
    fn another_program_reads_the_address_from_the_image() {
        for length in [20, 60, 150, 500] {
            let address = [
                "otpauth://totp/Gatehouse:Ada?secret=",
                &"JBSW".repeat(length / 4),
            ]
            .concat();
            let rows = drawn(&qr("a & b", &address).unwrap());
            let quiet = usize::try_from(QUIET).unwrap();
            assert!(rows[..quiet].iter().flatten().all(|dark| !dark));
            // Readers want some pixels of each module.
            let side = rows.len() * 4;
            let dark = |x: usize, y: usize| rows[y / 4][x / 4];
            let mut image = rqrr::PreparedImage::prepare_from_bitmap(side, side, dark);
            let (_, read) = image.detect_grids()[0].decode().unwrap();
            assert_eq!(read, address);
        }
    }

    #[test]
    fn a_label_is_text_and_a_long_text_has_no_code() {
        assert!(
            qr("\"><script>", "x")
                .unwrap()
                .contains("aria-label=\"&quot;&gt;&lt;script&gt;\"")
        );
        assert_eq!(qr("x", &"x".repeat(601)), None);
    }
}
