//! The sixteen public failover scenarios, as an engine meets them: one primary, one fallback, a text of six pieces.

use gatehouse::base::machine::Machine;
use gatehouse::base::time::Millis;
use gatehouse::domain::llm::engine::failure::{Break, Failure, FailureKind};
use gatehouse::domain::llm::engine::{
    Action, Booked, Deadlines, End, Fatal, Gate, Health, Mode, Plan, Retry, Target, TargetId,
};
use gatehouse::domain::llm::health::local::{LocalGate, LocalView};
use gatehouse::domain::llm::health::machine::TargetState;

use super::world::{Behaviour, Climate, START, World};

/// What an alias might be configured to: two attempts at each target, waits of half a second and more, first token
/// within 15 s.
pub fn plan(targets: usize) -> Plan {
    let target = Target {
        gate: Gate::Closed,
        context_tokens: None,
        p95_first_token: None,
        queues: false,
        prefill: true,
    };
    Plan {
        targets: vec![target; targets],
        retry: Retry {
            attempts_per_target: 2,
            attempts: 5,
            budget: Millis(30_000),
            base: Millis(500),
            max: Millis(8_000),
            max_retry_after: Millis(10_000),
        },
        deadlines: Deadlines {
            first_token: Millis(15_000),
            own_first_token: Millis(15_000),
            adaptive_floor: None,
            idle: Millis(10_000),
            total: Millis(120_000),
        },
        rescue: true,
        hedge: false,
    }
}

const PRIMARY: TargetId = 0;
const FALLBACK: TargetId = 1;

/// A whole answer after 300 ms, a piece every 50 ms.
const ANSWER: Behaviour = Behaviour::answer(300, 50);

const fn refuses(kind: FailureKind) -> Behaviour {
    Behaviour::Fail(100, Failure::new(kind))
}

fn refuses_for(kind: FailureKind, wait: u64) -> Behaviour {
    let wait = Some(Millis(wait));
    Behaviour::Fail(100, Failure { kind, wait })
}

/// What happened in a call.
struct Told {
    /// Milliseconds since the begin, target and mode of each attempt.
    starts: Vec<(u64, TargetId, Mode)>,
    booked: Vec<Booked>,
    reports: Vec<(TargetId, Health)>,
    end: End,
    took: u64,
}

impl Told {
    fn targets(&self) -> Vec<TargetId> {
        self.starts.iter().map(|start| start.1).collect()
    }

    fn delivered(&self) -> bool {
        matches!(self.end, End::Delivered { .. })
    }
}

/// Plays a call: the nth attempt at a target meets the nth behaviour of its list, and the last one ever after. The
/// checker of the simulation looks on.
fn tell(plan: Plan, scripts: &[&[Behaviour]]) -> Told {
    let mut world = World::new(plan, Climate::calm(7));
    world.run(|target, nth, _| {
        let script = scripts[target];
        script[nth.min(script.len() - 1)]
    });
    let (at, end) = world.end.clone().expect("it is over");
    let mut told = Told {
        starts: vec![],
        booked: vec![],
        reports: vec![],
        end,
        took: at.since(START).0,
    };
    for (at, action) in &world.trail {
        match action {
            Action::Start { target, mode, .. } => {
                told.starts.push((at.since(START).0, *target, *mode));
            }
            Action::Book { outcome, .. } => told.booked.push(*outcome),
            Action::Report { target, health } => told.reports.push((*target, *health)),
            _ => {}
        }
    }
    told
}

fn failed_with(told: &Told) -> FailureKind {
    match &told.end {
        End::Failed { failure, .. } => failure.kind,
        end => panic!("{end:?}"),
    }
}

