//! The operators' pages: the API in HTML, for a browser that runs no script.
//!
//! ```text
//! html      markup
//! form      a call of the API as a form, there and back
//! entrance  set-up, joining, signing in
//! frame     around each page
//! sections  what each page shows: answers of the API
//! result    what a call is answered with: a page that is seen once, a file, or a notice
//! ```
//!
//! A page is made of what the API tells and a form is a call of the API, so that no right is checked in two ways.

mod entrance;
mod form;
mod frame;
mod html;
mod qr;
mod result;
mod sections;

use serde_json::{Map, Value};

use self::form::{Pairs, View, call, fields, value};
use self::frame::{back, framed, refused};
use super::super::body::read_body;
use super::super::gate::admit;
use super::super::port::{ByteSource, Port};
use super::super::reply::Reply;
use super::super::request::{Head, form_pairs};
use super::{Context, Told, arrived, arrived_to_restore, dispatch};
use crate::base::errors::{Code, Refusal};
use crate::domain::admin::{Access, find};
use crate::domain::settings::config::LimitClass;

/// The longest form: lists of 1000 entries in six fields, percent-encoded.
const MAX_FORM: u64 = 1_048_576;
/// The page that puts a snapshot back, below `/admin`.
const RESTORE: &str = "/restore";

/// A page that is ready, but for the frame.
#[derive(Debug)]
struct Page {
    title: String,
    body: String,
    /// Why it is not what was asked for; gives the status.
    why: Option<Refusal>,
}

impl Page {
    fn ok(title: &str, body: String) -> Self {
        Self {
            title: title.to_owned(),
            body,
            why: None,
        }
    }
}

/// What a request comes to.
enum Answer<P: Port> {
    Page(Page),
    Reply(Reply<P>),
}

/// `/admin…`
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | method | 405 |
/// | 2 | lists, the networks that operators come from; rate: of the session where there is one, else of the network | 403, 429 |
/// | 3 | a form of another site changes nothing | 403 |
/// | 4 | session as it is after the form came; without one, set-up or sign-in | 401, 503 |
/// | 5 | a form: role, confirmation, fresh second factor, the call | any, on the page that it came from |
/// | 6 | the page: the calls whose answers it shows | any, on that page |
///
/// # Errors
/// Of the steps 1 to 3, and of storage.
pub async fn page<P: Port, B: ByteSource>(
    port: &P,
    head: &Head,
    body: &mut B,
    path: &str,
    request_id: &str,
) -> Result<Reply<P>, Refusal> {
    // 1
    let posted = head.method == "POST";
    if !posted && !matches!(head.method.as_str(), "GET" | "HEAD") {
        let mut refusal = Refusal::new(Code::MethodNotAllowed);
        refusal.allow = Some("GET, POST");
        return Err(refusal);
    }
    let path = path.trim_end_matches('/');
    // Of a house that is being put back nothing can be asked, its sessions included.
    let closed = path == RESTORE;
    // 2
    let caller = if closed {
        arrived_to_restore(port, head, request_id).await?
    } else {
        arrived(port, head, request_id).await?
    };
    let mut cx = Context {
        port,
        head,
        caller,
        standing: None,
        session: String::new(),
        id: String::new(),
        fields: Map::new(),
    };
    let limits = if closed {
        cx.admit_restore().await?
    } else {
        sign(&mut cx).await?;
        cx.admit().await?
    };
    // 3
    let pairs = if posted {
        head.own_site()?;
        sent(head, body).await?
    } else {
        Vec::new()
    };
    // 4
    if posted && !closed {
        cx.standing = None;
        sign(&mut cx).await?;
    }
    let role = cx.standing.as_ref().map(|standing| standing.role);
    let mut view = View::new(path.to_owned(), role);
    // 5
    let answer = if posted {
        match submit(&mut cx, &view, &pairs).await {
            Ok(answer) => Some(answer),
            Err(refusal) => {
                view.failed = Some((pairs, refusal));
                None
            }
        }
    } else {
        None
    };
    // 6
    let answer = match answer {
        Some(answer) => answer,
        None => shown(&cx, &view).await,
    };
    match answer {
        Answer::Page(page) => Ok(framed(&cx, &view, page).await.headers(limits)),
        Answer::Reply(reply) => Ok(reply.headers(limits)),
    }
}

/// Reads the session, if there is one.
async fn sign<P: Port>(cx: &mut Context<'_, P>) -> Result<(), Refusal> {
    match cx.sign().await {
        Err(refusal) if refusal.code != Code::InvalidCredentials => Err(refusal),
        _ => Ok(()),
    }
}

