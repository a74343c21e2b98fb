//! `(method, path, headers) → Route`: the whole public surface that wakes the Worker, in one exhaustive match.
//!
//! Everything else is a static asset and never gets here (`[assets] run_worker_first` in wrangler.toml).

use serde::{Deserialize, Serialize};

use crate::base::errors::{Code, Refusal};

/// In which form the caller expects answers, and above all errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's error object.
    OpenAi,
    /// Anthropic's error object.
    Anthropic,
    /// RFC 9457 problem details.
    Problem,
    /// A page for people.
    Page,
}

/// The protocol of a model call, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// OpenAI chat completions; what local servers such as Ollama speak too.
    Chat,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Responses, Self::Messages];

    /// The name in `GET /v1/models`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "openai",
            Self::Responses => "openai-responses",
            Self::Messages => "anthropic",
        }
    }

    /// The endpoint that speaks it.
    #[must_use]
    pub const fn endpoint(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// The dialect of its errors.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Responses => Dialect::OpenAi,
            Self::Messages => Dialect::Anthropic,
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /healthz`: the process answers.
    Health,
    /// `GET /readyz`: every binding, secret and configuration item by name.
    Ready,
    /// `POST /ask`: the plain form, answered with a page.
    Ask,
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`
    Model(String),
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/responses`
    Responses,
    /// `GET` of a stored answer, by dialect and id.
    AnswerGet(Protocol, String),
    /// `POST …/cancel` of a stored answer.
    AnswerCancel(Protocol, String),
    /// `DELETE` of a stored answer.
    AnswerDelete(Protocol, String),
    /// `GET /v1/responses/{id}/input_items`
    InputItems(String),
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/moderations`
    Moderations,
    /// `POST /v1/images/…`: generations, edits, variations.
    Images(&'static str),
    /// `POST /v1/audio/…`: speech, transcriptions, translations.
    Audio(&'static str),
    /// `GET /v1/files`
    FilesList,
    /// `POST /v1/files`
    FilesCreate,
    /// `GET /v1/files/{id}`
    FileGet(String),
    /// `GET /v1/files/{id}/content`
    FileContent(String),
    /// `DELETE /v1/files/{id}`
    FileDelete(String),
    /// What belongs to a document, by its id.
    FileAspect(String, FileAspect),
    /// `GET /v1/shared`: what others share with the caller.
    Shared,
    /// `GET /v1/shared/{token}`: the document of a link.
    LinkGet(String),
    /// `GET /v1/shared/{token}/content`
    LinkContent(String),
    /// `POST /v1/uploads`
    UploadCreate,
    /// `GET /v1/uploads/{id}`
    UploadGet(String),
    /// `POST /v1/uploads/{id}/parts`
    UploadPart(String),
    /// `GET /v1/uploads/{id}/parts`
    UploadParts(String),
    /// `POST /v1/uploads/{id}/complete`
    UploadComplete(String),
    /// `POST /v1/uploads/{id}/cancel`
    UploadCancel(String),
    /// `GET /v1/conversations`
    ConversationsList,
    /// `POST /v1/conversations`
    ConversationCreate,
    /// `GET /v1/conversations/{id}`
    ConversationGet(String),
    /// `POST /v1/conversations/{id}`
    ConversationUpdate(String),
    /// `DELETE /v1/conversations/{id}`
    ConversationDelete(String),
    /// `GET /v1/conversations/{id}/export`
    ConversationExport(String),
    /// `GET /v1/conversations/{id}/items`
    ItemsList(String),
    /// `POST /v1/conversations/{id}/items`
    ItemsCreate(String),
    /// `GET /v1/conversations/{id}/items/{item}`
    ItemGet(String, String),
    /// `DELETE /v1/conversations/{id}/items/{item}`
    ItemDelete(String, String),
    /// `/v1/vector_stores…`
    Stores(StoreRoute),
    /// `GET /api/me/memories`
    MemoriesList,
    /// `POST /api/me/memories`
    MemoryCreate,
    /// `DELETE /api/me/memories/{id}`
    MemoryDelete(String),
    /// `POST /api/session`: a visitor's session.
    SessionCreate,
    /// `GET /api/session`: what a session takes here, with a new puzzle where one is to be solved.
    SessionTerms,
    /// `DELETE /api/session`: the session ends.
    SessionEnd,
    /// `GET /api/me`: who the caller is.
    Me,
    /// `GET /api/me/usage`: what the caller used.
    MeUsage,
    /// `GET /api/me/export`: what is kept of the caller.
    MeExport,
    /// `POST /api/me/erase`: it is kept no more.
    MeErase,
    /// `/api/admin/…`: see [`crate::domain::admin`]; the path below.
    Admin(String),
    /// `/admin…`: the operators' pages; the path below.
    AdminPage(String),
    /// `OPTIONS` on any of these: a CORS preflight.
    Preflight,
}

/// What is asked of vector stores; the paths are below `/v1/vector_stores`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRoute {
    /// `GET`
    List,
    /// `POST`
    Create,
    /// `GET /{id}`
    Get(String),
    /// `POST /{id}`
    Update(String),
    /// `DELETE /{id}`
    Delete(String),
    /// `POST /{id}/search`
    Search(String),
    /// `GET /{id}/files`
    Files(String),
    /// `POST /{id}/files`
    FileAdd(String),
    /// `GET /{id}/files/{file}`
    FileGet(String, String),
    /// `POST /{id}/files/{file}`
    FileUpdate(String, String),
    /// `DELETE /{id}/files/{file}`
    FileDelete(String, String),
    /// `GET /{id}/files/{file}/content`
    FileContent(String, String),
    /// `POST /{id}/file_batches`
    BatchCreate(String),
    /// `GET /{id}/file_batches/{batch}`
    BatchGet(String, String),
    /// `POST /{id}/file_batches/{batch}/cancel`
    BatchCancel(String, String),
    /// `GET /{id}/file_batches/{batch}/files`
    BatchFiles(String, String),
}

impl StoreRoute {
    const fn label(&self) -> &'static str {
        match self {
            Self::List | Self::Create => "/v1/vector_stores",
            Self::Get(_) | Self::Update(_) | Self::Delete(_) => "/v1/vector_stores/{id}",
            Self::Search(_) => "/v1/vector_stores/{id}/search",
            Self::Files(_) | Self::FileAdd(_) => "/v1/vector_stores/{id}/files",
            Self::FileGet(..) | Self::FileUpdate(..) | Self::FileDelete(..) => {
                "/v1/vector_stores/{id}/files/{file}"
            }
            Self::FileContent(..) => "/v1/vector_stores/{id}/files/{file}/content",
            Self::BatchCreate(_) => "/v1/vector_stores/{id}/file_batches",
            Self::BatchGet(..) => "/v1/vector_stores/{id}/file_batches/{batch}",
            Self::BatchCancel(..) => "/v1/vector_stores/{id}/file_batches/{batch}/cancel",
            Self::BatchFiles(..) => "/v1/vector_stores/{id}/file_batches/{batch}/files",
        }
    }

    /// Does it only read?
    #[must_use]
    pub const fn reads(&self) -> bool {
        matches!(
            self,
            Self::List
                | Self::Get(_)
                | Self::Search(_)
                | Self::Files(_)
                | Self::FileGet(..)
                | Self::FileContent(..)
                | Self::BatchGet(..)
                | Self::BatchFiles(..)
        )
    }
}

