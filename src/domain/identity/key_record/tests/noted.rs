//! What belongs on record of a key's use.

use super::*;
use crate::domain::identity::key_record::{DORMANT, Note, REFUSED_AGAIN, Why, digest_of};

/// With an event offered.
fn recorded(command: Command) -> Command {
    match command {
        Command::Authenticate { hash, .. } => Command::Authenticate {
            hash,
            recorded: true,
        },
        Command::AuthenticateSigned {
            kid,
            nonce,
            expires,
            attempt,
            ..
        } => Command::AuthenticateSigned {
            kid,
            nonce,
            expires,
            attempt,
            recorded: true,
        },
        other => other,
    }
}

fn note_of(reply: Reply) -> Option<Note> {
    match reply {
        Reply::Noted(_, note) => note,
        other => panic!("{other:?}"),
    }
}

fn shown(house: &mut House<KeyRecord>, now: Millis, n: u8) -> Option<Note> {
    note_of(house.ask(now, recorded(auth(n))))
}

fn used(first: bool, kid: Option<&str>, last_used: Option<Millis>) -> Option<Note> {
    Some(Note::Use {
        first,
        kid: kid.map(str::to_owned),
        last_used,
    })
}

fn refused(why: Why, left_out: u32) -> Option<Note> {
    Some(Note::Refused { why, left_out })
}

#[test]
fn the_first_use_of_each_secret_is_noted_once() {
    let mut house = made(settings());
    assert_eq!(shown(&mut house, NOW, 1), used(true, None, None));
    assert_eq!(shown(&mut house, NOW, 1), None);
    house.reload(NOW);
    assert_eq!(shown(&mut house, after(1), 1), None);
    known(house.ask(after(2), rotate(2, 3600)));
    assert_eq!(shown(&mut house, after(3), 1), None, "it was seen before");
    assert_eq!(shown(&mut house, after(4), 2), used(true, None, Some(NOW)));
    house.reload(after(5));
    assert_eq!(shown(&mut house, after(5), 2), None);
    // One that was replaced before it was used.
    known(house.ask(after(6), rotate(3, 3600)));
    known(house.ask(after(6), rotate(4, 3600)));
    for n in [3, 4] {
        assert!(shown(&mut house, after(7), n).is_some(), "{n}");
        assert!(shown(&mut house, after(7), n).is_none(), "{n}");
    }
}

#[test]
fn a_rotation_in_the_same_millisecond_is_another_secret() {
    let mut house = made(settings());
    assert!(shown(&mut house, NOW, 1).is_some());
    known(house.ask(NOW, rotate(2, 0)));
    assert!(shown(&mut house, NOW, 2).is_some());
}

#[test]
fn the_first_signature_of_each_public_key_is_noted() {
    let mut house = made(signing());
    // Asked again after its reply was lost: what was noted stands in the rows already.
    let command = recorded(sign("a", after(60), "x"));
    assert_eq!(note_of(house.ask_again(NOW, command)), None);
    let mut house = made(signing());
    let command = recorded(sign("a", after(60), "x"));
    assert_eq!(
        note_of(house.ask(NOW, command)),
        used(true, Some("k1"), None)
    );
    let command = recorded(sign("b", after(60), "y"));
    assert_eq!(note_of(house.ask(NOW, command)), None);
    // Another key in its place.
    let mut other = signing();
    other.public_keys[0].key = hash(6);
    let change = Command::Change {
        version: 1,
        settings: Box::new(other),
    };
    known(house.ask(NOW, change));
    let command = recorded(sign("c", after(60), "z"));
    assert_eq!(
        note_of(house.ask(NOW, command)),
        used(true, Some("k1"), Some(NOW))
    );
}

#[test]
fn a_use_after_thirty_days_without_one_is_noted_once() {
    let mut house = made(settings());
    shown(&mut house, NOW, 1);
    let almost = Millis(NOW.0 + DORMANT.0 - 1);
    assert_eq!(shown(&mut house, almost, 1), None);
    house.reload(almost);
    let late = almost.plus(DORMANT);
    assert_eq!(shown(&mut house, late, 1), used(false, None, Some(almost)));
    assert_eq!(shown(&mut house, late, 1), None);
    // What was lost was written.
    let later = late.plus(DORMANT);
    assert_eq!(note_of(house.ask_again(later, recorded(auth(1)))), None);
    // A clock that went back is no long time.
    assert_eq!(shown(&mut house, NOW, 1), None);
}

