//! The audit log's stories over a fake world that can fail anywhere. What is proved is verified by `tlog_tiles` and
//! `signed_note`, which were not written here.

use std::cell::RefCell;
use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use gatehouse::app::audit::checkpoint::{checkpoint, key};
use gatehouse::app::audit::flush::flush;
use gatehouse::app::audit::mirror::mirror;
use gatehouse::app::audit::proofs::{consistency, inclusion, tile};
use gatehouse::app::audit::read::{Format, Query, export, read};
use gatehouse::app::audit::record::{append, drain, erase};
use gatehouse::app::audit::verify::{Verdict, verify};
use gatehouse::app::audit::{Audit, Cipher};
use gatehouse::app::port::{Class, Port, PortFault};
use gatehouse::base::digest::{Bytes32, base64url, from_base64url};
use gatehouse::base::machine::{Effects, Machine, Write};
use gatehouse::base::outbox::{self, Audited, Drain, Told};
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::audit::entry::{Action, Actor, Commitment, Entry, Personal, opened, salted};
use gatehouse::domain::audit::export::{Filter, Part};
use gatehouse::domain::audit::log::Signed;
use gatehouse::domain::audit::tiles::{bundle, entries, hash_bytes, hashes};
use gatehouse::domain::audit::tree::{Hash, leaf_hash, root};
use gatehouse::domain::audit::webhook::WebhookSecret;
use serde_json::json;
use tlog_tiles::{self as theirs, HashReader};

use crate::support::fake_port::{FakePort, Fault, Op, START, When};
use crate::support::run::block_on;
use crate::support::upstream::Scripted;

const TENANT: &str = "acme";
const OBJECT: &str = "v1/acme/audit";
const ORIGIN: &str = "acme.example/api/audit";

// === what the tests share ===

/// AES-256-GCM, the nonce before the text.
struct Gcm;

impl Cipher for Gcm {
    fn seal(&self, key: &Bytes32, context: &str, nonce: &[u8; 12], text: &[u8]) -> Option<String> {
        let cipher = Aes256Gcm::new_from_slice(key).ok()?;
        let payload = Payload {
            msg: text,
            aad: context.as_bytes(),
        };
        let sealed = cipher.encrypt(&(*nonce).into(), payload).ok()?;
        Some(base64url(&[nonce.as_slice(), &sealed].concat()))
    }

    fn open(&self, key: &Bytes32, context: &str, sealed: &str) -> Option<Vec<u8>> {
        let cipher = Aes256Gcm::new_from_slice(key).ok()?;
        let bytes = from_base64url(sealed)?;
        let (nonce, text) = bytes.split_first_chunk::<12>()?;
        let payload = Payload {
            msg: text,
            aad: context.as_bytes(),
        };
        cipher.decrypt(&(*nonce).into(), payload).ok()
    }
}

struct Keys {
    seed: Secret<Bytes32>,
    seal: Secret<Bytes32>,
}

fn keys() -> Keys {
    Keys {
        seed: Secret::new([0x51; 32]),
        seal: Secret::new([0x52; 32]),
    }
}

fn house(keys: &Keys) -> Audit<'_, Gcm> {
    Audit {
        tenant: TENANT,
        origin: ORIGIN,
        seed: &keys.seed,
        seal: &keys.seal,
        cipher: Gcm,
    }
}

fn personal(subject: &str, name: &str) -> Option<Personal> {
    let fields = json!({"name": name, "address": "canary-address"});
    Some(Personal {
        subject: subject.into(),
        fields: fields.as_object().unwrap().clone(),
    })
}

fn entry(n: u64) -> Entry {
    Entry {
        request: format!("req_{n}"),
        target: Some("key".into()),
        who: personal("op_1", "canary-operator"),
        what: personal(&format!("vis_{}", n % 3), "canary-visitor"),
        ..Entry::new(
            format!("evt_{n}"),
            START.plus(Millis(n)),
            Actor::Operator,
            Action::KeyRevoke,
            TENANT,
        )
    }
}

fn record(port: &FakePort, audit: &Audit<'_, Gcm>, range: std::ops::Range<u64>) {
    let entries: Vec<Entry> = range.map(entry).collect();
    block_on(append(port, audit, &entries, &[])).unwrap();
}

fn sign(port: &FakePort, audit: &Audit<'_, Gcm>) -> Signed {
    block_on(checkpoint(port, audit, true)).unwrap()
}

fn verdict(port: &FakePort, audit: &Audit<'_, Gcm>, note: &str) -> Verdict {
    let keys = [block_on(key(port, audit)).unwrap()];
    let mut from = None;
    loop {
        match block_on(verify(port, audit, note, &keys, from)).unwrap() {
            Verdict::More(cursor) => {
                // It survives being carried elsewhere.
                let text = serde_json::to_string(&cursor).unwrap();
                from = Some(serde_json::from_str(&text).unwrap());
            }
            other => return other,
        }
    }
}

