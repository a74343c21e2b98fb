//! Makes the file: operators' endpoints of their table, the others of the list here, schemas of the types.

use std::collections::BTreeMap;

use gatehouse::app::schema::{Content, Make, Shape, admin, own, problem};
use gatehouse::base::errors::Code;
use gatehouse::domain::admin::{Access, Call, ENDPOINTS, Endpoint};
use schemars::Schema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// Where schemas stand.
const SCHEMAS: &str = "/components/schemas/";
/// Where answers stand that several endpoints give.
const RESPONSES: &str = "/components/responses/";

// === the data plane, in outline ===

/// Whose reference describes an endpoint's bodies.
#[derive(Clone, Copy)]
pub enum Like {
    OpenAi(&'static str),
    Anthropic(&'static str),
    /// Gatehouse's own: described by the docs' page.
    Own(&'static str),
}

/// An endpoint outside of `/api/admin`.
pub struct Plain {
    pub method: &'static str,
    pub path: &'static str,
    pub id: &'static str,
    pub text: &'static str,
    pub like: Like,
    /// Content type of the body.
    pub body: Option<&'static str>,
}

const JSON: Option<&str> = Some("application/json");
const FORM: Option<&str> = Some("multipart/form-data");

macro_rules! plain {
    ($($method:ident $path:literal $id:ident $like:expr, $body:expr, $text:literal;)*) => {
        pub const PLAIN: &[Plain] = &[$(Plain {
            method: stringify!($method), path: $path, id: stringify!($id), text: $text, like: $like, body: $body,
        },)*];
    };
}

plain! {
    GET    "/healthz" getHealth Like::Own("operations"), None, "Does the Worker answer?";
    GET    "/readyz" getReadiness Like::Own("operations"), None, "Is every binding, secret and configuration item there?";
    POST   "/ask" ask Like::Own("pages"), Some("application/x-www-form-urlencoded"), "The plain form, answered with a page";
    GET    "/v1/models" listModels Like::OpenAi("models/list"), None, "List the aliases that the caller may use";
    GET    "/v1/models/{id}" getModel Like::OpenAi("models/retrieve"), None, "One alias";
    POST   "/v1/chat/completions" createChatCompletion Like::OpenAi("chat/create"), JSON, "Answer a chat";
    GET    "/v1/chat/completions/{id}" getChatCompletion Like::Own("gateway"), None, "A stored answer, or its stream from an event on";
    DELETE "/v1/chat/completions/{id}" deleteChatCompletion Like::Own("gateway"), None, "Delete a stored answer";
    POST   "/v1/chat/completions/{id}/cancel" cancelChatCompletion Like::Own("gateway"), None, "Stop a running answer";
    POST   "/v1/responses" createResponse Like::OpenAi("responses/create"), JSON, "Answer a request";
    GET    "/v1/responses/{id}" getResponse Like::OpenAi("responses/get"), None, "A stored answer, or its stream from an event on";
    DELETE "/v1/responses/{id}" deleteResponse Like::OpenAi("responses/delete"), None, "Delete a stored answer";
    POST   "/v1/responses/{id}/cancel" cancelResponse Like::OpenAi("responses/cancel"), None, "Stop a running answer";
    GET    "/v1/responses/{id}/input_items" listInputItems Like::OpenAi("responses/input-items"), None, "What a stored answer was made from";
    POST   "/v1/messages" createMessage Like::Anthropic("messages"), JSON, "Answer a message";
    GET    "/v1/messages/{id}" getMessage Like::Own("gateway"), None, "A stored answer, or its stream from an event on";
    DELETE "/v1/messages/{id}" deleteMessage Like::Own("gateway"), None, "Delete a stored answer";
    POST   "/v1/messages/{id}/cancel" cancelMessage Like::Own("gateway"), None, "Stop a running answer";
    POST   "/v1/messages/count_tokens" countTokens Like::Anthropic("messages-count-tokens"), JSON, "Count the tokens of a message";
    POST   "/v1/embeddings" createEmbedding Like::OpenAi("embeddings/create"), JSON, "Make embeddings";
    POST   "/v1/moderations" createModeration Like::OpenAi("moderations/create"), JSON, "Classify text or images";
    POST   "/v1/images/generations" createImage Like::OpenAi("images/create"), JSON, "Make an image";
    POST   "/v1/images/edits" editImage Like::OpenAi("images/createEdit"), FORM, "Edit an image";
    POST   "/v1/images/variations" varyImage Like::OpenAi("images/createVariation"), FORM, "Vary an image";
    POST   "/v1/audio/speech" createSpeech Like::OpenAi("audio/createSpeech"), JSON, "Read a text aloud";
    POST   "/v1/audio/transcriptions" createTranscription Like::OpenAi("audio/createTranscription"), FORM, "Write down what is said";
    POST   "/v1/audio/translations" createTranslation Like::OpenAi("audio/createTranslation"), FORM, "Write down what is said, in English";
    GET    "/v1/files" listFiles Like::OpenAi("files/list"), None, "List the caller's documents";
    POST   "/v1/files" createFile Like::OpenAi("files/create"), FORM, "Keep a document";
    GET    "/v1/files/{id}" getFile Like::OpenAi("files/retrieve"), None, "A document's data";
    DELETE "/v1/files/{id}" deleteFile Like::OpenAi("files/delete"), None, "Delete a document";
    GET    "/v1/files/{id}/content" getFileContent Like::OpenAi("files/retrieve-contents"), None, "A document's bytes, whole or in a range";
    POST   "/v1/files/{id}" updateFile Like::Own("documents"), JSON, "Change a document's labels and dates";
    POST   "/v1/files/{id}/content" createFileVersion Like::Own("documents"), FORM, "Store a new version of a document";
    GET    "/v1/files/{id}/versions" listFileVersions Like::Own("documents"), None, "The versions that are kept";
    DELETE "/v1/files/{id}/versions/{version}" deleteFileVersion Like::Own("documents"), None, "Delete an earlier version";
    GET    "/v1/files/{id}/shares" listFileShares Like::Own("documents"), None, "With whom a document is shared";
    POST   "/v1/files/{id}/shares" createFileShare Like::Own("documents"), JSON, "Share a document";
    DELETE "/v1/files/{id}/shares/{share}" deleteFileShare Like::Own("documents"), None, "End a share";
    GET    "/v1/files/{id}/comments" listFileComments Like::Own("documents"), None, "The comments beside a document";
    POST   "/v1/files/{id}/comments" createFileComment Like::Own("documents"), JSON, "Comment on a document";
    GET    "/v1/files/{id}/scan" getFileScan Like::Own("documents"), None, "What the scan of a document found";
    DELETE "/v1/files/{id}/comments/{comment}" deleteFileComment Like::Own("documents"), None, "Delete a comment";
    GET    "/v1/shared" listShared Like::Own("documents"), None, "What others share with the caller";
    GET    "/v1/shared/{token}" getLinked Like::Own("documents"), None, "The document of a link";
    GET    "/v1/shared/{token}/content" getLinkedContent Like::Own("documents"), None, "Its bytes, whole or in a range";
    POST   "/v1/uploads" createUpload Like::OpenAi("uploads/create"), JSON, "Begin a document that comes in parts";
    GET    "/v1/uploads/{id}" getUpload Like::Own("documents"), None, "How far an upload is";
    POST   "/v1/uploads/{id}/parts" addUploadPart Like::OpenAi("uploads/add-part"), FORM, "Send a part";
    GET    "/v1/uploads/{id}/parts" listUploadParts Like::Own("documents"), None, "The parts that are stored";
    POST   "/v1/uploads/{id}/complete" completeUpload Like::OpenAi("uploads/complete"), JSON, "Make a document of the parts";
    POST   "/v1/uploads/{id}/cancel" cancelUpload Like::OpenAi("uploads/cancel"), None, "Give an upload up";
    GET    "/v1/conversations" listConversations Like::Own("memory"), None, "List the caller's conversations, the last used first";
    POST   "/v1/conversations" createConversation Like::OpenAi("conversations/create"), JSON, "Begin a conversation";
    GET    "/v1/conversations/{id}" getConversation Like::OpenAi("conversations/retrieve"), None, "One conversation";
    POST   "/v1/conversations/{id}" updateConversation Like::OpenAi("conversations/update"), JSON, "Replace a conversation's metadata, its title among them";
    DELETE "/v1/conversations/{id}" deleteConversation Like::OpenAi("conversations/delete"), None, "Delete a conversation and its items";
    GET    "/v1/conversations/{id}/export" exportConversation Like::Own("memory"), None, "A conversation with all of its items";
    GET    "/v1/conversations/{id}/items" listConversationItems Like::OpenAi("conversations/list-items"), None, "List a conversation's items";
    POST   "/v1/conversations/{id}/items" createConversationItems Like::OpenAi("conversations/create-items"), JSON, "Add items to a conversation";
    GET    "/v1/conversations/{id}/items/{item}" getConversationItem Like::OpenAi("conversations/get-item"), None, "One item";
    DELETE "/v1/conversations/{id}/items/{item}" deleteConversationItem Like::OpenAi("conversations/delete-item"), None, "Delete an item";
    GET    "/v1/vector_stores" listVectorStores Like::OpenAi("vector-stores/list"), None, "List the caller's vector stores";
    POST   "/v1/vector_stores" createVectorStore Like::OpenAi("vector-stores/create"), JSON, "Make a vector store";
    GET    "/v1/vector_stores/{id}" getVectorStore Like::OpenAi("vector-stores/retrieve"), None, "One vector store";
    POST   "/v1/vector_stores/{id}" updateVectorStore Like::OpenAi("vector-stores/modify"), JSON, "Change a vector store's name, metadata or end";
    DELETE "/v1/vector_stores/{id}" deleteVectorStore Like::OpenAi("vector-stores/delete"), None, "Delete a vector store; the documents stay";
    POST   "/v1/vector_stores/{id}/search" searchVectorStore Like::OpenAi("vector-stores/search"), JSON, "Find passages that answer a question";
    GET    "/v1/vector_stores/{id}/files" listVectorStoreFiles Like::OpenAi("vector-stores-files/listFiles"), None, "List the files of a vector store";
    POST   "/v1/vector_stores/{id}/files" createVectorStoreFile Like::OpenAi("vector-stores-files/createFile"), JSON, "Add a document to a vector store";
    GET    "/v1/vector_stores/{id}/files/{file}" getVectorStoreFile Like::OpenAi("vector-stores-files/getFile"), None, "One file of a vector store";
    POST   "/v1/vector_stores/{id}/files/{file}" updateVectorStoreFile Like::OpenAi("vector-stores-files/updateAttributes"), JSON, "Replace a file's attributes";
    DELETE "/v1/vector_stores/{id}/files/{file}" deleteVectorStoreFile Like::OpenAi("vector-stores-files/deleteFile"), None, "Take a file out of a vector store; the document stays";
    GET    "/v1/vector_stores/{id}/files/{file}/content" getVectorStoreFileContent Like::OpenAi("vector-stores-files/getContent"), None, "The passages of a file";
    POST   "/v1/vector_stores/{id}/file_batches" createVectorStoreFileBatch Like::OpenAi("vector-stores-file-batches/createBatch"), JSON, "Add several documents together";
    GET    "/v1/vector_stores/{id}/file_batches/{batch}" getVectorStoreFileBatch Like::OpenAi("vector-stores-file-batches/getBatch"), None, "How far a batch is";
    POST   "/v1/vector_stores/{id}/file_batches/{batch}/cancel" cancelVectorStoreFileBatch Like::OpenAi("vector-stores-file-batches/cancelBatch"), None, "Give up what of a batch is not done";
    GET    "/v1/vector_stores/{id}/file_batches/{batch}/files" listVectorStoreFileBatchFiles Like::OpenAi("vector-stores-file-batches/listBatchFiles"), None, "List the files of a batch";
    GET    "/api/me/memories" listMemories Like::Own("memory"), None, "What the caller wants remembered";
    POST   "/api/me/memories" createMemory Like::Own("memory"), JSON, "Have something remembered";
    DELETE "/api/me/memories/{id}" deleteMemory Like::Own("memory"), None, "Have it forgotten";
    GET    "/api/session" getSessionTerms Like::Own("security"), None, "What a session takes here, with a new puzzle where one is to be solved";
    POST   "/api/session" createSession Like::Own("security"), JSON, "Make or renew a visitor's session";
    DELETE "/api/session" endSession Like::Own("security"), None, "End the caller's session everywhere";
    GET    "/api/me" getMe Like::Own("security"), None, "Who the caller is";
    GET    "/api/me/usage" getMyUsage Like::Own("limits"), None, "What the caller used";
    GET    "/api/me/export" exportMe Like::Own("security"), None, "Everything that is kept of the caller under its own name";
    POST   "/api/me/erase" eraseMe Like::Own("security"), None, "Erase what is kept of a visitor";
}

// === the document ===

/// The whole file.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut put = |path: String, method: &str, operation: Value| {
        let before = paths
            .entry(path)
            .or_default()
            .insert(method.to_ascii_lowercase(), operation);
        assert!(before.is_none(), "{method} stands twice");
    };
    for endpoint in ENDPOINTS {
        put(
            path_of(endpoint),
            endpoint.method,
            of_operators(endpoint, &mut schemas),
        );
    }
    for plain in PLAIN {
        let operation = match own(plain.method, plain.path) {
            Some(shape) => of_callers(plain, &shape, &mut schemas),
            None => outline(plain),
        };
        put(plain.path.to_owned(), plain.method, operation);
    }
    let refusals = schemas.refusals();
    let components = schemas.whole();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Gatehouse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of operators and callers in full, the model endpoints in outline: their bodies are OpenAI's and Anthropic's.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "operators", "description": "What operators do, at /api/admin."},
            {"name": "callers", "description": "Sessions, and what callers may know of themselves."},
            {"name": "models", "description": "Model calls and documents, in the dialects of OpenAI and Anthropic."},
            {"name": "house", "description": "Health, and the plain form."},
        ],
        "paths": paths,
        "components": {"schemas": components, "responses": refusals, "securitySchemes": security_schemes()},
    })
}