#[test]
fn each_refusal_has_its_reason() {
    let mut house = made(KeySettings {
        expires: Some(after(7200)),
        ..signing()
    });
    assert_eq!(shown(&mut house, NOW, 9), refused(Why::WrongSecret, 0));
    known(house.ask(NOW, rotate(2, 60)));
    assert_eq!(shown(&mut house, after(60), 1), refused(Why::OldSecret, 0));
    let mut other = house_of(&house);
    other.wake(after(60));
    known(other.ask(after(60), rotate(3, 0)));
    let later = after(60).plus(REFUSED_AGAIN);
    for n in [1, 2] {
        let mut other = house_of(&other);
        assert_eq!(
            shown(&mut other, later, n),
            refused(Why::OldSecret, 0),
            "{n}"
        );
    }
    assert_eq!(shown(&mut house, after(7200), 2), refused(Why::Expired, 0));
    let over = recorded(sign("n", after(7300), "a"));
    assert_eq!(note_of(house.ask(after(7200), over)), None, "so soon again");

    let mut house = made(KeySettings {
        must_sign: true,
        ..signing()
    });
    assert_eq!(shown(&mut house, NOW, 1), refused(Why::MustSign, 0));
    known(house.ask(NOW, sign("n", after(60), "a")));
    let again = recorded(sign("n", after(60), "b"));
    let reply = house.ask(NOW, again);
    assert!(matches!(&reply, Reply::Noted(reply, _) if **reply == Reply::Replayed));
    assert_eq!(note_of(reply), refused(Why::Replayed, 0));
    assert_eq!(
        note_of(house.ask(NOW, Command::RefuseSignature)),
        refused(Why::Signature, 0)
    );
    house.ask(NOW, Command::Revoke);
    house.reload(NOW);
    assert_eq!(shown(&mut house, NOW, 1), refused(Why::Revoked, 0));
    assert_eq!(shown(&mut house, NOW, 9), refused(Why::WrongSecret, 0));
    let signed = recorded(sign("m", after(60), "c"));
    let later = NOW.plus(REFUSED_AGAIN);
    assert_eq!(note_of(house.ask(later, signed)), refused(Why::Revoked, 0));
}

/// The same rows in another house.
fn house_of(house: &House<KeyRecord>) -> House<KeyRecord> {
    let mut other = House::new();
    other.rows = house.rows.clone();
    other.reload(NOW);
    other
}

#[test]
fn of_a_key_that_was_never_made_nothing_is_noted_and_nothing_written() {
    let mut house = House::<KeyRecord>::new();
    for command in [
        recorded(auth(1)),
        recorded(sign("n", after(60), "a")),
        Command::RefuseSignature,
    ] {
        assert_eq!(note_of(house.ask(NOW, command)), None);
    }
    assert!(house.rows.is_empty());
}

#[test]
fn who_offers_no_event_uses_none_up() {
    let mut house = made(signing());
    known(house.ask(NOW, auth(1)));
    assert_eq!(house.ask(NOW, auth(9)), Reply::Unknown);
    assert!(!house.rows.contains_key("rec/noted"));
    assert_eq!(shown(&mut house, NOW, 9), refused(Why::WrongSecret, 0));
    assert_eq!(shown(&mut house, NOW, 1), used(true, None, Some(NOW)));
}

#[test]
fn of_refusals_for_one_reason_one_an_hour_is_noted_and_the_others_are_counted() {
    let mut house = made(settings());
    assert_eq!(shown(&mut house, NOW, 9), refused(Why::WrongSecret, 0));
    let end = NOW.plus(REFUSED_AGAIN);
    for minute in 0..60 {
        // A caller so slow that the object was away in between.
        house.reload(NOW);
        let now = after(minute * 60 + 1);
        assert_eq!(shown(&mut house, now, 9), None, "{minute}");
    }
    // Another reason has a count of its own.
    known(house.ask(NOW, rotate(2, 0)));
    assert_eq!(shown(&mut house, after(5), 1), refused(Why::OldSecret, 0));
    house.reload(end);
    assert_eq!(shown(&mut house, end, 9), refused(Why::WrongSecret, 60));
    assert_eq!(shown(&mut house, end, 9), None);
    // A clock that was wrong for an hour does not stop it.
    assert_eq!(shown(&mut house, NOW, 9), refused(Why::WrongSecret, 1));
}

#[test]
fn whoever_is_refused_writes_no_more_than_once_a_minute() {
    let mut house = made(settings());
    shown(&mut house, NOW, 9);
    let mut writes = 0;
    for step in 1..=6000 {
        let now = Millis(NOW.0 + step * 100);
        let (_, effects) = house.machine.apply(now, recorded(auth(9)));
        writes += effects.writes.len();
        house.persist(effects);
    }
    // In ten minutes: the first, and one each minute after it.
    assert_eq!(writes, 10);
    house.reload(after(600));
    let told = shown(&mut house, NOW.plus(REFUSED_AGAIN), 9);
    let Some(Note::Refused { left_out, .. }) = told else {
        panic!("{told:?}");
    };
    // What was counted after the last writing is lost with the object's memory.
    assert!((5400..6000).contains(&left_out), "{left_out}");
}

