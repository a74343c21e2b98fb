//! `(method, path, headers) → Route`: the whole public surface that wakes the Worker, in one exhaustive match.
//!
//! Everything else is a static asset and never gets here (`[assets] run_worker_first` in wrangler.toml).

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
    /// `POST /v1/embeddings`
    Embeddings,
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
    /// `OPTIONS` on any of these: a CORS preflight.
    Preflight,
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
            Self::Embeddings => "/v1/embeddings",
            Self::FilesList | Self::FilesCreate => "/v1/files",
            Self::FileGet(_) | Self::FileDelete(_) => "/v1/files/{id}",
            Self::FileContent(_) => "/v1/files/{id}/content",
            Self::Preflight => "preflight",
        }
    }

    /// Documents belong to this origin's visitors: another origin may not reach them with a browser's cookies.
    #[must_use]
    pub const fn is_documents(&self) -> bool {
        matches!(
            self,
            Self::FilesList
                | Self::FilesCreate
                | Self::FileGet(_)
                | Self::FileContent(_)
                | Self::FileDelete(_)
        )
    }
}

/// The dialect of a path. OpenAI and Anthropic share `/v1/models` and `/v1/files`: there the `anthropic-version`
/// request header chooses.
#[must_use]
pub fn dialect(path: &str, anthropic_version: bool) -> Dialect {
    match path.trim_start_matches('/').split('/').next() {
        Some("ask") => Dialect::Page,
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
        ("POST", ["v1", "embeddings"]) => (Some(Route::Embeddings), ""),
        (_, ["v1", "chat", "completions"] | ["v1", "messages"] | ["v1", "embeddings"]) => {
            (None, "POST")
        }
        ("GET", ["v1", "files"]) => (Some(Route::FilesList), ""),
        ("POST", ["v1", "files"]) => (Some(Route::FilesCreate), ""),
        (_, ["v1", "files"]) => (None, "GET, HEAD, POST"),
        ("GET", ["v1", "files", id]) if !id.is_empty() => {
            (Some(Route::FileGet((*id).to_owned())), "")
        }
        ("DELETE", ["v1", "files", id]) if !id.is_empty() => {
            (Some(Route::FileDelete((*id).to_owned())), "")
        }
        (_, ["v1", "files", id]) if !id.is_empty() => (None, "GET, HEAD, DELETE"),
        ("GET", ["v1", "files", id, "content"]) if !id.is_empty() => {
            (Some(Route::FileContent((*id).to_owned())), "")
        }
        (_, ["v1", "files", id, "content"]) if !id.is_empty() => (None, "GET, HEAD"),
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

/// Longest path that is looked at, in bytes: our longest route with a 128-byte id is far below it.
const MAX_PATH_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Dialect, Route, dialect, route};
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
            ("DELETE", "/v1/files", "GET, HEAD, POST"),
            ("PUT", "/v1/files/x", "GET, HEAD, DELETE"),
            ("TRACE", "/healthz", "GET, HEAD"),
            ("GET", "/ask", "POST"),
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
            "/v1/files//content",
            "/v1/chat/completions/",
            "/v1/models/a/b",
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
