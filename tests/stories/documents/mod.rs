//! The documents' stories over a fake world that can fail anywhere: what is stored is whole, what is refused or broken
//! leaves nothing, and nobody sees what is somebody else's.

mod harm;
mod keys;
mod operators;
mod orphans;
mod parts;
mod retention;
pub mod scanned;
mod scanner;
mod sealing;
mod sharing;
mod versions;

use std::collections::BTreeMap;

use gatehouse::app::accounts::Payer;
use gatehouse::app::documents::{content, create, create_in_segments, delete, get, list, sweep};
use gatehouse::app::gate::Caller;
use gatehouse::app::port::{Class, Port};
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::cobblestone::sealed_bytes;
use gatehouse::base::digest::{hex, sha256};
use gatehouse::base::errors::{Code, Refusal};
use gatehouse::base::time::Millis;
use gatehouse::domain::documents::manifest::SEGMENT_BYTES;
use gatehouse::domain::documents::quota::MIN_CHARGE_BYTES;
use gatehouse::domain::identity::Principal;
use gatehouse::domain::settings::config::Documents;

use crate::support::fake_port::{FakePort, Fault, Op, START, When};
use crate::support::run::{block_on, interrupt, join_all, run_and_drop};
use crate::support::{FakeBody, Received};

const HOUR: Millis = Millis::from_secs(3600);
const WEEK: Millis = Millis::from_secs(604_800);
const CONTENT: &[u8] = b"The quick brown fox\r\njumps over the lazy dog.";
/// Short segments: CONTENT has five.
const SEGMENT: u64 = 10;

// === what the tests share ===

/// How many documents the site's ledger holds; beside them it keeps when it wants to be woken.
pub fn held_by_site(port: &FakePort) -> usize {
    let ledgers = port.rows(Class::Ledger);
    let rows = ledgers.get("v1/default/docs-site");
    rows.map_or(0, |rows| {
        rows.keys().filter(|key| key.starts_with("entry/")).count()
    })
}

fn visitor(id: &str) -> Caller {
    Caller {
        principal: Principal::Visitor {
            id: id.into(),
            issued: START,
            session: None,
        },
        ..anonymous()
    }
}

fn anonymous() -> Caller {
    Caller {
        principal: Principal::Anonymous,
        payer: Payer::default(),
        country: None,
        network: "v4-198.51.100.0".into(),
        client: "198.51.100.7".into(),
        request_id: "req_1".into(),
    }
}

fn head(method: &str, path: &str) -> Head {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Head {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        own_origin: "https://house.example".into(),
        address: Some("198.51.100.7".into()),
        at: START,
        ..Head::default()
    }
}

fn form(filename: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
         --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\
         Content-Type: text/plain\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--B--\r\n"].concat()
}

fn upload_head(form: &[u8]) -> Head {
    Head {
        content_type: Some("multipart/form-data; boundary=B".into()),
        content_length: Some(form.len() as u64),
        ..head("POST", "/v1/files")
    }
}

/// Uploads in short segments.
async fn upload(port: &FakePort, caller: &Caller, content: &[u8]) -> Result<Received, Refusal> {
    let form = form("fox.txt", content);
    let mut body = FakeBody::whole(&form, 7);
    let reply = create_in_segments(port, caller, &upload_head(&form), &mut body, SEGMENT).await?;
    Ok(Received::from(reply))
}

fn uploaded(port: &FakePort, caller: &Caller) -> String {
    let received = block_on(upload(port, caller, CONTENT)).unwrap();
    received.json()["id"].as_str().unwrap().to_owned()
}

fn listed(port: &FakePort, caller: &Caller) -> Vec<String> {
    let reply = block_on(list(port, caller, &head("GET", "/v1/files"))).unwrap();
    ids(&Received::from(reply))
}

fn ids(page: &Received) -> Vec<String> {
    let data = page.json()["data"].clone();
    data.as_array()
        .unwrap()
        .iter()
        .map(|file| file["id"].as_str().unwrap().to_owned())
        .collect()
}

fn read(port: &FakePort, caller: &Caller, id: &str, head: &Head) -> Result<Received, Refusal> {
    block_on(content(port, caller, head, id)).map(Received::from)
}

fn remove(port: &FakePort, caller: &Caller, id: &str) -> Result<Received, Refusal> {
    block_on(delete(port, caller, &head("DELETE", "/v1/files/x"), id)).map(Received::from)
}

/// Nothing is stored any more, of anybody.
fn assert_nothing_left(port: &FakePort, when: &str) {
    assert_eq!(
        port.blobs.borrow().keys().collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "blobs {when}"
    );
    for class in [Class::Owner, Class::Ledger, Class::Directory] {
        assert!(
            port.rows(class).is_empty(),
            "{class:?} {when}: {:?}",
            port.rows(class)
        );
    }
    assert!(port.many_rows(Class::Shared).is_empty(), "notes {when}");
    assert!(!port.has_idle_alarm(), "{when}");
}

/// Sweeps until nothing is due.
fn sweep_all(port: &FakePort) {
    while block_on(sweep(port)).unwrap().owners > 0 {}
}

