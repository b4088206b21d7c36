//! Secrets of webhooks are in nothing that is printed.

use http::{HeaderMap, Method};
use martlet_base::Timestamp;
use martlet_testkit::Canary;
use martlet_webhooks::{Incoming, Key, KeyRing, Outgoing, PublicUrl, Signer, Verifier, providers};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);

#[test]
fn a_secret_is_in_no_verifier_request_or_error() {
    let canary = Canary::new("webhook");
    let ring = KeyRing::empty().with(Key::new("main", canary.text()));
    canary.absent_from_debug("a key", &Key::new("main", canary.text()));
    canary.absent_from_debug("a ring", &ring);
    let mut signed_by = 0;
    for provider in providers::ALL {
        let place = |what: &str| format!("{what} of {}", provider.id);
        let verifier = match Verifier::new(provider, &ring) {
            Ok(verifier) => verifier.with_handshake_token(canary.text()),
            // It wants a key of another form.
            Err(error) => {
                canary.absent_from_error(&place("the error"), &error);
                continue;
            }
        };
        canary.absent_from_debug(&place("the verifier"), &verifier);
        // What a sender can put the secret into.
        let target = format!("/hooks/{0}?secret={0}&hub.verify_token={0}", canary.text());
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-token", "x-gitlab-token", "cookie", "x-signature"] {
            headers.insert(name, format!("Bearer {}", canary.text()).parse().unwrap());
        }
        for method in [Method::GET, Method::POST] {
            let body = format!("{{\"token\":\"{}\"}}", canary.text());
            let request = Incoming::new(&method, &target, &headers, body.as_bytes());
            canary.absent_from_debug(&place("the request"), &request);
            match verifier.verify(&request, NOW) {
                Ok(verified) => canary.absent_from_debug(&place("what was verified"), &verified),
                Err(error) => canary.absent_from_error(&place("the refusal"), &error),
            }
        }
        let Ok(signer) = Signer::new(provider, canary.text()) else { continue };
        canary.absent_from_debug(&place("the signer"), &signer);
        signed_by += 1;
        match signer.sign(Outgoing::post("https://hooks.example/in", "m-1", b"{}"), NOW) {
            Ok(signed) => canary.absent_from_debug(&place("the signed request"), &signed),
            Err(error) => canary.absent_from_error(&place("signing"), &error),
        }
    }
    assert!(signed_by > 10, "the canary was on its way");
}

#[test]
fn a_secret_in_a_public_url_is_in_no_text() {
    let canary = Canary::new("url");
    for url in [
        format!("https://hooks.example/in/{}", canary.text()),
        format!("https://user:{}@hooks.example/in", canary.text()),
        format!("http:// {}", canary.text()),
        format!("https://hooks.example/in?secret={}#x", canary.text()),
    ] {
        for made in [PublicUrl::exact(&url), PublicUrl::origin(&url)] {
            match made {
                Ok(url) => canary.absent_from_debug("a public URL", &url),
                Err(error) => canary.absent_from_error("a refused public URL", &error),
            }
        }
        let outgoing = Outgoing::post(&url, "m-1", b"{}");
        canary.absent_from_debug("an outgoing request", &outgoing);
    }
}
