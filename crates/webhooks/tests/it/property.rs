//! One changed bit anywhere in what is signed, in the signature or in the key, and nothing is accepted.

use http::{HeaderMap, HeaderValue, StatusCode};
use martlet_webhooks::{
    Algorithm, Coverage, Incoming, KeyRing, Outgoing, PublicUrl, Recipe, Signer, Strength, Verifier,
    VerifyError,
};
use proptest::prelude::*;

use crate::round_trip::{Case, NOW, ORIGIN, cases};

fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

/// How many changes of a case were tried, all refused with the same answer.
fn try_all(case: &Case) -> usize {
    let id = case.provider.id;
    let mut signed = case.sign();
    if id == "klaviyo" {
        signed.headers.insert("Klaviyo-Webhook-Id", HeaderValue::from_static("wh_1"));
    }
    let verifier = case.verifier(&case.verifying).unwrap();
    let target = signed.target().to_owned();
    let verify = |verifier: &Verifier, target: &str, headers: &HeaderMap, body: &[u8]| {
        let request = Incoming::new(&signed.method, target, headers, body);
        verifier.verify(&request, NOW).map(|verified| (verified.coverage(), verified.strength()))
    };
    let (coverage, strength) = verify(&verifier, &target, &signed.headers, &signed.body).unwrap();
    let mut tried = 0;
    let mut refused = |what: &str, outcome: Result<_, VerifyError>| {
        let error = outcome.expect_err(&format!("{id}: accepted with another {what}"));
        assert_eq!(error.status(), StatusCode::UNAUTHORIZED, "{id}: {error}");
        tried += 1;
    };

    let body_from = match coverage {
        Coverage::NotBody => signed.body.len(),
        _ => 0,
    };
    for change in flips(&signed.body[body_from..]) {
        refused("body", verify(&verifier, &target, &signed.headers, &change));
    }
    if id == "mailgun" {
        // Of this body, the object with the signature is what is signed.
        let text = std::str::from_utf8(&signed.body).unwrap();
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        for name in ["signature", "timestamp", "token"] {
            let value = json["signature"][name].as_str().unwrap();
            for change in flips(value.as_bytes()).filter_map(|bytes| String::from_utf8(bytes).ok()) {
                let mut json = json.clone();
                json["signature"][name] = change.into();
                refused(name, verify(&verifier, &target, &signed.headers, json.to_string().as_bytes()));
            }
        }
    }
    for (name, value) in signed.headers.iter().filter(|(name, _)| *name != "content-type") {
        for change in flips(value.as_bytes()) {
            // A byte that no header can hold does not arrive.
            let Ok(change) = HeaderValue::from_bytes(&change) else { continue };
            let scheme = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase();
            if strength == Strength::Authenticated && scheme(&change) == scheme(value) {
                continue; // `basic` is `Basic`: RFC 9110, section 11.1
            }
            let mut headers = signed.headers.clone();
            headers.insert(name, change);
            refused(name.as_str(), verify(&verifier, &target, &headers, &signed.body));
        }
    }
    if coverage == Coverage::BodyAndUrl || matches!(id, "mailchimp" | "activecampaign") {
        let start = if coverage == Coverage::BodyAndUrl { 0 } else { target.rfind('=').unwrap() + 1 };
        for change in flips(&target.as_bytes()[start..]).filter_map(|bytes| String::from_utf8(bytes).ok()) {
            let change = [&target[..start], &change].concat();
            refused("target", verify(&verifier, &change, &signed.headers, &signed.body));
        }
    }
    for change in flips(case.verifying.as_bytes()).filter_map(|bytes| String::from_utf8(bytes).ok()) {
        // A text that is no key at all is refused when the verifier is made.
        if let Ok(other) = case.verifier(&change) {
            refused("key", verify(&other, &target, &signed.headers, &signed.body));
        }
    }
    tried
}

#[test]
fn any_single_bit_refuses_for_every_provider() {
    for case in cases() {
        let tried = try_all(&case);
        assert!(tried > 100, "{}: {tried} changes tried", case.provider.id);
    }
}

proptest! {
    #[test]
    fn any_single_bit_of_any_body_refuses(
        body in proptest::collection::vec(any::<u8>(), 1..200),
        secret in "[a-zA-Z0-9_ -]{1,80}",
        bit in any::<proptest::sample::Index>(),
        algorithm in prop_oneof![
            Just(Algorithm::HmacSha1),
            Just(Algorithm::HmacSha256),
            Just(Algorithm::HmacSha512),
            Just(Algorithm::Sha256OfSecretAndMessage),
        ],
    ) {
        let recipe = Recipe { algorithm, ..Recipe::hmac_sha256("mine", "X-Mine") };
        let url = format!("{ORIGIN}/");
        let signed = Signer::from_recipe(recipe.clone(), &*secret).unwrap()
            .sign(Outgoing::post(&url, "", &body), NOW).unwrap();
        let verifier = Verifier::from_recipe(recipe, &KeyRing::new(secret)).unwrap()
            .with_public_url(PublicUrl::origin(ORIGIN).unwrap());
        let verify = |body: &[u8]| {
            verifier.verify(&Incoming::new(&signed.method, "/", &signed.headers, body), NOW).is_ok()
        };
        prop_assert!(verify(&body));
        let mut changed = body.clone();
        let bit = bit.index(changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify(&changed));
        changed.clone_from(&body);
        changed.push(0);
        prop_assert!(!verify(&changed));
    }
}