/// Everything listed is whole.
fn assert_whole(port: &FakePort, caller: &Caller, when: &str) {
    for id in listed(port, caller) {
        let received = read(port, caller, &id, &head("GET", "/")).unwrap();
        assert_eq!(
            (received.body.as_slice(), received.broken),
            (CONTENT, None),
            "{when}"
        );
    }
}

// === stories that go well ===

#[test]
fn a_document_is_stored_listed_read_and_deleted() {
    let port = FakePort::new();
    port.evict_always();
    let caller = visitor("vis_1");
    let received = block_on(upload(&port, &caller, CONTENT)).unwrap();
    assert_eq!(
        (received.status, received.header("set-cookie")),
        (200, None)
    );
    let file = received.json();
    let id = file["id"].as_str().unwrap();
    let expected = serde_json::json!({
        "id": id, "object": "file", "bytes": CONTENT.len(), "created_at": START.secs(),
        "expires_at": START.plus(WEEK).secs(), "filename": "fox.txt", "purpose": "user_data", "status": "processed",
    });
    assert_eq!(file, expected);
    assert_eq!(port.blobs.borrow().len(), 5);
    assert!(
        port.blobs
            .borrow()
            .values()
            .all(|blob| blob.len() as u64 <= sealed_bytes(SEGMENT))
    );
    assert_eq!(listed(&port, &caller), [id]);
    let described = Received::from(block_on(get(&port, &caller, &head("GET", "/"), id)).unwrap());
    let mut described = described.json();
    let ours = described.as_object_mut().unwrap().shift_remove("gatehouse");
    assert_eq!(described, expected);
    let ours = ours.unwrap();
    assert_eq!(ours["provenance"], serde_json::json!({"by": "vis_1"}));
    assert_eq!(
        (&ours["version"], &ours["right"]),
        (&1.into(), &"own".into())
    );

    let received = read(&port, &caller, id, &head("GET", "/")).unwrap();
    assert_eq!((received.status, received.body.as_slice()), (200, CONTENT));
    let etag = format!("\"{}\"", hex(&sha256(CONTENT)));
    for (name, value) in [
        ("content-length", CONTENT.len().to_string().as_str()),
        ("content-type", "text/plain; charset=utf-8"),
        (
            "content-disposition",
            "attachment; filename=\"fox.txt\"; filename*=UTF-8''fox.txt",
        ),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox",
        ),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "private, no-cache"),
        ("etag", &etag),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }

    let deleted = remove(&port, &caller, id).unwrap();
    assert_eq!(
        deleted.json(),
        serde_json::json!({"id": id, "object": "file", "deleted": true})
    );
    assert_eq!(listed(&port, &caller), [""; 0]);
    assert_eq!(
        remove(&port, &caller, id).unwrap_err().code,
        Code::DocumentNotFound
    );
    sweep_all(&port);
    assert_nothing_left(&port, "after the deletion");
}

#[test]
fn segments_of_a_long_document_are_eight_mebibytes() {
    let port = FakePort::new();
    let long = vec![b'x'; usize::try_from(SEGMENT_BYTES).unwrap() + 1];
    let form = form("long.txt", &long);
    let mut body = FakeBody::whole(&form, 65_536);
    let caller = visitor("vis_1");
    let reply = block_on(create(&port, &caller, &upload_head(&form), &mut body)).unwrap();
    assert_eq!(Received::from(reply).json()["bytes"], long.len());
    let lengths: Vec<usize> = port.blobs.borrow().values().map(Vec::len).collect();
    assert_eq!(
        lengths,
        [sealed_bytes(SEGMENT_BYTES), sealed_bytes(1)].map(|n| n as usize)
    );
}

#[test]
fn ranges_and_conditions() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let ask = |change: fn(&mut Head)| {
        let mut head = head("GET", "/");
        change(&mut head);
        read(&port, &caller, &id, &head)
    };
    let whole = ask(|_| ()).unwrap();

    let part = ask(|head| head.range = Some("bytes=8-31".into())).unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &CONTENT[8..32]));
    assert_eq!(part.header("content-range"), Some("bytes 8-31/45"));
    assert_eq!(part.header("content-length"), Some("24"));
    assert_eq!(
        part.header("content-security-policy"),
        whole.header("content-security-policy")
    );
    assert_eq!(
        part.header("content-disposition"),
        whole.header("content-disposition")
    );

    let refusal = ask(|head| head.range = Some("bytes=45-".into())).unwrap_err();
    assert_eq!(refusal.code, Code::RangeNotSatisfiable);
    assert!(
        refusal
            .response_headers()
            .contains(&("content-range", "bytes */45".to_owned()))
    );

    let same = ask(|head| head.if_none_match = Some("*".into())).unwrap();
    assert_eq!(
        (same.status, same.body.len(), same.header("etag")),
        (304, 0, whole.header("etag"))
    );

    let other = ask(|head| {
        head.range = Some("bytes=0-0".into());
        head.if_range = Some("\"another\"".into());
    })
    .unwrap();
    assert_eq!((other.status, other.body.as_slice()), (200, CONTENT));

    port.heal();
    let only_head = ask(|head| {
        head.method = "HEAD".into();
        head.range = Some("bytes=0-0".into());
    })
    .unwrap();
    assert_eq!((only_head.status, only_head.body.len()), (200, 0));
    assert_eq!(only_head.headers, whole.headers, "HEAD says what GET says");
    assert!(!port.calls().contains(&Op::BlobStream));
}

