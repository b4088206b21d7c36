//! What the fuzz targets (`fuzz/`) and the short run in `random.rs` do with bytes that somebody made up.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use martlet_base::Timestamp;
use martlet_webhooks::{
    Field, Incoming, KeyRing, Outgoing, Provider, PublicUrl, Recipe, Scheme, Signer, Tolerance, Verified,
    Verifier, VerifyError, providers,
};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const P256: &str = include_str!("../keys/p256.pub.pem");
const RSA: &str = include_str!("../keys/rsa.pub.pem");

/// A key that belongs to the provider, so that everything behind the key is reached.
fn key(provider: &Provider) -> &'static str {
    match provider.id {
        "sendgrid" => P256,
        "highlevel" => RSA,
        "standard-webhooks" | "svix" | "resend" | "clerk" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        _ => "5ecret-Key",
    }
}

/// Every provider with its key, and without one.
static VERIFIERS: LazyLock<Vec<(&'static Provider, Verifier)>> = LazyLock::new(|| {
    let public = PublicUrl::origin("https://hooks.example.com").expect("a plain origin");
    let wide = Tolerance::both(std::time::Duration::from_secs(1 << 40));
    let mut all = Vec::new();
    for keyed in [true, false] {
        for provider in providers::ALL {
            let ring = if keyed { KeyRing::new(key(provider)) } else { KeyRing::empty() };
            let verifier = Verifier::new(provider, &ring).expect("the key belongs to it");
            let verifier = verifier.with_public_url(public.clone()).with_tolerance(wide);
            all.push((*provider, verifier.with_handshake_token("t")));
        }
    }
    all
});

/// The headers that a provider's recipes read.
fn header_names(provider: &Provider) -> Vec<String> {
    fn of(field: &Field, names: &mut Vec<String>) {
        match field {
            Field::Header(name)
            | Field::KeyValue { header: name, .. }
            | Field::Tagged { header: name, .. } => {
                names.push(name.to_string());
            }
            _ => {}
        }
    }
    let mut names = vec!["authorization".to_owned(), "content-type".to_owned()];
    if let Scheme::Recipes(recipes) = &provider.scheme {
        for recipe in *recipes {
            of(&recipe.signature, &mut names);
            recipe.timestamp.iter().for_each(|stamp| of(&stamp.at, &mut names));
        }
    }
    names
}

/// One line for each header that the provider reads, then path and query, then the body.
pub(crate) fn verify(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let (provider, verifier) = &VERIFIERS[usize::from(*choice) % VERIFIERS.len()];
    let names = header_names(provider);
    let mut lines = rest.splitn(names.len() + 2, |b| *b == b'\n');
    let mut headers = HeaderMap::new();
    for name in &names {
        if let Some(Ok(value)) = lines.next().filter(|line| !line.is_empty()).map(HeaderValue::from_bytes) {
            headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a header's name"), value);
        }
    }
    let target = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let body = lines.next().unwrap_or_default();
    for method in [Method::POST, Method::GET, Method::HEAD] {
        let request = Incoming::new(&method, &target, &headers, body).with_client_certificate(body);
        let _ = verifier.handshake(&request, NOW);
        match verifier.verify(&request, NOW) {
            Ok(verified) => events(verifier, &verified, &headers),
            Err(error) => assert!(error.status().is_client_error() && !error.to_string().is_empty()),
        }
    }
}

fn events(verifier: &Verifier, verified: &Verified<&[u8]>, headers: &HeaderMap) {
    assert!(!verifier.dedup_keys(verified, headers).is_empty());
    let _ = verified.json::<serde_json::Value>();
}

/// Every provider with a secret that somebody made up, for verifying and for signing.
pub(crate) fn keys(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for provider in providers::ALL {
        let _ = Verifier::new(provider, &KeyRing::new(&*text));
        if let Ok(signer) = Signer::new(provider, &*text) {
            let _ = signer.sign(Outgoing::post("https://hooks.example.com/", "id", data), NOW);
        }
    }
}

/// A recipe that somebody described; what it signs, it verifies.
pub(crate) fn recipe(data: &[u8]) {
    let Ok(recipe) = serde_json::from_slice::<Recipe>(data) else { return };
    let (Ok(signer), Ok(verifier)) = (
        Signer::from_recipe(recipe.clone(), "5ecret-Key"),
        Verifier::from_recipe(recipe, &KeyRing::new("5ecret-Key")),
    ) else {
        return;
    };
    let signed = signer.sign(Outgoing::post("https://hooks.example.com/x?y=z", "id", b"{\"a\":1}"), NOW);
    let headers = HeaderMap::new();
    let nothing = Incoming::new(&Method::POST, "/", &headers, b"");
    assert!(verifier.verify(&nothing, NOW).is_err());
    if let Ok(signed) = signed {
        let public = PublicUrl::origin("https://hooks.example.com").expect("a plain origin");
        let request = Incoming::new(&signed.method, signed.target(), &signed.headers, &signed.body);
        let _ = verifier.with_public_url(public).verify(&request, NOW);
    }
}

/// The identities of events in a body of somebody's making.
pub(crate) fn dedup(data: &[u8]) {
    // A credential proves nothing about the body, so any body gets here.
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
    let bearer = Verifier::new(&providers::BREVO_BEARER, &KeyRing::new("x")).expect("a token");
    let request = Incoming::new(&Method::POST, "/", &headers, data);
    let verified = bearer.verify(&request, NOW).unwrap_or_else(|error: VerifyError| panic!("{error}"));
    for (_, verifier) in VERIFIERS.iter() {
        events(verifier, &verified, &headers);
    }
    #[cfg(feature = "gzip")]
    for encoding in ["gzip", "deflate", "identity", "br"] {
        let encoding = HeaderValue::from_static(encoding);
        if let Ok(body) = verified.decompressed(Some(&encoding), 4096) {
            assert!(body.get().len() <= 4096);
        }
    }
}

/// A public URL of somebody's making, and a request's path below it.
pub(crate) fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (origin, target) = text.split_once('\n').unwrap_or((&text, ""));
    for public in [PublicUrl::origin(origin), PublicUrl::exact(origin)].into_iter().flatten() {
        let _ = (public.of(target), format!("{public:?}"));
        for provider in
            [&providers::TWILIO, &providers::HUBSPOT, &providers::HUBSPOT_V2, &providers::MANDRILL]
        {
            let signer = Signer::new(provider, "x").expect("any text is a secret");
            let url = public.of(target).into_owned();
            let Ok(signed) = signer.sign(Outgoing::post(&url, "", b"a=1"), NOW) else { continue };
            let verifier = Verifier::new(provider, &KeyRing::new("x")).expect("any text is a secret");
            let request = Incoming::new(&signed.method, target, &signed.headers, &signed.body);
            let verifier = verifier.with_public_url(public.clone());
            verifier.verify(&request, NOW).unwrap_or_else(|error| panic!("{}: {url}: {error}", provider.id));
        }
    }
}
