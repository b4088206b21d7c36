//! Secrets that are easy to find.

use crate::disguise::{contains, disguises};
use std::error::Error;
use std::fmt;

/// A secret for tests: put it where a real one goes, and look for it in whatever is printed, logged or stored.
///
/// It is found as it is, cut off, percent-encoded, in hexadecimal and within base64. The checks panic with the place that the test
/// names, and do not print what they found.
///
/// ```
/// use martlet_core::Credential;
/// use martlet_testkit::Canary;
///
/// let token = Canary::new("token");
/// let credential = Credential::bearer(token.text());
/// token.absent_from_debug("a credential", &credential);
/// ```
#[derive(Clone)]
pub struct Canary {
    text: String,
    needles: Vec<Vec<u8>>,
}

impl Canary {
    /// A secret called `name`, in lower-case letters: a test with several knows them apart.
    ///
    /// # Panics
    /// With another name.
    #[must_use]
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(good, "a canary is named in lower-case letters, not {name:?}");
        let beginning = format!("c4n4ry-{name}");
        let text = format!("{beginning}-q7Xv2Lm9");
        let mut needles = disguises(&text);
        needles.push(beginning.into_bytes());
        Self { text, needles }
    }

    /// The secret: letters, digits and dashes, so it fits a header, a URL and a file's name.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is in these bytes, in any form: to check that it was on its way at all.
    #[must_use]
    pub fn is_in(&self, bytes: impl AsRef<[u8]>) -> bool {
        self.needles.iter().any(|needle| contains(bytes.as_ref(), needle))
    }

    /// Looks for it in a text or bytes: a log, a file.
    ///
    /// # Panics
    /// When it is there: this is an assertion.
    #[track_caller]
    pub fn absent_from(&self, place: &str, bytes: impl AsRef<[u8]>) {
        assert!(!self.is_in(bytes), "the secret {} is in {place}", self.name());
    }

    /// Looks for it in both forms of a value's `Debug`.
    ///
    /// # Panics
    /// When it is there: this is an assertion.
    #[track_caller]
    pub fn absent_from_debug(&self, place: &str, value: &(impl fmt::Debug + ?Sized)) {
        self.absent_from(&format!("the Debug of {place}"), format!("{value:?} {value:#?}"));
    }

    /// Looks for it in an error and in all of its sources, in `Display` and `Debug`.
    ///
    /// # Panics
    /// When it is there: this is an assertion.
    #[track_caller]
    pub fn absent_from_error(&self, place: &str, error: &(dyn Error + 'static)) {
        let (mut cause, mut depth) = (Some(error), 0);
        while let Some(error) = cause {
            let of =
                if depth == 0 { place.to_owned() } else { format!("{place}, its source number {depth}") };
            self.absent_from(&format!("the text of {of}"), error.to_string());
            self.absent_from_debug(&of, error);
            (cause, depth) = (error.source(), depth + 1);
        }
    }

    /// Puts it into each of `urls` in place of `{}`, opens them, and looks for it in the builder and in what comes of it: an error,
    /// or what was opened. Each URL comes with the words that tell it from the others.
    ///
    /// # Panics
    /// When it is there: this is an assertion. Also when a URL has no place for it.
    pub async fn absent_from_opening<B, T, E>(
        &self,
        urls: &[(&str, &str)],
        builder: impl Fn(&str) -> B,
        open: impl AsyncFn(B) -> Result<T, E>,
    ) where
        B: fmt::Debug,
        T: fmt::Debug,
        E: Error + 'static,
    {
        for (what, url) in urls {
            assert!(url.contains("{}"), "the URL of {what} has no `{{}}` for the secret");
            let builder = builder(&url.replace("{}", &self.text));
            self.absent_from_debug(&format!("a builder with {what}"), &builder);
            match open(builder).await {
                Ok(opened) => self.absent_from_debug(&format!("what was opened with {what}"), &opened),
                Err(error) => self.absent_from_error(&format!("the error of {what}"), &error),
            }
        }
    }

    fn name(&self) -> &str {
        self.text.split('-').nth(1).unwrap_or_default()
    }
}

impl fmt::Debug for Canary {
    /// Its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Canary").field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_base::Delivery;
    use martlet_core::{TransportError, TransportErrorKind};

    #[test]
    fn it_is_found_as_it_is_cut_off_and_in_base64() {
        let canary = Canary::new("token");
        assert!(canary.is_in(format!("a {} b", canary.text())));
        assert!(canary.is_in("c4n4ry-token.."));
        assert!(canary.is_in("dXNlcjpjNG40cnktdG9rZW4tcTdYdjJMbTk="), "of user:..");
        assert!(!canary.is_in("c4n4ry-other"));
        canary.absent_from_debug("itself", &canary);
    }

    fn refused(words: &str) -> TransportError {
        TransportError::new(TransportErrorKind::Connect, Delivery::NotSent, words.to_owned())
    }

    #[tokio::test]
    async fn whether_a_url_with_it_opens_or_not_it_is_looked_for() {
        let urls = [("a host", "db://me:{}@host"), ("no host", "db://me:{}@")];
        let open = async |works: bool| if works { Ok("opened") } else { Err(refused("no host")) };
        Canary::new("password").absent_from_opening(&urls, |url| url.ends_with("host"), open).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the secret password is in the text of the error of a host")]
    async fn a_url_that_an_error_quotes_is_found() {
        /// Its `Debug` tells nothing.
        struct Builder(String);
        impl fmt::Debug for Builder {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Builder")
            }
        }
        let open = async |builder: Builder| Err::<(), _>(refused(&builder.0));
        let urls = [("a host", "db://me:{}@host")];
        Canary::new("password").absent_from_opening(&urls, |url| Builder(url.to_owned()), open).await;
    }

    #[test]
    #[should_panic(expected = "the secret token is in the text of an error, its source number 1")]
    fn it_is_found_in_the_source_of_an_error() {
        let canary = Canary::new("token");
        let kind = TransportErrorKind::Connect;
        let inner = TransportError::new(kind, Delivery::NotSent, canary.text());
        let outer = TransportError::new(kind, Delivery::NotSent, "refused").with_source(inner);
        struct Quiet(TransportError);
        impl fmt::Debug for Quiet {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Quiet")
            }
        }
        impl fmt::Display for Quiet {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("quiet")
            }
        }
        impl Error for Quiet {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.0.source()
            }
        }
        canary.absent_from_error("an error", &Quiet(outer));
    }
}
