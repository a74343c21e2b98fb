//! docs/openapi.json is what the code says: made from the table of endpoints and from types, and held against what the
//! handlers really take and tell.
//!
//! `GATEHOUSE_WRITE=1 cargo test --features schema --test stories openapi` writes it.

mod document;
mod schema;
mod story;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gatehouse::domain::admin::ENDPOINTS;
use gatehouse::domain::identity::roles::markdown;
use gatehouse::domain::route::{FileAspect, Route, StoreRoute, route};
use serde_json::Value;

use document::{PLAIN, document, path_of};

const COMMAND: &str = "GATEHOUSE_WRITE=1 cargo test --features schema --test stories openapi";

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_default()
}

#[test]
fn the_file_is_what_the_code_says() {
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("GATEHOUSE_WRITE").is_some() {
        fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json"),
            &text,
        )
        .unwrap();
    }
    assert!(
        read("docs/openapi.json") == text,
        "docs/openapi.json is not what the code says. Write it anew: {COMMAND}"
    );
}

/// Every object within a value, with the name under which it stands.
fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
    match value {
        Value::Object(fields) => {
            found.push(fields);
            fields.values().for_each(|value| objects(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| objects(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    let mut all = Vec::new();
    objects(&document, &mut all);
    let mut used = BTreeSet::new();
    for reference in all.iter().filter_map(|object| object.get("$ref")) {
        let reference = reference.as_str().unwrap();
        schema::resolve(&document, reference);
        if !reference.starts_with("#/components/schemas/") {
            continue;
        }
        used.insert(reference.rsplit('/').next().unwrap().to_owned());
    }
    let schemas: BTreeSet<String> = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(schemas, used);
    assert!(schemas.len() > 50);
}

/// Every operation: path, method and itself.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods
                .iter()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

#[test]
fn operations_have_ids_of_their_own_parameters_for_every_place_and_known_schemes() {
    let document = document();
    let all = operations(&document);
    let ids: BTreeSet<&str> = all
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), all.len());
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    let tags: Vec<&Value> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    for (path, method, operation) in all {
        let places: BTreeSet<&str> = path
            .split('{')
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap())
            .collect();
        let parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let named: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(places, named, "{method} {path}");
        for one in operation["security"].as_array().unwrap() {
            for scheme in one.as_object().unwrap().keys() {
                assert!(schemes.contains_key(scheme), "{method} {path}: {scheme}");
            }
        }
        assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
        assert!(!operation["responses"].as_object().unwrap().is_empty());
    }
}

#[test]
fn every_endpoint_of_operators_is_there_with_its_right() {
    let document = document();
    let below: Vec<_> = operations(&document)
        .into_iter()
        .filter(|(path, ..)| path.starts_with("/api/admin"))
        .collect();
    assert_eq!(below.len(), ENDPOINTS.len());
    for endpoint in ENDPOINTS {
        let operation = &document["paths"][path_of(endpoint)][endpoint.method.to_ascii_lowercase()];
        assert_eq!(operation["summary"], endpoint.text);
        match endpoint.access {
            gatehouse::domain::admin::Access::Right(action) => {
                assert_eq!(operation["x-gatehouse-right"], action.name());
                assert_eq!(operation["x-gatehouse-fresh"], action.fresh());
            }
            _ => assert!(operation.get("x-gatehouse-right").is_none()),
        }
    }
}

/// A number for every route but those that have no operation of their own. A new route has to be numbered, and then to be
/// put into the list of the file.
fn number(route: &Route) -> Option<usize> {
    Some(match route {
        Route::Health => 0,
        Route::Ready => 1,
        Route::Ask => 2,
        Route::Models => 3,
        Route::Model(_) => 4,
        Route::ChatCompletions => 5,
        Route::Messages => 6,
        Route::CountTokens => 7,
        Route::Responses => 8,
        Route::AnswerGet(protocol, _) => 9 + *protocol as usize,
        Route::AnswerCancel(protocol, _) => 12 + *protocol as usize,
        Route::AnswerDelete(protocol, _) => 15 + *protocol as usize,
        Route::InputItems(_) => 18,
        Route::Embeddings => 19,
        Route::Moderations => 20,
        Route::Images(path) => match *path {
            "/v1/images/generations" => 21,
            "/v1/images/edits" => 22,
            _ => 23,
        },
        Route::Audio(path) => match *path {
            "/v1/audio/speech" => 24,
            "/v1/audio/transcriptions" => 25,
            _ => 26,
        },
        Route::FilesList => 27,
        Route::FilesCreate => 28,
        Route::FileGet(_) => 29,
        Route::FileContent(_) => 30,
        Route::FileDelete(_) => 31,
        Route::SessionCreate => 32,
        Route::SessionTerms => 33,
        Route::SessionEnd => 34,
        Route::Me => 35,
        Route::MeUsage => 36,
        Route::MeExport => 37,
        Route::MeErase => 38,
        Route::UploadCreate => 39,
        Route::UploadGet(_) => 40,
        Route::UploadPart(_) => 41,
        Route::UploadParts(_) => 42,
        Route::UploadComplete(_) => 43,
        Route::UploadCancel(_) => 44,
        Route::FileAspect(_, aspect) => match aspect {
            FileAspect::Update => 45,
            FileAspect::NewVersion => 46,
            FileAspect::Versions => 47,
            FileAspect::DeleteVersion(_) => 48,
            FileAspect::Shares => 49,
            FileAspect::Share => 50,
            FileAspect::Unshare(_) => 51,
            FileAspect::Comments => 52,
            FileAspect::Comment => 53,
            FileAspect::DeleteComment(_) => 54,
            FileAspect::Scan => 71,
        },
        Route::Shared => 55,
        Route::LinkGet(_) => 56,
        Route::LinkContent(_) => 57,
        Route::ConversationsList => 58,
        Route::ConversationCreate => 59,
        Route::ConversationGet(_) => 60,
        Route::ConversationUpdate(_) => 61,
        Route::ConversationDelete(_) => 62,
        Route::ConversationExport(_) => 63,
        Route::ItemsList(_) => 64,
        Route::ItemsCreate(_) => 65,
        Route::ItemGet(..) => 66,
        Route::ItemDelete(..) => 67,
        Route::MemoriesList => 68,
        Route::MemoryCreate => 69,
        Route::MemoryDelete(_) => 70,
        Route::Stores(route) => match route {
            StoreRoute::List => 72,
            StoreRoute::Create => 73,
            StoreRoute::Get(_) => 74,
            StoreRoute::Update(_) => 75,
            StoreRoute::Delete(_) => 76,
            StoreRoute::Search(_) => 77,
            StoreRoute::Files(_) => 78,
            StoreRoute::FileAdd(_) => 79,
            StoreRoute::FileGet(..) => 80,
            StoreRoute::FileUpdate(..) => 81,
            StoreRoute::FileDelete(..) => 82,
            StoreRoute::FileContent(..) => 83,
            StoreRoute::BatchCreate(_) => 84,
            StoreRoute::BatchGet(..) => 85,
            StoreRoute::BatchCancel(..) => 86,
            StoreRoute::BatchFiles(..) => 87,
        },
        Route::Admin(_) | Route::AdminPage(_) | Route::Preflight => return None,
    })
}

#[test]
fn every_other_route_is_there() {
    let mut found = BTreeSet::new();
    for plain in PLAIN {
        let parts = plain
            .path
            .split('/')
            .map(|part| match part.strip_prefix('{') {
                Some(_) => "x",
                None => part,
            });
        let path = parts.collect::<Vec<_>>().join("/");
        let route =
            route(plain.method, &path).unwrap_or_else(|_| panic!("{} {path}", plain.method));
        assert_eq!(route.label(), plain.path);
        assert!(found.insert(number(&route).unwrap()), "{path} stands twice");
    }
    assert_eq!(found, (0..88).collect());
}

#[test]
fn the_table_of_roles_in_the_docs_is_the_one_that_is_checked() {
    let docs = read("docs/operators.md");
    assert!(
        docs.contains(&markdown()),
        "docs/operators.md should hold this table:\n{}",
        markdown()
    );
}

/// `curl` lines of a page: method, path, body.
fn commands(page: &str) -> Vec<(String, String, Option<Value>)> {
    let text = read(page);
    let lines = text.lines().filter(|line| line.starts_with("curl "));
    lines
        .map(|line| {
            let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
            let method = after("-X ").map_or("GET", |rest| rest.split(' ').next().unwrap());
            let path = after("http://localhost:8787").unwrap();
            let path = path.split([' ', '\'']).next().unwrap();
            let body = after("-d '").map(|rest| {
                let body = rest.split('\'').next().unwrap();
                serde_json::from_str(body).unwrap_or_else(|_| panic!("{page}: {line}"))
            });
            (method.to_owned(), path.to_owned(), body)
        })
        .collect()
}

#[test]
fn a_body_has_the_fields_that_the_endpoint_reads_and_no_other() {
    let document = document();
    for endpoint in ENDPOINTS {
        let operation = &document["paths"][path_of(endpoint)][endpoint.method.to_ascii_lowercase()];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let place = format!("{} {}", endpoint.method, endpoint.path);
        let Some(reference) = schema["$ref"].as_str() else {
            assert!(endpoint.call.fields().is_empty(), "{place}");
            continue;
        };
        let schema = document.pointer(&reference[1..]).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{place}");
        let told: BTreeSet<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let read: BTreeSet<&str> = endpoint.call.fields().iter().copied().collect();
        assert_eq!(told, read, "{place}");
    }
}

#[test]
fn every_command_of_the_docs_is_a_request_that_the_file_knows() {
    let document = document();
    let mut seen = 0;
    for page in ["docs/operators.md", "docs/signing.md"] {
        for (method, address, body) in commands(page) {
            let (path, query) = address.split_once('?').unwrap_or((&address, ""));
            let Some(below) = path.strip_prefix("/api/admin") else {
                route(&method, path).unwrap_or_else(|_| panic!("{page}: {method} {path}"));
                continue;
            };
            let found = gatehouse::domain::admin::find(&method, below)
                .unwrap_or_else(|_| panic!("{page}: {method} {path}"));
            let template = path_of(found.endpoint);
            let operation = &document["paths"][template][method.to_ascii_lowercase()];
            let wanted = &operation["requestBody"]["content"]["application/json"]["schema"];
            match &body {
                Some(body) => {
                    let faults = schema::Schemas::of(&document, true).faults(wanted, body);
                    assert!(
                        faults.is_empty(),
                        "{page}: {method} {path} {body}: {faults:?}"
                    );
                }
                None => assert_ne!(
                    operation["requestBody"]["required"], true,
                    "{page}: {method} {path} takes a body"
                ),
            }
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let name = pair.split('=').next().unwrap();
                let mut parameters = operation["parameters"].as_array().into_iter().flatten();
                assert!(
                    parameters.any(|one| one["name"] == name),
                    "{page}: {address}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 25, "{seen}");
}
