use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use martlet_base::Timestamp;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use smallvec::{SmallVec, smallvec};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::extract::{self, Bytes, Extract, Values, header, malformed};
use crate::key::{Dates, Material};
use crate::recipe::Text;
use crate::url::spellings;
use crate::verified::Proof;
use crate::{
    ConfigError, Coverage, Dedup, Field, Handshake, Incoming, KeyRing, Part, Provider, PublicUrl, Recipe,
    Require, Scheme, Strength, Unit, Verified, VerifyError,
};

/// The largest body that is hashed by default: 1 MiB.
pub const DEFAULT_MAX_BODY: usize = 1024 * 1024;

/// Verifies the requests of one webhook.
///
/// Make it once and keep it: keys are prepared here. It holds no state between requests, so clones of one
/// [`Arc`] may verify on many threads. Replays within the tolerance are caught by storing
/// [`Verifier::dedup_keys`], which is the receiver's part.
pub struct Verifier {
    pub(crate) name: Text,
    pub(crate) method: Method,
    pub(crate) handshake: Handshake,
    pub(crate) handshake_token: Option<SecretString>,
    pub(crate) dedup: &'static [Dedup],
    public_url: Option<PublicUrl>,
    tolerance: Option<Tolerance>,
    sdk_parity: bool,
    max_body: usize,
}

pub(crate) enum Method {
    Recipes(Vec<Loaded>),
    Credential(Credential, Vec<Slot<[u8; 32]>>),
}

/// A recipe with the keys of the ring that are written as its keys are.
pub(crate) struct Loaded {
    pub(crate) recipe: Cow<'static, Recipe>,
    pub(crate) keys: Vec<Slot<Material>>,
}

pub(crate) struct Slot<M> {
    id: Arc<str>,
    pub(crate) dates: Dates,
    pub(crate) material: M,
}

/// A proof that signs nothing: the sender knows or owns something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// `Authorization: Basic`; the key is `user:password` ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
    Basic,
    /// `Authorization: Bearer`; the key is the token ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
    Bearer,
    /// A header whose whole value is the key.
    Header(Text),
    /// A segment of the path, or a value in the query, is the key.
    SecretUrl,
    /// The client's TLS certificate; the key is the SHA-256 of its DER in lower-case hexadecimal.
    ClientCertificate,
    /// The same for Salesforce outbound messages, whose certificate is that of all organisations: the key is
    /// `organisation id:SHA-256`, and the message's `OrganizationId` must be that one.
    SalesforceCertificate,
}

/// How far the time of signing may be from the clock. Exactly this far is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    past: Duration,
    future: Option<Duration>,
}

impl Tolerance {
    /// In both directions.
    #[must_use]
    pub const fn both(limit: Duration) -> Self {
        Self { past: limit, future: Some(limit) }
    }

    /// Into the past alone, as many SDKs do: a request from a clock that is ahead stays valid for longer.
    #[must_use]
    pub const fn age_only(limit: Duration) -> Self {
        Self { past: limit, future: None }
    }
}

impl Verifier {
    /// For a provider of [`providers`](crate::providers).
    ///
    /// # Errors
    ///
    /// A key is not written as this provider's are. An empty ring is no error here: it refuses every request.
    pub fn new(provider: &'static Provider, keys: &KeyRing) -> Result<Self, ConfigError> {
        let mut this = match &provider.scheme {
            Scheme::Recipes(recipes) => {
                Self::load(provider.id.into(), recipes.iter().map(Cow::Borrowed).collect(), keys)?
            }
            Scheme::Credential(credential) => Self::from_credential(credential.clone(), keys)?,
        };
        this.name = provider.id.into();
        this.handshake = provider.handshake;
        this.dedup = provider.dedup;
        Ok(this)
    }

    /// For a recipe of your own.
    ///
    /// # Errors
    ///
    /// The recipe does not pass [`Recipe::check`], or a key is not written as it says.
    pub fn from_recipe(recipe: Recipe, keys: &KeyRing) -> Result<Self, ConfigError> {
        recipe.check()?;
        Self::load(recipe.name.clone(), vec![Cow::Owned(recipe)], keys)
    }

    /// For a password, token, secret URL or client certificate.
    ///
    /// # Errors
    ///
    /// A key is empty.
    pub fn from_credential(credential: Credential, keys: &KeyRing) -> Result<Self, ConfigError> {
        let slots = keys.keys.iter().map(|key| {
            let material = Sha256::digest(key.text()?).into();
            Ok(Slot { id: Arc::clone(key.id()), dates: key.dates(), material })
        });
        let slots = slots.collect::<Result<_, ConfigError>>()?;
        Ok(Self::with_method("credential".into(), Method::Credential(credential, slots)))
    }

