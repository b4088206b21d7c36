//! Every provider as data. The table for readers is `docs/webhook-providers.md`, made from this one.

use std::borrow::Cow;

use crate::recipe::Text;
use crate::{
    Algorithm, Credential, Dedup, Encoding, Field, Handshake, KeyFormat, Part, Recipe, Require, Stamp, Unit,
    UrlForm,
};

/// A provider's webhooks: how they are verified, and what else is known of them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Provider {
    /// A short stable name: `stripe`.
    pub id: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// How its requests are verified.
    pub scheme: Scheme,
    /// How it checks the endpoint.
    pub handshake: Handshake,
    /// Where the identity of an event stands: the first that is there counts.
    pub dedup: &'static [Dedup],
    /// How a secret is replaced.
    pub rotation: &'static str,
    /// What the signature does not cover, beside what [`Coverage`](crate::Coverage) says.
    pub not_covered: &'static str,
    /// How well the scheme is known.
    pub evidence: Evidence,
    /// Where it is known from.
    pub source: &'static str,
}

/// How a provider's requests are verified.
#[derive(Debug)]
#[non_exhaustive]
pub enum Scheme {
    /// By a signature; one of these must hold. None is weaker than the others.
    Recipes(&'static [Recipe]),
    /// By something that the sender knows or owns. Nothing is signed.
    Credential(Credential),
}

/// How well a scheme is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// From the provider's own SDK, test data or documentation.
    Confirmed,
    /// From others who verify it.
    Secondary,
    /// **Unconfirmed**: try it with a real delivery before you rely on it.
    Unconfirmed,
}

const fn text(text: &'static str) -> Text {
    Cow::Borrowed(text)
}

const fn header(name: &'static str) -> Field {
    Field::Header(Cow::Borrowed(name))
}

const fn pair(header: &'static str, delimiter: char, name: &'static str) -> Field {
    Field::KeyValue { header: Cow::Borrowed(header), delimiter, name: Cow::Borrowed(name) }
}

const fn lit(text: &'static str) -> Part {
    Part::Literal(Cow::Borrowed(text))
}

/// A MAC over the raw body in one header.
const fn of_body(
    name: &'static str,
    algorithm: Algorithm,
    at: &'static str,
    prefix: &'static str,
    encoding: Encoding,
) -> Recipe {
    Recipe {
        name: text(name),
        algorithm,
        key: KeyFormat::Utf8,
        signature: header(at),
        prefix: text(prefix),
        encoding,
        timestamp: None,
        message: Cow::Borrowed(&[Part::Body]),
        require: Cow::Borrowed(&[]),
    }
}

/// HMAC-SHA256 in hexadecimal over a message with a time.
const fn timed(
    name: &'static str,
    signature: Field,
    prefix: &'static str,
    stamp: Stamp,
    message: &'static [Part],
) -> Recipe {
    Recipe {
        name: text(name),
        algorithm: Algorithm::HmacSha256,
        key: KeyFormat::Utf8,
        signature,
        prefix: text(prefix),
        encoding: Encoding::Hex,
        timestamp: Some(stamp),
        message: Cow::Borrowed(message),
        require: Cow::Borrowed(&[]),
    }
}

const fn standard(
    name: &'static str,
    headers: [&'static str; 2],
    tag: &'static str,
    algorithm: Algorithm,
    key: KeyFormat,
    message: &'static [Part],
) -> Recipe {
    Recipe {
        name: text(name),
        algorithm,
        key,
        signature: Field::Tagged { header: text(headers[0]), tag: text(tag) },
        prefix: text(""),
        encoding: Encoding::Base64,
        timestamp: Some(Stamp::seconds(header(headers[1]), 300)),
        message: Cow::Borrowed(message),
        require: Cow::Borrowed(&[]),
    }
}

const STANDARD_MESSAGE: &[Part] =
    &[Part::Field(header("webhook-id")), lit("."), Part::Timestamp, lit("."), Part::Body];
const SVIX_MESSAGE: &[Part] =
    &[Part::Field(header("svix-id")), lit("."), Part::Timestamp, lit("."), Part::Body];
const TIME_DOT_BODY: &[Part] = &[Part::Timestamp, lit("."), Part::Body];
const TIME_COLON_BODY: &[Part] = &[Part::Timestamp, lit(":"), Part::Body];
const V0_TIME_BODY: &[Part] = &[lit("v0:"), Part::Timestamp, lit(":"), Part::Body];

const STANDARD_HEADERS: [&str; 2] = ["webhook-signature", "webhook-timestamp"];

const fn standard_v1() -> Recipe {
    let hmac = Algorithm::HmacSha256;
    standard("standard-webhooks-v1", STANDARD_HEADERS, "v1", hmac, KeyFormat::Whsec, STANDARD_MESSAGE)
}

const fn svix_v1() -> Recipe {
    let headers = ["svix-signature", "svix-timestamp"];
    standard("svix-v1", headers, "v1", Algorithm::HmacSha256, KeyFormat::Whsec, SVIX_MESSAGE)
}

static STANDARD_RECIPES: [Recipe; 2] = [
    standard_v1(),
    standard(
        "standard-webhooks-v1a",
        STANDARD_HEADERS,
        "v1a",
        Algorithm::Ed25519,
        KeyFormat::Whpk,
        STANDARD_MESSAGE,
    ),
];
static SVIX_RECIPES: [Recipe; 2] = [svix_v1(), standard_v1()];

const HEADERS_FREE: &str = "headers and URL";
const NOTHING_SIGNED: &str = "anything: nothing is signed";
const NO_ROTATION: &str = "none: replace it on both sides";

macro_rules! providers {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $title:literal { $($field:ident: $value:expr),* $(,)? })*) => {
        $(
            $(#[$doc])*
            pub static $name: Provider = Provider { id: $id, title: $title, $($field: $value),* };
        )*

        /// Every provider of this module.
        pub static ALL: &[&Provider] = &[$(&$name),*];
    };
}

