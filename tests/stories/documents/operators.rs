//! What operators do with documents: they see what was held back and never its content, release it, hold documents and
//! delete them.

use gatehouse::domain::identity::roles::Role;
use serde_json::{Value, json};

use super::scanned::harmful;
use super::*;
use crate::support::operator::{ADMIN_TOKEN, Operator, member, owner_of, two_tenants};

const HOST: &str = "https://house.example";
const OTHER_HOST: &str = "https://acme.example";

fn house() -> (FakePort, Operator) {
    let port = FakePort::with(two_tenants, &[("ADMIN_TOKEN", ADMIN_TOKEN)]);
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    (port, owner)
}

fn listed_by(operator: &Operator, port: &FakePort, state: &str) -> Vec<Value> {
    let path = ["/documents?state=", state].concat();
    let told = operator.call(port, "GET", &path, &Value::Null);
    assert_eq!(told.status, 200, "{}", told.text());
    told.json()["documents"].as_array().unwrap().clone()
}

fn deeds(operator: &Operator, port: &FakePort) -> Vec<String> {
    let told = operator.call(port, "GET", "/audit?target=document", &Value::Null);
    let entries = told.json()["entries"].as_array().unwrap().clone();
    entries
        .iter()
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect()
}

fn content_of(port: &FakePort, owner: &str, id: &str) -> Result<Vec<u8>, Code> {
    let received = read(port, &visitor(owner), id, &head("GET", "/"));
    received.map(|it| it.body).map_err(|refusal| refusal.code)
}

#[test]
fn what_was_held_back_is_seen_with_what_was_found_and_released() {
    let (port, operator) = house();
    let (owner, id) = harmful(&port);
    let shown = listed_by(&operator, &port, "held_back");
    assert_eq!(shown.len(), 1);
    let one = &shown[0];
    assert_eq!((&one["id"], &one["owner"]), (&json!(id), &json!(owner)));
    assert_eq!(one["findings"][0]["rule"], "eicar");
    assert!(
        !shown[0].to_string().contains("STANDARD"),
        "not its content"
    );

    let path = ["/documents/", &id, "/release"].concat();
    let told = operator.call(&port, "POST", &path, &json!({}));
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.json()["versions"][0]["state"], "released");
    assert!(content_of(&port, owner, &id).is_ok());
    assert_eq!(listed_by(&operator, &port, "held_back").len(), 0);
    // Once.
    let told = operator.call(&port, "POST", &path, &json!({"owner": owner}));
    assert_eq!(told.status, 409, "{}", told.text());
    assert_eq!(deeds(&operator, &port), ["document.release"]);
}

#[test]
fn a_hold_outlasts_its_owner_an_erasure_and_its_date_until_it_ends() {
    let (port, operator) = house();
    let owner = "vis_11111111111111111111111111111111";
    let id = uploaded(&port, &visitor(owner));
    let path = ["/documents/", &id, "/hold"].concat();
    // Who it belongs to has to be said, since nothing is noted of it.
    let reason = json!({"reason": "case 4711"});
    assert_eq!(operator.call(&port, "POST", &path, &reason).status, 404);
    let hold = json!({"owner": owner, "reason": "case 4711"});
    let told = operator.call(&port, "POST", &path, &hold);
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(
        remove(&port, &visitor(owner), &id).unwrap_err().code,
        Code::DocumentKept
    );
    let erase = operator.call(&port, "POST", "/erase", &json!({"visitor": owner}));
    assert_eq!(erase.status, 200, "{}", erase.text());
    port.pass(WEEK.plus(HOUR));
    sweep_all(&port);
    assert_eq!(content_of(&port, owner, &id).unwrap(), CONTENT);

    let mut operator = operator;
    operator.sign_in(&port);
    operator.confirm(&port);
    let shown = listed_by(&operator, &port, "held");
    assert_eq!(shown[0]["hold"]["reason"], "case 4711");
    let told = operator.call(&port, "DELETE", &path, &Value::Null);
    assert_eq!(told.status, 200, "{}", told.text());
    sweep_all(&port);
    assert_eq!(content_of(&port, owner, &id), Err(Code::DocumentNotFound));
    assert_eq!(listed_by(&operator, &port, "held").len(), 0);
    assert_eq!(
        deeds(&operator, &port),
        ["document.unhold", "document.hold"]
    );
}

#[test]
fn an_operator_deletes_a_document_unless_it_must_stay() {
    let (port, operator) = house();
    let (owner, id) = harmful(&port);
    let path = ["/documents/", &id].concat();
    let hold = [&path, "/hold"].concat();
    let reason = json!({"reason": "case 4711"});
    assert_eq!(operator.call(&port, "POST", &hold, &reason).status, 200);
    let told = operator.call(&port, "DELETE", &path, &Value::Null);
    assert_eq!(told.json()["code"], "document_kept");
    assert_eq!(
        operator.call(&port, "DELETE", &hold, &Value::Null).status,
        200
    );
    let told = operator.call(&port, "DELETE", &path, &Value::Null);
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(listed(&port, &visitor(owner)), [""; 0]);
    assert!(port.blobs.borrow().keys().all(|key| !key.contains(&id)));
    assert!(port.many_rows(Class::Shared).is_empty());
    assert_eq!(
        operator.call(&port, "DELETE", &path, &Value::Null).status,
        404
    );
}

#[test]
fn support_sees_and_changes_nothing_and_another_house_sees_nothing() {
    let (port, operator) = house();
    let (_, id) = harmful(&port);
    let support = member(&port, &operator, Role::Support);
    support.confirm(&port);
    assert_eq!(listed_by(&support, &port, "held_back").len(), 1);
    let path = ["/documents/", &id, "/release"].concat();
    assert_eq!(support.call(&port, "POST", &path, &json!({})).status, 403);
    let analyst = member(&port, &operator, Role::Analyst);
    let seen = analyst.call(&port, "GET", "/documents", &Value::Null);
    assert_eq!(seen.status, 403);
    let other = owner_of(&port, OTHER_HOST);
    other.confirm(&port);
    assert_eq!(listed_by(&other, &port, "held_back").len(), 0);
    assert_eq!(other.call(&port, "POST", &path, &json!({})).status, 404);
}

#[test]
fn a_change_that_cannot_be_recorded_is_not_made() {
    let (port, operator) = house();
    let (owner, id) = harmful(&port);
    let path = ["/documents/", &id, "/release"].concat();
    port.fail([Fault {
        op: Some(Op::Object(Class::AuditLog)),
        first: 0,
        count: usize::MAX,
        when: When::Before,
    }]);
    let told = operator.call(&port, "POST", &path, &json!({}));
    assert_eq!(told.status, 503, "{}", told.text());
    port.heal();
    assert_eq!(
        content_of(&port, owner, &id),
        Err(Code::DocumentQuarantined)
    );
}