    fn load(name: Text, recipes: Vec<Cow<'static, Recipe>>, keys: &KeyRing) -> Result<Self, ConfigError> {
        let mut loaded: Vec<Loaded> =
            recipes.into_iter().map(|recipe| Loaded { recipe, keys: Vec::new() }).collect();
        for key in &keys.keys {
            // A ring may hold keys of both Standard Webhooks versions: each goes where it is understood.
            let mut problem = None;
            let mut understood = false;
            for one in &mut loaded {
                match Material::verifying(&one.recipe, key) {
                    Ok(material) => {
                        understood = true;
                        one.keys.push(Slot { id: Arc::clone(key.id()), dates: key.dates(), material });
                    }
                    Err(error) => problem = problem.or(Some(error)),
                }
            }
            if let (false, Some(problem)) = (understood, problem) {
                return Err(problem);
            }
        }
        Ok(Self::with_method(name, Method::Recipes(loaded)))
    }

    fn with_method(name: Text, method: Method) -> Self {
        Self {
            name,
            method,
            handshake: Handshake::None,
            handshake_token: None,
            dedup: &[],
            public_url: None,
            tolerance: None,
            sdk_parity: false,
            max_body: DEFAULT_MAX_BODY,
        }
    }

    /// Where the provider calls: needed by schemes that sign the URL, which refuse everything without it.
    #[must_use]
    pub fn with_public_url(mut self, url: PublicUrl) -> Self {
        self.public_url = Some(url);
        self
    }

    /// Another tolerance than the provider's, also where the provider has none. Without effect where no time is signed.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Accepts what the provider's own SDK accepts: a time in the future, where that SDK checks the age alone. Without
    /// it, times are checked in both directions.
    #[must_use]
    pub fn with_sdk_parity(mut self) -> Self {
        self.sdk_parity = true;
        self
    }

    /// The largest body in bytes; [`DEFAULT_MAX_BODY`] without it. Larger ones are refused before they are hashed.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The token that Meta sends back when it checks the endpoint: yours, not the app secret.
    #[must_use]
    pub fn with_handshake_token(mut self, token: impl Into<String>) -> Self {
        self.handshake_token = Some(SecretString::from(token.into()));
        self
    }

