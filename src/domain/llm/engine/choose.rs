//! Which target next, and when: a pure choice over what has happened to the chain so far.
//!
//! 1. After a first `Server` or `Conflict` the same target once more, after a short wait: but an untried one is preferred
//!    when the target asked for a wait itself, or when only one attempt is left.
//! 2. Else the first target of the chain that was not tried yet, at once.
//! 3. Else round again: the target that is ready first, of those that failed in a way that allows it.
//!
//! No attempt begins once the budget is used up, the attempts are used up, or the total deadline has passed.

use super::failure::{Failure, FailureKind};
use super::jitter::{self, Jitter};
use super::{Fatal, Gate, Mode, Plan, TargetId};
use crate::base::time::Millis;

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start an attempt at once.
    Start(TargetId),
    /// Start one then.
    Wait(TargetId, Millis),
    /// There is nothing left to try, or no time for it.
    Nothing,
}

/// How soon the target that failed last may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// At once, before all others: it refused the form of the request, and another form is left.
    Now,
    /// After a short wait, before all others.
    First,
    /// After all others.
    Later,
}

/// Whether a target may still be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Yes.
    Free,
    /// Once: the call holds its single trial. When it fails the breaker stays open, so there is no second attempt.
    Trial,
    /// Not in this call.
    Out,
}

/// What has happened to one target.
#[derive(Clone, Debug)]
struct Slot {
    standing: Standing,
    attempts: u32,
    /// Not before then.
    ready: Millis,
    /// The end of the wait that it asked for last, or of its breaker's pause; `None` where no wait helps.
    peace: Option<Millis>,
    /// Its breaker is open until the operator acts.
    fatal: Option<Fatal>,
    prefill: bool,
    context_tokens: Option<u64>,
}

/// When and how many attempts may still begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) now: Millis,
    /// Attempts must begin before then.
    pub(super) before: Millis,
    /// So many may.
    pub(super) attempts: u32,
}

/// The chain of targets and what has happened to each.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    slots: Vec<Slot>,
    /// A context of that size was too small.
    too_small: Option<u64>,
    attempts_per_target: u32,
}

impl Chain {
    pub(super) fn new(plan: &Plan) -> Self {
        let slots = plan.targets.iter().map(|target| {
            let (standing, peace, fatal) = match target.gate {
                Gate::Closed => (Standing::Free, None, None),
                Gate::Trial => (Standing::Trial, None, None),
                Gate::Open { until, fatal } => (
                    Standing::Out,
                    Some(until).filter(|_| fatal.is_none()),
                    fatal,
                ),
            };
            Slot {
                standing,
                attempts: 0,
                ready: Millis::ZERO,
                peace,
                fatal,
                prefill: target.prefill,
                context_tokens: target.context_tokens,
            }
        });
        Self {
            slots: slots.collect(),
            too_small: None,
            attempts_per_target: plan.retry.attempts_per_target.max(1),
        }
    }

