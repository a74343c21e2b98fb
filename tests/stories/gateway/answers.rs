//! Answers that are good and must stay so: of servers that do it in their own way, and of kinds that not every dialect
//! has. What cannot be carried is told, and what nobody counted is estimated.

use serde_json::{Value, json};

use crate::gateway::house::{
    Chat, Messages, Responses, ask, ask_with, get, house, once, post, question, said, streamed,
    streams, with,
};
use crate::support::Received;
use crate::support::fake_port::FakePort;
use crate::support::upstream::{Piece, Scripted};

fn chunk(choices: Value, more: Value) -> String {
    let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices});
    format!("data: {}\n\n", with(chunk, more))
}

fn delta(delta: Value, finish: Value) -> String {
    chunk(
        json!([{"index": 0, "delta": delta, "finish_reason": finish}]),
        json!({}),
    )
}

const DONE: &str = "data: [DONE]\n\n";

fn events(parts: &[String]) -> Scripted {
    Scripted::events(parts.iter().map(|part| part.as_str().into()))
}

/// A chat provider that answers so.
fn provider(answers: impl IntoIterator<Item = Scripted>) -> FakePort {
    let port = house(&[(Chat, "first")], |config| {
        once(config);
        let audio = ["modalities", "audio"].map(str::to_owned);
        config.aliases[0].allow_parameters.extend(audio);
    });
    port.provider("first", answers);
    port
}

fn failures_noted(port: &FakePort) -> bool {
    // A target that is well is asked again and again.
    let again = ask(port, Chat, question(Chat, "well?"));
    again.status != 200
}

// === tool calls ===

fn in_turns() -> Vec<String> {
    let piece = |index: u64, call: Value| {
        delta(
            json!({"tool_calls": [with(call, json!({"index": index}))]}),
            Value::Null,
        )
    };
    let begun =
        |id: &str| json!({"id": id, "type": "function", "function": {"name": id, "arguments": ""}});
    let more = |text: &str| json!({"function": {"arguments": text}});
    vec![
        delta(json!({"role": "assistant", "content": null}), Value::Null),
        piece(0, begun("a")),
        piece(1, begun("b")),
        piece(0, more("{\"x\":")),
        piece(1, more("{\"y\":")),
        piece(0, more("1}")),
        piece(1, more("2}")),
        delta(json!({}), json!("tool_calls")),
        DONE.to_owned(),
    ]
}

#[test]
fn tool_calls_in_turns_pass_in_their_own_dialect_and_are_ordered_for_others() {
    for caller in [Chat, Messages, Responses] {
        for extra in [
            json!({}),
            json!({"stream_options": {"include_usage": true}}),
        ] {
            let port = provider([events(&in_turns())]);
            let body = if caller == Chat {
                with(streamed(caller, "hi"), extra)
            } else {
                streamed(caller, "hi")
            };
            let received = ask(&port, caller, body);
            if caller == Chat {
                assert_eq!(received.text(), in_turns().concat());
            } else {
                let whole = crate::grammar::check(caller, &received.body, false);
                let calls: Vec<(String, String)> = whole
                    .parts
                    .iter()
                    .filter_map(|part| match part {
                        gatehouse::domain::llm::normal::conversation::Part::ToolCall(call) => {
                            Some((call.name.clone(), call.arguments.clone()))
                        }
                        _ => None,
                    })
                    .collect();
                let expected = [("a", "{\"x\":1}"), ("b", "{\"y\":2}")];
                assert_eq!(calls, expected.map(|(n, a)| (n.to_owned(), a.to_owned())));
            }
        }
    }
}

// === sound and pictures ===

fn sound(stream: bool) -> Scripted {
    let audio = json!({"id": "audio_1", "data": "AAAA", "transcript": "hello", "expires_at": 1});
    if stream {
        return events(&[
            delta(
                json!({"role": "assistant", "audio": {"id": "audio_1", "transcript": "he"}}),
                Value::Null,
            ),
            delta(json!({"audio": {"data": "AAAA"}}), Value::Null),
            delta(json!({}), json!("stop")),
            DONE.to_owned(),
        ]);
    }
    Scripted::json(
        200,
        &answer(json!({"role": "assistant", "content": null, "audio": audio})),
    )
}

fn pictures(stream: bool) -> Scripted {
    let images = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    if stream {
        return events(&[
            delta(
                json!({"role": "assistant", "content": "", "images": images}),
                Value::Null,
            ),
            delta(json!({}), json!("stop")),
            DONE.to_owned(),
        ]);
    }
    Scripted::json(
        200,
        &answer(json!({"role": "assistant", "content": null, "images": images})),
    )
}

fn answer(message: Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    })
}