    /// The provider's or recipe's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Accepts the request or says why not. Takes time in proportion to the body, nothing else is waited for.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]. Log it, and answer [`VerifyError::status`] with [`VerifyError::BODY`].
    pub fn verify<'a>(
        &self,
        request: &Incoming<'a>,
        now: Timestamp,
    ) -> Result<Verified<&'a [u8]>, VerifyError> {
        let (size, limit) = (request.body.len(), self.max_body);
        if size > limit {
            return Err(VerifyError::TooLarge { size, limit });
        }
        if !self.any_key(|_| true) {
            return Err(VerifyError::NoKey);
        }
        if !self.any_key(|dates| dates.contain(now)) {
            return Err(VerifyError::NoActiveKey);
        }
        let (strength, fit) = match &self.method {
            Method::Credential(credential, slots) => {
                (Strength::Authenticated, check_credential(credential, slots, request, now)?)
            }
            Method::Recipes(recipes) => {
                let extract = Extract::new(*request);
                let mut outcome = Err(VerifyError::NoKey);
                for one in recipes.iter().filter(|one| !one.keys.is_empty()) {
                    let next = self.check_recipe(one, &extract, now);
                    if telling(&next) > telling(&outcome) {
                        outcome = next;
                    }
                }
                (Strength::Signed, outcome?)
            }
        };
        let Fit { key_id, coverage, signed_at } = fit;
        let (provider, key_id) = (self.name.clone(), Arc::clone(key_id));
        Ok(Verified::new(request.body, Proof { provider, strength, coverage, key_id, signed_at }))
    }

    pub(crate) fn any_key(&self, is: impl Fn(Dates) -> bool) -> bool {
        match &self.method {
            Method::Credential(_, slots) => slots.iter().any(|slot| is(slot.dates)),
            Method::Recipes(recipes) => recipes.iter().flat_map(|one| &one.keys).any(|slot| is(slot.dates)),
        }
    }

    fn check_recipe<'v>(
        &self,
        loaded: &'v Loaded,
        extract: &Extract<'_>,
        now: Timestamp,
    ) -> Result<Fit<'v>, VerifyError> {
        let Loaded { recipe, keys } = loaded;
        for rule in &*recipe.require {
            check_rule(rule, extract)?;
        }
        let inside;
        let mut candidates: Values<'_> = match &recipe.signature {
            field @ (Field::Json(_) | Field::Form(_)) => {
                inside = extract.one(field)?;
                smallvec![&*inside]
            }
            field => extract::all(extract.request.headers, field)?,
        };
        let stamp = recipe.timestamp.as_ref().map(|stamp| extract.one(&stamp.at)).transpose()?;
        let signed_at = self.check_time(recipe, stamp.as_deref(), now)?;

        candidates.retain(|text| match text.strip_prefix(recipe.prefix.as_bytes()) {
            Some(rest) => {
                *text = rest;
                true
            }
            None => false,
        });
        if candidates.is_empty() {
            let expected = match &recipe.signature {
                Field::KeyValue { name, .. } => name.to_string(),
                Field::Tagged { tag, .. } => tag.to_string(),
                _ => recipe.prefix.to_string(),
            };
            return Err(VerifyError::NoAcceptableSignature { expected });
        }

        let mut found = Choice::from(0);
        let mut fitting = 0u64;
        let mut try_keys = |url: Option<&str>| -> Result<(), VerifyError> {
            let message = message(recipe, extract, stamp.as_deref(), url)?;
            for (index, slot) in (0u64..).zip(keys) {
                if slot.dates.contain(now) {
                    let fits = slot.material.verify(&message, recipe.encoding, &candidates);
                    fitting.conditional_assign(&index, fits);
                    found |= fits;
                }
            }
            Ok(())
        };
        let form = recipe.message.iter().find_map(|part| match part {
            Part::Url(form) => Some(*form),
            _ => None,
        });
        let url = match (form, &self.public_url) {
            (None, _) => None,
            (Some(_), None) => return Err(VerifyError::NoPublicUrl),
            (Some(form), Some(public)) => Some((form, public.of(extract.request.target))),
        };
        match &url {
            None => try_keys(None)?,
            Some((form, url)) => {
                spellings(*form, url).iter().try_for_each(|url| try_keys(Some(url)))?;
            }
        }
        let key = usize::try_from(fitting).ok().and_then(|index| keys.get(index));
        let (true, Some(key)) = (bool::from(found), key) else {
            return Err(mismatch(recipe, &extract.request));
        };
        if recipe.message.contains(&Part::FormOrBodyHash)
            && let Some((_, url)) = &url
            && let Some(named) = body_hash(url)
            && !bool::from(extract::hex(&Sha256::digest(extract.request.body)).as_bytes().ct_eq(&named))
        {
            return Err(VerifyError::BodyHashMismatch);
        }
        let exact = self.public_url.as_ref().is_some_and(|url| url.exact);
        let coverage = match (recipe.signs_body(), recipe.signs_url() && !exact) {
            (true, true) => Coverage::BodyAndUrl,
            (true, false) => Coverage::Body,
            (false, _) => Coverage::NotBody,
        };
        Ok(Fit { key_id: &key.id, coverage, signed_at })
    }

    /// The time that is signed, if any, and near enough to the clock.
    fn check_time(
        &self,
        recipe: &Recipe,
        text: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, VerifyError> {
        let (Some(stamp), Some(text)) = (&recipe.timestamp, text) else { return Ok(None) };
        if !recipe.signs_timestamp() {
            return Ok(None);
        }
        let signed_at = parse_time(stamp.unit, text);
        let usual = || {
            let limit = Duration::from_secs(u64::from(stamp.tolerance_s?));
            Some(Tolerance::both(limit))
        };
        let Some(mut tolerance) = self.tolerance.or_else(usual) else { return Ok(signed_at) };
        if self.sdk_parity && stamp.sdk_checks_age_only {
            tolerance.future = None;
        }
        let Some(signed_at) = signed_at else {
            return Err(malformed(
                &stamp.at,
                match stamp.unit {
                    Unit::Seconds => "a time in Unix seconds",
                    Unit::Millis => "a time in Unix milliseconds",
                    Unit::Rfc3339 => "a time as RFC 3339 writes it",
                },
            ));
        };
        // SDKs compare in the unit of the stamp: 300.9 s are still 300 s.
        let now = match stamp.unit {
            Unit::Seconds => Timestamp::from_secs(now.as_secs()),
            Unit::Millis | Unit::Rfc3339 => now,
        };
        let (age, ahead) = (now.since(signed_at), signed_at.since(now));
        if age > tolerance.past {
            return Err(VerifyError::TooOld { age, limit: tolerance.past });
        }
        match tolerance.future {
            Some(limit) if ahead > limit => Err(VerifyError::InFuture { ahead, limit }),
            _ => Ok(Some(signed_at)),
        }
    }
}

