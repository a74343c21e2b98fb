use super::{Candidate, Features, Obstacle, choose, obstacle, weighted};
use crate::base::time::Millis;
use crate::domain::llm::capability::Capabilities;
use crate::domain::llm::normal::conversation::{Part, Role, Turn};
use crate::domain::llm::price::Micros;
use crate::domain::llm::tokens::empty;
use crate::domain::settings::config::{Capability, Choose, Prefer, Price, Tier};
use proptest::prelude::*;
use serde_json::json;

fn price(input: f64, output: f64) -> Price {
    serde_json::from_value(json!({"model": "m", "input": input, "output": output})).unwrap()
}

fn candidate(tier: Tier) -> Candidate<'static> {
    Candidate {
        tier,
        weight: 1,
        capabilities: Capability::ALL.into_iter().collect(),
        context_tokens: None,
        max_output_tokens: None,
        price: None,
        p95: None,
        open: false,
    }
}

fn plain(prefer: Prefer) -> Features {
    Features {
        input_tokens: 100,
        output_tokens: 1000,
        code_percent: 0,
        other_script: false,
        turns: 1,
        needs: Capabilities::NONE,
        prefer,
        budget: None,
    }
}

fn tiers() -> [Candidate<'static>; 3] {
    [Tier::Large, Tier::Medium, Tier::Small].map(candidate)
}

#[test]
fn a_harder_request_goes_to_a_stronger_model() {
    let needs = |list: &[Capability]| list.iter().copied().collect();
    let with = |change: &dyn Fn(&mut Features)| {
        let mut features = plain(Prefer::Quality);
        change(&mut features);
        features
    };
    let table: Vec<(Features, &str)> = vec![
        (
            with(&|_| ()),
            "auto;tier=small;points=0;signs=none;prefer=quality",
        ),
        (
            with(&|f| f.input_tokens = 2000),
            "auto;tier=medium;points=1;signs=long;prefer=quality",
        ),
        (
            with(&|f| f.input_tokens = 16_000),
            "auto;tier=medium;points=2;signs=long+very-long;prefer=quality",
        ),
        (
            with(&|f| {
                f.code_percent = 20;
                f.turns = 9;
                f.other_script = true;
            }),
            "auto;tier=large;points=3;signs=code+turns+script;prefer=quality",
        ),
        (
            with(&|f| f.needs = needs(&[Capability::Reasoning, Capability::Tools])),
            "auto;tier=large;points=3;signs=tools+reasoning;prefer=quality",
        ),
        (
            with(&|f| {
                f.needs = needs(&[Capability::Reasoning, Capability::JsonSchema]);
                f.prefer = Prefer::Latency;
            }),
            "auto;tier=medium;points=3;signs=schema+reasoning;prefer=latency",
        ),
        (
            with(&|f| {
                f.needs = needs(&[Capability::Images, Capability::Files, Capability::Reasoning]);
                f.prefer = Prefer::Cost;
            }),
            "auto;tier=small;points=3;signs=pictures+reasoning;prefer=cost",
        ),
    ];
    for (features, reason) in table {
        let choice = choose(Choose::Auto, &features, &tiers(), 0);
        assert_eq!(choice.reason, reason);
        let first = match reason.split(';').nth(1).unwrap() {
            "tier=small" => 2,
            "tier=medium" => 1,
            _ => 0,
        };
        assert_eq!(choice.order[0], first, "{reason}");
        assert_eq!(choice.order.len(), 3);
    }
}

#[test]
fn stronger_models_stand_in_before_weaker_ones() {
    let order = |points: u64| {
        let mut features = plain(Prefer::Quality);
        features.input_tokens = [100, 2000, 16_000][usize::try_from(points.min(2)).unwrap()];
        features.code_percent = if points > 2 { 50 } else { 0 };
        choose(Choose::Auto, &features, &tiers(), 0).order
    };
    assert_eq!(order(0), [2, 1, 0]);
    assert_eq!(order(1), [1, 0, 2]);
    assert_eq!(order(3), [0, 1, 2]);
}

