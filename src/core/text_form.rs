//! Implements the text conversions of enums that represent a word of docker's.

/// For a type with `From<&str>` and `as_str`: conversions from and to `String`, and `Display`.
macro_rules! text_form {
    ($name:ident) => {
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