#[test]
fn lists_are_paged_in_either_order() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let mut made: Vec<String> = Vec::new();
    for _ in 0..5 {
        port.pass(Millis(5));
        made.push(uploaded(&port, &caller));
    }
    let page = |query: &str| {
        let reply = block_on(list(
            &port,
            &caller,
            &head("GET", &format!("/v1/files?{query}")),
        ));
        let received = Received::from(reply.unwrap());
        (
            ids(&received),
            received.json()["has_more"].as_bool().unwrap(),
        )
    };
    let newest_first: Vec<String> = made.iter().rev().cloned().collect();
    assert_eq!(page(""), (newest_first.clone(), false));
    assert_eq!(page("order=asc&limit=2"), (made[..2].to_vec(), true));
    assert_eq!(
        page(&format!("order=asc&limit=3&after={}", made[1])),
        (made[2..].to_vec(), false)
    );
    assert_eq!(
        page(&format!("limit=2&after={}", made[3])),
        (newest_first[2..4].to_vec(), true)
    );
    assert_eq!(page("purpose=user_data").0.len(), 5);
    assert_eq!(page("purpose=batch"), (vec![], false));
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("order=up", "order"),
        ("purpose=fun", "purpose"),
        ("after=5", "after"),
    ] {
        let refusal = block_on(list(
            &port,
            &caller,
            &head("GET", &format!("/v1/files?{query}")),
        ))
        .err()
        .unwrap();
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (Code::InvalidParameter, Some(param)),
            "{query}"
        );
    }

    let anthropic = |query: &str| {
        let mut head = head("GET", &format!("/v1/files?{query}"));
        head.anthropic_version = Some("2023-06-01".into());
        Received::from(block_on(list(&port, &caller, &head)).unwrap())
    };
    assert_eq!(ids(&anthropic("")), newest_first);
    assert_eq!(
        ids(&anthropic(&format!("limit=2&after_id={}", newest_first[1]))),
        newest_first[2..4]
    );
    let before = anthropic(&format!("limit=2&before_id={}", newest_first[3]));
    assert_eq!(
        (ids(&before), before.json()["has_more"].as_bool()),
        (newest_first[1..3].to_vec(), Some(true))
    );
}

#[test]
fn anthropic_callers_get_their_own_shapes_and_need_no_purpose() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let body =
        b"--B\r\nContent-Disposition: form-data; name=file; filename=a.md\r\n\r\n# hi\r\n--B--";
    let mut head = upload_head(body);
    head.anthropic_version = Some("2023-06-01".into());
    let reply = block_on(create(&port, &caller, &head, &mut FakeBody::whole(body, 9))).unwrap();
    let file = Received::from(reply).json();
    let id = file["id"].as_str().unwrap();
    let expected = serde_json::json!({
        "id": id, "type": "file", "filename": "a.md", "mime_type": "text/markdown", "size_bytes": 4,
        "created_at": "2026-11-21T00:00:00.000Z", "downloadable": true,
    });
    assert_eq!(file, expected);
    let page = Received::from(block_on(list(&port, &caller, &head)).unwrap()).json();
    assert_eq!(
        page,
        serde_json::json!({"data": [expected], "first_id": id, "last_id": id, "has_more": false})
    );
    let reply = block_on(delete(&port, &caller, &head, id)).unwrap();
    assert_eq!(
        Received::from(reply).json(),
        serde_json::json!({"id": id, "type": "file_deleted"})
    );

    head.anthropic_version = None;
    let refusal = block_on(create(&port, &caller, &head, &mut FakeBody::whole(body, 9)))
        .err()
        .unwrap();
    assert_eq!(
        (refusal.code, refusal.param.as_deref()),
        (Code::MissingParameter, Some("purpose"))
    );
}

// === who ===

/// Asks the whole house, with a fixed request id.
fn ask_house(port: &FakePort, cookie: Option<&str>, mut head: Head, body: &[u8]) -> Received {
    head.cookie = cookie.map(str::to_owned);
    head.request_id = Some("fixed".into());
    head.at = port.now();
    Received::from(block_on(serve(port, head, FakeBody::whole(body, 1000))))
}

