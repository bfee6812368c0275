//! Gives enums that stand for a word of docker's the forms of a text.

/// For a type that is made from any `&str` and has `as_str`: made from a `String`, turned into one, and displayed.
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
