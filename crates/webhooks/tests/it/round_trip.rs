//! What our signer makes, our verifier accepts: for each provider.

use http::{HeaderMap, Method};
use martlet_base::Timestamp;
use martlet_webhooks::{
    Coverage, Incoming, KeyRing, Outgoing, Provider, PublicUrl, Scheme, Signed, Signer, Strength, Verifier,
    providers,
};
use ring::signature::{Ed25519KeyPair, KeyPair};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
pub(crate) const ORIGIN: &str = "https://hooks.example.com";

/// A provider with keys that belong together, and a body of its kind.
pub(crate) struct Case {
    pub(crate) provider: &'static Provider,
    pub(crate) signing: String,
    pub(crate) verifying: String,
    pub(crate) body: &'static [u8],
}

/// Made for these tests with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048` and `-algorithm EC -pkeyopt
/// ec_paramgen_curve:P-256`, as base64 without the lines of PEM.
pub(crate) const RSA_PRIVATE: &str = include_str!("../keys/rsa.pkcs8.b64");
pub(crate) const RSA_PUBLIC: &str = include_str!("../keys/rsa.pub.pem");
pub(crate) const P256_PRIVATE: &str = include_str!("../keys/p256.pkcs8.b64");
pub(crate) const P256_PUBLIC: &str = include_str!("../keys/p256.pub.pem");

pub(crate) fn ed25519() -> (String, String) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let seed = [9; 32];
    let public = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().public_key().as_ref().to_vec();
    (format!("whsk_{}", STANDARD.encode(seed)), format!("whpk_{}", STANDARD.encode(public)))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = providers::ALL
        .iter()
        .filter(|provider| provider.id != "salesforce-outbound")
        .map(|provider| {
            let (signing, verifying) = match provider.id {
                "sendgrid" => (P256_PRIVATE, P256_PUBLIC),
                "highlevel" => (RSA_PRIVATE, RSA_PUBLIC),
                "standard-webhooks" | "svix" | "resend" | "clerk" => {
                    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
                }
                "iterable" | "postmark" | "pipedrive" | "brevo" => ("user:p:ss", "user:p:ss"),
                _ => ("5ecret-Key", "5ecret-Key"),
            };
            let body: &[u8] = match provider.id {
                "mandrill" => b"mandrill_events=[{\"event\":\"open\",\"_id\":\"a1\"}]",
                "twilio" => b"MessageSid=SM1&MessageStatus=sent&To=12&To=13",
                "klaviyo" => b"{\"data\":[],\"meta\":{\"klaviyo_webhook_id\":\"wh_1\"}}",
                _ => b"{\"id\":\"evt_1\",\"n\":[1, 2]}\r\n",
            };
            Case { provider, signing: signing.into(), verifying: verifying.into(), body }
        })
        .collect();
    let (signing, verifying) = ed25519();
    cases.push(Case {
        provider: &providers::STANDARD_WEBHOOKS,
        signing,
        verifying,
        body: b"\xff\x00 not text",
    });
    cases.push(Case {
        provider: &providers::TWILIO,
        signing: "5ecret-Key".into(),
        verifying: "5ecret-Key".into(),
        body: b"{\"sid\": 1}",
    });
    cases
}

impl Case {
    pub(crate) fn sign(&self) -> Signed {
        let url = format!("{ORIGIN}/in/{}?a=b%40c", self.provider.id);
        let signer = Signer::new(self.provider, &*self.signing).unwrap();
        signer.sign(Outgoing::post(&url, "0123456789abcdef", self.body), NOW).unwrap()
    }

    pub(crate) fn verifier(&self, key: &str) -> Result<Verifier, martlet_webhooks::ConfigError> {
        let verifier = Verifier::new(self.provider, &KeyRing::new(key))?;
        Ok(verifier.with_public_url(PublicUrl::origin(ORIGIN)?))
    }
}

