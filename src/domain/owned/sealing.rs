//! How an owner's texts are sealed.
//!
//! ```text
//! keyring's seal key ─▶ owner's key ─▶ message key of each text
//! ```
//! The owner's key lies in their object, sealed by the keyring; each text is sealed with a key of its own, derived from
//! the owner's and bound to its place: format, tenant, owner, and where it lies. A row that is moved elsewhere does not
//! open, and with the owner's key all of it is gone.

use std::borrow::Cow;
use std::fmt::Debug;

use crate::base::cobblestone::{Fault, MessageKey, SALT_BYTES, open as open_message};
use crate::base::digest::{Bytes32, base64url, from_base64url};

/// Where in an object a text lies.
pub trait At: Copy + Debug {
    /// The format that holds it, which every text is bound to.
    const FORMAT: &'static str;
    /// The version of that.
    const VERSION: &'static str;

    /// The kind of text, and which of these it is.
    fn said(&self) -> [Cow<'_, str>; 3];
}

/// Whose text, and where it lies: what it is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a, A> {
    /// Whose house.
    pub tenant: &'a str,
    /// The principal's id.
    pub owner: &'a str,
    /// Where in their object.
    pub at: A,
}

impl<A: At> Place<'_, A> {
    /// A JSON list of texts can be read in one way only.
    fn context(&self) -> Vec<u8> {
        let [what, one, two] = self.at.said();
        let said = [
            A::FORMAT,
            A::VERSION,
            self.tenant,
            self.owner,
            &what,
            &one,
            &two,
        ];
        serde_json::json!(said).to_string().into_bytes()
    }
}

/// Seals a text.
#[must_use]
pub fn seal<A: At>(
    key: &Bytes32,
    place: &Place<'_, A>,
    salt: &[u8; SALT_BYTES],
    text: &str,
) -> String {
    let message = MessageKey::new(key, &place.context(), salt);
    base64url(&message.seal(text.as_bytes()))
}

/// Opens a text.
///
/// # Errors
/// Another owner's key, another place, or it was changed.
pub fn open<A: At>(key: &Bytes32, place: &Place<'_, A>, sealed: &str) -> Result<String, Fault> {
    let message = from_base64url(sealed).ok_or(Fault::Length)?;
    let text = open_message(key, &place.context(), &message)?;
    String::from_utf8(text).map_err(|_| Fault::Forged)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::borrow::Cow;

    use super::{At, Place, open, seal};
    use crate::base::cobblestone::Fault;

    /// A text opens where it was sealed, and nowhere else.
    pub(crate) fn opens_in_its_place_alone<A: At>(own: A, others: &[A]) {
        let place = |tenant, owner, at| Place { tenant, owner, at };
        let here = place("default", "vis_1", own);
        let sealed = seal(&[1; 32], &here, &[3; 24], "Remember 4711.");
        assert_eq!(open(&[1; 32], &here, &sealed), Ok("Remember 4711.".into()));
        assert_eq!(open(&[2; 32], &here, &sealed), Err(Fault::WrongKey));
        let elsewhere = others.iter().map(|at| place("default", "vis_1", *at));
        let foreign = [place("acme", "vis_1", own), place("default", "vis_2", own)];
        for other in elsewhere.chain(foreign) {
            let opened = open(&[1; 32], &other, &sealed);
            assert_eq!(opened, Err(Fault::WrongKey), "{other:?}");
        }
    }

    #[derive(Clone, Copy, Debug)]
    struct Anywhere;

    impl At for Anywhere {
        const FORMAT: &'static str = "gatehouse/anything";
        const VERSION: &'static str = "1";

        fn said(&self) -> [Cow<'_, str>; 3] {
            ["text", "1", ""].map(Cow::Borrowed)
        }
    }

    const PLACE: Place<'static, Anywhere> = Place {
        tenant: "default",
        owner: "vis_1",
        at: Anywhere,
    };

    #[test]
    fn a_text_that_was_changed_or_cut_does_not_open() {
        opens_in_its_place_alone(Anywhere, &[]);
        let sealed = seal(&[1; 32], &PLACE, &[3; 24], "Remember 4711.");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(open(&[1; 32], &PLACE, &String::from_utf8(changed).unwrap()).is_err());
            assert!(open(&[1; 32], &PLACE, &sealed[..at]).is_err());
        }
    }
}
