//! Who may do what with somebody else's document, by name, by role, by link and in public; and that a denial looks like
//! absence.

use gatehouse::app::documents::{comments, details, links, shares, versions};
use serde_json::{Value, json};

use super::*;

fn json_head(method: &str, path: &str) -> Head {
    Head {
        content_type: Some("application/json".into()),
        ..head(method, path)
    }
}

fn body(value: &Value) -> FakeBody {
    FakeBody::whole(value.to_string().as_bytes(), 9)
}

fn share(port: &FakePort, caller: &Caller, id: &str, with: &Value) -> Result<Value, Refusal> {
    let head = json_head("POST", "/v1/files/x/shares");
    let reply = block_on(shares::create(port, caller, &head, &mut body(with), id))?;
    Ok(Received::from(reply).json())
}

fn unshare(port: &FakePort, caller: &Caller, id: &str, share: &Value) -> Result<(), Refusal> {
    let share = share["id"].as_str().unwrap();
    let head = head("DELETE", "/");
    block_on(shares::delete(port, caller, &head, id, share)).map(drop)
}

fn shared_with(port: &FakePort, caller: &Caller) -> Vec<String> {
    let reply = block_on(shares::with_me(port, caller, &head("GET", "/v1/shared"))).unwrap();
    ids(&Received::from(reply))
}

fn code<T>(told: Result<T, Refusal>) -> Code {
    told.err().unwrap().code
}

fn by_link(port: &FakePort, token: &str, passphrase: Option<&str>) -> Result<Received, Refusal> {
    let head = Head {
        passphrase: passphrase.map(str::to_owned),
        fetch_site: Some("cross-site".into()),
        ..head("GET", "/v1/shared/x/content")
    };
    block_on(links::content(port, &anonymous(), &head, token)).map(Received::from)
}

const SECOND: &str = "vis_22222222222222222222222222222222";
const THIRD: &str = "vis_33333333333333333333333333333333";

fn update(port: &FakePort, caller: &Caller, id: &str, change: &Value) -> Result<Value, Refusal> {
    let head = json_head("POST", "/v1/files/x");
    let reply = block_on(details::update(port, caller, &head, &mut body(change), id))?;
    Ok(Received::from(reply).json())
}

fn comment(port: &FakePort, caller: &Caller, id: &str, text: &str) -> Result<Value, Refusal> {
    let head = json_head("POST", "/v1/files/x/comments");
    let mut body = body(&json!({"text": text}));
    let reply = block_on(comments::create(port, caller, &head, &mut body, id))?;
    Ok(Received::from(reply).json())
}

fn comments_of(port: &FakePort, caller: &Caller, id: &str) -> Result<Vec<Value>, Refusal> {
    let reply = block_on(comments::list(port, caller, &head("GET", "/"), id))?;
    let list = Received::from(reply).json();
    Ok(list["data"].as_array().unwrap().clone())
}

#[test]
fn a_document_that_is_shared_by_name_is_there_for_them_and_for_nobody_else() {
    let port = FakePort::new();
    port.evict_always();
    let (first, second, third) = (visitor("vis_1"), visitor(SECOND), visitor(THIRD));
    let id = uploaded(&port, &first);
    let get_it = |caller: &Caller| read(&port, caller, &id, &head("GET", "/"));
    assert_eq!(code(get_it(&second)), Code::DocumentNotFound);

    let with = json!({"with": "principal", "id": SECOND});
    let made = share(&port, &first, &id, &with).unwrap();
    assert_eq!(
        (&made["right"], &made["with"]["id"]),
        (&json!("view"), &json!(SECOND))
    );
    assert_eq!(get_it(&second).unwrap().body, CONTENT);
    assert_eq!(shared_with(&port, &second), [id.as_str()]);
    let described = block_on(get(&port, &second, &head("GET", "/"), &id)).unwrap();
    let described = Received::from(described).json();
    assert_eq!(described["gatehouse"]["right"], "view");
    assert_eq!(listed(&port, &second), [""; 0], "it is not theirs");
    for nobody in [&third, &anonymous()] {
        assert_eq!(code(get_it(nobody)), Code::DocumentNotFound);
        assert_eq!(shared_with(&port, nobody), [""; 0]);
    }

    // They may read it, and do nothing else.
    let forbidden = [
        share(&port, &second, &id, &json!({"with": "public"})).map(drop),
        unshare(&port, &second, &id, &made),
        update(&port, &second, &id, &json!({"tags": []})).map(drop),
        comment(&port, &second, &id, "hello").map(drop),
    ];
    for told in forbidden {
        assert_eq!(code(told), Code::Forbidden);
    }
    assert_eq!(code(remove(&port, &second, &id)), Code::DocumentNotFound);

    unshare(&port, &first, &id, &made).unwrap();
    assert_eq!(code(get_it(&second)), Code::DocumentNotFound);
    assert_eq!(shared_with(&port, &second), [""; 0]);
    assert!(port.many_rows(Class::Shared).is_empty());
}

