//! What the verifier promises beside the formulas.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use martlet_base::Timestamp;
use martlet_webhooks::{
    ConfigError, Credential, DEFAULT_MAX_BODY, DedupQuality, Encoding, Field, Incoming, Key, KeyRing,
    Outgoing, Part, Provider, PublicUrl, Recipe, Signed, Signer, Stamp, Tolerance, Verifier, VerifyError,
    providers,
};

use crate::round_trip::NOW;

const URL: &str = "https://hooks.example.com/in?a=b";

fn sign(provider: &'static Provider, secret: &str, body: &[u8]) -> Signed {
    Signer::new(provider, secret).unwrap().sign(Outgoing::post(URL, "id-1", body), NOW).unwrap()
}

fn incoming(signed: &Signed) -> Incoming<'_> {
    Incoming::new(&signed.method, signed.target(), &signed.headers, &signed.body)
}

fn verifier(provider: &'static Provider, secret: &str) -> Verifier {
    Verifier::new(provider, &KeyRing::new(secret)).unwrap()
}

fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> HeaderMap {
    pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn pem(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('-')).collect()
}

#[test]
fn without_a_key_nothing_is_accepted() {
    for provider in providers::ALL {
        let verifier = Verifier::new(provider, &KeyRing::empty()).unwrap();
        let (nothing, method) = (HeaderMap::new(), Method::POST);
        let request = Incoming::new(&method, "/", &nothing, b"{}");
        assert_eq!(verifier.verify(&request, NOW).unwrap_err(), VerifyError::NoKey, "{}", provider.id);
    }
    let signed = sign(&providers::GITHUB, "x", b"{}");
    let verifier = Verifier::new(&providers::GITHUB, &KeyRing::empty()).unwrap();
    assert_eq!(verifier.verify(&incoming(&signed), NOW).unwrap_err(), VerifyError::NoKey);
}

