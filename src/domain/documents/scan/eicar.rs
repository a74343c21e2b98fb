//! The test file of anti-malware programs (eicar.org). It proves that the way from a finding to quarantine works.

use super::matched::Match;
use super::report::Rule;
use super::window::Spot;

/// In two halves, so that this program is not taken for one that holds it.
const HALVES: [&[u8]; 2] = [
    br"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STAND",
    b"ARD-ANTIVIRUS-TEST-FILE!$H+H*",
];

pub(super) fn at(spot: &Spot<'_>) -> Option<Match> {
    let [first, second] = HALVES;
    spot.after(first)?.strip_prefix(second)?;
    let length = first.len().saturating_add(second.len());
    Some(Match::new(
        Rule::Eicar,
        length,
        "EICAR test file".to_owned(),
    ))
}