#[test]
fn sound_and_pictures_pass_in_their_own_dialect() {
    for kind in [sound, pictures] {
        for stream in [false, true] {
            let port = provider([kind(stream), said(Chat, "first", "yes")]);
            let body = with(question(Chat, "sing"), json!({"stream": stream}));
            let received = ask(&port, Chat, body);
            assert_eq!(received.status, 200, "{}", received.text());
            assert!(received.text().contains("AAAA"));
            assert_eq!(received.outcome.code, None);
            assert!(!failures_noted(&port));
        }
    }
}

#[test]
fn sound_and_pictures_are_refused_in_another_dialect_and_not_asked_for_again() {
    for kind in [sound, pictures] {
        for caller in [Messages, Responses] {
            for stream in [false, true] {
                let port = house(&[(Chat, "first")], |_| {});
                port.provider("first", [kind(stream), said(Chat, "first", "yes")]);
                let body = with(question(caller, "sing"), json!({"stream": stream}));
                let received = ask(&port, caller, body);
                assert_eq!(received.status, 400, "{}", received.text());
                assert_eq!(received.code().as_deref(), Some("unsupported_parameter"));
                assert!(received.text().contains("sound or a picture"));
                assert_eq!(port.sent.borrow().len(), 1);
                assert!(!failures_noted(&port), "it says nothing about the target");
            }
        }
    }
}

#[test]
fn a_picture_behind_words_ends_a_stream_of_another_dialect_with_an_error() {
    let port = provider([
        events(&[
            delta(
                json!({"role": "assistant", "content": "Look:"}),
                Value::Null,
            ),
            delta(json!({"images": [{"type": "image_url"}]}), Value::Null),
            delta(json!({}), json!("stop")),
            DONE.to_owned(),
        ]),
        said(Chat, "first", "yes"),
    ]);
    let received = ask(&port, Messages, streamed(Messages, "draw"));
    assert!(received.text().contains("Look:"));
    assert_eq!(received.code().as_deref(), Some("unsupported_parameter"));
    assert!(!received.text().contains("message_stop"));
    assert!(!failures_noted(&port));
}

// === ends ===

#[test]
fn a_stream_whose_last_line_has_no_blank_line_behind_it_is_whole() {
    for last in ["data: [DONE]", "data: [DONE]\n"] {
        for (caller, extra) in [
            (Chat, json!({})),
            (Chat, json!({"stream_options": {"include_usage": true}})),
            (Messages, json!({})),
            (Responses, json!({})),
        ] {
            let port = provider([
                events(&[
                    delta(json!({"role": "assistant", "content": "Hi"}), Value::Null),
                    delta(json!({}), json!("stop")),
                    last.to_owned(),
                ]),
                said(Chat, "first", "yes"),
            ]);
            let received = ask(&port, caller, with(streamed(caller, "hi"), extra));
            let text = received.text();
            assert_eq!(received.outcome.code, None, "{text}");
            if caller == Chat {
                assert!(
                    text.contains("\"Hi\"") && text.trim_end().ends_with("data: [DONE]"),
                    "{text}"
                );
                assert!(text.ends_with("\n\n"), "a reader gets its last event");
            } else {
                let whole = crate::grammar::check(caller, &received.body, false);
                assert_eq!(whole.text(), "Hi");
            }
            assert!(!failures_noted(&port));
        }
    }
}

#[test]
fn a_trailer_behind_an_unfinished_last_line_is_a_comment_of_its_own() {
    let port = provider([events(&[
        delta(json!({"role": "assistant", "content": "Hi"}), json!("stop")),
        "data: [DONE]".to_owned(),
    ])]);
    let body = with(
        streamed(Chat, "hi"),
        json!({"stream_options": {"include_usage": true}}),
    );
    let head = gatehouse::app::request::Head {
        trailer: true,
        ..post(Chat.endpoint())
    };
    let received = ask_with(&port, head, body);
    assert!(
        received.text().contains("data: [DONE]\n\n: gatehouse {"),
        "{}",
        received.text()
    );
}

// === usage ===

#[test]
fn usage_in_every_chunk_hides_no_word_from_a_caller_who_did_not_ask_for_it() {
    let usage = json!({"usage": {"prompt_tokens": 10, "completion_tokens": 5}});
    let parts = [
        chunk(
            json!([{"index": 0, "delta": {"role": "assistant", "content": "zero"}}]),
            usage.clone(),
        ),
        chunk(
            json!([{"index": 1, "delta": {"content": "one"}}]),
            usage.clone(),
        ),
        chunk(
            json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
            usage.clone(),
        ),
        chunk(json!([]), usage),
        DONE.to_owned(),
    ];
    let port = provider([events(&parts)]);
    let received = ask(&port, Chat, streamed(Chat, "hi"));
    let text = received.text();
    assert!(text.contains("zero") && text.contains("one") && text.ends_with(DONE));
    assert!(!text.contains("usage"), "{text}");
    assert_eq!(received.outcome.tokens_out, Some(5));
}

