//! What the attempts of a call took.

use super::Drive;
use crate::app::attempt::usage_of;
use crate::app::job::Wants;
use crate::app::port::Port;
use crate::domain::llm::bound::{self, Bound, Told};
use crate::domain::llm::engine::{AttemptId, Booked, Mode, TargetId};
use crate::domain::llm::message::Usage;
use crate::domain::llm::plan::Candidate;
use crate::domain::llm::price::{Consumed, Micros};
use crate::domain::llm::stream::inlet::Inlet;

/// What one attempt took.
#[derive(Clone, Debug)]
pub struct Book {
    /// Which attempt.
    pub attempt: AttemptId,
    /// Which target.
    pub target: TargetId,
    /// How it ended.
    pub outcome: Booked,
    /// Its tokens.
    pub usage: Usage,
    /// Its price, where one is configured.
    pub cost: Option<Micros>,
    /// What it counts for budgets: what its provider told, and the most of everything that was not told.
    pub booked: Bound,
}

/// All attempts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub attempts: u32,
    /// Their tokens.
    pub usage: Usage,
    /// Their price; `None` when none of the models has one.
    pub cost: Option<Micros>,
}

impl<P: Port> Drive<P> {
    /// What all attempts took so far.
    #[must_use]
    pub fn total(&self) -> Total {
        self.total_without(None)
    }

    fn total_without(&self, attempt: Option<AttemptId>) -> Total {
        let books = || {
            let counts = move |book: &&Book| Some(book.attempt) != attempt;
            self.books.iter().filter(counts)
        };
        Total {
            attempts: self.engine_attempts(),
            usage: books().fold(Usage::default(), |sum, book| sum.plus(book.usage)),
            cost: books().filter_map(|book| book.cost).reduce(Micros::plus),
        }
    }

    fn engine_attempts(&self) -> u32 {
        let running = self.running.iter().filter(|a| !a.booked).count();
        u32::try_from(self.books.len().saturating_add(running)).unwrap_or(u32::MAX)
    }

    /// The comment behind the end of a stream, for callers that asked: what all attempts took.
    #[must_use]
    pub fn trailer(&self) -> Vec<u8> {
        let total = self.total();
        trailer(self.target_name().as_deref(), &total)
    }

    /// The same for a relay, whose last attempt may not be booked yet when its end is written.
    pub fn trailer_of_relay(&self) -> impl FnOnce(&Inlet) -> Vec<u8> + 'static {
        let before = self.total_without(self.committed);
        let name = self.target_name();
        let (port, input_tokens) = (self.port.clone(), self.job.input_tokens);
        let candidate = self
            .target()
            .and_then(|t| self.job.candidates.get(t))
            .cloned();
        move |inlet| {
            let usage = usage_of(inlet, input_tokens);
            let cost = candidate.and_then(|candidate| {
                let settings = port.settings();
                settings.cost(
                    &candidate.provider_name,
                    &candidate.model,
                    &usage.into(),
                    port.now(),
                )
            });
            let total = Total {
                attempts: before.attempts,
                usage: before.usage.plus(usage),
                cost: [before.cost, cost]
                    .into_iter()
                    .flatten()
                    .reduce(Micros::plus),
            };
            trailer(name.as_deref(), &total)
        }
    }

    /// The target that was asked last.
    #[must_use]
    pub fn last_target(&self) -> Option<String> {
        let target = self.books.last()?.target;
        self.job.candidates.get(target).map(Candidate::name)
    }

    fn target_name(&self) -> Option<String> {
        let candidate = self.job.candidates.get(self.target()?)?;
        Some(candidate.name())
    }

    /// Tokens of the attempts that are over.
    pub(super) fn total_booked(&self) -> Usage {
        self.books
            .iter()
            .fold(Usage::default(), |sum, book| sum.plus(book.usage))
    }

    /// Books an attempt that is over, once.
    pub(super) fn book(&mut self, id: AttemptId, outcome: Booked) {
        let now = self.port.now();
        let input_tokens = self.job.input_tokens;
        let Some(attempt) = self.attempt(id) else {
            return;
        };
        if attempt.booked {
            return;
        }
        attempt.booked = true;
        attempt.pending = None;
        let consumed = attempt.consumed(input_tokens);
        let (target, mode, told) = (attempt.target, attempt.mode, attempt.told());
        let booked = self.most(target, mode, &consumed, told);
        let cost = self.job.candidates.get(target).and_then(|candidate| {
            self.port
                .settings()
                .cost(&candidate.provider_name, &candidate.model, &consumed, now)
        });
        self.health.release(target, id);
        self.books.push(Book {
            attempt: id,
            target,
            outcome,
            usage: consumed.usage,
            cost,
            booked,
        });
    }

    /// What an attempt counts for budgets.
    fn most(&self, target: TargetId, mode: Mode, consumed: &Consumed, told: Told) -> Bound {
        let nothing = Bound {
            tokens: 0,
            cost: None,
        };
        let call = match &self.job.wants {
            // A continuation also sends what was said so far.
            Wants::Chat { .. } => bound::Call::Chat {
                rescue: mode != Mode::Fresh,
            },
            Wants::Raw { serves, asked } => bound::Call::Raw(*serves, asked),
        };
        let prices = &self.port.settings().config.prices;
        let now = self.port.now();
        self.job
            .candidates
            .get(target)
            .map_or(nothing, |candidate| {
                bound::booked(prices, candidate, call, (consumed, told), now)
            })
    }

    /// What all attempts count for budgets: tokens and micro-dollars. One that nobody ended counts like any other.
    pub(super) fn booked(&self) -> (u64, u64) {
        let running = self.running.iter().filter(|attempt| !attempt.booked);
        let running = running.map(|attempt| {
            let consumed = attempt.consumed(self.job.input_tokens);
            self.most(attempt.target, attempt.mode, &consumed, attempt.told())
        });
        let books = self.books.iter().map(|book| book.booked);
        books.chain(running).fold((0, 0), |(tokens, micros), most| {
            (
                most.tokens.saturating_add(tokens),
                most.cost.map_or(0, |cost| cost.0).saturating_add(micros),
            )
        })
    }
}

/// A Server-Sent Events comment: clients that do not look for it never see it.
fn trailer(target: Option<&str>, total: &Total) -> Vec<u8> {
    let said = serde_json::json!({
        "target": target,
        "attempts": total.attempts,
        "tokens_in": total.usage.input,
        "tokens_out": total.usage.output,
        "tokens_estimated": total.usage.estimated,
        "cost_usd": total.cost.map(|cost| cost.to_string()),
    });
    format!(": gatehouse {said}\n\n").into_bytes()
}
