use md5::{Digest as _, Md5};
use std::fmt;
use std::str::FromStr;

/// By what a member is addressed: the MD5 of the lower-cased e-mail address.
///
/// Lower-casing is Unicode's ([`str::to_lowercase`]); what the platform does outside ASCII is unconfirmed.
///
/// ```
/// use martlet_mailchimp::SubscriberHash;
///
/// let hash = SubscriberHash::of("Urist.McVankab@freddiesjokes.com");
/// assert_eq!(hash.to_string(), "62eeb292278cc15f5817cb78f7790b08");
/// assert_eq!(hash, "62eeb292278cc15f5817cb78f7790b08".into());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberHash([u8; 16]);

impl SubscriberHash {
    /// The hash of an address.
    #[must_use]
    pub fn of(email: &str) -> Self {
        Self(Md5::digest(email.to_lowercase()).into())
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl From<&str> for SubscriberHash {
    /// 32 hexadecimal digits are a hash; everything else is an address, and hashed.
    fn from(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self::of(text))
    }
}

impl From<&String> for SubscriberHash {
    /// As from `&str`.
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidHash;

impl fmt::Display for InvalidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a subscriber hash is 32 hexadecimal digits")
    }
}

impl std::error::Error for InvalidHash {}

impl FromStr for SubscriberHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(InvalidHash);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidHash)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for SubscriberHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SubscriberHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubscriberHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter_in_any_script() {
        assert_eq!(SubscriberHash::of("A@B.EXAMPLE"), SubscriberHash::of("a@b.example"));
        assert_eq!(SubscriberHash::of("ЖАННА@ПОЧТА.РФ"), SubscriberHash::of("жанна@почта.рф"));
        assert_eq!(SubscriberHash::of("ÅSA@x.example"), SubscriberHash::of("åsa@x.example"));
    }

    #[test]
    fn a_hash_is_told_from_an_address() {
        let hash = SubscriberHash::of("a@b.example");
        assert_eq!(SubscriberHash::from(hash.to_string().as_str()), hash);
        assert_eq!(SubscriberHash::from(hash.to_string().to_uppercase().as_str()), hash);
        assert_eq!(SubscriberHash::from("A@b.example"), hash);
        assert!("+0000000000000000000000000000000".parse::<SubscriberHash>().is_err());
    }
}
