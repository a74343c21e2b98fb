//! Every endpoint of the operators' API × every role × every tenant: the table decides, and nothing else does.

use crate::support::Received;
use crate::support::fake_port::FakePort;
use crate::support::operator::{ADMIN_TOKEN, Operator, member, owner_of, request, two_tenants};
use gatehouse::base::time::Millis;
use gatehouse::domain::admin::{Access, Call, ENDPOINTS, Endpoint};
use gatehouse::domain::identity::roles::{Action, Role};
use serde_json::json;

const HOSTS: [&str; 2] = ["https://house.example", "https://acme.example"];

fn house() -> FakePort {
    FakePort::with(two_tenants, &[("ADMIN_TOKEN", ADMIN_TOKEN)])
}

/// A path of the endpoint with an id that is nobody's.
fn path_of(endpoint: &Endpoint) -> String {
    endpoint
        .path
        .replace("{id}", "0000000000000000")
        .replace("{name}", "nothing")
        .replace("{version}", "99")
        .replace('*', "0/000")
}

/// Problem details name the code at the top.
fn code(received: &Received) -> String {
    received.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The endpoint was reached: it did what it does, or it lacks a field (400) or the thing of that id (404), or what is
/// there stands against it (409). What needs set-up first says so.
fn answers(what: &str, received: &Received) {
    let reached = matches!(received.status, 200..=299 | 400 | 404 | 409);
    assert!(
        reached || code(received) == "setup_required",
        "{what}: {} {}",
        received.status,
        received.text()
    );
}

/// What takes no right of a role, written down a second time: a row that is open by mistake is not among these.
const OPEN: [&str; 5] = [
    "GET /state",
    "POST /claim",
    "POST /join",
    "POST /sign-in",
    "POST /restore",
];
const SESSION: [&str; 3] = ["POST /sign-out", "GET /me", "POST /me/confirm"];

#[test]
fn nothing_else_is_open_or_for_every_session() {
    let rows = |access: Access| -> Vec<String> {
        ENDPOINTS
            .iter()
            .filter(|endpoint| endpoint.access == access)
            .map(|endpoint| [endpoint.method, " ", endpoint.path].concat())
            .collect()
    };
    assert_eq!(rows(Access::Open), OPEN);
    assert_eq!(rows(Access::Session), SESSION);
}

#[test]
fn every_endpoint_is_open_to_exactly_the_roles_of_the_table_and_to_its_own_tenant() {
    let port = house();
    let mut operators: Vec<(usize, Role, Operator)> = Vec::new();
    for (tenant, host) in HOSTS.into_iter().enumerate() {
        let owner = owner_of(&port, host);
        for role in [Role::Admin, Role::Analyst, Role::Support] {
            let member = member(&port, &owner, role);
            operators.push((tenant, role, member));
        }
        operators.push((tenant, Role::Owner, owner));
    }
    let mut asked = 0;
    for endpoint in ENDPOINTS {
        let path = path_of(endpoint);
        let nobody = request(&port, HOSTS[0], None, endpoint.method, &path, &json!({}));
        if endpoint.access == Access::Open {
            assert_ne!(nobody.status, 401, "{path}");
            continue;
        }
        assert_eq!(
            (nobody.status, code(&nobody)),
            (401, "invalid_credentials".into()),
            "{path} without a session"
        );
        // These end the session that asks.
        if endpoint.call == Call::SignOut {
            continue;
        }
        for (tenant, role, operator) in &mut operators {
            operator.sign_in(&port);
            let what = format!(
                "{} {path} as {} of tenant {tenant}",
                endpoint.method,
                role.name()
            );
            let foreign = request(
                &port,
                HOSTS[1 - *tenant],
                Some(&operator.token),
                endpoint.method,
                &path,
                &json!({}),
            );
            assert_eq!(foreign.status, 401, "{what}, at the other tenant's house");
            let stranger = request(
                &port,
                HOSTS[1 - *tenant],
                None,
                endpoint.method,
                &path,
                &json!({}),
            );
            let told = |received: &Received| {
                let mut told = received.json();
                told.as_object_mut().unwrap().remove("request_id");
                told
            };
            assert_eq!(
                told(&foreign),
                told(&stranger),
                "{what}: no more than a stranger is told"
            );
            // A session that is not one's own is another right.
            let access = match endpoint.call {
                Call::SessionEnd => Access::Right(Action::OperatorsSessions),
                _ => endpoint.access,
            };
            let may = match access {
                Access::Open | Access::Session => true,
                Access::Right(action) => role.may(action),
            };
            // The second factor is not fresh any more, and the session not idle for too long yet.
            port.pass(Millis::from_secs(1200));
            let stale = operator.call(&port, endpoint.method, &path, &json!({}));
            let fresh_needed = matches!(access, Access::Right(action) if action.fresh());
            match (may, fresh_needed) {
                (false, _) => assert_eq!(
                    (stale.status, code(&stale)),
                    (403, "forbidden".into()),
                    "{what}"
                ),
                (true, true) => {
                    assert_eq!(
                        (stale.status, code(&stale)),
                        (401, "second_factor_required".into()),
                        "{what}"
                    );
                }
                (true, false) => answers(&what, &stale),
            }
            asked += 1;
        }
    }
    assert!(asked > 400, "{asked}");
}

#[test]
fn with_a_fresh_second_factor_the_owner_may_everything() {
    let port = house();
    let owner = owner_of(&port, HOSTS[0]);
    for endpoint in ENDPOINTS {
        let Access::Right(action) = endpoint.access else {
            continue;
        };
        // What would end this very session or lock the owner out is asked with an id that is nobody's all the same.
        if matches!(
            endpoint.call,
            Call::OwnKey | Call::OwnTotp | Call::VisitorsRevokeAll | Call::KeyringEmergency
        ) {
            continue;
        }
        if action.fresh() {
            owner.confirm(&port);
        }
        let answer = owner.call(&port, endpoint.method, &path_of(endpoint), &json!({}));
        answers(&[endpoint.method, " ", endpoint.path].concat(), &answer);
    }
    assert!(Action::ALL.iter().all(|action| Role::Owner.may(*action)));
}
