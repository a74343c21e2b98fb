//! Uploads in parts: in any order, at the same time, after an interruption; and whatever fails, nothing is left behind
//! and nothing is half there.

use gatehouse::app::documents::parts;
use gatehouse::domain::settings::config::LimitClass;
use serde_json::{Value, json};

use super::*;

/// Three parts of CONTENT, of 20, 15 and the remaining bytes.
fn pieces() -> [&'static [u8]; 3] {
    let (a, rest) = CONTENT.split_at(20);
    let (b, c) = rest.split_at(15);
    [a, b, c]
}

fn json_head(body: &[u8]) -> Head {
    Head {
        content_type: Some("application/json".into()),
        content_length: Some(body.len() as u64),
        ..head("POST", "/v1/uploads")
    }
}

async fn begin(port: &FakePort, caller: &Caller, bytes: usize) -> Result<Received, Refusal> {
    let body = json!({"filename": "fox.txt", "purpose": "user_data", "bytes": bytes, "mime_type": "text/plain"});
    let body = body.to_string().into_bytes();
    let mut source = FakeBody::whole(&body, 7);
    let reply = parts::create(port, caller, &json_head(&body), &mut source).await?;
    Ok(Received::from(reply))
}

fn begun(port: &FakePort, caller: &Caller) -> String {
    let told = block_on(begin(port, caller, CONTENT.len())).unwrap();
    told.json()["id"].as_str().unwrap().to_owned()
}

fn part_form(content: &[u8], number: Option<u32>) -> Vec<u8> {
    let number = number.map(|number| {
        format!("--B\r\nContent-Disposition: form-data; name=\"part_number\"\r\n\r\n{number}\r\n")
    });
    let head = "--B\r\nContent-Disposition: form-data; name=\"data\"; filename=\"blob\"\r\n\r\n";
    [
        number.unwrap_or_default().as_bytes(),
        head.as_bytes(),
        content,
        b"\r\n--B--\r\n",
    ]
    .concat()
}

async fn add(
    port: &FakePort,
    caller: &Caller,
    id: &str,
    content: &[u8],
    number: Option<u32>,
) -> Result<Received, Refusal> {
    let form = part_form(content, number);
    let mut body = FakeBody::whole(&form, 7);
    let head = upload_head(&form);
    let reply = parts::add_in_segments(port, caller, &head, &mut body, id, SEGMENT).await?;
    Ok(Received::from(reply))
}

fn added(port: &FakePort, caller: &Caller, id: &str, content: &[u8]) -> String {
    let told = block_on(add(port, caller, id, content, None)).unwrap();
    told.json()["id"].as_str().unwrap().to_owned()
}

async fn complete(
    port: &FakePort,
    caller: &Caller,
    id: &str,
    ids: &[String],
    md5: Option<&str>,
) -> Result<Received, Refusal> {
    let mut fields = json!({"part_ids": ids});
    if let Some(md5) = md5 {
        fields["md5"] = md5.into();
    }
    let body = fields.to_string().into_bytes();
    let mut source = FakeBody::whole(&body, 7);
    let reply = parts::complete(port, caller, &json_head(&body), &mut source, id).await?;
    Ok(Received::from(reply))
}

/// A document of two parts; `follow` says whether what is left to do after its answer is done.
pub fn of_parts(port: &FakePort, caller: &Caller, content: &[u8], follow: bool) -> String {
    let told = block_on(begin(port, caller, content.len())).unwrap();
    let upload = told.json()["id"].as_str().unwrap().to_owned();
    let (one, two) = content.split_at(20);
    let ids = [one, two].map(|part| added(port, caller, &upload, part));
    let body = json!({"part_ids": ids}).to_string().into_bytes();
    let mut source = FakeBody::whole(&body, 7);
    let head = json_head(&body);
    let completed = parts::complete(port, caller, &head, &mut source, &upload);
    let mut reply = block_on(completed).unwrap();
    reply.after = reply.after.filter(|_| follow);
    let told = Received::from(reply).json();
    told["file"]["id"].as_str().unwrap().to_owned()
}