/// What belongs to a document; the paths are below `/v1/files/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAspect {
    /// `POST` of the document itself: labels and dates.
    Update,
    /// `POST …/content`: a new version.
    NewVersion,
    /// `GET …/versions`
    Versions,
    /// `DELETE …/versions/{version}`
    DeleteVersion(String),
    /// `GET …/shares`
    Shares,
    /// `POST …/shares`
    Share,
    /// `DELETE …/shares/{id}`
    Unshare(String),
    /// `GET …/comments`
    Comments,
    /// `POST …/comments`
    Comment,
    /// `DELETE …/comments/{id}`
    DeleteComment(String),
    /// `GET …/scan`
    Scan,
}

impl FileAspect {
    const fn label(&self) -> &'static str {
        match self {
            Self::Update => "/v1/files/{id}",
            Self::NewVersion => "/v1/files/{id}/content",
            Self::Versions => "/v1/files/{id}/versions",
            Self::DeleteVersion(_) => "/v1/files/{id}/versions/{version}",
            Self::Shares | Self::Share => "/v1/files/{id}/shares",
            Self::Unshare(_) => "/v1/files/{id}/shares/{share}",
            Self::Comments | Self::Comment => "/v1/files/{id}/comments",
            Self::DeleteComment(_) => "/v1/files/{id}/comments/{comment}",
            Self::Scan => "/v1/files/{id}/scan",
        }
    }

    /// Does it only read?
    #[must_use]
    pub const fn reads(&self) -> bool {
        matches!(
            self,
            Self::Versions | Self::Shares | Self::Comments | Self::Scan
        )
    }
}