#[test]
fn a_denial_is_byte_for_byte_what_an_unknown_id_gets() {
    let port = FakePort::new();
    let (first, second) = (visitor("vis_1"), visitor(SECOND));
    let id = uploaded(&port, &first);
    share(
        &port,
        &first,
        &id,
        &json!({"with": "principal", "id": THIRD}),
    )
    .unwrap();
    let unknown = format!("file_{}", "0".repeat(32));
    let told = |id: &str| {
        let refusals = [
            read(&port, &second, id, &head("GET", "/")).err(),
            share(&port, &second, id, &json!({"with": "public"})).err(),
            update(&port, &second, id, &json!({"tags": []})).err(),
            comment(&port, &second, id, "hello").err(),
            comments_of(&port, &second, id).err(),
            block_on(versions::list(&port, &second, &head("GET", "/"), id)).err(),
            block_on(shares::list(&port, &second, &head("GET", "/"), id)).err(),
        ];
        refusals.map(|refusal| refusal.unwrap())
    };
    assert_eq!(told(&id), told(&unknown));
}

#[test]
fn roles_are_visitors_keys_and_tiers() {
    let port = FakePort::new();
    let (first, second) = (visitor("vis_1"), visitor(SECOND));
    let id = uploaded(&port, &first);
    let get_it = |caller: &Caller| read(&port, caller, &id, &head("GET", "/"));
    let role = |role: &str| json!({"with": "role", "id": role, "right": "comment"});
    for unknown in ["owner", "tier:none", ""] {
        assert_eq!(
            code(share(&port, &first, &id, &role(unknown))),
            Code::InvalidParameter
        );
    }
    share(&port, &first, &id, &role("key")).unwrap();
    assert_eq!(code(get_it(&second)), Code::DocumentNotFound);
    share(&port, &first, &id, &role("visitor")).unwrap();
    assert_eq!(get_it(&second).unwrap().body, CONTENT);
    assert_eq!(shared_with(&port, &second), [id.as_str()]);
    assert_eq!(code(get_it(&anonymous())), Code::DocumentNotFound);
}

