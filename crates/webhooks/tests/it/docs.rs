//! `docs/webhook-providers.md` is made from the recipes. `MARTLET_BLESS=1 cargo test -p martlet-webhooks docs` writes it.

use std::fmt::Write;
use std::path::Path;

use martlet_webhooks::{
    Algorithm, Credential, Dedup, Encoding, Evidence, Field, Handshake, KeyFormat, Part, Provider, Recipe,
    Require, Scheme, Unit, UrlForm, providers,
};

use crate::vector_file::bless;

const HEAD: &str = "\
# Webhook providers

<!-- Made from crates/webhooks/src/providers.rs by its tests. Do not edit: change the recipes, then run
     MARTLET_BLESS=1 cargo test -p martlet-webhooks --all-features docs -->

What `martlet-webhooks` knows of each provider. `{body}` is the raw body, `{time}` the timestamp as received, `{url}` the address
that the provider calls (`PublicUrl`), `{form}` the decoded form fields sorted by key. Header names have no case.

Evidence: **confirmed** in the provider's own SDK, test data or documentation; **secondary**: from others who verify it;
**unconfirmed**: try it with a real delivery before you rely on it. A `weak` dedup key is the hash of the body and the time of
signing; an `unsigned` one is the provider's, but whoever replays a request can change it.

";

const TAIL: &str = "
## What is not here

- **Salesforce Pub/Sub API and change data capture** are pulled over gRPC with OAuth: no request comes in, so there is nothing to
  verify. Their `ReplayId` tells what was seen.
- **Convoy's signature with a timestamp** is unconfirmed.
- A tolerance of \"none\" means that the provider signs no time or documents no limit: the dedup key is the only defence against
  a replayed request. `Verifier::with_tolerance` sets one where a time is signed.
- Checked \"both ways\": too old and too far ahead are refused. Where the provider's own SDK looks at the age alone,
  `Verifier::with_sdk_parity` does the same.
";

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn place(field: &Field) -> String {
    match field {
        Field::Header(name) => code(name),
        Field::KeyValue { header, delimiter, name } => format!("`{header}: ..{delimiter}{name}=`"),
        Field::Tagged { header, tag } => format!("`{header}: {tag},`"),
        Field::Json(pointer) => format!("JSON {}", code(pointer)),
        Field::Form(name) => format!("form field {}", code(name)),
        other => panic!("say how to write {other:?}"),
    }
}

fn part(part: &Part) -> String {
    match part {
        Part::Literal(text) => text.to_string(),
        Part::Timestamp => "{time}".into(),
        Part::Body => "{body}".into(),
        Part::Method => "{METHOD}".into(),
        Part::Url(UrlForm::Exact) => "{url}".into(),
        Part::Url(UrlForm::Hubspot) => "{url, some escapes decoded}".into(),
        Part::Url(UrlForm::Twilio) => "{url, with or without port}".into(),
        Part::SortedForm => "{form}".into(),
        Part::FormOrBodyHash => "{form, or nothing if the URL has bodySHA256}".into(),
        Part::Field(Field::Header(name)) => format!("{{{name}}}"),
        Part::Field(Field::Json(pointer) | Field::Form(pointer)) => format!("{{{pointer}}}"),
        other => panic!("say how to write {other:?}"),
    }
}

fn algorithm(recipe: &Recipe) -> String {
    let algorithm = match recipe.algorithm {
        Algorithm::HmacSha1 => "HMAC-SHA1",
        Algorithm::HmacSha256 => "HMAC-SHA256",
        Algorithm::HmacSha512 => "HMAC-SHA512",
        Algorithm::Sha256OfSecretAndMessage => "SHA-256 of secret and",
        Algorithm::EcdsaP256Sha256 => "ECDSA P-256 SHA-256",
        Algorithm::Ed25519 => "Ed25519",
        Algorithm::RsaPkcs1Sha256 => "RSA PKCS #1 SHA-256",
        other => panic!("say how to write {other:?}"),
    };
    let encoding = match recipe.encoding {
        Encoding::Hex => "hex",
        Encoding::Base64 => "base64",
        Encoding::Base64Url => "base64url",
        other => panic!("say how to write {other:?}"),
    };
    let key = match recipe.key {
        KeyFormat::Utf8 => "",
        KeyFormat::Base64 => "; key in base64",
        KeyFormat::Hex => "; key in hex",
        KeyFormat::Whsec => "; key in base64 after `whsec_`",
        KeyFormat::Whpk => "; public key in base64 after `whpk_`",
        KeyFormat::PublicKey => "; public key (SPKI)",
        other => panic!("say how to write {other:?}"),
    };
    let message: String = recipe.message.iter().map(part).collect();
    format!("{algorithm} `{message}`, {encoding}{key}")
}

fn headers(recipe: &Recipe) -> String {
    let prefix =
        if recipe.prefix.is_empty() { String::new() } else { format!(" with prefix `{}`", recipe.prefix) };
    let mut text = format!("{}{prefix}", place(&recipe.signature));
    if let Some(stamp) = &recipe.timestamp {
        let unit = match stamp.unit {
            Unit::Seconds => "s",
            Unit::Millis => "ms",
            Unit::Rfc3339 => "RFC 3339",
            other => panic!("say how to write {other:?}"),
        };
        write!(text, ", {} ({unit})", place(&stamp.at)).unwrap();
    }
    for rule in &*recipe.require {
        match rule {
            Require::Body => text.push_str(", no empty body"),
            Require::Header { name, value } => write!(text, ", `{name}: {value}`").unwrap(),
            Require::HeaderAgrees { name, pointer } => {
                write!(text, ", `{name}` as {pointer} in the body").unwrap();
            }
            other => panic!("say how to write {other:?}"),
        }
    }
    text
}

