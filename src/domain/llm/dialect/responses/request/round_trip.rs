//! Whatever conversation is written is read back the same, up to the table in the head of `request`.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde_json::json;

use super::{read, write};
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::responses::arbitrary::{call, thought, words};
use crate::domain::llm::normal::conversation::{
    Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Thought, Tool,
    ToolChoice, Turn,
};

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        "[a-z]{1,8}".prop_map(|path| Source::Url(format!("https://example.com/{path}"))),
        ("[a-z]{1,5}/[a-z]{1,5}", "[A-Za-z0-9+/]{1,12}")
            .prop_map(|(media_type, data)| Source::Base64 { media_type, data }),
    ]
}

fn text_part() -> impl Strategy<Value = Part> {
    words().prop_map(Part::text)
}

fn image() -> impl Strategy<Value = Part> {
    let detail = option::of(prop_oneof!["low", "high", "original"]);
    (source(), detail).prop_map(|(source, detail)| Part::Image {
        source,
        detail,
        cache: None,
    })
}

fn file() -> impl Strategy<Value = Part> {
    (source(), "[a-z]{1,8}\\.pdf").prop_map(|(source, name)| Part::File {
        source,
        name: Some(name),
        cache: None,
    })
}

fn content() -> impl Strategy<Value = Part> {
    prop_oneof![text_part(), image(), file()]
}

fn result() -> impl Strategy<Value = Part> {
    ("call_[a-z0-9]{8}", vec(content(), 0..3)).prop_map(|(id, content)| Part::ToolResult {
        id,
        content,
        is_error: false,
        cache: None,
    })
}

/// Thinking that this dialect takes back: sealed.
fn sealed_thought() -> impl Strategy<Value = Part> {
    (thought(), "[A-Za-z0-9+/=]{1,20}").prop_map(|(thought, sealed)| {
        Part::Reasoning(Thought {
            signature: None,
            sealed: Some(sealed),
            ..thought
        })
    })
}

fn turn() -> impl Strategy<Value = Turn> {
    let of = |role: Role| move |parts: Vec<Part>| Turn { role, parts };
    let said = prop_oneof![
        text_part(),
        words().prop_map(Part::Refusal),
        call().prop_map(Part::ToolCall),
        sealed_thought(),
    ];
    prop_oneof![
        vec(content(), 1..4).prop_map(of(Role::User)),
        vec(result(), 1..3).prop_map(of(Role::User)),
        (vec(result(), 1..3), vec(content(), 1..3))
            .prop_map(|(results, more)| [results, more].concat())
            .prop_map(of(Role::User)),
        vec(said, 1..6).prop_map(of(Role::Assistant)),
        vec(text_part(), 1..3).prop_map(of(Role::System)),
    ]
}

fn tool() -> impl Strategy<Value = Tool> {
    let schema = prop_oneof![
        Just(None),
        Just(Some(
            json!({"type": "object", "properties": {"a": {"type": "string"}}})
        )),
    ];
    (
        "[a-z]{1,8}",
        option::of(words()),
        schema,
        any::<Option<bool>>(),
    )
        .prop_map(|(name, description, parameters, strict)| Tool {
            name,
            description,
            parameters,
            strict,
            cache: None,
        })
}

fn tools() -> impl Strategy<Value = (Vec<Tool>, ToolChoice, Option<bool>)> {
    (vec(tool(), 0..3), 0..5, any::<Option<bool>>()).prop_map(|(mut tools, choice, parallel)| {
        for (i, tool) in tools.iter_mut().enumerate() {
            tool.name = format!("{}_{i}", tool.name);
        }
        match tools.first() {
            None => (tools, ToolChoice::Unset, None),
            Some(first) => {
                let choice = match choice {
                    0 => ToolChoice::Unset,
                    1 => ToolChoice::Auto,
                    2 => ToolChoice::None,
                    3 => ToolChoice::Required,
                    _ => ToolChoice::Named(first.name.clone()),
                };
                (tools, choice, parallel)
            }
        }
    })
}

fn format() -> impl Strategy<Value = Format> {
    let schema = ("[a-z]{1,8}", option::of(words()), any::<Option<bool>>()).prop_map(
        |(name, description, strict)| Format::Schema {
            name,
            description,
            schema: json!({"type": "object"}),
            strict,
        },
    );
    prop_oneof![Just(Format::Text), Just(Format::JsonObject), schema]
}

fn reasoning() -> impl Strategy<Value = Option<Reasoning>> {
    let effort = prop_oneof![
        Just(Effort::None),
        Just(Effort::Minimal),
        Just(Effort::Low),
        Just(Effort::Medium),
        Just(Effort::High),
        Just(Effort::Max),
    ];
    (option::of(effort), any::<bool>()).prop_map(|(effort, show)| {
        (effort.is_some() || show).then_some(Reasoning {
            effort,
            budget_tokens: None,
            adaptive: false,
            show,
        })
    })
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let number = |high| option::of(0.0..=high);
    (option::of(16..u64::MAX), number(2.0), number(1.0)).prop_map(
        |(max_output, temperature, top_p)| Sampling {
            max_output,
            temperature,
            top_p,
            ..Sampling::default()
        },
    )
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let user = option::of("[a-z]{1,64}");
    let system = vec(text_part(), 0..3);
    let said = (system, vec(turn(), 0..8), words());
    (said, tools(), format(), sampling(), reasoning(), user).prop_map(
        |((system, mut turns, last), tools, format, sampling, reasoning, user)| {
            turns.push(Turn {
                role: Role::User,
                parts: vec![Part::text(last)],
            });
            Conversation {
                origin: Protocol::Responses,
                system,
                turns,
                tools: tools.0,
                tool_choice: tools.1,
                parallel_tools: tools.2,
                format,
                sampling,
                reasoning,
                user,
                stream: false,
                unplaced: Vec::new(),
            }
        },
    )
}

/// How the items of these turns fall into turns again; and empty arguments are `{}`.
fn as_read(mut conversation: Conversation) -> Conversation {
    let mut turns: Vec<Turn> = Vec::new();
    for turn in conversation.turns {
        // Results and what else the user says are items of different kinds.
        let (results, rest): (Vec<Part>, Vec<Part>) =
            (turn.parts.into_iter()).partition(|part| matches!(part, Part::ToolResult { .. }));
        for parts in [results, rest] {
            if parts.is_empty() {
                continue;
            }
            let joins = turns.last().is_some_and(|last| {
                let (end, start) = (last.parts.last().unwrap(), &parts[0]);
                let is_item = |part: &Part| matches!(part, Part::ToolCall(_) | Part::Reasoning(_));
                let is_result = |part: &Part| matches!(part, Part::ToolResult { .. });
                last.role == turn.role
                    && match turn.role {
                        Role::Assistant => is_item(end) || is_item(start),
                        _ => is_result(end) && is_result(start),
                    }
            });
            if turn.role == Role::System && turns.is_empty() {
                conversation.system.extend(parts);
            } else if joins {
                turns.last_mut().unwrap().parts.extend(parts);
            } else {
                turns.push(Turn {
                    role: turn.role,
                    parts,
                });
            }
        }
    }
    for part in turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        if let Part::ToolCall(call) = part
            && call.arguments.is_empty()
        {
            call.arguments = "{}".into();
        }
    }
    conversation.turns = turns;
    conversation
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(conversation in conversation()) {
        let written = write(&conversation);
        prop_assert_eq!(&written.lost, &Vec::new());
        let mut read = read(&written.body).unwrap();
        // `store: false` is what writing adds.
        read.unplaced.retain(|field| field.param != "store");
        prop_assert_eq!(read, as_read(conversation));
    }
}