/// The pairs of a form that was sent.
async fn sent<B: ByteSource>(head: &Head, body: &mut B) -> Result<Vec<(String, String)>, Refusal> {
    let media_type = head
        .content_type
        .as_deref()
        .and_then(|t| t.split(';').next());
    if media_type.map(str::trim) != Some("application/x-www-form-urlencoded") {
        return Err(Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the form as application/x-www-form-urlencoded."));
    }
    let bytes = read_body(head, body, MAX_FORM).await?;
    let text = str::from_utf8(&bytes).map_err(|_| Refusal::new(Code::InvalidEncoding))?;
    Ok(form_pairs(text).collect())
}

/// Carries a form out.
async fn submit<P: Port>(
    cx: &mut Context<'_, P>,
    view: &View,
    pairs: &Pairs,
) -> Result<Answer<P>, Refusal> {
    let call = call(pairs);
    let (method, address) = call.split_once(' ').unwrap_or_default();
    let path = address.split('?').next().unwrap_or_default();
    let endpoint = find(method, path)?.endpoint;
    if endpoint.access == Access::Open && cx.standing.is_some() {
        // Attempts to sign in count for the network, whoever makes them.
        admit(cx.port, &cx.caller, None, LimitClass::Read).await?;
    }
    let stale = match right(cx, endpoint.access).await {
        Ok(()) => false,
        Err(refusal) if refusal.code == Code::SecondFactorRequired => true,
        Err(refusal) => return Err(refusal),
    };
    // What is wrong with a field is said before a code is asked for.
    let body = fields(pairs)?;
    let unsure = result::danger(endpoint.call).is_some() && value(pairs, "sure").is_none();
    let code = value(pairs, "totp");
    if unsure || (stale && code.is_none()) {
        return Ok(Answer::Page(result::confirmation(
            view, endpoint, pairs, stale, None,
        )));
    }
    if let Some(code) = code.filter(|_| stale) {
        let code = Map::from_iter([("code".to_owned(), Value::from(code))]);
        if let Err(refusal) = run(cx, "POST", "/me/confirm", code).await {
            return Ok(Answer::Page(result::confirmation(
                view,
                endpoint,
                pairs,
                stale,
                Some(&refusal),
            )));
        }
        cx.sign().await?;
    }
    let told = run(cx, method, address, body).await?;
    result::answer(cx, view, endpoint.call, pairs, told)
}

/// Holds whoever asks to what an endpoint takes.
async fn right<P: Port>(cx: &Context<'_, P>, access: Access) -> Result<(), Refusal> {
    match access {
        Access::Open => Ok(()),
        Access::Right(action) => cx.may(action).await,
        Access::Session if cx.standing.is_some() => Ok(()),
        Access::Session => Err(Refusal::new(Code::InvalidCredentials)),
    }
}

/// Calls an endpoint as the API does: `address` is the path below `/api/admin`, with the query.
async fn run<P: Port>(
    cx: &Context<'_, P>,
    method: &str,
    address: &str,
    fields: Map<String, Value>,
) -> Result<Told, Refusal> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let found = find(method, path)?;
    right(cx, found.endpoint.access).await?;
    // An endpoint that is read has its fields in the query.
    let query = if method == "GET" && !fields.is_empty() {
        form::query(&fields)
    } else {
        query.to_owned()
    };
    let head = Head {
        query,
        ..cx.head.clone()
    };
    let inner = Context {
        port: cx.port,
        head: &head,
        caller: cx.caller.clone(),
        standing: cx.standing.clone(),
        session: cx.session.clone(),
        id: found.id,
        fields,
    };
    dispatch(&inner, found.endpoint.call).await
}

/// What an endpoint tells that is read.
async fn told<P: Port>(cx: &Context<'_, P>, address: &str) -> Result<Value, Refusal> {
    match run(cx, "GET", address, Map::new()).await? {
        Told::Json(value) => Ok(value),
        _ => Err(Refusal::new(Code::Internal)),
    }
}

/// The page at an address. A refusal of what it shows stands in its place.
async fn shown<P: Port>(cx: &Context<'_, P>, view: &View) -> Answer<P> {
    let made = if cx.standing.is_none() || matches!(view.path.as_str(), "/join" | RESTORE) {
        entrance::page(cx, view).await.map(Answer::Page)
    } else {
        sections::page(cx, view).await
    };
    match made {
        Ok(Answer::Page(mut page)) => {
            if let Some((_, refusal)) = &view.failed {
                page.why = Some(refusal.clone());
                page.body = refused(cx, refusal) + &page.body;
            }
            Answer::Page(page)
        }
        Ok(reply) => reply,
        Err(refusal) => {
            // The refusal of a form says more than that of the page around it.
            let refusal = view.failed.as_ref().map_or(&refusal, |(_, first)| first);
            Answer::Page(Page {
                title: refusal.code.entry().en.title.to_owned(),
                body: refused(cx, refusal),
                why: Some(refusal.clone()),
            })
        }
    }
}