fn cookie_of(received: &Received) -> String {
    received
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_first_upload_makes_a_visitor_whose_cookie_opens_the_document() {
    let port = FakePort::new();
    let form = form("fox.txt", CONTENT);
    let made = ask_house(&port, None, upload_head(&form), &form);
    assert_eq!(made.status, 200, "{}", made.text());
    let set_cookie = made.header("set-cookie").unwrap();
    assert!(
        set_cookie.starts_with("__Host-gatehouse=ey"),
        "{set_cookie}"
    );
    assert!(
        set_cookie.contains("HttpOnly; SameSite=Strict; Secure"),
        "{set_cookie}"
    );
    let cookie = cookie_of(&made);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let content = |cookie| {
        ask_house(
            &port,
            cookie,
            head("GET", &format!("/v1/files/{id}/content")),
            b"",
        )
    };
    assert_eq!(content(Some(&cookie)).body, CONTENT);
    assert_eq!(content(None).status, 404);
    let page = ask_house(&port, Some(&cookie), head("GET", "/v1/files"), b"");
    assert_eq!((page.header("set-cookie"), ids(&page)), (None, vec![id]));
    assert_eq!(
        ids(&ask_house(&port, None, head("GET", "/v1/files"), b"")),
        [""; 0]
    );
}

#[test]
fn a_cookie_is_renewed_for_the_same_visitor_when_it_is_older_than_a_day() {
    let port = FakePort::new();
    let form = form("fox.txt", CONTENT);
    let cookie = cookie_of(&ask_house(&port, None, upload_head(&form), &form));
    port.pass(Millis(HOUR.0 * 24));
    let second = ask_house(&port, Some(&cookie), upload_head(&form), &form);
    assert_eq!(second.header("set-cookie"), None);
    port.pass(Millis(1000));
    let third = ask_house(&port, Some(&cookie), upload_head(&form), &form);
    let renewed = cookie_of(&third);
    assert_ne!(renewed, cookie);
    assert_eq!(
        ids(&ask_house(
            &port,
            Some(&renewed),
            head("GET", "/v1/files"),
            b""
        ))
        .len(),
        3
    );
}

#[test]
fn somebody_elses_document_answers_like_an_unknown_one_byte_for_byte() {
    let port = FakePort::new();
    let form = form("fox.txt", CONTENT);
    let made = ask_house(&port, None, upload_head(&form), &form);
    let theirs = made.json()["id"].as_str().unwrap().to_owned();
    let mine = cookie_of(&ask_house(&port, None, upload_head(&form), &form));
    let unknown = theirs.replace(['0', '1'], "2");
    assert_ne!(theirs, unknown);
    let networks = std::cell::Cell::new(0);
    for (method, path) in [
        ("GET", ""),
        ("HEAD", ""),
        ("GET", "/content"),
        ("DELETE", ""),
    ] {
        for cookie in [Some(mine.as_str()), None] {
            let ask = |id: &str| {
                // A network of its own each time, so that the limits' headers are the same.
                let mut head = head(method, &format!("/v1/files/{id}{path}"));
                networks.set(networks.get() + 1);
                head.address = Some(format!("203.0.{}.9", networks.get()));
                let received = ask_house(&port, cookie, head, b"");
                let headers: Vec<_> = received
                    .headers
                    .iter()
                    .filter(|(name, _)| *name != "traceparent")
                    .cloned()
                    .collect();
                (received.status, headers, received.body)
            };
            let (known, not_known, malformed) = (ask(&theirs), ask(&unknown), ask("nothing"));
            assert_eq!(known.0, 404, "{method} {path}");
            assert_eq!(known, not_known, "{method} {path}");
            assert_eq!(known, malformed, "{method} {path}");
        }
    }
    assert_eq!(port.blobs.borrow().len(), 2, "nothing of it was deleted");
}

#[test]
fn what_is_no_id_is_not_looked_up() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    for id in ["x", "file_", "..", "doc/file_0"] {
        let head = head("GET", "/");
        let refusals = [
            block_on(get(&port, &caller, &head, id)).err(),
            block_on(content(&port, &caller, &head, id)).err(),
            block_on(delete(&port, &caller, &head, id)).err(),
        ];
        assert!(
            refusals
                .iter()
                .flatten()
                .all(|refusal| refusal.code == Code::DocumentNotFound)
        );
        assert_eq!(
            (refusals.iter().flatten().count(), port.calls()),
            (3, vec![])
        );
    }
}

#[test]
fn other_sites_may_neither_write_nor_read() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let form = form("fox.txt", CONTENT);
    let foreign: [fn(&mut Head); 3] = [
        |head| head.origin = Some("https://evil.example".into()),
        |head| head.origin = Some("null".into()),
        |head| head.fetch_site = Some("cross-site".into()),
    ];
    for change in foreign {
        let mut head = upload_head(&form);
        change(&mut head);
        port.heal();
        let mut body = FakeBody::whole(&form, 9);
        let refusals = [
            block_on(create(&port, &caller, &head, &mut body)).err(),
            block_on(list(&port, &caller, &head)).err(),
            block_on(get(&port, &caller, &head, &id)).err(),
            block_on(content(&port, &caller, &head, &id)).err(),
            block_on(delete(&port, &caller, &head, &id)).err(),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap().code, Code::CrossSiteRefused);
        }
        assert_eq!(
            (port.calls(), body.read),
            (vec![], 0),
            "nothing was asked of anybody"
        );
    }
    assert_eq!(listed(&port, &caller), [id]);
}

// === what is refused ===

#[test]
fn without_a_master_key_the_missing_step_is_named() {
    let port = FakePort::with(|_| {}, &[("MASTER_KEY", "")]);
    let refusal = block_on(upload(&port, &anonymous(), CONTENT)).unwrap_err();
    assert_eq!(refusal.code, Code::SetupRequired);
    let detail = refusal.detail.unwrap();
    assert!(
        detail.contains("MASTER_KEY") && detail.contains("openssl rand -base64 32"),
        "{detail}"
    );
    assert_eq!(listed(&port, &anonymous()), [""; 0]);
}

