use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The text cannot be the name of a cell, a log or a queue: empty, too long, or with a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidName {
    max: usize,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name is 1 to {} bytes of UTF-8 without control characters", self.max)
    }
}

impl std::error::Error for InvalidName {}

/// One rule for every name, so that any backend can hold it and any log line can show it.
pub(crate) fn check_name(text: &str, max: usize) -> Result<Arc<str>, InvalidName> {
    if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
        return Err(InvalidName { max });
    }
    Ok(text.into())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest name in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Checks and wraps `text`.
            ///
            /// # Errors
            /// [`InvalidName`] when it is empty, longer than [`MAX_BYTES`](Self::MAX_BYTES), or holds a control
            /// character (NUL, line breaks and the like).
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                check_name(text, $max).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        // Order, equality and hash are those of the text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a [cell](crate::Cell): 1 to 512 bytes of UTF-8 without control characters.
    ///
    /// Keys are ordered by their bytes. Build them from the general to the special with `/` between, so that
    /// a prefix finds what belongs together: `checkpoint/acme/contacts`. A key is shown in errors and logs: it holds no
    /// secret. Cloning is cheap.
    CellKey, 512
);
name!(
    /// The name of a queue: 1 to 128 bytes of UTF-8 without control characters. Cloning is cheap.
    QueueName, 128
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_script_is_a_key_and_control_characters_are_not() {
        for good in ["a", "checkpoint/acme/контакты", "日本語 ✓", &"x".repeat(512)] {
            assert_eq!(CellKey::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a\0b", "a\nb", "a\u{85}b", &"x".repeat(513), &"é".repeat(257)] {
            assert!(CellKey::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_are_ordered_by_their_bytes() {
        let mut keys: Vec<CellKey> =
            ["é", "z", "Z", "a/b", "a", "\u{10000}", "\u{ffff}"].map(|k| k.parse().unwrap()).into();
        keys.sort();
        let texts: Vec<&str> = keys.iter().map(CellKey::as_str).collect();
        assert_eq!(texts, ["Z", "a", "a/b", "z", "é", "\u{ffff}", "\u{10000}"]);
    }
}
