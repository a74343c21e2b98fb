//! What an owner's memory is sealed with.
//!
//! ```text
//! keyring's seal key ─▶ owner's key ─▶ message key of each text
//! ```
//! The owner's key lies in their object, sealed by the keyring; each text is sealed with a key of its own, derived from
//! the owner's and bound to its place: format, tenant, owner, conversation, item. A row that is moved elsewhere does not
//! open, and with the owner's key all of it is gone.

use crate::base::cobblestone::{Fault, MessageKey, SALT_BYTES, open as open_message, sealed_bytes};
use crate::base::digest::{Bytes32, base64url, from_base64url};

/// What the keyring is told that an owner's key is for.
pub const OWNER_KEY: &str = "memory-key";

/// Version of the sealed form, which every text is bound to.
const VERSION: &str = "1";

/// Whose memory, and where in it: what a text is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose house.
    pub tenant: &'a str,
    /// The principal's id.
    pub owner: &'a str,
    /// Where in their memory.
    pub at: At<'a>,
}

/// Where in an owner's memory.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// The metadata of a conversation.
    Metadata(&'a str),
    /// An item of a conversation.
    Item(&'a str, &'a str),
    /// A memory.
    Memory(&'a str),
}

impl Place<'_> {
    /// A JSON list of texts can be read in one way only.
    fn context(&self) -> Vec<u8> {
        let (what, conversation, id) = match self.at {
            At::Metadata(conversation) => ("metadata", conversation, ""),
            At::Item(conversation, item) => ("item", conversation, item),
            At::Memory(id) => ("memory", "", id),
        };
        let said = [
            "gatehouse/memory",
            VERSION,
            self.tenant,
            self.owner,
            what,
            conversation,
            id,
        ];
        serde_json::json!(said).to_string().into_bytes()
    }
}

/// Seals a text.
#[must_use]
pub fn seal(key: &Bytes32, place: &Place<'_>, salt: &[u8; SALT_BYTES], text: &str) -> String {
    let message = MessageKey::new(key, &place.context(), salt);
    base64url(&message.seal(text.as_bytes()))
}

/// Opens a text.
///
/// # Errors
/// Another owner's key, another place, or it was changed.
pub fn open(key: &Bytes32, place: &Place<'_>, sealed: &str) -> Result<String, Fault> {
    let message = from_base64url(sealed).ok_or(Fault::Length)?;
    let text = open_message(key, &place.context(), &message)?;
    String::from_utf8(text).map_err(|_| Fault::Forged)
}

/// Bytes of a text once it is sealed: base64url has four characters for three bytes.
#[must_use]
pub const fn sealed_length(text: u64) -> u64 {
    sealed_bytes(text).saturating_mul(4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::{At, Place, open, seal, sealed_length};
    use crate::base::cobblestone::Fault;

    const PLACE: Place<'static> = Place {
        tenant: "default",
        owner: "vis_1",
        at: At::Item("conv_1", "msg_1"),
    };

    #[test]
    fn a_text_opens_with_its_key_in_its_place_alone() {
        let sealed = seal(&[1; 32], &PLACE, &[3; 24], "Remember 4711.");
        assert_eq!(open(&[1; 32], &PLACE, &sealed), Ok("Remember 4711.".into()));
        assert_eq!(open(&[2; 32], &PLACE, &sealed), Err(Fault::WrongKey));
        let at = |at| Place { at, ..PLACE };
        for other in [
            Place {
                tenant: "acme",
                ..PLACE
            },
            Place {
                owner: "vis_2",
                ..PLACE
            },
            at(At::Item("conv_2", "msg_1")),
            at(At::Item("conv_1", "msg_2")),
            at(At::Metadata("conv_1")),
            at(At::Memory("msg_1")),
        ] {
            assert_eq!(open(&[1; 32], &other, &sealed), Err(Fault::WrongKey));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(open(&[1; 32], &PLACE, &String::from_utf8(changed).unwrap()).is_err());
            assert!(open(&[1; 32], &PLACE, &sealed[..at]).is_err());
        }
    }

    #[test]
    fn the_sealed_form_is_pinned() {
        // A change here makes every stored conversation unreadable.
        let sealed = seal(&[1; 32], &PLACE, &[3; 24], "Hi");
        assert_eq!(
            sealed,
            "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDIXLxFww7Drl2yiyemvb9Ve-sl5OjEHT8mutA_3YWN_cY_k-GPX8WZw-QMVn3fUZI4ME"
        );
    }

    #[test]
    fn a_sealed_text_has_a_known_length() {
        for length in [0, 1, 2, 3, 16_383, 16_384, 16_385, 50_000] {
            let sealed = seal(&[1; 32], &PLACE, &[3; 24], &"x".repeat(length));
            assert_eq!(sealed_length(length as u64), sealed.len() as u64);
        }
    }
}
