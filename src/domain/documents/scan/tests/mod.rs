//! What every check finds and does not find, and that neither splits nor places matter.

mod formats;
mod splits;
mod text;

use super::policy::{Action, Limits, Policy};
use super::report::{Kind, Report, Rule, Verdict};
use super::state::{Reader, State};
use super::{Claim, Scanner};

/// Scans bytes that come in one piece.
pub fn scan(bytes: &[u8]) -> Report {
    scan_as(bytes, "", "document")
}

pub fn scan_as(bytes: &[u8], content_type: &str, filename: &str) -> Report {
    let claim = Claim {
        content_type: (!content_type.is_empty()).then(|| content_type.to_owned()),
        filename: filename.to_owned(),
    };
    let mut scanner = Scanner::new(Policy::default(), claim);
    scanner.push(bytes);
    scanner.finish()
}

pub fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|found| found.rule).collect()
}

/// Twenty-four letters and digits as chance mixes them; tests cut what they need from it.
pub const RANDOM: &str = "q7Zx2Lw9Vb4Kt8Rm3Hy6Nc5Jd1Pf0GsTaUeQiXoW7zYvB2nM9kR4hS6jD8cF3gL5pA1xZq7Zx2Lw9Vb4Kt8Rm3Hy6Nc5Jd1Pf0GsTaUeQi";

#[test]
fn a_report_is_stored_in_this_form() {
    let text = format!("hello\nkey: ghp_{}\n", &RANDOM[..36]);
    let stored = serde_json::to_string(&scan(text.as_bytes())).unwrap();
    // Pinned: reports lie in owners' objects. A change needs another number of the form, and a reader for this one.
    assert_eq!(
        stored,
        "{\"form\":1,\"verdict\":\"flagged\",\"bytes\":52,\"findings\":[{\"kind\":\"secret\",\"rule\":\"github_token\",\
         \"severity\":\"high\",\"action\":\"flag\",\"offset\":11,\"line\":2,\"length\":40,\"excerpt\":\"ghp_… (40 bytes)\"}],\"more\":0}"
    );
    let read: Report = serde_json::from_str(&stored).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), stored);
}

#[test]
fn what_was_found_is_never_in_the_report() {
    let secret = &RANDOM[..36];
    let text = format!(
        "ghp_{secret} password = \"{secret}\" jane.doe@mail.gatehouse.dev 4242 4242 4242 4242 +49 30 901820 DE89 3704 0044 0532 0130 00"
    );
    let stored = serde_json::to_string(&scan(text.as_bytes())).unwrap();
    for told in [&secret[..8], "jane", "4242 4242", "901820", "0532"] {
        assert!(!stored.contains(told), "{told} in {stored}");
    }
    assert_eq!(scan(text.as_bytes()).findings.len(), 6, "{stored}");
}

#[test]
fn a_report_keeps_the_worst_and_counts_the_rest() {
    use std::fmt::Write as _;
    let mut text = String::new();
    for i in 0..500 {
        let _ = writeln!(text, "person{i}@mail.gatehouse.dev");
    }
    let _ = writeln!(text, "ghp_{}", &RANDOM[..36]);
    let report = scan(text.as_bytes());
    assert_eq!(
        (report.findings.len(), report.more),
        (21, 480),
        "20 of one rule"
    );
    assert_eq!(report.findings.last().unwrap().line, Some(501));
    assert_eq!(rules(&report).last(), Some(&Rule::GithubToken));
}

#[test]
fn the_policy_decides_what_a_kind_leads_to() {
    let text = format!("ghp_{}", &RANDOM[..36]);
    let verdict = |secrets| {
        let policy = Policy {
            secrets,
            ..Policy::default()
        };
        let mut scanner = Scanner::new(policy, Claim::default());
        scanner.push(text.as_bytes());
        let report = scanner.finish();
        (report.verdict, report.findings.len())
    };
    assert_eq!(verdict(Action::Off), (Verdict::Clean, 0));
    assert_eq!(verdict(Action::Flag), (Verdict::Flagged, 1));
    assert_eq!(verdict(Action::Quarantine), (Verdict::Quarantined, 1));
    let defaults = Policy::default();
    for kind in [Kind::Malware, Kind::Bomb, Kind::Disguise] {
        assert_eq!(defaults.action(kind), Action::Quarantine, "{kind:?}");
    }
    for kind in [Kind::Secret, Kind::Personal, Kind::Injection, Kind::Active] {
        assert_eq!(defaults.action(kind), Action::Flag, "{kind:?}");
    }
}

#[test]
fn a_policy_is_read_from_a_configuration() {
    let policy: Policy =
        toml::from_str("secrets = \"quarantine\"\n[limits]\npixels = 5\n").unwrap();
    assert_eq!(
        (policy.secrets, policy.limits.pixels),
        (Action::Quarantine, 5)
    );
    assert_eq!(policy.limits.entries, Limits::default().entries);
    assert!(toml::from_str::<Policy>("secret = \"flag\"").is_err());
}

#[test]
fn a_document_is_read_by_whom_its_state_lets() {
    let quarantined = State::Quarantined { why: String::new() };
    let released = quarantined.released("opr_1").unwrap();
    use Reader::{Model, Operator, Other, Owner};
    for (state, readers) in [
        (State::Waiting, vec![Owner, Operator]),
        (State::Clean, vec![Owner, Other, Model, Operator]),
        (State::Flagged, vec![Owner, Other, Model, Operator]),
        (quarantined.clone(), vec![Operator]),
        (released.clone(), vec![Owner, Other, Model, Operator]),
    ] {
        for who in [Owner, Other, Model, Operator] {
            assert_eq!(
                state.may_read(who),
                readers.contains(&who),
                "{state:?} {who:?}"
            );
        }
    }
    assert_eq!(State::Clean.released("opr_1"), None);
    // Pinned: it lies in owners' objects.
    assert_eq!(
        serde_json::to_string(&[State::Waiting, quarantined, released]).unwrap(),
        "[{\"state\":\"waiting\"},{\"state\":\"quarantined\",\"why\":\"\"},{\"state\":\"released\",\"by\":\"opr_1\"}]"
    );
}

#[test]
fn the_state_follows_from_both_scans() {
    use super::external::{Answer, OnFailure, failed};
    let eicar = scan(text::eicar().as_bytes());
    let clean = scan(b"hello");
    let flagged = scan(b"mail jane@gatehouse.dev");
    let infected = Answer::Infected {
        name: "Win.Worm".to_owned(),
    };
    let closed = failed("down".to_owned(), OnFailure::Close);
    let open = failed("down".to_owned(), OnFailure::Open);
    for (report, answer, state) in [
        (&clean, None, State::Clean),
        (&clean, Some(&Answer::Clean), State::Clean),
        (&clean, Some(&open), State::Clean),
        (&clean, Some(&closed), State::Waiting),
        (&flagged, Some(&closed), State::Waiting),
        (&flagged, Some(&open), State::Flagged),
        (
            &eicar,
            Some(&closed),
            State::Quarantined {
                why: "eicar".to_owned(),
            },
        ),
        (
            &eicar,
            Some(&Answer::Clean),
            State::Quarantined {
                why: "eicar".to_owned(),
            },
        ),
        (
            &clean,
            Some(&infected),
            State::Quarantined {
                why: "the external scanner found Win.Worm".to_owned(),
            },
        ),
    ] {
        assert_eq!(State::after(report, answer), state, "{answer:?}");
    }
}
