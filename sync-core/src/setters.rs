//! Settings that are set one after the other: `PostgresConfig::new(url).pool_size(4)`.

/// Gives a struct a method for each of these fields, of its name, which returns the struct with the field changed. After the
/// field comes its type; before the type `into` for whatever can be turned into it, `some` for the same that goes into an `Option`,
/// `maybe` for what is given as an `Option` or as what goes into one.
macro_rules! setters {
    ($type:ident { $($fields:tt)* }) => {
        impl $type {
            setters!(@each $($fields)*);
        }
    };
    (@each) => {};
    (@each $field:ident: into $kind:ty $(, $($rest:tt)*)?) => {
        setters!(@one $field, impl Into<$kind>, $field.into());
        setters!(@each $($($rest)*)?);
    };
    (@each $field:ident: some $kind:ty $(, $($rest:tt)*)?) => {
        setters!(@one $field, impl Into<$kind>, Some($field.into()));
        setters!(@each $($($rest)*)?);
    };
    (@each $field:ident: maybe $kind:ty $(, $($rest:tt)*)?) => {
        setters!(@one $field, impl Into<Option<$kind>>, $field.into());
        setters!(@each $($($rest)*)?);
    };
    (@each $field:ident: $kind:ty $(, $($rest:tt)*)?) => {
        setters!(@one $field, $kind, $field);
        setters!(@each $($($rest)*)?);
    };
    (@one $field:ident, $kind:ty, $value:expr) => {
        #[doc = concat!("The same with this [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $kind) -> Self {
            self.$field = $value;
            self
        }
    };
}
