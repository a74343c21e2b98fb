//! Random conversations, written and read back.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde_json::json;

use super::{read, write};
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::chat::samples::{text, tool_call};
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Thought,
    Tool, ToolCall, ToolChoice, Turn,
};
use crate::domain::llm::normal::feature::Feature;

fn said() -> impl Strategy<Value = Part> {
    text().prop_map(Part::text)
}

fn said_aloud() -> impl Strategy<Value = Part> {
    "[a-c\"\n\u{4f60}]{1,6}".prop_map(|text: String| Part::text(text))
}

fn base64() -> impl Strategy<Value = Source> {
    ("(image/png|application/pdf)", "[A-Za-z0-9+/]{4,8}")
        .prop_map(|(media_type, data)| Source::Base64 { media_type, data })
}

fn image() -> impl Strategy<Value = Part> {
    let url = "https://x\\.example/[a-z]{1,4}".prop_map(Source::Url);
    (prop_oneof![base64(), url], option::of("(low|high)")).prop_map(|(source, detail)| {
        Part::Image {
            source,
            detail,
            cache: None,
        }
    })
}

fn file() -> impl Strategy<Value = Part> {
    (base64(), "[a-z]{1,4}\\.pdf").prop_map(|(source, name)| Part::File {
        source,
        name: Some(name),
        cache: None,
    })
}

fn result(
    content: impl Strategy<Value = Vec<Part>>,
    is_error: impl Strategy<Value = bool>,
) -> impl Strategy<Value = Part> {
    ("call_[a-z0-9]{1,4}", content, is_error).prop_map(|(id, content, is_error)| Part::ToolResult {
        id,
        content,
        is_error,
        cache: None,
    })
}

/// A call whose arguments are written as they are.
fn full_call() -> impl Strategy<Value = Part> {
    tool_call().prop_map(|call| {
        let arguments = if call.arguments.is_empty() {
            "{}".to_owned()
        } else {
            call.arguments
        };
        Part::ToolCall(ToolCall { arguments, ..call })
    })
}

/// What the user, the tools and the instructions say between two answers, in this dialect's order.
fn between() -> impl Strategy<Value = Vec<Turn>> {
    let one_result = result(vec(said(), 1..3), Just(false)).prop_map(|result| Turn {
        role: Role::User,
        parts: vec![result],
    });
    let instructions = vec(said(), 1..3).prop_map(|parts| Turn {
        role: Role::System,
        parts,
    });
    let user = || {
        vec(prop_oneof![2 => said(), 1 => image(), 1 => file()], 1..4).prop_map(|parts| Turn {
            role: Role::User,
            parts,
        })
    };
    (
        vec(one_result, 0..3),
        user(),
        vec(prop_oneof![user(), instructions], 0..2),
    )
        .prop_map(|(mut turns, first, more)| {
            turns.push(first);
            turns.extend(more);
            turns
        })
}

fn answer() -> impl Strategy<Value = Turn> {
    let refusal = option::of("[a-c]{1,4}");
    (
        vec(said_aloud(), 0..3),
        refusal,
        vec(full_call(), 0..3),
        said_aloud(),
    )
        .prop_map(|(mut parts, refusal, calls, otherwise)| {
            parts.extend(refusal.map(Part::Refusal));
            parts.extend(calls);
            if parts.is_empty() {
                parts.push(otherwise);
            }
            Turn {
                role: Role::Assistant,
                parts,
            }
        })
}

