//! A fake world around the engine: targets that stream a known text or fail as told, a client, a clock.

use std::collections::BTreeMap;

use fastrand::Rng;
use gatehouse::base::time::Millis;
use gatehouse::domain::llm::engine::failure::{Break, Failure};
use gatehouse::domain::llm::engine::machine::Engine;
use gatehouse::domain::llm::engine::{Action, AttemptId, End, Input, Mode, Plan, TargetId};

use super::checker::Checker;

/// 2026-11-21T05:05:00Z
pub const START: Millis = Millis(1_795_237_500_000);

/// A generator, and the draws that the stories are made of.
#[derive(Clone, Debug)]
pub struct Random(Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())]
    }
}

/// What a target does with one attempt. Times are milliseconds from the start of the attempt, or between two pieces.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    Fail(u64, Failure),
    Silent,
    /// An end marker without any output.
    EmptyEnd(u64),
    EarlyBreak(u64, Break),
    Stream {
        first: u64,
        gap: u64,
        stop: Stop,
    },
}

/// How a stream stops; the number is that of its pieces.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    Whole,
    Cut(u64, Break, bool),
    Stall(u64),
    /// What a driver should call a break, called a failure.
    Fail(u64, Failure),
}

impl Behaviour {
    pub const fn answer(first: u64, gap: u64) -> Self {
        let stop = Stop::Whole;
        Self::Stream { first, gap, stop }
    }

    pub const fn cut(first: u64, gap: u64, pieces: u64, how: Break, continuable: bool) -> Self {
        let stop = Stop::Cut(pieces, how, continuable);
        Self::Stream { first, gap, stop }
    }

    pub const fn stall(first: u64, gap: u64, pieces: u64) -> Self {
        let stop = Stop::Stall(pieces);
        Self::Stream { first, gap, stop }
    }

    pub const fn late_failure(first: u64, gap: u64, pieces: u64, failure: Failure) -> Self {
        let stop = Stop::Fail(pieces, failure);
        Self::Stream { first, gap, stop }
    }
}

/// What the world is like, apart from the targets.
#[derive(Clone, Debug)]
pub struct Climate {
    /// Pieces of the known text.
    pub text: u64,
    /// The client goes after so many milliseconds.
    pub client_gone: Option<u64>,
    /// A tool call begins once so many pieces were delivered.
    pub tool_call: Option<u64>,
    /// Ticks come up to some seconds late.
    pub late_ticks: bool,
    /// Inputs are repeated, also for attempts that are over, and ticks come too early.
    pub echoes: bool,
    pub seed: u64,
    pub loud: bool,
}

impl Climate {
    pub const fn calm(seed: u64) -> Self {
        Self {
            text: 6,
            client_gone: None,
            tool_call: None,
            late_ticks: false,
            echoes: false,
            seed,
            loud: false,
        }
    }
}

/// What happened in one or many schedules: a simulation that never saw something proves nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(pub BTreeMap<&'static str, u64>);

impl Seen {
    pub fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// Everything was seen often enough to mean something.
    pub fn holds_everything(&self, schedules: u64) {
        for what in [
            "delivered",
            "delivered after a rescue",
            "failed",
            "cut",
            "client gone",
            "hedged",
            "hedge won",
            "hedge lost",
            "waited",
            "first-token deadline",
            "idle deadline",
            "total deadline",
            "trial given back",
            "prefill refused",
            "all open",
            "all open for the operator",
            "retry-after waited for",
            "retry-after too long",
            "went on to a larger context",
            "late input",
            "a caller in a hurry",
            "sent after a wait",
            "waited too long for a place",
        ] {
            let count = self.0.get(what).copied().unwrap_or(0);
            assert!(count >= schedules / 2_000, "{what}: {count}");
        }
    }
}

/// An attempt as the world plays it.
#[derive(Clone, Debug)]
struct Play {
    attempt: AttemptId,
    target: TargetId,
    behaviour: Behaviour,
    started: Millis,
    /// Pieces of the text that it goes on from.
    offset: u64,
    produced: u64,
    next: Option<Millis>,
    /// Waits for a place.
    queued: bool,
    committed: bool,
}

/// One call.
pub struct World {
    plan: Plan,
    climate: Climate,
    random: Random,
    plays: Vec<Play>,
    /// Number of attempts at each target.
    tries: Vec<usize>,
    delivered: u64,
    /// Every action with its time, for the stories.
    pub trail: Vec<(Millis, Action)>,
    pub end: Option<(Millis, End)>,
}