#[test]
fn what_storage_did_not_take_is_noted_by_the_next_use() {
    let mut house = made(settings());
    for command in [recorded(auth(1)), recorded(auth(9))] {
        let (lost, _) = house.machine.apply(NOW, command.clone());
        house.reload(NOW);
        let noted = note_of(lost);
        assert!(noted.is_some());
        assert_eq!(note_of(house.ask(NOW, command)), noted);
    }
}

#[test]
fn the_stored_form_of_what_was_noted_is_pinned_and_shows_no_secret() {
    let mut house = made(settings());
    shown(&mut house, NOW, 1);
    shown(&mut house, NOW, 9);
    shown(&mut house, NOW, 9);
    known(house.ask(NOW, rotate(2, 0)));
    assert_eq!(
        house.rows["rec/noted"],
        r#"{"v1":{"s":["DIGEST"],"f":["DIGEST"],"r":[["wrong_secret",1800000000000,1]]}}"#
            .replace("DIGEST", &digest_of(&[&hash(1)]))
    );
    assert!(!house.rows["rec/noted"].contains(&hash(1)));
}

#[test]
fn a_key_that_was_in_use_before_uses_were_noted_is_not_new() {
    let mut house = made(signing());
    known(house.ask(NOW, auth(1)));
    let unreadable = {
        let mut other = house_of(&house);
        other.rows.insert("rec/noted".into(), "{".into());
        other.reload(NOW);
        other
    };
    for mut house in [house_of(&house), unreadable] {
        assert_eq!(shown(&mut house, NOW, 1), None);
        let signed = recorded(sign("n", after(60), "a"));
        assert_eq!(note_of(house.ask(NOW, signed)), None);
    }
    // Rotated since, and the new secret was not used.
    known(house.ask(after(1), rotate(2, 60)));
    house.rows.remove("rec/noted");
    house.reload(after(1));
    assert_eq!(shown(&mut house, after(1), 1), None);
    assert!(shown(&mut house, after(1), 2).is_some());
    // One that was never used is new.
    let mut unused = made(settings());
    unused.reload(NOW);
    assert!(shown(&mut unused, NOW, 1).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Show(u8),
    Lost(u8),
    Rotate,
    Reload,
    Clock(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u8..8).prop_map(Step::Show),
        2 => (1u8..8).prop_map(Step::Lost),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reload),
        3 => (0u32..4000).prop_map(Step::Clock),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in between: a secret has one first use, an hour has one refusal for each reason, and no more are
    /// counted as left out than were.
    #[test]
    fn a_first_use_is_noted_once_and_a_refusal_once_an_hour(steps in steps()) {
        let mut house = made(settings());
        let mut now = NOW;
        let (mut current, mut seen) = (1u8, Vec::new());
        let mut last: BTreeMap<&str, (Millis, u32)> = BTreeMap::new();
        for step in steps {
            let n = match step {
                Step::Reload => { house.reload(now); continue }
                Step::Clock(secs) => { now = now.plus(Millis::from_secs(secs.into())); continue }
                Step::Rotate => {
                    current += 1;
                    known(house.ask(now, rotate(current, 0)));
                    continue
                }
                // Not written: as if it had never come.
                Step::Lost(n) => {
                    let _ = house.machine.apply(now, recorded(auth(n)));
                    house.reload(now);
                    continue
                }
                Step::Show(n) => n,
            };
            match shown(&mut house, now, n) {
                Some(Note::Use { first, .. }) => {
                    prop_assert!(first && n == current && !seen.contains(&n));
                    seen.push(n);
                }
                Some(Note::Refused { why, left_out }) => {
                    prop_assert!(n != current);
                    if let Some((at, count)) = last.insert(why.name(), (now, 0)) {
                        prop_assert!(now.since(at) >= REFUSED_AGAIN);
                        prop_assert!(left_out <= count);
                    } else {
                        prop_assert_eq!(left_out, 0);
                    }
                }
                None if n == current => prop_assert!(seen.contains(&n)),
                None => {
                    let recent = last.values_mut().filter(|(at, _)| now.since(*at) < REFUSED_AGAIN);
                    let counted = recent.map(|(_, count)| *count += 1).count();
                    prop_assert!(counted > 0);
                }
            }
        }
    }
}
