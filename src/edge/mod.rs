//! The only floor that knows Cloudflare: events, the port's implementation, and the shells of the Durable Objects.

mod clock;
mod glue;
mod hash;
mod http;
mod memory;
mod object;
mod rows;
mod stream;
mod upstream;
mod world;

pub use object::{AuditLog, Directory, Keyring, Ledger, Limiter, Owner, Target};
pub use stream::Stream;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen::JsValue;
use worker::web_sys::{Request, Response};
use worker::{Context, Env, ScheduleContext, ScheduledEvent, console_error, event};

use crate::app::port::Port;
use crate::app::refuse::{last_resort, refuse};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::app::{schedule, serve::serve};
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::domain::settings::Environment;
use world::World;

/// A request.
#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> worker::Result<Response> {
    let head = http::head(&request);
    let world = match World::new(env) {
        Ok(world) => world,
        Err(fault) => {
            console_error!("{}", fault.0);
            return Ok(http::response(unconfigured(&head, &fault.0)));
        }
    };
    if world.settings().environment == Environment::Test && head.path == "/v1/test/panic" {
        core::arch::wasm32::unreachable();
    }
    let body = http::RequestBody::new(request, head.content_length);
    let mut reply = serve(&world, head, body).await;
    if let Some(after) = reply.after.take() {
        ctx.wait_until(async move {
            after.await;
        });
    }
    Ok(http::response(reply))
}

/// Without valid settings nothing can be answered but this.
fn unconfigured(head: &Head, cause: &str) -> Reply<World> {
    last_resort(
        head,
        Code::SetupRequired,
        &prefixed("req", &clock::random()),
        cause,
    )
}

/// The cron: what is due of documents, keys and the audit log.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, _ctx: ScheduleContext) {
    match World::new(env) {
        Ok(world) => {
            for tenant in world.settings().tenants() {
                for fault in schedule::run(&world.of_tenant(tenant)).await {
                    console_error!("cron: {tenant}: {fault}");
                }
            }
        }
        Err(fault) => console_error!("{}", fault.0),
    }
}

/// The answer to a request whose instance was lost to a panic: the catalogue's `internal`, in the caller's dialect.
///
/// # Errors
/// Never; the signature is what the export needs.
#[wasm_bindgen(wasm_bindgen_futures = ::worker::wasm_bindgen_futures, js_sys = ::worker::js_sys)]
pub async fn panicked(request: Request, env: Env) -> Result<Response, JsValue> {
    let head = http::head(&request);
    let request_id = prefixed("req", &clock::random());
    let Ok(world) = World::new(env) else {
        return Ok(http::response(unconfigured(&head, "panic")));
    };
    let refusal = Refusal::new(Code::Internal);
    let reply = refuse(&world, &head, head.dialect(), &refusal, &request_id).await;
    Ok(http::response(crate::app::serve::finish_alone(
        &world,
        &head,
        reply,
        &request_id,
    )))
}