impl Route {
    /// A low-cardinality label for logs: the path with ids left out.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Ask => "/ask",
            Self::Models => "/v1/models",
            Self::Model(_) => "/v1/models/{id}",
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Responses => "/v1/responses",
            Self::AnswerGet(protocol, _) | Self::AnswerDelete(protocol, _) => match protocol {
                Protocol::Chat => "/v1/chat/completions/{id}",
                Protocol::Responses => "/v1/responses/{id}",
                Protocol::Messages => "/v1/messages/{id}",
            },
            Self::AnswerCancel(protocol, _) => match protocol {
                Protocol::Chat => "/v1/chat/completions/{id}/cancel",
                Protocol::Responses => "/v1/responses/{id}/cancel",
                Protocol::Messages => "/v1/messages/{id}/cancel",
            },
            Self::InputItems(_) => "/v1/responses/{id}/input_items",
            Self::Embeddings => "/v1/embeddings",
            Self::Moderations => "/v1/moderations",
            Self::Images(path) | Self::Audio(path) => path,
            Self::FilesList | Self::FilesCreate => "/v1/files",
            Self::FileGet(_) | Self::FileDelete(_) => "/v1/files/{id}",
            Self::FileContent(_) => "/v1/files/{id}/content",
            Self::FileAspect(_, aspect) => aspect.label(),
            Self::Shared => "/v1/shared",
            Self::LinkGet(_) => "/v1/shared/{token}",
            Self::LinkContent(_) => "/v1/shared/{token}/content",
            Self::UploadCreate => "/v1/uploads",
            Self::UploadGet(_) => "/v1/uploads/{id}",
            Self::UploadPart(_) | Self::UploadParts(_) => "/v1/uploads/{id}/parts",
            Self::UploadComplete(_) => "/v1/uploads/{id}/complete",
            Self::UploadCancel(_) => "/v1/uploads/{id}/cancel",
            Self::ConversationsList | Self::ConversationCreate => "/v1/conversations",
            Self::ConversationGet(_)
            | Self::ConversationUpdate(_)
            | Self::ConversationDelete(_) => "/v1/conversations/{id}",
            Self::ConversationExport(_) => "/v1/conversations/{id}/export",
            Self::ItemsList(_) | Self::ItemsCreate(_) => "/v1/conversations/{id}/items",
            Self::ItemGet(..) | Self::ItemDelete(..) => "/v1/conversations/{id}/items/{item}",
            Self::Stores(route) => route.label(),
            Self::MemoriesList | Self::MemoryCreate => "/api/me/memories",
            Self::MemoryDelete(_) => "/api/me/memories/{id}",
            Self::SessionCreate | Self::SessionTerms | Self::SessionEnd => "/api/session",
            Self::Me => "/api/me",
            Self::MeUsage => "/api/me/usage",
            Self::MeExport => "/api/me/export",
            Self::MeErase => "/api/me/erase",
            Self::Admin(_) => "/api/admin",
            Self::AdminPage(_) => "/admin",
            Self::Preflight => "preflight",
        }
    }

    /// Documents and conversations belong to this origin's visitors: another origin may not reach them with a browser's
    /// cookies.
    #[must_use]
    pub const fn is_own_site(&self) -> bool {
        matches!(
            self,
            Self::FilesList
                | Self::FilesCreate
                | Self::FileGet(_)
                | Self::FileContent(_)
                | Self::FileDelete(_)
                | Self::FileAspect(..)
                | Self::Shared
                | Self::UploadCreate
                | Self::UploadGet(_)
                | Self::UploadPart(_)
                | Self::UploadParts(_)
                | Self::UploadComplete(_)
                | Self::UploadCancel(_)
                | Self::ConversationsList
                | Self::ConversationCreate
                | Self::ConversationGet(_)
                | Self::ConversationUpdate(_)
                | Self::ConversationDelete(_)
                | Self::ConversationExport(_)
                | Self::ItemsList(_)
                | Self::ItemsCreate(_)
                | Self::ItemGet(..)
                | Self::ItemDelete(..)
                | Self::Stores(_)
                | Self::MemoriesList
                | Self::MemoryCreate
                | Self::MemoryDelete(_)
        )
    }
}

/// The dialect of a path. OpenAI and Anthropic share `/v1/models` and `/v1/files`: there the `anthropic-version`
/// request header chooses.
#[must_use]
pub fn dialect(path: &str, anthropic_version: bool) -> Dialect {
    match path.trim_start_matches('/').split('/').next() {
        Some("ask" | "admin") => Dialect::Page,
        Some("v1") if path.starts_with("/v1/messages") || anthropic_version => Dialect::Anthropic,
        Some("v1") => Dialect::OpenAi,
        _ => Dialect::Problem,
    }
}

