//! The token endpoint: one account's grant to one app.

use super::options::SimOAuth;
use martlet_base::Timestamp;
use martlet_testkit::{SimReply, SimRequest};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Expired tokens are remembered for a while: HubSpot tells them from ones that never were.
const REMEMBERED: usize = 20;

/// What was granted and given out. It is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Grant {
    refresh_token: String,
    refreshes: u64,
    /// The account's owner took the grant back.
    revoked: bool,
    /// Access tokens and when they end, in milliseconds since 1970.
    access: Vec<(String, i64)>,
}

/// What an access token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Good,
    Expired,
    Unknown,
}

impl Grant {
    pub(super) fn new(oauth: &SimOAuth) -> Self {
        Self { refresh_token: oauth.refresh_token.clone(), ..Self::default() }
    }

    pub(super) fn access(&self, token: &str, now: Timestamp) -> Access {
        match self.access.iter().find(|(known, _)| known == token) {
            None => Access::Unknown,
            Some((_, until)) if self.revoked || *until <= now.as_millis() => Access::Expired,
            Some(_) => Access::Good,
        }
    }

    /// All access tokens end now.
    pub(super) fn expire(&mut self) {
        self.access.iter_mut().for_each(|(_, until)| *until = i64::MIN);
    }

    pub(super) fn set_revoked(&mut self, revoked: bool) {
        self.revoked = revoked;
        if revoked {
            self.expire();
        }
    }

    /// Answers a request for a token: 200 with one, or 400. The names of the errors are unconfirmed.
    pub(super) fn answer(
        &mut self,
        oauth: &SimOAuth,
        seed: u64,
        request: &SimRequest,
        now: Timestamp,
        correlation: &str,
    ) -> SimReply {
        let form = request.form();
        let given = |name: &str| form.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        let refuse = |status: &str, error: &str, message: &str| {
            SimReply::json(
                400,
                &json!({"status": status, "message": message, "correlationId": correlation,
                        "error": error, "error_description": message}),
            )
        };
        if given("grant_type") != "refresh_token" {
            return refuse("BAD_GRANT_TYPE", "unsupported_grant_type", "missing or unknown grant type");
        }
        if given("client_id") != oauth.client_id {
            return refuse("BAD_CLIENT_ID", "invalid_client", "missing or unknown client id");
        }
        if given("client_secret") != oauth.client_secret {
            return refuse("BAD_CLIENT_SECRET", "invalid_client", "missing or invalid client secret");
        }
        if self.revoked || given("refresh_token") != self.refresh_token {
            return refuse("BAD_REFRESH_TOKEN", "invalid_grant", "missing or invalid refresh token");
        }
        self.refreshes += 1;
        let token = format!("sim-access-{seed:x}-{}", self.refreshes);
        let until = (now + oauth.access_ttl).as_millis();
        self.access.push((token.clone(), until));
        let old = self.access.len().saturating_sub(REMEMBERED);
        self.access.drain(..old);
        if oauth.rotate {
            self.refresh_token = format!("{}-{}", oauth.refresh_token, self.refreshes);
        }
        let mut answer = json!({
            "token_type": "bearer",
            "access_token": token,
            "refresh_token": self.refresh_token,
            "expires_in": oauth.access_ttl.as_secs(),
        });
        if request.path != "/oauth/v1/token" {
            answer["token_use"] = "access_token".into();
            answer["hub_id"] = 4242.into();
            answer["user_id"] = 4343.into();
            answer["scopes"] = json!(["oauth", "crm.objects.contacts.read", "crm.objects.contacts.write"]);
        }
        SimReply::json(200, &answer)
    }
}
