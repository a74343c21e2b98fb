//! The Merkle tree, tiles and checkpoints against implementations that were not written here: the crates `tlog_tiles`
//! and `signed_note`, and the vectors of Certificate Transparency's reference implementation.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use gatehouse::base::digest::hex;
use gatehouse::domain::audit::checkpoint::{Checkpoint, Key, Note};
use gatehouse::domain::audit::tiles::{
    Kind, Tile, bundle, cut_bundle, entries, hash_bytes, needed, place, subtree,
};
use gatehouse::domain::audit::tree::{
    Edge, Hash, consistency, inclusion, leaf_hash, node_hash, range_root, root, verify_consistency,
    verify_inclusion,
};
use tlog_tiles::{self as theirs, HashReader};

/// Trees of up to so many leaves are tried whole.
const SIZE: u64 = 70;

/// Hashes as the other implementation keeps them.
#[derive(Default)]
struct Stored(RefCell<Vec<theirs::Hash>>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<theirs::Hash>, theirs::Error> {
        let stored = self.0.borrow();
        Ok(indexes.iter().map(|i| stored[*i as usize]).collect())
    }
}

impl Stored {
    fn with(size: u64) -> Self {
        let stored = Self::default();
        for n in 0..size {
            let new = theirs::stored_hashes(n, &leaf(n), &stored).unwrap();
            stored.0.borrow_mut().extend(new);
        }
        stored
    }

    fn root(&self, size: u64) -> Hash {
        Hash(theirs::tree_hash(size, self).unwrap().0)
    }
}

fn leaf(n: u64) -> Vec<u8> {
    format!("entry {n}").into_bytes()
}

fn leaves(range: (u64, u64)) -> Vec<Hash> {
    (range.0..range.1).map(|n| leaf_hash(&leaf(n))).collect()
}

/// Our proof, each hash computed over its leaves.
fn ours(ranges: Vec<(u64, u64)>) -> Vec<Hash> {
    ranges
        .into_iter()
        .map(|range| root(&leaves(range)))
        .collect()
}

fn plain(proof: &[theirs::Hash]) -> Vec<Hash> {
    proof.iter().map(|hash| Hash(hash.0)).collect()
}

#[test]
fn reference_roots_come_out() {
    // certificate-transparency-go, merkle tree tests: the leaves and the roots of their first 1 to 8.
    let inputs: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let hashes: Vec<Hash> = inputs.iter().map(|input| leaf_hash(input)).collect();
    for (n, expected) in (1..).zip(roots) {
        assert_eq!(hex(&root(&hashes[..n]).0), expected);
    }
    // The empty tree: SHA-256 of nothing.
    assert_eq!(root(&[]).0, theirs::EMPTY_HASH.0);
}

#[test]
fn hashes_are_those_of_the_other_implementation() {
    let stored = Stored::with(SIZE);
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    assert_eq!(a.0, theirs::record_hash(b"a").0);
    let node = theirs::node_hash(theirs::Hash(a.0), theirs::Hash(b.0));
    assert_eq!(node_hash(a, b).0, node.0);
    let mut edge = Edge::default();
    for n in 0..SIZE {
        assert_eq!(edge.root(), stored.root(n));
        edge.push(0, leaf_hash(&leaf(n)));
    }
}

#[test]
fn proofs_are_those_of_the_other_implementation_and_both_accept_them() {
    let stored = Stored::with(SIZE);
    for size in 1..=SIZE {
        let root = stored.root(size);
        let their_root = theirs::Hash(root.0);
        for index in 0..size {
            let proof = ours(inclusion(index, size).unwrap());
            let theirs_proof = theirs::prove_record(size, index, &stored).unwrap();
            assert_eq!(proof, plain(&theirs_proof), "{index} in {size}");
            let leaf = leaf_hash(&leaf(index));
            assert!(verify_inclusion(leaf, index, size, &proof, root));
            let checked =
                theirs::check_record(&theirs_proof, size, their_root, index, theirs::Hash(leaf.0));
            checked.unwrap();
        }
        for old in 1..=size {
            let proof = ours(consistency(old, size).unwrap());
            let old_root = stored.root(old);
            let theirs_proof = theirs::prove_tree(size, old, &stored).unwrap();
            assert_eq!(proof, plain(&theirs_proof), "{old} in {size}");
            assert!(verify_consistency(old, old_root, size, root, &proof));
            let checked = theirs::check_tree(
                &theirs_proof,
                size,
                their_root,
                old,
                theirs::Hash(old_root.0),
            );
            checked.unwrap();
        }
    }
}