/// The path of an operators' endpoint.
pub fn path_of(endpoint: &Endpoint) -> String {
    let path = endpoint.path.replace('*', "{path}");
    ["/api/admin", &path].concat()
}

fn security_schemes() -> Value {
    json!({
        "operatorCookie": {"type": "apiKey", "in": "cookie", "name": "__Host-gatehouse-admin", "description": "An operator's session, as a browser keeps it. Over plain http on a developer's machine: gatehouse-admin."},
        "operatorBearer": {"type": "http", "scheme": "bearer", "description": "An operator's session: the token of the answer to sign-in, for programs."},
        "apiKeyBearer": {"type": "http", "scheme": "bearer", "bearerFormat": "gh_<env>_<id>_<secret><crc>", "description": "An API key, as OpenAI's clients send it."},
        "apiKeyHeader": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "An API key, as Anthropic's clients send it."},
        "sessionCookie": {"type": "apiKey", "in": "cookie", "name": "__Host-gatehouse-session", "description": "A visitor's session on the site itself. Over plain http on a developer's machine: gatehouse-session."},
        "sessionBearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A visitor's session on another origin."},
        "signedRequest": {"type": "apiKey", "in": "header", "name": "Signature-Input", "description": "A signature by a key that is registered with an API key (RFC 9421), with the headers Signature and, where there is a body, Content-Digest. See docs/signing.md."},
    })
}