/// What fitted.
#[derive(Clone, Copy)]
struct Fit<'v> {
    key_id: &'v Arc<str>,
    coverage: Coverage,
    signed_at: Option<Timestamp>,
}

fn check_credential<'v>(
    credential: &Credential,
    slots: &'v [Slot<[u8; 32]>],
    request: &Incoming<'_>,
    now: Timestamp,
) -> Result<Fit<'v>, VerifyError> {
    let presented = presented(credential, request)?;
    let mut found = Choice::from(0);
    let mut fitting = 0u64;
    for text in &presented {
        // Compared as hashes, so that not even the length shows.
        let digest: [u8; 32] = Sha256::digest(text).into();
        for (index, slot) in (0u64..).zip(slots) {
            if slot.dates.contain(now) {
                let fits = slot.material.ct_eq(&digest);
                fitting.conditional_assign(&index, fits);
                found |= fits;
            }
        }
    }
    let key = usize::try_from(fitting).ok().and_then(|index| slots.get(index));
    let (true, Some(key)) = (bool::from(found), key) else { return Err(VerifyError::BadCredentials) };
    Ok(Fit { key_id: &key.id, coverage: Coverage::NotBody, signed_at: None })
}

/// How much an outcome of one of several recipes says: a wrong signature tells more than a header that another recipe
/// would have wanted.
fn telling(outcome: &Result<Fit<'_>, VerifyError>) -> u8 {
    match outcome {
        Ok(_) => 4,
        Err(VerifyError::NoKey) => 0,
        Err(VerifyError::Missing { .. }) => 1,
        Err(VerifyError::NoAcceptableSignature { .. }) => 2,
        Err(_) => 3,
    }
}

fn check_rule(rule: &Require, extract: &Extract<'_>) -> Result<(), VerifyError> {
    let headers = extract.request.headers;
    match rule {
        Require::Body if extract.request.body.is_empty() => Err(VerifyError::EmptyBody),
        Require::Body => Ok(()),
        Require::Header { name, value } if header(headers, name)? == value.as_bytes() => Ok(()),
        Require::Header { value, .. } => {
            Err(VerifyError::NoAcceptableSignature { expected: value.to_string() })
        }
        Require::HeaderAgrees { name, pointer } if headers.contains_key(&**name) => {
            let said = extract.json().and_then(|json| json.pointer(pointer)).and_then(|value| value.as_str());
            match said {
                Some(said) if header(headers, name)? != said.as_bytes() => {
                    Err(VerifyError::Contradiction { header: name.to_string() })
                }
                _ => Ok(()),
            }
        }
        Require::HeaderAgrees { .. } => Ok(()),
    }
}

fn mismatch(recipe: &Recipe, request: &Incoming<'_>) -> VerifyError {
    let announced = request.headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    let body_changed = announced
        .and_then(|text| text.parse::<usize>().ok())
        .is_some_and(|length| length != request.body.len());
    VerifyError::Mismatch { body_changed, url_signed: recipe.signs_url() }
}

/// What is signed, piece by piece.
#[inline]
pub(crate) fn message<'a>(
    recipe: &'a Recipe,
    extract: &'a Extract<'_>,
    stamp: Option<&'a [u8]>,
    url: Option<&'a str>,
) -> Result<SmallVec<[Bytes<'a>; 6]>, VerifyError> {
    let mut pieces = SmallVec::new();
    for part in &*recipe.message {
        match part {
            Part::Literal(text) => pieces.push(Cow::Borrowed(text.as_bytes())),
            Part::Timestamp => pieces.push(Cow::Borrowed(stamp.unwrap_or_default())),
            Part::Body => pieces.push(Cow::Borrowed(extract.request.body)),
            Part::Method => pieces.push(Cow::Borrowed(extract.request.method.as_str().as_bytes())),
            Part::Url(_) => pieces.push(Cow::Borrowed(url.unwrap_or_default().as_bytes())),
            Part::FormOrBodyHash if url.is_some_and(|url| body_hash(url).is_some()) => {}
            Part::SortedForm | Part::FormOrBodyHash => {
                let content_type = extract.request.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
                let is_form = |value: &[u8]| {
                    value.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
                };
                if !extract.request.body.is_empty() && !content_type.is_none_or(is_form) {
                    return Err(VerifyError::NotAForm);
                }
                let mut fields: Vec<_> = extract.form().iter().collect();
                fields.sort_unstable();
                fields.dedup();
                pieces.extend(
                    fields.iter().flat_map(|(key, value)| [Cow::Borrowed(&**key), Cow::Borrowed(&**value)]),
                );
            }
            Part::Field(field) => pieces.push(extract.one(field)?),
        }
    }
    Ok(pieces)
}