#[test]
fn a_link_opens_to_whoever_has_it_until_its_time_is_over() {
    let port = FakePort::new();
    let first = visitor("vis_1");
    let id = uploaded(&port, &first);
    let until = START.plus(HOUR).secs();
    let link = json!({"with": "link", "expires_at": until});
    let made = share(&port, &first, &id, &link).unwrap();
    let token = made["token"].as_str().unwrap();
    let url = made["url"].as_str().unwrap();
    assert_eq!(
        url,
        format!("https://house.example/v1/shared/{token}/content")
    );
    let received = by_link(&port, token, None).unwrap();
    assert_eq!(received.body, CONTENT);

    // The token need not stand in the path, which logs of requests keep.
    let in_header = |token: Option<&str>| {
        let head = Head {
            link: token.map(str::to_owned),
            ..head("GET", "/v1/shared/link/content")
        };
        block_on(links::content(&port, &anonymous(), &head, "link")).map(Received::from)
    };
    assert_eq!(in_header(Some(token)).unwrap().body, CONTENT);
    assert_eq!(code(in_header(None)), Code::DocumentNotFound);
    assert_eq!(code(in_header(Some("link"))), Code::DocumentNotFound);

    // Neither the id alone nor another secret opens it, and the secret is kept nowhere.
    let nobody = read(&port, &anonymous(), &id, &head("GET", "/"));
    assert_eq!(code(nobody), Code::DocumentNotFound);
    for at in [0, 20, 30, 42] {
        let mut other = token.to_owned().into_bytes();
        other[at] = if other[at] == b'A' { b'Q' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(code(by_link(&port, &other, None)), Code::DocumentNotFound);
    }
    for other in ["", "x", &token[1..], &format!("{token}A")] {
        assert_eq!(code(by_link(&port, other, None)), Code::DocumentNotFound);
    }
    let secret = &token[token.len() - 20..];
    let rows = format!(
        "{:?}{:?}",
        port.rows(Class::Owner),
        port.many_rows(Class::Shared)
    );
    assert!(!rows.contains(secret));
    let list = block_on(shares::list(&port, &first, &head("GET", "/"), &id)).unwrap();
    let list = Received::from(list).json();
    assert!(!list.to_string().contains(secret));
    assert_eq!(list["data"][0]["with"]["type"], "link");

    port.pass(HOUR);
    assert_eq!(code(by_link(&port, token, None)), Code::DocumentNotFound);
}

#[test]
fn a_link_with_a_passphrase_asks_for_it_and_closes_after_too_many_wrong_ones() {
    let port = FakePort::new();
    port.evict_always();
    let first = visitor("vis_1");
    let id = uploaded(&port, &first);
    let link = json!({"with": "link", "passphrase": "correct horse"});
    let made = share(&port, &first, &id, &link).unwrap();
    let token = made["token"].as_str().unwrap();
    assert_eq!(made["has_passphrase"], true);
    assert_eq!(code(by_link(&port, token, None)), Code::PassphraseRequired);
    assert_eq!(
        by_link(&port, token, Some("correct horse")).unwrap().body,
        CONTENT
    );
    for attempt in 0..10 {
        let told = by_link(&port, token, Some("correct hors"));
        assert_eq!(code(told), Code::PassphraseRequired, "{attempt}");
    }
    let refusal = by_link(&port, token, Some("correct horse")).unwrap_err();
    assert_eq!(refusal.code, Code::TooManyAttempts);
    assert!(refusal.wait.is_some());
    port.pass(Millis::from_secs(900));
    assert!(by_link(&port, token, Some("correct horse")).is_ok());
    let rows = format!("{:?}", port.rows(Class::Owner));
    assert!(!rows.contains("correct horse"));
}

#[test]
fn a_passphrase_that_no_header_can_carry_is_refused() {
    let port = FakePort::new();
    let first = visitor("vis_1");
    let id = uploaded(&port, &first);
    for passphrase in [
        "seven77",
        " correct horse",
        "correct horse\t",
        "correct\nhorse",
    ] {
        let link = json!({"with": "link", "passphrase": passphrase});
        let refusal = share(&port, &first, &id, &link).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidParameter, "{passphrase:?}");
        assert_eq!(refusal.param.as_deref(), Some("passphrase"));
    }
    let link = json!({"with": "link", "passphrase": "\u{6b63}\u{786e}\u{7684}\u{9a6c}"});
    assert!(share(&port, &first, &id, &link).is_ok());
}

#[test]
fn a_public_document_is_read_by_whoever_knows_its_id() {
    let port = FakePort::new();
    let first = visitor("vis_1");
    let id = uploaded(&port, &first);
    let public = json!({"with": "public"});
    let made = share(&port, &first, &id, &public).unwrap();
    let get_it = || read(&port, &anonymous(), &id, &head("GET", "/"));
    assert_eq!(get_it().unwrap().body, CONTENT);
    unshare(&port, &first, &id, &made).unwrap();
    assert_eq!(code(get_it()), Code::DocumentNotFound);
}