#[test]
fn what_cannot_be_stored_is_refused_before_a_byte_is_read() {
    let port = FakePort::new();
    let form = form("fox.txt", CONTENT);
    let max = Documents::default().max_bytes;
    let ask = |change: &dyn Fn(&mut Head)| {
        let mut head = upload_head(&form);
        change(&mut head);
        let mut body = FakeBody::whole(&form, 9);
        let refusal = block_on(create(&port, &anonymous(), &head, &mut body))
            .err()
            .unwrap();
        assert_eq!((body.read, port.calls().len()), (0, 0));
        refusal.code
    };
    assert_eq!(
        ask(&|head| head.content_type = None),
        Code::UnsupportedMediaType
    );
    assert_eq!(
        ask(&|head| head.content_type = Some("application/json".into())),
        Code::UnsupportedMediaType
    );
    assert_eq!(
        ask(&|head| head.content_encoding = Some("gzip".into())),
        Code::UnsupportedMediaType
    );
    assert_eq!(
        ask(&|head| head.content_type = Some("multipart/form-data".into())),
        Code::InvalidParameter
    );
    assert_eq!(
        ask(&|head| head.content_length = Some(max + 65_537)),
        Code::PayloadTooLarge
    );
}

#[test]
fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let port = FakePort::with(|config| config.documents.max_bytes = 1024, &[]);
    let caller = visitor("vis_1");
    let form = form("fox.txt", &vec![b'x'; 1025]);
    let head = Head {
        content_length: None,
        ..upload_head(&form)
    };
    let mut body = FakeBody::whole(&form, 100);
    let refusal = block_on(create_in_segments(
        &port, &caller, &head, &mut body, SEGMENT,
    ))
    .err()
    .unwrap();
    assert_eq!(refusal.code, Code::PayloadTooLarge);
    assert!(
        port.calls().iter().filter(|op| **op == Op::BlobPut).count() > 50,
        "it had begun to store"
    );
    assert_eq!(port.blobs.borrow().len(), 0);
    assert!(port.rows(Class::Owner).is_empty() && port.rows(Class::Ledger).is_empty());
}

#[test]
fn a_cut_upload_leaves_the_old_state() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let before = (
        port.blobs.borrow().clone(),
        port.rows(Class::Owner),
        port.rows(Class::Ledger),
    );
    let form = form("fox.txt", CONTENT);
    let end = form.len() - 2;
    for length in 0..end {
        let mut bodies = [
            FakeBody::cut(&form[..length], 7),
            FakeBody::whole(&form[..length], 7),
        ];
        for body in &mut bodies {
            let told = block_on(create_in_segments(
                &port,
                &caller,
                &upload_head(&form),
                body,
                SEGMENT,
            ));
            assert_eq!(
                told.err().unwrap().code,
                Code::IncompleteBody,
                "after {length} bytes"
            );
            let after = (
                port.blobs.borrow().clone(),
                port.rows(Class::Owner),
                port.rows(Class::Ledger),
            );
            assert!(before == after, "after {length} bytes");
        }
    }
    assert_eq!(listed(&port, &caller), [id]);
}

#[test]
fn an_upload_that_takes_too_long_gives_up_before_the_sweep_would_come() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let form = form("fox.txt", CONTENT);
    struct Slow(FakeBody, FakePort);
    impl gatehouse::app::port::ByteSource for Slow {
        async fn next(&mut self) -> Option<Result<Vec<u8>, gatehouse::app::port::PortFault>> {
            self.1.set_now(self.1.now().plus(Millis::from_secs(300)));
            self.0.next().await
        }
    }
    let mut body = Slow(FakeBody::whole(&form, 7), port.clone());
    let told = block_on(create_in_segments(
        &port,
        &caller,
        &upload_head(&form),
        &mut body,
        SEGMENT,
    ));
    assert_eq!(told.err().unwrap().code, Code::IncompleteBody);
    assert_eq!(port.blobs.borrow().len(), 0);
}

// === quotas ===

/// A configuration where a visitor may keep `visitor` bytes, a network and the site so many smallest charges.
fn port_with_room(count: u32, visitor: u64, network: u64, site: u64) -> FakePort {
    FakePort::with(
        |config| {
            config.documents = Documents {
                max_bytes: 1024,
                max_count: count,
                max_visitor_bytes: visitor,
                max_network_bytes: network * MIN_CHARGE_BYTES,
                max_site_bytes: site * MIN_CHARGE_BYTES,
                ..Documents::default()
            }
        },
        &[],
    )
}

#[test]
fn parallel_uploads_at_the_edge_of_a_quota_never_exceed_it() {
    let one_visitor: fn(usize) -> Caller = |_| visitor("vis_1");
    let one_network: fn(usize) -> Caller = |i| visitor(&format!("vis_{i}"));
    let many_networks: fn(usize) -> Caller = |i| Caller {
        network: format!("v4-192.0.{i}.0"),
        ..visitor(&format!("vis_{i}"))
    };
    for (port, caller, room) in [
        (port_with_room(3, 1 << 16, 100, 100), one_visitor, 3),
        (port_with_room(100, 1 << 16, 4, 100), one_network, 4),
        (port_with_room(100, 1 << 16, 4, 5), many_networks, 5),
    ] {
        let callers: Vec<Caller> = (0..20).map(caller).collect();
        let told = join_all(
            callers
                .iter()
                .map(|caller| upload(&port, caller, CONTENT))
                .collect(),
        );
        let refused: Vec<&Refusal> = told.iter().filter_map(|told| told.as_ref().err()).collect();
        assert_eq!(told.len() - refused.len(), room);
        assert!(
            refused
                .iter()
                .all(|refusal| refusal.code == Code::QuotaExceeded)
        );
        assert_eq!(
            port.blobs.borrow().len(),
            room * 5,
            "the refused ones left nothing"
        );
        let held = held_by_site(&port);
        assert_eq!(held, room);
        // A deletion makes room for exactly one.
        let mut kept = callers.iter().zip(&told).filter(|(_, told)| told.is_ok());
        let (caller, told) = kept.next().unwrap();
        let id = told.as_ref().unwrap().json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        remove(&port, caller, &id).unwrap();
        assert!(block_on(upload(&port, caller, CONTENT)).is_ok());
        assert!(block_on(upload(&port, caller, CONTENT)).is_err());
    }
}