fn all(port: &FakePort, audit: &Audit<'_, Gcm>) -> Vec<gatehouse::domain::audit::export::Row> {
    let query = Query {
        limit: 100_000,
        ..Query::default()
    };
    let page = block_on(read(port, audit, &query)).unwrap();
    assert_eq!(page.next, None);
    page.rows
}

/// Everything that is stored anywhere.
fn stored(port: &FakePort) -> String {
    let mut text = String::new();
    for (class, rows) in [Class::AuditLog].map(|class| (class, port.rows(class))) {
        text.push_str(&format!("{class:?} {rows:?}"));
    }
    for (key, bytes) in port.blobs.borrow().iter() {
        text.push_str(&format!("{key} {}", String::from_utf8_lossy(bytes)));
    }
    text
}

// === verified by others ===

/// Reads our tiles as a client of tiled logs does.
struct Client<'a> {
    port: &'a FakePort,
    audit: &'a Audit<'a, Gcm>,
}

impl theirs::TileReader for Client<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[theirs::Tile]) -> Result<Vec<Vec<u8>>, theirs::Error> {
        let read = |tile: &theirs::Tile| {
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let bytes = block_on(self::tile(self.port, self.audit, &path)).unwrap();
            bytes.unwrap_or_else(|| panic!("{path} is not served"))
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[theirs::Tile], _: &[Vec<u8>]) {}
}

/// A signed note, verified and parsed by others.
fn trusted(port: &FakePort, audit: &Audit<'_, Gcm>, note: &str) -> theirs::Checkpoint {
    let vkey = block_on(key(port, audit)).unwrap().vkey();
    let verifier = signed_note::StandardVerifier::new(&vkey).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let note = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    note.verify(&known).unwrap();
    theirs::Checkpoint::from_bytes(note.text()).unwrap()
}

#[test]
fn others_verify_checkpoints_tiles_and_proofs() {
    let (keys, port) = (keys(), FakePort::new().of_tenant("acme"));
    let audit = house(&keys);
    let mut old: Vec<theirs::Checkpoint> = Vec::new();
    let mut recorded = 0;
    for size in [1, 2, 255, 256, 257, 511, 700] {
        record(&port, &audit, recorded..size);
        recorded = size;
        if size == 511 {
            block_on(flush(&port, &audit)).unwrap();
        }
        let note = sign(&port, &audit);
        let head = trusted(&port, &audit, &note.text);
        assert_eq!((head.size(), head.origin()), (size, ORIGIN));
        let client = Client {
            port: &port,
            audit: &audit,
        };
        // Their reader authenticates every tile against the checkpoint.
        let reader = theirs::TileHashReader::new(size, *head.hash(), &client);
        for index in [0, size / 2, size - 1] {
            let at = theirs::stored_hash_index(0, index);
            let leaf = reader.read_hashes(&[at]).unwrap()[0];
            let proof = block_on(inclusion(&port, &audit, index, size))
                .unwrap()
                .unwrap();
            assert_eq!(proof.from.0, leaf.0);
            let hashes = proof.hashes.iter().map(|h| theirs::Hash(h.0)).collect();
            theirs::check_record(&hashes, size, *head.hash(), index, leaf).unwrap();
        }
        for old in &old {
            let proof = block_on(consistency(&port, &audit, old.size(), size))
                .unwrap()
                .unwrap();
            assert_eq!((proof.from.0, proof.root.0), (old.hash().0, head.hash().0));
            let hashes = proof.hashes.iter().map(|h| theirs::Hash(h.0)).collect();
            theirs::check_tree(&hashes, size, *head.hash(), old.size(), *old.hash()).unwrap();
            // Tiles of an older checkpoint are still served, cut to its width.
            let reader = theirs::TileHashReader::new(old.size(), *old.hash(), &client);
            let last = theirs::stored_hash_index(0, old.size() - 1);
            reader.read_hashes(&[last]).unwrap();
        }
        old.push(head);
    }
    // Bundles are the leaves of the tiles.
    for (path, width) in [
        ("000", 256),
        ("001", 256),
        ("002.p/188", 188),
        ("002.p/3", 3),
    ] {
        let bytes = block_on(tile(&port, &audit, &format!("tile/entries/{path}")))
            .unwrap()
            .unwrap();
        let leaves = entries(&bytes).unwrap();
        let bytes = block_on(tile(&port, &audit, &format!("tile/0/{path}")))
            .unwrap()
            .unwrap();
        let hashed: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        assert_eq!((hashed.len(), hash_bytes(&hashed)), (width, bytes));
    }
    for path in [
        "tile/0/002",
        "tile/0/003.p/1",
        "tile/1/000.p/3",
        "tile/2/000.p/1",
        "tile/0/002.p/189",
        "tile/entries/002",
        "nothing",
    ] {
        assert_eq!(block_on(tile(&port, &audit, path)).unwrap(), None, "{path}");
    }
    assert_eq!(block_on(inclusion(&port, &audit, 700, 700)).unwrap(), None);
    assert_eq!(block_on(inclusion(&port, &audit, 0, 701)).unwrap(), None);
    assert_eq!(block_on(consistency(&port, &audit, 5, 701)).unwrap(), None);
    assert_eq!(block_on(consistency(&port, &audit, 6, 5)).unwrap(), None);
}

