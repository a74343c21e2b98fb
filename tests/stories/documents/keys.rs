//! Uploads with an `Idempotency-Key`: one key is one document and one reply, whatever fails and whoever asks again.

use std::cell::Cell;

use gatehouse::app::port::{ByteSource, PortFault};

use super::*;

/// An upload that names what tests change.
#[derive(Clone, Copy)]
struct Sent<'a> {
    key: Option<&'a str>,
    boundary: &'a str,
    filename: &'a str,
    purpose: &'a str,
    seconds: Option<&'a str>,
    content: &'a [u8],
    anthropic: bool,
}

/// The upload that all others are compared with.
const FOX: Sent<'static> = Sent {
    key: Some("upload 1"),
    boundary: "B",
    filename: "fox.txt",
    purpose: "user_data",
    seconds: None,
    content: CONTENT,
    anthropic: false,
};

impl Sent<'_> {
    fn body(&self) -> Vec<u8> {
        let field = |name: &str, value: &str| {
            let boundary = self.boundary;
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
        };
        let mut head = field("purpose", self.purpose);
        if let Some(seconds) = self.seconds {
            head.push_str(&field("expires_after[anchor]", "created_at"));
            head.push_str(&field("expires_after[seconds]", seconds));
        }
        head.push_str(&format!(
            "--{}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\r\n",
            self.boundary, self.filename
        ));
        let end = format!("\r\n--{}--\r\n", self.boundary);
        [head.as_bytes(), self.content, end.as_bytes()].concat()
    }

    fn head(&self, length: usize) -> Head {
        Head {
            content_type: Some(format!("multipart/form-data; boundary={}", self.boundary)),
            content_length: Some(length as u64),
            idempotency_key: self.key.map(str::to_owned),
            anthropic_version: self.anthropic.then(|| "2023-06-01".into()),
            ..head("POST", "/v1/files")
        }
    }

    async fn to(self, port: &FakePort, caller: &Caller) -> Result<Received, Refusal> {
        let body = self.body();
        let mut pieces = FakeBody::whole(&body, 7);
        self.through(port, caller, &mut pieces).await
    }

    async fn through(
        self,
        port: &FakePort,
        caller: &Caller,
        body: &mut impl ByteSource,
    ) -> Result<Received, Refusal> {
        let head = self.head(self.body().len());
        let reply = create_in_segments(port, caller, &head, body, SEGMENT).await?;
        Ok(Received::from(reply))
    }
}

fn send(port: &FakePort, caller: &Caller, sent: Sent<'_>) -> Result<Received, Refusal> {
    block_on(sent.to(port, caller))
}

fn attached(received: &Received) -> bool {
    received.header("x-gatehouse-attached") == Some("true")
}

/// Everything that is stored, except when the owner is due for a visit.
fn stored(port: &FakePort) -> String {
    let (owners, ledgers) = (port.rows(Class::Owner), port.rows(Class::Ledger));
    format!("{:?} {owners:?} {ledgers:?}", port.blobs.borrow())
}

/// The rows of the visitor's keys.
fn keys(port: &FakePort) -> Vec<String> {
    let owners = port.rows(Class::Owner).into_values();
    let rows = owners.flat_map(BTreeMap::into_iter);
    rows.filter(|(key, _)| key.starts_with("key/"))
        .map(|(key, row)| format!("{key} {row}"))
        .collect()
}

/// A body that lets time pass before some of its pieces.
struct Slow<'a> {
    body: FakeBody,
    port: &'a FakePort,
    /// Which piece waits how long; `None` is every one.
    waits: (Option<usize>, Millis),
}

impl ByteSource for Slow<'_> {
    async fn next(&mut self) -> Option<Result<Vec<u8>, PortFault>> {
        let (which, time) = self.waits;
        if which.is_none_or(|which| which == self.body.read) {
            self.port.sleep(time).await;
        }
        self.body.next().await
    }
}

/// The fox in pieces of 7 bytes, slowly.
fn slowly(port: &FakePort, waits: (Option<usize>, Millis)) -> Slow<'_> {
    Slow {
        body: FakeBody::whole(&FOX.body(), 7),
        port,
        waits,
    }
}

// === the same again ===

#[test]
fn the_same_upload_again_gets_the_same_reply_and_stores_nothing() {
    let port = FakePort::new();
    port.evict_always();
    let caller = visitor("vis_1");
    let first = send(&port, &caller, FOX).unwrap();
    assert!(!attached(&first));
    let before = stored(&port);
    port.pass(Millis::from_secs(5));
    for boundary in ["B", "another"] {
        let again = send(&port, &caller, Sent { boundary, ..FOX }).unwrap();
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert!(attached(&again));
    }
    assert_eq!(stored(&port), before);
    assert_whole(&port, &caller, "after the repetitions");
}

