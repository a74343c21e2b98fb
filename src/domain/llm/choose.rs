//! Which targets are tried, and in which order: as they stand, at random by weight, or by what the request is like.
//!
//! Targets that cannot carry a request are left out and the reason is named. Everything here is deterministic: the seed
//! of the weighted choice is an argument. docs/configuration.md explains the same tables.

use crate::base::time::Millis;
use crate::domain::llm::capability::{self, Capabilities};
use crate::domain::llm::message::Usage;
use crate::domain::llm::normal::conversation::{Conversation, Part};
use crate::domain::llm::price::{self, Micros};
use crate::domain::llm::tokens;
use crate::domain::settings::config::{Capability, Choose, Prefer, Price, Tier};

/// What a request is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Estimated input.
    pub input_tokens: u64,
    /// Ceiling of the output.
    pub output_tokens: u64,
    /// Share of the text that is code, in percent.
    pub code_percent: u64,
    /// Is most of the text in another script than Latin?
    pub other_script: bool,
    /// Turns so far.
    pub turns: usize,
    /// What carrying it takes.
    pub needs: Capabilities,
    /// What the caller or the alias asks for.
    pub prefer: Prefer,
    /// What may still be spent; `None` without a budget.
    pub budget: Option<Micros>,
}

impl Features {
    /// Looks at a request. `output_tokens` is its ceiling after the alias's.
    #[must_use]
    pub fn of(
        conversation: &Conversation,
        output_tokens: u64,
        prefer: Prefer,
        budget: Option<Micros>,
    ) -> Self {
        let mut text = TextShares::default();
        for part in conversation.turns.iter().flat_map(|turn| &turn.parts) {
            if let Part::Text { text: words, .. } = part {
                text.add(words);
            }
        }
        Self {
            input_tokens: tokens::conversation(conversation),
            output_tokens,
            code_percent: percent(text.code_bytes, text.bytes),
            other_script: percent(text.other_letters, text.letters) > 50,
            turns: conversation.turns.len(),
            needs: capability::needs(conversation),
            prefer,
            budget,
        }
    }
}

/// One target that may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// How much its model can do.
    pub tier: Tier,
    /// Its share where the choice is weighted.
    pub weight: u32,
    /// What it can carry.
    pub capabilities: Capabilities,
    /// Tokens that fit, input and output together; `None` when unknown.
    pub context_tokens: Option<u64>,
    /// Most tokens that it writes; `None` when unknown.
    pub max_output_tokens: Option<u64>,
    /// What it costs; `None` when unknown.
    pub price: Option<&'a Price>,
    /// Recent 95th percentile of the time to its first token.
    pub p95: Option<Millis>,
    /// Is its breaker open?
    pub open: bool,
}

/// Why a target cannot carry a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It lacks this capability (the first that is missing).
    Lacks(Capability),
    /// The request does not fit.
    Context {
        /// Estimated tokens, the output's ceiling included.
        needed: u64,
        /// Tokens that fit.
        limit: u64,
    },
    /// The most that it may cost is more than what is left.
    Budget {
        /// That most.
        cost: Micros,
    },
}

impl Obstacle {
    /// A word for logs and headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lacks(capability) => capability.name(),
            Self::Context { .. } => "context",
            Self::Budget { .. } => "budget",
        }
    }
}

/// A choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Indexes of the candidates in the order in which they are to be tried. Empty when none can carry the request.
    pub order: Vec<usize>,
    /// The candidates that were left out, and why.
    pub left_out: Vec<(usize, Obstacle)>,
    /// Why this order, for a header and the log: visible ASCII without spaces.
    pub reason: String,
}

