//! Tables of codes: stable names for scripts and the reference, independent of the messages.

/// Declares an enum of the codes of one table, each with its
/// name in text and JSON, and its meaning for the reference.
///
/// The enum has `ALL`, `name()` and `meaning()`, and serializes as the name.
#[macro_export]
macro_rules! codes {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $Codes:ident {
            $($(#[doc = $meaning:literal])+ $variant:ident = $name:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
            schemars::JsonSchema,
        )]
        #[non_exhaustive]
        $visibility enum $Codes {
            $($(#[doc = $meaning])+ #[serde(rename = $name)] $variant,)+
        }

        impl $Codes {
            /// All codes, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name in text and JSON: lower-case words joined by hyphens.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Returns the meaning for the reference, as sentences of Markdown.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($meaning),+).trim_ascii(),)+
                }
            }
        }

        impl std::fmt::Display for $Codes {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
