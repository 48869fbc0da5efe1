//! The plain values of documents: integers, booleans, strings, lists (docs/protocol.md, 3).

use super::{DecodeError, Reader, Wire, Writer};
use crate::{limits, suite::Suite};

macro_rules! wire_uint {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, w: &mut Writer) {
                w.uint(u64::from(*self));
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                r.uint()?.try_into().map_err(|_| DecodeError::Value { what: stringify!($type) })
            }
        }
    )*};
}

wire_uint!(u16, u32, u64);

impl Wire for bool {
    fn put(&self, w: &mut Writer) {
        w.bool(*self);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bool()
    }
}

impl Wire for String {
    fn put(&self, w: &mut Writer) {
        w.text(self);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.text().map(str::to_owned)
    }
}

impl Wire for Vec<u8> {
    fn put(&self, w: &mut Writer) {
        w.bytes(self);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bytes().map(<[u8]>::to_vec)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, w: &mut Writer) {
        w.array(self.len());
        for item in self {
            item.put(w);
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = r.array()?;
        // No list of any format is longer; a list of empty items must not cost many times its size.
        if length > limits::LIST {
            return Err(DecodeError::TooLarge {
                max: limits::LIST,
                actual: length,
            });
        }
        let items = (0..length).map(|_| T::take(r)).collect::<Result<_, _>>()?;
        r.leave();
        Ok(items)
    }

    fn check_rules(&self) -> Result<(), DecodeError> {
        self.iter().try_for_each(Wire::check_rules)
    }
}

impl Wire for Suite {
    fn put(&self, w: &mut Writer) {
        self.0.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u16::take(r).map(Self)
    }
}
