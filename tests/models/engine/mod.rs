//! The failure engine on a simulated clock, against a fake world: random plans, random faults, and after every step the
//! invariants of `checker.rs`; and the sixteen public failover scenarios as stories.
//!
//! `cargo test` runs 1,000,000 schedules. For the long tests:
//! `GATEHOUSE_SCHEDULES=5000000 cargo test --test models engine`. A failure names its seed, and
//! `GATEHOUSE_SEED=n cargo test --test models no_schedule` runs that one and prints it step by step.

mod checker;
mod stories;
mod world;

use gatehouse::base::time::Millis;
use gatehouse::domain::llm::engine::failure::{Break, Failure, FailureKind};
use gatehouse::domain::llm::engine::{Deadlines, End, Fatal, Gate, Mode, Plan, Retry, Target};

use world::{Behaviour, Climate, Random, Seen, World};

/// Schedules of a plain `cargo test`.
const SCHEDULES: u64 = 1_000_000;

#[test]
fn no_schedule_of_faults_breaks_an_invariant() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    if let Some(seed) = number("GATEHOUSE_SEED") {
        run(seed, true);
        return;
    }
    let mut seen = Seen::default();
    let count = number("GATEHOUSE_SCHEDULES").unwrap_or(SCHEDULES);
    for seed in 0..count {
        let run = std::panic::catch_unwind(|| run(seed, false));
        match run {
            Ok(more) => seen.add(&more),
            Err(_) => panic!("schedule {seed} failed: GATEHOUSE_SEED={seed} prints its steps"),
        }
    }
    println!("{count} schedules: {seen:?}");
    seen.holds_everything(count);
}

/// One schedule: everything follows from the seed.
fn run(seed: u64, loud: bool) -> Seen {
    let mut random = Random::new(seed);
    let plan = plan(&mut random);
    let mut climate = Climate {
        text: random.between(1, 8),
        client_gone: random.chance(8).then(|| random.between(0, 30_000)),
        tool_call: random.chance(10).then(|| random.between(1, 5)),
        late_ticks: random.chance(10),
        echoes: random.chance(30),
        ..Climate::calm(random.next())
    };
    climate.loud = loud;
    // How much goes wrong differs from schedule to schedule; else hardly any would end well.
    let trouble = random.pick(&[10, 40, 70, 95]);
    let mut world = World::new(plan, climate);
    world.run(|_, _, mode| {
        if mode == Mode::Prefill && random.chance(10) {
            let refused = Failure::new(FailureKind::Rejected);
            return Behaviour::Fail(random.between(0, 300), refused);
        }
        behaviour(&mut random, trouble)
    })
}

fn plan(random: &mut Random) -> Plan {
    let count = random.between(1, 4);
    let targets = (0..count).map(|_| target(random)).collect();
    let base = random.between(1, 1000);
    let first_token = random.between(50, 15_000);
    Plan {
        targets,
        retry: Retry {
            attempts_per_target: u32::try_from(random.pick(&[0u64, 1, 2, 2, 3, 4])).unwrap(),
            attempts: u32::try_from(random.pick(&[0u64, 1, 2, 4, 6, 8, 12])).unwrap(),
            budget: Millis(random.pick(&[0, 1_000, 10_000, 30_000, 120_000, 120_000])),
            base: Millis(base),
            max: Millis(random.between(base, 8_000)),
            max_retry_after: Millis(random.pick(&[0, 1_000, 10_000, 60_000, 60_000])),
        },
        deadlines: Deadlines {
            first_token: Millis(first_token),
            // A third of the callers is less patient than the alias.
            own_first_token: Millis(first_token + random.pick(&[0, 0, 4_000])),
            adaptive_floor: random
                .chance(40)
                .then(|| Millis(random.between(10, 20_000))),
            idle: Millis(random.between(50, 10_000)),
            total: Millis(random.pick(&[500, 5_000, 60_000, 120_000, 120_000])),
        },
        rescue: random.chance(70),
        hedge: random.chance(50),
    }
}