// === faults ===

/// Records, flushes, signs, and records again; stops at the first fault.
async fn story(port: &FakePort, audit: &Audit<'_, Gcm>) -> Result<(), PortFault> {
    let entries: Vec<Entry> = (0..300).map(entry).collect();
    append(port, audit, &entries[..200], &[]).await?;
    checkpoint(port, audit, true).await?;
    append(port, audit, &entries[200..], &[]).await?;
    flush(port, audit).await?;
    erase(port, audit, "vis_2", &entry(300)).await?;
    checkpoint(port, audit, true).await?;
    Ok(())
}

#[test]
fn wherever_it_fails_the_repeated_story_ends_in_one_whole_log() {
    let keys = keys();
    let audit = house(&keys);
    let calls = {
        let port = FakePort::new().of_tenant("acme");
        port.heal();
        block_on(story(&port, &audit)).unwrap();
        port.calls().len()
    };
    assert!(calls > 20, "{calls}");
    for evicting in [false, true] {
        for nth in 0..calls {
            for when in [When::Before, When::After] {
                let port = FakePort::new().of_tenant("acme");
                if evicting {
                    port.evict_always();
                }
                port.fail([Fault {
                    op: None,
                    first: nth,
                    count: 1,
                    when,
                }]);
                assert!(block_on(story(&port, &audit)).is_err(), "{nth} {when:?}");
                let early = block_on(audit.status(&port)).unwrap().checkpoint;
                block_on(story(&port, &audit)).unwrap();
                let note = sign(&port, &audit);
                assert_eq!(note.size, 301, "{nth} {when:?}");
                for note in early.iter().chain([&note]) {
                    let found = verdict(&port, &audit, &note.text);
                    let expected = Verdict::Consistent {
                        checkpoint: note.size,
                        size: 301,
                    };
                    assert_eq!(found, expected, "{nth} {when:?}");
                }
                let rows = all(&port, &audit);
                let ids: Vec<_> = rows
                    .iter()
                    .rev()
                    .map(|row| row.leaf["id"].clone())
                    .collect();
                let expected: Vec<_> = (0..301).map(|n| json!(format!("evt_{n}"))).collect();
                assert_eq!(ids, expected, "{nth} {when:?}");
            }
        }
    }
}

#[test]
fn a_log_that_fills_up_flushes_itself() {
    let (keys, port) = (keys(), FakePort::new().of_tenant("acme"));
    let audit = house(&keys);
    // Nothing can be flushed: appending goes on until the object is full, and then is refused.
    port.fail([Fault {
        op: Some(Op::BlobPut),
        first: 0,
        count: usize::MAX,
        when: When::Before,
    }]);
    for batch in 0..64 {
        record(&port, &audit, batch * 64..(batch + 1) * 64);
    }
    let more: Vec<Entry> = (5000..5001).map(entry).collect();
    assert!(block_on(append(&port, &audit, &more, &[])).is_err());
    port.heal();
    assert_eq!(block_on(append(&port, &audit, &more, &[])).unwrap(), [4096]);
    assert_eq!(block_on(audit.status(&port)).unwrap().flushed, 16);
    let note = sign(&port, &audit);
    assert!(matches!(
        verdict(&port, &audit, &note.text),
        Verdict::Consistent { .. }
    ));
}

// === tampering ===

type Blobs = BTreeMap<String, Vec<u8>>;

fn blob(path: &str) -> String {
    format!("v1/acme/audit/{path}")
}

/// Changes the leaves of a bundle.
fn edit(blobs: &mut Blobs, tile: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let bytes = blobs
        .get_mut(&blob(&format!("tile/entries/{tile}")))
        .unwrap();
    let mut leaves: Vec<Vec<u8>> = entries(bytes).unwrap().iter().map(|l| l.to_vec()).collect();
    change(&mut leaves);
    *bytes = bundle(leaves.iter().map(Vec::as_slice));
}