/// Who may call: each of these, or nobody in particular.
const CALLERS: [&str; 6] = [
    "",
    "sessionCookie",
    "sessionBearer",
    "apiKeyBearer",
    "apiKeyHeader",
    "signedRequest",
];

fn security(schemes: &[&str]) -> Value {
    schemes
        .iter()
        .map(|scheme| match *scheme {
            "" => json!({}),
            scheme => json!({scheme: []}),
        })
        .collect()
}

// === operations ===

fn of_operators(endpoint: &Endpoint, schemas: &mut Schemas) -> Value {
    let shape = admin(endpoint.call);
    let mut operation = described(
        &camel(&format!("{:?}", endpoint.call)),
        "operators",
        endpoint.text,
        &path_of(endpoint),
    );
    described_by(&mut operation, &shape, schemas, codes_of(endpoint, &shape));
    let fields = operation.as_object_mut().unwrap();
    match endpoint.access {
        Access::Open => drop(fields.insert("security".into(), json!([]))),
        Access::Session => drop(fields.insert(
            "security".into(),
            security(&["operatorCookie", "operatorBearer"]),
        )),
        Access::Right(action) => {
            fields.insert(
                "security".into(),
                security(&["operatorCookie", "operatorBearer"]),
            );
            fields.insert("x-gatehouse-right".into(), json!(action.name()));
            fields.insert("x-gatehouse-fresh".into(), json!(action.fresh()));
        }
    }
    operation
}