#[test]
fn anything_else_under_the_key_is_a_conflict_and_stores_nothing() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let first = send(&port, &caller, FOX).unwrap();
    let before = stored(&port);
    let others = [
        Sent {
            content: b"The quick brown fox",
            ..FOX
        },
        Sent {
            filename: "dog.txt",
            ..FOX
        },
        Sent {
            filename: "fox.md",
            ..FOX
        },
        Sent {
            purpose: "batch",
            ..FOX
        },
        Sent {
            seconds: Some("3600"),
            ..FOX
        },
    ];
    for other in others {
        let refusal = send(&port, &caller, other).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (Code::IdempotencyConflict, Some("Idempotency-Key"))
        );
        assert_eq!(stored(&port), before);
    }
    assert_eq!(send(&port, &caller, FOX).unwrap().body, first.body);
}

#[test]
fn a_form_that_is_broken_is_told_so_and_the_key_stands_as_before() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let first = send(&port, &caller, FOX).unwrap();
    let body = FOX.body();
    let mut cut = FakeBody::cut(&body[..body.len() / 2], 7);
    let refusal = block_on(FOX.through(&port, &caller, &mut cut)).unwrap_err();
    assert_eq!(refusal.code, Code::IncompleteBody);
    assert_eq!(send(&port, &caller, FOX).unwrap().body, first.body);
}

#[test]
fn a_reply_is_repeated_when_its_document_is_gone_and_until_the_key_is_over() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let first = send(&port, &caller, FOX).unwrap();
    remove(&port, &caller, first.json()["id"].as_str().unwrap()).unwrap();
    sweep_all(&port);
    port.pass(Millis(24 * HOUR.0 - 1));
    assert_eq!(send(&port, &caller, FOX).unwrap().body, first.body);
    assert_eq!(listed(&port, &caller), [""; 0]);
    port.pass(Millis(1));
    assert!(port.rows(Class::Owner).is_empty(), "by its alarm alone");
    port.pass(HOUR);
    sweep_all(&port);
    assert_nothing_left(&port, "after the key's day");
    let next = send(&port, &caller, FOX).unwrap();
    assert!(!attached(&next) && next.body != first.body);
}

#[test]
fn a_key_costs_no_call_more_and_without_one_none_is_kept() {
    let calls = |sent| {
        let port = FakePort::new();
        send(&port, &visitor("vis_1"), sent).unwrap();
        (port.calls(), keys(&port).len())
    };
    let (with, kept) = calls(FOX);
    let (without, none) = calls(Sent { key: None, ..FOX });
    assert_eq!((with, kept, none), (without, 1, 0));
}

// === whose a key is ===

#[test]
fn visitors_and_protocols_have_keys_of_their_own() {
    let port = FakePort::new();
    let (one, two) = (visitor("vis_1"), visitor("vis_2"));
    let claude = Sent {
        anthropic: true,
        ..FOX
    };
    let made = [(&one, FOX), (&two, FOX), (&one, claude)]
        .map(|(caller, sent)| send(&port, caller, sent).unwrap());
    assert!(!made.iter().any(attached));
    let again = [(&one, FOX), (&two, FOX), (&one, claude)]
        .map(|(caller, sent)| send(&port, caller, sent).unwrap());
    for (made, again) in made.iter().zip(&again) {
        assert!(attached(again));
        assert_eq!(made.body, again.body);
    }
    assert_eq!(made[2].json()["type"], "file");
    let moved = Caller {
        network: "v4-203.0.113.0".into(),
        client: "203.0.113.5".into(),
        ..one
    };
    assert_eq!(send(&port, &moved, FOX).unwrap().body, made[0].body);
}

#[test]
fn without_a_cookie_each_upload_is_a_new_visitors_and_a_key_is_not_kept() {
    let port = FakePort::new();
    let made = [(); 2].map(|()| send(&port, &anonymous(), FOX).unwrap());
    assert_ne!(made[0].header("set-cookie"), made[1].header("set-cookie"));
    assert!(!made.iter().any(attached));
    assert_eq!(keys(&port), [""; 0]);
}

#[test]
fn a_key_that_cannot_be_one_is_refused_before_anything_is_asked() {
    let port = FakePort::new();
    let long = "x".repeat(256);
    for (key, caller) in [
        ("", visitor("vis_1")),
        (&long, visitor("vis_1")),
        ("caf\u{e9}", visitor("vis_1")),
        ("", anonymous()),
    ] {
        let refusal = send(
            &port,
            &caller,
            Sent {
                key: Some(key),
                ..FOX
            },
        )
        .unwrap_err();
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (Code::InvalidParameter, Some("Idempotency-Key"))
        );
    }
    assert_eq!(port.calls(), []);
}

