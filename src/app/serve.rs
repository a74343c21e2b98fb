//! From a request to an answer: route, caller, story, and what stands on every answer.

use super::gate::{self, Caller, origin_allowed};
use super::memory::{conversations, facts, items};
use super::port::{BodyFault, ByteSource, Port, PortFault};
use super::record::Record;
use super::refuse::refuse;
use super::reply::{Body, Reply};
use super::request::Head;
use super::rules::rules;
use super::{
    admin, ask, body, chat, count, documents, embeddings, house, me, media, models, operations,
    responses, retrieval, session, stored, uses,
};
use crate::base::errors::{Code, Refusal};
use crate::base::headers::{API_SECURITY_POLICY, CORS_EXPOSED_HEADERS, SECURITY_HEADERS};
use crate::base::ids::{acceptable_request_id, prefixed};
use crate::domain::identity::key_record::Stores;
use crate::domain::llm::Protocol;
use crate::domain::route::{FileAspect, Route, StoreRoute, route};
use crate::domain::settings::config::LimitClass;
use crate::domain::telemetry::Trace;

/// Largest sum of header names and values, in bytes: what Cloudflare's edge accepts is 32 KiB (32 × 1024).
const MAX_HEADER_BYTES: usize = 32_768;

/// Answers a request.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | host → tenant, request id and trace | – |
/// | 2 | method and path → [`Route`] | 404, 405, 431 |
/// | 3 | preflight: answered here | – |
/// | 4 | operator's lists, origin, credential, scopes → [`Caller`] | 401, 403 |
/// | 5 | the route's story, which admits by itself once it knows what the request costs | any |
/// | 6 | a refusal → the caller's dialect | – |
/// | 7 | headers of every answer, log line, what belongs on record of a key's use | – |
pub async fn serve<P: Port, B: ByteSource>(port: &P, head: Head, mut body: B) -> Reply<P> {
    // 1
    let port = port.of_tenant(port.settings().tenant_of(&head.own_origin));
    let port = &port;
    let request_id = match &head.request_id {
        Some(given) if acceptable_request_id(given) => given.clone(),
        _ => prefixed("req", &port.random()),
    };
    let trace = Trace::begin(head.traceparent.as_deref(), &port.random());
    let dialect = head.dialect();

    // 2 to 5
    let mut label = "unknown";
    let mut known: Option<Caller> = None;
    let told = async {
        if head.header_bytes > MAX_HEADER_BYTES {
            return Err(Refusal::new(Code::HeadersTooLarge));
        }
        let route = route(&head.method, &head.path)?;
        label = route.label();
        match route {
            Route::Preflight => {
                // The origins of site keys; without the rules there are only the configured ones.
                let _ = rules(port).await;
                return Ok(preflight(port, &head));
            }
            Route::Health => return Ok(operations::health()),
            Route::Ready => return Ok(operations::ready(port).await),
            _ => {}
        }
        let port = &match house::current(port).await {
            // What alone a house takes that is half-way back.
            Err(refusal) if refusal.code == Code::HouseRestoring && is_restore(&route) => {
                port.clone()
            }
            current => current?,
        };
        if let Route::Admin(path) = &route {
            return admin::api(port, &head, &mut body, path, &request_id).await;
        }
        if let Route::AdminPage(path) = &route {
            return admin::page(port, &head, &mut body, path, &request_id).await;
        }
        let mut body = Gathered::Live(&mut body);
        let caller = identified(port, &head, &mut body, &request_id)
            .await
            .map_err(|refusal| of_own_site(&route, refusal))?;
        let caller = &*known.insert(caller);
        gate::may_reach(caller, label, stores_of(&route))?;
        let reply = story(port, caller, &head, &mut body, route).await?;
        Ok(session::renewed(port, caller, &head, reply).await)
    };
    let told = told.await;

    // 6
    let reply = match told {
        Ok(reply) => reply,
        Err(refusal) => refuse(port, &head, dialect, &refusal, &request_id).await,
    };

    // 7
    let reply = finish(port, &head, reply, &request_id, &trace);
    let record = Record::new(
        &head,
        label,
        known.as_ref(),
        &request_id,
        &trace,
        reply.status,
        port.now(),
    );
    uses::delivered(port, recorded(port, reply, record))
}

