//! The spellings under which a provider may have signed one URL.

use crate::UrlForm;
use crate::extract::escape;

/// Every spelling that may have been signed, the most likely first, each once.
pub(crate) fn spellings(form: UrlForm, url: &str) -> Vec<String> {
    let mut all = match form {
        UrlForm::Exact => vec![url.to_owned()],
        UrlForm::Hubspot => vec![hubspot(url), url.to_owned()],
        UrlForm::Twilio => twilio(url),
    };
    // At most five: looking back is cheaper than a set.
    let mut seen = 0;
    while seen < all.len() {
        let (before, after) = all.split_at(seen);
        if before.contains(&after[0]) {
            all.remove(seen);
        } else {
            seen += 1;
        }
    }
    all
}

/// HubSpot decodes these escapes before it signs, and no others. That it decodes is documented
/// (<https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>); the exact table is unconfirmed.
const HUBSPOT_DECODES: &[u8] = b":/?@!$'()*,;";

fn hubspot(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        match escape(after.as_bytes()) {
            Some(byte) if HUBSPOT_DECODES.contains(&byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            _ => {
                out.push('%');
                rest = &after[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Twilio signs some URLs with a port and some without, and some with `'` in the query escaped
/// (<https://www.twilio.com/docs/usage/security>, its SDKs try the same).
fn twilio(url: &str) -> Vec<String> {
    let (head, query) = match url.split_once('?') {
        Some((head, query)) => (head, Some(query)),
        None => (url, None),
    };
    let mut heads = vec![head.to_owned()];
    if let Some((scheme, rest)) = head.split_once("://") {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host_at = authority.rfind('@').map_or(0, |at| at + 1);
        // The colons of an IPv6 address stand in brackets.
        let bracket = authority.rfind(']').unwrap_or(host_at).max(host_at);
        match authority[bracket..].find(':') {
            Some(colon) => heads.push(format!("{scheme}://{}{path}", &authority[..bracket + colon])),
            None => {
                let port = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
                heads.push(format!("{scheme}://{authority}:{port}{path}"));
            }
        }
    }
    let Some(query) = query else { return heads };
    let escaped = query.replace('\'', "%27");
    [query, &escaped]
        .iter()
        .flat_map(|query| heads.iter().map(move |head| format!("{head}?{query}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hubspot_decodes_its_table_alone() {
        let url = "https://a.b/c?e=a%40b&q=x%2Fy%2fz%20%25%C3%AB&r=%4";
        assert_eq!(hubspot(url), "https://a.b/c?e=a@b&q=x/y/z%20%25%C3%AB&r=%4");
        assert_eq!(spellings(UrlForm::Hubspot, url), [hubspot(url), url.to_owned()]);
        assert_eq!(spellings(UrlForm::Hubspot, "https://a.b/c"), ["https://a.b/c"]);
    }

    #[test]
    fn twilio_signs_with_and_without_port() {
        for (url, other) in [
            ("https://a.b/c?d=1", "https://a.b:443/c?d=1"),
            ("http://a.b/c", "http://a.b:80/c"),
            ("https://a.b:1234", "https://a.b"),
            ("https://u:p@a.b:1234/c", "https://u:p@a.b/c"),
            ("https://u:p@a.b/c", "https://u:p@a.b:443/c"),
            ("https://[::1]/c", "https://[::1]:443/c"),
            ("https://[::1]:8/c", "https://[::1]/c"),
        ] {
            assert_eq!(spellings(UrlForm::Twilio, url), [url, other]);
        }
        assert_eq!(spellings(UrlForm::Twilio, "https://a.b/c?d='").len(), 4);
    }

    proptest! {
        #[test]
        fn no_url_panics(url in "\\PC{0,20}(://)?[\\PC%@:?'\\[\\]]{0,20}") {
            for form in [UrlForm::Exact, UrlForm::Hubspot, UrlForm::Twilio] {
                prop_assert!(spellings(form, &url).contains(&url));
            }
        }
    }
}