/// The hash of the body that Twilio puts into a signed URL.
fn body_hash(url: &str) -> Option<Vec<u8>> {
    let (_, query) = url.split_once('?')?;
    let named = extract::form(query.as_bytes()).into_iter().find(|(key, _)| &**key == b"bodySHA256");
    named.map(|(_, value)| value.into_owned())
}

fn parse_time(unit: Unit, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let number = || -> Option<i64> {
        // Digits alone: `i64` would take a sign, and two spellings of one time.
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
    };
    match unit {
        Unit::Seconds => number().map(Timestamp::from_secs),
        Unit::Millis => number().map(Timestamp::from_millis),
        Unit::Rfc3339 => text.parse().ok(),
    }
}

/// What the sender showed. A secret URL may stand in any of its parts.
fn presented<'a>(credential: &Credential, request: &Incoming<'a>) -> Result<Vec<Bytes<'a>>, VerifyError> {
    let authorization = |scheme: &str| -> Result<&'a [u8], VerifyError> {
        let value = header(request.headers, AUTHORIZATION.as_str())?;
        // The scheme's name is the one part without case: RFC 9110 section 11.1.
        match value.split_at_checked(scheme.len()) {
            Some((name, [b' ', rest @ ..])) if name.eq_ignore_ascii_case(scheme.as_bytes()) => Ok(rest),
            _ => Err(VerifyError::BadCredentials),
        }
    };
    let fingerprint = || -> Result<String, VerifyError> {
        let missing = || VerifyError::Missing { what: "the TLS client certificate".to_owned() };
        Ok(extract::hex(&Sha256::digest(request.client_certificate.ok_or_else(missing)?)))
    };
    Ok(match credential {
        Credential::Basic => {
            let decoded =
                STANDARD.decode(authorization("Basic")?).map_err(|_| VerifyError::BadCredentials)?;
            vec![Cow::Owned(decoded)]
        }
        Credential::Bearer => vec![Cow::Borrowed(authorization("Bearer")?)],
        Credential::Header(name) => vec![Cow::Borrowed(header(request.headers, name)?)],
        Credential::SecretUrl => {
            let path = request.target.split('?').next().unwrap_or_default();
            let segments = path.split('/').filter(|segment| !segment.is_empty());
            let values = extract::form(request.query()).into_iter().map(|(_, value)| value);
            segments.map(|segment| extract::unescape(segment.as_bytes())).chain(values).take(64).collect()
        }
        Credential::ClientCertificate => vec![Cow::Owned(fingerprint()?.into_bytes())],
        Credential::SalesforceCertificate => {
            let organisation = organisation(request.body)?;
            vec![Cow::Owned([organisation, b":", fingerprint()?.as_bytes()].concat())]
        }
    })
}

/// The text of the one `OrganizationId` element of a Salesforce outbound message.
fn organisation(body: &[u8]) -> Result<&[u8], VerifyError> {
    const OPEN: &[u8] = b"<OrganizationId>";
    let what = || "OrganizationId in the SOAP body".to_owned();
    let mut at = body.windows(OPEN.len()).enumerate().filter(|(_, window)| *window == OPEN).map(|(at, _)| at);
    let (first, None) = (at.next().ok_or_else(|| VerifyError::Missing { what: what() })?, at.next()) else {
        return Err(VerifyError::Malformed { what: what(), expected: "there exactly once" });
    };
    let rest = &body[first + OPEN.len()..];
    Ok(&rest[..rest.iter().position(|b| *b == b'<').unwrap_or(rest.len())])
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("name", &self.name)
            .field("has_key", &self.any_key(|_| true))
            .field("public_url", &self.public_url)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}
