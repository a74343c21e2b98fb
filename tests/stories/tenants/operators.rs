//! Every endpoint of the operators' API that takes an id: every role of a tenant that may call it asks for what another
//! tenant has.

use gatehouse::domain::admin::{Access, Call, ENDPOINTS, Endpoint};
use gatehouse::domain::identity::roles::Role;
use serde_json::{Value, json};

use super::things::{Guest, Made, Thing, make};
use super::{HOSTS, TENANTS, house, kept, told};
use crate::support::Received;
use crate::support::fake_port::FakePort;
use crate::support::operator::{ADMIN_TOKEN, Operator, member, owner_of, request, unbase32};

/// A question after one thing. `{}` is its id, `{code}` the code that goes with it; in the path the id stands where the
/// endpoint has its placeholder.
struct Ask {
    thing: Thing,
    query: &'static str,
    body: Value,
}

fn ask(thing: Thing, body: Value) -> Ask {
    Ask {
        thing,
        query: "",
        body,
    }
}

fn query(thing: Thing, query: &'static str) -> Ask {
    Ask {
        thing,
        query,
        body: Value::Null,
    }
}

/// What an endpoint can be asked for, with bodies that are granted at the thing's own house. Without a wildcard: a new
/// endpoint is decided here.
fn asks(call: Call) -> Vec<Ask> {
    let none = json!({});
    let of_key_and_visitor = |body: Value| {
        [("key/{}", Thing::ApiKey), ("visitor/{}", Thing::Visitor)]
            .map(|(scope, thing)| {
                let mut body = body.clone();
                body["scope"] = scope.into();
                ask(thing, body)
            })
            .into()
    };
    match call {
        Call::SignIn => vec![ask(
            Thing::OperatorKey,
            json!({"key": "{}", "code": "{code}"}),
        )],
        Call::Join => vec![
            ask(Thing::InviteCode, json!({"invite": "{}", "name": "Joan"})),
            ask(Thing::Joining, json!({"enrolment": "{}", "code": "{code}"})),
        ],
        Call::OwnTotp => vec![ask(
            Thing::NewFactor,
            json!({"enrolment": "{}", "code": "{code}"}),
        )],
        Call::Keys => vec![query(Thing::ApiKey, "after={}")],
        Call::Key | Call::KeyRevoke => vec![ask(Thing::ApiKey, Value::Null)],
        Call::KeyChange => vec![ask(Thing::ApiKey, json!({"name": "changed"}))],
        Call::KeyRotate => vec![ask(Thing::ApiKey, json!({"overlap_seconds": 0}))],
        Call::SiteKeyChange => vec![ask(
            Thing::SiteKey,
            json!({"id": "{}", "name": "changed", "origins": ["https://page.example"]}),
        )],
        Call::SiteKeyRemove => vec![ask(Thing::SiteKey, Value::Null)],
        Call::Visitor => vec![ask(Thing::Visitor, Value::Null)],
        Call::VisitorRevoke => vec![ask(Thing::Visitor, none)],
        Call::LimitSet => of_key_and_visitor(json!({"allowance": {"concurrent": 1}})),
        Call::LimitClear => vec![
            query(Thing::ApiKey, "scope=key/{}"),
            query(Thing::Visitor, "scope=visitor/{}"),
        ],
        Call::BudgetSet => of_key_and_visitor(json!({"budget": {"day_usd": 1.0}})),
        Call::BlockAdd => vec![
            ask(
                Thing::ApiKey,
                json!({"key": "{}", "seconds": 60, "reason": "noise"}),
            ),
            ask(
                Thing::Visitor,
                json!({"visitor": "{}", "seconds": 60, "reason": "noise"}),
            ),
        ],
        Call::BlockRemove => vec![ask(Thing::Block, Value::Null)],
        Call::Documents => vec![query(Thing::HeldBack, "after={}")],
        Call::DocumentRelease => vec![ask(Thing::HeldBack, json!({"version": 1}))],
        Call::DocumentHold => vec![ask(Thing::HeldBack, json!({"reason": "case"}))],
        Call::DocumentUnhold | Call::DocumentRemove => vec![ask(Thing::HeldBack, Value::Null)],
        Call::FlagSet => vec![ask(Thing::Flag, json!({"value": "changed"}))],
        Call::Alerts => vec![query(Thing::Alert, "before={}")],
        Call::AlertSeen | Call::AlertUndo => vec![ask(Thing::Alert, none)],
        Call::OperatorChange => vec![ask(Thing::Operator, json!({"disabled": true}))],
        Call::OperatorRole => vec![ask(Thing::Operator, json!({"role": "support"}))],
        Call::OperatorRemove => vec![
            ask(Thing::Operator, Value::Null),
            ask(Thing::Invite, Value::Null),
        ],
        Call::SessionEnd => vec![ask(Thing::Session, Value::Null)],
        Call::KeyringDestroy => vec![ask(Thing::KeyVersion, Value::Null)],
        Call::ProviderKeySet => vec![ask(Thing::ProviderKey, json!({"key": "sk-other"}))],
        Call::ProviderKeyRemove => vec![ask(Thing::ProviderKey, Value::Null)],
        Call::Audit | Call::AuditExport => vec![
            query(Thing::Visitor, "subject={}"),
            query(Thing::Operator, "actor={}"),
            query(Thing::Entry, "before={}"),
        ],
        Call::AuditInclusion => vec![query(Thing::Entry, "index={}")],
        Call::AuditConsistency => vec![query(Thing::Entry, "from={}")],
        Call::AuditVerify => vec![ask(Thing::Checkpoint, json!({"checkpoint": "{}"}))],
        Call::AuditTile => vec![ask(Thing::Bundle, Value::Null)],
        Call::Rewind => vec![ask(
            Thing::Visitor,
            json!({"owner": "{}", "to": "2026-11-20T00:00:00Z"}),
        )],
        Call::Erase => vec![ask(Thing::Visitor, json!({"visitor": "{}"}))],
        // Takes what a house without an owner gave: told of below.
        Call::Claim => Vec::new(),
        // They take no id: of nobody, or of nobody but the operator who asks.
        Call::State
        | Call::SignOut
        | Call::Me
        | Call::Confirm
        | Call::OwnKey
        | Call::OwnRecovery
        | Call::Overview
        | Call::KeyCreate
        | Call::SiteKeys
        | Call::SiteKeyCreate
        | Call::VisitorsRevokeAll
        | Call::Limits
        | Call::Lists
        | Call::ListsSet
        | Call::Budgets
        | Call::Flags
        | Call::Operators
        | Call::OperatorInvite
        | Call::Sessions
        | Call::Keyring
        | Call::KeyringRotate
        | Call::KeyringSession
        | Call::KeyringEmergency
        | Call::KeyringExport
        | Call::Providers
        | Call::AuditCheckpoint
        | Call::AuditKey
        // A snapshot of another tenant does not open: told of in the stories of snapshots.
        | Call::Backups
        | Call::BackupTake
        | Call::Restore
        | Call::AccessReview => Vec::new(),
    }
}