#[test]
fn a_new_cookie_is_no_new_quota() {
    let port = port_with_room(100, 1 << 16, 2, 100);
    for _ in 0..2 {
        assert!(block_on(upload(&port, &anonymous(), CONTENT)).is_ok());
    }
    let refusal = block_on(upload(&port, &anonymous(), CONTENT)).unwrap_err();
    assert!(refusal.detail.unwrap().contains("from your network"));
    let elsewhere = Caller {
        network: "v4-203.0.113.0".into(),
        ..anonymous()
    };
    assert!(block_on(upload(&port, &elsewhere, CONTENT)).is_ok());
}

#[test]
fn a_visitors_bytes_are_counted_while_they_come_and_at_their_true_length_after() {
    let port = port_with_room(100, 1024, 100, 100);
    let caller = visitor("vis_1");
    let big = |length: usize| block_on(upload(&port, &caller, &vec![b'x'; length]));
    assert!(big(500).is_ok());
    // The reservation is the whole body's length: 500 and the form's own lines fit beside 500 no more.
    assert_eq!(big(500).unwrap_err().code, Code::QuotaExceeded);
    assert!(big(200).is_ok());
    assert!(big(50).is_ok());
}

#[test]
fn a_quota_holds_the_true_length_once_it_is_known() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    for (length, held) in [(100_000, 100_000), (1, MIN_CHARGE_BYTES)] {
        let form = form("long.txt", &vec![b'x'; length]);
        let head = Head {
            content_length: None,
            ..upload_head(&form)
        };
        let mut body = FakeBody::whole(&form, 4096);
        let reply = block_on(create(&port, &caller, &head, &mut body)).unwrap();
        let id = Received::from(reply).json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let expires = START.plus(WEEK).0;
        let ledgers = port.rows(Class::Ledger);
        assert_eq!(ledgers.len(), 2, "the network's and the site's");
        for rows in ledgers.values() {
            let expected = format!(r#"{{"bytes":{held},"expires":{expires}}}"#);
            assert_eq!(rows[&format!("entry/{id}")], expected);
        }
    }
}

#[test]
fn rows_never_hold_a_network_in_the_clear() {
    let port = FakePort::new();
    uploaded(&port, &visitor("vis_1"));
    let shown = format!(
        "{:?}{:?}",
        port.rows(Class::Owner),
        port.rows(Class::Ledger)
    );
    assert!(!shown.contains("198.51.100"), "{shown}");
}

// === time ===

#[test]
fn an_expired_document_is_gone_at_once_and_its_remains_with_the_next_sweep() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    port.pass(Millis(WEEK.0 - 1));
    sweep_all(&port);
    assert_eq!(
        read(&port, &caller, &id, &head("GET", "/")).unwrap().body,
        CONTENT
    );
    port.pass(Millis(1));
    assert_eq!(
        read(&port, &caller, &id, &head("GET", "/"))
            .unwrap_err()
            .code,
        Code::DocumentNotFound
    );
    assert_eq!(listed(&port, &caller), [""; 0]);
    let swept = block_on(sweep(&port)).unwrap();
    assert_eq!(
        (swept.owners, swept.documents, swept.faults),
        (1, 1, vec![])
    );
    assert_nothing_left(&port, "after the sweep");
}

#[test]
fn a_shorter_lifetime_is_honoured_and_a_longer_one_is_not() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    for (seconds, expected) in [("3600", HOUR), ("2592000", WEEK)] {
        let fields = format!(
            "--B\r\nContent-Disposition: form-data; name=\"expires_after[anchor]\"\r\n\r\ncreated_at\r\n\
             --B\r\nContent-Disposition: form-data; name=\"expires_after[seconds]\"\r\n\r\n{seconds}\r\n"
        );
        let body = [fields.as_bytes(), &form("fox.txt", CONTENT)].concat();
        let reply = block_on(create(
            &port,
            &caller,
            &upload_head(&body),
            &mut FakeBody::whole(&body, 50),
        ))
        .unwrap();
        assert_eq!(
            Received::from(reply).json()["expires_at"],
            START.plus(expected).secs()
        );
    }
    port.pass(HOUR);
    assert_eq!(listed(&port, &caller).len(), 1);
}