#[test]
fn who_may_edit_stores_a_version_in_its_owners_place() {
    let port = FakePort::new();
    let (first, second) = (visitor("vis_1"), visitor(SECOND));
    let id = uploaded(&port, &first);
    let edit = json!({"with": "principal", "id": SECOND, "right": "edit"});
    share(&port, &first, &id, &edit).unwrap();
    let form = form("new.txt", b"rewritten by the second");
    let (head_of_form, mut body) = (upload_head(&form), FakeBody::whole(&form, 7));
    let told = versions::create_in_segments(&port, &second, &head_of_form, &mut body, &id, SEGMENT);
    assert!(block_on(told).is_ok());
    let received = read(&port, &first, &id, &head("GET", "/")).unwrap();
    assert_eq!(received.body, b"rewritten by the second");
    let list = block_on(versions::list(&port, &first, &head("GET", "/"), &id)).unwrap();
    let list = Received::from(list).json();
    assert_eq!(list["data"][0]["provenance"]["by"], SECOND);
    assert_eq!(list["data"][1]["provenance"]["by"], "vis_1");
    assert!(
        port.rows(Class::Owner)
            .keys()
            .all(|name| name.ends_with("vis_1"))
    );
    for (with, right) in [("link", "comment"), ("link", "edit"), ("public", "edit")] {
        let with = json!({"with": with, "right": right});
        let told = share(
            &port,
            &first,
            list["data"][0]["file_id"].as_str().unwrap(),
            &with,
        );
        assert_eq!(code(told), Code::InvalidParameter);
    }
}

#[test]
fn comments_are_sealed_and_read_by_who_may_read() {
    let port = FakePort::new();
    port.evict_always();
    let (first, second, third) = (visitor("vis_1"), visitor(SECOND), visitor(THIRD));
    let id = uploaded(&port, &first);
    for (who, right) in [(SECOND, "comment"), (THIRD, "view")] {
        let with = json!({"with": "principal", "id": who, "right": right});
        share(&port, &first, &id, &with).unwrap();
    }
    comment(&port, &first, &id, "What do you think of the fox?").unwrap();
    let made = comment(&port, &second, &id, "It is quick.").unwrap();
    let texts = |caller: &Caller| -> Vec<String> {
        let comments = comments_of(&port, caller, &id).unwrap();
        let texts = comments
            .iter()
            .map(|c| c["text"].as_str().unwrap().to_owned());
        texts.collect()
    };
    let both = ["What do you think of the fox?", "It is quick."];
    for reader in [&first, &second, &third] {
        assert_eq!(texts(reader), both);
    }
    let rows = format!("{:?}", port.rows(Class::Owner));
    assert!(!rows.contains("quick"), "no word of it is in a row");
    // After a new version they are still there, each under the key of its own version.
    let form = form("new.txt", CONTENT);
    let (head_of_form, mut body) = (upload_head(&form), FakeBody::whole(&form, 7));
    let told = versions::create(&port, &first, &head_of_form, &mut body, &id);
    assert!(block_on(told).is_ok());
    comment(&port, &first, &id, "Still.").unwrap();
    assert_eq!(texts(&third).len(), 3);

    let delete = |caller: &Caller, comment: &Value| {
        let comment = comment["id"].as_str().unwrap();
        let head = head("DELETE", "/");
        block_on(comments::delete(&port, caller, &head, &id, comment)).map(drop)
    };
    assert_eq!(code(delete(&third, &made)), Code::Forbidden);
    delete(&second, &made).unwrap();
    assert_eq!(code(delete(&second, &made)), Code::NotFound);
    assert_eq!(texts(&third).len(), 2);
    for text in ["", "  ", &"x".repeat(4_097)] {
        assert_eq!(
            code(comment(&port, &first, &id, text)),
            Code::InvalidParameter
        );
    }
    remove(&port, &first, &id).unwrap();
    sweep_all(&port);
    assert_nothing_left(&port, "with the document");
}

