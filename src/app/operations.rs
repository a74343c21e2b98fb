//! Health and readiness.

use serde_json::{Value, json};

use super::port::Port;
use super::reply::Reply;
use crate::domain::settings::names;

/// `GET /healthz`: the process answers.
#[must_use]
pub fn health<P: Port>() -> Reply<P> {
    Reply::json(
        200,
        json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}).to_string(),
    )
}

/// `GET /readyz`: each binding, secret and configuration item by name, without values. 503 when something that the
/// house cannot do without is missing.
pub async fn ready<P: Port>(port: &P) -> Reply<P> {
    let settings = port.settings();
    let mut checks: Vec<Value> = port
        .bindings()
        .into_iter()
        .map(|(name, present)| {
            check(
                "binding",
                name,
                present,
                true,
                "declare it in wrangler.toml",
            )
        })
        .collect();
    checks.push(check(
        "secret",
        names::MASTER_KEY,
        settings.keys.is_some(),
        true,
        "set it to 32 random bytes in base64url",
    ));
    let index = port.site_index().await.is_ok();
    checks.push(check(
        "asset",
        "/gatehouse/index.json",
        index,
        true,
        "build the site with npm start",
    ));
    for (name, active, variables) in &settings.provider_status {
        let hint = if variables.is_empty() {
            String::new()
        } else {
            format!("set {}", variables.join(" or "))
        };
        checks.push(check("provider", name, *active, false, &hint));
    }
    for alias in &settings.aliases {
        let active = !alias.targets.is_empty();
        checks.push(check(
            "alias",
            &alias.config.name,
            active,
            false,
            "none of its providers is active",
        ));
    }
    let ready = checks.iter().all(|check| {
        check.get("ok") == Some(&Value::Bool(true))
            || check.get("required") == Some(&Value::Bool(false))
    });
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "environment": settings.environment.name(),
        "checks": checks,
    });
    Reply::json(if ready { 200 } else { 503 }, body.to_string())
}

fn check(kind: &str, name: &str, ok: bool, required: bool, hint: &str) -> Value {
    let mut check = json!({"kind": kind, "name": name, "ok": ok, "required": required});
    if !ok && let Value::Object(fields) = &mut check {
        fields.insert("hint".into(), Value::from(hint));
    }
    check
}