providers! {
    /// [Standard Webhooks](https://www.standardwebhooks.com) v1 (HMAC, keys `whsec_`) and v1a (Ed25519, keys `whpk_`).
    /// A ring may hold both; each verifies its own version alone.
    STANDARD_WEBHOOKS = "standard-webhooks", "Standard Webhooks v1, v1a" {
        scheme: Scheme::Recipes(&STANDARD_RECIPES),
        handshake: Handshake::None,
        dedup: &[Dedup::Header("webhook-id")],
        rotation: "the header lists a signature for each key",
        not_covered: "other headers, URL",
        evidence: Evidence::Confirmed,
        source: "standard-webhooks/standard-webhooks `spec/standard-webhooks.md`, `libraries/rust`",
    }
    /// Svix: Standard Webhooks v1 with `svix-*` headers, or with `webhook-*`.
    SVIX = "svix", "Svix" {
        scheme: Scheme::Recipes(&SVIX_RECIPES),
        handshake: Handshake::None,
        dedup: &[Dedup::Header("svix-id"), Dedup::Header("webhook-id")],
        rotation: "the header lists a signature for each key",
        not_covered: "other headers, URL",
        evidence: Evidence::Confirmed,
        source: "npm svix 1.99.1",
    }
    /// Resend, which sends with Svix.
    RESEND = "resend", "Resend" {
        scheme: Scheme::Recipes(&SVIX_RECIPES),
        handshake: Handshake::None,
        dedup: &[Dedup::Header("svix-id"), Dedup::Header("webhook-id")],
        rotation: "the header lists a signature for each key",
        not_covered: "other headers, URL",
        evidence: Evidence::Confirmed,
        source: "django-anymail `webhooks/resend.py`",
    }
    /// Clerk, which sends with Svix.
    CLERK = "clerk", "Clerk" {
        scheme: Scheme::Recipes(&SVIX_RECIPES),
        handshake: Handshake::None,
        dedup: &[Dedup::Header("svix-id"), Dedup::Header("webhook-id")],
        rotation: "the header lists a signature for each key",
        not_covered: "other headers, URL",
        evidence: Evidence::Confirmed,
        source: "npm svix 1.99.1",
    }
    /// Stripe. The secret is used with its `whsec_`; `v0` signatures are not accepted.
    STRIPE = "stripe", "Stripe" {
        scheme: Scheme::Recipes(&[timed(
            "stripe-v1",
            pair("Stripe-Signature", ',', "v1"),
            "",
            Stamp::seconds(pair("Stripe-Signature", ',', "t"), 300).sdk_checks_age_only(),
            TIME_DOT_BODY,
        )]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/id"] }],
        rotation: "several `v1` in the header while both secrets are valid",
        not_covered: HEADERS_FREE,
        evidence: Evidence::Confirmed,
        source: "npm stripe 23.1.0",
    }
    /// Shopify. An empty body is refused, as its SDK does.
    SHOPIFY = "shopify", "Shopify" {
        scheme: Scheme::Recipes(&[
            Recipe {
                name: text("shopify"),
                algorithm: Algorithm::HmacSha256,
                key: KeyFormat::Utf8,
                signature: header("X-Shopify-Hmac-Sha256"),
                prefix: text(""),
                encoding: Encoding::Base64,
                timestamp: None,
                message: Cow::Borrowed(&[Part::Body]),
                require: Cow::Borrowed(&[Require::Body]),
            },
            Recipe {
                name: text("shopify-events"),
                algorithm: Algorithm::HmacSha256,
                key: KeyFormat::Utf8,
                signature: header("shopify-hmac-sha256"),
                prefix: text(""),
                encoding: Encoding::Base64,
                timestamp: None,
                message: Cow::Borrowed(&[Part::Body]),
                require: Cow::Borrowed(&[Require::Body]),
            },
        ]),
        handshake: Handshake::None,
        dedup: &[
            Dedup::Header("X-Shopify-Webhook-Id"),
            Dedup::Header("shopify-webhook-id"),
            Dedup::Header("X-Shopify-Event-Id"),
        ],
        rotation: "the old secret keeps signing for a while (unconfirmed): keep both in the ring",
        not_covered: "headers (topic, shop domain, webhook id), URL, time",
        evidence: Evidence::Confirmed,
        source: "Shopify/shopify-app-js `lib/webhooks/validate.ts`",
    }
    /// HubSpot's first version: a plain hash. Prefer [`HUBSPOT`], which is sent alongside.
    HUBSPOT_V1 = "hubspot-v1", "HubSpot v1" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("hubspot-v1"),
            algorithm: Algorithm::Sha256OfSecretAndMessage,
            key: KeyFormat::Utf8,
            signature: header("X-HubSpot-Signature"),
            prefix: text(""),
            encoding: Encoding::Hex,
            timestamp: None,
            message: Cow::Borrowed(&[Part::Body]),
            require: Cow::Borrowed(&[Require::Header { name: text("X-HubSpot-Signature-Version"), value: text("v1") }]),
        }]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "/*", ids: &["/subscriptionId", "/eventId", "/occurredAt"] }],
        rotation: NO_ROTATION,
        not_covered: "headers, URL, time; not a MAC",
        evidence: Evidence::Confirmed,
        source: "HubSpot/hubspot-api-nodejs `src/utils/signature.ts`; that the three ids identify an event is unconfirmed",
    }
    /// HubSpot's second version: a plain hash (workflows, CRM cards).
    HUBSPOT_V2 = "hubspot-v2", "HubSpot v2" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("hubspot-v2"),
            algorithm: Algorithm::Sha256OfSecretAndMessage,
            key: KeyFormat::Utf8,
            signature: header("X-HubSpot-Signature"),
            prefix: text(""),
            encoding: Encoding::Hex,
            timestamp: None,
            message: Cow::Borrowed(&[Part::Method, Part::Url(UrlForm::Exact), Part::Body]),
            require: Cow::Borrowed(&[Require::Header { name: text("X-HubSpot-Signature-Version"), value: text("v2") }]),
        }]),
        handshake: Handshake::None,
        dedup: &[],
        rotation: NO_ROTATION,
        not_covered: "headers, time; not a MAC",
        evidence: Evidence::Confirmed,
        source: "HubSpot/hubspot-api-nodejs `src/utils/signature.ts`",
    }
    /// HubSpot's third and current version. Some escapes of the URL are decoded before signing; a signature over the URL as
    /// it is (what HubSpot's SDKs expect) is accepted too.
    HUBSPOT = "hubspot", "HubSpot v3" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("hubspot-v3"),
            algorithm: Algorithm::HmacSha256,
            key: KeyFormat::Utf8,
            signature: header("X-HubSpot-Signature-v3"),
            prefix: text(""),
            encoding: Encoding::Base64,
            timestamp: Some(Stamp {
                at: header("X-HubSpot-Request-Timestamp"),
                unit: Unit::Millis,
                tolerance_s: Some(300),
                sdk_checks_age_only: true,
            }),
            message: Cow::Borrowed(&[Part::Method, Part::Url(UrlForm::Hubspot), Part::Body, Part::Timestamp]),
            require: Cow::Borrowed(&[]),
        }]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "/*", ids: &["/subscriptionId", "/eventId", "/occurredAt"] }],
        rotation: NO_ROTATION,
        not_covered: "headers",
        evidence: Evidence::Confirmed,
        source: "HubSpot/hubspot-api-nodejs `src/utils/signature.ts`; which escapes are decoded, and that the three ids identify an \
                 event, is unconfirmed",
    }
    /// Mailchimp's marketing webhooks sign nothing: a secret in the URL is all there is.
    MAILCHIMP = "mailchimp", "Mailchimp" {
        scheme: Scheme::Credential(Credential::SecretUrl),
        handshake: Handshake::Get,
        dedup: &[],
        rotation: "change the URL",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Secondary,
        source: "hookdeck mailchimp-webhooks",
    }
    /// Mandrill (Mailchimp Transactional). Configure the URL with credentials and query exactly as typed in there.
    MANDRILL = "mandrill", "Mandrill" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("mandrill"),
            algorithm: Algorithm::HmacSha1,
            key: KeyFormat::Utf8,
            signature: header("X-Mandrill-Signature"),
            prefix: text(""),
            encoding: Encoding::Base64,
            timestamp: None,
            message: Cow::Borrowed(&[Part::Url(UrlForm::Exact), Part::SortedForm]),
            require: Cow::Borrowed(&[]),
        }]),
        handshake: Handshake::Mandrill,
        dedup: &[Dedup::FormJson { field: "mandrill_events", each: "/*", ids: &["/_id"] }],
        rotation: "a key for each webhook",
        not_covered: "headers, time; where in the form a key ends and its value begins",
        evidence: Evidence::Confirmed,
        source: "anymail/django-anymail `webhooks/mandrill.py` and its tests",
    }
    /// SendGrid's event webhook. The key is the public key that SendGrid shows. The body ends with CR LF, which is signed.
    SENDGRID = "sendgrid", "SendGrid Event Webhook" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("sendgrid"),
            algorithm: Algorithm::EcdsaP256Sha256,
            key: KeyFormat::PublicKey,
            signature: header("X-Twilio-Email-Event-Webhook-Signature"),
            prefix: text(""),
            encoding: Encoding::Base64,
            timestamp: Some(Stamp {
                at: header("X-Twilio-Email-Event-Webhook-Timestamp"),
                unit: Unit::Seconds,
                tolerance_s: None,
                sdk_checks_age_only: true,
            }),
            message: Cow::Borrowed(&[Part::Timestamp, Part::Body]),
            require: Cow::Borrowed(&[]),
        }]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "/*", ids: &["/sg_event_id"] }],
        rotation: "a new key pair: keep both public keys in the ring",
        not_covered: HEADERS_FREE,
        evidence: Evidence::Confirmed,
        source: "sendgrid/sendgrid-nodejs `packages/eventwebhook`; a tolerance of your own may refuse batched retries (unconfirmed)",
    }
    /// Twilio: forms, and JSON by `bodySHA256` in the URL. The key is the auth token; put primary and secondary into the ring.
    TWILIO = "twilio", "Twilio" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("twilio"),
            algorithm: Algorithm::HmacSha1,
            key: KeyFormat::Utf8,
            signature: header("X-Twilio-Signature"),
            prefix: text(""),
            encoding: Encoding::Base64,
            timestamp: None,
            message: Cow::Borrowed(&[Part::Url(UrlForm::Twilio), Part::FormOrBodyHash]),
            require: Cow::Borrowed(&[]),
        }]),
        handshake: Handshake::None,
        dedup: &[Dedup::Form(&["MessageSid", "MessageStatus"]), Dedup::Header("I-Twilio-Idempotency-Token")],
        rotation: "primary and secondary auth token: put both into the ring",
        not_covered: "headers, time; where in the form a key ends and its value begins",
        evidence: Evidence::Confirmed,
        source: "twilio/twilio-node `src/webhooks/webhooks.ts`, `spec/validation.spec.js`; the idempotency header is unconfirmed",
    }
    /// Meta: Pages, Lead Ads, Instagram. The key is the app secret; SHA-1 signatures are not accepted.
    META = "meta", "Meta (Pages, Lead Ads, Instagram)" {
        scheme: Scheme::Recipes(&[of_body("meta", Algorithm::HmacSha256, "X-Hub-Signature-256", "sha256=", Encoding::Hex)]),
        handshake: Handshake::HubChallenge,
        dedup: &[Dedup::Json { each: "/entry/*/changes/*/value", ids: &["/leadgen_id"] }],
        rotation: "reset of the app secret alone: keep both in the ring meanwhile",
        not_covered: "headers, URL, time",
        evidence: Evidence::Secondary,
        source: "whatsapp_sdk on hexdocs; that escapes such as `\\u00e9` are signed as sent is unconfirmed",
    }
    /// WhatsApp Cloud API, signed as all of Meta's.
    WHATSAPP = "whatsapp", "WhatsApp Cloud API" {
        scheme: Scheme::Recipes(&[of_body("whatsapp", Algorithm::HmacSha256, "X-Hub-Signature-256", "sha256=", Encoding::Hex)]),
        handshake: Handshake::HubChallenge,
        dedup: &[Dedup::Json { each: "/entry/*/changes/*/value/messages/*", ids: &["/id"] }],
        rotation: "reset of the app secret alone: keep both in the ring meanwhile",
        not_covered: "headers, URL, time",
        evidence: Evidence::Secondary,
        source: "whatsapp_sdk on hexdocs",
    }
    /// Slack's events and commands.
    SLACK = "slack", "Slack" {
        scheme: Scheme::Recipes(&[timed(
            "slack-v0",
            header("X-Slack-Signature"),
            "v0=",
            Stamp::seconds(header("X-Slack-Request-Timestamp"), 300).sdk_checks_age_only(),
            V0_TIME_BODY,
        )]),
        handshake: Handshake::UrlVerification,
        dedup: &[Dedup::Json { each: "", ids: &["/event_id"] }],
        rotation: NO_ROTATION,
        not_covered: HEADERS_FREE,
        evidence: Evidence::Confirmed,
        source: "slackapi/bolt-js `src/receivers/verify-request.ts`",
    }
    /// Intercom. The key is the client secret.
    INTERCOM = "intercom", "Intercom" {
        scheme: Scheme::Recipes(&[of_body("intercom", Algorithm::HmacSha1, "X-Hub-Signature", "sha1=", Encoding::Hex)]),
        handshake: Handshake::Head,
        dedup: &[Dedup::Json { each: "", ids: &["/id"] }],
        rotation: NO_ROTATION,
        not_covered: "headers, URL, time",
        evidence: Evidence::Secondary,
        source: "developers.intercom.com (HEAD); hookdeck intercom (signature)",
    }
    /// Zendesk. GET and DELETE webhooks have no body and sign the time alone.
    ZENDESK = "zendesk", "Zendesk" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("zendesk"),
            algorithm: Algorithm::HmacSha256,
            key: KeyFormat::Utf8,
            signature: header("X-Zendesk-Webhook-Signature"),
            prefix: text(""),
            encoding: Encoding::Base64,
            timestamp: Some(Stamp {
                at: header("X-Zendesk-Webhook-Signature-Timestamp"),
                unit: Unit::Rfc3339,
                tolerance_s: None,
                sdk_checks_age_only: false,
            }),
            message: Cow::Borrowed(&[Part::Timestamp, Part::Body]),
            require: Cow::Borrowed(&[]),
        }]),
        handshake: Handshake::None,
        dedup: &[Dedup::Header("X-Zendesk-Webhook-Invocation-Id")],
        rotation: "a secret for each webhook",
        not_covered: HEADERS_FREE,
        evidence: Evidence::Confirmed,
        source: "developer.zendesk.com/documentation/webhooks/verifying; the invocation id is unconfirmed",
    }
    /// Segment's webhook destination.
    SEGMENT = "segment", "Segment" {
        scheme: Scheme::Recipes(&[of_body("segment", Algorithm::HmacSha1, "X-Signature", "", Encoding::Hex)]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/messageId"] }],
        rotation: NO_ROTATION,
        not_covered: "headers, URL, time",
        evidence: Evidence::Confirmed,
        source: "twilio.com/docs/segment, Actions webhook",
    }
    /// Klaviyo's system webhooks. The webhook id in the header must be the one in the body.
    KLAVIYO = "klaviyo", "Klaviyo" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("klaviyo"),
            algorithm: Algorithm::HmacSha256,
            key: KeyFormat::Utf8,
            signature: header("Klaviyo-Signature"),
            prefix: text(""),
            encoding: Encoding::Hex,
            timestamp: Some(Stamp {
                at: header("Klaviyo-Timestamp"),
                unit: Unit::Rfc3339,
                tolerance_s: None,
                sdk_checks_age_only: false,
            }),
            message: Cow::Borrowed(&[Part::Body, Part::Timestamp]),
            require: Cow::Borrowed(&[Require::HeaderAgrees {
                name: text("Klaviyo-Webhook-Id"),
                pointer: text("/meta/klaviyo_webhook_id"),
            }]),
        }]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "/data/*", ids: &["/external_id"] }],
        rotation: "update the secret",
        not_covered: "other headers, URL",
        evidence: Evidence::Secondary,
        source: "Klaviyo's documentation (headers, hexadecimal); a public table of recipes (order)",
    }
    /// Braze signs nothing: choose a bearer token. **Unconfirmed.**
    BRAZE = "braze", "Braze" {
        scheme: Scheme::Credential(Credential::Bearer),
        handshake: Handshake::None,
        dedup: &[],
        rotation: "change the header",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Unconfirmed,
        source: "background knowledge",
    }
    /// Typeform: base64 after `sha256=`.
    TYPEFORM = "typeform", "Typeform" {
        scheme: Scheme::Recipes(&[of_body("typeform", Algorithm::HmacSha256, "Typeform-Signature", "sha256=", Encoding::Base64)]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/event_id"] }],
        rotation: "a secret for each webhook",
        not_covered: "headers, URL, time",
        evidence: Evidence::Confirmed,
        source: "typeform.com/developers, through hookdeck",
    }
    /// Calendly.
    CALENDLY = "calendly", "Calendly" {
        scheme: Scheme::Recipes(&[timed(
            "calendly-v1",
            pair("Calendly-Webhook-Signature", ',', "v1"),
            "",
            Stamp::seconds(pair("Calendly-Webhook-Signature", ',', "t"), 180),
            TIME_DOT_BODY,
        )]),
        handshake: Handshake::None,
        dedup: &[],
        rotation: NO_ROTATION,
        not_covered: HEADERS_FREE,
        evidence: Evidence::Secondary,
        source: "NangoHQ/nango `calendly-webhook-routing.ts`",
    }
    /// Paddle Billing. Its tolerance is 5 seconds: keep the clock right.
    PADDLE = "paddle", "Paddle Billing" {
        scheme: Scheme::Recipes(&[timed(
            "paddle-h1",
            pair("Paddle-Signature", ';', "h1"),
            "",
            Stamp::seconds(pair("Paddle-Signature", ';', "ts"), 5).sdk_checks_age_only(),
            TIME_COLON_BODY,
        )]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/event_id"] }],
        rotation: "several `h1` in the header while both secrets are valid",
        not_covered: HEADERS_FREE,
        evidence: Evidence::Confirmed,
        source: "PaddleHQ/paddle-node-sdk",
    }
    /// GitHub. SHA-1 signatures are not accepted.
    GITHUB = "github", "GitHub" {
        scheme: Scheme::Recipes(&[of_body("github", Algorithm::HmacSha256, "X-Hub-Signature-256", "sha256=", Encoding::Hex)]),
        handshake: Handshake::None,
        dedup: &[Dedup::Header("X-GitHub-Delivery")],
        rotation: NO_ROTATION,
        not_covered: "headers (event, delivery id), URL, time",
        evidence: Evidence::Confirmed,
        source: "octokit webhooks-methods",
    }
    /// Customer.io. It documents no tolerance; 300 seconds are applied.
    CUSTOMER_IO = "customerio", "Customer.io" {
        scheme: Scheme::Recipes(&[timed(
            "customerio-v0",
            header("X-CIO-Signature"),
            "",
            Stamp::seconds(header("X-CIO-Timestamp"), 300),
            V0_TIME_BODY,
        )]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/event_id"] }],
        rotation: NO_ROTATION,
        not_covered: HEADERS_FREE,
        evidence: Evidence::Secondary,
        source: "docs.customer.io (timeout); secondary (signature)",
    }
    /// ActiveCampaign signs nothing: a secret in the URL is all there is. **Unconfirmed.**
    ACTIVE_CAMPAIGN = "activecampaign", "ActiveCampaign" {
        scheme: Scheme::Credential(Credential::SecretUrl),
        handshake: Handshake::None,
        dedup: &[],
        rotation: "change the URL",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Unconfirmed,
        source: "background knowledge",
    }
    /// Iterable's system webhooks sign nothing: Basic. **Unconfirmed.**
    ITERABLE = "iterable", "Iterable" {
        scheme: Scheme::Credential(Credential::Basic),
        handshake: Handshake::None,
        dedup: &[],
        rotation: "change the credentials",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Unconfirmed,
        source: "background knowledge",
    }
    /// Mailgun: JSON, and the older forms. **The event itself is not signed**, only a time and a token: remember each token
    /// and accept it once.
    MAILGUN = "mailgun", "Mailgun" {
        scheme: Scheme::Recipes(&[
            Recipe {
                name: text("mailgun"),
                algorithm: Algorithm::HmacSha256,
                key: KeyFormat::Utf8,
                signature: Field::Json(text("/signature/signature")),
                prefix: text(""),
                encoding: Encoding::Hex,
                timestamp: Some(Stamp {
                    at: Field::Json(text("/signature/timestamp")),
                    unit: Unit::Seconds,
                    tolerance_s: None,
                    sdk_checks_age_only: false,
                }),
                message: Cow::Borrowed(&[Part::Timestamp, Part::Field(Field::Json(text("/signature/token")))]),
                require: Cow::Borrowed(&[]),
            },
            Recipe {
                name: text("mailgun-form"),
                algorithm: Algorithm::HmacSha256,
                key: KeyFormat::Utf8,
                signature: Field::Form(text("signature")),
                prefix: text(""),
                encoding: Encoding::Hex,
                timestamp: Some(Stamp {
                    at: Field::Form(text("timestamp")),
                    unit: Unit::Seconds,
                    tolerance_s: None,
                    sdk_checks_age_only: false,
                }),
                message: Cow::Borrowed(&[Part::Timestamp, Part::Field(Field::Form(text("token")))]),
                require: Cow::Borrowed(&[]),
            },
        ]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/signature/token"] }, Dedup::Form(&["token"])],
        rotation: "regenerate the signing key (it is not the API key)",
        not_covered: "**the event data**, headers, URL",
        evidence: Evidence::Confirmed,
        source: "anymail/django-anymail `webhooks/mailgun.py`",
    }
    /// Postmark signs nothing: credentials in the URL arrive as Basic.
    POSTMARK = "postmark", "Postmark" {
        scheme: Scheme::Credential(Credential::Basic),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/MessageID", "/RecordType"] }],
        rotation: "two credentials in the ring, then change the URL",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Confirmed,
        source: "hookdeck/webhook-skills `providers.yaml`",
    }
    /// Pipedrive signs nothing: Basic.
    PIPEDRIVE = "pipedrive", "Pipedrive" {
        scheme: Scheme::Credential(Credential::Basic),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/meta/correlation_id"] }],
        rotation: "change the credentials",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Confirmed,
        source: "pipedrive.readme.io, through hookdeck; the correlation id is unconfirmed",
    }
    /// Salesforce outbound messages (SOAP): mutual TLS, and the organisation's id. Answer with
    /// [`SALESFORCE_ACK`]. Up to 100 notifications come in one message.
    SALESFORCE_OUTBOUND = "salesforce-outbound", "Salesforce outbound message" {
        scheme: Scheme::Credential(Credential::SalesforceCertificate),
        handshake: Handshake::None,
        dedup: &[Dedup::Element("Id")],
        rotation: "Salesforce renews its certificate: put both fingerprints into the ring",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Confirmed,
        source: "developer.salesforce.com, outbound messaging",
    }
    /// Marketo signs nothing: a header with a token that you set, `X-Webhook-Token` here. **Unconfirmed.**
    MARKETO = "marketo", "Marketo" {
        scheme: Scheme::Credential(Credential::Header(Cow::Borrowed("X-Webhook-Token"))),
        handshake: Handshake::None,
        dedup: &[],
        rotation: "change the header",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Unconfirmed,
        source: "background knowledge",
    }
    /// Zoom. The tolerance of 300 seconds is this crate's.
    ZOOM = "zoom", "Zoom" {
        scheme: Scheme::Recipes(&[timed(
            "zoom-v0",
            header("x-zm-signature"),
            "v0=",
            Stamp::seconds(header("x-zm-request-timestamp"), 300),
            V0_TIME_BODY,
        )]),
        handshake: Handshake::UrlValidation,
        dedup: &[Dedup::Json { each: "", ids: &["/event", "/event_ts"] }],
        rotation: "regenerate the secret token",
        not_covered: HEADERS_FREE,
        evidence: Evidence::Secondary,
        source: "developers.zoom.us (validation again every 72 hours); secondary (signature)",
    }
    /// Brevo signs nothing: Basic from credentials in the URL.
    BREVO = "brevo", "Brevo (Basic)" {
        scheme: Scheme::Credential(Credential::Basic),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/uuid"] }, Dedup::Json { each: "", ids: &["/message-id", "/event"] }],
        rotation: "change the credentials",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Confirmed,
        source: "developers.brevo.com/docs/secured-webhooks",
    }
    /// Brevo with a bearer token. For a header of your own, see [`Credential::Header`].
    BREVO_BEARER = "brevo-bearer", "Brevo (bearer token)" {
        scheme: Scheme::Credential(Credential::Bearer),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/uuid"] }, Dedup::Json { each: "", ids: &["/message-id", "/event"] }],
        rotation: "change the token",
        not_covered: NOTHING_SIGNED,
        evidence: Evidence::Confirmed,
        source: "developers.brevo.com/docs/secured-webhooks",
    }
    /// LinkedIn. The key is the client secret; `hmacsha256=` is part of the message.
    LINKEDIN = "linkedin", "LinkedIn" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("linkedin"),
            algorithm: Algorithm::HmacSha256,
            key: KeyFormat::Utf8,
            signature: header("X-LI-Signature"),
            prefix: text(""),
            encoding: Encoding::Hex,
            timestamp: None,
            message: Cow::Borrowed(&[lit("hmacsha256="), Part::Body]),
            require: Cow::Borrowed(&[]),
        }]),
        handshake: Handshake::ChallengeCode,
        dedup: &[Dedup::Json { each: "", ids: &["/notificationId"] }],
        rotation: NO_ROTATION,
        not_covered: "headers, URL, time",
        evidence: Evidence::Secondary,
        source: "learn.microsoft.com (challenge, header); secondary (prefix of the message)",
    }
    /// TikTok.
    TIKTOK = "tiktok", "TikTok" {
        scheme: Scheme::Recipes(&[timed(
            "tiktok",
            pair("TikTok-Signature", ',', "s"),
            "",
            Stamp::seconds(pair("TikTok-Signature", ',', "t"), 300),
            TIME_DOT_BODY,
        )]),
        handshake: Handshake::None,
        dedup: &[],
        rotation: NO_ROTATION,
        not_covered: HEADERS_FREE,
        evidence: Evidence::Secondary,
        source: "secondary",
    }
    /// Outreach.
    OUTREACH = "outreach", "Outreach" {
        scheme: Scheme::Recipes(&[of_body("outreach", Algorithm::HmacSha256, "Outreach-Webhook-Signature", "", Encoding::Hex)]),
        handshake: Handshake::None,
        dedup: &[],
        rotation: NO_ROTATION,
        not_covered: "headers, URL, time",
        evidence: Evidence::Confirmed,
        source: "amp-labs/connectors `providers/outreach/subscriptionEvent.go`",
    }
    /// GoHighLevel. The key is the public key that HighLevel publishes, in PEM.
    HIGHLEVEL = "highlevel", "GoHighLevel" {
        scheme: Scheme::Recipes(&[Recipe {
            name: text("highlevel"),
            algorithm: Algorithm::RsaPkcs1Sha256,
            key: KeyFormat::PublicKey,
            signature: header("X-WH-Signature"),
            prefix: text(""),
            encoding: Encoding::Base64,
            timestamp: None,
            message: Cow::Borrowed(&[Part::Body]),
            require: Cow::Borrowed(&[]),
        }]),
        handshake: Handshake::None,
        dedup: &[Dedup::Json { each: "", ids: &["/webhookId"] }],
        rotation: "a new published key: keep both in the ring",
        not_covered: "headers, URL, time",
        evidence: Evidence::Confirmed,
        source: "NangoHQ/nango `highlevel-webhook-routing.ts`",
    }
    /// MailerSend.
    MAILERSEND = "mailersend", "MailerSend" {
        scheme: Scheme::Recipes(&[of_body("mailersend", Algorithm::HmacSha256, "Signature", "", Encoding::Hex)]),
        handshake: Handshake::None,
        dedup: &[],
        rotation: NO_ROTATION,
        not_covered: "headers, URL, time",
        evidence: Evidence::Confirmed,
        source: "anymail/django-anymail",
    }
    /// Notion. The key is the verification token that it sends once: see [`Handshake::VerificationToken`].
    NOTION = "notion", "Notion" {
        scheme: Scheme::Recipes(&[of_body("notion", Algorithm::HmacSha256, "X-Notion-Signature", "sha256=", Encoding::Hex)]),
        handshake: Handshake::VerificationToken,
        dedup: &[],
        rotation: "a new verification token",
        not_covered: "headers, URL, time",
        evidence: Evidence::Confirmed,
        source: "NangoHQ/nango",
    }
    /// Convoy, in each of its simple forms: SHA-512 or SHA-256, hexadecimal or base64.
    CONVOY = "convoy", "Convoy" {
        scheme: Scheme::Recipes(&[
            of_body("convoy-sha512-hex", Algorithm::HmacSha512, "X-Convoy-Signature", "", Encoding::Hex),
            of_body("convoy-sha512-base64", Algorithm::HmacSha512, "X-Convoy-Signature", "", Encoding::Base64),
            of_body("convoy-sha256-hex", Algorithm::HmacSha256, "X-Convoy-Signature", "", Encoding::Hex),
            of_body("convoy-sha256-base64", Algorithm::HmacSha256, "X-Convoy-Signature", "", Encoding::Base64),
        ]),
        handshake: Handshake::None,
        dedup: &[],
        rotation: NO_ROTATION,
        not_covered: "headers, URL, time",
        evidence: Evidence::Confirmed,
        source: "frain-dev/convoy `pkg/verifier`; its form with a timestamp is unconfirmed and not here",
    }
}

/// The answer that stops Salesforce from sending an outbound message again, as `text/xml`.
pub const SALESFORCE_ACK: &str = concat!(
    r#"<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>"#,
    r#"<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>"#,
    r#"</soapenv:Body></soapenv:Envelope>"#
);