#[test]
fn a_sweep_is_bounded_and_what_it_leaves_the_next_one_takes() {
    let port = FakePort::new();
    for i in 0..20 {
        uploaded(&port, &visitor(&format!("vis_{i}")));
    }
    for _ in 0..40 {
        uploaded(&port, &visitor("vis_0"));
    }
    port.pass(WEEK);
    let counts: Vec<(usize, usize)> = std::iter::repeat_with(|| block_on(sweep(&port)).unwrap())
        .map(|swept| (swept.owners, swept.documents))
        .take_while(|(owners, _)| *owners > 0)
        .collect();
    assert!(
        counts
            .iter()
            .all(|(owners, documents)| *owners <= 16 && *documents <= 16 * 32),
        "{counts:?}"
    );
    assert_eq!(
        counts.iter().map(|(_, documents)| documents).sum::<usize>(),
        60
    );
    assert_nothing_left(&port, "after all sweeps");
}

#[test]
fn an_owner_that_cannot_be_visited_does_not_keep_others_waiting() {
    let port = FakePort::new();
    for i in 0..20 {
        uploaded(&port, &visitor(&format!("vis_{i:02}")));
    }
    port.pass(WEEK);
    port.fail([Fault {
        op: Some(Op::BlobDelete),
        first: 0,
        count: 16,
        when: When::Before,
    }]);
    let first = block_on(sweep(&port)).unwrap();
    assert_eq!(
        (first.owners, first.documents, first.faults.len()),
        (16, 0, 16)
    );
    let second = block_on(sweep(&port)).unwrap();
    assert_eq!(
        (second.owners, second.documents, second.faults.len()),
        (4, 4, 0)
    );
    port.pass(Millis::from_secs(600));
    assert_eq!(block_on(sweep(&port)).unwrap().documents, 16);
    assert_nothing_left(&port, "after the second try");
}

// === faults ===

/// Every fault there can be in a story of `calls` calls: one call that fails, on either side, or all from there on.
fn faults(calls: usize) -> impl Iterator<Item = Fault> {
    (0..calls).flat_map(|first| {
        let one = |when| Fault {
            op: None,
            first,
            count: 1,
            when,
        };
        let all = |when| Fault {
            count: usize::MAX,
            ..one(when)
        };
        [
            one(When::Before),
            one(When::After),
            all(When::Before),
            all(When::After),
        ]
    })
}

/// A store did not answer: that of documents, that of the rules, or the keyring's.
fn is_outage(refusal: &Refusal) -> bool {
    let codes = [
        Code::StorageUnavailable,
        Code::LimiterUnavailable,
        Code::KeyringUnavailable,
    ];
    codes.contains(&refusal.code)
}

#[test]
fn an_upload_with_any_fault_is_whole_or_leaves_nothing() {
    let caller = visitor("vis_1");
    let port = FakePort::new();
    uploaded(&port, &caller);
    let calls = port.calls().len();
    assert!(calls >= 12, "{calls} calls");
    // The undoing of a fault makes calls of its own, which can fail as well.
    for fault in faults(calls + 5) {
        let port = FakePort::new();
        port.evict_always();
        port.fail([fault]);
        let told = block_on(upload(&port, &caller, CONTENT));
        port.heal();
        let shown = format!("{fault:?}");
        let listed = listed(&port, &caller);
        match &told {
            Ok(received) => {
                assert_eq!(listed, [received.json()["id"].as_str().unwrap()], "{shown}")
            }
            Err(refusal) => {
                assert!(is_outage(refusal), "{shown}: {:?}", refusal.code);
                // All calls from the commit on fail after persisting: nobody can take the commit back. It stands.
                let unanswerable = fault.count > 1 && fault.when == When::After;
                assert!(listed.is_empty() || unanswerable, "{shown}");
                if fault.count == 1 {
                    assert_eq!(port.blobs.borrow().len(), 0, "{shown}");
                    assert!(port.rows(Class::Ledger).is_empty(), "{shown}");
                }
            }
        }
        assert_whole(&port, &caller, &shown);
        port.pass(HOUR);
        sweep_all(&port);
        assert_whole(&port, &caller, &shown);
        if listed.is_empty() {
            assert_nothing_left(&port, &shown);
        }
        port.pass(WEEK);
        sweep_all(&port);
        assert_nothing_left(&port, &shown);
    }
}

#[test]
fn an_upload_with_any_two_faults_is_never_listed_half() {
    let caller = visitor("vis_1");
    let sides = [When::Before, When::After];
    let mut listed_all_the_same = 0;
    // With the calls that undo it, an upload with faults makes at most 24 calls.
    for (first, second) in (0..24).flat_map(|a| (a + 1..24).map(move |b| (a, b))) {
        for when in sides
            .iter()
            .flat_map(|a| sides.iter().map(move |b| (*a, *b)))
        {
            let port = FakePort::new();
            let one = |first, when| Fault {
                op: None,
                first,
                count: 1,
                when,
            };
            port.fail([one(first, when.0), one(second, when.1)]);
            let told = block_on(upload(&port, &caller, CONTENT));
            port.heal();
            let shown = format!("calls {first} and {second} fail {when:?}");
            let listed = listed(&port, &caller);
            listed_all_the_same += usize::from(told.is_err() && !listed.is_empty());
            assert!(told.is_err() || listed.len() == 1, "{shown}");
            assert_whole(&port, &caller, &shown);
            port.pass(HOUR);
            sweep_all(&port);
            assert_whole(&port, &caller, &shown);
            port.pass(WEEK);
            sweep_all(&port);
            assert_nothing_left(&port, &shown);
        }
    }
    // The commit was made and not heard of, and neither could it be taken back: the document stands, whole.
    assert_eq!(listed_all_the_same, 1);
}