fn target(random: &mut Random) -> Target {
    Target {
        gate: match random.between(0, 9) {
            0 => Gate::Trial,
            1 => Gate::Open {
                until: Millis(world::START.0 + random.between(0, 30_000)),
                fatal: random.pick(&[None, None, Some(Fatal::Key), Some(Fatal::Quota)]),
            },
            _ => Gate::Closed,
        },
        context_tokens: random.pick(&[None, None, Some(1000), Some(2000), Some(4000)]),
        p95_first_token: random.chance(60).then(|| Millis(random.between(1, 4_000))),
        queues: random.chance(20),
        prefill: random.chance(50),
    }
}

fn behaviour(random: &mut Random, trouble: u64) -> Behaviour {
    let after = random.pick(&[0, 1, 20, 300, 2_000, 9_000, 20_000]);
    let after = random.between(after / 2, after);
    let gap = random.pick(&[0, 5, 40, 900]);
    if !random.chance(trouble) {
        return Behaviour::answer(after.min(3_000), gap);
    }
    match random.between(0, 10) {
        0..=4 => Behaviour::Fail(after, failure(random)),
        5 if random.chance(50) => Behaviour::Silent,
        5 | 6 => match random.between(0, 1) {
            0 => Behaviour::EmptyEnd(after),
            _ => Behaviour::EarlyBreak(after, random.pick(&Break::ALL)),
        },
        7 => Behaviour::stall(after, gap, random.between(1, 6)),
        8 => Behaviour::late_failure(after, gap, random.between(1, 6), failure(random)),
        _ => Behaviour::cut(
            after,
            gap,
            random.between(1, 6),
            random.pick(&Break::ALL),
            !random.chance(10),
        ),
    }
}

fn failure(random: &mut Random) -> Failure {
    // Kinds that end the call are rarer, so that schedules go on.
    let mut kind = random.pick(&FailureKind::ALL);
    if !kind.goes_on() && random.chance(60) {
        kind = random.pick(&FailureKind::ALL);
    }
    let wait = match random.between(0, 5) {
        0 => Some(random.between(0, 3_000)),
        1 => Some(random.pick(&[
            0,
            1_000,
            9_999,
            10_000,
            10_001,
            60_000,
            31_536_000_000,
            u64::MAX,
        ])),
        _ => None,
    };
    Failure {
        kind,
        wait: wait.map(Millis),
    }
}

#[test]
fn the_same_seed_gives_the_same_call() {
    for seed in 0..200 {
        assert_eq!(run(seed, false), run(seed, false));
    }
}

#[test]
fn a_plan_without_targets_or_with_open_ones_alone_is_over_at_once() {
    use gatehouse::domain::llm::engine::Action;
    use gatehouse::domain::llm::engine::machine::Engine;
    let lasting = [Some(Fatal::Quota), Some(Fatal::Key)];
    for (gates, kind, wait) in [
        (vec![], FailureKind::Server, None),
        (
            vec![(70, None), (30, None), (50, None)],
            FailureKind::Server,
            Some(Millis(30)),
        ),
        // As long as one is down in passing, a wait helps: until that one may be asked.
        (
            vec![(70, None), (30, lasting[0])],
            FailureKind::Server,
            Some(Millis(70)),
        ),
        (
            vec![(70, lasting[0]), (30, lasting[0])],
            FailureKind::Quota,
            None,
        ),
        (
            vec![(70, lasting[0]), (30, lasting[1])],
            FailureKind::Auth,
            None,
        ),
    ] {
        let mut plan = stories::plan(gates.len());
        for (target, (until, fatal)) in plan.targets.iter_mut().zip(gates) {
            let until = Millis(world::START.0 + until);
            target.gate = Gate::Open { until, fatal };
        }
        let (engine, actions) = Engine::new(plan, world::START, 1);
        let failure = Failure::new(kind);
        let target = None;
        assert_eq!(
            actions,
            [Action::Finish(End::Failed {
                failure,
                target,
                wait
            })]
        );
        assert!(engine.is_over());
        assert_eq!(engine.due(), None);
    }
}