fn tolerance(recipe: &Recipe) -> String {
    match recipe.timestamp.as_ref().map(|stamp| (stamp.tolerance_s, stamp.sdk_checks_age_only)) {
        Some((Some(seconds), true)) => format!("{seconds} s both ways (SDK: age only)"),
        Some((Some(seconds), false)) => format!("{seconds} s both ways"),
        Some((None, _)) => "none (time is signed)".into(),
        None => "none".into(),
    }
}

fn credential(credential: &Credential) -> String {
    match credential {
        Credential::Basic => "`Authorization: Basic`".into(),
        Credential::Bearer => "`Authorization: Bearer`".into(),
        Credential::Header(name) => code(name),
        Credential::SecretUrl => "secret in the URL".into(),
        Credential::SalesforceCertificate => "TLS client certificate, `OrganizationId`".into(),
        other => panic!("say how to write {other:?}"),
    }
}

fn handshake(handshake: Handshake) -> &'static str {
    match handshake {
        Handshake::None => "none",
        Handshake::Head => "unsigned HEAD: 200",
        Handshake::Get => "GET: 200",
        Handshake::HubChallenge => "GET `hub.verify_token`: echo `hub.challenge`, else 403",
        Handshake::UrlVerification => "signed `url_verification`: echo `challenge`",
        Handshake::UrlValidation => "`endpoint.url_validation`: HMAC of `plainToken`; again every 72 h",
        Handshake::ChallengeCode => "GET `challengeCode`: its HMAC; again every 2 h, three failures block",
        Handshake::Mandrill => "unsigned HEAD, and test POST while no key is known: 200",
        Handshake::VerificationToken => "one POST with `verification_token`: the key",
        other => panic!("say how to write {other:?}"),
    }
}

fn dedup(provider: &Provider) -> String {
    let one = |dedup: &Dedup| match dedup {
        Dedup::Header(name) => code(name),
        Dedup::Json { each, ids } => {
            ids.iter().map(|id| code(&format!("{each}{id}"))).collect::<Vec<_>>().join(" + ")
        }
        Dedup::Element(name) => code(&format!("<{name}>")),
        Dedup::Form(names) => names.iter().map(|name| code(name)).collect::<Vec<_>>().join(" + "),
        Dedup::FormJson { field, each, ids } => {
            let ids = ids.iter().map(|id| code(&format!("{each}{id}"))).collect::<Vec<_>>().join(" + ");
            format!("{ids} in `{field}`")
        }
        other => panic!("say how to write {other:?}"),
    };
    if provider.dedup.is_empty() {
        return "none: weak".into();
    }
    let signed = |dedup: &Dedup| {
        let Scheme::Recipes(recipes) = &provider.scheme else { return false };
        recipes.iter().any(|recipe| {
            let body = |part: &Part| matches!(part, Part::Body | Part::SortedForm | Part::FormOrBodyHash);
            match dedup {
                Dedup::Header(name) => recipe.message.contains(&Part::Field(Field::header(*name))),
                // Its token is signed, beside the body.
                _ => recipe.message.iter().any(body) || provider.id == "mailgun",
            }
        })
    };
    let text: Vec<String> = provider
        .dedup
        .iter()
        .map(|dedup| {
            let mark = if signed(dedup) { "" } else { " (unsigned)" };
            format!("{}{mark}", one(dedup))
        })
        .collect();
    text.join(", else ")
}

fn row(provider: &Provider) -> String {
    let (headers, signed, tolerance) = match &provider.scheme {
        Scheme::Credential(kind) => (credential(kind), "nothing".to_owned(), "none".to_owned()),
        Scheme::Recipes(recipes) => {
            let join = |text: fn(&Recipe) -> String| {
                let mut all: Vec<String> = recipes.iter().map(text).collect();
                all.dedup();
                all.join("; or ")
            };
            (join(headers), join(algorithm), join(tolerance))
        }
        other => panic!("say how to write {other:?}"),
    };
    let evidence = match provider.evidence {
        Evidence::Confirmed => "confirmed",
        Evidence::Secondary => "secondary",
        Evidence::Unconfirmed => "**unconfirmed**",
        other => panic!("say how to write {other:?}"),
    };
    let Provider { title, id, rotation, not_covered, source, .. } = provider;
    let (handshake, dedup) = (handshake(provider.handshake), dedup(provider));
    format!(
        "| {title} (`{id}`) | {headers} | {signed} | {tolerance} | {rotation} | {handshake} | {dedup} | {not_covered} | {evidence}: \
         {source} |\n"
    )
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(
        "| provider | headers | what is signed, how | tolerance | rotation | handshake | dedup id | not covered | evidence |\n",
    );
    page.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for provider in providers::ALL {
        page.push_str(&row(provider));
    }
    page.push_str(TAIL);
    page
}

#[test]
fn docs_say_what_the_recipes_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/webhook-providers.md");
    let page = page();
    if bless() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/webhook-providers.md is stale: MARTLET_BLESS=1 cargo test -p martlet-webhooks --all-features docs"
    );
}

#[test]
fn docs_mark_what_is_unconfirmed() {
    for provider in providers::ALL {
        let row = row(provider);
        assert_eq!(row.contains("**unconfirmed**"), provider.evidence == Evidence::Unconfirmed, "{row}");
        assert!(!provider.source.is_empty() && !provider.not_covered.is_empty(), "{}", provider.id);
    }
    // The rows of background knowledge alone, and no other.
    let unconfirmed: Vec<&str> = providers::ALL
        .iter()
        .filter(|provider| provider.evidence == Evidence::Unconfirmed)
        .map(|provider| provider.id)
        .collect();
    assert_eq!(unconfirmed, ["braze", "activecampaign", "iterable", "marketo"]);
}