/// By the API, or by its page.
fn is_restore(route: &Route) -> bool {
    matches!(route, Route::Admin(path) if *path == "/restore")
        || matches!(route, Route::AdminPage(path) if path == "/restore")
}

/// Who calls. A signed request is read whole before: the signature covers its body.
async fn identified<P: Port, B: ByteSource>(
    port: &P,
    head: &Head,
    body: &mut Gathered<'_, B>,
    request_id: &str,
) -> Result<Caller, Refusal> {
    let caller = if head.is_signed() {
        let cap = port.settings().config.server.max_form_bytes;
        let bytes = body::read_body(head, body, cap).await?;
        let caller = gate::signed_caller(port, head, request_id, &bytes).await;
        *body = Gathered::Whole(Some(bytes));
        caller
    } else {
        gate::caller(port, head, request_id).await
    };
    match caller {
        Ok(caller) => Ok(caller),
        Err(refusal) => match gate::stranger(port, head, request_id).await {
            Ok(stranger) => Err(gate::failed(port, &stranger, refusal).await),
            Err(_) => Err(refusal),
        },
    }
}

/// What a route does with what is stored.
const fn stores_of(route: &Route) -> Stores {
    match route {
        Route::FilesList
        | Route::FileGet(_)
        | Route::FileContent(_)
        | Route::Shared
        | Route::UploadGet(_)
        | Route::UploadParts(_)
        | Route::AnswerGet(..)
        | Route::InputItems(_)
        | Route::ConversationsList
        | Route::ConversationGet(_)
        | Route::ConversationExport(_)
        | Route::ItemsList(_)
        | Route::ItemGet(..)
        | Route::MemoriesList
        | Route::MeExport => Stores::Read,
        Route::FilesCreate
        | Route::FileDelete(_)
        | Route::UploadCreate
        | Route::UploadPart(_)
        | Route::UploadComplete(_)
        | Route::UploadCancel(_)
        | Route::AnswerCancel(..)
        | Route::AnswerDelete(..)
        | Route::ConversationCreate
        | Route::ConversationUpdate(_)
        | Route::ConversationDelete(_)
        | Route::ItemsCreate(_)
        | Route::ItemDelete(..)
        | Route::MemoryCreate
        | Route::MemoryDelete(_)
        | Route::MeErase => Stores::Write,
        Route::Stores(route) if route.reads() => Stores::Read,
        Route::Stores(_) => Stores::Write,
        Route::FileAspect(_, aspect) if aspect.reads() => Stores::Read,
        Route::FileAspect(..) => Stores::Write,
        _ => Stores::None,
    }
}

/// A body that is still to come, or is there.
enum Gathered<'b, B> {
    Live(&'b mut B),
    Whole(Option<Vec<u8>>),
}

impl<B: ByteSource> ByteSource for Gathered<'_, B> {
    async fn next(&mut self) -> Option<Result<Vec<u8>, PortFault>> {
        match self {
            Self::Live(body) => body.next().await,
            Self::Whole(bytes) => bytes.take().map(Ok),
        }
    }

    async fn whole(&mut self, cap: u64) -> Result<Vec<u8>, BodyFault> {
        match self {
            Self::Live(body) => body.whole(cap).await,
            Self::Whole(bytes) => {
                let bytes = bytes.take().unwrap_or_default();
                if bytes.len() as u64 > cap {
                    return Err(BodyFault::TooLarge);
                }
                Ok(bytes)
            }
        }
    }
}