#[test]
fn rows_never_hold_a_key_in_the_clear() {
    let port = FakePort::new();
    let key = Some("canary key");
    send(&port, &visitor("vis_1"), Sent { key, ..FOX }).unwrap();
    assert_eq!(keys(&port).len(), 1);
    assert!(!stored(&port).contains("canary"));
}

// === at the same time ===

#[test]
fn a_storm_with_one_key_is_one_document_and_one_reply() {
    // Room for one alone: nobody else takes any.
    let port = port_with_room(1, 1024, 1, 1);
    let caller = visitor("vis_1");
    let told = join_all((0..20).map(|_| FOX.to(&port, &caller)).collect());
    let told: Vec<Received> = told.into_iter().map(Result::unwrap).collect();
    assert!(told.iter().all(|received| received.body == told[0].body));
    assert_eq!(
        told.iter().filter(|received| !attached(received)).count(),
        1
    );
    assert_eq!(listed(&port, &caller).len(), 1);
    assert_eq!(port.blobs.borrow().len(), 5);
    assert_eq!(held_by_site(&port), 1);
}

#[test]
fn when_the_first_of_a_storm_fails_another_one_stores_the_document() {
    for failing in 1..4 {
        let port = port_with_room(1, 1024, 1, 1);
        let caller = visitor("vis_1");
        // The first segment of so many uploads cannot be written.
        port.fail([Fault {
            op: Some(Op::BlobPut),
            first: 0,
            count: failing,
            when: When::Before,
        }]);
        let told = join_all((0..20).map(|_| FOX.to(&port, &caller)).collect());
        let (stored, refused): (Vec<_>, Vec<_>) = told.into_iter().partition(Result::is_ok);
        assert_eq!(refused.len(), failing);
        let stored: Vec<Received> = stored.into_iter().map(Result::unwrap).collect();
        assert!(
            stored
                .iter()
                .all(|received| received.body == stored[0].body)
        );
        assert_eq!(listed(&port, &caller).len(), 1);
        assert_whole(&port, &caller, "after the storm");
    }
}

#[test]
fn a_slow_upload_keeps_its_key_and_who_waits_too_long_is_told_when_to_ask_again() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let mut body = slowly(&port, (None, Millis::from_secs(5)));
    let first = FOX.through(&port, &caller, &mut body);
    let reads = Cell::new(0);
    let second = async {
        let mut body = FakeBody::whole(&FOX.body(), 7);
        let told = FOX.through(&port, &caller, &mut body).await;
        reads.set(body.read);
        (told, port.now())
    };
    let (first, (second, at)) = block_on(crate::support::run::both(first, second));
    let refusal = second.unwrap_err();
    assert_eq!(refusal.code, Code::IdempotencyInProgress);
    let wait = refusal.wait.unwrap();
    assert!(
        wait > Millis(0) && wait <= Millis::from_secs(30),
        "{wait:?}"
    );
    assert!(at >= START.plus(Millis::from_secs(35)) && at <= START.plus(Millis::from_secs(37)));
    assert_eq!(reads.get(), 0, "its body was not touched");
    let first = first.unwrap();
    assert!(port.now() > START.plus(Millis::from_secs(90)));
    assert_eq!(send(&port, &caller, FOX).unwrap().body, first.body);
    assert_eq!(listed(&port, &caller).len(), 1);
}

#[test]
fn an_upload_that_stalls_longer_than_its_lease_loses_its_key_and_leaves_nothing() {
    let pieces = FOX.body().len().div_ceil(7);
    // With some of the body to come, when a renewal is refused; and at its very end, when the commit is.
    for stalled in [pieces - 2, pieces] {
        let port = FakePort::new();
        let caller = visitor("vis_1");
        let mut body = slowly(&port, (Some(stalled), Millis::from_secs(60)));
        let first = FOX.through(&port, &caller, &mut body);
        let second = FOX.to(&port, &caller);
        let (first, second) = block_on(crate::support::run::both(first, second));
        assert_eq!(first.unwrap_err().code, Code::IdempotencyInProgress);
        let second = second.unwrap();
        assert!(!attached(&second));
        assert_eq!(ids_of(&port, &caller), [second.json()["id"].clone()]);
        assert_eq!(port.blobs.borrow().len(), 5);
        assert_eq!(held_by_site(&port), 1);
        assert_eq!(send(&port, &caller, FOX).unwrap().body, second.body);
    }
}

fn ids_of(port: &FakePort, caller: &Caller) -> Vec<serde_json::Value> {
    let listed = listed(port, caller).into_iter();
    listed.map(serde_json::Value::from).collect()
}