#[test]
fn an_empty_or_unreadable_secret_is_refused_by_name_and_not_shown() {
    for (provider, secret) in [
        (&providers::GITHUB, ""),
        (&providers::GITHUB, "canary-secret\n"),
        (&providers::STANDARD_WEBHOOKS, "whsec_canary!"),
        (&providers::STANDARD_WEBHOOKS, "whpk_AAAA"),
        (&providers::SENDGRID, "canary"),
        (&providers::HIGHLEVEL, include_str!("../keys/p256.pub.pem")),
        (&providers::SENDGRID, include_str!("../keys/rsa.pub.pem")),
    ] {
        let error = Verifier::new(provider, &KeyRing::empty().with(Key::new("main", secret))).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, ConfigError::Key { ref id, .. } if id == "main"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
    // A point that is cut off; an RSA key with something behind it.
    let (p256, rsa) = (pem(include_str!("../keys/p256.pub.pem")), pem(include_str!("../keys/rsa.pub.pem")));
    assert!(Verifier::new(&providers::SENDGRID, &KeyRing::new(&*p256)).is_ok(), "base64 alone will do");
    assert!(Verifier::new(&providers::SENDGRID, &KeyRing::new(&p256[..p256.len() - 8])).is_err());
    assert!(Verifier::new(&providers::HIGHLEVEL, &KeyRing::new(&*rsa)).is_ok());
    assert!(Verifier::new(&providers::HIGHLEVEL, &KeyRing::new(format!("{rsa}AAAA"))).is_err());
    let short = Signer::new(&providers::STANDARD_WEBHOOKS, "whsec_VEVTVF9TSUdOSU5HX1NFQ1JFVA==").unwrap_err();
    assert!(short.to_string().contains("24 to 64 bytes"));
}

#[test]
fn every_key_of_the_ring_is_tried_and_dates_decide() {
    let hour = Duration::from_secs(3600);
    let ring = KeyRing::empty()
        .with(Key::new("old", "old").not_after(NOW))
        .with(Key::new("current", "current"))
        .with(Key::new("next", "next").not_before(NOW + hour));
    let verifier = Verifier::new(&providers::GITHUB, &ring).unwrap();
    let at = |secret: &str, time: Timestamp| {
        let signed = sign(&providers::GITHUB, secret, b"{}");
        verifier.verify(&incoming(&signed), time).map(|verified| verified.key_id().to_owned())
    };
    let mismatch = VerifyError::Mismatch { body_changed: false, url_signed: false };
    assert_eq!(at("old", NOW), Ok("old".to_owned()), "its last moment");
    assert_eq!(at("old", NOW + Duration::from_micros(1)), Err(mismatch.clone()));
    assert_eq!(at("current", NOW), Ok("current".to_owned()));
    assert_eq!(at("next", NOW), Err(mismatch));
    assert_eq!(at("next", NOW + hour), Ok("next".to_owned()));

    let expired = KeyRing::empty().with(Key::new("old", "old").not_after(NOW));
    let verifier = Verifier::new(&providers::GITHUB, &expired).unwrap();
    let signed = sign(&providers::GITHUB, "old", b"{}");
    assert_eq!(verifier.verify(&incoming(&signed), NOW + hour).unwrap_err(), VerifyError::NoActiveKey);
}

#[test]
fn a_ring_holds_both_versions_of_standard_webhooks_and_no_downgrade_passes() {
    let (whsk, whpk) = crate::round_trip::ed25519();
    let whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let ring = KeyRing::empty().with(Key::new("hmac", whsec)).with(Key::new("ed25519", whpk));
    let verifier = Verifier::new(&providers::STANDARD_WEBHOOKS, &ring).unwrap();
    for (secret, id) in [(whsec, "hmac"), (&*whsk, "ed25519")] {
        let signed = sign(&providers::STANDARD_WEBHOOKS, secret, b"{}");
        assert_eq!(verifier.verify(&incoming(&signed), NOW).unwrap().key_id(), id);
    }
    let mut signed = sign(&providers::STANDARD_WEBHOOKS, &whsk, b"{}");
    let text = signed.headers["webhook-signature"].to_str().unwrap().replace("v1a,", "v1,");
    signed.headers.insert("webhook-signature", text.parse().unwrap());
    assert!(verifier.verify(&incoming(&signed), NOW).is_err(), "v1a under the tag of v1");
    for (provider, header, name, value) in [
        (&providers::GITHUB, "X-Hub-Signature-256", "X-Hub-Signature", "sha1=aa"),
        (&providers::STRIPE, "Stripe-Signature", "Stripe-Signature", "t=1764000000,v0=aa"),
        (&providers::SLACK, "X-Slack-Signature", "X-Slack-Signature", "v1=aa"),
    ] {
        let mut signed = sign(provider, "x", b"{}");
        signed.headers.remove(header);
        signed.headers.insert(name, value.parse().unwrap());
        let error = super::behaviour::verifier(provider, "x").verify(&incoming(&signed), NOW).unwrap_err();
        let fits = matches!(error, VerifyError::Missing { .. } | VerifyError::NoAcceptableSignature { .. });
        assert!(fits, "{error:?}");
    }
}

#[test]
fn time_is_checked_in_both_directions_and_sdk_parity_looks_at_the_age_alone() {
    let secs = Duration::from_secs;
    for (provider, limit, age_only) in [
        (&providers::STRIPE, 300, true),
        (&providers::SLACK, 300, true),
        (&providers::PADDLE, 5, true),
        (&providers::HUBSPOT, 300, true),
        (&providers::CALENDLY, 180, false),
        (&providers::ZOOM, 300, false),
        (&providers::STANDARD_WEBHOOKS, 300, false),
    ] {
        let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = sign(provider, secret, b"{}");
        let public = PublicUrl::origin("https://hooks.example.com").unwrap();
        let strict = verifier(provider, secret).with_public_url(public.clone());
        let parity = verifier(provider, secret).with_public_url(public).with_sdk_parity();
        for (now, old, early) in [
            (NOW + secs(limit), false, false),
            (NOW + secs(limit + 1), true, false),
            (NOW - secs(limit), false, false),
            (NOW - secs(limit + 1), false, true),
        ] {
            let id = provider.id;
            let outcome = strict.verify(&incoming(&signed), now);
            assert_eq!(matches!(outcome, Err(VerifyError::TooOld { .. })), old, "{id}");
            assert_eq!(matches!(outcome, Err(VerifyError::InFuture { .. })), early, "{id}");
            let outcome = parity.verify(&incoming(&signed), now);
            assert_eq!(outcome.is_err(), old || (early && !age_only), "{id} with SDK parity");
        }
    }
}

#[test]
fn a_tolerance_of_your_own_also_holds_where_the_provider_has_none() {
    let signed = sign(&providers::ZENDESK, "x", b"{}");
    let late = NOW + Duration::from_secs(11);
    assert!(verifier(&providers::ZENDESK, "x").verify(&incoming(&signed), late).is_ok());
    let tight = verifier(&providers::ZENDESK, "x").with_tolerance(Tolerance::both(Duration::from_secs(10)));
    assert!(matches!(tight.verify(&incoming(&signed), late), Err(VerifyError::TooOld { .. })));
    let early = NOW - Duration::from_secs(11);
    assert!(matches!(tight.verify(&incoming(&signed), early), Err(VerifyError::InFuture { .. })));
    let age = verifier(&providers::ZENDESK, "x").with_tolerance(Tolerance::age_only(Duration::from_secs(10)));
    assert!(age.verify(&incoming(&signed), early).is_ok());
}

#[test]
fn a_body_over_the_limit_is_refused_before_anything_else() {
    let body = vec![b'x'; DEFAULT_MAX_BODY + 1];
    let signed = sign(&providers::GITHUB, "x", &body);
    let error = verifier(&providers::GITHUB, "x").verify(&incoming(&signed), NOW).unwrap_err();
    assert_eq!(error, VerifyError::TooLarge { size: DEFAULT_MAX_BODY + 1, limit: DEFAULT_MAX_BODY });
    assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let unkeyed = Verifier::new(&providers::GITHUB, &KeyRing::empty()).unwrap();
    assert!(matches!(unkeyed.verify(&incoming(&signed), NOW), Err(VerifyError::TooLarge { .. })));
    let wide = verifier(&providers::GITHUB, "x").with_max_body(body.len());
    assert!(wide.verify(&incoming(&signed), NOW).is_ok());
}

#[test]
fn a_changed_length_tells_the_operator_that_the_body_was_re_serialised() {
    let mut signed = sign(&providers::GITHUB, "x", b"{ \"a\": 1 }");
    signed.headers.insert("content-length", "10".parse().unwrap());
    signed.body = b"{\"a\":1}".to_vec();
    let error = verifier(&providers::GITHUB, "x").verify(&incoming(&signed), NOW).unwrap_err();
    assert_eq!(error, VerifyError::Mismatch { body_changed: true, url_signed: false });
    assert!(
        error.to_string().contains("the body was re-serialised or decompressed before verification"),
        "{error}"
    );
    assert_eq!(error.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn urls_are_the_configured_ones_and_never_the_hosts() {
    let signed = sign(&providers::TWILIO, "x", b"a=1");
    let mut forwarded = signed.clone();
    for name in ["host", "x-forwarded-host", "forwarded"] {
        forwarded.headers.insert(name, "hooks.example.com".parse().unwrap());
    }
    let bare = verifier(&providers::TWILIO, "x");
    assert_eq!(bare.verify(&incoming(&forwarded), NOW).unwrap_err(), VerifyError::NoPublicUrl);
    let public =
        |url: &str| verifier(&providers::TWILIO, "x").with_public_url(PublicUrl::origin(url).unwrap());
    assert!(public("https://hooks.example.com/").verify(&incoming(&signed), NOW).is_ok());
    let other = public("https://inside.example.com").verify(&incoming(&forwarded), NOW).unwrap_err();
    assert_eq!(other, VerifyError::Mismatch { body_changed: false, url_signed: true });

    // The proxy strips a path; or rewrites it, and then the path is not covered.
    let inside = Incoming::new(&signed.method, "?a=b", &signed.headers, &signed.body);
    assert!(public("https://hooks.example.com/in").verify(&inside, NOW).is_err(), "a path has its slash");
    let exact = verifier(&providers::TWILIO, "x").with_public_url(PublicUrl::exact(URL).unwrap());
    let rewritten = Incoming::new(&signed.method, "/anything", &signed.headers, &signed.body);
    let coverage = exact.verify(&rewritten, NOW).unwrap().coverage();
    assert_eq!(coverage, martlet_webhooks::Coverage::Body);
    for wrong in ["hooks.example.com", "ftp://a", "https://", "https://:1/", "https://a b", "https://a?b#c"] {
        assert!(PublicUrl::exact(wrong).is_err(), "{wrong}");
    }
    assert!(PublicUrl::origin("https://a/?b").is_err());
}

#[test]
fn what_a_form_signature_would_not_cover_is_refused() {
    let mut signed = sign(&providers::TWILIO, "x", b"");
    let url = PublicUrl::origin("https://hooks.example.com").unwrap();
    let verifier = verifier(&providers::TWILIO, "x").with_public_url(url);
    assert!(verifier.verify(&incoming(&signed), NOW).is_ok());
    signed.headers.insert("content-type", HeaderValue::from_static("application/json"));
    signed.body = b"{\"evil\":1}".to_vec();
    assert_eq!(verifier.verify(&incoming(&signed), NOW).unwrap_err(), VerifyError::NotAForm);
}

#[test]
fn a_header_that_comes_twice_is_refused() {
    let mut signed = sign(&providers::SVIX, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"{}");
    signed.headers.append("svix-id", "another".parse().unwrap());
    let verifier = verifier(&providers::SVIX, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert!(matches!(verifier.verify(&incoming(&signed), NOW), Err(VerifyError::Malformed { .. })));
    let list = vec!["v1,AAAA"; 17].join(" ");
    let many =
        headers([("webhook-id", "1"), ("webhook-timestamp", "1764000000"), ("webhook-signature", &list)]);
    let error = verifier.verify(&Incoming::new(&Method::POST, "/", &many, b""), NOW).unwrap_err();
    assert!(matches!(error, VerifyError::Malformed { .. }), "{error:?}");
}

#[test]
fn klaviyos_header_must_be_the_bodys() {
    let mut signed = sign(&providers::KLAVIYO, "x", b"{\"meta\":{\"klaviyo_webhook_id\":\"a\"}}");
    let verifier = verifier(&providers::KLAVIYO, "x");
    signed.headers.insert("klaviyo-webhook-id", "a".parse().unwrap());
    assert!(verifier.verify(&incoming(&signed), NOW).is_ok());
    signed.headers.insert("klaviyo-webhook-id", "b".parse().unwrap());
    assert!(matches!(verifier.verify(&incoming(&signed), NOW), Err(VerifyError::Contradiction { .. })));
}

#[test]
fn refusals_look_alike_from_outside() {
    let errors = [
        VerifyError::NoKey,
        VerifyError::NoActiveKey,
        VerifyError::Missing { what: "header x".into() },
        VerifyError::Malformed { what: "header x".into(), expected: "y" },
        VerifyError::NoAcceptableSignature { expected: "v1".into() },
        VerifyError::TooOld { age: Duration::ZERO, limit: Duration::ZERO },
        VerifyError::InFuture { ahead: Duration::ZERO, limit: Duration::ZERO },
        VerifyError::Mismatch { body_changed: false, url_signed: false },
        VerifyError::BodyHashMismatch,
        VerifyError::EmptyBody,
        VerifyError::NotAForm,
        VerifyError::Contradiction { header: "x".into() },
        VerifyError::BadCredentials,
        VerifyError::NoPublicUrl,
    ];
    for error in errors {
        assert_eq!(error.status(), StatusCode::UNAUTHORIZED, "{error:?}");
        assert!(error.to_string().ends_with(error.check()) && error.check().len() > 20, "{error}");
    }
    assert_eq!(VerifyError::BODY, "webhook not accepted");
}

#[test]
fn no_secret_shows_anywhere() {
    const CANARY: &str = "c4naryS3cret";
    let base64 = "YzRuYXJ5UzNjcmV0YzRuYXJ5UzNjcmV0"; // the canary twice: the shape of a whsec_ key
    let seen = |text: String| {
        for secret in [CANARY, base64, "63346e617279", "Basic "] {
            assert!(!text.contains(secret), "{text}");
        }
    };
    for provider in providers::ALL {
        let secret = match provider.id {
            "sendgrid" | "highlevel" => continue, // public keys
            "standard-webhooks" | "svix" | "resend" | "clerk" => base64,
            _ => CANARY,
        };
        let ring = KeyRing::new(secret);
        seen(format!("{ring:?} {:?}", Key::new("id", secret)));
        let url = PublicUrl::origin(&format!("https://u:{CANARY}@hooks.example.com")).unwrap();
        let verifier =
            Verifier::new(provider, &ring).unwrap().with_public_url(url.clone()).with_handshake_token(CANARY);
        let signer = Signer::new(provider, secret).unwrap();
        seen(format!("{url:?} {verifier:?} {signer:?}"));
        let Ok(signed) = signer.sign(Outgoing::post(URL, "id", b"{}"), NOW) else { continue };
        let (nothing, later) = (HeaderMap::new(), NOW + Duration::from_secs(1 << 20));
        let mut wrong = signed.clone();
        wrong.body.push(b' ');
        for request in [incoming(&wrong), Incoming::new(&Method::GET, "/", &nothing, b"")] {
            seen(format!("{request:?}"));
            if let Err(error) = verifier.verify(&request, later) {
                seen(format!("{error} {error:?}"));
            }
        }
        if let Ok(verified) = verifier.verify(&incoming(&signed), NOW) {
            seen(format!("{:?}", verified.json::<serde_json::Value>().map(|v| v.key_id().to_owned())));
        }
    }
    let notion = Verifier::new(&providers::NOTION, &KeyRing::empty()).unwrap();
    let body = format!("{{\"verification_token\":\"{CANARY}\"}}");
    let nothing = HeaderMap::new();
    let reply = notion.handshake(&Incoming::new(&Method::POST, "/", &nothing, body.as_bytes()), NOW).unwrap();
    seen(format!("{reply:?}"));
    assert_eq!(reply.learned(), Some(CANARY));
}

#[test]
fn handshakes_are_answered_and_forged_ones_are_not() {
    let none = HeaderMap::new();
    let reply = |verifier: &Verifier, method: Method, target: &str, headers: &HeaderMap, body: &[u8]| {
        let reply = verifier.handshake(&Incoming::new(&method, target, headers, body), NOW)?;
        Some((reply.status.as_u16(), reply.body))
    };
    let ok = |body: &str| Some((200, body.to_owned()));
    let get = |verifier: &Verifier, target: &str| reply(verifier, Method::GET, target, &none, b"");

    for provider in [&providers::META, &providers::WHATSAPP] {
        let meta = verifier(provider, "app-secret").with_handshake_token("tok+en");
        let query = "/x?hub.mode=subscribe&hub.challenge=11&hub.verify_token=";
        assert_eq!(get(&meta, &format!("{query}tok%2Ben")), ok("11"));
        assert_eq!(get(&meta, &format!("{query}tok")), Some((403, String::new())));
        assert_eq!(get(&verifier(provider, "app-secret"), query), Some((403, String::new())));
        let unsubscribe = "/x?hub.mode=unsubscribe&hub.challenge=11&hub.verify_token=tok%2Ben";
        assert_eq!(get(&meta, unsubscribe), Some((403, String::new())));
        assert_eq!(get(&meta, "/x?hub.challenge=11"), None);
        assert_eq!(reply(&meta, Method::POST, &format!("{query}tok%2Ben"), &none, b""), None);
    }

    let slack = verifier(&providers::SLACK, "x");
    let signed = sign(&providers::SLACK, "x", b"{\"type\":\"url_verification\",\"challenge\":\"c1\"}");
    assert_eq!(reply(&slack, Method::POST, "/", &signed.headers, &signed.body), ok("c1"));
    assert_eq!(reply(&slack, Method::POST, "/", &none, &signed.body), None, "Slack signs its handshake");

    let zoom = verifier(&providers::ZOOM, "x");
    let body = |token: &str| {
        serde_json::json!({ "event": "endpoint.url_validation", "payload": { "plainToken": token } })
            .to_string()
            .into_bytes()
    };
    let (status, answer) = reply(&zoom, Method::POST, "/", &none, &body("abc_-9")).unwrap();
    assert!(status == 200 && answer.contains("\"plainToken\":\"abc_-9\""), "{answer}");
    // Otherwise the endpoint would sign whatever it is asked to.
    assert_eq!(reply(&zoom, Method::POST, "/", &none, &body("v0:1764000000:{}")), None);
    let forged = headers([("x-zm-signature", "v0=00"), ("x-zm-request-timestamp", "1764000000")]);
    assert_eq!(reply(&zoom, Method::POST, "/", &forged, &body("abc")), None);

    let linkedin = verifier(&providers::LINKEDIN, "x");
    assert!(get(&linkedin, "/?challengeCode=890e4665-4dfe").is_some());
    assert_eq!(get(&linkedin, "/?challengeCode=hmacsha256%3D%7B%7D"), None);
    assert_eq!(get(&linkedin, "/"), None);

    let intercom = verifier(&providers::INTERCOM, "x");
    assert_eq!(reply(&intercom, Method::HEAD, "/", &none, b""), ok(""));
    assert_eq!(reply(&intercom, Method::POST, "/", &none, b""), None);

    let mailchimp = verifier(&providers::MAILCHIMP, "x");
    assert_eq!(get(&mailchimp, "/"), ok(""));
    assert_eq!(reply(&mailchimp, Method::POST, "/", &none, b""), None);

    let (unset, set) = (
        Verifier::new(&providers::MANDRILL, &KeyRing::empty()).unwrap(),
        verifier(&providers::MANDRILL, "x"),
    );
    assert_eq!(reply(&set, Method::HEAD, "/", &none, b""), ok(""));
    assert_eq!(reply(&unset, Method::POST, "/", &none, b"mandrill_events=%5B%5D"), ok(""));
    assert_eq!(reply(&set, Method::POST, "/", &none, b"mandrill_events=%5B%5D"), None);
    assert_eq!(reply(&unset, Method::POST, "/", &none, b"mandrill_events=%5B1%5D"), None);

    let set = verifier(&providers::NOTION, "x");
    assert_eq!(reply(&set, Method::POST, "/", &none, b"{\"verification_token\":\"evil\"}"), None);
    assert_eq!(get(&verifier(&providers::GITHUB, "x"), "/"), None);
}

#[test]
fn events_are_recognised_and_weak_identities_are_marked() {
    use DedupQuality::{Strong, Unsigned, Weak};
    let whsec = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let whatsapp: &[u8] =
        b"{\"entry\":[{\"changes\":[{\"value\":{\"messages\":[{\"id\":\"w1\"},{\"id\":\"w2\"}]}}]}]}";
    for (provider, secret, body, expected, quality) in [
        (&providers::STRIPE, "x", &b"{\"id\":\"evt_1\"}"[..], &["evt_1"][..], Strong),
        (&providers::STANDARD_WEBHOOKS, whsec, b"{}", &["id-1"], Strong),
        (&providers::WHATSAPP, "x", whatsapp, &["w1", "w2"], Strong),
        (&providers::TWILIO, "x", b"MessageSid=SM1&MessageStatus=sent", &["SM1:sent"], Strong),
        (
            &providers::MANDRILL,
            "x",
            b"mandrill_events=[{\"_id\":\"a\"},{\"_id\":\"b\"}]",
            &["a", "b"],
            Strong,
        ),
        (&providers::ZOOM, "x", b"{\"event\":\"e\",\"event_ts\":17}", &["e:17"], Strong),
        (&providers::MAILGUN, "x", b"{\"event-data\":{\"id\":\"7\"}}", &["id-1"], Strong),
        (
            &providers::POSTMARK,
            "u:p",
            b"{\"MessageID\":\"m\",\"RecordType\":\"Open\"}",
            &["m:Open"],
            Unsigned,
        ),
    ] {
        let signed = sign(provider, secret, body);
        let url = PublicUrl::origin("https://hooks.example.com").unwrap();
        let verifier = verifier(provider, secret).with_public_url(url);
        let verified = verifier.verify(&incoming(&signed), NOW).unwrap();
        let keys = verifier.dedup_keys(&verified, &signed.headers);
        let found: Vec<&str> = keys.iter().map(|key| &*key.key).collect();
        assert_eq!(found, expected, "{}", provider.id);
        assert!(keys.iter().all(|key| key.quality == quality), "{}: {keys:?}", provider.id);
    }
    // A header that is not signed; an event without identity among others; nothing at all.
    let mut signed = sign(&providers::GITHUB, "x", b"{}");
    signed.headers.insert("x-github-delivery", "d1".parse().unwrap());
    let github = verifier(&providers::GITHUB, "x");
    let keys = github.dedup_keys(&github.verify(&incoming(&signed), NOW).unwrap(), &signed.headers);
    assert_eq!((&*keys[0].key, keys[0].quality), ("d1", Unsigned));
    for (provider, body) in [
        (&providers::META, &b"{\"entry\":[{\"changes\":[{\"value\":{\"leadgen_id\":1}}]},{}]}"[..]),
        (&providers::CALENDLY, b"{}"),
    ] {
        let signed = sign(provider, "x", body);
        let verifier = verifier(provider, "x");
        let verified = verifier.verify(&incoming(&signed), NOW).unwrap();
        let keys = verifier.dedup_keys(&verified, &signed.headers);
        assert_eq!((keys.len(), keys[0].key.len(), keys[0].quality), (1, 64, Weak), "{}", provider.id);
    }
}

#[test]
fn a_weak_identity_is_the_body_and_the_time_of_signing() {
    let calendly = verifier(&providers::CALENDLY, "x");
    let key = |body: &[u8], time: Timestamp| {
        let signer = Signer::new(&providers::CALENDLY, "x").unwrap();
        let signed = signer.sign(Outgoing::post(URL, "", body), time).unwrap();
        let verified = calendly.verify(&incoming(&signed), time).unwrap();
        calendly.dedup_keys(&verified, &signed.headers)
    };
    assert_eq!(key(b"{}", NOW), key(b"{}", NOW));
    assert_ne!(key(b"{}", NOW), key(b"{ }", NOW));
    assert_ne!(key(b"{}", NOW), key(b"{}", NOW + Duration::from_secs(1)));
}

#[test]
fn an_empty_body_is_refused_where_the_provider_signs_none() {
    let recipe = Recipe { encoding: Encoding::Base64, ..Recipe::hmac_sha256("any", "X-Shopify-Hmac-Sha256") };
    let signed = Signer::from_recipe(recipe, "x").unwrap().sign(Outgoing::post(URL, "", b""), NOW).unwrap();
    let outcome = verifier(&providers::SHOPIFY, "x").verify(&incoming(&signed), NOW);
    assert_eq!(outcome.unwrap_err(), VerifyError::EmptyBody);
    assert!(Signer::new(&providers::SHOPIFY, "x").unwrap().sign(Outgoing::post(URL, "", b""), NOW).is_err());
}

#[test]
fn a_time_has_one_spelling_even_when_another_is_signed() {
    for time in ["+1764000000", "1764000000 ", "1764000000.0", "0x69240f00", ""] {
        let recipe = Recipe {
            message: vec![Part::Literal(format!("v0:{time}:").into()), Part::Body].into(),
            prefix: "v0=".into(),
            ..Recipe::hmac_sha256("forged", "X-Slack-Signature")
        };
        let mut signed =
            Signer::from_recipe(recipe, "x").unwrap().sign(Outgoing::post(URL, "", b"{}"), NOW).unwrap();
        signed.headers.insert("x-slack-request-timestamp", time.parse().unwrap());
        let error = verifier(&providers::SLACK, "x").verify(&incoming(&signed), NOW).unwrap_err();
        assert!(matches!(error, VerifyError::Malformed { .. }), "{time}: {error}");
    }
}

#[test]
fn of_a_form_field_that_comes_twice_the_last_counts() {
    let hmac = Signer::from_recipe(Recipe::hmac_sha256("bare", "X-Hmac"), "x").unwrap();
    let bare = hmac.sign(Outgoing::post(URL, "", b"1764000000last"), NOW).unwrap();
    let signature = bare.headers["x-hmac"].to_str().unwrap();
    let body =
        format!("token=first&timestamp=1&signature=00&timestamp=1764000000&token=last&signature={signature}");
    let none = HeaderMap::new();
    let request = Incoming::new(&Method::POST, "/", &none, body.as_bytes());
    let mailgun = verifier(&providers::MAILGUN, "x");
    let verified = mailgun.verify(&request, NOW).unwrap();
    assert_eq!(mailgun.dedup_keys(&verified, &none)[0].key, "last");
}

#[test]
fn credentials_with_colons_and_other_spellings() {
    let basic = verifier(&providers::POSTMARK, "user:p:ss");
    let check = |value: &str| {
        let headers = headers([("authorization", value)]);
        basic.verify(&Incoming::new(&Method::POST, "/", &headers, b"{}"), NOW).map(|_| ())
    };
    assert_eq!(check("Basic dXNlcjpwOnNz"), Ok(()));
    assert_eq!(check("basic dXNlcjpwOnNz"), Ok(()), "the scheme has no case");
    for wrong in
        ["Basic dXNlcjpw", "dXNlcjpwOnNz", "Bearer dXNlcjpwOnNz", "Basic  dXNlcjpwOnNz", "Basic", "Basic ?"]
    {
        assert_eq!(check(wrong), Err(VerifyError::BadCredentials), "{wrong}");
    }
    let none = HeaderMap::new();
    let secret = verifier(&providers::MAILCHIMP, "s3 cret");
    for (target, accepted) in [
        ("/hooks/s3%20cret", true),
        ("/hooks?secret=s3+cret", true),
        ("/hooks?s3+cret", false),
        ("/hooks/s3", false),
        ("/", false),
    ] {
        let request = Incoming::new(&Method::POST, target, &none, b"");
        assert_eq!(secret.verify(&request, NOW).is_ok(), accepted, "{target}");
    }
    let own = Verifier::from_credential(Credential::Header("X-Token".into()), &KeyRing::new("t")).unwrap();
    let right = headers([("x-token", "t")]);
    assert!(own.verify(&Incoming::new(&Method::POST, "/", &right, b""), NOW).is_ok());
}

#[test]
fn a_recipe_that_would_protect_nothing_is_refused() {
    let base = || Recipe::hmac_sha256("mine", "X-Mine");
    let stamp = || Some(Stamp::seconds(Field::header("X-Time"), 300));
    for (recipe, problem) in [
        (Recipe { message: vec![Part::Literal("x".into()), Part::Method].into(), ..base() }, "signs nothing"),
        (Recipe { timestamp: stamp(), ..base() }, "not signed"),
        (Recipe { message: vec![Part::Timestamp, Part::Body].into(), ..base() }, "where it stands"),
        (Recipe { prefix: "a,".into(), ..base() }, "delimiter"),
        (Recipe { algorithm: martlet_webhooks::Algorithm::Ed25519, ..base() }, "key format"),
        (Recipe { key: martlet_webhooks::KeyFormat::PublicKey, ..base() }, "key format"),
        (Recipe { signature: Field::Json("/s".into()), ..base() }, "inside the body"),
    ] {
        let error = Verifier::from_recipe(recipe, &KeyRing::new("x")).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let described = r#"{ "name": "mine", "algorithm": "hmac-sha256", "signature": { "header": "X" },
                         "encoding": "hex", "message": ["body"], "tolerence": 3 }"#;
    assert!(serde_json::from_str::<Recipe>(described).is_err(), "a misspelt field is no default");
}

#[test]
fn recipes_survive_serde() {
    for provider in providers::ALL {
        if let martlet_webhooks::Scheme::Recipes(recipes) = &provider.scheme {
            for recipe in *recipes {
                let text = serde_json::to_string(recipe).unwrap();
                assert_eq!(&serde_json::from_str::<Recipe>(&text).unwrap(), recipe, "{text}");
            }
        }
    }
    let own = Recipe { encoding: Encoding::Base64Url, ..Recipe::hmac_sha256("mine", "X-Mine") };
    let signed =
        Signer::from_recipe(own.clone(), "x").unwrap().sign(Outgoing::post(URL, "", b"{}"), NOW).unwrap();
    let verifier = Verifier::from_recipe(own, &KeyRing::new("x")).unwrap();
    assert_eq!(verifier.verify(&incoming(&signed), NOW).unwrap().provider(), "mine");
}

#[cfg(feature = "gzip")]
#[test]
fn bodies_are_decompressed_after_verification_and_within_a_limit() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&[b'x'; 10_000]).unwrap();
    let signed = sign(&providers::GITHUB, "x", &gzip.finish().unwrap());
    let github = verifier(&providers::GITHUB, "x");
    let verified = github.verify(&incoming(&signed), NOW).unwrap();
    let gzip = HeaderValue::from_static("gzip");
    assert_eq!(verified.decompressed(Some(&gzip), 10_000).unwrap().get().len(), 10_000);
    let too_large = martlet_webhooks::DecompressError::TooLarge { limit: 9_999 };
    assert_eq!(verified.decompressed(Some(&gzip), 9_999).unwrap_err(), too_large);
    assert!(verified.decompressed(Some(&HeaderValue::from_static("deflate")), 10_000).is_err());
    assert!(verified.decompressed(Some(&HeaderValue::from_static("br")), 10_000).is_err());
    assert_eq!(verified.decompressed(None, 10_000).unwrap().get(), &signed.body);
}