/// An upload that is open, with one part.
pub fn open_with_a_part(port: &FakePort, caller: &Caller) {
    let id = begun(port, caller);
    added(port, caller, &id, pieces()[0]);
}

fn cancelled(port: &FakePort, caller: &Caller, id: &str) -> Result<Received, Refusal> {
    let head = head("POST", "/v1/uploads/x/cancel");
    block_on(parts::cancel(port, caller, &head, id)).map(Received::from)
}

fn shown(port: &FakePort, caller: &Caller, id: &str) -> Result<Value, Refusal> {
    let told = block_on(parts::get(port, caller, &head("GET", "/"), id)).map(Received::from);
    told.map(|told| told.json())
}

fn stored_parts(port: &FakePort, caller: &Caller, id: &str) -> Vec<Value> {
    let told = block_on(parts::list(port, caller, &head("GET", "/"), id)).map(Received::from);
    told.unwrap().json()["data"].as_array().unwrap().clone()
}

#[test]
fn parts_that_come_in_any_order_become_the_document() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let told = block_on(begin(&port, &caller, CONTENT.len()))
        .unwrap()
        .json();
    let id = told["id"].as_str().unwrap();
    let day = Millis::from_secs(86_400);
    let expected = json!({
        "id": id, "object": "upload", "bytes": CONTENT.len(), "created_at": START.secs(),
        "expires_at": START.plus(day).secs(), "filename": "fox.txt", "purpose": "user_data",
        "status": "pending", "file": null,
    });
    assert_eq!(told, expected);
    let [a, b, c] = pieces();
    let c = added(&port, &caller, id, c);
    let a = added(&port, &caller, id, a);
    let b = added(&port, &caller, id, b);
    assert_eq!(listed(&port, &caller), [""; 0]);
    let ids: Vec<Value> = stored_parts(&port, &caller, id)
        .iter()
        .map(|part| part["id"].clone())
        .collect();
    assert_eq!(ids, [&c, &a, &b].map(|id| Value::from(id.as_str())));
    let md5 = "0d7006cd055e94cf614587e1d2ae0c8e";
    let order = [a, b, c];
    let refusal = block_on(complete(&port, &caller, id, &order, Some(md5))).unwrap_err();
    assert_eq!(refusal.code, Code::ChecksumMismatch);
    let right = {
        use md5::Digest;
        hex(&md5::Md5::digest(CONTENT)).to_uppercase()
    };
    for _ in 0..2 {
        let told = block_on(complete(&port, &caller, id, &order, Some(&right)))
            .unwrap()
            .json();
        let file = &told["file"];
        assert_eq!(
            (&told["status"], &file["bytes"]),
            (&json!("completed"), &json!(CONTENT.len()))
        );
        assert_eq!(listed(&port, &caller), [file["id"].as_str().unwrap()]);
    }
    let file = shown(&port, &caller, id).unwrap()["file"]["id"].clone();
    let file = file.as_str().unwrap();
    let told = read(&port, &caller, file, &head("GET", "/")).unwrap();
    assert_eq!(
        (told.body.as_slice(), told.header("content-type")),
        (CONTENT, Some("text/plain; charset=utf-8"))
    );
    let part = Head {
        range: Some("bytes=15-37".into()),
        ..head("GET", "/")
    };
    assert_eq!(
        read(&port, &caller, file, &part).unwrap().body,
        &CONTENT[15..38]
    );
    assert_eq!(
        cancelled(&port, &caller, id).unwrap_err().code,
        Code::UploadIncomplete
    );
    remove(&port, &caller, file).unwrap();
    sweep_all(&port);
    assert_nothing_left(&port, "after its deletion");
}