fn of_callers(plain: &Plain, shape: &Shape, schemas: &mut Schemas) -> Value {
    let mut operation = described(plain.id, "callers", plain.text, plain.path);
    let mut codes = vec![
        Code::InvalidCredentials,
        Code::SignatureInvalid,
        Code::ReplayedRequest,
        Code::Forbidden,
    ];
    codes.extend(EVERYWHERE);
    match plain.id {
        "getSessionTerms" => codes.push(Code::MissingParameter),
        "createSession" => {
            codes.extend(BODY);
            codes.extend([Code::ChallengeFailed, Code::UpstreamError]);
        }
        "getMe" => {}
        "listMemories" => codes.push(Code::StorageUnavailable),
        "createMemory" => {
            codes.extend(BODY);
            codes.extend([Code::MemoryFull, Code::StorageUnavailable, Code::Integrity]);
        }
        "deleteMemory" => codes.extend([Code::MemoryNotFound, Code::StorageUnavailable]),
        _ => codes.extend([
            Code::SessionRequired,
            Code::StorageUnavailable,
            Code::AuditUnavailable,
        ]),
    }
    described_by(&mut operation, shape, schemas, codes);
    let fields = operation.as_object_mut().unwrap();
    fields.insert("security".into(), security(&CALLERS));
    operation
}

