//! The Vector Stores API.

use gatehouse::app::port::Class;
use gatehouse::domain::retrieval::store::near::EXACT_UP_TO;
use serde_json::{Value, json};

use super::{CANARY, GUIDE, Somebody, content_rows, fails, reading, says, secs, stored};
use crate::support::fake_port::{FakePort, Fault, When};
use crate::support::run::settle;

#[test]
fn a_store_is_its_owners_alone_from_its_beginning_to_its_end() {
    let port = reading(|_| {});
    port.evict_always();
    let (mut ann, mut bob) = (Somebody::default(), Somebody::default());
    let body = json!({"name": "Guide", "metadata": {"team": "blue"}, "expires_after": {"anchor": "last_active_at", "days": 7}});
    let made = ann.done(&port, "POST", "/v1/vector_stores", body);
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["object"], "vector_store");
    assert_eq!(
        (&made["name"], &made["metadata"]["team"]),
        (&json!("Guide"), &json!("blue"))
    );
    assert_eq!(made["expires_after"]["days"], 7);
    assert_eq!(made["file_counts"]["total"], 0);
    let file = ann.uploads(&port, "guide.txt", GUIDE);
    let added = ann.adds(&port, &id, &file);
    assert_eq!(
        (&added["status"], &added["last_error"]),
        (&json!("completed"), &Value::Null)
    );
    assert_eq!(
        added["chunking_strategy"]["static"]["max_chunk_size_tokens"],
        800
    );
    let path = format!("/v1/vector_stores/{id}");
    let now = ann.get(&port, &path);
    assert_eq!(
        (&now["status"], &now["file_counts"]["completed"]),
        (&json!("completed"), &json!(1))
    );
    assert!(now["usage_bytes"].as_u64().unwrap() > 100);
    // Somebody else's is as one that never was.
    bob.makes(&port, json!({}));
    for (method, tail, body) in [
        ("GET", String::new(), Value::Null),
        ("POST", String::new(), json!({"name": "Mine"})),
        ("DELETE", String::new(), Value::Null),
        ("POST", "/search".into(), json!({"query": "cache"})),
        ("GET", "/files".into(), Value::Null),
        ("POST", "/files".into(), json!({"file_id": file})),
        ("GET", format!("/files/{file}"), Value::Null),
        ("POST", format!("/files/{file}"), json!({"attributes": {}})),
        ("DELETE", format!("/files/{file}"), Value::Null),
        ("GET", format!("/files/{file}/content"), Value::Null),
        ("POST", "/file_batches".into(), json!({"file_ids": [file]})),
        (
            "GET",
            format!("/file_batches/vsfb_{}", "0".repeat(32)),
            Value::Null,
        ),
        (
            "POST",
            format!("/file_batches/vsfb_{}/cancel", "0".repeat(32)),
            Value::Null,
        ),
        (
            "GET",
            format!("/file_batches/vsfb_{}/files", "0".repeat(32)),
            Value::Null,
        ),
    ] {
        for other in [&mut bob, &mut Somebody::default()] {
            let told = other.ask(
                &port,
                method,
                &[&path, tail.as_str()].concat(),
                body.clone(),
            );
            fails(&told, 404, "vector_store_not_found");
        }
    }
    // Nor may a document be added that one may not read.
    let own = bob.makes(&port, json!({}));
    let told = bob.ask(
        &port,
        "POST",
        &format!("/v1/vector_stores/{own}/files"),
        json!({"file_id": file}),
    );
    fails(&told, 404, "document_not_found");
    // A page of another site reaches none of it.
    let mut foreign = ann.clone();
    foreign.origin = Some("https://other.example");
    assert_eq!(foreign.ask(&port, "GET", &path, Value::Null).status, 403);
    // Renamed, listed, deleted.
    let body = json!({"name": "Rain", "expires_after": null});
    let renamed = ann.done(&port, "POST", &path, body);
    assert_eq!(
        (&renamed["name"], &renamed["expires_after"]),
        (&json!("Rain"), &Value::Null)
    );
    assert_eq!(renamed["metadata"]["team"], "blue");
    port.pass(secs(1));
    let second = ann.makes(&port, json!({"name": "Second"}));
    let listed = ann.get(&port, "/v1/vector_stores?order=asc&limit=1");
    assert_eq!(
        (&listed["data"][0]["id"], &listed["has_more"]),
        (&json!(id), &json!(true))
    );
    let rest = ann.get(&port, &format!("/v1/vector_stores?order=asc&after={id}"));
    assert_eq!(rest["data"][0]["id"], json!(second));
    let exported = ann.get(&port, "/api/me/export");
    assert_eq!(exported["vector_stores"].as_array().unwrap().len(), 2);
    let gone = ann.done(&port, "DELETE", &path, Value::Null);
    assert_eq!(
        gone,
        json!({"id": id, "object": "vector_store.deleted", "deleted": true})
    );
    fails(
        &ann.ask(&port, "GET", &path, Value::Null),
        404,
        "vector_store_not_found",
    );
    assert_eq!(content_rows(&port), 0);
}

