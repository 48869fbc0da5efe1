//! Parts of an input, for targets that take several things.

use waxwire_shared::ids::Hash;

/// What is left of an input. Beyond its end everything is zero or empty.
pub(crate) struct Feed<'a>(pub(crate) &'a [u8]);

impl<'a> Feed<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (part, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        part
    }

    /// Two bytes of length, big-endian, then as many bytes, or as many as there are.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()) << 8 | usize::from(self.byte());
        self.take(length)
    }

    /// One byte for a number below 224; above it, eight bytes, so that the largest numbers come up, too.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..224 => small.into(),
            _ => {
                let mut bytes = [0; 8];
                let part = self.take(8);
                bytes[8 - part.len()..].copy_from_slice(part);
                u64::from_be_bytes(bytes)
            }
        }
    }

    pub(crate) fn hash(&mut self) -> Hash {
        let mut bytes = [0; 32];
        let part = self.take(32);
        bytes[..part.len()].copy_from_slice(part);
        Hash::from_bytes(bytes)
    }

    /// The parts that are left.
    pub(crate) fn parts(&mut self) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        while !self.is_empty() {
            parts.push(self.part());
        }
        parts
    }
}

/// An input of these parts.
pub(crate) fn parts<P: AsRef<[u8]>>(all: impl IntoIterator<Item = P>) -> Vec<u8> {
    let mut out = Vec::new();
    for part in all {
        let part = part.as_ref();
        out.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}
