//! New versions of a document: whole or not at all, with the earlier ones beside them.

use gatehouse::app::documents::{get, versions};
use serde_json::Value;

use super::*;

const SECOND: &[u8] = b"The second version of the fox is a longer one, in eight segments of it.";

async fn store(
    port: &FakePort,
    caller: &Caller,
    id: &str,
    content: &[u8],
    if_match: Option<&str>,
) -> Result<Received, Refusal> {
    let form = form("fox.txt", content);
    let head = Head {
        if_match: if_match.map(str::to_owned),
        ..upload_head(&form)
    };
    let mut body = FakeBody::whole(&form, 7);
    let told = versions::create_in_segments(port, caller, &head, &mut body, id, SEGMENT).await?;
    Ok(Received::from(told))
}

fn version(port: &FakePort, caller: &Caller, id: &str, version: u32) -> Result<Vec<u8>, Refusal> {
    let head = head("GET", &format!("/v1/files/x/content?version={version}"));
    read(port, caller, id, &head).map(|received| received.body)
}

fn newest(port: &FakePort, caller: &Caller, id: &str) -> Vec<u8> {
    read(port, caller, id, &head("GET", "/")).unwrap().body
}

fn listed_versions(port: &FakePort, caller: &Caller, id: &str) -> Vec<u64> {
    let told = block_on(versions::list(port, caller, &head("GET", "/"), id)).unwrap();
    let list: Value = Received::from(told).json();
    let data = list["data"].as_array().unwrap();
    data.iter()
        .map(|v| v["version"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_new_version_is_read_and_the_earlier_ones_by_number() {
    let port = FakePort::new();
    port.evict_always();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let told = block_on(store(&port, &caller, &id, SECOND, None)).unwrap();
    assert_eq!(told.json()["id"], id.as_str());
    assert_eq!(newest(&port, &caller, &id), SECOND);
    assert_eq!(version(&port, &caller, &id, 1).unwrap(), CONTENT);
    assert_eq!(version(&port, &caller, &id, 2).unwrap(), SECOND);
    assert_eq!(
        version(&port, &caller, &id, 3).unwrap_err().code,
        Code::DocumentNotFound
    );
    assert_eq!(
        version(&port, &caller, &id, 0).unwrap_err().code,
        Code::InvalidParameter
    );
    let described = block_on(get(&port, &caller, &head("GET", "/"), &id)).unwrap();
    let described = Received::from(described).json();
    assert_eq!(
        (&described["bytes"], &described["gatehouse"]["version"]),
        (&SECOND.len().into(), &2.into())
    );
    assert_eq!(listed(&port, &caller), [id.as_str()]);
    assert_eq!(listed_versions(&port, &caller, &id), [2, 1]);
    assert_eq!(held_by_site(&port), 2, "each version takes room");

    let delete = |number: &str| {
        let head = head("DELETE", "/");
        block_on(versions::delete(&port, &caller, &head, &id, number)).map(drop)
    };
    assert!(delete("2").is_err(), "the newest is the document itself");
    delete("1").unwrap();
    assert_eq!(listed_versions(&port, &caller, &id), [2]);
    assert_eq!(newest(&port, &caller, &id), SECOND);
    remove(&port, &caller, &id).unwrap();
    sweep_all(&port);
    assert_nothing_left(&port, "after the last");
}

#[test]
fn versions_beyond_those_that_are_kept_go_with_their_blobs_and_their_room() {
    let port = FakePort::with(|config| config.documents.max_versions = 2, &[]);
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let one = port.blobs.borrow().len();
    for round in 2..6 {
        block_on(store(&port, &caller, &id, CONTENT, None)).unwrap();
        assert_eq!(listed_versions(&port, &caller, &id), [round, round - 1]);
        assert_eq!(port.blobs.borrow().len(), 2 * one);
        assert_eq!(held_by_site(&port), 2);
    }
    remove(&port, &caller, &id).unwrap();
    sweep_all(&port);
    assert_nothing_left(&port, "of six versions");
}

#[test]
fn a_version_is_stored_over_that_content_alone_which_was_read() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let read_it = || read(&port, &caller, &id, &head("GET", "/")).unwrap();
    let etag = read_it().header("etag").unwrap().to_owned();
    block_on(store(&port, &caller, &id, SECOND, Some(&etag))).unwrap();
    let told = block_on(store(&port, &caller, &id, CONTENT, Some(&etag)));
    assert_eq!(told.unwrap_err().code, Code::PreconditionFailed);
    assert_eq!(newest(&port, &caller, &id), SECOND);
    assert!(block_on(store(&port, &caller, &id, CONTENT, Some("*"))).is_ok());
}

#[test]
fn of_two_versions_at_the_same_time_one_is_stored_and_the_other_refused() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let told = join_all(vec![
        store(&port, &caller, &id, SECOND, None),
        store(&port, &caller, &id, SECOND, None),
    ]);
    let stored = told.iter().filter(|told| told.is_ok()).count();
    assert_eq!(stored, 1);
    let refusal = told.into_iter().find_map(Result::err).unwrap();
    assert_eq!(refusal.code, Code::Conflict);
    assert_eq!(listed_versions(&port, &caller, &id), [2, 1]);
    remove(&port, &caller, &id).unwrap();
    port.pass(HOUR);
    sweep_all(&port);
    assert_nothing_left(&port, "of the one that was refused");
}

#[test]
fn a_version_with_any_fault_is_whole_or_the_one_before_stands() {
    let caller = visitor("vis_1");
    let calls = {
        let port = FakePort::new();
        let id = uploaded(&port, &caller);
        port.heal();
        block_on(store(&port, &caller, &id, SECOND, None)).unwrap();
        port.calls().len()
    };
    assert!(calls >= 12, "{calls} calls");
    for fault in faults(calls + 5) {
        let port = FakePort::new();
        port.evict_always();
        let id = uploaded(&port, &caller);
        port.fail([fault]);
        let told = block_on(store(&port, &caller, &id, SECOND, None));
        port.heal();
        let shown = format!("{fault:?}");
        if let Err(refusal) = &told {
            assert!(is_outage(refusal), "{shown}: {refusal:?}");
        }
        for later in [Millis(0), HOUR] {
            port.pass(later);
            sweep_all(&port);
            let content = newest(&port, &caller, &id);
            assert!(
                content == SECOND || (content == CONTENT && told.is_err()),
                "{shown}"
            );
            assert_eq!(version(&port, &caller, &id, 1).unwrap(), CONTENT, "{shown}");
            let versions = listed_versions(&port, &caller, &id).len();
            assert_eq!(versions, if content == SECOND { 2 } else { 1 }, "{shown}");
            if later > Millis(0) {
                assert_eq!(held_by_site(&port), versions, "{shown}");
            }
        }
        port.pass(WEEK);
        sweep_all(&port);
        assert_nothing_left(&port, &shown);
    }
}

#[test]
fn a_version_that_is_killed_anywhere_leaves_nothing_for_long() {
    let caller = visitor("vis_1");
    let mut steps = 0;
    loop {
        let port = FakePort::new();
        let id = uploaded(&port, &caller);
        let told = run_and_drop(store(&port, &caller, &id, SECOND, None), steps);
        let content = newest(&port, &caller, &id);
        assert!(content == SECOND || content == CONTENT);
        port.pass(HOUR);
        sweep_all(&port);
        let kept = listed_versions(&port, &caller, &id).len();
        assert_eq!(held_by_site(&port), kept, "after {steps} steps");
        remove(&port, &caller, &id).unwrap();
        port.pass(HOUR);
        sweep_all(&port);
        assert_nothing_left(&port, &format!("after {steps} steps"));
        if told.is_some() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 30, "{steps} steps");
}

#[test]
fn a_version_opens_in_its_own_place_alone() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    block_on(store(&port, &caller, &id, CONTENT, None)).unwrap();
    // The first version's blob in the place of the second's, and so back: a rollback.
    {
        let mut blobs = port.blobs.borrow_mut();
        let first = format!("v1/default/docs/vis_1/{id}/00000");
        let later = blobs
            .keys()
            .find(|name| name.contains("/v2-") && name.ends_with("-00000"));
        let second = later.unwrap().clone();
        assert_ne!(blobs[&first], blobs[&second]);
        let old = blobs[&first].clone();
        blobs.insert(second, old);
    }
    let refusal = read(&port, &caller, &id, &head("GET", "/")).unwrap_err();
    assert_eq!(refusal.code, Code::Integrity);
}