/// Orders the candidates that can carry the request. `seed` is used by the weighted choice alone.
#[must_use]
pub fn choose(how: Choose, features: &Features, candidates: &[Candidate<'_>], seed: u64) -> Choice {
    let mut able: Vec<(usize, &Candidate<'_>)> = Vec::new();
    let mut left_out = Vec::new();
    for (i, candidate) in candidates.iter().enumerate() {
        match obstacle(features, candidate) {
            None => able.push((i, candidate)),
            Some(obstacle) => left_out.push((i, obstacle)),
        }
    }
    let reason = match how {
        Choose::Order => "order".to_owned(),
        Choose::Weighted => {
            let weights: Vec<u32> = able.iter().map(|(_, c)| c.weight).collect();
            let order = weighted(&weights, seed);
            able = order.iter().filter_map(|i| able.get(*i).copied()).collect();
            "weighted".to_owned()
        }
        Choose::Auto => {
            let wanted = Wanted::of(features);
            able.sort_by_cached_key(|(_, candidate)| rank(&wanted, features, candidate));
            wanted.reason(features.prefer)
        }
    };
    Choice {
        order: able.into_iter().map(|(i, _)| i).collect(),
        left_out,
        reason,
    }
}

/// Why a candidate cannot carry a request; `None` when it can. What is unknown is no obstacle.
#[must_use]
pub fn obstacle(features: &Features, candidate: &Candidate<'_>) -> Option<Obstacle> {
    if let Some(missing) = candidate.capabilities.lacks(features.needs).iter().next() {
        return Some(Obstacle::Lacks(missing));
    }
    let output = output_of(features, candidate);
    let needed = features.input_tokens.saturating_add(output);
    if let Some(limit) = candidate.context_tokens.filter(|limit| needed > *limit) {
        return Some(Obstacle::Context { needed, limit });
    }
    let cost = worst_cost(features, candidate)?;
    features
        .budget
        .filter(|left| cost > *left)
        .map(|_| Obstacle::Budget { cost })
}

fn output_of(features: &Features, candidate: &Candidate<'_>) -> u64 {
    candidate
        .max_output_tokens
        .map_or(features.output_tokens, |most| {
            most.min(features.output_tokens)
        })
}

/// The most that the request may cost there: nothing cached, all of the output used.
fn worst_cost(features: &Features, candidate: &Candidate<'_>) -> Option<Micros> {
    let usage = Usage {
        input: features.input_tokens,
        output: output_of(features, candidate),
        ..Usage::default()
    };
    candidate
        .price
        .map(|price| price::cost(&usage.into(), price))
}

// === auto ===

/// What `auto` looks for, and from which signs.
struct Wanted {
    tier: Tier,
    points: u32,
    signs: Vec<&'static str>,
}

/// Input from here on is long, and from there on very long.
const LONG_TOKENS: u64 = 2000;
const VERY_LONG_TOKENS: u64 = 16_000;
/// Text with so much code is about code.
const CODE_PERCENT: u64 = 20;
/// A conversation of more turns has grown complicated.
const MANY_TURNS: usize = 8;

impl Wanted {
    fn of(features: &Features) -> Self {
        let needs = |capability| features.needs.has(capability);
        let signs = [
            ("long", features.input_tokens >= LONG_TOKENS, 1),
            ("very-long", features.input_tokens >= VERY_LONG_TOKENS, 1),
            ("code", features.code_percent >= CODE_PERCENT, 1),
            ("tools", needs(Capability::Tools), 1),
            ("schema", needs(Capability::JsonSchema), 1),
            (
                "pictures",
                needs(Capability::Images) || needs(Capability::Files),
                1,
            ),
            ("turns", features.turns > MANY_TURNS, 1),
            ("script", features.other_script, 1),
            ("reasoning", needs(Capability::Reasoning), 2),
        ];
        let present = signs.iter().filter(|(_, present, _)| *present);
        let points = present
            .clone()
            .fold(0_u32, |sum, (_, _, points)| sum.saturating_add(*points));
        // Most points that a small and a medium model are thought to manage.
        let (small, medium) = match features.prefer {
            Prefer::Quality => (0, 2),
            Prefer::Latency => (2, 5),
            Prefer::Cost => (3, 7),
        };
        let tier = if points <= small {
            Tier::Small
        } else if points <= medium {
            Tier::Medium
        } else {
            Tier::Large
        };
        Self {
            tier,
            points,
            signs: present.map(|(name, ..)| *name).collect(),
        }
    }

    fn reason(&self, prefer: Prefer) -> String {
        let signs = if self.signs.is_empty() {
            "none".to_owned()
        } else {
            self.signs.join("+")
        };
        format!(
            "auto;tier={};points={};signs={signs};prefer={}",
            self.tier.name(),
            self.points,
            prefer.name()
        )
    }
}

/// Smaller goes first: closed breakers, then the wanted tier, stronger ones by distance, weaker ones by distance; within a
/// tier what the preference measures. What is unknown comes last, and equals keep their order.
fn rank(wanted: &Wanted, features: &Features, candidate: &Candidate<'_>) -> (bool, u8, u64) {
    let distance = match (wanted.tier, candidate.tier) {
        (Tier::Small, Tier::Small) | (Tier::Medium, Tier::Medium) | (Tier::Large, Tier::Large) => 0,
        (Tier::Small, Tier::Medium) | (Tier::Medium, Tier::Large) => 1,
        (Tier::Small, Tier::Large) => 2,
        (Tier::Medium, Tier::Small) | (Tier::Large, Tier::Medium) => 3,
        (Tier::Large, Tier::Small) => 4,
    };
    let measure = match features.prefer {
        Prefer::Quality => Some(0),
        Prefer::Latency => candidate.p95.map(|p95| p95.0),
        Prefer::Cost => worst_cost(features, candidate).map(|cost| cost.0),
    };
    (candidate.open, distance, measure.unwrap_or(u64::MAX))
}

// === weighted ===

/// All indexes in a random order without repetition: each place is drawn among those left in proportion to their
/// weights. Weight 0 stands behind all others, in the given order.
#[must_use]
pub fn weighted(weights: &[u32], seed: u64) -> Vec<usize> {
    let mut left: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
    let mut state = seed;
    let mut order = Vec::with_capacity(left.len());
    loop {
        let total = left.iter().fold(0_u64, |sum, (_, weight)| {
            sum.saturating_add(u64::from(*weight))
        });
        if total == 0 {
            break;
        }
        let mut point = below(next(&mut state), total);
        let drawn = left.iter().position(|(_, weight)| {
            let hit = point < u64::from(*weight);
            point = point.saturating_sub(u64::from(*weight));
            hit
        });
        let Some(drawn) = drawn else { break };
        order.push(left.remove(drawn).0);
    }
    order.extend(left.into_iter().map(|(i, _)| i));
    order
}

/// SplitMix64 (Steele, Lea and Flood, 2014): good enough to spread load, and every seed is a fine one.
const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = *state;
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random number below `bound` by the high half of the product; its bias is below `bound` ÷ 2⁶⁴.
fn below(random: u64, bound: u64) -> u64 {
    let product = u128::from(random).saturating_mul(u128::from(bound));
    u64::try_from(product >> 64).unwrap_or(0)
}

// === what the text is like ===

#[derive(Default)]
struct TextShares {
    bytes: u64,
    code_bytes: u64,
    letters: u64,
    other_letters: u64,
}

impl TextShares {
    fn add(&mut self, text: &str) {
        let mut fenced = false;
        for line in text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(bytes);
            if fenced || is_fence || looks_like_code(line) {
                self.code_bytes = self.code_bytes.saturating_add(bytes);
            } else {
                self.count_letters(line);
            }
            fenced ^= is_fence;
        }
    }

    fn count_letters(&mut self, line: &str) {
        for c in line.chars().filter(|c| c.is_alphabetic()) {
            self.letters = self.letters.saturating_add(1);
            // Latin letters end with U+024F, but for those of Vietnamese and the like.
            if !matches!(c, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}') {
                self.other_letters = self.other_letters.saturating_add(1);
            }
        }
    }
}

/// Lines of prose end in neither a brace nor a semicolon.
fn looks_like_code(line: &str) -> bool {
    line.trim_end().ends_with(['{', '}', ';'])
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100)
        .checked_div(whole)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
