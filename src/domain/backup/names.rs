//! Names of snapshots and of their blobs. Time first, so that a list of them is in the order of time.

use crate::base::digest::{from_hex, hex};
use crate::base::time::Millis;

/// Where manifests lie.
pub const SNAPSHOTS: &str = "backup/snapshots/";
/// Where pieces lie, by snapshot.
pub const PIECES: &str = "backup/pieces/";
/// Where it is noted who was erased.
pub const ERASED: &str = "backup/erased/";
/// How far the snapshot under way is.
pub const RUNNING: &str = "backup/running";

/// Random bytes of a snapshot's id and of a piece's name.
pub const RANDOM_BYTES: usize = 4;

/// `snap_<12 hex digits of the time><8 random hex digits>`
#[must_use]
pub fn snapshot_id(now: Millis, random: &[u8; RANDOM_BYTES]) -> String {
    ["snap_", &time(now), &hex(random)].concat()
}

/// When a snapshot began; `None` for what is no id of one.
#[must_use]
pub fn begun(id: &str) -> Option<Millis> {
    let digits = id.strip_prefix("snap_").filter(|rest| rest.len() == 20)?;
    from_hex(digits)?;
    read_time(digits)
}

/// The manifest's blob.
#[must_use]
pub fn manifest(id: &str) -> String {
    [SNAPSHOTS, id].concat()
}

/// How far the pieces of a snapshot were looked through before it is put back.
#[must_use]
pub fn checked(id: &str) -> String {
    ["backup/checked/", id].concat()
}

/// A piece's blob. The random part tells it from that of another run that made the same piece.
#[must_use]
pub fn piece(id: &str, number: usize, random: &[u8; RANDOM_BYTES]) -> String {
    format!("{PIECES}{id}/{number:05}-{}", hex(random))
}

/// The snapshot whose piece that blob is.
#[must_use]
pub fn snapshot_of_piece(blob: &str) -> Option<&str> {
    let (id, _) = blob.strip_prefix(PIECES)?.split_once('/')?;
    Some(id)
}

/// The note that somebody was erased.
#[must_use]
pub fn erased(at: Millis, digest: &str) -> String {
    [ERASED, &time(at), "-", digest].concat()
}

/// In front of every such note from `at` on, in the order of names.
#[must_use]
pub fn erased_from(at: Millis) -> String {
    [ERASED, &time(at)].concat()
}

/// When, and whose digest.
#[must_use]
pub fn read_erased(blob: &str) -> Option<(Millis, &str)> {
    let (at, digest) = blob.strip_prefix(ERASED)?.split_once('-')?;
    Some((read_time(at)?, digest))
}

/// 48 bits of milliseconds last until the year 10889.
fn time(at: Millis) -> String {
    let bytes = at.0.to_be_bytes();
    let (_, low) = bytes.split_at(2);
    hex(low)
}

fn read_time(digits: &str) -> Option<Millis> {
    let at = u64::from_str_radix(digits.get(..12)?, 16).ok()?;
    Some(Millis(at))
}

#[cfg(test)]
mod tests {
    use super::{
        begun, erased, erased_from, manifest, piece, read_erased, snapshot_id, snapshot_of_piece,
    };
    use crate::base::time::Millis;

    const NOW: Millis = Millis(1_795_219_200_000);

    #[test]
    fn names_are_pinned() {
        let id = snapshot_id(NOW, &[1, 2, 3, 4]);
        assert_eq!(id, "snap_01a1fb67180001020304");
        assert_eq!(manifest(&id), "backup/snapshots/snap_01a1fb67180001020304");
        let blob = piece(&id, 12, &[0xff; 4]);
        assert_eq!(
            blob,
            "backup/pieces/snap_01a1fb67180001020304/00012-ffffffff"
        );
        assert_eq!(snapshot_of_piece(&blob), Some(id.as_str()));
        let note = erased(NOW, "abcd");
        assert_eq!(note, "backup/erased/01a1fb671800-abcd");
        assert_eq!(read_erased(&note), Some((NOW, "abcd")));
    }

    #[test]
    fn an_id_tells_its_time_and_nothing_else_is_one() {
        assert_eq!(begun(&snapshot_id(NOW, &[0; 4])), Some(NOW));
        for wrong in [
            "",
            "snap_",
            "snap_01a1fb6718000102030",
            "snap_01a1fb671800010203/4",
            "snap_é01a1fb6718000102034",
        ] {
            assert_eq!(begun(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_list_from_a_time_has_what_was_noted_then_and_later() {
        let from = erased_from(NOW);
        assert!(erased(NOW, "0") > from && erased(NOW.plus(Millis(1)), "0") > from);
        assert!(erased(Millis(NOW.0 - 1), "f") < from);
    }
}