/// Finds the route. `HEAD` is answered as `GET` without a body.
///
/// # Errors
/// `not_found` for an unknown path, `method_not_allowed` (with the allowed methods) for an unknown method.
pub fn route(method: &str, path: &str) -> Result<Route, Refusal> {
    if path.len() > MAX_PATH_BYTES {
        return Err(
            Refusal::new(Code::NotFound).detail("The path is longer than any address here.")
        );
    }
    let method = if method == "HEAD" { "GET" } else { method };
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let (found, allow) = match (method, segments.as_slice()) {
        ("GET", ["healthz"]) => (Some(Route::Health), ""),
        (_, ["healthz"] | ["readyz"]) if method != "GET" => (None, "GET, HEAD"),
        ("GET", ["readyz"]) => (Some(Route::Ready), ""),
        ("POST", ["ask"]) => (Some(Route::Ask), ""),
        (_, ["ask"]) => (None, "POST"),
        ("GET", ["v1", "models"]) => (Some(Route::Models), ""),
        ("GET", ["v1", "models", id]) if !id.is_empty() => {
            (Some(Route::Model((*id).to_owned())), "")
        }
        (_, ["v1", "models"]) => (None, "GET, HEAD"),
        (_, ["v1", "models", id]) if !id.is_empty() => (None, "GET, HEAD"),
        ("POST", ["v1", "chat", "completions"]) => (Some(Route::ChatCompletions), ""),
        ("POST", ["v1", "messages"]) => (Some(Route::Messages), ""),
        ("POST", ["v1", "messages", "count_tokens"]) => (Some(Route::CountTokens), ""),
        ("POST", ["v1", "responses"]) => (Some(Route::Responses), ""),
        ("POST", ["v1", "embeddings"]) => (Some(Route::Embeddings), ""),
        ("POST", ["v1", "moderations"]) => (Some(Route::Moderations), ""),
        (
            _,
            ["v1", "chat", "completions"]
            | [
                "v1",
                "messages" | "responses" | "embeddings" | "moderations",
            ]
            | ["v1", "messages", "count_tokens"],
        ) => (None, "POST"),
        (_, ["v1", "images" | "audio", _]) => match raw_route(path) {
            Some(route) if method == "POST" => (Some(route), ""),
            Some(_) => (None, "POST"),
            None => return Err(Refusal::new(Code::NotFound)),
        },
        (_, ["v1", "responses", id, "input_items"]) if !id.is_empty() => match method {
            "GET" => (Some(Route::InputItems((*id).to_owned())), ""),
            _ => (None, "GET, HEAD"),
        },
        (_, ["v1", "chat", "completions", rest @ ..]) => stored(Protocol::Chat, method, rest)?,
        (_, ["v1", "responses", rest @ ..]) => stored(Protocol::Responses, method, rest)?,
        (_, ["v1", "messages", rest @ ..]) => stored(Protocol::Messages, method, rest)?,
        ("GET", ["v1", "files"]) => (Some(Route::FilesList), ""),
        ("POST", ["v1", "files"]) => (Some(Route::FilesCreate), ""),
        (_, ["v1", "files"]) => (None, "GET, HEAD, POST"),
        ("GET", ["v1", "files", id]) if !id.is_empty() => {
            (Some(Route::FileGet((*id).to_owned())), "")
        }
        ("DELETE", ["v1", "files", id]) if !id.is_empty() => {
            (Some(Route::FileDelete((*id).to_owned())), "")
        }
        ("POST", ["v1", "files", id]) if !id.is_empty() => (
            Some(Route::FileAspect((*id).to_owned(), FileAspect::Update)),
            "",
        ),
        (_, ["v1", "files", id]) if !id.is_empty() => (None, "GET, HEAD, POST, DELETE"),
        ("GET", ["v1", "files", id, "content"]) if !id.is_empty() => {
            (Some(Route::FileContent((*id).to_owned())), "")
        }
        (_, ["v1", "files", id, rest @ ..]) if !id.is_empty() => aspect(method, id, rest)?,
        (_, ["v1", "shared", rest @ ..]) => shared(method, rest)?,
        (_, ["v1", "uploads", rest @ ..]) => upload(method, rest)?,
        (_, ["v1", "conversations", rest @ ..]) => conversation(method, rest)?,
        (_, ["v1", "vector_stores", rest @ ..]) => vector_store(method, rest)?,
        (_, ["api", "session"]) => match method {
            "POST" => (Some(Route::SessionCreate), ""),
            "GET" => (Some(Route::SessionTerms), ""),
            "DELETE" => (Some(Route::SessionEnd), ""),
            _ => (None, "GET, HEAD, POST, DELETE"),
        },
        (_, ["api", "me"]) => only("GET", method, Route::Me),
        (_, ["api", "me", "usage"]) => only("GET", method, Route::MeUsage),
        (_, ["api", "me", "export"]) => only("GET", method, Route::MeExport),
        (_, ["api", "me", "memories"]) => match method {
            "GET" => (Some(Route::MemoriesList), ""),
            "POST" => (Some(Route::MemoryCreate), ""),
            _ => (None, "GET, HEAD, POST"),
        },
        (_, ["api", "me", "memories", id]) if !id.is_empty() => {
            only("DELETE", method, Route::MemoryDelete((*id).to_owned()))
        }
        (_, ["api", "me", "erase"]) => only("POST", method, Route::MeErase),
        // A page of another origin has no business here: there is no preflight.
        (_, ["api", "admin", ..]) => {
            let below = path.strip_prefix("/api/admin").unwrap_or_default();
            (Some(Route::Admin(below.to_owned())), "")
        }
        (_, ["admin", ..]) => {
            let below = path.strip_prefix("/admin").unwrap_or_default();
            (Some(Route::AdminPage(below.to_owned())), "")
        }
        _ => return Err(Refusal::new(Code::NotFound)),
    };
    match found {
        Some(route) => Ok(route),
        None if method == "OPTIONS" => Ok(Route::Preflight),
        None => {
            let mut refusal = Refusal::new(Code::MethodNotAllowed)
                .detail(format!("This address answers {allow}."));
            refusal.allow = Some(allow);
            Err(refusal)
        }
    }
}