/// Makes the tiles of hashes those of the entries, as somebody would who may write everything.
fn rehash(blobs: &mut Blobs, tiles: &[&str]) -> Vec<Hash> {
    tiles
        .iter()
        .map(|tile| {
            let bytes = &blobs[&blob(&format!("tile/entries/{tile}"))];
            let hashed: Vec<Hash> = entries(bytes).unwrap().into_iter().map(leaf_hash).collect();
            blobs.insert(blob(&format!("tile/0/{tile}")), hash_bytes(&hashed));
            root(&hashed)
        })
        .collect()
}

/// 600 entries, two tiles of them flushed; and an older checkpoint of 550.
fn written(keys: &Keys) -> (FakePort, Signed) {
    let (port, audit) = (FakePort::new().of_tenant("acme"), house(keys));
    record(&port, &audit, 0..550);
    let note = sign(&port, &audit);
    record(&port, &audit, 550..600);
    block_on(flush(&port, &audit)).unwrap();
    assert_eq!(
        verdict(&port, &audit, &note.text),
        Verdict::Consistent {
            checkpoint: 550,
            size: 600
        }
    );
    (port, note)
}

#[test]
fn whatever_is_changed_an_older_checkpoint_shows_it() {
    let keys = keys();
    let audit = house(&keys);
    let leaf = |n: u64| entry(n).leaf(None, None).into_bytes();
    let rows = |port: &FakePort, change: &dyn Fn(&mut BTreeMap<String, String>)| {
        port.change_rows(Class::AuditLog, OBJECT, change);
    };
    let missing = |path: &str| Verdict::Missing { path: path.into() };
    type Case<'a> = (&'a str, Box<dyn Fn(&FakePort) + 'a>, Verdict);
    let cases: Vec<Case> = vec![
        (
            "an entry is edited",
            Box::new(|port| {
                edit(&mut port.blobs.borrow_mut(), "001", |leaves| {
                    leaves[44] = leaf(999)
                })
            }),
            Verdict::Changed { index: 300 },
        ),
        (
            "an entry is deleted",
            Box::new(|port| {
                edit(&mut port.blobs.borrow_mut(), "000", |leaves| {
                    drop(leaves.remove(7))
                })
            }),
            missing("tile/entries/000"),
        ),
        (
            "an entry is deleted and another put at the end",
            Box::new(|port| {
                edit(&mut port.blobs.borrow_mut(), "000", |leaves| {
                    leaves.remove(7);
                    leaves.push(leaf(999));
                });
            }),
            Verdict::Changed { index: 7 },
        ),
        (
            "two entries are swapped",
            Box::new(|port| {
                edit(&mut port.blobs.borrow_mut(), "000", |leaves| {
                    leaves.swap(3, 4)
                })
            }),
            Verdict::Changed { index: 3 },
        ),
        (
            "two tiles are swapped whole",
            Box::new(|port| {
                let mut blobs = port.blobs.borrow_mut();
                for kind in ["entries", "0"] {
                    let [a, b] = ["000", "001"].map(|n| blob(&format!("tile/{kind}/{n}")));
                    let (x, y) = (blobs[&a].clone(), blobs[&b].clone());
                    blobs.extend([(a, y), (b, x)]);
                }
            }),
            missing("tile/1/000"),
        ),
        (
            "a bundle is cut in the middle of an entry",
            Box::new(|port| {
                let mut blobs = port.blobs.borrow_mut();
                blobs.get_mut(&blob("tile/entries/001")).unwrap().pop();
            }),
            missing("tile/entries/001"),
        ),
        (
            "a bundle is removed",
            Box::new(|port| drop(port.blobs.borrow_mut().remove(&blob("tile/entries/000")))),
            missing("tile/entries/000"),
        ),
        (
            "a tile of hashes is removed",
            Box::new(|port| drop(port.blobs.borrow_mut().remove(&blob("tile/0/001")))),
            missing("tile/0/001"),
        ),
        (
            "a tile of hashes is edited",
            Box::new(|port| {
                port.blobs
                    .borrow_mut()
                    .get_mut(&blob("tile/0/001"))
                    .unwrap()[64] ^= 1
            }),
            Verdict::Changed { index: 258 },
        ),
        (
            "an entry and its tile are edited",
            Box::new(|port| {
                let mut blobs = port.blobs.borrow_mut();
                edit(&mut blobs, "000", |leaves| leaves[9] = leaf(999));
                rehash(&mut blobs, &["000"]);
            }),
            missing("tile/1/000"),
        ),
        (
            "everything flushed is rewritten, with tiles and rows",
            Box::new(|port| {
                let mut blobs = port.blobs.borrow_mut();
                edit(&mut blobs, "000", |leaves| leaves[9] = leaf(999));
                let roots = rehash(&mut blobs, &["000", "001"]);
                let level = serde_json::to_string(&roots).unwrap();
                rows(port, &|rows| {
                    drop(rows.insert("log/t/0000000000000001".into(), level.clone()))
                });
            }),
            Verdict::Rewritten { size: 550 },
        ),
        (
            "an entry in the object is edited",
            Box::new(|port| {
                let key = format!("log/e/{:016x}", 520);
                rows(port, &|rows| {
                    let value = rows[&key].replace("key.revoke", "key.change");
                    rows.insert(key.clone(), value);
                });
            }),
            Verdict::Rewritten { size: 550 },
        ),
        (
            "the end is cut off",
            Box::new(|port| {
                rows(port, &|rows| {
                    rows.retain(|key, _| {
                        !key.starts_with("log/e/") || *key < format!("log/e/{:016x}", 540)
                    })
                })
            }),
            Verdict::Truncated { size: 540 },
        ),
        (
            "the log begins anew",
            Box::new(|port| {
                port.blobs.borrow_mut().clear();
                rows(port, &BTreeMap::clear);
                record(port, &house(&keys), 1000..1600);
            }),
            Verdict::Rewritten { size: 550 },
        ),
        (
            "the log begins anew and is signed again",
            Box::new(|port| {
                port.blobs.borrow_mut().clear();
                rows(port, &BTreeMap::clear);
                record(port, &house(&keys), 1..700);
                sign(port, &house(&keys));
                block_on(flush(port, &house(&keys))).unwrap();
            }),
            Verdict::Rewritten { size: 550 },
        ),
    ];
    for (what, tamper, expected) in cases {
        let (port, note) = written(&keys);
        tamper(&port);
        assert_eq!(verdict(&port, &audit, &note.text), expected, "{what}");
    }
}

