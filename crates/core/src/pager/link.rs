//! The `Link` header of [RFC 8288](https://www.rfc-editor.org/rfc/rfc8288).

use http::HeaderMap;
use http::header::LINK;

/// The target of the first link with this relation, as it stands there; what is wrong with the header when it cannot be read.
///
/// Several header lines, several links in a line, several relations in a `rel`, with and without quotes, in any case. Links with an
/// `anchor` are about another resource and are left out.
pub(crate) fn find(headers: &HeaderMap, rel: &str) -> Result<Option<String>, &'static str> {
    for line in headers.get_all(LINK) {
        let text = str::from_utf8(line.as_bytes()).map_err(|_| "it is not UTF-8")?;
        let mut rest = Rest(text);
        while let Some(link) = rest.link()? {
            let has = |rels: &str| rels.split_ascii_whitespace().any(|own| own.eq_ignore_ascii_case(rel));
            if !link.anchored && link.rel.as_deref().is_some_and(has) {
                return Ok(Some(link.target.to_owned()));
            }
        }
    }
    Ok(None)
}

struct Link<'a> {
    target: &'a str,
    rel: Option<String>,
    anchored: bool,
}

/// What is left of a header line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// `<target>; name=value; name="value"`, or `None` at the end.
    fn link(&mut self) -> Result<Option<Link<'a>>, &'static str> {
        self.skip(&[' ', '\t', ',']);
        if self.0.is_empty() {
            return Ok(None);
        }
        let target = self.0.strip_prefix('<').ok_or("a link does not begin with <")?;
        let (target, rest) = target.split_once('>').ok_or("a link has no >")?;
        let mut link = Link { target: target.trim(), rel: None, anchored: false };
        self.0 = rest;
        loop {
            self.skip(&[' ', '\t']);
            match self.0.chars().next() {
                Some(';') => self.skip(&[';', ' ', '\t']),
                Some(',') | None => return Ok(Some(link)),
                Some(_) => return Err("a link is followed by something else than a parameter"),
            }
            let name = self.until(&['=', ';', ',', ' ', '\t']);
            self.skip(&[' ', '\t']);
            let mut value = None;
            if let Some(rest) = self.0.strip_prefix('=') {
                self.0 = rest;
                self.skip(&[' ', '\t']);
                value = Some(self.value()?);
            }
            if name.eq_ignore_ascii_case("anchor") {
                link.anchored = true;
            } else if name.eq_ignore_ascii_case("rel") && link.rel.is_none() {
                // Others after the first one are to be ignored (section 3.3).
                link.rel = value;
            }
        }
    }

    fn value(&mut self) -> Result<String, &'static str> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return Ok(self.until(&[';', ',', ' ', '\t']).to_owned());
        };
        let (mut value, mut escaped) = (String::new(), false);
        for (place, char) in quoted.char_indices() {
            match char {
                _ if escaped => {
                    value.push(char);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    self.0 = &quoted[place + 1..];
                    return Ok(value);
                }
                _ => value.push(char),
            }
        }
        Err("a quoted value has no end")
    }

    fn skip(&mut self, chars: &[char]) {
        self.0 = self.0.trim_start_matches(chars);
    }

    fn until(&mut self, chars: &[char]) -> &'a str {
        let (token, rest) = self.0.split_at(self.0.find(chars).unwrap_or(self.0.len()));
        self.0 = rest;
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn next(lines: &[&str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(LINK, HeaderValue::from_str(line).unwrap());
        }
        find(&headers, "next")
    }

    #[test]
    fn the_next_link_is_found_however_it_is_written() {
        for lines in [
            &["</t?page=2>; rel=\"next\""][..],
            &["</t?page=2>; rel=next"],
            &["</t?page=2>;rel=next;title=\"a;b,c=\\\"<x>\\\"\""],
            &["</t?page=2>; title=\"rel=prev, <x>; rel=next\"; rel=next"],
            &["< /t?page=2 > ; REL = \"last NEXT\""],
            &["</t?page=1>; rel=\"prev first\", </t?page=2>; rel=\"next\", </t?page=9>; rel=last"],
            &["</t?page=1>; rel=prev", "</t?page=2>; rel=next"],
            &[", ,</t?page=2>;; rel=next ,"],
            &["</t?page=2>; crossorigin; rel=next"],
            &["</t?page=2>; rel=next; rel=prev"],
            &["</t?page=7>; rel=next; anchor=\"/other\", </t?page=2>; rel=next"],
            &["</t?page=2>; rel=next, </t?page=3>; rel=next"],
        ] {
            assert_eq!(next(lines), Ok(Some("/t?page=2".to_owned())), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_next_link_is_the_end() {
        for lines in [
            &[][..],
            &[""],
            &["</t?page=1>; rel=prev; rel=next"],
            &["</t?page=1>; rel=\"nextish\""],
            &["</t?page=1>; title=next"],
            &["</t?page=1>; rel"],
            &["</t?page=1>"],
            &["</t?a,b;rel=next>; rel=prev"],
        ] {
            assert_eq!(next(lines), Ok(None), "{lines:?}");
        }
    }

    #[test]
    fn a_broken_header_is_told_and_not_taken_for_the_end() {
        for line in [
            "/t?page=2; rel=next",
            "</t?page=2; rel=next",
            "</t?page=2>; rel=\"next",
            "</t?page=2> rel=next",
            "<>x",
        ] {
            assert!(next(&[line]).is_err(), "{line}");
        }
        let mut headers = HeaderMap::new();
        headers.append(LINK, HeaderValue::from_bytes(b"</t>; rel=next\xff").unwrap());
        assert!(find(&headers, "next").is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[<>;,=\" \\\\a-zé]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.append(LINK, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let _ = find(&headers, "next");
        }

        #[test]
        fn what_is_written_is_read(target in "[!-;=?-~]{1,20}", title in "[ -~]{0,20}", before in "[!-;=?-~]{0,9}") {
            let title = title.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("<{before}>; title=\"{title}\"; rel=\"x prev\", <{target}>; title=\"{title}\"; rel=\"y next\"");
            prop_assert_eq!(next(&[&line]), Ok(Some(target)));
        }
    }
}