/// The routes of uploads in parts, below `/v1/uploads`.
fn upload(method: &str, rest: &[&str]) -> Result<(Option<Route>, &'static str), Refusal> {
    let (route, wanted): (fn(String) -> Route, &str) = match (method, rest) {
        (_, []) => return Ok(only("POST", method, Route::UploadCreate)),
        ("GET", [_, "parts"]) => (Route::UploadParts, "GET"),
        (_, [_]) => (Route::UploadGet, "GET"),
        (_, [_, "parts"]) => (Route::UploadPart, "POST"),
        (_, [_, "complete"]) => (Route::UploadComplete, "POST"),
        (_, [_, "cancel"]) => (Route::UploadCancel, "POST"),
        _ => return Err(Refusal::new(Code::NotFound)),
    };
    let id = rest.first().filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Refusal::new(Code::NotFound))?;
    Ok(match (method == wanted, rest) {
        (true, _) => (Some(route((*id).to_owned())), ""),
        (false, [_, "parts"]) => (None, "GET, HEAD, POST"),
        (false, _) if wanted == "GET" => (None, "GET, HEAD"),
        (false, _) => (None, "POST"),
    })
}

/// What belongs to a document, below its address.
fn aspect(method: &str, id: &str, rest: &[&str]) -> Result<(Option<Route>, &'static str), Refusal> {
    let (found, allow) = match (method, rest) {
        ("POST", ["content"]) => (Some(FileAspect::NewVersion), ""),
        (_, ["content"]) => (None, "GET, HEAD, POST"),
        ("GET", ["versions"]) => (Some(FileAspect::Versions), ""),
        ("GET", ["scan"]) => (Some(FileAspect::Scan), ""),
        (_, ["versions" | "scan"]) => (None, "GET, HEAD"),
        ("GET", ["shares"]) => (Some(FileAspect::Shares), ""),
        ("POST", ["shares"]) => (Some(FileAspect::Share), ""),
        ("GET", ["comments"]) => (Some(FileAspect::Comments), ""),
        ("POST", ["comments"]) => (Some(FileAspect::Comment), ""),
        (_, ["shares" | "comments"]) => (None, "GET, HEAD, POST"),
        (_, [_, ""]) => return Err(Refusal::new(Code::NotFound)),
        ("DELETE", ["versions", one]) => (Some(FileAspect::DeleteVersion((*one).to_owned())), ""),
        ("DELETE", ["shares", one]) => (Some(FileAspect::Unshare((*one).to_owned())), ""),
        ("DELETE", ["comments", one]) => (Some(FileAspect::DeleteComment((*one).to_owned())), ""),
        (_, ["versions" | "shares" | "comments", _]) => (None, "DELETE"),
        _ => return Err(Refusal::new(Code::NotFound)),
    };
    let route = found.map(|aspect| Route::FileAspect(id.to_owned(), aspect));
    Ok((route, allow))
}

/// What is shared, and the documents of links.
fn shared(method: &str, rest: &[&str]) -> Result<(Option<Route>, &'static str), Refusal> {
    let route = match rest {
        [] => Route::Shared,
        [token] if !token.is_empty() => Route::LinkGet((*token).to_owned()),
        [token, "content"] if !token.is_empty() => Route::LinkContent((*token).to_owned()),
        _ => return Err(Refusal::new(Code::NotFound)),
    };
    Ok(only("GET", method, route))
}

