//! One table per format: field number, name, type.

/// Declares a struct that travels as a CBOR map with integer keys, in the order of the keys.
///
/// `Option` fields may be absent. With `, max(N)` the struct is also a whole
/// [`Document`](super::Document) of at most `N` bytes.
macro_rules! wire_map {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(, max($max:expr))? {
            $($(#[$field_doc:meta])* $key:literal => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::wire::Wire for $name {
            fn put(&self, w: &mut $crate::wire::Writer) {
                use $crate::wire::Field as _;
                w.map(0 $(+ usize::from(self.$field.is_present()))*);
                $(self.$field.put_field(w, $key);)*
            }

            fn take(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::DecodeError> {
                use $crate::wire::Field as _;
                let mut map = r.map()?;
                let value = Self {
                    $($field: <$type>::take_field(&mut map, r, $key)?,)*
                };
                map.finish(r)?;
                Ok(value)
            }
        }

        $(impl $crate::wire::Document for $name {
            const MAX: usize = $max;
        })?
    };
}

/// Declares an enum that travels as an unsigned integer; unknown numbers are refused.
macro_rules! wire_enum {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($(#[$variant_doc:meta])* $number:literal => $variant:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value, for tests and vectors.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// The value of a number, if it has one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl $crate::wire::Wire for $name {
            fn put(&self, w: &mut $crate::wire::Writer) {
                w.uint(self.number().into());
            }

            fn take(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::DecodeError> {
                u8::try_from(r.uint()?)
                    .ok()
                    .and_then(Self::from_number)
                    .ok_or($crate::wire::DecodeError::Value { what: stringify!($name) })
            }
        }
    };
}

pub(crate) use {wire_enum, wire_map};
