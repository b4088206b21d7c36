//! Credentials and the data centre they belong to.

use martlet_core::{Credential, Error, ErrorKind, Result, Secret};
use std::fmt;

/// What the builder was given.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// An API key; its suffix names the data centre.
    ApiKey(Secret),
    /// An OAuth token, and the data centre that the metadata endpoint named.
    Token { token: Secret, data_center: String },
}

impl Auth {
    /// The credential and the data centre, or what is wrong. Neither error quotes the secret.
    pub(crate) fn resolve(self) -> Result<(Credential, DataCenter)> {
        match self {
            Self::ApiKey(key) => {
                let suffix = key.expose().rsplit_once('-').and_then(|(_, suffix)| DataCenter::parse(suffix));
                let data_center = suffix.ok_or_else(|| {
                    let message = "the API key does not end with its data centre, such as -us20";
                    Error::new(ErrorKind::Config, message)
                })?;
                // The user name is ignored by the platform.
                Ok((Credential::basic("martlet", key), data_center))
            }
            Self::Token { token, data_center } => {
                let data_center = DataCenter::parse(&data_center).ok_or_else(|| {
                    Error::new(ErrorKind::Config, "the data centre is not of the form us20")
                })?;
                Ok((Credential::Bearer(token), data_center))
            }
        }
    }
}

/// A data centre: two letters and up to three digits. It becomes part of a host name that is sent a credential, so nothing
/// else is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataCenter(String);

impl DataCenter {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (letters, digits) = text.split_at_checked(2)?;
        let good = letters.bytes().all(|b| b.is_ascii_lowercase())
            && (1..=3).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit());
        good.then(|| Self(text.to_owned()))
    }

    pub(crate) fn base_url(&self) -> String {
        format!("https://{self}.api.mailchimp.com")
    }
}

impl fmt::Display for DataCenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_centre_is_the_suffix_of_the_key() {
        let (_, dc) = Auth::ApiKey("0123456789abcdef-us20".into()).resolve().unwrap();
        assert_eq!(dc.base_url(), "https://us20.api.mailchimp.com");
        let (_, dc) = Auth::ApiKey("with-dashes-eu1".into()).resolve().unwrap();
        assert_eq!(dc.to_string(), "eu1");
    }

    #[test]
    fn a_key_without_a_data_centre_is_refused_and_not_quoted() {
        for key in [
            "s3cr3t",
            "s3cr3t-",
            "s3cr3t-us",
            "s3cr3t-US1",
            "s3cr3t-us1234",
            "s3cr3t-u1",
            "s3cr3t-us1.evil.example",
            "",
        ] {
            let error = Auth::ApiKey(key.into()).resolve().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{key}");
            assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{key}");
        }
    }

    #[test]
    fn a_data_centre_cannot_smuggle_a_host() {
        for dc in ["us1/@evil", "us1#", "us1:80", "usé", "", "é1"] {
            let token = Auth::Token { token: "t".into(), data_center: dc.into() };
            assert_eq!(token.resolve().unwrap_err().kind(), ErrorKind::Config, "{dc}");
        }
    }
}