/// The route's story.
async fn story<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    route: Route,
) -> Result<Reply<P>, Refusal> {
    match route {
        Route::ChatCompletions => chat::chat(port, caller, head, body, Protocol::Chat).await,
        Route::Messages => chat::chat(port, caller, head, body, Protocol::Messages).await,
        Route::Responses => responses::create(port, caller, head, body).await,
        Route::CountTokens => count::count_tokens(port, caller, head, body).await,
        Route::Embeddings => embeddings::embeddings(port, caller, head, body).await,
        Route::Moderations => media::moderations(port, caller, head, body).await,
        Route::Images(path) | Route::Audio(path) => {
            media::media(port, caller, head, body, path).await
        }
        Route::AnswerGet(protocol, id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            let reply = stored::get(port, caller, head, protocol, &id).await?;
            Ok(reply.headers(limits))
        }
        Route::AnswerCancel(protocol, id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            let reply = stored::cancel(port, caller, protocol, &id).await?;
            Ok(reply.headers(limits))
        }
        Route::AnswerDelete(protocol, id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            let reply = stored::delete(port, caller, protocol, &id).await?;
            Ok(reply.headers(limits))
        }
        Route::InputItems(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            let reply = responses::input_items(port, caller, head, &id).await?;
            Ok(reply.headers(limits))
        }
        Route::Ask => ask::ask(port, caller, head, body).await,
        Route::Models => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(models::list(port, caller, head)?.headers(limits))
        }
        Route::Model(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(models::get(port, caller, head, &id)?.headers(limits))
        }
        Route::FilesList => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::list(port, caller, head).await?.headers(limits))
        }
        Route::FileGet(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::get(port, caller, head, &id)
                .await?
                .headers(limits))
        }
        Route::FileContent(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::content(port, caller, head, &id)
                .await?
                .headers(limits))
        }
        Route::FilesCreate => {
            let limits = gate::admit(port, caller, None, LimitClass::Upload).await?;
            Ok(documents::create(port, caller, head, body)
                .await?
                .headers(limits))
        }
        Route::FileDelete(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Upload).await?;
            Ok(documents::delete(port, caller, head, &id)
                .await?
                .headers(limits))
        }
        Route::FileAspect(id, aspect) => {
            let class = if aspect.reads() {
                LimitClass::Read
            } else {
                LimitClass::Upload
            };
            let limits = gate::admit(port, caller, None, class).await?;
            let reply = aspect_of(port, caller, head, body, &id, aspect).await?;
            Ok(reply.headers(limits))
        }
        Route::Shared => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            let reply = documents::shares::with_me(port, caller, head).await?;
            Ok(reply.headers(limits))
        }
        Route::LinkGet(token) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            let reply = documents::links::get(port, caller, head, &token).await?;
            Ok(reply.headers(limits))
        }
        Route::LinkContent(token) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            let reply = documents::links::content(port, caller, head, &token).await?;
            Ok(reply.headers(limits))
        }
        Route::UploadCreate => {
            let limits = gate::admit(port, caller, None, LimitClass::Upload).await?;
            Ok(documents::parts::create(port, caller, head, body)
                .await?
                .headers(limits))
        }
        // Its creation counted as an upload.
        Route::UploadPart(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::parts::add(port, caller, head, body, &id)
                .await?
                .headers(limits))
        }
        Route::UploadGet(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::parts::get(port, caller, head, &id)
                .await?
                .headers(limits))
        }
        Route::UploadParts(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::parts::list(port, caller, head, &id)
                .await?
                .headers(limits))
        }
        Route::UploadComplete(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::parts::complete(port, caller, head, body, &id)
                .await?
                .headers(limits))
        }
        Route::UploadCancel(id) => {
            let limits = gate::admit(port, caller, None, LimitClass::Read).await?;
            Ok(documents::parts::cancel(port, caller, head, &id)
                .await?
                .headers(limits))
        }
        Route::ConversationsList
        | Route::ConversationCreate
        | Route::ConversationGet(_)
        | Route::ConversationUpdate(_)
        | Route::ConversationDelete(_)
        | Route::ConversationExport(_)
        | Route::ItemsList(_)
        | Route::ItemsCreate(_)
        | Route::ItemGet(..)
        | Route::ItemDelete(..)
        | Route::MemoriesList
        | Route::MemoryCreate
        | Route::MemoryDelete(_) => remembered(port, caller, head, body, route).await,
        Route::Stores(route) => searched(port, caller, head, body, route).await,
        Route::SessionCreate => session::create(port, caller, head, body).await,
        Route::SessionTerms => session::terms(port, caller, head).await,
        Route::SessionEnd => session::end(port, caller, head).await,
        Route::Me => me::me(port, caller).await,
        Route::MeUsage => me::usage(port, caller).await,
        Route::MeExport => me::export(port, caller, head).await,
        Route::MeErase => me::erase(port, caller, head).await,
        Route::Preflight | Route::Health | Route::Ready | Route::Admin(_) | Route::AdminPage(_) => {
            Err(Refusal::new(Code::NotFound))
        }
    }
}