// === what fails ===

#[test]
fn an_upload_without_room_frees_its_key() {
    let port = port_with_room(1, 1024, 100, 100);
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    assert_eq!(
        send(&port, &caller, FOX).unwrap_err().code,
        Code::QuotaExceeded
    );
    remove(&port, &caller, &id).unwrap();
    let stored = send(&port, &caller, FOX).unwrap();
    assert!(!attached(&stored));
    // It is repeated although there is room for no other.
    assert_eq!(send(&port, &caller, FOX).unwrap().body, stored.body);
}

#[test]
fn a_cut_upload_frees_its_key_for_any_body() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let body = FOX.body();
    for length in (0..body.len() - 2).step_by(3) {
        let mut cut = FakeBody::cut(&body[..length], 7);
        let refusal = block_on(FOX.through(&port, &caller, &mut cut)).unwrap_err();
        assert_eq!(refusal.code, Code::IncompleteBody);
        assert_eq!(keys(&port), [""; 0], "after {length} bytes");
    }
    let now = port.now();
    let filename = "dog.txt";
    assert!(send(&port, &caller, Sent { filename, ..FOX }).is_ok());
    assert_eq!(port.now(), now, "nobody waited");
}

#[test]
fn whatever_fails_a_retry_with_the_key_ends_with_one_document() {
    let caller = visitor("vis_1");
    let port = FakePort::new();
    send(&port, &caller, FOX).unwrap();
    let calls = port.calls().len();
    let mut replayed = 0;
    // The undoing of a fault makes calls of its own, which can fail as well.
    for fault in faults(calls + 5) {
        let port = FakePort::new();
        port.evict_always();
        port.fail([fault]);
        let first = send(&port, &caller, FOX);
        port.heal();
        let shown = format!("{fault:?}");
        let again = send(&port, &caller, FOX).expect(&shown);
        match &first {
            Ok(first) => assert_eq!(
                (&again.body, attached(&again)),
                (&first.body, true),
                "{shown}"
            ),
            Err(refusal) => assert!(is_outage(refusal), "{shown}: {:?}", refusal.code),
        }
        replayed += usize::from(first.is_err() && attached(&again));
        assert_eq!(
            ids_of(&port, &caller),
            [again.json()["id"].clone()],
            "{shown}"
        );
        assert_whole(&port, &caller, &shown);
        port.pass(HOUR);
        sweep_all(&port);
        assert_eq!(port.blobs.borrow().len(), 5, "{shown}");
        assert_eq!(held_by_site(&port), 1, "{shown}");
        assert_eq!(
            send(&port, &caller, FOX).expect(&shown).body,
            again.body,
            "{shown}"
        );
        port.pass(WEEK);
        sweep_all(&port);
        assert_nothing_left(&port, &shown);
    }
    // The commit and all that came after it was done and not heard of: the caller was refused, and the retry is not.
    assert!(replayed >= 1);
}

#[test]
fn a_commit_that_is_not_heard_of_stands() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    // The owner is asked to begin, and then to commit.
    port.fail([Fault {
        op: Some(Op::Object(Class::Owner)),
        first: 1,
        count: 1,
        when: When::After,
    }]);
    let first = send(&port, &caller, FOX).unwrap();
    port.heal();
    assert_eq!(ids_of(&port, &caller), [first.json()["id"].clone()]);
    assert_eq!(send(&port, &caller, FOX).unwrap().body, first.body);
}

#[test]
fn an_upload_that_is_killed_anywhere_never_leaves_its_key_stuck() {
    let caller = visitor("vis_1");
    let (mut steps, mut waited) = (0, 0);
    loop {
        let port = FakePort::new();
        let told = run_and_drop(FOX.to(&port, &caller), steps);
        let shown = format!("after {steps} steps");
        let again = send(&port, &caller, FOX).expect(&shown);
        let passed = port.now().since(START);
        assert!(passed <= Millis::from_secs(31), "{shown}: {passed:?}");
        waited += usize::from(passed > Millis::from_secs(29));
        assert_eq!(
            ids_of(&port, &caller),
            [again.json()["id"].clone()],
            "{shown}"
        );
        assert_whole(&port, &caller, &shown);
        port.pass(HOUR);
        sweep_all(&port);
        assert_eq!(
            port.blobs.borrow().len(),
            5,
            "{shown}: the lost segments are gone"
        );
        port.pass(WEEK);
        sweep_all(&port);
        assert_nothing_left(&port, &shown);
        if let Some(told) = told {
            assert_eq!(told.unwrap().body, again.body);
            break;
        }
        steps += 1;
    }
    assert!(steps > 30 && waited > 20, "{steps} steps, {waited} waits");
}