#[test]
fn within_a_tier_the_preference_decides() {
    let (cheap, dear) = (price(0.1, 0.2), price(3.0, 15.0));
    let mut a = candidate(Tier::Small);
    (a.price, a.p95) = (Some(&dear), Some(Millis(200)));
    let mut b = candidate(Tier::Small);
    (b.price, b.p95) = (Some(&cheap), Some(Millis(900)));
    let unknown = candidate(Tier::Small);
    let all = [unknown, a, b];
    let order = |prefer| choose(Choose::Auto, &plain(prefer), &all, 0).order;
    assert_eq!(order(Prefer::Quality), [0, 1, 2]);
    assert_eq!(order(Prefer::Latency), [1, 2, 0]);
    assert_eq!(order(Prefer::Cost), [2, 1, 0]);
}

#[test]
fn an_open_breaker_goes_to_the_end() {
    let mut all = tiers();
    all[2].open = true;
    let features = plain(Prefer::Quality);
    assert_eq!(choose(Choose::Auto, &features, &all, 0).order, [1, 0, 2]);
    // The engine passes over it; an order that the operator gave stays as it is.
    assert_eq!(choose(Choose::Order, &features, &all, 0).order, [0, 1, 2]);
}

#[test]
fn who_cannot_carry_a_request_is_left_out_and_the_reason_named() {
    let dear = price(1000.0, 1000.0);
    let mut features = plain(Prefer::Quality);
    features.needs = [Capability::Tools, Capability::Images]
        .into_iter()
        .collect();
    features.budget = Some(Micros(999));
    let good = candidate(Tier::Small);
    let mut text_only = good;
    text_only.capabilities = [Capability::Tools].into_iter().collect();
    let mut narrow = good;
    narrow.context_tokens = Some(1099);
    let mut exact = good;
    exact.context_tokens = Some(1100);
    let mut terse = narrow;
    terse.max_output_tokens = Some(999);
    let mut expensive = good;
    expensive.price = Some(&dear);
    let all = [good, text_only, narrow, exact, terse, expensive];
    for how in [Choose::Order, Choose::Weighted, Choose::Auto] {
        let choice = choose(how, &features, &all, 1);
        let mut able = choice.order.clone();
        able.sort_unstable();
        assert_eq!(able, [0, 3, 4]);
        assert_eq!(
            choice.left_out,
            [
                (1, Obstacle::Lacks(Capability::Images)),
                (
                    2,
                    Obstacle::Context {
                        needed: 1100,
                        limit: 1099
                    }
                ),
                (
                    5,
                    Obstacle::Budget {
                        cost: Micros(1_100_000)
                    }
                ),
            ]
        );
    }
    assert_eq!(Obstacle::Lacks(Capability::Images).name(), "images");
    features.budget = None;
    assert_eq!(obstacle(&features, &expensive), None);
}

#[test]
fn the_text_tells_code_and_script() {
    let of = |text: &str| {
        let mut conversation = empty();
        conversation.turns.push(Turn {
            role: Role::User,
            parts: vec![Part::text(text)],
        });
        Features::of(&conversation, 10, Prefer::Quality, None)
    };
    assert_eq!(of("Why is the sky blue?").code_percent, 0);
    assert_eq!(of("```\nlet a = 1\nlet b = 2\n```").code_percent, 100);
    assert!(of("What does this do?\n```py\nprint(1)\n```\nThanks").code_percent >= 20);
    assert_eq!(of("while (a) {\n  b();\n}").code_percent, 100);
    assert!(!of("Größe und Straße, œuvre, Việt Nam").other_script);
    assert!(of("今天天气怎么样, ok?").other_script);
    assert!(of("Какая сегодня погода").other_script);
    assert!(!of("```\n漢字\n```\nWhat is this?").other_script);
    assert_eq!(of("one").turns, 1);
}