fn outline(plain: &Plain) -> Value {
    let house = !plain.path.starts_with("/v1/");
    let tag = if house { "house" } else { "models" };
    let mut operation = described(plain.id, tag, plain.text, plain.path);
    let (docs, error) = match plain.like {
        Like::OpenAi(page) => (
            format!("https://platform.openai.com/docs/api-reference/{page}"),
            "An error in OpenAI's form; details under error.gatehouse.",
        ),
        Like::Anthropic(page) => (
            format!("https://docs.anthropic.com/en/api/{page}"),
            "An error in Anthropic's form; details under gatehouse.",
        ),
        Like::Own(page) => (format!("/docs/{page}"), "An error."),
    };
    let fields = operation.as_object_mut().unwrap();
    fields.insert("externalDocs".into(), json!({"url": docs}));
    if let Some(content) = plain.body {
        fields.insert(
            "requestBody".into(),
            json!({"required": true, "content": {content: {"schema": {"type": "object"}}}}),
        );
    }
    fields.insert(
        "responses".into(),
        json!({"200": {"description": "The answer."}, "default": {"description": error}}),
    );
    let schemes = if house { vec![""] } else { CALLERS.to_vec() };
    fields.insert("security".into(), security(&schemes));
    operation
}

fn described(id: &str, tag: &str, text: &str, path: &str) -> Value {
    let parameters: Vec<Value> = path
        .split('{')
        .skip(1)
        .map(|rest| {
            let name = rest.split('}').next().unwrap();
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    let mut operation = json!({"operationId": id, "tags": [tag], "summary": text});
    if !parameters.is_empty() {
        operation["parameters"] = Value::from(parameters);
    }
    operation
}

fn described_by(operation: &mut Value, shape: &Shape, schemas: &mut Schemas, codes: Vec<Code>) {
    if let Some(query) = shape.query {
        let query = schemas.alone(query);
        let required = query["required"].as_array().cloned().unwrap_or_default();
        let mut parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for (name, schema) in query["properties"].as_object().unwrap() {
            let mut schema = schema.clone();
            let text = schema.as_object_mut().unwrap().shift_remove("description");
            parameters.push(json!({
                "name": name, "in": "query", "required": required.contains(&json!(name)),
                "description": text.unwrap(), "schema": never_null(schema),
            }));
        }
        operation["parameters"] = Value::from(parameters);
    }
    if let Some(body) = shape.body {
        let schema = schemas.request(body);
        // A body all of whose fields may be left out may be left out too.
        let required = schemas.of_request(&schema).get("required").is_some();
        operation["requestBody"] =
            json!({"required": required, "content": {"application/json": {"schema": schema}}});
    }
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for (status, content) in &shape.answers {
        let text = match status {
            201 => "Made.",
            204 => "Done.",
            _ => "The answer.",
        };
        let response = responses
            .entry(status.to_string())
            .or_insert_with(|| json!({"description": text}));
        match content {
            Content::Empty => {}
            Content::Json(make) => {
                response["content"]["application/json"] = json!({"schema": schemas.answer(*make)});
            }
            // A file has no schema here: its own format is documented elsewhere.
            Content::File(types) => {
                for one in *types {
                    response["content"][one] = json!({});
                }
            }
        }
    }
    let mut by_status: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for code in codes {
        let entry = code.entry();
        let names = by_status.entry(entry.status).or_default();
        if !names.contains(&entry.code) {
            names.push(entry.code);
        }
    }
    for (status, mut names) in by_status {
        names.sort_unstable();
        responses.insert(status.to_string(), schemas.error(status, names));
    }
    operation["responses"] = json!(responses);
}

/// A parameter is there or is not; it is never null.
fn never_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array() {
        let one = types.iter().find(|one| **one != "null").cloned();
        schema["type"] = one.unwrap();
    }
    let one = schema
        .get("anyOf")
        .and_then(Value::as_array)
        .and_then(|any| any.iter().find(|one| one.get("$ref").is_some()).cloned());
    one.unwrap_or(schema)
}

/// `KeyCreate` → `keyCreate`
fn camel(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    [&first.to_ascii_lowercase(), rest].concat()
}

// === errors ===

/// What every endpoint below `/api` may answer.
const EVERYWHERE: [Code; 14] = [
    Code::HouseRestoring,
    Code::AddressDenied,
    Code::NetworkDenied,
    Code::CountryDenied,
    Code::OriginNotAllowed,
    Code::CrossSiteRefused,
    Code::HeadersTooLarge,
    Code::RateLimited,
    Code::AbnormalUsage,
    Code::SetupRequired,
    Code::LimiterUnavailable,
    Code::KeyringUnavailable,
    Code::Overloaded,
    Code::Internal,
];

/// What reading a body may come to.
const BODY: [Code; 8] = [
    Code::InvalidParameter,
    Code::MissingParameter,
    Code::InvalidJson,
    Code::InvalidEncoding,
    Code::DuplicateKey,
    Code::IncompleteBody,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
];

fn codes_of(endpoint: &Endpoint, shape: &Shape) -> Vec<Code> {
    let mut codes = EVERYWHERE.to_vec();
    codes.extend([Code::StorageUnavailable, Code::AuditUnavailable]);
    if endpoint.access != Access::Open {
        codes.push(Code::InvalidCredentials);
    }
    if let Access::Right(action) = endpoint.access {
        codes.push(Code::Forbidden);
        if action.fresh() {
            codes.push(Code::SecondFactorRequired);
        }
    }
    if shape.body.is_some() || !matches!(endpoint.method, "GET" | "DELETE") {
        codes.extend(BODY);
    }
    if shape.query.is_some() {
        codes.extend([Code::InvalidParameter, Code::MissingParameter]);
    }
    if endpoint.path.contains(['{', '*']) {
        codes.push(Code::NotFound);
    }
    codes.extend(match endpoint.call {
        Call::Claim | Call::Join => &[Code::InvalidCredentials, Code::Conflict][..],
        Call::Restore => &[
            Code::InvalidCredentials,
            Code::TooManyAttempts,
            Code::NotFound,
            Code::Conflict,
            Code::SnapshotDamaged,
        ],
        Call::Rewind => &[Code::NotFound, Code::RewindUnavailable],
        Call::SignIn => &[Code::InvalidCredentials, Code::TooManyAttempts],
        Call::Confirm => &[Code::TooManyAttempts],
        Call::OperatorInvite | Call::DocumentRelease => &[Code::Conflict],
        Call::DocumentRemove => &[Code::DocumentKept],
        Call::OperatorChange | Call::OperatorRole | Call::OperatorRemove => {
            &[Code::LastOwner, Code::Conflict]
        }
        Call::LimitSet | Call::LimitClear => &[Code::SecondFactorRequired, Code::Conflict],
        Call::KeyCreate
        | Call::KeyChange
        | Call::KeyRotate
        | Call::KeyRevoke
        | Call::SiteKeyCreate
        | Call::SiteKeyChange
        | Call::SiteKeyRemove
        | Call::VisitorRevoke
        | Call::VisitorsRevokeAll
        | Call::ListsSet
        | Call::BlockAdd
        | Call::BlockRemove
        | Call::BudgetSet
        | Call::FlagSet
        | Call::AlertUndo
        | Call::KeyringRotate
        | Call::KeyringSession
        | Call::KeyringEmergency
        | Call::KeyringDestroy
        | Call::ProviderKeySet
        | Call::ProviderKeyRemove => &[Code::Conflict],
        _ => &[],
    });
    codes
}

// === schemas ===

/// Schemas of what is read and of what is written: in the one a field that may be left out is not required, in the other
/// every field that is always told is.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
    /// Answers that refuse, by status and codes: many endpoints share one.
    errors: BTreeMap<(u16, Vec<&'static str>), Value>,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = SCHEMAS.trim_end_matches('/').into();
                settings.meta_schema = None;
            })
        };
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
            errors: BTreeMap::new(),
        }
    }
}