#[test]
fn labels_and_dates_change_and_a_retained_document_stays() {
    let port = FakePort::new();
    let first = visitor("vis_1");
    let id = uploaded(&port, &first);
    let until = START.plus(HOUR).secs();
    let change = json!({"filename": "../b.txt", "tags": ["z", "a"], "keep_until": until});
    let told = update(&port, &first, &id, &change).unwrap();
    assert_eq!(told["filename"], "b.txt");
    assert_eq!(told["gatehouse"]["tags"], json!(["a", "z"]));
    assert_eq!(told["gatehouse"]["keep_until"], until);
    for (field, value) in [
        ("keep_until", json!(START.secs())),
        ("expires_at", json!(START.plus(WEEK).secs() + 10)),
        ("purpose", json!("vision")),
    ] {
        let refusal = update(&port, &first, &id, &json!({field: value})).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidParameter);
        assert_eq!(refusal.param.as_deref(), Some(field));
        if field == "expires_at" {
            let last = START.plus(WEEK).rfc3339();
            let detail = refusal.detail.unwrap();
            assert!(detail.contains(&last), "a date that people read: {detail}");
        }
    }
    assert_eq!(code(remove(&port, &first, &id)), Code::DocumentKept);
    // It expires sooner than it may go: then it stays until it may.
    let sooner = START.plus(Millis::from_secs(60)).secs();
    update(&port, &first, &id, &json!({"expires_at": sooner})).unwrap();
    port.pass(Millis::from_secs(61));
    sweep_all(&port);
    assert_eq!(listed(&port, &first), [id.as_str()]);
    port.pass(HOUR);
    assert_eq!(listed(&port, &first), [""; 0]);
    port.pass(WEEK);
    sweep_all(&port);
    assert_nothing_left(&port, "after its time");
}

#[test]
fn what_is_shared_leaves_no_note_when_it_is_deleted_or_expires() {
    let port = FakePort::new();
    let first = visitor("vis_1");
    for delete in [true, false] {
        let id = uploaded(&port, &first);
        for with in [
            json!({"with": "principal", "id": SECOND}),
            json!({"with": "role", "id": "visitor"}),
            json!({"with": "link"}),
            json!({"with": "public"}),
        ] {
            share(&port, &first, &id, &with).unwrap();
        }
        assert_eq!(port.many_rows(Class::Shared).len(), 3, "id, name and role");
        if delete {
            remove(&port, &first, &id).unwrap();
        } else {
            port.pass(WEEK);
            assert_eq!(shared_with(&port, &visitor(SECOND)), [""; 0]);
            sweep_all(&port);
        }
        sweep_all(&port);
        assert_nothing_left(&port, "of what was shared");
    }
}

#[test]
fn a_share_with_any_fault_is_made_or_gives_nobody_anything() {
    let first = visitor("vis_1");
    let with = json!({"with": "principal", "id": SECOND});
    let calls = {
        let port = FakePort::new();
        let id = uploaded(&port, &first);
        port.heal();
        share(&port, &first, &id, &with).unwrap();
        port.calls().len()
    };
    for fault in faults(calls) {
        let port = FakePort::new();
        let id = uploaded(&port, &first);
        port.fail([fault]);
        let told = share(&port, &first, &id, &with);
        port.heal();
        let shown = format!("{fault:?}");
        let reads = read(&port, &visitor(SECOND), &id, &head("GET", "/")).is_ok();
        let list = shared_with(&port, &visitor(SECOND));
        match told {
            Ok(_) => assert!(reads && list == [id.clone()], "{shown}"),
            // Of what failed after it was persisted it is not known, and repeating it is no harm.
            Err(refusal) => assert!(is_outage(&refusal), "{shown}"),
        }
        share(&port, &first, &id, &with).unwrap();
        assert!(read(&port, &visitor(SECOND), &id, &head("GET", "/")).is_ok());
        remove(&port, &first, &id).unwrap();
        sweep_all(&port);
        // A note that a share left behind without a row is found dead by who looks for it.
        let _ = shared_with(&port, &visitor(SECOND));
        assert!(read(&port, &visitor(SECOND), &id, &head("GET", "/")).is_err());
    }
}