#[test]
fn parts_that_come_at_the_same_time_are_all_there() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = begun(&port, &caller);
    let [a, b, c] = pieces();
    let one = |content, number| {
        let (port, caller, id) = (&port, &caller, &id);
        async move {
            add(port, caller, id, content, Some(number)).await.unwrap();
        }
    };
    let all: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> = vec![
        Box::pin(one(b, 2)),
        Box::pin(one(c, 3)),
        Box::pin(one(a, 1)),
    ];
    join_all(all);
    let mut parts = stored_parts(&port, &caller, &id);
    let ids = |parts: &[Value]| -> Vec<String> {
        parts
            .iter()
            .map(|part| part["id"].as_str().unwrap().to_owned())
            .collect()
    };
    parts.sort_by_key(|part| std::cmp::Reverse(part["part_number"].as_u64()));
    let refusal = block_on(complete(&port, &caller, &id, &ids(&parts), None)).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.param.as_deref()),
        (Code::InvalidParameter, Some("part_ids"))
    );
    parts.reverse();
    let told = block_on(complete(&port, &caller, &id, &ids(&parts), None))
        .unwrap()
        .json();
    let file = told["file"]["id"].as_str().unwrap();
    assert_eq!(
        read(&port, &caller, file, &head("GET", "/")).unwrap().body,
        CONTENT
    );
}

#[test]
fn a_part_whose_answer_was_lost_can_be_sent_again() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = begun(&port, &caller);
    let [a, b, c] = pieces();
    let first = added(&port, &caller, &id, a);
    let before = port.blobs.borrow().len();
    assert_eq!(added(&port, &caller, &id, a), first);
    assert_eq!(port.blobs.borrow().len(), before);
    let ids = [
        first,
        added(&port, &caller, &id, b),
        added(&port, &caller, &id, c),
    ];
    assert!(block_on(complete(&port, &caller, &id, &ids, None)).is_ok());
}

#[test]
fn what_an_upload_asks_for_is_checked_before_anything_is_stored() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let good =
        json!({"filename": "a", "purpose": "user_data", "bytes": 5, "mime_type": "text/plain"});
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let cases = [
        (
            with("filename", Value::Null),
            Code::MissingParameter,
            "filename",
        ),
        (
            with("filename", json!(5)),
            Code::InvalidParameter,
            "filename",
        ),
        (
            with("purpose", json!("other")),
            Code::InvalidParameter,
            "purpose",
        ),
        (with("bytes", Value::Null), Code::MissingParameter, "bytes"),
        (with("bytes", json!(0)), Code::InvalidParameter, "bytes"),
        (with("bytes", json!(-1)), Code::InvalidParameter, "bytes"),
        (with("bytes", json!(1.5)), Code::InvalidParameter, "bytes"),
        (with("bytes", json!(26_214_401)), Code::PayloadTooLarge, ""),
        (
            with("mime_type", Value::Null),
            Code::MissingParameter,
            "mime_type",
        ),
        (
            with("expires_after", json!({"anchor": "x", "seconds": 3600})),
            Code::InvalidParameter,
            "expires_after.anchor",
        ),
        (
            with(
                "expires_after",
                json!({"anchor": "created_at", "seconds": 1}),
            ),
            Code::InvalidParameter,
            "expires_after.seconds",
        ),
        (
            with("colour", json!("red")),
            Code::UnsupportedParameter,
            "colour",
        ),
    ];
    for (body, code, param) in cases {
        let body = body.to_string().into_bytes();
        let mut source = FakeBody::whole(&body, 7);
        let refusal = block_on(parts::create(
            &port,
            &caller,
            &json_head(&body),
            &mut source,
        ));
        let refusal = refusal.err().unwrap();
        assert_eq!(
            (refusal.code, refusal.param.as_deref().unwrap_or("")),
            (code, param)
        );
    }
    assert_nothing_left(&port, "after refusals");
}

