// Signs with the providers' own SDKs, and asks them about what we signed.
// stdin: { now, ours: [{ sdk, url, headers, body, secret }] }
// stdout: { made: [vector], verdicts: [true | "why not"] }
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { sign as githubSign, verify as githubVerify } from "@octokit/webhooks-methods";

const require = createRequire(import.meta.url);
const Stripe = require("stripe");
const twilio = require("twilio");
const { getExpectedTwilioSignature, getExpectedBodyHash } = require("twilio/lib/webhooks/webhooks.js");
const { Webhook: SvixWebhook } = require("svix");
const { Webhook: StandardWebhook } = require("standardwebhooks");
const { EventWebhook } = require("@sendgrid/eventwebhook");
const { verifySlackRequest } = require("@slack/bolt/dist/receivers/verify-request.js");

const { now, ours } = JSON.parse(readFileSync(0, "utf8"));
Date.now = () => now * 1000; // the SDKs read the clock; the cases have their own time

const stripe = new Stripe("sk_test_none");
const bodies = [
  '{"id":"evt_1"}',
  '{ "id" : "evt_2",\r\n "name": "Zoë ☕ \\u00e9", "n": 1.0e3 }\n',
  '{"a":"' + "x".repeat(3000) + '"}',
];
const made = [];
const push = (provider, scheme, secret, headers, body, url = "https://hooks.example.com/in/" + provider) => {
  const vector = (suffix, text, valid) => ({
    id: `${provider}-sdk-${made.length + 1}`, provider, scheme, kind: "verify", secret, headers, method: "POST", url,
    body_base64: Buffer.from(text).toString("base64"), timestamp: now, valid, ambiguous: false,
    desc: `signed by the provider's SDK${suffix}`,
  });
  made.push(vector("", body, true));
  made.push(vector(", tampered", body + " ", false));
};

const whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
for (const payload of bodies) {
  push("stripe", "stripe-v1", "whsec_test_secret", {
    "Stripe-Signature": stripe.webhooks.generateTestHeaderString({ payload, secret: "whsec_test_secret", timestamp: now }),
  }, payload);
  for (const [provider, Webhook, prefix] of [["svix", SvixWebhook, "svix"], ["standard-webhooks", StandardWebhook, "webhook"]]) {
    push(provider, "standard-webhooks-v1", whsec, {
      [`${prefix}-id`]: "msg_1", [`${prefix}-timestamp`]: String(now),
      [`${prefix}-signature`]: new Webhook(whsec).sign("msg_1", new Date(now * 1000), payload),
    }, payload);
  }
  push("github", "x-hub-signature-256", "It's a Secret", { "X-Hub-Signature-256": await githubSign("It's a Secret", payload) }, payload);
  const json = `https://hooks.example.com/in/twilio?a=b&bodySHA256=${getExpectedBodyHash(payload)}`;
  push("twilio", "twilio-json-bodySHA256", "12345", {
    "X-Twilio-Signature": getExpectedTwilioSignature("12345", json, {}), "Content-Type": "application/json",
  }, payload, json);
}
const form = { From: "+14158675309", Body: "Zoë ☕ & co = 100%", Media: ["b", "a", "b"], Empty: "" };
const encoded = new URLSearchParams(Object.entries(form).flatMap(([k, v]) => [v].flat().map((v) => [k, v]))).toString();
for (const url of ["https://hooks.example.com/in/twilio?foo=1&bar=2", "https://hooks.example.com:8443/in/twilio", "https://u:p@hooks.example.com/"]) {
  push("twilio", "twilio-form", "12345", {
    "X-Twilio-Signature": getExpectedTwilioSignature("12345", url, form), "Content-Type": "application/x-www-form-urlencoded",
  }, encoded, url);
}

const verdicts = [];
for (const { sdk, url, headers, body, secret } of ours) {
  const payload = Buffer.from(body, "base64").toString("utf8");
  try {
    const accepted = await {
      stripe: () => stripe.webhooks.constructEvent(payload, headers["stripe-signature"], secret, 300, undefined, now * 1000),
      svix: () => new SvixWebhook(secret).verify(payload, headers),
      "standard-webhooks": () => new StandardWebhook(secret).verify(payload, headers),
      github: () => githubVerify(secret, payload, headers["x-hub-signature-256"]),
      twilio: () => url.includes("bodySHA256")
        ? twilio.validateRequestWithBody(secret, headers["x-twilio-signature"], url, payload)
        : twilio.validateRequest(secret, headers["x-twilio-signature"], url, Object.fromEntries(new URLSearchParams(payload))),
      sendgrid: () => {
        const webhook = new EventWebhook();
        return webhook.verifySignature(webhook.convertPublicKeyToECDSA(secret), payload,
          headers["x-twilio-email-event-webhook-signature"], headers["x-twilio-email-event-webhook-timestamp"]);
      },
      slack: () => (verifySlackRequest({ signingSecret: secret, body: payload, headers, nowMilliseconds: now * 1000 }), true),
    }[sdk]();
    verdicts.push(accepted ? true : "refused");
  } catch (error) {
    verdicts.push(String(error.message ?? error));
  }
}
console.log(JSON.stringify({ made, verdicts }));