/// Fields of a body that name something there is; a provider's `key` is the text that is stored.
const NAMING: [&str; 7] = [
    "id",
    "scope",
    "visitor",
    "enrolment",
    "checkpoint",
    "invite",
    "key",
];

#[test]
fn every_endpoint_that_takes_an_id_is_asked_with_one() {
    for endpoint in ENDPOINTS {
        let asked = asks(endpoint.call);
        let what = format!("{} {}", endpoint.method, endpoint.path);
        if endpoint.path.contains(['{', '*']) {
            assert!(!asked.is_empty(), "{what} has an id in its path");
        }
        for field in endpoint.call.fields() {
            let own = matches!(
                (endpoint.call, *field),
                (Call::ProviderKeySet, "key") | (Call::Claim, "enrolment")
            );
            if !NAMING.contains(field) || own {
                continue;
            }
            let filled = asked.iter().any(|ask| ask.body.get(field).is_some());
            assert!(filled, "{what} has the field {field}");
        }
    }
}

impl Ask {
    /// Puts the question with that id, as that operator or as nobody.
    fn put(
        &self,
        port: &FakePort,
        at: (&'static str, Option<&Operator>),
        endpoint: &Endpoint,
        (id, code): (&str, &str),
    ) -> Received {
        let (host, by) = at;
        let bundle = ["entries/000.p/", id].concat();
        let mut path = endpoint
            .path
            .replace("{id}", id)
            .replace("{name}", id)
            .replace("{version}", id)
            .replace('*', &bundle);
        if !self.query.is_empty() {
            path = format!("{path}?{}", self.query.replace("{}", id));
        }
        let quoted = Value::from(id).to_string();
        let body = self
            .body
            .to_string()
            .replace("{code}", code)
            .replace("{}", &quoted[1..quoted.len() - 1]);
        // A body without fields is written the same as the place of an id.
        let body = if self.body == json!({}) {
            json!({})
        } else {
            serde_json::from_str(&body).unwrap()
        };
        let token = by.map(|by| by.token.as_str());
        request(port, host, token, endpoint.method, &path, &body)
    }
}

/// A world in which one tenant has the thing and somebody of the other one is about to ask.
struct World {
    port: FakePort,
    owner: Operator,
    made: Made,
    /// `None`: the endpoint is open, and nobody asks.
    asker: Option<Operator>,
}

fn world(of: usize, thing: Thing, role: Option<Role>) -> World {
    let port = house();
    port.remembers();
    let mut owner = owner_of(&port, HOSTS[of]);
    let foreign = owner_of(&port, HOSTS[1 - of]);
    let mut asker = role.map(|role| match role {
        Role::Owner => foreign,
        role => member(&port, &foreign, role),
    });
    // What comes with the thing may end with the step of its code: everybody else has signed in before.
    let long = thing == Thing::KeyVersion;
    let codes = matches!(
        thing,
        Thing::OperatorKey | Thing::Joining | Thing::NewFactor
    );
    if !long && !codes {
        owner.sign_in(&port);
    }
    let made = make(&port, &mut owner, thing);
    if let Some(asker) = &mut asker {
        if long {
            asker.sign_in(&port);
        } else if !codes {
            asker.confirm(&port);
        }
    }
    if !codes {
        owner.confirm(&port);
    }
    World {
        port,
        owner,
        made,
        asker,
    }
}

impl World {
    fn read(&self, thing: Thing) -> Vec<String> {
        let paths = thing.read().iter();
        let paths = paths.map(|path| path.replace("{}", &self.made.id));
        paths
            .map(|path| {
                let read = self.owner.call(&self.port, "GET", &path, &Value::Null);
                assert_eq!(read.status, 200, "{path}: {}", read.text());
                read.text().to_owned()
            })
            .collect()
    }
}

#[test]
fn an_id_of_another_tenant_is_an_id_of_nobody_for_every_role_that_may_ask() {
    let mut asked = 0;
    for endpoint in ENDPOINTS {
        let roles: Vec<Option<Role>> = match endpoint.access {
            Access::Open => vec![None],
            Access::Session => Role::ALL.map(Some).into(),
            Access::Right(action) => {
                let may = Role::ALL.into_iter().filter(|role| role.may(action));
                may.map(Some).collect()
            }
        };
        for ask in asks(endpoint.call) {
            for (of, role) in [0, 1].into_iter().flat_map(|of| {
                let roles = roles.iter();
                roles.map(move |role| (of, *role))
            }) {
                let what = format!(
                    "{} {} {:?} of {} by {:?}",
                    endpoint.method, endpoint.path, ask.thing, TENANTS[of], role
                );
                let there = HOSTS[1 - of];
                let real = world(of, ask.thing, role);
                let (port, made) = (&real.port, &real.made);
                let read = real.read(ask.thing);
                let before = kept(port, TENANTS[of]);
                let by = real.asker.as_ref();
                let answer = ask.put(port, (there, by), endpoint, (&made.id, &made.code));
                assert_eq!(kept(port, TENANTS[of]), before, "{what}: something changed");

                let none = world(of, ask.thing, role);
                assert_eq!(none.made.id, made.id, "{what}: the worlds are the same");
                none.read(ask.thing);
                let nobody = (none.made.nobody.as_str(), none.made.code.as_str());
                let by = none.asker.as_ref();
                let unknown = ask.put(&none.port, (there, by), endpoint, nobody);
                assert_eq!(told(&answer, &made.id), told(&unknown, nobody.0), "{what}");
                let refused = ["forbidden", "second_factor_required", "setup_required"];
                let code = answer.json_code();
                assert!(
                    !refused.contains(&code.as_str()) || endpoint.call == Call::SessionEnd,
                    "{what}: {}",
                    answer.text()
                );

                assert_eq!(real.read(ask.thing), read, "{what}: it reads otherwise");
                made.works(port, ask.thing, &what);
                // The question was a good one: at the thing's own house it is granted.
                let by = Some(&real.owner).filter(|_| endpoint.access != Access::Open);
                let own = (HOSTS[of], by);
                let granted = ask.put(port, own, endpoint, (&made.id, &made.code));
                assert!(
                    (200..300).contains(&granted.status),
                    "{what}, at its own house: {}",
                    granted.text()
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 150, "{asked}");
}

trait Coded {
    fn json_code(&self) -> String;
}

impl Coded for Received {
    /// The code of problem details; of anything else nothing.
    fn json_code(&self) -> String {
        let value: Option<Value> = serde_json::from_slice(&self.body).ok();
        let code = value.and_then(|value| Some(value.get("code")?.as_str()?.to_owned()));
        code.unwrap_or_default()
    }
}

#[test]
fn no_list_names_anything_of_another_tenant() {
    for of in [0, 1] {
        let port = house();
        let mut owner = owner_of(&port, HOSTS[of]);
        let mut ids = Vec::new();
        for thing in Thing::ALL {
            let made = make(&port, &mut owner, thing);
            ids.push(made.id);
            ids.extend(
                made.left
                    .map(|(document, response)| [document, response])
                    .into_iter()
                    .flatten(),
            );
        }
        // Versions, indexes and names of providers are there as here.
        ids.retain(|id| id.len() > 6);
        assert!(ids.len() > 12, "{ids:?}");
        let foreign = owner_of(&port, HOSTS[1 - of]);
        foreign.confirm(&port);
        for endpoint in ENDPOINTS {
            if endpoint.method != "GET" || endpoint.path.contains(['{', '*']) {
                continue;
            }
            let read = foreign.call(&port, "GET", endpoint.path, &Value::Null);
            let text = String::from_utf8_lossy(&read.body);
            for id in &ids {
                assert!(!text.contains(id.as_str()), "{} names {id}", endpoint.path);
            }
        }
    }
}

#[test]
fn the_pages_of_one_thing_are_those_of_nothing_for_another_tenant() {
    for of in [0, 1] {
        for (thing, path) in [
            (Thing::ApiKey, "/admin/keys/"),
            (Thing::Visitor, "/admin/visitors/"),
        ] {
            let asked = |nobody: bool| {
                let World {
                    port, made, asker, ..
                } = world(of, thing, Some(Role::Owner));
                let id = if nobody { made.nobody } else { made.id };
                let page = |host: usize, token: &str| {
                    let mut browser = Guest::at(HOSTS[host]);
                    browser.cookies = vec![("__Host-gatehouse-admin".into(), token.into())];
                    browser.get(&port, &[path, &id].concat())
                };
                told(&page(1 - of, &asker.unwrap().token), &id)
            };
            let (real, nobody) = (asked(false), asked(true));
            assert!(
                !real.2.contains("sign-in"),
                "{path}: the page of an operator"
            );
            assert_eq!(real, nobody, "{path}");
        }
    }
}

#[test]
fn what_was_begun_to_claim_one_house_claims_no_other() {
    for of in [0, 1] {
        let port = house();
        let claim =
            |at: usize, body: &Value| request(&port, HOSTS[at], None, "POST", "/claim", body);
        let begun = claim(of, &json!({"token": ADMIN_TOKEN, "name": "Olga"})).json();
        let code = Operator::code(&port, &unbase32(begun["totp_secret"].as_str().unwrap()));
        let body = json!({"enrolment": begun["enrolment"], "code": code});
        let before = kept(&port, TENANTS[of]);
        let foreign = claim(1 - of, &body);
        assert_eq!(
            (foreign.status, foreign.json_code().as_str()),
            (400, "invalid_parameter")
        );
        assert_eq!(kept(&port, TENANTS[of]), before);
        let state = request(&port, HOSTS[1 - of], None, "GET", "/state", &Value::Null);
        assert_eq!(state.json()["claimed"], false);
        assert_eq!(claim(of, &body).status, 201);
    }
}