#[test]
fn a_changed_proof_is_refused_as_the_other_implementation_refuses_it() {
    let stored = Stored::with(SIZE);
    let mut refused = 0;
    for size in [1, 2, 3, 7, 8, 9, 33, 64, 70] {
        let root = stored.root(size);
        let mut bad_root = root;
        bad_root.0[0] ^= 1;
        for index in [0, 1, 6, 7, 32, 63, size - 1] {
            if index >= size {
                continue;
            }
            let good = ours(inclusion(index, size).unwrap());
            let leaf = leaf_hash(&leaf(index));
            let mut cases = vec![
                (leaf, index, size, good.clone(), bad_root),
                (bad_root, index, size, good.clone(), root),
                (leaf, index + 1, size, good.clone(), root),
                (leaf, index, index, good.clone(), root),
                (leaf, index, size, [good.as_slice(), &[root]].concat(), root),
            ];
            for i in 0..good.len() {
                let mut proof = good.clone();
                proof[i].0[31] ^= 0x80;
                cases.push((leaf, index, size, proof, root));
                let mut proof = good.clone();
                proof.remove(i);
                cases.push((leaf, index, size, proof, root));
            }
            for (leaf, index, size, proof, root) in cases {
                assert!(!verify_inclusion(leaf, index, size, &proof, root));
                let proof = proof.iter().map(|h| theirs::Hash(h.0)).collect();
                let (leaf, root) = (theirs::Hash(leaf.0), theirs::Hash(root.0));
                let checked = theirs::check_record(&proof, size, root, index, leaf);
                assert!(checked.is_err());
                refused += 1;
            }
        }
        for old in [1, 2, 6, 8, 32, 64] {
            if old >= size {
                continue;
            }
            let good = ours(consistency(old, size).unwrap());
            let old_root = stored.root(old);
            let mut bad_old = old_root;
            bad_old.0[5] ^= 1;
            assert!(!verify_consistency(old, bad_old, size, root, &good));
            assert!(!verify_consistency(old, old_root, size, bad_root, &good));
            let long = [good.as_slice(), &[root]].concat();
            assert!(!verify_consistency(old, old_root, size, root, &long));
            for i in 0..good.len() {
                let mut proof = good.clone();
                proof[i].0[0] ^= 1;
                assert!(!verify_consistency(old, old_root, size, root, &proof));
                proof.remove(i);
                assert!(!verify_consistency(old, old_root, size, root, &proof));
                refused += 2;
            }
        }
    }
    assert!(refused > 300, "{refused}");
    assert_eq!(inclusion(5, 5), None);
    assert_eq!(consistency(6, 5), None);
    // Two trees of one size are consistent when they are one, and the empty tree has one root.
    let (a, b) = (stored.root(3), stored.root(4));
    assert!(verify_consistency(3, a, 3, a, &[]));
    assert!(!verify_consistency(3, a, 3, b, &[]));
    assert!(!verify_consistency(4, a, 3, b, &[]));
    assert!(verify_consistency(0, root(&[]), 3, a, &[]));
    assert!(!verify_consistency(0, a, 3, a, &[]));
}

#[test]
fn tiles_have_the_paths_of_the_other_implementation() {
    for (index, width) in [(0, 256), (0, 1), (999, 255), (1000, 256), (1_234_067, 8)] {
        let tile = |kind| Tile { kind, index, width };
        for level in [0, 1, 7, 63] {
            let their = theirs::Tile::new(8, level, index, u32::from(width), false);
            let expected = their.path().replacen("tile/8/", "tile/", 1);
            assert_eq!(tile(Kind::Hashes(level)).path(), expected);
            assert_eq!(Tile::parse(&expected), Some(tile(Kind::Hashes(level))));
        }
        let their = theirs::Tile::new(8, 0, index, u32::from(width), true);
        let expected = their.path().replacen("tile/8/data/", "tile/entries/", 1);
        assert_eq!(tile(Kind::Entries).path(), expected);
        assert_eq!(Tile::parse(&expected), Some(tile(Kind::Entries)));
    }
}

#[test]
fn a_tile_has_one_path_alone() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+0/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/8/0/000",
        "tile/data/000",
        "tile/entries/../000",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
}

#[test]
fn every_proof_can_be_made_from_tiles() {
    // Larger than a tile of tiles, so that levels 0 to 2 take part.
    let size = 70_000u64;
    let all = leaves((0, size));
    let mut levels = vec![all];
    for level in 0..2 {
        let above = levels[level].chunks_exact(256).map(root).collect();
        levels.push(above);
    }
    let from_tiles = |range| {
        let tiles = needed(&[range]);
        let mut full = |height, index| {
            let (level, tile, first, count) = place(height, index);
            assert!(tiles.contains(&(level, tile)));
            let hashes = &levels[usize::from(level)];
            let tile = &hashes[tile as usize * 256..];
            subtree(&tile[..tile.len().min(256)], first, count)
        };
        range_root(range, &mut full)
    };
    for range in [
        (0, 70_000),
        (0, 65_536),
        (0, 65_535),
        (65_536, 70_000),
        (69_888, 70_000),
        (256, 512),
        (384, 512),
        (12_288, 16_384),
        (7, 8),
    ] {
        let expected = root(&leaves(range));
        assert_eq!(from_tiles(range), Some(expected), "{range:?}");
    }
    assert_eq!(from_tiles((0, 0)), Some(root(&[])));
}