impl World {
    pub fn new(plan: Plan, climate: Climate) -> Self {
        Self {
            random: Random::new(climate.seed),
            plays: Vec::new(),
            tries: vec![0; plan.targets.len()],
            delivered: 0,
            trail: Vec::new(),
            end: None,
            plan,
            climate,
        }
    }

    /// Plays the call to its end. `behave` says what the nth attempt at a target meets, counted from 0.
    pub fn run(&mut self, mut behave: impl FnMut(TargetId, usize, Mode) -> Behaviour) -> Seen {
        let mut now = START;
        let (mut engine, actions) = Engine::new(self.plan.clone(), now, self.climate.seed);
        let mut checker = Checker::new(self.plan.clone(), now, self.climate.late_ticks);
        if self.climate.loud {
            println!("{:#?}\n{:#?}", self.plan, self.climate);
        }
        self.perform(now, &actions, &mut behave);
        checker.step(now, None, &actions, &engine);
        let gone = self
            .climate
            .client_gone
            .map(|after| START.plus(Millis(after)));
        let mut delay = Millis::ZERO;
        for steps in 0.. {
            if engine.is_over() {
                break;
            }
            assert!(steps < 5_000, "the call never ends");
            let due = engine.due().expect("a call that goes on has a deadline");
            let tick = due.plus(delay).max(now);
            let happens = self.plays.iter().filter_map(|play| play.next).min();
            let next = [Some(tick), happens, gone.filter(|gone| *gone >= now)]
                .into_iter()
                .flatten()
                .min()
                .unwrap();
            now = next;
            // At the same time anything may come first.
            let first = self.random.chance(50);
            let input = if gone == Some(now) {
                Input::ClientGone
            } else if happens == Some(now) && (first || tick > now) {
                self.happen(now)
            } else {
                if self.climate.late_ticks {
                    delay = Millis(self.random.pick(&[0, 1, 50, 3_000]));
                }
                Input::Tick
            };
            self.step(now, input.clone(), &mut engine, &mut checker, &mut behave);
            if self.climate.echoes && self.random.chance(30) {
                self.echo(now, input, &mut engine, &mut checker, &mut behave);
            }
            if self
                .climate
                .tool_call
                .is_some_and(|at| self.delivered >= at)
            {
                engine.forbid_rescue();
                checker.forbid_rescue();
            }
        }
        checker.finished(self.delivered, self.climate.text);
        checker.seen
    }

    fn step(
        &mut self,
        now: Millis,
        input: Input,
        engine: &mut Engine,
        checker: &mut Checker,
        behave: &mut impl FnMut(TargetId, usize, Mode) -> Behaviour,
    ) {
        let actions = engine.on(now, input.clone());
        if self.climate.loud {
            println!("{:>8} {input:?}\n         {actions:?}", now.since(START).0);
        }
        self.perform(now, &actions, behave);
        checker.step(now, Some(&input), &actions, engine);
    }

    /// Inputs that come twice, too late, or too early.
    fn echo(
        &mut self,
        now: Millis,
        input: Input,
        engine: &mut Engine,
        checker: &mut Checker,
        behave: &mut impl FnMut(TargetId, usize, Mode) -> Behaviour,
    ) {
        let attempt = u32::try_from(self.random.between(0, 9)).unwrap();
        let running = checker.is_running(attempt);
        let how = self.random.pick(&Break::ALL);
        let late = match self.random.between(0, 6) {
            0 if !running => Input::Token { attempt },
            1 if !running => Input::Ended { attempt },
            2 if !running => Input::Broken {
                attempt,
                how,
                continuable: true,
            },
            3 if !running => Input::Failed {
                attempt,
                failure: Failure::new(how.before_token()),
            },
            4 if !running => Input::Progress { attempt },
            5 => Input::Tick,
            // The same again, unless that would be news: a repeated failure of another attempt is none.
            _ => match input {
                Input::Progress { .. } | Input::Tick => Input::Tick,
                input => input,
            },
        };
        checker.seen.note("late input");
        self.step(now, late, engine, checker, behave);
    }