fn usage_of(received: &Received, stream: bool) -> Value {
    if !stream {
        return received.json()["usage"].clone();
    }
    let told = |line: &str| {
        let event: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
        let usage = event.get("usage").or(event["response"].get("usage"))?;
        (!usage.is_null()).then(|| usage.clone())
    };
    received
        .text()
        .lines()
        .filter_map(told)
        .next_back()
        .unwrap()
}

#[test]
fn a_translated_answer_without_usage_tells_the_estimate_and_that_it_is_one() {
    for (caller, input, output) in [
        (Messages, "input_tokens", "output_tokens"),
        (Responses, "input_tokens", "output_tokens"),
    ] {
        for stream in [false, true] {
            let text = "some words of an answer";
            let scripted = if stream {
                events(&[
                    delta(json!({"content": text}), Value::Null),
                    delta(json!({}), json!("stop")),
                    DONE.to_owned(),
                ])
            } else {
                Scripted::json(200, &answer(json!({"role": "assistant", "content": text})))
            };
            let port = provider([scripted]);
            let received = ask(
                &port,
                caller,
                with(question(caller, "hi"), json!({"stream": stream})),
            );
            let usage = usage_of(&received, stream);
            assert_eq!(usage[input].as_u64(), received.outcome.tokens_in, "{usage}");
            assert_eq!(
                usage[output].as_u64(),
                received.outcome.tokens_out,
                "{usage}"
            );
            assert!(usage[input].as_u64() > Some(0) && usage[output].as_u64() > Some(0));
            assert!(received.outcome.tokens_estimated);
            let header = received.header("x-gatehouse-tokens-estimated");
            assert_eq!(header, (!stream).then_some("true"));
        }
    }
    let port = provider([said(Chat, "first", "counted")]);
    let received = ask(&port, Messages, question(Messages, "hi"));
    assert_eq!(received.header("x-gatehouse-tokens-estimated"), None);
    assert!(
        gatehouse::base::headers::CORS_EXPOSED_HEADERS.contains("x-gatehouse-tokens-estimated")
    );
}

#[test]
fn a_tool_call_without_usage_is_estimated_by_its_arguments() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"the tower\"}"}});
    let port = provider([Scripted::json(
        200,
        &answer(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
    )]);
    let received = ask(&port, Messages, question(Messages, "hi"));
    assert!(received.json()["usage"]["output_tokens"].as_u64() > Some(3));
}

// === why it stopped ===

#[test]
fn a_turn_that_the_provider_paused_is_not_told_as_finished() {
    let paused = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "first",
        "content": [{"type": "text", "text": "Searching"}], "stop_reason": "pause_turn", "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    });
    let ask_as = |caller| {
        let port = house(&[(Messages, "first")], once);
        port.provider("first", [Scripted::json(200, &paused)]);
        ask(&port, caller, question(caller, "hi")).json()
    };
    assert_eq!(ask_as(Messages)["stop_reason"], "pause_turn");
    assert_eq!(ask_as(Chat)["choices"][0]["finish_reason"], "length");
    assert_eq!(ask_as(Responses)["status"], "incomplete");
}

#[test]
fn include_usage_is_not_told_as_dropped() {
    let port = house(&[(Messages, "first")], once);
    port.provider("first", [streams(Messages, "first", &["Hi"])]);
    let options = json!({"stream_options": {"include_usage": true}});
    let received = ask(&port, Chat, with(streamed(Chat, "hi"), options));
    assert_eq!(received.header("x-gatehouse-dropped"), None);
    assert!(received.text().contains("\"prompt_tokens\":10"));
}

// === responses that are stored ===

fn asked() -> Value {
    with(
        question(Responses, "hi"),
        json!({
            "store": true, "metadata": {"k": "v"}, "instructions": "Be kind.", "temperature": 0.5, "user": "u-1",
            "max_output_tokens": 77, "parallel_tool_calls": false,
            "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
        }),
    )
}

fn repeats(response: &Value, translated: bool, previous: &Value) {
    assert_eq!(response["store"], true, "{response}");
    assert_eq!(response["background"], false);
    assert_eq!(response["previous_response_id"], *previous);
    assert_eq!(response["instructions"], "Be kind.");
    if translated {
        for name in [
            "metadata",
            "temperature",
            "user",
            "max_output_tokens",
            "parallel_tool_calls",
            "tools",
        ] {
            assert_eq!(response[name], asked()[name], "{name}");
        }
        assert_eq!(response["tool_choice"], "auto");
        assert_eq!(response["truncation"], "disabled");
        assert_eq!(response["text"], json!({"format": {"type": "text"}}));
    }
}