#[test]
fn an_upload_is_its_owners_alone() {
    let port = FakePort::new();
    let (caller, other) = (visitor("vis_1"), visitor("vis_2"));
    let id = begun(&port, &caller);
    let unknown = id.replace(&id[id.len() - 4..], "0000");
    for (who, id) in [
        (&other, &id),
        (&anonymous(), &id),
        (&caller, &unknown),
        (&caller, &"x".to_owned()),
    ] {
        let codes = [
            shown(&port, who, id).unwrap_err().code,
            block_on(add(&port, who, id, b"x", None)).unwrap_err().code,
            block_on(complete(&port, who, id, &[], None))
                .unwrap_err()
                .code,
            cancelled(&port, who, id).unwrap_err().code,
        ];
        assert_eq!(codes, [Code::UploadNotFound; 4]);
    }
    assert_eq!(shown(&port, &caller, &id).unwrap()["status"], "pending");
}

#[test]
fn content_is_judged_whatever_type_was_named() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let zip = [b"PK\x03\x04".as_slice(), &[0; 41]].concat();
    assert_eq!(zip.len(), CONTENT.len());
    let id = begun(&port, &caller);
    let part = added(&port, &caller, &id, &zip);
    let refusal = block_on(complete(&port, &caller, &id, &[part], None)).unwrap_err();
    assert_eq!(refusal.code, Code::DocumentTypeRefused);
    assert_eq!(listed(&port, &caller), [""; 0]);
    let told = cancelled(&port, &caller, &id).unwrap().json();
    assert_eq!(told["status"], "cancelled");
    sweep_all(&port);
    assert_nothing_left(&port, "after it was given up");
}

#[test]
fn room_is_taken_when_an_upload_begins_and_comes_back_with_its_end() {
    let port = port_with_room(1, 2000, 10, 10);
    let caller = visitor("vis_1");
    let id = begun(&port, &caller);
    let full = block_on(begin(&port, &caller, 5)).unwrap_err();
    assert_eq!(full.code, Code::QuotaExceeded);
    cancelled(&port, &caller, &id).unwrap();
    sweep_all(&port);
    assert_nothing_left(&port, "after it was given up");
    // One that is forgotten goes by itself, with its parts.
    let id = begun(&port, &caller);
    added(&port, &caller, &id, pieces()[0]);
    port.pass(Millis::from_secs(86_400));
    assert_eq!(
        shown(&port, &caller, &id).unwrap_err().code,
        Code::UploadNotFound
    );
    sweep_all(&port);
    assert_nothing_left(&port, "after its time");
}

#[test]
fn a_part_that_is_cut_or_refused_leaves_nothing_and_the_others_stay() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = begun(&port, &caller);
    added(&port, &caller, &id, pieces()[0]);
    let before = (port.blobs.borrow().clone(), port.rows(Class::Owner));
    let form = part_form(pieces()[1], None);
    for length in 0..form.len() - 2 {
        let mut body = FakeBody::cut(&form[..length], 7);
        let head = upload_head(&form);
        let told = parts::add_in_segments(&port, &caller, &head, &mut body, &id, SEGMENT);
        assert_eq!(
            block_on(told).err().unwrap().code,
            Code::IncompleteBody,
            "{length}"
        );
        let after = (port.blobs.borrow().clone(), port.rows(Class::Owner));
        assert!(before == after, "after {length} bytes");
    }
    let refusal = block_on(add(&port, &caller, &id, CONTENT, None)).unwrap_err();
    assert_eq!(refusal.code, Code::PayloadTooLarge);
    let after = (port.blobs.borrow().clone(), port.rows(Class::Owner));
    assert!(before == after, "after one that was too long");
}

#[test]
fn an_erasure_ends_what_is_still_coming() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = begun(&port, &caller);
    added(&port, &caller, &id, pieces()[0]);
    block_on(gatehouse::app::documents::forget(&port, "vis_1")).unwrap();
    assert_eq!(
        shown(&port, &caller, &id).unwrap_err().code,
        Code::UploadNotFound
    );
    let late = block_on(add(&port, &caller, &id, pieces()[1], None)).unwrap_err();
    assert_eq!(late.code, Code::UploadNotFound);
    sweep_all(&port);
    assert_nothing_left(&port, "after the erasure");
}