#[test]
fn s01_a_rate_limit_with_retry_after_is_waited_for_where_there_is_no_other_target() {
    let limited = refuses_for(FailureKind::RateLimited, 2_000);
    let told = tell(plan(1), &[&[limited, ANSWER]]);
    assert!(told.delivered());
    let (second, ..) = told.starts[1];
    // 100 ms until the refusal, 2 s as asked, and at most an eighth of it on top.
    assert!((2_100..=2_350).contains(&second), "{second}");
    // With a healthy fallback nobody waits.
    let told = tell(plan(2), &[&[limited, ANSWER], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(told.starts[1], (100, FALLBACK, Mode::Fresh));
}

#[test]
fn s02_a_rate_limit_that_stays_ends_at_the_fallback_or_as_a_rate_limit() {
    let limited = refuses(FailureKind::RateLimited);
    let told = tell(plan(2), &[&[limited], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(told.targets(), [PRIMARY, FALLBACK]);
    let told = tell(plan(1), &[&[limited]]);
    assert_eq!(failed_with(&told), FailureKind::RateLimited);
    assert_eq!(told.targets(), [PRIMARY, PRIMARY]);
    // An absurd wait blocks nobody, and is told.
    let told = tell(
        plan(1),
        &[&[refuses_for(FailureKind::RateLimited, 86_400_000)]],
    );
    assert_eq!(told.took, 100);
    let wait = Some(Millis(86_400_000));
    assert!(matches!(told.end, End::Failed { wait: told, .. } if told == wait));
}

#[test]
fn s03_one_server_error_is_retried_at_the_same_target() {
    let told = tell(
        plan(2),
        &[&[refuses(FailureKind::Server), ANSWER], &[ANSWER]],
    );
    assert!(told.delivered());
    assert_eq!(told.targets(), [PRIMARY, PRIMARY]);
    assert!(told.starts[1].0 <= 100 + 500);
}

#[test]
fn s04_an_unavailable_primary_is_retried_once_and_left() {
    let told = tell(plan(2), &[&[refuses(FailureKind::Server)], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(told.targets(), [PRIMARY, PRIMARY, FALLBACK]);
    // It says when it will be back: no retry there.
    let told = tell(
        plan(2),
        &[&[refuses_for(FailureKind::Server, 5_000)], &[ANSWER]],
    );
    assert_eq!(told.targets(), [PRIMARY, FALLBACK]);
}

#[test]
fn s05_a_reset_connection_goes_to_the_fallback_at_once() {
    let told = tell(plan(2), &[&[refuses(FailureKind::Unreachable)], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(
        told.starts,
        [(0, PRIMARY, Mode::Fresh), (100, FALLBACK, Mode::Fresh)]
    );
}

#[test]
fn s06_silence_ends_with_the_first_token_deadline() {
    let told = tell(plan(2), &[&[Behaviour::Silent], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(told.starts[1], (15_000, FALLBACK, Mode::Fresh));
    // Alone, it is asked as often as the budget allows, and the call ends.
    let told = tell(plan(1), &[&[Behaviour::Silent]]);
    assert_eq!(failed_with(&told), FailureKind::FirstToken);
    assert!(told.took <= 30_000 + 15_000);
}

#[test]
fn a_target_is_not_blamed_for_a_caller_in_a_hurry() {
    let mut hurried = plan(1);
    hurried.deadlines.first_token = Millis(100);
    let told = tell(hurried.clone(), &[&[ANSWER]]);
    assert_eq!(failed_with(&told), FailureKind::FirstToken);
    assert!(
        told.reports
            .iter()
            .all(|(_, health)| *health == Health::Neutral),
        "{:?}",
        told.reports
    );
    // Where the alias itself would have given up by then, it is the target's fault.
    hurried.targets[PRIMARY].p95_first_token = Some(Millis(10));
    hurried.deadlines.adaptive_floor = Some(Millis(100));
    let told = tell(hurried, &[&[ANSWER]]);
    assert!(
        told.reports
            .iter()
            .all(|(_, health)| matches!(health, Health::Failure { .. }))
    );
}

#[test]
fn s07_a_first_token_after_twenty_seconds_is_too_late_and_adaptive_deadlines_notice_sooner() {
    let late = Behaviour::answer(20_000, 50);
    let told = tell(plan(2), &[&[late], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(told.starts[1].0, 15_000);
    let mut plan = plan(2);
    plan.targets[PRIMARY].p95_first_token = Some(Millis(1_200));
    plan.deadlines.adaptive_floor = Some(Millis(2_000));
    let told = tell(plan.clone(), &[&[late], &[ANSWER]]);
    assert_eq!(told.starts[1].0, 3 * 1_200);
    plan.targets[PRIMARY].p95_first_token = Some(Millis(100));
    let told = tell(plan.clone(), &[&[late], &[ANSWER]]);
    assert_eq!(told.starts[1].0, 2_000, "not below the floor");
    // A caller may lower the deadline below the floor: adapting never raises it.
    plan.deadlines.first_token = Millis(1_000);
    let told = tell(plan.clone(), &[&[late], &[ANSWER]]);
    assert_eq!(told.starts[1].0, 1_000);
    // With a hedge nobody waits for the deadline.
    plan.deadlines.first_token = Millis(15_000);
    plan.targets[PRIMARY].p95_first_token = Some(Millis(800));
    plan.deadlines.adaptive_floor = None;
    plan.hedge = true;
    let told = tell(plan, &[&[late], &[ANSWER]]);
    assert_eq!(told.starts[1], (800, FALLBACK, Mode::Fresh));
    assert_eq!(told.booked, [Booked::Lost, Booked::Delivered]);
    assert_eq!(told.took, 800 + 300 + 6 * 50);
}

#[test]
fn s08_a_cut_is_continued_by_the_fallback_with_no_text_twice() {
    let cut = Behaviour::cut(300, 50, 4, Break::Cut, true);
    let told = tell(plan(2), &[&[cut], &[ANSWER]]);
    assert_eq!(told.end, End::Delivered { attempt: 1 });
    assert_eq!(told.starts[1], (500, FALLBACK, Mode::Prefill));
    assert_eq!(told.booked, [Booked::Broken, Booked::Delivered]);
    // Not after a tool call has begun, and not where the alias forbids it: an error, never a success.
    let tool = Behaviour::cut(300, 50, 4, Break::Cut, false);
    let how = Break::Cut;
    assert_eq!(tell(plan(2), &[&[tool], &[ANSWER]]).end, End::Cut { how });
    let mut strict = plan(2);
    strict.rescue = false;
    assert_eq!(tell(strict, &[&[cut], &[ANSWER]]).end, End::Cut { how });
}

#[test]
fn s09_a_stall_is_noticed_at_the_idle_deadline_and_continued() {
    let told = tell(plan(2), &[&[Behaviour::stall(300, 50, 2)], &[ANSWER]]);
    assert_eq!(told.end, End::Delivered { attempt: 1 });
    assert_eq!(told.starts[1], (350 + 10_000, FALLBACK, Mode::Prefill));
    let told = tell(
        plan(2),
        &[&[Behaviour::stall(300, 50, 2)], &[Behaviour::Silent]],
    );
    let how = Break::Stalled;
    assert_eq!(told.end, End::Cut { how });
}

#[test]
fn s10_broken_json_in_an_event_is_continued() {
    let broken = Behaviour::cut(300, 50, 3, Break::Malformed, true);
    let told = tell(plan(2), &[&[broken], &[ANSWER]]);
    assert_eq!(told.end, End::Delivered { attempt: 1 });
    assert_eq!(told.booked, [Booked::Broken, Booked::Delivered]);
}

#[test]
fn s11_a_missing_end_marker_is_no_success() {
    let open = Behaviour::cut(300, 50, 6, Break::MissingEnd, true);
    // The whole text came, but nobody knows: a continuation without a word proves nothing either.
    let told = tell(plan(2), &[&[open], &[ANSWER]]);
    let how = Break::MissingEnd;
    assert_eq!(told.end, End::Cut { how });
    let open = Behaviour::cut(300, 50, 5, Break::MissingEnd, true);
    let told = tell(plan(2), &[&[open], &[ANSWER]]);
    assert_eq!(told.end, End::Delivered { attempt: 1 });
}

#[test]
fn s12_a_full_context_is_not_retried_but_a_larger_one_is_asked() {
    let full = refuses(FailureKind::ContextLength);
    let mut sizes = plan(3);
    for (target, tokens) in sizes.targets.iter_mut().zip([8_000, 8_000, 128_000]) {
        target.context_tokens = Some(tokens);
    }
    let told = tell(sizes.clone(), &[&[full], &[ANSWER], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(told.targets(), [0, 2]);
    assert_eq!(told.reports[0], (0, Health::Neutral));
    sizes.targets.pop();
    let told = tell(sizes, &[&[full], &[ANSWER]]);
    assert_eq!(failed_with(&told), FailureKind::ContextLength);
    assert_eq!(told.targets(), [0]);
}

#[test]
fn s13_the_content_filter_ends_the_call_cleanly() {
    let told = tell(
        plan(2),
        &[&[refuses(FailureKind::ContentFilter)], &[ANSWER]],
    );
    assert_eq!(failed_with(&told), FailureKind::ContentFilter);
    assert_eq!(told.targets(), [PRIMARY]);
    assert_eq!(told.reports, [(PRIMARY, Health::Neutral)]);
}

#[test]
fn s14_a_fallback_that_refuses_prefill_is_asked_with_an_instruction() {
    let cut = Behaviour::cut(300, 50, 4, Break::Cut, true);
    // It is known to.
    let mut known = plan(2);
    known.targets[FALLBACK].prefill = false;
    let told = tell(known, &[&[cut], &[ANSWER]]);
    assert_eq!(told.end, End::Delivered { attempt: 1 });
    assert_eq!(told.starts[1].2, Mode::Instruction);
    // Or found to.
    let told = tell(
        plan(2),
        &[&[cut], &[refuses(FailureKind::Rejected), ANSWER]],
    );
    assert_eq!(told.end, End::Delivered { attempt: 2 });
    let modes: Vec<_> = told.starts.iter().map(|start| start.2).collect();
    assert_eq!(modes, [Mode::Fresh, Mode::Prefill, Mode::Instruction]);
    assert_eq!(told.starts[2].0, told.starts[1].0 + 100, "at once");
}

/// A call every second through breaker, view and engine: the primary is down for a while, every answer is whole, and
/// within half a minute the primary serves again.
#[test]
fn s15_a_flapping_primary_costs_no_answer_and_is_used_again_within_half_a_minute() {
    let down = [3..20, 70..71, 72..73, 74..110];
    let (mut object, mut view) = (TargetState::default(), LocalView::default());
    let mut served = Vec::new();
    for second in 0..170 {
        let call = format!("call-{second}");
        let now = START.plus(Millis::from_secs(second));
        let gate = match view.gate(now) {
            LocalGate::Closed => Gate::Closed,
            LocalGate::Open { until, fatal } => Gate::Open { until, fatal },
            LocalGate::NeedsTrial => {
                let command = view.ask_trial(now, &call);
                let (reply, _) = object.apply(now, command);
                view.answered(now, Some(&reply))
            }
        };
        let mut plan = plan(2);
        plan.targets[PRIMARY].gate = gate;
        let primary = match down.iter().any(|times| times.contains(&second)) {
            true => refuses(FailureKind::Server),
            false => ANSWER,
        };
        let told = tell(plan, &[&[primary], &[ANSWER]]);
        assert!(told.delivered(), "second {second}");
        let mut trial = (gate == Gate::Trial).then_some(call.as_str());
        for (_, health) in told.reports.iter().filter(|(target, _)| *target == PRIMARY) {
            if let Some(command) = view.note(now, *health, trial.take()) {
                let (reply, _) = object.apply(now, command);
                view.learn(&reply);
            }
        }
        if told.targets().last() == Some(&PRIMARY) {
            served.push(second);
        }
    }
    for (up, next_down) in [(20, 70), (110, 170)] {
        let again = served.iter().find(|second| **second >= up).unwrap();
        assert!(*again <= up + 30, "up at {up}, used at {again}");
        let all = (*again..next_down).filter(|second| !served.contains(second));
        assert_eq!(all.count(), 0, "and then for good");
    }
}

#[test]
fn s16_the_end_names_the_attempt_that_answered_and_every_attempt_is_booked() {
    let told = tell(plan(2), &[&[refuses(FailureKind::Server)], &[ANSWER]]);
    let End::Delivered { attempt } = told.end else {
        panic!("{:?}", told.end);
    };
    assert_eq!(told.starts[attempt as usize].1, FALLBACK);
    assert_eq!(
        told.booked,
        [Booked::Failed, Booked::Failed, Booked::Delivered]
    );
}

// === Beside the sixteen ===

#[test]
fn refused_credentials_open_the_breaker_and_are_told_only_when_nobody_else_answers() {
    let told = tell(plan(2), &[&[refuses(FailureKind::Auth)], &[ANSWER]]);
    assert!(told.delivered());
    let fatal = Health::Failure {
        wait: None,
        fatal: Some(Fatal::Key),
    };
    assert_eq!(told.reports[0], (PRIMARY, fatal));
    let told = tell(
        plan(2),
        &[
            &[refuses(FailureKind::Auth)],
            &[refuses(FailureKind::Unreachable)],
        ],
    );
    assert_eq!(
        failed_with(&told),
        FailureKind::Unreachable,
        "to try again may help"
    );
    let told = tell(
        plan(2),
        &[
            &[refuses(FailureKind::NotServed)],
            &[refuses(FailureKind::Auth)],
        ],
    );
    assert_eq!(failed_with(&told), FailureKind::Auth);
}

#[test]
fn the_last_attempt_goes_to_an_untried_target() {
    let mut plan = plan(2);
    plan.retry.attempts = 2;
    let told = tell(plan, &[&[refuses(FailureKind::Server)], &[ANSWER]]);
    assert!(told.delivered());
    assert_eq!(told.targets(), [PRIMARY, FALLBACK]);
}

#[test]
fn after_the_end_of_the_chain_it_goes_round_again() {
    let limited = refuses(FailureKind::RateLimited);
    let told = tell(plan(2), &[&[limited, ANSWER], &[limited]]);
    assert!(told.delivered());
    assert_eq!(told.targets()[..2], [PRIMARY, FALLBACK]);
    assert_eq!(told.targets().last(), Some(&PRIMARY));
}

#[test]
fn a_shed_call_goes_on_or_waits_as_told_and_blames_nobody() {
    let shed = refuses_for(FailureKind::Shed, 1_500);
    let told = tell(plan(2), &[&[shed, ANSWER], &[ANSWER]]);
    assert_eq!(told.starts[1], (100, FALLBACK, Mode::Fresh));
    let told = tell(plan(1), &[&[shed, ANSWER]]);
    assert!(told.delivered() && told.starts[1].0 >= 1_600);
    assert_eq!(told.reports[0], (PRIMARY, Health::Neutral));
}

#[test]
fn a_wait_that_outlasts_the_budget_is_not_begun() {
    let mut plan = plan(1);
    plan.retry.budget = Millis(2_000);
    let told = tell(plan, &[&[refuses_for(FailureKind::RateLimited, 1_950)]]);
    assert_eq!(told.took, 100);
    let wait = Some(Millis(1_950));
    assert!(matches!(told.end, End::Failed { wait: told, .. } if told == wait));
}

#[test]
fn a_broken_answer_is_continued_where_it_broke_if_there_is_no_other_target() {
    let cut = Behaviour::cut(300, 50, 2, Break::InBand, true);
    let told = tell(plan(1), &[&[cut, ANSWER]]);
    assert_eq!(told.end, End::Delivered { attempt: 1 });
    assert_eq!(told.starts[1].2, Mode::Prefill);
}

#[test]
fn a_trial_that_no_call_needed_is_given_back_when_another_answers() {
    let mut plan = plan(2);
    plan.targets[FALLBACK].gate = Gate::Trial;
    let told = tell(plan, &[&[ANSWER], &[ANSWER]]);
    assert_eq!(told.reports[1..], [(FALLBACK, Health::Neutral)]);
}
