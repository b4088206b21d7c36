use crate::auth::Auth;
use crate::{AudienceApi, AudienceId, Audiences, Campaigns, MailchimpPlatform, Reports, ShopApi, Shops};
use martlet_core::{
    ApiClient, CheckReport, Client, ClientBuilder, Error, ErrorKind, Result, Secret, SharedState,
};
use std::fmt;
use std::sync::Arc;

/// A client for one Mailchimp account. Cheap to clone; clones share everything.
///
/// ```
/// # use martlet_core::{Error, Transport};
/// # async fn run(transport: impl Transport + 'static) -> Result<(), Error> {
/// use martlet_mailchimp::{MemberStatus, MemberUpsert, Mailchimp};
///
/// let mailchimp = Mailchimp::builder().transport(transport).api_key("0123456789abcdef-us20").build()?;
/// let members = mailchimp.audience("a1b2c3d4e5").members();
/// let zoe = MemberUpsert::new(MemberStatus::Subscribed).merge_field("FNAME", "Zoë");
/// members.upsert("zoe@example.org", zoe).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Mailchimp {
    client: Client,
    api: Arc<dyn ApiClient>,
}

impl Mailchimp {
    /// A builder. It needs a transport and an API key or an access token.
    pub fn builder() -> MailchimpBuilder {
        MailchimpBuilder { inner: Client::builder(MailchimpPlatform::new()), auth: None, base_url: None }
    }

    /// The audiences of the account.
    #[must_use]
    pub fn audiences(&self) -> Audiences {
        Audiences::new(self.client())
    }

    /// One audience, by its id (in Mailchimp's own pages: Audience > Settings > Audience ID). No request is made.
    #[must_use]
    pub fn audience(&self, id: impl Into<AudienceId>) -> AudienceApi {
        AudienceApi::new(self.client(), id.into())
    }

    /// The campaigns of the account.
    #[must_use]
    pub fn campaigns(&self) -> Campaigns {
        Campaigns::new(self.client())
    }

    /// What became of the campaigns that were sent.
    #[must_use]
    pub fn reports(&self) -> Reports {
        Reports::new(self.client())
    }

    /// The shops (e-commerce stores) of the account.
    #[must_use]
    pub fn shops(&self) -> Shops {
        Shops::new(self.client())
    }

    /// One shop, by its id. No request is made.
    #[must_use]
    pub fn shop(&self, id: impl Into<String>) -> ShopApi {
        ShopApi::new(self.client(), id.into())
    }

    /// Batches: many requests in one, which the platform makes by itself.
    #[cfg(feature = "batches")]
    #[cfg_attr(docsrs, doc(cfg(feature = "batches")))]
    #[must_use]
    pub fn batches(&self) -> crate::Batches {
        crate::Batches::new(self.client.clone())
    }

    /// Pings the platform, to see whether it is there and the credential works.
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) for a bad key, or what kept the call from being made.
    pub async fn check(&self) -> Result<CheckReport> {
        self.api.check().await
    }

    /// The client underneath, for endpoints that have no typed method yet: they get the same limits, retries and errors.
    #[must_use]
    pub fn client(&self) -> Arc<dyn ApiClient> {
        Arc::clone(&self.api)
    }

    /// What a second client of the same account must share with this one: the ten connections are counted for all programs
    /// of the user together. Give it to that builder's `shared`.
    #[must_use]
    pub fn shared_state(&self) -> SharedState {
        self.client.shared_state()
    }
}

impl fmt::Debug for Mailchimp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailchimp").field(&self.client).finish()
    }
}

/// Builds a [`Mailchimp`]. Slots: the last value given wins, and everything is checked in [`build`](Self::build).
#[must_use = "a builder does nothing until build() is called"]
#[derive(Debug)]
pub struct MailchimpBuilder {
    inner: ClientBuilder,
    auth: Option<Auth>,
    base_url: Option<String>,
}

impl MailchimpBuilder {
    martlet_core::forward_client_builder!(inner, except base_url);

    /// An API key, with the data centre it ends with: `0123456789abcdef-us20`.
    pub fn api_key(mut self, key: impl Into<Secret>) -> Self {
        self.auth = Some(Auth::ApiKey(key.into()));
        self
    }

    /// An OAuth access token, and the data centre that `https://login.mailchimp.com/oauth2/metadata` names for it (`dc`). That endpoint
    /// answers 200 to a bad token too, with an `error` and without a `dc`. Tokens do not end by themselves (unconfirmed).
    pub fn access_token(mut self, token: impl Into<Secret>, data_center: impl Into<String>) -> Self {
        self.auth = Some(Auth::Token { token: token.into(), data_center: data_center.into() });
        self
    }

    /// Another address than the data centre's: a simulator, a proxy. With or without the version, so that
    /// `http://127.0.0.1:8080` and `http://127.0.0.1:8080/3.0` are the same. Plain http is refused except on loopback.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Checks everything and builds the client. No I/O.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) that names the setting and what is wrong with it; it never quotes a secret.
    pub fn build(self) -> Result<Mailchimp> {
        let named = |error: Error| error.with_operation(&MailchimpPlatform::ID.into(), "client.build");
        let auth = self.auth.ok_or_else(|| {
            named(Error::new(ErrorKind::Config, "neither an api_key nor an access_token was given"))
        })?;
        let (credential, data_center) = auth.resolve().map_err(named)?;
        let base_url = match self.base_url {
            None => data_center.base_url(),
            Some(url) => {
                let url = url.trim_end_matches('/');
                let bare = url.strip_suffix(MailchimpPlatform::VERSION).and_then(|url| url.strip_suffix('/'));
                bare.unwrap_or(url).to_owned()
            }
        };
        let client = self.inner.credentials(credential).base_url(base_url).build()?;
        Ok(Mailchimp { api: Arc::new(client.clone()), client })
    }
}