/// All of an upload: begun, three parts, completed.
async fn whole(port: &FakePort, caller: &Caller) -> Result<String, Refusal> {
    let told = begin(port, caller, CONTENT.len()).await?.json();
    let id = told["id"].as_str().unwrap();
    let mut ids = Vec::new();
    for piece in pieces() {
        let told = add(port, caller, id, piece, None).await?.json();
        ids.push(told["id"].as_str().unwrap().to_owned());
    }
    let told = complete(port, caller, id, &ids, None).await?.json();
    Ok(told["file"]["id"].as_str().unwrap().to_owned())
}

#[test]
fn an_upload_with_any_fault_is_whole_or_leaves_nothing_after_its_time() {
    let caller = visitor("vis_1");
    let port = FakePort::new();
    block_on(whole(&port, &caller)).unwrap();
    let calls = port.calls().len();
    assert!(calls >= 25, "{calls} calls");
    for fault in faults(calls + 5) {
        let port = FakePort::new();
        port.evict_always();
        port.fail([fault]);
        let told = block_on(whole(&port, &caller));
        port.heal();
        let shown = format!("{fault:?}");
        match &told {
            Ok(id) => assert_eq!(&listed(&port, &caller), std::slice::from_ref(id), "{shown}"),
            Err(refusal) => assert!(is_outage(refusal), "{shown}: {:?}", refusal.code),
        }
        // Listed and yet refused: the answer was lost, and the document stands.
        assert_whole(&port, &caller, &shown);
        port.pass(Millis::from_secs(86_400));
        sweep_all(&port);
        assert_whole(&port, &caller, &shown);
        for id in listed(&port, &caller) {
            remove(&port, &caller, &id).unwrap();
        }
        sweep_all(&port);
        assert_nothing_left(&port, &shown);
    }
}

#[test]
fn an_upload_that_is_killed_anywhere_leaves_nothing_after_its_time() {
    let caller = visitor("vis_1");
    let mut steps = 0;
    loop {
        let port = FakePort::new();
        let done = run_and_drop(whole(&port, &caller), steps);
        assert_whole(&port, &caller, &format!("{steps} steps"));
        port.pass(Millis::from_secs(86_400));
        sweep_all(&port);
        for id in listed(&port, &caller) {
            assert_eq!(
                read(&port, &caller, &id, &head("GET", "/")).unwrap().body,
                CONTENT
            );
            remove(&port, &caller, &id).unwrap();
        }
        sweep_all(&port);
        assert_nothing_left(&port, &format!("{steps} steps"));
        if done.is_some() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "{steps} steps");
}

#[test]
fn an_upload_counts_once_however_many_parts_it_has() {
    let port = FakePort::with(
        |config| {
            for limit in &mut config.limits {
                if limit.class == LimitClass::Upload {
                    limit.burst.requests = 1;
                }
            }
        },
        &[],
    );
    let body = json!({"filename": "fox.txt", "purpose": "user_data", "bytes": CONTENT.len(), "mime_type": "text/plain"});
    let body = body.to_string().into_bytes();
    let made = ask_house(&port, None, json_head(&body), &body);
    assert_eq!(made.status, 200, "{}", made.text());
    let cookie = cookie_of(&made);
    let upload = made.json()["id"].as_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for (piece, number) in pieces().into_iter().zip(1..) {
        let form = part_form(piece, Some(number));
        let head = Head {
            path: format!("/v1/uploads/{upload}/parts"),
            ..upload_head(&form)
        };
        let part = ask_house(&port, Some(&cookie), head, &form);
        assert_eq!(part.status, 200, "{}", part.text());
        ids.push(part.json()["id"].clone());
    }
    let body = json!({"part_ids": ids}).to_string().into_bytes();
    let head = Head {
        path: format!("/v1/uploads/{upload}/complete"),
        ..json_head(&body)
    };
    assert_eq!(ask_house(&port, Some(&cookie), head, &body).status, 200);
    let another = form("fox.txt", CONTENT);
    let refused = ask_house(&port, Some(&cookie), upload_head(&another), &another);
    assert_eq!(refused.status, 429, "{}", refused.text());
}