impl Schemas {
    fn request(&mut self, make: Make) -> Value {
        cleaned(make(&mut self.read))
    }

    fn answer(&mut self, make: Make) -> Value {
        cleaned(make(&mut self.written))
    }

    /// What a reference of a request names.
    fn of_request(&self, reference: &Value) -> &Value {
        let name = reference["$ref"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap();
        &self.read.definitions()[name]
    }

    /// A reference to an answer that refuses with one of these codes.
    fn error(&mut self, status: u16, codes: Vec<&'static str>) -> Value {
        let schema = self.answer(problem());
        let before = self
            .errors
            .keys()
            .filter(|(known, _)| *known == status)
            .count();
        let reference = format!("{RESPONSES}{status}-{}", before + 1);
        let response = json!({
            "description": codes.join(", "),
            "content": {"application/problem+json": {"schema": schema}},
            "x-gatehouse-codes": codes,
        });
        let known = self
            .errors
            .entry((status, codes))
            .or_insert_with(|| json!({"reference": reference, "response": response}));
        json!({"$ref": (["#", known["reference"].as_str().unwrap()].concat())})
    }

    /// The answers that [`Schemas::error`] referred to, by name.
    fn refusals(&self) -> BTreeMap<String, Value> {
        let all = self.errors.values();
        all.map(|known| {
            let name = known["reference"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap();
            (name.to_owned(), known["response"].clone())
        })
        .collect()
    }

    /// A schema's own text; it does not stand among the others.
    fn alone(&mut self, make: Make) -> Value {
        let reference = cleaned(make(&mut self.read));
        let name = reference["$ref"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap();
        let schema = self.read.definitions_mut().shift_remove(name);
        // A second endpoint may ask for the same.
        cleaned(schema.unwrap_or_else(|| panic!("{name} is asked for twice")))
    }

    fn whole(mut self) -> Value {
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        let read = self.read.take_definitions(true).into_iter();
        let written = self.written.take_definitions(true).into_iter();
        // What is both read and written stands here as it is read: fields that may be left out are not required.
        for (name, schema) in written.chain(read) {
            all.insert(name, cleaned(schema));
        }
        json!(all)
    }
}

/// Without `default`, which says what a program's type holds and not what leaving the field out means.
fn cleaned(schema: impl Into<Value>) -> Value {
    fn walk(value: &mut Value, is_schema: bool) {
        match value {
            Value::Object(fields) => {
                if is_schema {
                    fields.shift_remove("default");
                }
                for (name, value) in fields.iter_mut() {
                    walk(value, name != "properties" || !is_schema);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, true)),
            _ => {}
        }
    }
    let mut schema = schema.into();
    walk(&mut schema, true);
    schema
}

const _: fn(Schema) -> Value = Value::from;