#[test]
fn a_forged_checkpoint_is_no_checkpoint() {
    let keys = keys();
    let audit = house(&keys);
    let (port, note) = written(&keys);
    let text = &note.text;
    let wrong = Keys {
        seed: Secret::new([9; 32]),
        ..self::keys()
    };
    let other = FakePort::new().of_tenant("acme");
    record(&other, &house(&wrong), 0..550);
    let by_other_key = sign(&other, &house(&wrong)).text;
    let signature = by_other_key.lines().last().unwrap();
    let ours = text.lines().last().unwrap();
    for (forged, expected) in [
        (text.replacen("\n550\n", "\n551\n", 1), Verdict::Forged),
        (by_other_key.clone(), Verdict::Forged),
        (text.replace(ours, signature), Verdict::Forged),
        (
            text.replace(&ours[40..60], &signature[40..60]),
            Verdict::Forged,
        ),
        (
            text.replace("acme.example", "evil.example"),
            Verdict::NotACheckpoint,
        ),
        ("550".to_owned(), Verdict::NotACheckpoint),
        (String::new(), Verdict::NotACheckpoint),
    ] {
        assert_eq!(verdict(&port, &audit, &forged), expected, "{forged}");
    }
}

#[test]
fn nothing_is_signed_that_contradicts_an_earlier_checkpoint() {
    let keys = keys();
    let audit = house(&keys);
    // Changed in the object, where the object itself notices; and in a flushed tile, where only the proof does.
    for flushed in [false, true] {
        let (port, note) = written(&keys);
        record(&port, &audit, 600..800);
        if flushed {
            block_on(flush(&port, &audit)).unwrap();
            // The hash of entry 544: 32 × 32 bytes into the tile that begins with 512.
            let key = blob("tile/0/002");
            port.blobs.borrow_mut().get_mut(&key).unwrap()[1024] ^= 1;
        } else {
            let row = format!("log/e/{:016x}", 530);
            port.change_rows(Class::AuditLog, OBJECT, |rows| {
                let value = rows[&row].replace("evt_", "evil");
                rows.insert(row.clone(), value);
            });
        }
        assert!(
            block_on(checkpoint(&port, &audit, true)).is_err(),
            "{flushed}"
        );
        let newest = block_on(audit.status(&port)).unwrap().checkpoint.unwrap();
        assert_eq!(newest, note);
    }
}