/// What belongs to a document.
async fn aspect_of<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
    aspect: FileAspect,
) -> Result<Reply<P>, Refusal> {
    use documents::{comments, details, scanner, shares, versions};
    match aspect {
        FileAspect::Update => details::update(port, caller, head, body, id).await,
        FileAspect::NewVersion => versions::create(port, caller, head, body, id).await,
        FileAspect::Versions => versions::list(port, caller, head, id).await,
        FileAspect::DeleteVersion(version) => {
            versions::delete(port, caller, head, id, &version).await
        }
        FileAspect::Shares => shares::list(port, caller, head, id).await,
        FileAspect::Share => shares::create(port, caller, head, body, id).await,
        FileAspect::Unshare(share) => shares::delete(port, caller, head, id, &share).await,
        FileAspect::Scan => scanner::report(port, caller, head, id).await,
        FileAspect::Comments => comments::list(port, caller, head, id).await,
        FileAspect::Comment => comments::create(port, caller, head, body, id).await,
        FileAspect::DeleteComment(comment) => {
            comments::delete(port, caller, head, id, &comment).await
        }
    }
}

/// The stories of conversations and memories. What writes counts with the uploads.
async fn remembered<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    route: Route,
) -> Result<Reply<P>, Refusal> {
    let class = match stores_of(&route) {
        Stores::Write => LimitClass::Upload,
        _ => LimitClass::Read,
    };
    let limits = gate::admit(port, caller, None, class).await?;
    let reply = match route {
        Route::ConversationsList => conversations::list(port, caller, head).await,
        Route::ConversationCreate => conversations::create(port, caller, head, body).await,
        Route::ConversationGet(id) => conversations::get(port, caller, head, &id).await,
        Route::ConversationUpdate(id) => conversations::update(port, caller, head, body, &id).await,
        Route::ConversationDelete(id) => conversations::delete(port, caller, head, &id).await,
        Route::ConversationExport(id) => conversations::export(port, caller, head, &id).await,
        Route::ItemsList(id) => items::list(port, caller, head, &id).await,
        Route::ItemsCreate(id) => items::create(port, caller, head, body, &id).await,
        Route::ItemGet(id, item) => items::get(port, caller, head, (&id, &item)).await,
        Route::ItemDelete(id, item) => items::delete(port, caller, head, (&id, &item)).await,
        Route::MemoriesList => facts::list(port, caller, head).await,
        Route::MemoryCreate => facts::create(port, caller, head, body).await,
        Route::MemoryDelete(id) => facts::delete(port, caller, head, &id).await,
        _ => Err(Refusal::new(Code::NotFound)),
    };
    Ok(reply?.headers(limits))
}

/// The stories of vector stores. What writes counts with the uploads.
async fn searched<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    route: StoreRoute,
) -> Result<Reply<P>, Refusal> {
    use retrieval::{batches, files, search, stores};
    let class = if route.reads() {
        LimitClass::Read
    } else {
        LimitClass::Upload
    };
    let limits = gate::admit(port, caller, None, class).await?;
    let reply = match route {
        StoreRoute::List => stores::list(port, caller, head).await,
        StoreRoute::Create => stores::create(port, caller, head, body).await,
        StoreRoute::Get(id) => stores::get(port, caller, head, &id).await,
        StoreRoute::Update(id) => stores::update(port, caller, head, body, &id).await,
        StoreRoute::Delete(id) => stores::delete(port, caller, head, &id).await,
        StoreRoute::Search(id) => search::search(port, caller, head, body, &id).await,
        StoreRoute::Files(id) => files::list(port, caller, head, &id).await,
        StoreRoute::FileAdd(id) => files::create(port, caller, head, body, &id).await,
        StoreRoute::FileGet(id, file) => files::get(port, caller, head, (&id, &file)).await,
        StoreRoute::FileUpdate(id, file) => {
            files::update(port, caller, head, body, (&id, &file)).await
        }
        StoreRoute::FileDelete(id, file) => files::delete(port, caller, head, (&id, &file)).await,
        StoreRoute::FileContent(id, file) => files::content(port, caller, head, (&id, &file)).await,
        StoreRoute::BatchCreate(id) => batches::create(port, caller, head, body, &id).await,
        StoreRoute::BatchGet(id, batch) => {
            batches::get(port, caller, head, (&id, &batch), false).await
        }
        StoreRoute::BatchCancel(id, batch) => {
            batches::get(port, caller, head, (&id, &batch), true).await
        }
        StoreRoute::BatchFiles(id, batch) => batches::list(port, caller, head, (&id, &batch)).await,
    };
    Ok(reply?.headers(limits))
}