#[test]
fn an_upload_that_is_killed_anywhere_leaves_nothing_for_long() {
    let caller = visitor("vis_1");
    let mut steps = 0;
    loop {
        let port = FakePort::new();
        let told = run_and_drop(upload(&port, &caller, CONTENT), steps);
        let listed = listed(&port, &caller);
        assert!(listed.len() <= 1);
        assert_whole(&port, &caller, &format!("after {steps} steps"));
        port.pass(HOUR);
        sweep_all(&port);
        if listed.is_empty() {
            assert_nothing_left(&port, &format!("after {steps} steps"));
        }
        port.pass(WEEK);
        sweep_all(&port);
        assert_nothing_left(&port, &format!("after {steps} steps and a week"));
        if told.is_some() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 30, "{steps} steps");
}

#[test]
fn a_deletion_with_any_fault_is_done_by_the_next_sweep_or_not_begun() {
    let caller = visitor("vis_1");
    for fault in faults(7) {
        let port = FakePort::new();
        port.evict_always();
        let id = uploaded(&port, &caller);
        port.fail([fault]);
        let told = remove(&port, &caller, &id);
        port.heal();
        let shown = format!("{fault:?}: {told:?}");
        let listed = listed(&port, &caller);
        if told.is_ok() {
            assert!(listed.is_empty(), "{shown}");
        }
        assert_whole(&port, &caller, &shown);
        port.pass(Millis(1));
        sweep_all(&port);
        if listed.is_empty() {
            assert_eq!(port.blobs.borrow().len(), 0, "{shown}");
            assert_nothing_left(&port, &shown);
        } else {
            assert_whole(&port, &caller, &shown);
        }
    }
}

#[test]
fn a_sweep_with_any_fault_is_completed_by_a_later_one() {
    for fault in faults(14) {
        let port = FakePort::new();
        port.evict_always();
        uploaded(&port, &visitor("vis_1"));
        uploaded(&port, &visitor("vis_2"));
        port.pass(WEEK);
        port.fail([fault]);
        let _ = block_on(sweep(&port));
        port.heal();
        port.pass(Millis::from_secs(600));
        sweep_all(&port);
        assert_nothing_left(&port, &format!("{fault:?}"));
    }
}

#[test]
fn an_upload_during_a_sweep_is_not_forgotten() {
    let caller = visitor("vis_1");
    for lead in 0..30 {
        let port = FakePort::new();
        uploaded(&port, &caller);
        port.pass(WEEK);
        let swept = async {
            sweep(&port).await.unwrap();
        };
        let stored = async {
            for _ in 0..lead {
                crate::support::run::step().await;
            }
            upload(&port, &caller, CONTENT).await.unwrap();
        };
        let both: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> =
            vec![Box::pin(swept), Box::pin(stored)];
        join_all(both);
        assert_whole(&port, &caller, "after the sweep");
        assert_eq!(listed(&port, &caller).len(), 1, "lead {lead}");
        port.pass(WEEK);
        sweep_all(&port);
        assert_nothing_left(&port, &format!("lead {lead}"));
    }
}

#[test]
fn a_missing_segment_is_an_integrity_error_and_nothing_is_delivered() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    port.blobs.borrow_mut().clear();
    let refusal = read(&port, &caller, &id, &head("GET", "/")).unwrap_err();
    assert_eq!(refusal.code, Code::Integrity);
}

#[test]
fn a_document_that_is_deleted_while_it_is_opened_is_not_found() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let head = head("GET", "/");
    let outcomes: Vec<Option<Code>> = (0..6)
        .map(|steps| {
            let id = uploaded(&port, &caller);
            let opened = content(&port, &caller, &head, &id);
            let (told, deleted) = interrupt(opened, steps, delete(&port, &caller, &head, &id));
            assert!(deleted.is_ok());
            told.err().map(|refusal| refusal.code)
        })
        .collect();
    let gone = Some(Code::DocumentNotFound);
    // Deleted before it was looked up, then between that and opening it, then after it was opened.
    assert_eq!(outcomes, [gone, gone, gone, None, None, None]);
}

#[test]
fn the_store_failing_is_a_503_that_names_a_wait() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    port.fail([Fault {
        op: None,
        first: 0,
        count: usize::MAX,
        when: When::Before,
    }]);
    let head = head("GET", "/");
    let refusals = [
        block_on(list(&port, &caller, &head)).err(),
        block_on(get(&port, &caller, &head, &id)).err(),
        block_on(content(&port, &caller, &head, &id)).err(),
        block_on(delete(&port, &caller, &head, &id)).err(),
        block_on(upload(&port, &caller, CONTENT)).err(),
    ];
    for refusal in refusals {
        let refusal = refusal.unwrap();
        assert_eq!(
            (refusal.code, refusal.wait),
            (Code::StorageUnavailable, Some(Millis(2000)))
        );
    }
    assert!(block_on(sweep(&port)).is_err());
}
