//! Content on its way through: counted, and cut into segments, one of which is in memory.

/// A segment's memory grows from this by doubling: 64 KiB × 2⁷ = 8 MiB.
const FIRST_CAPACITY: usize = 65_536;

/// What was cut, once the last segment was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Length of all of it.
    pub bytes: u64,
    /// Lengths of the segments, in order.
    pub segments: Vec<u64>,
}

/// Cuts one content.
pub struct Cutter {
    segment_bytes: u64,
    bytes: u64,
    segments: Vec<u64>,
    /// The segment that is being filled.
    filling: Vec<u8>,
}

impl Cutter {
    /// Segments are to have that many bytes each, but for the last one.
    #[must_use]
    pub fn new(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            bytes: 0,
            segments: Vec::new(),
            filling: Vec::new(),
        }
    }

    /// How many bytes may come at once.
    #[must_use]
    pub fn room(&self) -> usize {
        usize::try_from(self.segment_bytes)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.filling.len())
    }

    /// Length of what has come.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What has come since the last segment was taken.
    #[must_use]
    pub fn filling(&self) -> &[u8] {
        &self.filling
    }

    #[cfg(test)]
    pub(super) const fn capacity(&self) -> usize {
        self.filling.capacity()
    }

    /// Takes at most [`Self::room`] bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(more);
        self.make_room_for(bytes.len());
        self.filling.extend_from_slice(bytes);
    }

    /// The segment, when it is full.
    pub fn full(&mut self) -> Option<Vec<u8>> {
        (self.room() == 0).then(|| self.take())
    }

    /// What is left at the end.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        (!self.filling.is_empty()).then(|| self.take())
    }

    /// What all of it came to.
    #[must_use]
    pub fn finish(self) -> Cut {
        Cut {
            bytes: self.bytes,
            segments: self.segments,
        }
    }

    /// Doubles the memory, but never beyond a segment.
    fn make_room_for(&mut self, more: usize) {
        let needed = self.filling.len().saturating_add(more);
        if needed > self.filling.capacity() {
            let most = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
            let doubled = self.filling.capacity().saturating_mul(2);
            let capacity = doubled.max(FIRST_CAPACITY).max(needed).min(most);
            self.filling
                .reserve_exact(capacity.saturating_sub(self.filling.len()));
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let segment = core::mem::take(&mut self.filling);
        let length = u64::try_from(segment.len()).unwrap_or(u64::MAX);
        self.segments.push(length);
        segment
    }
}