/// A foreign page that reaches for documents or conversations is told so in those words.
fn of_own_site(route: &Route, refusal: Refusal) -> Refusal {
    if route.is_own_site() && refusal.code == Code::OriginNotAllowed {
        Refusal::new(Code::CrossSiteRefused)
    } else {
        refusal
    }
}

/// A CORS preflight (Fetch §4.8). An origin that is not allowed gets an answer without the headers that would let its
/// page go on. The requested header names are given back: what is not known is not read anyway.
fn preflight<P: Port>(port: &P, head: &Head) -> Reply<P> {
    let reply = Reply::status(204).header("cache-control", "no-store");
    let allowed = head
        .origin
        .as_deref()
        .is_some_and(|origin| origin_allowed(port, head, origin));
    if !allowed || head.cors_method.is_none() {
        return reply;
    }
    reply
        .header("access-control-allow-methods", "GET, HEAD, POST, DELETE")
        .header(
            "access-control-allow-headers",
            requested_headers(head.cors_headers.as_deref()),
        )
        // Two hours: the longest that Chromium honours.
        .header("access-control-max-age", "7200")
}

/// Most header names that a preflight gets back.
const MAX_CORS_HEADERS: usize = 64;

fn requested_headers(asked: Option<&str>) -> String {
    let is_token = |name: &&str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let names: Vec<&str> = asked
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(is_token)
        .take(MAX_CORS_HEADERS)
        .collect();
    names.join(", ")
}

/// What stands on every answer, refusals included.
fn finish<P: Port>(
    port: &P,
    head: &Head,
    reply: Reply<P>,
    request_id: &str,
    trace: &Trace,
) -> Reply<P> {
    let mut reply = reply
        .header("x-request-id", request_id)
        .header("request-id", request_id)
        .header("traceparent", trace.header())
        .header(
            "vary",
            "Origin, Access-Control-Request-Headers, Accept-Language",
        );
    // A page brings its own policies; `cross-origin` leaves the reading of API answers to CORS.
    let api = [
        ("content-security-policy", API_SECURITY_POLICY),
        ("cross-origin-resource-policy", "cross-origin"),
    ];
    for (name, value) in SECURITY_HEADERS.into_iter().chain(api) {
        if !reply.headers.iter().any(|(known, _)| *known == name) {
            reply = reply.header(name, value);
        }
    }
    if let Some(origin) = head
        .origin
        .as_deref()
        .filter(|origin| origin_allowed(port, head, origin))
    {
        reply = reply
            .header("access-control-allow-origin", origin)
            .header("access-control-expose-headers", CORS_EXPOSED_HEADERS);
    }
    if head.method == "HEAD" {
        if let Body::Bytes(bytes) = &reply.body {
            let length = bytes.len().to_string();
            reply = reply.header("content-length", length);
        }
        reply.body = Body::Empty;
    }
    reply
}

/// The same for an answer that is made outside of [`serve`].
pub fn finish_alone<P: Port>(port: &P, head: &Head, reply: Reply<P>, request_id: &str) -> Reply<P> {
    let trace = Trace::begin(head.traceparent.as_deref(), &port.random());
    finish(port, head, reply, request_id, &trace)
}

/// Sees to it that the log line is written once, when the last byte is out.
fn recorded<P: Port>(port: &P, mut reply: Reply<P>, record: Record) -> Reply<P> {
    match reply.after.take() {
        None => record.write(port, reply.outcome.clone()),
        Some(after) => {
            let port = port.clone();
            reply.after = Some(Box::pin(async move {
                let outcome = after.await;
                record.write(&port, outcome.clone());
                outcome
            }));
        }
    }
    reply
}