fn tool() -> impl Strategy<Value = Tool> {
    let schema = Just(json!({"type": "object", "properties": {"city": {"type": "string"}}}));
    (
        "[a-z]{1,4}",
        option::of(text()),
        option::of(schema),
        option::of(any::<bool>()),
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
    (vec(tool(), 0..3), 0..5usize, any::<bool>()).prop_map(|(tools, choice, one)| {
        let choice = match (choice, tools.first()) {
            (1, Some(_)) => ToolChoice::Auto,
            (2, Some(_)) => ToolChoice::None,
            (3, Some(_)) => ToolChoice::Required,
            (4, Some(tool)) => ToolChoice::Named(tool.name.clone()),
            _ => ToolChoice::Unset,
        };
        let parallel = (one && !tools.is_empty()).then_some(false);
        (tools, choice, parallel)
    })
}

fn format() -> impl Strategy<Value = Format> {
    let schema = ("[a-z]{1,4}", option::of(text()), option::of(any::<bool>())).prop_map(
        |(name, description, strict)| Format::Schema {
            name,
            description,
            schema: json!({"type": "object", "additionalProperties": false}),
            strict,
        },
    );
    prop_oneof![Just(Format::Text), Just(Format::JsonObject), schema]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let eighths = |low: i32, high: i32| option::of((low..=high).prop_map(|n| f64::from(n) / 8.0));
    let stop = vec("[a-z\n]{1,4}", 0..5);
    let numbers = (
        eighths(0, 16),
        eighths(0, 8),
        eighths(-16, 16),
        eighths(-16, 16),
    );
    (
        option::of(1..u64::MAX),
        numbers,
        stop,
        option::of(any::<i64>()),
    )
        .prop_map(
            |(
                max_output,
                (temperature, top_p, presence_penalty, frequency_penalty),
                stop,
                seed,
            )| Sampling {
                max_output,
                temperature,
                top_p,
                top_k: None,
                stop,
                seed,
                presence_penalty,
                frequency_penalty,
            },
        )
}

fn effort() -> impl Strategy<Value = Effort> {
    use Effort::{High, Low, Max, Medium, Minimal, None};
    prop_oneof![
        Just(None),
        Just(Minimal),
        Just(Low),
        Just(Medium),
        Just(High),
        Just(Max)
    ]
}

/// A conversation that this dialect can say, in its order.
fn sayable() -> impl Strategy<Value = Conversation> {
    let turns = (
        between(),
        vec((answer(), between()), 0..3),
        option::of(answer()),
    )
        .prop_map(|(mut turns, more, prefill)| {
            for (answer, between) in more {
                turns.push(answer);
                turns.extend(between);
            }
            turns.extend(prefill);
            turns
        });
    let settings = (
        tools(),
        format(),
        sampling(),
        option::of(effort()),
        option::of(text()),
    );
    (vec(said(), 0..3), turns, settings).prop_map(
        |(system, turns, (tools, format, sampling, effort, user))| {
            let (tools, tool_choice, parallel_tools) = tools;
            let reasoning = effort.map(|effort| Reasoning {
                effort: Some(effort),
                ..Reasoning::default()
            });
            Conversation {
                origin: Protocol::Chat,
                system,
                turns,
                tools,
                tool_choice,
                parallel_tools,
                format,
                sampling,
                reasoning,
                user,
                stream: false,
                unplaced: vec![],
            }
        },
    )
}

/// Any part, in its place or not.
fn any_part() -> impl Strategy<Value = Part> {
    let marked = (text(), Just(Some(CacheMark::OneHour)))
        .prop_map(|(text, cache)| Part::Text { text, cache });
    let thought = (text(), option::of(text())).prop_map(|(text, sealed)| {
        Part::Reasoning(Thought {
            text,
            sealed,
            ..Thought::default()
        })
    });
    prop_oneof![
        said(),
        marked,
        image(),
        file(),
        Just(Part::File {
            source: Source::Url("https://x.example/a.pdf".into()),
            name: None,
            cache: None
        }),
        tool_call().prop_map(Part::ToolCall),
        result(vec(prop_oneof![said(), image()], 0..3), any::<bool>()),
        thought,
        text().prop_map(Part::Refusal),
    ]
}

/// A conversation of whatever order another dialect's callers may choose.
fn unruly() -> impl Strategy<Value = Conversation> {
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant)];
    let turn = (role, vec(any_part(), 0..4)).prop_map(|(role, parts)| Turn { role, parts });
    let origin = prop_oneof![Just(Protocol::Messages), Just(Protocol::Responses)];
    (sayable(), vec(any_part(), 0..2), vec(turn, 1..6), origin).prop_map(
        |(sayable, system, mut turns, origin)| {
            turns.push(Turn {
                role: Role::User,
                parts: vec![Part::text("and?")],
            });
            Conversation {
                system,
                turns,
                origin,
                ..sayable
            }
        },
    )
}

/// All parts, those of tool results too.
fn parts(conversation: &Conversation) -> Vec<Part> {
    let turns = conversation.turns.iter().flat_map(|turn| &turn.parts);
    let mut all = Vec::new();
    for part in conversation.system.iter().chain(turns) {
        if let Part::ToolResult { content, .. } = part {
            all.extend(content.clone());
        }
        all.push(part.clone());
    }
    all
}

proptest! {
    #[test]
    fn what_can_be_said_comes_back(conversation in sayable()) {
        let written = write(&conversation);
        assert_eq!(written.lost, []);
        assert_eq!(read(&written.body), Ok(conversation));
    }

    #[test]
    fn nothing_vanishes_unreported(conversation in unruly()) {
        let written = write(&conversation);
        let back = read(&written.body).unwrap();
        assert_eq!(back.unplaced, []);
        // What came through once comes through again.
        let again = write(&back);
        assert_eq!(again.lost, []);
        assert_eq!(read(&again.body).as_ref(), Ok(&back));
        // Every picture, file and call is there or reported.
        let count = |of: &Conversation, is: fn(&Part) -> bool| parts(of).iter().filter(|part| is(part)).count();
        let kinds: [fn(&Part) -> bool; 4] = [
            |part| matches!(part, Part::Image { .. }),
            |part| matches!(part, Part::File { .. }),
            |part| matches!(part, Part::ToolCall(_)),
            |part| matches!(part, Part::ToolResult { .. }),
        ];
        for is in kinds {
            assert!(count(&back, is) == count(&conversation, is) || written.lost.iter().any(|lost| !lost.feature.is_hint()));
        }
        // Text is never lost but inside a part that is reported, such as a result that the model is said to have given.
        let letters = |of: &Conversation| {
            let mut letters: Vec<char> = parts(of).iter().filter_map(|part| match part { Part::Text { text, .. } => Some(text.chars()), _ => None }).flatten().collect();
            letters.sort_unstable();
            letters
        };
        let out_of_place = written.lost.iter().any(|lost| lost.feature == Feature::Other);
        assert!(out_of_place || letters(&back) == letters(&conversation));
    }
}
