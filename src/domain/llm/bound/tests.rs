use super::{Bound, Call, FRAME_TOKENS, HEAD_TOKENS, Told, booked, bound};
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::message::Usage;
use crate::domain::llm::plan::{Candidate, Payload};
use crate::domain::llm::price::{Consumed, Micros};
use crate::domain::llm::raw::Asked;
use crate::domain::settings::config::{Price, Serves};
use serde_json::{Value, json};

fn candidate(protocol: Protocol, model: &str, body: Value) -> Candidate {
    let Value::Object(body) = body else { panic!() };
    Candidate {
        provider: 0,
        provider_name: "p".into(),
        model: model.into(),
        protocol,
        path: String::new(),
        payload: Payload::Json(body),
        dropped: Vec::new(),
        context_tokens: None,
        prefill: false,
        cap: None,
    }
}

fn price(fields: Value) -> Price {
    let mut all = json!({"model": "m", "input": 1.0, "output": 10.0});
    all.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn of(body: Value, prices: &[Price], attempts: u32) -> Bound {
    let protocol = if body.get("input").is_some() {
        Protocol::Responses
    } else {
        Protocol::Chat
    };
    let candidates = [candidate(protocol, "m", body)];
    let call = Call::Chat { rescue: false };
    bound(prices, &candidates, call, attempts, Millis(0))
}

fn hello(extra: Value) -> Value {
    let mut body = json!({
        "model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}],
    });
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    body
}

#[test]
fn the_bound_grows_by_a_token_for_each_byte_and_by_the_price_of_each_attempt() {
    let prices = [price(json!({}))];
    let short = of(hello(json!({})), &prices, 1);
    let long = hello(json!({"messages": [{"role": "user", "content": "héllo"}]}));
    let long = of(long, &prices, 1);
    assert_eq!(long.tokens, short.tokens + 1, "é has two bytes");
    let twice = of(hello(json!({})), &prices, 2);
    assert_eq!(twice.tokens, 2 * short.tokens);
    assert_eq!(twice.cost.unwrap().0, 2 * short.cost.unwrap().0);
    // 100 tokens out at 10 dollars per million are 1,000 micros; what is sent comes on top at twice the price, as a
    // provider charges what it writes to its cache for an hour.
    let input = short.tokens - 100;
    assert_eq!(short.cost, Some(Micros(1000 + 2 * input)));
    assert!(input > HEAD_TOKENS + FRAME_TOKENS);
}

#[test]
fn choices_multiply_the_output() {
    let prices = [price(json!({}))];
    let one = of(hello(json!({})), &prices, 1).tokens;
    let five = of(hello(json!({"n": 5})), &prices, 1).tokens;
    assert!(five >= one + 400);
}

#[test]
fn what_has_no_bound_is_told_as_having_none() {
    let prices = [price(json!({}))];
    let part = |part: Value| hello(json!({"messages": [{"role": "user", "content": [part]}]}));
    for body in [
        json!({"messages": [{"role": "user", "content": "no ceiling"}]}),
        hello(json!({"tools": [{"type": "web_search"}]})),
        part(json!({"type": "file", "file": {"file_id": "f"}})),
        part(json!({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}})),
        part(json!({"type": "something_new"})),
        hello(json!({"messages": [{"role": "assistant", "audio": {"id": "a"}}]})),
        json!({"input": "x", "max_output_tokens": 10, "previous_response_id": "resp_1"}),
        json!({"input": [{"type": "item_reference", "id": "i"}], "max_output_tokens": 10}),
    ] {
        assert_eq!(of(body.clone(), &prices, 1).cost, None, "{body}");
    }
    assert_eq!(of(hello(json!({})), &[], 1).cost, None, "no price");
    let body = part(json!({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}));
    let stated = [price(json!({"max_image_tokens": 2000}))];
    let bound = of(body, &stated, 1);
    assert!(bound.cost.is_some() && bound.tokens > 2000);
}

#[test]
fn an_image_outside_of_the_conversation_is_text() {
    let prices = [price(json!({"max_image_tokens": 1}))];
    let hidden = json!({"type": "image_url", "image_url": {"url": "x".repeat(50_000)}});
    for body in [
        hello(json!({"tools": [{"type": "function", "function": hidden.clone()}]})),
        hello(json!({"metadata": hidden.clone()})),
        hello(json!({"messages": [{"role": "user", "content": "a", "extra": [hidden.clone()]}]})),
    ] {
        assert!(of(body, &prices, 1).tokens > 50_000);
    }
}