#[test]
fn a_checkpoint_is_signed_once_a_minute_on_demand_or_by_a_new_key() {
    let keys = keys();
    let (port, audit) = (FakePort::new().of_tenant("acme"), house(&keys));
    let now =
        |port: &FakePort, audit: &Audit<'_, Gcm>| block_on(checkpoint(port, audit, false)).unwrap();
    assert_eq!(now(&port, &audit).size, 0, "the empty log has one too");
    record(&port, &audit, 0..2);
    port.pass(Millis(59_999));
    assert_eq!(now(&port, &audit).size, 0);
    port.pass(Millis(1));
    let two = now(&port, &audit);
    assert_eq!(two.size, 2);
    record(&port, &audit, 2..3);
    assert_eq!(now(&port, &audit), two);
    let three = sign(&port, &audit);
    assert_eq!(three.size, 3);
    port.pass(Millis(600_000));
    assert_eq!(now(&port, &audit), three, "nothing new, nothing signed");
    let rotated = Keys {
        seed: Secret::new([0x61; 32]),
        ..self::keys()
    };
    let anew = now(&port, &house(&rotated));
    assert_eq!(anew.size, 3);
    assert_ne!(anew.text, three.text);
    trusted(&port, &house(&rotated), &anew.text);
}

// === what is personal ===

#[test]
fn erasing_a_subject_leaves_every_proof_and_nothing_to_read() {
    let keys = keys();
    let audit = house(&keys);
    let (port, old) = written(&keys);
    let before = all(&port, &audit);
    assert!(
        before
            .iter()
            .all(|row| matches!(row.who, Part::Open(_)) && matches!(row.what, Part::Open(_)))
    );
    assert!(
        !stored(&port).contains("canary"),
        "nothing personal lies open"
    );
    let gone = Entry {
        target: Some("visitor".into()),
        ..Entry::new(
            "evt_erase",
            START,
            Actor::Operator,
            Action::SubjectErase,
            TENANT,
        )
    };
    block_on(erase(&port, &audit, "vis_1", &gone)).unwrap();
    for evicted in [false, true] {
        if evicted {
            port.evict_always();
        }
        let after = all(&port, &audit);
        assert_eq!(after.len(), 601);
        assert_eq!(after[0].leaf["action"], "subject.erase");
        for (row, was) in after[1..].iter().zip(&before) {
            assert_eq!(row.leaf, was.leaf);
            assert_eq!(row.who, was.who);
            if row.index % 3 == 1 {
                assert_eq!(row.what, Part::Erased);
            } else {
                assert_eq!(row.what, was.what);
            }
        }
        assert_eq!(
            verdict(&port, &audit, &old.text),
            Verdict::Consistent {
                checkpoint: 550,
                size: 601
            }
        );
        let text = block_on(export(&port, &audit, Filter::default(), None, Format::Json))
            .unwrap()
            .0;
        assert_eq!(text.matches(r#""what":"erased""#).count(), 200);
        assert!(!text.contains("vis_1\""));
        assert!(
            !stored(&port).contains("vis_1"),
            "not even that there was such a subject"
        );
    }
    // Who comes back gets another key; what was erased stays so.
    record(&port, &audit, 601..602);
    let rows = all(&port, &audit);
    assert!(matches!(rows[0].what, Part::Open(_)));
    assert_eq!(
        rows.iter().filter(|row| row.what == Part::Erased).count(),
        200
    );
}

#[test]
fn sealed_fields_that_were_changed_are_damaged_and_not_shown() {
    let keys = keys();
    let audit = house(&keys);
    let (port, _) = written(&keys);
    let key = blob("personal/000");
    let bytes = port.blobs.borrow()[&key].clone();
    let mut parts: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    // The fields of two entries are swapped, and one text is flipped.
    let a = parts[3].clone();
    parts[3] = parts[6].clone();
    parts[6] = a;
    let text = parts[9][0][2].as_str().unwrap().to_owned();
    let flipped = if text.ends_with('A') { "B" } else { "A" };
    parts[9][0][2] = json!(format!("{}{flipped}", &text[..text.len() - 1]));
    port.blobs
        .borrow_mut()
        .insert(key.clone(), parts.to_string().into());
    let rows = all(&port, &audit);
    let row = |index: usize| &rows[599 - index];
    for index in [3, 6] {
        assert_eq!(
            (&row(index).who, &row(index).what),
            (&Part::Damaged, &Part::Damaged)
        );
    }
    assert_eq!(row(9).who, Part::Damaged);
    assert!(matches!(row(9).what, Part::Open(_)));
    // Without the blob the entries are still there.
    port.blobs.borrow_mut().remove(&key);
    let rows = all(&port, &audit);
    assert_eq!((rows.len(), &rows[599].who), (600, &Part::Damaged));
}

#[test]
fn fields_that_open_but_are_not_what_the_leaf_commits_to_are_damaged() {
    // Whoever holds the subject's key can seal other fields, and still not change the leaf.
    let (salt, other) = ([1; 32], [2; 32]);
    let text = personal("op_1", "a").unwrap().text();
    let leaf = base64url(&Commitment::to(&salt, &text).0);
    assert!(opened(salted(&salt, &text).as_bytes(), &leaf).is_some());
    let forged = personal("op_1", "b").unwrap().text();
    for (salt, text) in [(salt, forged), (other, text)] {
        assert_eq!(opened(salted(&salt, &text).as_bytes(), &leaf), None);
    }
    assert_eq!(opened(b"short", &leaf), None);
}

#[test]
fn an_entry_is_recorded_even_when_its_personal_part_cannot_be_kept() {
    let keys = keys();
    let (port, audit) = (FakePort::new().of_tenant("acme"), house(&keys));
    record(&port, &audit, 0..1);
    // The wrapping key is lost: what it wrapped cannot be used any more.
    let lost = Keys {
        seal: Secret::new([1; 32]),
        ..self::keys()
    };
    record(&port, &house(&lost), 3..4);
    let rows = all(&port, &audit);
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0].who, &rows[0].what),
        (&Part::NotKept, &Part::NotKept)
    );
    let mut large = entry(6);
    let fields = &mut large.who.as_mut().unwrap().fields;
    fields.insert("detail".into(), json!("x".repeat(100_000)));
    large.request = "é".repeat(500);
    block_on(append(&port, &audit, &[large], &[])).unwrap();
    let rows = all(&port, &audit);
    let Part::Open(fields) = &rows[0].who else {
        panic!("{:?}", rows[0].who)
    };
    assert_eq!(json!(fields), json!({"omitted": true, "subject": "op_1"}));
    assert_eq!(rows[0].leaf["request"].as_str().unwrap(), "é".repeat(64));
}

