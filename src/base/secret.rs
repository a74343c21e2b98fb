//! A value that must not be seen.

/// A secret: no `Display`, no `Debug`, no `Serialize`, so that it cannot be printed or stored by accident.
///
/// ```compile_fail
/// let s = gatehouse::base::secret::Secret::new("k".to_owned());
/// println!("{s}");
/// ```
/// ```compile_fail
/// let s = gatehouse::base::secret::Secret::new("k".to_owned());
/// println!("{s:?}");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; every use of this is a place to review.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}