#[test]
fn the_dearest_target_counts_and_one_without_a_price_unbinds_all() {
    let prices = [
        price(json!({})),
        price(json!({"model": "dear", "output": 100.0, "input": 0.0})),
    ];
    let candidates = [
        candidate(Protocol::Chat, "m", hello(json!({}))),
        candidate(Protocol::Chat, "dear", hello(json!({}))),
    ];
    let call = Call::Chat { rescue: false };
    let both = bound(&prices, &candidates, call, 1, Millis(0));
    assert_eq!(both.cost, Some(Micros(10_000)));
    let one = bound(&prices[..1], &candidates, call, 1, Millis(0));
    assert_eq!(one.cost, None);
}

#[test]
fn a_continuation_sends_what_was_said() {
    let prices = [price(json!({}))];
    let candidates = [candidate(Protocol::Chat, "m", hello(json!({})))];
    let with = |rescue| bound(&prices, &candidates, Call::Chat { rescue }, 1, Millis(0)).tokens;
    assert_eq!(with(true), with(false) + 800);
}

#[test]
fn images_and_sound_are_bounded_by_what_is_stated() {
    let asked = Asked {
        audio_bytes: 75_000,
        characters: 1000,
        tokens: 0,
    };
    let most = |serves, body, price: Price| {
        let candidates = [candidate(Protocol::Chat, "m", body)];
        bound(
            &[price],
            &candidates,
            Call::Raw(serves, &asked),
            1,
            Millis(0),
        )
        .cost
    };
    let free = json!({"input": 0.0, "output": 0.0});
    let with = |extra: Value| {
        let mut fields = free.clone();
        fields
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        price(fields)
    };
    let three = json!({"prompt": "a", "n": 3});
    let each = with(json!({"per_image": 0.04}));
    assert_eq!(
        most(Serves::Images, three.clone(), each),
        Some(Micros(120_000))
    );
    assert_eq!(most(Serves::Images, three, price(json!({}))), None);
    let each = with(json!({"per_image": 0.04}));
    for odd in [json!(4.0), json!("4"), json!(-1)] {
        let body = json!({"prompt": "a", "n": odd});
        assert_eq!(most(Serves::Images, body, each.clone()), None);
    }
    let second = with(json!({"per_second": 0.0001}));
    // However few bytes there are, nothing but the stated length bounds a sound.
    let stated = with(json!({"per_second": 0.0001, "max_seconds": 7200}));
    for serves in [Serves::Transcriptions, Serves::Speech] {
        assert_eq!(most(serves, json!({}), second.clone()), None);
        assert_eq!(
            most(serves, json!({}), stated.clone()),
            Some(Micros(720_000))
        );
    }
    let read = with(json!({"per_million_characters": 15.0}));
    assert_eq!(
        most(Serves::Speech, json!({"input": "x"}), read),
        Some(Micros(15_000))
    );
}

#[test]
fn of_two_ceilings_the_higher_counts_and_answers_that_cannot_be_counted_have_no_bound() {
    let prices = [price(json!({}))];
    let most = |extra| of(hello(extra), &prices, 1);
    let one = most(json!({"max_tokens": 2000, "max_completion_tokens": 1}));
    let other = most(json!({"max_tokens": 1, "max_completion_tokens": 2000}));
    assert!(one.cost.unwrap().0 > 20_000 && other.cost.unwrap().0 > 20_000);
    for extra in [
        json!({"n": 2.0}),
        json!({"n": "2"}),
        json!({"best_of": 1.5}),
    ] {
        assert_eq!(most(extra.clone()).cost, None, "{extra}");
    }
}