    /// The driver's part: starts, aborts and delivers.
    fn perform(
        &mut self,
        now: Millis,
        actions: &[Action],
        behave: &mut impl FnMut(TargetId, usize, Mode) -> Behaviour,
    ) {
        for action in actions {
            match action {
                Action::Start {
                    attempt,
                    target,
                    mode,
                } => {
                    let nth = self.tries[*target];
                    self.tries[*target] += 1;
                    let mut play = Play {
                        attempt: *attempt,
                        target: *target,
                        behaviour: behave(*target, nth, *mode),
                        started: now,
                        offset: if *mode == Mode::Fresh {
                            0
                        } else {
                            self.delivered
                        },
                        produced: 0,
                        next: None,
                        queued: self.plan.targets[*target].queues,
                        committed: false,
                    };
                    play.next = if play.queued {
                        let wait = self.random.pick(&[0, 100, 5_000, 60_000]);
                        Some(now.plus(Millis(wait)))
                    } else {
                        play.first()
                    };
                    self.plays.push(play);
                }
                Action::Abort { attempt } => self.plays.retain(|play| play.attempt != *attempt),
                Action::Commit { attempt } => {
                    let play = self.plays.iter_mut().find(|play| play.attempt == *attempt);
                    let play = play.expect("only what runs is committed");
                    play.committed = true;
                    // The held pieces first.
                    for piece in play.offset..play.offset + play.produced {
                        assert_eq!(piece, self.delivered, "text is neither repeated nor lost");
                        self.delivered += 1;
                    }
                }
                Action::Finish(end) => self.end = Some((now, end.clone())),
                Action::Book { .. } | Action::Report { .. } | Action::Wake { .. } => {}
            }
            self.trail.push((now, action.clone()));
        }
    }

    /// The next thing that happens to an attempt.
    fn happen(&mut self, now: Millis) -> Input {
        let text = self.climate.text;
        let closed = self
            .climate
            .tool_call
            .is_some_and(|at| self.delivered >= at);
        let play = self.plays.iter_mut().find(|play| play.next == Some(now));
        let play = play.expect("something happens now");
        let attempt = play.attempt;
        if play.queued {
            play.queued = false;
            play.started = now;
            play.next = play.first();
            return Input::Sent { attempt };
        }
        let (input, goes_on) = play.advance(text, !closed);
        if matches!(input, Input::Token { .. } | Input::Progress { .. }) && play.committed {
            assert_eq!(play.offset + play.produced - 1, self.delivered);
            self.delivered += 1;
        }
        if !goes_on {
            self.plays.retain(|play| play.attempt != attempt);
        }
        input
    }
}

impl Play {
    fn first(&self) -> Option<Millis> {
        let after = match self.behaviour {
            Behaviour::Fail(after, _)
            | Behaviour::EmptyEnd(after)
            | Behaviour::EarlyBreak(after, _) => after,
            Behaviour::Silent => return None,
            Behaviour::Stream { first, .. } => first,
        };
        Some(self.started.plus(Millis(after)))
    }

    /// One input, and whether the attempt goes on after it. `open`: it can be continued.
    fn advance(&mut self, text: u64, open: bool) -> (Input, bool) {
        let attempt = self.attempt;
        let _ = self.target;
        let (gap, stop) = match self.behaviour {
            Behaviour::Fail(_, failure) => return (Input::Failed { attempt, failure }, false),
            Behaviour::EmptyEnd(_) => return (Input::Ended { attempt }, false),
            Behaviour::EarlyBreak(_, how) => {
                let continuable = open;
                return (
                    Input::Broken {
                        attempt,
                        how,
                        continuable,
                    },
                    false,
                );
            }
            Behaviour::Silent => unreachable!("nothing happens to it"),
            Behaviour::Stream { gap, stop, .. } => (gap, stop),
        };
        let left = text - self.offset;
        let stops_at = match stop {
            Stop::Whole => left,
            Stop::Cut(at, ..) | Stop::Stall(at) | Stop::Fail(at, _) => at.min(left),
        };
        if self.produced < stops_at {
            self.produced += 1;
            let stalls = self.produced == stops_at && matches!(stop, Stop::Stall(_));
            self.next = self
                .next
                .filter(|_| !stalls)
                .map(|now| now.plus(Millis(gap)));
            let input = match self.produced {
                1 => Input::Token { attempt },
                _ => Input::Progress { attempt },
            };
            return (input, true);
        }
        let input = match stop {
            Stop::Whole | Stop::Stall(_) => Input::Ended { attempt },
            Stop::Cut(_, how, continuable) => Input::Broken {
                attempt,
                how,
                continuable: continuable && open,
            },
            Stop::Fail(_, failure) => Input::Failed { attempt, failure },
        };
        (input, false)
    }
}
