use crate::CacheRule;

/// The HTTP method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Verb {
    pub(crate) const fn method(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
            Self::Put => http::Method::PUT,
            Self::Patch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }
}

/// Whether an operation may be sent again when the fate of the first sending is unknown. The verb alone never decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Idempotency {
    /// Nobody has said. Treated as [`Unsafe`](Self::Unsafe).
    Unspecified,
    /// It changes nothing: a search by POST, any GET.
    Safe,
    /// Sent twice it has the effect of once: an upsert, a PUT of a whole resource, a DELETE.
    Idempotent,
    /// The platform recognises a repeated request by a key that is sent with it.
    Keyed(KeyStyle),
    /// Sent twice it has two effects.
    Unsafe,
}

/// Where a platform reads the idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyStyle {
    /// In a header, as it is: `Idempotency-Key: 8e03978e-..` (Stripe and most others).
    Header(&'static str),
    /// In a header, as a quoted string of
    /// [RFC 8941](https://www.rfc-editor.org/rfc/rfc8941): what the IETF draft `Idempotency-Key` asks for.
    QuotedHeader(&'static str),
    /// In a string member at the top of the JSON body.
    BodyField(&'static str),
}

/// One endpoint of a platform: facts that never change, in one constant.
///
/// ```
/// use martlet_core::{Idempotency, Operation};
///
/// const UPSERT: Operation = Operation::post("contacts.upsert", "/crm/{version}/objects/contacts/batch/upsert")
///     .idempotency(Idempotency::Idempotent);
/// assert_eq!(UPSERT.name(), "contacts.upsert");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    name: &'static str,
    verb: Verb,
    path: &'static str,
    idempotency: Idempotency,
    cost: u32,
    quota: Option<&'static str>,
    cache: Option<CacheRule>,
    invalidates: Option<&'static str>,
    sensitive: bool,
    requires_key: bool,
}

impl Operation {
    /// An operation of any verb. `name` is `resource.verb`, stable (it is a metric label). `path` begins with `/`;
    /// parts in braces are filled by [`Call::path`](crate::Call::path), `{version}` by the platform's descriptor.
    ///
    /// GET is [`Safe`](Idempotency::Safe); PUT and DELETE are [`Idempotent`](Idempotency::Idempotent); POST and PATCH are
    /// unspecified until [`idempotency`](Self::idempotency) says what they are.
    #[must_use]
    pub const fn custom(verb: Verb, name: &'static str, path: &'static str) -> Self {
        let idempotency = match verb {
            Verb::Get => Idempotency::Safe,
            Verb::Put | Verb::Delete => Idempotency::Idempotent,
            Verb::Post | Verb::Patch => Idempotency::Unspecified,
        };
        Self {
            name,
            verb,
            path,
            idempotency,
            cost: 1,
            quota: None,
            cache: None,
            invalidates: None,
            sensitive: false,
            requires_key: false,
        }
    }

    /// A GET, [`Safe`](Idempotency::Safe).
    #[must_use]
    pub const fn get(name: &'static str, path: &'static str) -> Self {
        Self::custom(Verb::Get, name, path)
    }

    /// A POST. Say what it is with [`idempotency`](Self::idempotency).
    #[must_use]
    pub const fn post(name: &'static str, path: &'static str) -> Self {
        Self::custom(Verb::Post, name, path)
    }

    /// A PUT, [`Idempotent`](Idempotency::Idempotent).
    #[must_use]
    pub const fn put(name: &'static str, path: &'static str) -> Self {
        Self::custom(Verb::Put, name, path)
    }

    /// A PATCH. Say what it is with [`idempotency`](Self::idempotency).
    #[must_use]
    pub const fn patch(name: &'static str, path: &'static str) -> Self {
        Self::custom(Verb::Patch, name, path)
    }

    /// A DELETE, [`Idempotent`](Idempotency::Idempotent).
    #[must_use]
    pub const fn delete(name: &'static str, path: &'static str) -> Self {
        Self::custom(Verb::Delete, name, path)
    }

    /// Says whether it may be sent again.
    #[must_use]
    pub const fn idempotency(mut self, idempotency: Idempotency) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// How many units of quota one attempt takes; 1 unless said.
    #[must_use]
    pub const fn cost(mut self, units: u32) -> Self {
        self.cost = units;
        self
    }

    /// The quota bucket it takes from **beside** the platform's default one, such as HubSpot's search. A bucket that the client has no
    /// limit for is an error of each call ([`ErrorKind::Config`](crate::ErrorKind::Config)), and of the conformance suite.
    #[must_use]
    pub const fn quota(mut self, bucket: &'static str) -> Self {
        self.quota = Some(bucket);
        self
    }

    /// Lets answers be served from the cache; never unless said.
    #[must_use]
    pub const fn cacheable(mut self, rule: CacheRule) -> Self {
        self.cache = Some(rule);
        self
    }

    /// A success makes cached answers of `tag` stale.
    #[must_use]
    pub const fn invalidates(mut self, tag: &'static str) -> Self {
        self.invalidates = Some(tag);
        self
    }

    /// Its bodies hold secrets: they are never logged or recorded.
    #[must_use]
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Every call must bring its own idempotency key: a random one cannot be found again after a crash, and for this operation
    /// that is not good enough.
    #[must_use]
    pub const fn requires_key(mut self) -> Self {
        self.requires_key = true;
        self
    }

    /// Whether every call must bring its own idempotency key.
    #[must_use]
    pub const fn is_key_required(&self) -> bool {
        self.requires_key
    }

    /// Its stable name, `resource.verb`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its HTTP method.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        self.verb
    }

    /// Its path template.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Whether it may be sent again.
    #[must_use]
    pub const fn get_idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// Units of quota an attempt takes.
    #[must_use]
    pub const fn get_cost(&self) -> u32 {
        self.cost
    }

    /// Its own quota bucket, if any.
    #[must_use]
    pub const fn get_quota(&self) -> Option<&'static str> {
        self.quota
    }

    /// By which rule answers may be served from the cache.
    #[must_use]
    pub const fn get_cache(&self) -> Option<CacheRule> {
        self.cache
    }

    /// The cache tag that a success makes stale.
    #[must_use]
    pub const fn get_invalidates(&self) -> Option<&'static str> {
        self.invalidates
    }

    /// Whether its bodies hold secrets.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        self.sensitive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_verbs_with_a_meaning_of_their_own_have_a_default() {
        assert_eq!(Operation::get("a.get", "/a").get_idempotency(), Idempotency::Safe);
        assert_eq!(Operation::put("a.put", "/a").get_idempotency(), Idempotency::Idempotent);
        assert_eq!(Operation::post("a.create", "/a").get_idempotency(), Idempotency::Unspecified);
        assert_eq!(Operation::patch("a.update", "/a").get_idempotency(), Idempotency::Unspecified);
    }
}