/// The routes of conversations, below `/v1/conversations`.
fn conversation(method: &str, rest: &[&str]) -> Result<(Option<Route>, &'static str), Refusal> {
    let one = |id: &&str| (*id).to_owned();
    if rest.iter().any(|part| part.is_empty()) {
        return Err(Refusal::new(Code::NotFound));
    }
    Ok(match (rest, method) {
        ([], "GET") => (Some(Route::ConversationsList), ""),
        ([], "POST") => (Some(Route::ConversationCreate), ""),
        ([], _) => (None, "GET, HEAD, POST"),
        ([id], "GET") => (Some(Route::ConversationGet(one(id))), ""),
        ([id], "POST") => (Some(Route::ConversationUpdate(one(id))), ""),
        ([id], "DELETE") => (Some(Route::ConversationDelete(one(id))), ""),
        ([_], _) => (None, "GET, HEAD, POST, DELETE"),
        ([id, "export"], _) => only("GET", method, Route::ConversationExport(one(id))),
        ([id, "items"], "GET") => (Some(Route::ItemsList(one(id))), ""),
        ([id, "items"], "POST") => (Some(Route::ItemsCreate(one(id))), ""),
        ([_, "items"], _) => (None, "GET, HEAD, POST"),
        ([id, "items", item], "GET") => (Some(Route::ItemGet(one(id), one(item))), ""),
        ([id, "items", item], "DELETE") => (Some(Route::ItemDelete(one(id), one(item))), ""),
        ([_, "items", _], _) => (None, "GET, HEAD, DELETE"),
        _ => return Err(Refusal::new(Code::NotFound)),
    })
}

/// The routes of vector stores, below `/v1/vector_stores`.
fn vector_store(method: &str, rest: &[&str]) -> Result<(Option<Route>, &'static str), Refusal> {
    let one = |id: &&str| (*id).to_owned();
    if rest.iter().any(|part| part.is_empty()) {
        return Err(Refusal::new(Code::NotFound));
    }
    let (found, allow) = match (rest, method) {
        ([], "GET") => (Some(StoreRoute::List), ""),
        ([], "POST") => (Some(StoreRoute::Create), ""),
        ([id], "GET") => (Some(StoreRoute::Get(one(id))), ""),
        ([id], "POST") => (Some(StoreRoute::Update(one(id))), ""),
        ([id], "DELETE") => (Some(StoreRoute::Delete(one(id))), ""),
        ([id, "search"], "POST") => (Some(StoreRoute::Search(one(id))), ""),
        ([id, "files"], "GET") => (Some(StoreRoute::Files(one(id))), ""),
        ([id, "files"], "POST") => (Some(StoreRoute::FileAdd(one(id))), ""),
        ([id, "files", file], "GET") => (Some(StoreRoute::FileGet(one(id), one(file))), ""),
        ([id, "files", file], "POST") => (Some(StoreRoute::FileUpdate(one(id), one(file))), ""),
        ([id, "files", file], "DELETE") => (Some(StoreRoute::FileDelete(one(id), one(file))), ""),
        ([id, "files", file, "content"], "GET") => {
            (Some(StoreRoute::FileContent(one(id), one(file))), "")
        }
        ([id, "file_batches"], "POST") => (Some(StoreRoute::BatchCreate(one(id))), ""),
        ([id, "file_batches", batch], "GET") => {
            (Some(StoreRoute::BatchGet(one(id), one(batch))), "")
        }
        ([id, "file_batches", batch, "cancel"], "POST") => {
            (Some(StoreRoute::BatchCancel(one(id), one(batch))), "")
        }
        ([id, "file_batches", batch, "files"], "GET") => {
            (Some(StoreRoute::BatchFiles(one(id), one(batch))), "")
        }
        ([] | [_, "files"], _) => (None, "GET, HEAD, POST"),
        ([_] | [_, "files", _], _) => (None, "GET, HEAD, POST, DELETE"),
        ([_, "search" | "file_batches"] | [_, "file_batches", _, "cancel"], _) => (None, "POST"),
        (
            [_, "files", _, "content"] | [_, "file_batches", _] | [_, "file_batches", _, "files"],
            _,
        ) => (None, "GET, HEAD"),
        _ => return Err(Refusal::new(Code::NotFound)),
    };
    Ok((found.map(Route::Stores), allow))
}

/// An address with one method.
fn only(answered: &'static str, method: &str, route: Route) -> (Option<Route>, &'static str) {
    let allow = if answered == "GET" {
        "GET, HEAD"
    } else {
        answered
    };
    (Some(route).filter(|_| method == answered), allow)
}