    /// The choice. `after` is the target that failed or broke last.
    pub(super) fn next(&self, room: Room, after: Option<(TargetId, Again)>) -> Next {
        if room.attempts == 0 || room.now >= room.before {
            return Next::Nothing;
        }
        let untried = self.untried(|standing| standing != Standing::Out);
        if let Some((target, again)) = after
            && let Some(slot) = self.slots.get(target)
            && self.may_retry(slot)
            && slot.ready < room.before
        {
            let first = slot.attempts == 1 && slot.peace.is_none();
            let for_others = u32::from(untried.is_some());
            match again {
                Again::Now => return Next::Start(target),
                Again::First if first && room.attempts > for_others => {
                    return start_at(target, slot.ready, room);
                }
                Again::First | Again::Later => {}
            }
        }
        if let Some(target) = untried {
            return Next::Start(target);
        }
        // Of those that are ready, the one that failed last comes last.
        let last = after.map(|(target, _)| target);
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.attempts > 0 && self.may_retry(slot))
            .min_by_key(|(target, slot)| (slot.ready.max(room.now), Some(*target) == last, *target))
            .filter(|(_, slot)| slot.ready < room.before)
            .map_or(Next::Nothing, |(target, slot)| {
                start_at(target, slot.ready, room)
            })
    }

    /// The target of a hedge: the first untried one that is healthy.
    pub(super) fn hedge(&self) -> Option<TargetId> {
        self.untried(|standing| standing == Standing::Free)
    }

    fn untried(&self, standing: impl Fn(Standing) -> bool) -> Option<TargetId> {
        self.slots
            .iter()
            .position(|slot| slot.attempts == 0 && standing(slot.standing) && self.fits(slot))
    }

    fn may_retry(&self, slot: &Slot) -> bool {
        slot.standing == Standing::Free
            && slot.attempts < self.attempts_per_target
            && self.fits(slot)
    }

    /// Is its context larger than those that were too small, as far as is known?
    fn fits(&self, slot: &Slot) -> bool {
        match (slot.context_tokens, self.too_small) {
            (Some(tokens), Some(too_small)) => tokens > too_small,
            _ => true,
        }
    }

    // === What happened ===

    /// An attempt begins; says how a continued answer is to be asked for.
    pub(super) fn started(&mut self, target: TargetId, continued: bool) -> Mode {
        let Some(slot) = self.slots.get_mut(target) else {
            return Mode::Fresh;
        };
        slot.attempts = slot.attempts.saturating_add(1);
        match (continued, slot.prefill) {
            (false, _) => Mode::Fresh,
            (true, true) => Mode::Prefill,
            (true, false) => Mode::Instruction,
        }
    }

    /// An attempt failed before its first token.
    pub(super) fn failed(
        &mut self,
        now: Millis,
        target: TargetId,
        mode: Mode,
        failure: Failure,
        plan: &Plan,
        jitter: &mut Jitter,
    ) {
        let Some(slot) = self.slots.get_mut(target) else {
            return;
        };
        slot.peace = failure
            .wait
            .filter(|_| !failure.kind.is_operators())
            .map(|wait| now.plus(wait));
        if failure.kind == FailureKind::ContextLength {
            self.too_small = self.too_small.max(slot.context_tokens);
        }
        // An absurd wait never blocks: others are asked.
        let too_long = failure
            .wait
            .is_some_and(|wait| wait > plan.retry.max_retry_after);
        let refuses_prefill = failure.kind == FailureKind::Rejected && mode == Mode::Prefill;
        if refuses_prefill {
            slot.prefill = false;
            slot.ready = now;
        } else if too_long || !failure.kind.retries_same() {
            slot.standing = Standing::Out;
        } else {
            let wait = jitter::wait(jitter, &plan.retry, slot.attempts, failure.wait);
            slot.ready = now.plus(wait);
        }
    }

    /// An attempt broke after its first token. The target may be asked again where there is no other.
    pub(super) fn broke(
        &mut self,
        now: Millis,
        target: TargetId,
        plan: &Plan,
        jitter: &mut Jitter,
    ) {
        if let Some(slot) = self.slots.get_mut(target) {
            let wait = jitter::wait(jitter, &plan.retry, slot.attempts, None);
            slot.ready = now.plus(wait);
        }
    }

    /// A first token: a trial has succeeded, and the target is healthy again.
    pub(super) fn succeeded(&mut self, target: TargetId) {
        if let Some(slot) = self.slots.get_mut(target)
            && slot.standing == Standing::Trial
        {
            slot.standing = Standing::Free;
        }
    }

    /// Gives back every trial that was not begun; those targets are out.
    pub(super) fn give_back_trials(&mut self) -> Vec<TargetId> {
        let mut given = Vec::new();
        for (target, slot) in self.slots.iter_mut().enumerate() {
            if slot.standing == Standing::Trial && slot.attempts == 0 {
                slot.standing = Standing::Out;
                given.push(target);
            }
        }
        given
    }

    /// Why no target can be asked until the operator acts, where that is so of all of them.
    pub(super) fn fatal(&self) -> Option<Fatal> {
        let all = self.slots.iter().map(|slot| slot.fatal);
        all.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// The shortest wait that a target asked for, or that its breaker still has.
    pub(super) fn peace(&self, now: Millis) -> Option<Millis> {
        self.slots
            .iter()
            .filter_map(|slot| slot.peace)
            .min()
            .map(|until| until.since(now))
    }
}

fn start_at(target: TargetId, ready: Millis, room: Room) -> Next {
    if ready <= room.now {
        Next::Start(target)
    } else {
        Next::Wait(target, ready)
    }
}