/// Stores a version, or a first document where there is no id, of which the form says that.
fn store_saying(
    port: &FakePort,
    caller: &Caller,
    id: Option<&str>,
    said: &Value,
) -> Result<Received, Refusal> {
    let field =
        format!("--B\r\nContent-Disposition: form-data; name=\"details\"\r\n\r\n{said}\r\n");
    let form = [field.as_bytes(), &form("fox.txt", CONTENT)].concat();
    let (head, mut body) = (upload_head(&form), FakeBody::whole(&form, 7));
    let told = match id {
        None => block_on(create(port, caller, &head, &mut body)),
        Some(id) => block_on(versions::create(port, caller, &head, &mut body, id)),
    };
    told.map(Received::from)
}

#[test]
fn a_version_keeps_labels_unless_it_says_others_and_never_an_earlier_date() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let at = |time: Millis| START.plus(time).secs();
    let said = serde_json::json!({"tags": ["a"], "keep_until": at(HOUR.plus(HOUR))});
    let made = store_saying(&port, &caller, None, &said).unwrap();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let ours = || {
        let told = block_on(get(&port, &caller, &head("GET", "/"), &id)).unwrap();
        Received::from(told).json()["gatehouse"].clone()
    };
    store_saying(&port, &caller, Some(&id), &serde_json::json!({"tool": "t"})).unwrap();
    assert_eq!(ours()["tags"], serde_json::json!(["a"]));
    assert_eq!(ours()["provenance"]["tool"], "t");
    let said = serde_json::json!({"tags": ["b"], "keep_until": at(HOUR)});
    store_saying(&port, &caller, Some(&id), &said).unwrap();
    assert_eq!(ours()["tags"], serde_json::json!(["b"]));
    assert_eq!(ours()["keep_until"], at(HOUR.plus(HOUR)), "which is later");
}

#[test]
fn nobody_keeps_a_document_beyond_the_time_that_documents_are_kept() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    for date in [START, START.plus(WEEK).plus(Millis::from_secs(1))] {
        let said = serde_json::json!({"keep_until": date.secs()});
        let refusal = store_saying(&port, &caller, None, &said).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidParameter);
        assert_eq!(listed(&port, &caller), [""; 0]);
    }
    port.pass(HOUR);
    sweep_all(&port);
    assert_nothing_left(&port, "of what was refused");
}
