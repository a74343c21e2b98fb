//! What one owner keeps in an object of their own.
//!
//! * [`opened`]: the object's rows, opened for one step: version, key and sums.
//! * [`sealing`]: the texts in them, sealed with the owner's key and bound to their place, which the object never opens.

pub mod opened;
pub mod sealing;

use serde::{Deserialize, Serialize};

/// An owner's key, sealed by the keyring. The first that comes is the only one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key(pub String);

impl From<&str> for Key {
    fn from(sealed: &str) -> Self {
        Self(sealed.to_owned())
    }
}