#[test]
fn files_are_found_by_what_they_say_and_by_what_is_noted_of_them() {
    let port = reading(|_| {});
    let mut ann = Somebody::default();
    let store = ann.makes(&port, json!({}));
    let path = format!("/v1/vector_stores/{store}");
    let texts = [
        (
            "clouds.txt",
            "Clouds are made of small drops of water.",
            2023,
        ),
        (
            "rain.txt",
            "Rain falls out of clouds when the drops grow heavy.",
            2024,
        ),
        (
            "sun.txt",
            "The sun warms the sea, from which water rises.",
            2025,
        ),
    ];
    let mut ids = Vec::new();
    for (name, text, year) in texts {
        let file = ann.uploads(&port, name, text);
        let body = json!({"file_id": file, "attributes": {"year": year}, "chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}});
        let added = ann.done(&port, "POST", &format!("{path}/files"), body);
        assert_eq!(added["attributes"]["year"], year);
        assert_eq!(
            added["chunking_strategy"]["static"]["max_chunk_size_tokens"],
            100
        );
        ids.push(file);
    }
    assert_eq!(ann.finds(&port, &store, "When does rain fall?")[0], ids[1]);
    assert_eq!(ann.finds(&port, &store, "sun")[0], ids[2]);
    assert_eq!(ann.finds(&port, &store, "volcano"), [""; 0]);
    let both = ann.searches(
        &port,
        &store,
        json!({"query": "clouds", "max_num_results": 1}),
    );
    assert_eq!(both.len(), 1);
    let two = ann.searches(&port, &store, json!({"query": ["sun", "rain"]}));
    assert!(two.len() >= 2, "{two:?}");
    let hit = &ann.searches(&port, &store, json!({"query": "rain"}))[0];
    assert_eq!(
        (&hit["filename"], &hit["attributes"]["year"]),
        (&json!("rain.txt"), &json!(2024))
    );
    assert_eq!(
        hit["content"][0],
        json!({"type": "text", "text": texts[1].1})
    );
    assert!((0.0..=1.0).contains(&hit["score"].as_f64().unwrap()));
    for (filters, expected) in [
        (
            json!({"type": "gte", "key": "year", "value": 2024}),
            vec![&ids[1]],
        ),
        (json!({"type": "eq", "key": "year", "value": 2025}), vec![]),
        (
            json!({"type": "or", "filters": [{"type": "eq", "key": "year", "value": 2023}, {"type": "in", "key": "year", "value": [2025]}]}),
            vec![&ids[0]],
        ),
    ] {
        let found = ann.searches(
            &port,
            &store,
            json!({"query": "clouds", "filters": filters}),
        );
        let found: Vec<&str> = found
            .iter()
            .map(|hit| hit["file_id"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected);
    }
    let strict = json!({"query": "clouds", "ranking_options": {"score_threshold": 1.0}});
    assert_eq!(ann.searches(&port, &store, strict), Vec::<Value>::new());
    let plain = json!({"query": "clouds", "ranking_options": {"ranker": "none"}});
    assert_eq!(ann.searches(&port, &store, plain)[0]["score"], 1.0);
    // Labels change, pages turn, a file goes.
    let one = format!("{path}/files/{}", ids[0]);
    let changed = ann.done(&port, "POST", &one, json!({"attributes": {"year": 2030}}));
    assert_eq!(changed["attributes"], json!({"year": 2030}));
    let late = json!({"query": "clouds", "filters": {"type": "gt", "key": "year", "value": 2029}});
    assert_eq!(
        ann.searches(&port, &store, late)[0]["file_id"],
        json!(ids[0])
    );
    let page = ann.get(
        &port,
        &format!("{path}/files?order=asc&limit=2&filter=completed"),
    );
    assert_eq!(
        (&page["data"][1]["id"], &page["has_more"]),
        (&json!(ids[1]), &json!(true))
    );
    let before = ann.get(&port, &format!("{path}/files?order=asc&before={}", ids[1]));
    assert_eq!(before["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        ann.get(&port, &format!("{path}/files?filter=failed"))["data"],
        json!([])
    );
    let content = ann.get(&port, &format!("{one}/content"));
    assert_eq!(content["data"][0]["text"], texts[0].1);
    let gone = ann.done(&port, "DELETE", &one, Value::Null);
    assert_eq!(gone["object"], "vector_store.file.deleted");
    assert!(!ann.finds(&port, &store, "clouds").contains(&ids[0]));
    fails(
        &ann.ask(&port, "GET", &one, Value::Null),
        404,
        "vector_store_not_found",
    );
    for (tail, body, param) in [
        ("/search", json!({}), "query"),
        (
            "/search",
            json!({"query": "x", "max_num_results": 51}),
            "max_num_results",
        ),
        (
            "/search",
            json!({"query": "x", "filters": {"type": "like"}}),
            "filters.type",
        ),
        ("/files", json!({}), "file_id"),
        (
            "/files",
            json!({"file_id": ids[1], "attributes": {"a": null}}),
            "attributes",
        ),
        (
            "/file_batches",
            json!({"file_ids": [ids[1], ids[1]]}),
            "file_ids",
        ),
    ] {
        let told = ann.ask(&port, "POST", &[path.as_str(), tail].concat(), body);
        assert_eq!(
            (told.status, &told.json()["error"]["param"]),
            (400, &json!(param)),
            "{}",
            told.text()
        );
    }
}

#[test]
fn a_pdf_is_found_by_the_words_of_its_pages() {
    let port = reading(|_| {});
    let mut ann = Somebody::default();
    let printed = include_bytes!("../../fixtures/documents/printed.pdf");
    let file = ann.uploads(&port, "rules.pdf", printed);
    let store = ann.makes(&port, json!({}));
    let told = ann.adds(&port, &store, &file);
    assert_eq!(told["status"], "completed", "{told}");
    for question in [
        "How many requests does the limiter admit?",
        "密钥由谁保管？",
    ] {
        assert_eq!(
            ann.finds(&port, &store, question).first(),
            Some(&file),
            "{question}"
        );
    }
    let path = format!("/v1/vector_stores/{store}/files/{file}/content");
    let passages = ann.get(&port, &path)["data"].clone();
    assert_eq!(passages[0]["anchor"], "page 1", "{passages}");
    // One that no key here opens.
    let locked = "%PDF-1.7\ntrailer <</Root 1 0 R /Encrypt 2 0 R>>\n%%EOF";
    let file = ann.uploads(&port, "locked.pdf", locked);
    let error = &ann.adds(&port, &store, &file)["last_error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("invalid_file"), &json!("It is encrypted."))
    );
}

#[test]
fn what_cannot_be_read_says_why_and_is_not_found() {
    let port = reading(|config| config.retrieval.max_document_bytes = 200);
    let mut ann = Somebody::default();
    let store = ann.makes(&port, json!({}));
    for (text, code) in [
        ("   \n ", "invalid_file"),
        (&*"long ".repeat(50), "invalid_file"),
    ] {
        let file = ann.uploads(&port, "odd.txt", text);
        let told = ann.adds(&port, &store, &file);
        assert_eq!(
            (&told["status"], &told["last_error"]["code"]),
            (&json!("failed"), &json!(code)),
            "{told}"
        );
    }
    let counts = ann.get(&port, &format!("/v1/vector_stores/{store}"))["file_counts"].clone();
    assert_eq!(
        (&counts["failed"], &counts["total"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(content_rows(&port), 0);
}

#[test]
fn files_of_a_batch_are_read_behind_the_answer() {
    let port = reading(|_| {});
    let mut ann = Somebody::default();
    let store = ann.makes(&port, json!({}));
    let path = format!("/v1/vector_stores/{store}/file_batches");
    let one = ann.uploads(&port, "one.txt", "The first is about tea.");
    let two = ann.uploads(&port, "two.txt", "The second is about coffee.");
    let body = json!({"files": [{"file_id": one, "attributes": {"n": 1}}, {"file_id": two}]});
    let made = ann.done(&port, "POST", &path, body);
    assert_eq!(
        (&made["status"], &made["file_counts"]["in_progress"]),
        (&json!("in_progress"), &json!(2))
    );
    let id = made["id"].as_str().unwrap();
    let now = ann.get(&port, &format!("{path}/{id}"));
    assert_eq!(
        (&now["status"], &now["file_counts"]["completed"]),
        (&json!("completed"), &json!(2))
    );
    let files = ann.get(&port, &format!("{path}/{id}/files?filter=completed"));
    assert_eq!(files["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        ann.finds(&port, &store, "coffee"),
        std::slice::from_ref(&two)
    );
    // A store can be made with files too.
    let other = ann.done(
        &port,
        "POST",
        "/v1/vector_stores",
        json!({"file_ids": [one, two]}),
    );
    assert_eq!(other["status"], "in_progress");
    assert_eq!(
        ann.finds(&port, other["id"].as_str().unwrap(), "tea"),
        [one]
    );
    // Given up when it is done, it stays done; its name is told for a day.
    let late = ann.done(&port, "POST", &format!("{path}/{id}/cancel"), json!({}));
    assert_eq!(
        (&late["status"], &late["file_counts"]["completed"]),
        (&json!("cancelled"), &json!(2))
    );
    let missing = ann.ask(
        &port,
        "POST",
        &path,
        json!({"file_ids": [two, format!("file_{}", "0".repeat(32))]}),
    );
    fails(&missing, 404, "document_not_found");
    fails(
        &ann.ask(&port, "POST", &path, json!({"file_ids": []})),
        400,
        "missing_parameter",
    );
}

#[test]
fn limits_are_exact_and_say_which_they_are() {
    let port = reading(|config| {
        config.retrieval.max_stores = 1;
        config.retrieval.max_files = 2;
        config.retrieval.max_passages = 3;
    });
    let mut ann = Somebody::default();
    let store = ann.makes(&port, json!({}));
    let told = ann.ask(&port, "POST", "/v1/vector_stores", json!({}));
    fails(&told, 403, "retrieval_full");
    let long: String = (0..400)
        .map(|n| format!("Sentence number {n} says something. "))
        .collect();
    let file = ann.uploads(&port, "long.txt", &long);
    let told = ann.adds(&port, &store, &file);
    assert_eq!(
        (&told["status"], &told["last_error"]["code"]),
        (&json!("failed"), &json!("invalid_file"))
    );
    assert_eq!(
        content_rows(&port),
        0,
        "nothing is left of what did not fit"
    );
    let short = ann.uploads(&port, "short.txt", "Short.");
    assert_eq!(ann.adds(&port, &store, &short)["status"], "completed");
    let third = ann.uploads(&port, "third.txt", "Third.");
    let told = ann.ask(
        &port,
        "POST",
        &format!("/v1/vector_stores/{store}/files"),
        json!({"file_id": third}),
    );
    fails(&told, 403, "retrieval_full");
    // The same once more takes no more room.
    assert_eq!(ann.adds(&port, &store, &short)["status"], "completed");
}

#[test]
fn a_store_that_nobody_uses_goes_and_its_last_takes_the_key_along() {
    let port = reading(|config| config.retrieval.ttl_seconds = 3600);
    let mut ann = Somebody::default();
    let (store, _) = ann.keeps_a_guide(&port, GUIDE);
    port.pass(secs(3000));
    assert_eq!(ann.finds(&port, &store, "cache").len(), 1, "it is used");
    port.pass(secs(3000));
    assert_eq!(ann.finds(&port, &store, "cache").len(), 1);
    port.pass(secs(3700));
    let told = ann.ask(
        &port,
        "GET",
        &format!("/v1/vector_stores/{store}"),
        Value::Null,
    );
    fails(&told, 404, "vector_store_not_found");
    assert!(port.many_rows(Class::Stores).is_empty());
    assert!(!port.has_idle_alarm());
}

#[test]
fn wherever_it_breaks_a_file_is_found_whole_or_not_at_all() {
    let steps = {
        let port = embedding(|_| {});
        let mut ann = Somebody::default();
        let file = ann.uploads(&port, "guide.txt", GUIDE);
        let store = ann.makes(&port, json!({}));
        port.heal();
        ann.adds(&port, &store, &file);
        port.calls().len()
    };
    assert!(steps > 6, "{steps}");
    for when in [When::Before, When::After] {
        for first in 0..steps {
            for count in [1, usize::MAX] {
                broken_at(first, count, when);
            }
        }
    }
}

fn broken_at(first: usize, count: usize, when: When) {
    let what = format!("{when:?} {first}, {count} times");
    let port: FakePort = embedding(|_| {});
    let mut ann = Somebody::default();
    let file = ann.uploads(&port, "guide.txt", GUIDE);
    let store = ann.makes(&port, json!({}));
    let path = format!("/v1/vector_stores/{store}/files");
    port.fail([Fault {
        op: None,
        first,
        count,
        when,
    }]);
    let told = ann.ask(&port, "POST", &path, json!({"file_id": file}));
    port.heal();
    port.evict_always();
    settle();
    let search = |ann: &mut Somebody| ann.finds(&port, &store, CANARY).len();
    let found = search(&mut ann);
    let listed = ann.get(&port, &path)["data"].clone();
    let done = listed[0]["status"] == "completed";
    assert_eq!(found, usize::from(done), "{what}: {listed} {}", told.text());
    // What was never finished is ended by the object itself.
    port.pass(secs(700));
    let listed = ann.get(&port, &path)["data"].clone();
    let status = listed[0]["status"].as_str().unwrap_or("none").to_owned();
    assert!(
        ["completed", "failed", "none"].contains(&&*status),
        "{what}: {listed}"
    );
    assert_eq!(content_rows(&port) > 0, status == "completed", "{what}");
    // And it can be added once more.
    assert_eq!(
        ann.adds(&port, &store, &file)["status"],
        "completed",
        "{what}"
    );
    assert_eq!(search(&mut ann), 1, "{what}");
}

#[test]
fn what_is_erased_is_nowhere_any_more_and_what_is_kept_is_nowhere_in_clear() {
    let port = reading(|_| {});
    let mut ann = Somebody::default();
    let (store, file) = ann.keeps_a_guide(&port, GUIDE);
    let body = json!({"name": CANARY, "metadata": {"a": CANARY}});
    ann.done(&port, "POST", &format!("/v1/vector_stores/{store}"), body);
    let path = format!("/v1/vector_stores/{store}/files/{file}");
    ann.done(&port, "POST", &path, json!({"attributes": {"a": CANARY}}));
    for (place, value) in stored(&port) {
        assert!(!says(&value, CANARY) && !place.contains(CANARY), "{place}");
    }
    assert!(content_rows(&port) > 0);
    // The document goes, and at once all that was made of it.
    ann.done(&port, "DELETE", &format!("/v1/files/{file}"), Value::Null);
    assert_eq!(content_rows(&port), 0);
    assert_eq!(ann.finds(&port, &store, CANARY), [""; 0]);
    fails(
        &ann.ask(&port, "GET", &path, Value::Null),
        404,
        "vector_store_not_found",
    );
    // The visitor goes, and the key with them.
    let file = ann.uploads(&port, "again.txt", GUIDE);
    ann.adds(&port, &store, &file);
    assert!(content_rows(&port) > 0);
    ann.done(&port, "POST", "/api/me/erase", json!({}));
    assert!(port.many_rows(Class::Stores).is_empty());
}

#[test]
fn only_what_may_be_read_now_is_found() {
    let port = reading(|_| {});
    let (mut ann, mut bob) = (Somebody::default(), Somebody::default());
    let file = ann.uploads(&port, "guide.txt", GUIDE);
    let store = bob.makes(&port, json!({}));
    let bob_id = bob.get(&port, "/api/me")["id"].clone();
    let shares = format!("/v1/files/{file}/shares");
    let share = json!({"with": "principal", "id": bob_id});
    let shared = ann.ask(&port, "POST", &shares, share.clone());
    assert!(shared.status < 300, "{}", shared.text());
    let share_id = shared.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(bob.adds(&port, &store, &file)["status"], "completed");
    assert_eq!(
        bob.finds(&port, &store, "limiter"),
        std::slice::from_ref(&file)
    );
    // No longer shared: not found, and its passages are gone.
    ann.ask(
        &port,
        "DELETE",
        &format!("{shares}/{share_id}"),
        Value::Null,
    );
    assert_eq!(bob.finds(&port, &store, "limiter"), [""; 0]);
    assert_eq!(content_rows(&port), 0);
    let path = format!("/v1/vector_stores/{store}/files/{file}");
    let told = bob.get(&port, &path);
    assert_eq!(
        (&told["status"], &told["last_error"]["code"]),
        (&json!("failed"), &json!("invalid_file"))
    );
    fails(
        &bob.ask(&port, "GET", &format!("{path}/content"), Value::Null),
        404,
        "vector_store_not_found",
    );
    // Another version: what was read of the one before is not found either.
    ann.ask(&port, "POST", &shares, share);
    assert_eq!(bob.adds(&port, &store, &file)["status"], "completed");
    assert_eq!(
        bob.finds(&port, &store, "limiter"),
        std::slice::from_ref(&file)
    );
    ann.uploads_to(
        &port,
        &format!("/v1/files/{file}/content"),
        "guide.txt",
        "Now it is about whales.",
    );
    assert_eq!(bob.finds(&port, &store, "limiter"), [""; 0]);
    assert_eq!(bob.adds(&port, &store, &file)["status"], "completed");
    assert_eq!(
        bob.finds(&port, &store, "whales"),
        std::slice::from_ref(&file)
    );
    // The owner deletes it: bob's store finds it no more.
    ann.done(&port, "DELETE", &format!("/v1/files/{file}"), Value::Null);
    assert_eq!(bob.finds(&port, &store, "whales"), [""; 0]);
    assert_eq!(content_rows(&port), 0);
}

/// A house whose provider embeds by what a text is about, whatever its words.
fn embedding(change: impl FnOnce(&mut gatehouse::domain::settings::config::Config)) -> FakePort {
    let port = reading(|config| {
        let mut embed = config.aliases[0].clone();
        embed.name = "embed".into();
        embed.serves = gatehouse::domain::settings::config::Serves::Embeddings;
        embed.system = None;
        embed.targets[0].model = Some("numbers".into());
        config.aliases.push(embed);
        config.retrieval.embeddings = Some("embed".into());
        config.retrieval.dimensions = 16;
        change(config);
    });
    port.provider_that("numbers", |sent| {
        let asked = sent.json();
        assert_eq!(asked["dimensions"], 16);
        let texts = match &asked["input"] {
            Value::Array(texts) => texts.clone(),
            one => vec![one.clone()],
        };
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let text = text.as_str().unwrap();
                let about = |words: &[&str]| words.iter().any(|word| text.contains(word));
                let mut numbers = vec![0.01; 16];
                for (at, words) in [&["dog", "puppy"][..], &["car", "vehicle"], &["rain"]]
                    .iter()
                    .enumerate()
                {
                    numbers[at] = if about(words) { 1.0 } else { 0.0 };
                }
                json!({"object": "embedding", "index": index, "embedding": numbers})
            })
            .collect();
        let usage = json!({"prompt_tokens": 5, "total_tokens": 5});
        let whole = json!({"object": "list", "data": data, "model": "numbers", "usage": usage});
        crate::support::upstream::Scripted::json(200, &whole)
    });
    port
}

#[test]
fn what_is_said_in_other_words_is_found_by_its_embedding() {
    let port = embedding(|_| {});
    port.evict_always();
    let mut ann = Somebody::default();
    let store = ann.makes(&port, json!({}));
    let mut ids = Vec::new();
    for (name, text) in [
        ("dog.txt", "A puppy sleeps a lot."),
        ("car.txt", "The vehicle is in the yard."),
        ("rain.txt", "It will rain tomorrow in the yard."),
    ] {
        let file = ann.uploads(&port, name, text);
        assert_eq!(ann.adds(&port, &store, &file)["status"], "completed");
        ids.push(file);
    }
    // No word of the question is in the text.
    assert_eq!(ann.finds(&port, &store, "Which dog?")[0], ids[0]);
    assert_eq!(ann.finds(&port, &store, "my car")[0], ids[1]);
    // Words and embeddings together.
    assert_eq!(ann.finds(&port, &store, "yard vehicle")[0], ids[1]);
    let weights = |words: f64, embeddings: f64| json!({"query": "dog yard", "ranking_options": {"ranker": "none", "hybrid_search": {"text_weight": words, "embedding_weight": embeddings}}});
    let by_meaning = ann.searches(&port, &store, weights(0.0, 1.0));
    assert_eq!(by_meaning[0]["file_id"], json!(ids[0]));
    let by_words = ann.searches(&port, &store, weights(1.0, 0.0));
    assert!(by_words.iter().all(|hit| hit["file_id"] != json!(ids[0])));
    // Of several questions the nearest counts.
    let both = json!({"query": ["Which dog?", "my car"], "ranking_options": {"ranker": "none", "hybrid_search": {"text_weight": 0.0, "embedding_weight": 1.0}}});
    for hit in ann.searches(&port, &store, both) {
        let is_near = hit["file_id"] != json!(ids[2]);
        assert_eq!(hit["score"].as_f64().unwrap() > 0.9, is_near, "{hit}");
    }
    // The numbers lie there sealed, and go with the file.
    let rows = port.many_rows(Class::Stores);
    let vectors = || {
        let rows = port.many_rows(Class::Stores);
        let of = |kind: &str| {
            let keys = rows.values().flat_map(|rows| rows.keys());
            keys.filter(|key| key.starts_with(kind)).count()
        };
        [of("v/"), of("c/")]
    };
    assert_eq!(vectors(), [3, 3]);
    for (key, row) in rows.values().flatten() {
        assert!(!key.starts_with("v/") || !row.windows(4).any(|part| part == [127, 0, 0, 1]));
    }
    ann.done(
        &port,
        "DELETE",
        &format!("/v1/files/{}", ids[0]),
        Value::Null,
    );
    assert_eq!(vectors(), [2, 2]);
    assert!(!ann.finds(&port, &store, "Which dog?").contains(&ids[0]));
    // Without a provider words alone count, and a file says that it waits for one.
    port.provider(
        "numbers",
        [crate::support::upstream::Scripted::json(
            400,
            &json!({"error": {"message": "no"}}),
        )],
    );
    assert_eq!(ann.finds(&port, &store, "vehicle")[0], ids[1]);
    assert_eq!(ann.finds(&port, &store, "Which dog?"), [""; 0]);
    let late = ann.uploads(&port, "late.txt", "A dog again.");
    let told = ann.adds(&port, &store, &late);
    assert_eq!(
        (&told["status"], &told["last_error"]["code"]),
        (&json!("failed"), &json!("server_error"))
    );
    assert!(!content_rows_of(&port, &late));
}

#[test]
fn in_a_large_store_the_nearest_are_found_by_their_codes() {
    let port = embedding(|_| {});
    let mut ann = Somebody::default();
    let store = ann.makes(&port, json!({}));
    let count = EXACT_UP_TO as usize;
    // A heading each, so that none has two.
    let about = |at: usize, wanted: &str| {
        let text = if at == count / 2 {
            wanted
        } else {
            "It is late."
        };
        format!("# Number {at}\n\n{text}\n\n")
    };
    let mut ids = Vec::new();
    for wanted in ["A puppy sleeps.", "The vehicle is new."] {
        let text: String = (0..=count).map(|at| about(at, wanted)).collect();
        ids.push(ann.uploads(&port, "long.md", text));
        assert_eq!(
            ann.adds(&port, &store, &ids[ids.len() - 1])["status"],
            "completed"
        );
        for (question, file) in [("Which dog?", 0), ("my car", 1)] {
            if let Some(file) = ids.get(file) {
                assert_eq!(ann.finds(&port, &store, question)[0], *file, "{question}");
            }
        }
    }
    // One row of codes for 256 embeddings, and it goes with the file.
    let codes = || {
        let rows = port.many_rows(Class::Stores);
        let keys = rows.values().flat_map(|rows| rows.keys());
        keys.filter(|key| key.starts_with("c/")).count()
    };
    assert_eq!(codes(), 2 * (count / 256 + 1));
    let path = format!("/v1/vector_stores/{store}/files/{}", ids[0]);
    ann.done(&port, "DELETE", &path, Value::Null);
    assert_eq!(codes(), count / 256 + 1);
    assert_eq!(ann.finds(&port, &store, "my car")[0], ids[1]);
    assert!(!ann.finds(&port, &store, "Which dog?").contains(&ids[0]));
}

/// Is anything kept of a file that is not found?
fn content_rows_of(port: &FakePort, file: &str) -> bool {
    let rows = port.many_rows(Class::Stores);
    let coming = rows.values().flat_map(|rows| rows.iter());
    coming
        .filter(|(key, _)| key.starts_with("i/"))
        .any(|(_, row)| says(row, file))
}