#[test]
fn a_parameter_that_costs_more_than_one_answer_leaves_no_bound() {
    let prices = [price(json!({}))];
    for extra in [
        json!({"web_search_options": {}}),
        json!({"service_tier": "priority"}),
        json!({"models": ["dear"]}),
        json!({"prediction": {"type": "content", "content": "x"}}),
        json!({"plugins": [{"id": "web"}]}),
        json!({"search_parameters": {"mode": "on"}}),
        json!({"data_sources": [{}]}),
        json!({"enable_search": true}),
        json!({"fallbacks": [{"model": "dear"}]}),
        json!({"speed": "fast"}),
        json!({"inference_geo": "us"}),
        json!({"n_predict": -1}),
        json!({"num_predict": 9000}),
        json!({"max_new_tokens": 9000}),
        json!({"max_output_tokens": 9000}),
        json!({"options": {"num_predict": 9000}}),
    ] {
        assert_eq!(of(hello(extra.clone()), &prices, 1).cost, None, "{extra}");
    }
    for extra in [
        json!({"service_tier": "default", "models": null, "plugins": [], "store": true, "n": 2}),
        json!({"speed": "standard", "enable_search": false, "options": {"seed": 1}}),
    ] {
        assert!(
            of(hello(extra.clone()), &prices, 1).cost.is_some(),
            "{extra}"
        );
    }
    let own = json!({"input": "x", "max_output_tokens": 10});
    assert!(of(own, &prices, 1).cost.is_some());
}

#[test]
fn what_was_not_told_is_booked_at_its_most() {
    let prices = [price(json!({"reasoning": 20.0}))];
    let candidate = candidate(Protocol::Chat, "m", hello(json!({})));
    let call = Call::Chat { rescue: false };
    let usage = Usage {
        input: 7,
        cached: 5,
        output: 3,
        ..Usage::default()
    };
    let of =
        |told, usage: Usage| booked(&prices, &candidate, call, (&usage.into(), told), Millis(0));
    let all = of(Told::Tokens, usage);
    assert_eq!((all.tokens, all.cost), (10, Some(Micros(37))), "7 + 3 × 10");
    // 100 tokens may have been thoughts, at 20 each.
    let input = of(Told::Input, usage);
    assert_eq!((input.tokens, input.cost), (107, Some(Micros(2007))));
    let most = bound(
        &prices,
        core::slice::from_ref(&candidate),
        call,
        1,
        Millis(0),
    );
    assert_eq!(of(Told::Nothing, usage), most);
    assert_eq!(of(Told::Nothing, Usage::default()), most);
    // What came was more than any bound: it counts.
    let more = Usage {
        output: 5000,
        ..usage
    };
    assert!(of(Told::Input, more).cost.unwrap().0 >= 100_000);
}

#[test]
fn of_pictures_and_sound_what_was_told_counts_and_the_rest_at_its_most() {
    let asked = Asked {
        tokens: 1,
        characters: 1000,
        audio_bytes: 16_000,
    };
    let after = |serves, fields: Value, told, seen: Consumed| {
        let mut all = json!({"input": 0.0, "output": 0.0});
        let more = fields.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        let candidate = candidate(Protocol::Chat, "m", json!({"prompt": "a", "n": 4}));
        let call = Call::Raw(serves, &asked);
        booked(&[price(all)], &candidate, call, (&seen, told), Millis(0)).cost
    };
    let image = json!({"per_image": 0.04});
    let nothing = Consumed::default();
    let three = Consumed {
        images: 3,
        ..nothing
    };
    for (told, seen, micros) in [
        (Told::Nothing, nothing, 160_000),
        (Told::Nothing, three, 120_000),
        (Told::Tokens, three, 120_000),
    ] {
        let cost = after(Serves::Images, image.clone(), told, seen);
        assert_eq!(cost, Some(Micros(micros)));
    }
    let second = json!({"per_second": 0.001, "max_seconds": 60});
    let heard = |audio_estimated| Consumed {
        audio: Millis(1000),
        audio_estimated,
        ..nothing
    };
    for (told, seen, micros) in [
        (Told::Tokens, heard(false), 1000),
        (Told::Tokens, heard(true), 60_000),
        (Told::Nothing, heard(true), 60_000),
        (Told::Nothing, nothing, 60_000),
    ] {
        let cost = after(Serves::Transcriptions, second.clone(), told, seen);
        assert_eq!(cost, Some(Micros(micros)), "{told:?} {seen:?}");
    }
    let read = json!({"per_million_characters": 15.0});
    let cost = after(Serves::Speech, read, Told::Nothing, nothing);
    assert_eq!(cost, Some(Micros(15_000)));
}