/// The addresses of a stored answer: `{id}` and `{id}/cancel` below its dialect's endpoint.
fn stored(
    protocol: Protocol,
    method: &str,
    rest: &[&str],
) -> Result<(Option<Route>, &'static str), Refusal> {
    let (id, cancel) = match rest {
        [id] if !id.is_empty() => ((*id).to_owned(), false),
        [id, "cancel"] if !id.is_empty() => ((*id).to_owned(), true),
        _ => return Err(Refusal::new(Code::NotFound)),
    };
    Ok(match (method, cancel) {
        ("GET", false) => (Some(Route::AnswerGet(protocol, id)), ""),
        ("DELETE", false) => (Some(Route::AnswerDelete(protocol, id)), ""),
        ("POST", true) => (Some(Route::AnswerCancel(protocol, id)), ""),
        (_, false) => (None, "GET, HEAD, DELETE"),
        (_, true) => (None, "POST"),
    })
}

/// Endpoints whose bodies are passed on.
fn raw_route(path: &str) -> Option<Route> {
    let images = [
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
    ];
    let audio = [
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
    ];
    let find = |known: [&'static str; 3]| known.into_iter().find(|known| *known == path);
    find(images)
        .map(Route::Images)
        .or_else(|| find(audio).map(Route::Audio))
}

/// Longest path that is looked at, in bytes: our longest route with a 128-byte id is far below it.
const MAX_PATH_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Dialect, FileAspect, Route, StoreRoute, dialect, route};
    use crate::base::errors::Code;

    #[test]
    fn every_public_address() {
        for (method, path, expected) in [
            ("GET", "/healthz", Route::Health),
            ("HEAD", "/readyz", Route::Ready),
            ("POST", "/ask", Route::Ask),
            ("GET", "/v1/models", Route::Models),
            ("GET", "/v1/models/site", Route::Model("site".into())),
            ("POST", "/v1/chat/completions", Route::ChatCompletions),
            ("POST", "/v1/messages", Route::Messages),
            ("POST", "/v1/embeddings", Route::Embeddings),
            ("POST", "/v1/uploads", Route::UploadCreate),
            ("GET", "/v1/uploads/u", Route::UploadGet("u".into())),
            ("POST", "/v1/uploads/u/parts", Route::UploadPart("u".into())),
            ("GET", "/v1/uploads/u/parts", Route::UploadParts("u".into())),
            (
                "POST",
                "/v1/uploads/u/complete",
                Route::UploadComplete("u".into()),
            ),
            (
                "POST",
                "/v1/uploads/u/cancel",
                Route::UploadCancel("u".into()),
            ),
            ("GET", "/v1/files", Route::FilesList),
            ("POST", "/v1/files", Route::FilesCreate),
            ("GET", "/v1/files/file_1", Route::FileGet("file_1".into())),
            (
                "GET",
                "/v1/files/file_1/content",
                Route::FileContent("file_1".into()),
            ),
            (
                "DELETE",
                "/v1/files/file_1",
                Route::FileDelete("file_1".into()),
            ),
            (
                "DELETE",
                "/v1/files/file_1/shares/share_1",
                Route::FileAspect("file_1".into(), FileAspect::Unshare("share_1".into())),
            ),
            ("GET", "/v1/shared", Route::Shared),
            ("HEAD", "/v1/shared/t", Route::LinkGet("t".into())),
            ("GET", "/v1/conversations", Route::ConversationsList),
            ("POST", "/v1/conversations", Route::ConversationCreate),
            (
                "GET",
                "/v1/conversations/c",
                Route::ConversationGet("c".into()),
            ),
            (
                "POST",
                "/v1/conversations/c",
                Route::ConversationUpdate("c".into()),
            ),
            (
                "DELETE",
                "/v1/conversations/c",
                Route::ConversationDelete("c".into()),
            ),
            (
                "GET",
                "/v1/conversations/c/export",
                Route::ConversationExport("c".into()),
            ),
            (
                "GET",
                "/v1/conversations/c/items",
                Route::ItemsList("c".into()),
            ),
            (
                "POST",
                "/v1/conversations/c/items",
                Route::ItemsCreate("c".into()),
            ),
            (
                "GET",
                "/v1/conversations/c/items/i",
                Route::ItemGet("c".into(), "i".into()),
            ),
            (
                "DELETE",
                "/v1/conversations/c/items/i",
                Route::ItemDelete("c".into(), "i".into()),
            ),
            (
                "POST",
                "/v1/vector_stores",
                Route::Stores(StoreRoute::Create),
            ),
            (
                "POST",
                "/v1/vector_stores/s/search",
                Route::Stores(StoreRoute::Search("s".into())),
            ),
            (
                "HEAD",
                "/v1/vector_stores/s/files/f/content",
                Route::Stores(StoreRoute::FileContent("s".into(), "f".into())),
            ),
            (
                "POST",
                "/v1/vector_stores/s/file_batches/b/cancel",
                Route::Stores(StoreRoute::BatchCancel("s".into(), "b".into())),
            ),
            ("GET", "/api/me/memories", Route::MemoriesList),
            ("POST", "/api/me/memories", Route::MemoryCreate),
            (
                "DELETE",
                "/api/me/memories/m",
                Route::MemoryDelete("m".into()),
            ),
            ("OPTIONS", "/v1/chat/completions", Route::Preflight),
            ("OPTIONS", "/v1/models", Route::Preflight),
            ("OPTIONS", "/healthz", Route::Preflight),
        ] {
            assert_eq!(route(method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        for (method, path, allow) in [
            ("GET", "/v1/chat/completions", "POST"),
            ("GET", "/v1/uploads", "POST"),
            ("DELETE", "/v1/uploads/u", "GET, HEAD"),
            ("PUT", "/v1/uploads/u/parts", "GET, HEAD, POST"),
            ("GET", "/v1/uploads/u/complete", "POST"),
            ("GET", "/v1/uploads/u/cancel", "POST"),
            ("DELETE", "/v1/files", "GET, HEAD, POST"),
            ("PUT", "/v1/files/x", "GET, HEAD, POST, DELETE"),
            ("PUT", "/v1/files/x/content", "GET, HEAD, POST"),
            ("POST", "/v1/files/x/versions", "GET, HEAD"),
            ("PUT", "/v1/files/x/shares", "GET, HEAD, POST"),
            ("GET", "/v1/files/x/comments/y", "DELETE"),
            ("POST", "/v1/shared/t/content", "GET, HEAD"),
            ("TRACE", "/healthz", "GET, HEAD"),
            ("GET", "/ask", "POST"),
            ("PUT", "/v1/conversations", "GET, HEAD, POST"),
            ("PUT", "/v1/conversations/c", "GET, HEAD, POST, DELETE"),
            ("POST", "/v1/conversations/c/export", "GET, HEAD"),
            ("DELETE", "/v1/conversations/c/items", "GET, HEAD, POST"),
            ("POST", "/v1/conversations/c/items/i", "GET, HEAD, DELETE"),
            ("PUT", "/v1/vector_stores", "GET, HEAD, POST"),
            ("PUT", "/v1/vector_stores/s", "GET, HEAD, POST, DELETE"),
            ("GET", "/v1/vector_stores/s/search", "POST"),
            ("DELETE", "/v1/vector_stores/s/files", "GET, HEAD, POST"),
            ("POST", "/v1/vector_stores/s/files/f/content", "GET, HEAD"),
            ("GET", "/v1/vector_stores/s/file_batches", "POST"),
            ("POST", "/v1/vector_stores/s/file_batches/b", "GET, HEAD"),
            ("PUT", "/api/me/memories", "GET, HEAD, POST"),
            ("GET", "/api/me/memories/m", "DELETE"),
        ] {
            let refusal = route(method, path).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.allow),
                (Code::MethodNotAllowed, Some(allow)),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn anything_else_is_not_found() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/models/",
            "/v1/uploads/",
            "/v1/uploads//parts",
            "/v1/uploads/u/other",
            "/v1/uploads/u/parts/p",
            "/v1/files//content",
            "/v1/chat/completions/",
            "/v1/models/a/b",
            "/v1/conversations/",
            "/v1/conversations/c/other",
            "/v1/conversations//items",
            "/v1/conversations/c/items/i/j",
            "/v1/vector_stores/",
            "/v1/vector_stores/s/other",
            "/v1/vector_stores/s/files//content",
            "/api/me/memories/",
            "/v1%2fmodels",
        ] {
            assert_eq!(
                route("GET", path).unwrap_err().code,
                Code::NotFound,
                "{path}"
            );
        }
        assert_eq!(
            route("GET", &format!("/v1/models/{}", "a".repeat(2000)))
                .unwrap_err()
                .code,
            Code::NotFound
        );
    }

    #[test]
    fn the_header_chooses_the_dialect_on_shared_paths() {
        assert_eq!(dialect("/v1/models", false), Dialect::OpenAi);
        assert_eq!(dialect("/v1/models", true), Dialect::Anthropic);
        assert_eq!(dialect("/v1/messages", false), Dialect::Anthropic);
        assert_eq!(dialect("/v1/unknown", false), Dialect::OpenAi);
        assert_eq!(dialect("/ask", false), Dialect::Page);
        assert_eq!(dialect("/readyz", false), Dialect::Problem);
    }
}