#[test]
fn weights_are_respected() {
    const DRAWS: u64 = 20_000;
    let weights = [5, 3, 2, 0];
    let mut first = [0_u64; 4];
    let mut second_after_first = [0_u64; 4];
    for seed in 0..DRAWS {
        let order = weighted(&weights, seed);
        first[order[0]] += 1;
        if order[0] == 0 {
            second_after_first[order[1]] += 1;
        }
        assert_eq!(order[3], 3, "weight 0 comes last");
    }
    // Chi-square with two degrees of freedom stays below 13.8 in 999 of 1000 fair draws.
    let chi_square = |counts: &[u64], shares: &[f64], draws: u64| -> f64 {
        counts
            .iter()
            .zip(shares)
            .map(|(count, share)| {
                let wanted = share * draws as f64;
                (*count as f64 - wanted).powi(2) / wanted
            })
            .sum()
    };
    assert!(
        chi_square(&first[..3], &[0.5, 0.3, 0.2], DRAWS) < 13.8,
        "{first:?}"
    );
    let draws = first[0];
    let rest = &second_after_first[1..3];
    assert!(chi_square(rest, &[0.6, 0.4], draws) < 13.8, "{rest:?}");
    assert_eq!(first[3], 0);
}

/// Tier, weight, bits of capabilities and of a price, context, p95, breaker.
type Raw = (u8, u32, u16, Option<u64>, Option<u64>, bool);

fn candidates() -> impl Strategy<Value = Vec<Raw>> {
    prop::collection::vec(
        (
            0_u8..3,
            0_u32..5,
            any::<u16>(),
            prop::option::of(500_u64..4000),
            prop::option::of(0_u64..1000),
            any::<bool>(),
        ),
        0..7,
    )
}

proptest! {
    #[test]
    fn a_choice_is_complete_and_never_of_one_that_cannot_carry_it(
        raw in candidates(),
        need in prop::collection::vec(0_usize..9, 0..3),
        how in prop::sample::select(vec![Choose::Order, Choose::Weighted, Choose::Auto]),
        prefer in prop::sample::select(vec![Prefer::Quality, Prefer::Latency, Prefer::Cost]),
        input in 1_u64..4000,
        budget in prop::option::of(0_u64..3000),
        seed in any::<u64>(),
    ) {
        let price = price(1.0, 2.0);
        let all: Vec<Candidate<'_>> = raw.iter().map(|(tier, weight, bits, context, p95, open)| Candidate {
            tier: [Tier::Small, Tier::Medium, Tier::Large][usize::from(*tier)],
            weight: *weight,
            capabilities: Capability::ALL.into_iter().enumerate()
                .filter(|(i, _)| bits >> i & 1 == 1).map(|(_, c)| c).collect(),
            context_tokens: *context,
            max_output_tokens: None,
            price: (bits & 512 != 0).then_some(&price),
            p95: p95.map(Millis),
            open: *open,
        }).collect();
        let features = Features {
            input_tokens: input,
            needs: need.iter().map(|i| Capability::ALL[*i]).collect(),
            budget: budget.map(Micros),
            ..plain(prefer)
        };
        let choice = choose(how, &features, &all, seed);
        for i in &choice.order {
            let chosen = &all[*i];
            for need in features.needs.iter() {
                prop_assert!(chosen.capabilities.has(need));
            }
            prop_assert!(chosen.context_tokens.is_none_or(|c| input + 1000 <= c));
            if let (Some(left), Some(_)) = (budget, chosen.price) {
                prop_assert!(input + 2 * 1000 <= left);
            }
        }
        let mut seen: Vec<usize> = choice.order.iter().copied()
            .chain(choice.left_out.iter().map(|(i, _)| *i)).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..all.len()).collect::<Vec<_>>());
        prop_assert!(choice.reason.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert_eq!(&choice, &choose(how, &features, &all, seed));
    }

    #[test]
    fn a_weighted_order_has_everyone_once(weights in prop::collection::vec(any::<u32>(), 0..9), seed in any::<u64>()) {
        let mut order = weighted(&weights, seed);
        order.sort_unstable();
        prop_assert_eq!(order, (0..weights.len()).collect::<Vec<_>>());
    }
}