#[test]
fn a_stored_response_repeats_its_request_whole_streamed_and_read_again() {
    for from in [Chat, Responses] {
        let translated = from == Chat;
        let port = house(&[(from, "first")], |config| {
            config.aliases[0].system = Some("The operator's own words.".into());
        });
        let answers = [said(from, "first", "one"), streams(from, "first", &["two"])];
        port.provider("first", answers);
        let first = ask(&port, Responses, asked()).json();
        repeats(&first, translated, &Value::Null);
        let id = first["id"].clone();
        let read = get(
            &port,
            &format!("/v1/responses/{}", id.as_str().unwrap()),
            "",
        )
        .json();
        assert_eq!(read, first);

        let more = json!({"stream": true, "previous_response_id": id});
        let second = ask(&port, Responses, with(asked(), more));
        let told: Vec<Value> = second
            .text()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|event| event.get("response").cloned())
            .collect();
        assert_eq!(told.len(), 3, "{}", second.text());
        told.iter().for_each(|told| repeats(told, translated, &id));
        let path = format!("/v1/responses/{}", told[2]["id"].as_str().unwrap());
        assert_eq!(get(&port, &path, "").json(), told[2]);
        assert!(!second.text().contains("operator"));
        let items = get(&port, &format!("{path}/input_items"), "order=asc").json();
        assert_eq!(items["data"].as_array().unwrap().len(), 3, "{items}");
    }
}

#[test]
fn a_response_that_is_not_stored_says_so() {
    let port = house(&[(Chat, "first")], once);
    port.provider("first", [said(Chat, "first", "one")]);
    let received = ask(&port, Responses, with(asked(), json!({"store": false})));
    assert_eq!(received.json()["store"], false);
    assert_eq!(received.json()["metadata"], json!({"k": "v"}));
}

#[test]
fn a_failed_background_response_tells_why_and_what_was_asked() {
    let port = house(&[(Chat, "first")], once);
    port.provider("first", [Scripted::error(500, None)]);
    let begun = ask(&port, Responses, with(asked(), json!({"background": true}))).json();
    assert_eq!(begun["background"], true);
    assert_eq!(begun["metadata"], json!({"k": "v"}));
    assert_eq!(begun["error"], Value::Null);
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    let failed = get(&port, &path, "").json();
    assert_eq!(
        (&failed["status"], &failed["model"]),
        (&json!("failed"), &json!("site"))
    );
    assert_eq!(failed["error"]["code"], "upstream_error", "{failed}");
    assert!(!failed["error"]["message"].as_str().unwrap().is_empty());
    assert_eq!(failed["background"], true);
}

#[test]
fn a_response_whose_stream_broke_tells_why_when_it_is_read() {
    let port = house(&[(Chat, "first")], once);
    port.provider(
        "first",
        [events(&[delta(json!({"content": "Once"}), Value::Null)])],
    );
    let received = ask(&port, Responses, with(asked(), json!({"stream": true})));
    let id = received
        .header("x-gatehouse-response-id")
        .unwrap()
        .to_owned();
    let failed = get(&port, &format!("/v1/responses/{id}"), "").json();
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["error"]["code"], "upstream_protocol", "{failed}");
    assert_eq!(failed["metadata"], json!({"k": "v"}));
}

#[test]
fn the_operators_instructions_are_not_repeated_to_the_caller() {
    for stream in [false, true] {
        let port = house(&[(Responses, "first")], |config| {
            config.aliases[0].system = Some("The secret of this house is 42.".into());
        });
        let response = json!({
            "id": "resp_p", "object": "response", "created_at": 1, "status": "completed", "model": "first",
            "instructions": "The secret of this house is 42.\n\nBe kind.",
            "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "Blue.", "annotations": []}]}],
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        });
        let answer = if stream {
            let events = crate::gateway::house::events(Responses, "first", &["Blue."]);
            let told = events.into_iter().map(|event| {
                event.replace(
                    "\"response\":{",
                    "\"response\":{\"instructions\":\"The secret of this house is 42.\",",
                )
            });
            Scripted::events(told.map(Piece::from))
        } else {
            Scripted::json(200, &response)
        };
        port.provider("first", [answer]);
        let more = json!({"stream": stream, "instructions": "Be kind."});
        let received = ask(&port, Responses, with(question(Responses, "hi"), more));
        assert_eq!(received.status, 200, "{}", received.text());
        assert!(
            received.text().contains("Be kind.") && !received.text().contains("42"),
            "{}",
            received.text()
        );
    }
}
