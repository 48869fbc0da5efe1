//! One table per format: field number, name, type, rule.

/// Declares a struct that travels as a CBOR map with integer keys, in the order of the keys.
///
/// `Option` fields may be absent. A field may carry a rule (see [`super::rules`]), which is applied
/// as soon as the field is read; `rule(f)` applies `f` to the whole value. So a value that was
/// decoded keeps every rule that needs nothing but itself.
///
/// With `max(N)` the struct is also a whole [`Document`](super::Document) of at most `N` bytes. With
/// `debug(redacted)` its `Debug` prints the type's name only: it holds plaintext or a key.
macro_rules! wire_map {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(, max($max:expr))? $(, rule($whole:expr))? $(, debug($redacted:ident))? {
            $($(#[$field_doc:meta])* $key:literal => $field:ident: $type:ty $(where $rule:expr)?,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::wire::Wire for $name {
            fn put(&self, w: &mut $crate::wire::Writer) {
                use $crate::wire::Field as _;
                w.map(0 $(+ usize::from(self.$field.value().is_some()))*);
                $(self.$field.put_field(w, $key);)*
            }

            fn take(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::DecodeError> {
                use $crate::wire::Field as _;
                let mut map = r.map()?;
                $(
                    let $field = <$type>::take_field(&mut map, r, $key)?;
                    $($crate::wire::rules::apply(&$field, stringify!($field), $rule)?;)?
                )*
                map.finish(r)?;
                let value = Self { $($field,)* };
                $($whole(&value)?;)?
                Ok(value)
            }

            fn check_rules(&self) -> Result<(), $crate::wire::DecodeError> {
                use $crate::wire::Field as _;
                $(
                    self.$field.value().map_or(Ok(()), $crate::wire::Wire::check_rules)?;
                    $($crate::wire::rules::apply(&self.$field, stringify!($field), $rule)?;)?
                )*
                $($whole(self)?;)?
                Ok(())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                wire_map!(@debug self, f, $name, [$($redacted)?], $($field)*)
            }
        }

        $(impl $crate::wire::Document for $name {
            const MAX: usize = $max;
        })?
    };
    (@debug $self:ident, $f:ident, $name:ident, [redacted], $($field:ident)*) => {
        $f.write_str(stringify!($name))
    };
    (@debug $self:ident, $f:ident, $name:ident, [], $($field:ident)*) => {
        $f.debug_struct(stringify!($name))$(.field(stringify!($field), &$self.$field))*.finish()
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