// === reading ===

#[test]
fn pages_follow_each_other_whatever_is_filtered() {
    let keys = keys();
    let audit = house(&keys);
    let (port, _) = written(&keys);
    let expected: Vec<u64> = (0..600).rev().filter(|n| n % 3 == 2 && *n >= 100).collect();
    for limit in [1, 7, 100, 1000] {
        let mut query = Query {
            filter: Filter {
                subject: Some("vis_2".into()),
                since: Some(START.plus(Millis(100))),
                ..Filter::default()
            },
            before: None,
            limit,
        };
        let mut seen = Vec::new();
        loop {
            let page = block_on(read(&port, &audit, &query)).unwrap();
            assert!(page.rows.len() <= limit);
            seen.extend(page.rows.iter().map(|row| row.index));
            match page.next {
                Some(next) => query.before = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{limit}");
    }
}

#[test]
fn an_export_has_a_head_and_a_line_for_each_entry() {
    let keys = keys();
    let (port, audit) = (FakePort::new().of_tenant("acme"), house(&keys));
    let mut evil = entry(0);
    evil.target = Some("=cmd|' /C calc'!A0".into());
    block_on(append(&port, &audit, &[evil], &[])).unwrap();
    let (csv, next) =
        block_on(export(&port, &audit, Filter::default(), None, Format::Csv)).unwrap();
    assert_eq!((csv.lines().count(), next), (2, None));
    assert!(csv.starts_with("\"index\",\"at\",\"actor\""));
    assert!(csv.contains("\"'=cmd|' /C calc'!A0\""));
}

// === events of other objects ===

/// Adds, and refuses 0.
#[derive(Default)]
struct Counter(u64);

#[derive(serde::Serialize, serde::Deserialize)]
struct Answer(bool);

impl Told for Answer {
    fn refused(&self) -> Option<&str> {
        (!self.0).then_some("forbidden")
    }
}

impl Machine for Counter {
    type Command = u64;
    type Reply = Answer;

    fn load(_: Millis, _: Vec<(String, String)>) -> Self {
        Self(0)
    }

    fn apply(&mut self, _: Millis, n: u64) -> (Answer, Effects) {
        self.0 += n;
        let write = Write {
            key: "n".into(),
            value: Some(self.0.to_string()),
        };
        let writes = (n > 0).then_some(write).into_iter().collect();
        (
            Answer(n > 0),
            Effects {
                writes,
                ..Effects::default()
            },
        )
    }

    fn wake(&mut self, _: Millis) -> Effects {
        Effects::default()
    }
}

#[test]
fn waiting_events_arrive_once_whatever_fails() {
    let keys = keys();
    let audit = house(&keys);
    for fail_ack in [None, Some(When::Before), Some(When::After)] {
        for nth in 0..6 {
            let port = FakePort::new().of_tenant("acme");
            let counter: RefCell<Audited<Counter>> = RefCell::new(Audited::load(START, Vec::new()));
            let act = |n: u64, event: String, id: String| {
                let command = outbox::Command::Do {
                    event: Some(event),
                    event_id: id,
                    offer: None,
                    command: n,
                };
                counter.borrow_mut().apply(START, command);
            };
            for n in 0..150 {
                act(u64::from(n != 70), entry(n).to_event(), format!("evt_{n}"));
            }
            act(1, "{\"not\":\"an entry\"}".into(), "evt_bad".into());
            let acks = RefCell::new(0);
            let ask = async |drain: Drain| {
                let failing = matches!(drain, Drain::Ack(_)) && acks.replace_with(|n| *n + 1) == 1;
                let when = fail_ack.filter(|_| failing);
                if when == Some(When::Before) {
                    return Err(PortFault("before".into()));
                }
                let reply = counter
                    .borrow_mut()
                    .apply(START, outbox::Command::Out(drain))
                    .0;
                match reply {
                    _ if when.is_some() => Err(PortFault("after".into())),
                    outbox::Reply::Out(pending) => Ok(pending),
                    _ => panic!("another reply"),
                }
            };
            port.fail([Fault {
                op: None,
                first: nth,
                count: 1,
                when: When::After,
            }]);
            while block_on(drain(&port, &audit, &ask)).is_err() {}
            assert_eq!(counter.borrow().waiting(), 0);
            let rows = all(&port, &audit);
            let ids: Vec<_> = rows
                .iter()
                .rev()
                .map(|row| row.leaf["id"].clone())
                .collect();
            let mut expected: Vec<_> = (0..150).map(|n| json!(format!("evt_{n}"))).collect();
            expected.push(json!("evt_bad"));
            assert_eq!(ids, expected);
            assert_eq!(rows[0].leaf["action"], "audit.unreadable");
            assert_eq!(rows[150 - 70].leaf["outcome"], "forbidden");
            assert_eq!(rows[150 - 71].leaf["outcome"], "ok");
        }
    }
}

// === mirroring ===

const HOOK: &str = "https://elsewhere.example/hook";

fn secret() -> WebhookSecret {
    WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
}

fn header(sent: &crate::support::upstream::Sent, name: &str) -> String {
    let found = sent.headers.iter().find(|(n, _)| *n == name);
    found.unwrap().1.clone()
}

#[test]
fn a_checkpoint_is_mirrored_until_it_arrives_and_then_no_more() {
    let keys = keys();
    let (port, audit) = (FakePort::new().of_tenant("acme"), house(&keys));
    let send = |port: &FakePort| block_on(mirror(port, &audit, HOOK, &secret()));
    assert_eq!(send(&port), Ok(false), "nothing is signed yet");
    record(&port, &audit, 0..3);
    let note = sign(&port, &audit);
    let late = Scripted::json(200, &json!({})).after(Millis(15_001));
    let answers = [
        Scripted::refused(),
        Scripted::json(500, &json!({})),
        Scripted::json(302, &json!({})),
        Scripted::json(410, &json!({})),
        late,
    ];
    let failures = answers.len();
    port.script.borrow_mut().extend(answers);
    for _ in 0..failures {
        assert!(send(&port).is_err());
        port.pass(Millis(1000));
    }
    // It arrives, but that cannot be noted: it is sent once more, and the receiver knows it by its id.
    for _ in 0..2 {
        port.script
            .borrow_mut()
            .push_back(Scripted::json(204, &json!({})));
    }
    port.fail([Fault {
        op: Some(Op::Object(Class::AuditLog)),
        first: 1,
        count: 1,
        when: When::Before,
    }]);
    assert!(send(&port).is_err());
    assert_eq!(send(&port), Ok(true));
    assert_eq!(send(&port), Ok(false));
    let sent = port.sent.borrow();
    assert_eq!(sent.len(), failures + 2);
    let id = header(&sent[0], "webhook-id");
    assert!(!id.contains('.'));
    for sent in sent.iter() {
        assert_eq!(
            (sent.url.as_str(), header(sent, "webhook-id")),
            (HOOK, id.clone())
        );
        let at: u64 = header(sent, "webhook-timestamp").parse().unwrap();
        assert_eq!(at, sent.at.secs());
        let again = secret().headers(&id, at, &sent.body);
        assert!(again.contains(&("webhook-signature", header(sent, "webhook-signature"))));
        let body = sent.json();
        assert_eq!(body["type"], "audit.checkpoint");
        assert_eq!(body["data"]["checkpoint"], note.text);
        // Whoever keeps it can verify the log with what it holds.
        let text = body["data"]["checkpoint"].as_str().unwrap();
        assert!(matches!(
            verdict(&port, &audit, text),
            Verdict::Consistent { checkpoint: 3, .. }
        ));
        assert_eq!(sent.body, port.sent.borrow()[0].body, "the same each time");
    }
}

#[test]
fn hashes_of_tiles_are_whole_or_none() {
    assert_eq!(hashes(&[0; 33]), None);
    assert_eq!(hashes(&[0; 64]).unwrap().len(), 2);
    assert_eq!(FakePort::new().of_tenant("acme").now(), START);
}
