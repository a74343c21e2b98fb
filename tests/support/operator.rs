//! Operators with authenticators.

use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::roles::Role;
use gatehouse::domain::identity::totp;
use gatehouse::domain::settings::config::{Config, Tenant};
use serde_json::{Value, json};

use super::fake_port::FakePort;
use super::run::block_on;
use super::{FakeBody, Received};

/// What a test's house has as `ADMIN_TOKEN`.
pub const ADMIN_TOKEN: &str = "canary-admin-token-5d1c77e0";

/// Where operators are.
pub const ADDRESS: &str = "198.51.100.7";

/// One request of the operators' API.
pub fn request(
    port: &FakePort,
    host: &str,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Received {
    request_from(port, host, ADDRESS, token, method, path, body)
}

/// The same from an address.
pub fn request_from(
    port: &FakePort,
    host: &str,
    address: &str,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Received {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let bodiless = matches!(method, "GET" | "DELETE");
    let bytes = if bodiless {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let head = Head {
        method: method.into(),
        path: ["/api/admin", path].concat(),
        query: query.into(),
        own_origin: host.into(),
        address: Some(address.into()),
        authorization: token.map(|token| ["Bearer ", token].concat()),
        content_type: (!bodiless).then(|| "application/json".into()),
        content_length: Some(bytes.len() as u64),
        at: port.clock().now(),
        ..Head::default()
    };
    let reply = block_on(serve(port, head, FakeBody::whole(&bytes, 4096)));
    Received::from(reply)
}

/// An operator with an authenticator.
pub struct Operator {
    pub host: &'static str,
    pub key: Value,
    pub token: String,
    pub secret: Vec<u8>,
}

pub fn unbase32(text: &str) -> Vec<u8> {
    let digits = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        _ => u32::from(byte - b'2') + 26,
    });
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits {
        bits = (bits << 5) | digit;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

impl Operator {
    /// The code of a step that was not used: time passes.
    pub fn code(port: &FakePort, secret: &[u8]) -> String {
        port.pass(Millis::from_secs(31));
        totp::code(secret, totp::step_at(port.clock().now()))
    }

    pub fn enrol(
        port: &FakePort,
        host: &'static str,
        path: &str,
        proof: &Value,
        name: &str,
    ) -> Self {
        let mut first = proof.clone();
        first["name"] = name.into();
        let begun = request(port, host, None, "POST", path, &first);
        assert_eq!(begun.status, 200, "{}", begun.text());
        let begun = begun.json();
        let secret = unbase32(begun["totp_secret"].as_str().unwrap());
        let mut second = proof.clone();
        second["enrolment"] = begun["enrolment"].clone();
        second["code"] = Self::code(port, &secret).into();
        let joined = request(port, host, None, "POST", path, &second);
        assert_eq!(joined.status, 201, "{}", joined.text());
        let mut operator = Self {
            host,
            key: begun["operator_key"].clone(),
            token: String::new(),
            secret,
        };
        operator.sign_in(port);
        operator
    }

    pub fn sign_in(&mut self, port: &FakePort) {
        let sign_in = json!({"key": self.key, "code": Self::code(port, &self.secret)});
        let signed_in = request(port, self.host, None, "POST", "/sign-in", &sign_in);
        assert_eq!(signed_in.status, 200, "{}", signed_in.text());
        self.token = signed_in.json()["token"].as_str().unwrap().to_owned();
    }

    pub fn call(&self, port: &FakePort, method: &str, path: &str, body: &Value) -> Received {
        request(port, self.host, Some(&self.token), method, path, body)
    }

    pub fn confirm(&self, port: &FakePort) {
        let code = json!({"code": Self::code(port, &self.secret)});
        let confirmed = self.call(port, "POST", "/me/confirm", &code);
        assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    }
}

/// The first owner, signed in.
pub fn owner_of(port: &FakePort, host: &'static str) -> Operator {
    let token = json!({"token": ADMIN_TOKEN});
    Operator::enrol(port, host, "/claim", &token, "Olga")
}

/// Another operator of the same house, signed in.
pub fn member(port: &FakePort, owner: &Operator, role: Role) -> Operator {
    owner.confirm(port);
    let invited = owner.call(port, "POST", "/operators", &json!({"role": role.name()}));
    assert_eq!(invited.status, 201, "{}", invited.text());
    let invite = json!({"invite": invited.json()["invite"]});
    Operator::enrol(port, owner.host, "/join", &invite, role.name())
}

/// A second tenant, `acme`, and limits that bind nobody.
pub fn two_tenants(config: &mut Config) {
    config.tenants.push(Tenant {
        name: "acme".into(),
        hosts: vec!["acme.example".into()],
        allowance: Default::default(),
    });
    config.abuse.enabled = false;
    for limit in &mut config.limits {
        limit.burst.requests = 1_000_000;
        limit.sustained.requests = 1_000_000;
        limit.network_burst = None;
        limit.network_sustained = None;
    }
}
