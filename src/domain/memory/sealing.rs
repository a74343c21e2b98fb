//! Where in an owner's memory a text lies, which it is sealed for ([`crate::domain::owned::sealing`]).

use std::borrow::Cow;

use crate::domain::owned::sealing;

/// What the keyring is told that an owner's key is for.
pub const OWNER_KEY: &str = "memory-key";

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

impl sealing::At for At<'_> {
    const FORMAT: &'static str = "gatehouse/memory";
    const VERSION: &'static str = "1";

    fn said(&self) -> [Cow<'_, str>; 3] {
        let said = match *self {
            At::Metadata(conversation) => ["metadata", conversation, ""],
            At::Item(conversation, item) => ["item", conversation, item],
            At::Memory(id) => ["memory", "", id],
        };
        said.map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::At;
    use crate::domain::owned::sealing::tests::opens_in_its_place_alone;
    use crate::domain::owned::sealing::{Place, seal};

    #[test]
    fn a_text_opens_in_its_place_alone() {
        let others = [
            At::Item("conv_2", "msg_1"),
            At::Item("conv_1", "msg_2"),
            At::Metadata("conv_1"),
            At::Memory("msg_1"),
        ];
        opens_in_its_place_alone(At::Item("conv_1", "msg_1"), &others);
    }

    #[test]
    fn the_sealed_form_is_pinned() {
        // A change here makes every stored conversation unreadable.
        let place = Place {
            tenant: "default",
            owner: "vis_1",
            at: At::Item("conv_1", "msg_1"),
        };
        let sealed = seal(&[1; 32], &place, &[3; 24], "Hi");
        assert_eq!(
            sealed,
            "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDIXLxFww7Drl2yiyemvb9Ve-sl5OjEHT8mutA_3YWN_cY_k-GPX8WZw-QMVn3fUZI4ME"
        );
    }
}
