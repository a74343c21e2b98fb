//! A key management service that fails, under a house that runs.

use std::cell::Cell;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gatehouse::app::keyring::{change, keyring, rotate};
use gatehouse::app::port::{Class, Port};
use gatehouse::base::time::Millis;
use gatehouse::domain::keyring::{Command, Opened, Reply, SESSION_OVERLAP, Wrapper};
use serde_json::json;

use crate::support::fake_port::FakePort;
use crate::support::run::block_on;
use crate::support::upstream::Scripted;

/// A service that wraps by adding a tail, and can be down, or wrap something else than it was given.
struct Kms {
    up: Rc<Cell<bool>>,
    spoils: Rc<Cell<bool>>,
    unwraps: Rc<Cell<u32>>,
}

fn house() -> (FakePort, Kms) {
    let port = FakePort::with(
        |config| config.keyring.kms_url = Some("https://kms.example".into()),
        &[("KMS_TOKEN", "canary-kms-token")],
    );
    let kms = Kms {
        up: Rc::new(Cell::new(true)),
        spoils: Rc::default(),
        unwraps: Rc::default(),
    };
    let (up, unwraps) = (Rc::clone(&kms.up), Rc::clone(&kms.unwraps));
    let spoils = Rc::clone(&kms.spoils);
    port.provider_that("", move |sent| {
        if !up.get() {
            return Scripted::refused();
        }
        let body = sent.json();
        let bytes = |name: &str| STANDARD.decode(body[name].as_str().unwrap()).unwrap();
        if sent.url.ends_with("/wrap") {
            let mut plain = bytes("plaintext");
            if spoils.get() {
                plain[9] ^= 1;
            }
            let wrapped = [plain, vec![7; 16]].concat();
            return Scripted::json(
                200,
                &json!({"ciphertext": STANDARD.encode(wrapped), "key_id": "k1"}),
            );
        }
        unwraps.set(unwraps.get() + 1);
        let plain = STANDARD.encode(&bytes("ciphertext")[..32]);
        Scripted::json(200, &json!({"plaintext": plain}))
    });
    (port, kms)
}

fn opened(port: &FakePort) -> Rc<Opened> {
    block_on(keyring(port)).unwrap()
}

fn changed(port: &FakePort, command: Command) {
    let reply = block_on(change(port, command, None)).unwrap();
    assert!(
        matches!(reply, Reply::Done { changed: true, .. }),
        "{reply:?}"
    );
}

/// A second version, known and not yet used.
fn begun(port: &FakePort) {
    let begin = block_on(rotate::begin(port, &Wrapper::Kms, 2)).unwrap();
    changed(port, begin);
}

#[test]
fn what_is_wrapped_as_before_is_not_unwrapped_again() {
    let (port, kms) = house();
    let ring = opened(&port);
    assert_eq!(kms.unwraps.get(), 2, "to see that it opens, and to open it");
    kms.up.set(false);
    let command = rotate::session(&port, &ring, SESSION_OVERLAP).unwrap();
    changed(&port, command);
    port.pass(Millis::from_secs(1));
    let newer = opened(&port);
    assert!(newer.ring.revision > ring.ring.revision);
    // A new isolate has to ask.
    kms.up.set(true);
    port.other_isolate();
    opened(&port);
    assert_eq!(kms.unwraps.get(), 3);
    begun(&port);
    port.pass(Millis::from_secs(1));
    opened(&port);
    assert_eq!(kms.unwraps.get(), 5, "the new version alone");
}

#[test]
fn a_version_that_the_service_would_not_give_back_is_not_kept() {
    let (port, kms) = house();
    kms.spoils.set(true);
    assert!(block_on(keyring(&port)).is_err());
    assert!(port.rows(Class::Keyring).is_empty(), "nothing was made");
    kms.spoils.set(false);
    let ring = opened(&port);
    // Neither a new version nor one that is wrapped anew.
    let rows = port.rows(Class::Keyring);
    kms.spoils.set(true);
    assert!(block_on(rotate::begin(&port, &Wrapper::Kms, 2)).is_err());
    assert_eq!(port.rows(Class::Keyring), rows);
    kms.spoils.set(false);
    port.other_isolate();
    assert_eq!(opened(&port).ring.revision, ring.ring.revision);
}

#[test]
fn an_outage_after_a_change_leaves_running_isolates_with_what_they_have() {
    let (port, kms) = house();
    let ring = opened(&port);
    begun(&port);
    kms.up.set(false);
    port.pass(Millis::from_secs(1));
    let sent = port.sent.borrow().len();
    for _ in 0..3 {
        let kept = opened(&port);
        assert_eq!(kept.ring.revision, ring.ring.revision);
        assert!(kept.session_signer(port.now()).is_ok() && kept.pepper().is_ok());
    }
    assert_eq!(
        port.sent.borrow().len(),
        sent + 1,
        "the service is not asked by every call"
    );
    kms.up.set(true);
    port.pass(Millis::from_secs(5));
    assert!(opened(&port).ring.revision > ring.ring.revision);
}

#[test]
fn a_new_isolate_opens_nothing_during_an_outage() {
    let (port, kms) = house();
    opened(&port);
    kms.up.set(false);
    port.other_isolate();
    assert!(block_on(keyring(&port)).is_err());
}

#[test]
fn a_ring_whose_versions_fell_below_the_floor_is_not_kept() {
    let (port, kms) = house();
    opened(&port);
    begun(&port);
    // Another isolate does all of it while this one stands aside.
    let mine = port.known(|known| known.ring.clone());
    port.other_isolate();
    port.pass(Millis::from_secs(3600));
    changed(&port, Command::Activate { n: 2 });
    port.pass(Millis::from_secs(1));
    while block_on(rotate::rewrap_all(&port)).unwrap() > 0 {}
    port.known(|known| known.ring = mine.clone());
    kms.up.set(false);
    port.pass(Millis::from_secs(1));
    // Superseded is not refused.
    assert!(block_on(keyring(&port)).is_ok());
    kms.up.set(true);
    port.other_isolate();
    changed(&port, Command::RaiseFloor { to: 2 });
    port.pass(Millis::from_secs(1));
    port.known(|known| known.ring = mine);
    kms.up.set(false);
    port.pass(Millis::from_secs(10));
    assert!(block_on(keyring(&port)).is_err());
}