#[test]
fn what_our_signer_makes_our_verifier_accepts() {
    for case in cases() {
        let (id, signed) = (case.provider.id, case.sign());
        let request = Incoming::new(&signed.method, signed.target(), &signed.headers, &signed.body);
        let verifier = case.verifier(&case.verifying).unwrap();
        let verified = verifier.verify(&request, NOW).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(verified.get(), &&*signed.body, "{id}");
        assert_eq!((verified.provider(), verified.key_id()), (id, "default"));
        let signs = matches!(case.provider.scheme, Scheme::Recipes(_));
        assert_eq!(verified.strength() == Strength::Signed, signs, "{id}");
        let expected = match id {
            "hubspot" | "hubspot-v2" | "twilio" | "mandrill" => Coverage::BodyAndUrl,
            "mailgun" => Coverage::NotBody,
            _ if !signs => Coverage::NotBody,
            _ => Coverage::Body,
        };
        assert_eq!(verified.coverage(), expected, "{id}");
        assert!(!verifier.dedup_keys(&verified, &signed.headers).is_empty(), "{id}");
    }
}

#[test]
fn every_recipe_of_every_provider_signs_and_verifies() {
    let mut recipes = 0;
    for provider in providers::ALL {
        let Scheme::Recipes(all) = &provider.scheme else { continue };
        for recipe in *all {
            recipe.check().unwrap();
            let case = cases().into_iter().find(|case| case.provider.id == provider.id).unwrap();
            let (signing, verifying) = match &*recipe.name {
                "standard-webhooks-v1a" => ed25519(),
                _ => (case.signing, case.verifying),
            };
            let body = if recipe.name == "mailgun-form" { b"event=delivered" } else { case.body };
            let url = format!("{ORIGIN}/x");
            let signer = Signer::from_recipe(recipe.clone(), signing).unwrap();
            let signed = signer.sign(Outgoing::post(&url, "0123456789abcdef", body), NOW).unwrap();
            let request = Incoming::new(&signed.method, signed.target(), &signed.headers, &signed.body);
            let public = PublicUrl::origin(ORIGIN).unwrap();
            let one = Verifier::from_recipe(recipe.clone(), &KeyRing::new(&*verifying)).unwrap();
            one.with_public_url(public.clone()).verify(&request, NOW).unwrap();
            let any = Verifier::new(provider, &KeyRing::new(verifying)).unwrap().with_public_url(public);
            any.verify(&request, NOW).unwrap_or_else(|error| panic!("{}: {error}", recipe.name));
            recipes += 1;
        }
    }
    assert!(recipes >= 35, "{recipes}");
}

#[test]
fn salesforce_is_its_certificate_and_the_organisation() {
    use sha2::{Digest, Sha256};
    let print: String = Sha256::digest(b"certificate").iter().map(|b| format!("{b:02x}")).collect();
    let verifier =
        Verifier::new(&providers::SALESFORCE_OUTBOUND, &KeyRing::new(format!("00D1:{print}"))).unwrap();
    let headers = HeaderMap::new();
    let verify = |body: &'static [u8], certificate: Option<&'static [u8]>| {
        let mut request = Incoming::new(&Method::POST, "/sf", &headers, body);
        if let Some(certificate) = certificate {
            request = request.with_client_certificate(certificate);
        }
        verifier.verify(&request, NOW).map(|verified| verified.strength())
    };
    let body = b"<notifications><OrganizationId>00D1</OrganizationId></notifications>";
    assert_eq!(verify(body, Some(b"certificate")), Ok(Strength::Authenticated));
    let two = b"<OrganizationId>00D1</OrganizationId><Id>04l1</Id><sf:Id>003</sf:Id><Id>04l2</Id>";
    let request = Incoming::new(&Method::POST, "/sf", &headers, two).with_client_certificate(b"certificate");
    let keys = verifier.dedup_keys(&verifier.verify(&request, NOW).unwrap(), &headers);
    assert_eq!(keys.iter().map(|key| &*key.key).collect::<Vec<_>>(), ["04l1", "04l2"]);
    assert!(verify(body, Some(b"another")).is_err());
    assert!(verify(body, None).is_err());
    assert!(verify(b"<OrganizationId>00D2</OrganizationId>", Some(b"certificate")).is_err());
    assert!(
        verify(
            b"<OrganizationId>00D1</OrganizationId><OrganizationId>00D2</OrganizationId>",
            Some(b"certificate")
        )
        .is_err()
    );
    assert!(verify(b"", Some(b"certificate")).is_err());
    assert!(providers::SALESFORCE_ACK.contains("<Ack>true</Ack>"));
}