#[test]
fn bundles_can_be_read_and_cut_ones_cannot() {
    let leaves: [&[u8]; 4] = [b"", b"a", &[7; 300], &[9; 65_535]];
    let bytes = bundle(leaves);
    assert_eq!(&bytes[..5], [0, 0, 0, 1, b'a']);
    assert_eq!(entries(&bytes).unwrap(), leaves);
    assert_eq!(cut_bundle(&bytes, 2).unwrap(), [0, 0, 0, 1, b'a']);
    assert_eq!(cut_bundle(&bytes, 5), None);
    assert_eq!(entries(&bytes[..bytes.len() - 1]), None);
    assert_eq!(entries(&[0]), None);
    assert_eq!(hash_bytes(&[leaf_hash(b"a"), leaf_hash(b"b")]).len(), 64);
}

// === checkpoints ===

fn signer() -> (SigningKey, Key) {
    let secret = SigningKey::from_bytes(&[7; 32]);
    let public = secret.verifying_key().to_bytes();
    let name = "example.org/audit".to_owned();
    (secret, Key { name, public })
}

fn signed(size: u64) -> String {
    let (secret, key) = signer();
    let checkpoint = Checkpoint {
        origin: key.name.clone(),
        size,
        root: leaf_hash(b"root"),
    };
    let signature = secret.sign(checkpoint.text().as_bytes());
    checkpoint.signed(&key, &signature.to_bytes())
}

#[test]
fn the_other_implementation_reads_and_verifies_our_checkpoints() {
    let (_, key) = signer();
    // The example of the signed-note specification.
    let example = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let bytes = STANDARD
        .decode(example.rsplit('+').next().unwrap())
        .unwrap();
    let theirs_key = Key {
        name: "PeterNeumann".into(),
        public: bytes[1..].try_into().unwrap(),
    };
    assert_eq!(theirs_key.vkey(), example);
    for size in [0, 1, 70_000, u64::MAX] {
        let text = signed(size);
        let verifier = signed_note::StandardVerifier::new(&key.vkey()).unwrap();
        let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let note = signed_note::Note::from_bytes(text.as_bytes()).unwrap();
        let (verified, unknown) = note.verify(&known).unwrap();
        assert_eq!((verified.len(), unknown.len()), (1, 0));
        let checkpoint = theirs::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!(checkpoint.origin(), key.name);
        assert_eq!(checkpoint.size(), size);
        assert_eq!(checkpoint.hash().0, leaf_hash(b"root").0);
        // And we read what they write.
        let again = String::from_utf8(note.to_bytes()).unwrap();
        let read = Note::parse(&again).unwrap();
        assert_eq!(read.checkpoint.size, size);
        assert_eq!(read.text.as_bytes(), note.text());
        assert_eq!(read.signature(&key).unwrap(), verified[0].signature());
    }
}

#[test]
fn only_well_formed_notes_are_read() {
    let good = signed(5);
    let (_, key) = signer();
    assert!(Note::parse(&good).is_some());
    let other = Key {
        name: "example.org/other".into(),
        ..key.clone()
    };
    assert_eq!(Note::parse(&good).unwrap().signature(&other), None);
    let line = good.lines().nth(4).unwrap().to_owned();
    for bad in [
        String::new(),
        good.trim_end().to_owned(),
        good.replacen("\n5\n", "\n05\n", 1),
        good.replacen("\n5\n", "\n+5\n", 1),
        good.replacen("\n5\n", "\n-5\n", 1),
        good.replacen("\n5\n", "\n\n", 1),
        good.replacen("\n\n", "\nextension\n\n", 1),
        good.replacen("example.org/audit\n5", "\n5", 1),
        good.replace('\u{2014}', "-"),
        good.replace(&line, ""),
        format!("{good}\n"),
        good.replace("=\n\n", "\n\n"),
        format!("{good}{}", format!("{line}\n").repeat(16)),
        format!("{good}{}", "x".repeat(5000)),
    ] {
        assert_eq!(Note::parse(&bad), None, "{bad}");
    }
    // Signatures of others, such as witnesses, stand beside ours.
    let cosigned = format!("{good}\u{2014} witness.example AAAAAAAA\n");
    assert!(Note::parse(&cosigned).unwrap().signature(&key).is_some());
}
