//! Who we are in a vault: a token that was given, or one that a login buys; renewed at two thirds of its life, bought anew when it
//! cannot be renewed or is no longer taken.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::{Secret, Whence, begin};
use super::client::{Client, Question};
use super::config::{VaultAuth, VaultConfig};
use super::{Origin, VaultError};
use crate::config::{Fault, KeySource};

/// After renewing has failed while the token is still good, the next try waits so long.
const REST: Duration = Duration::from_secs(5);

pub(super) struct Session {
    auth: Auth,
    held: Option<Token>,
}

enum Auth {
    Given(Given),
    AppRole { login: String, role_id: String, secret_id: Given },
    Kubernetes { login: String, role: String, jwt_file: PathBuf },
}

/// A secret that is read again for each login, unless it cannot change.
enum Given {
    Fixed(Secret),
    File(PathBuf),
}

struct Token {
    secret: Secret,
    renewable: bool,
    renew_from: Option<Instant>,
    valid_until: Option<Instant>,
}

/// What a login or a renewal answers.
#[derive(Deserialize)]
struct Answer {
    auth: Granted,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(default, deserialize_with = "super::kv::secret")]
    client_token: Option<Secret>,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// What a token says of itself.
#[derive(Deserialize)]
struct Looked {
    data: About,
}

#[derive(Deserialize)]
struct About {
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Session {
    pub(super) fn new(config: &VaultConfig, env: &dyn Fn(&str) -> Option<String>) -> Result<Session, Vec<Fault>> {
        let auth = match &config.auth {
            VaultAuth::Token(source) => Auth::Given(given("vault.auth.token", source, env)?),
            VaultAuth::Approle(it) => Auth::AppRole {
                login: format!("auth/{}/login", it.mount),
                role_id: it.role_id.clone(),
                secret_id: given("vault.auth.approle.secret_id", &it.secret_id, env)?,
            },
            VaultAuth::Kubernetes(it) => Auth::Kubernetes {
                login: format!("auth/{}/login", it.mount),
                role: it.role.clone(),
                jwt_file: it.jwt_file.clone().into(),
            },
        };
        Ok(Session { auth, held: None })
    }

    /// The token to show.
    pub(super) fn token(&self) -> Result<Secret, VaultError> {
        let held = self.held.as_ref().map(|it| it.secret.clone());
        held.ok_or_else(|| VaultError::Unprepared("there is no token for the vault".to_owned()))
    }

    /// When it wants renewing.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        self.held.as_ref()?.renew_from.map(|at| at.saturating_duration_since(now))
    }

    /// Sees to it that a token is held and fresh.
    pub(super) async fn enter(&mut self, client: &Client, now: Instant) -> Result<(), VaultError> {
        // Whoever writes the file of a token (an agent) replaces it in time.
        if let (Auth::Given(given @ Given::File(_)), Some(held)) = (&self.auth, &self.held)
            && given.read().is_ok_and(|token| token.expose() != held.secret.expose())
        {
            self.held = None;
        }
        let Some(held) = &self.held else { return self.log_in(client, now).await };
        if held.renew_from.is_none_or(|at| now < at) {
            return Ok(());
        }
        let alive = held.valid_until.is_none_or(|end| now < end);
        let renewed = match held.renewable && alive {
            true => self.renew(client, now).await,
            false => Err(VaultError::NoEntry(403)),
        };
        match renewed {
            Ok(()) => Ok(()),
            // The token lives on while the vault is away. A vault that answers, if only to fail, is asked for a new one.
            Err(error @ (VaultError::Unreachable | VaultError::Late)) if alive => {
                tracing::warn!(%error, "the vault's token could not be renewed and is used further");
                self.rest(now);
                Ok(())
            }
            Err(_) => match self.log_in(client, now).await {
                Err(error) if alive => {
                    tracing::warn!(%error, "the vault's token can neither be renewed nor replaced and is used to its end");
                    self.rest(now);
                    Ok(())
                }
                other => other,
            },
        }
    }

    /// The token was refused: gets another one. False where there is no other.
    pub(super) async fn again(&mut self, client: &Client, now: Instant) -> Result<bool, VaultError> {
        let before = self.held.take().map(|it| it.secret);
        self.log_in(client, now).await?;
        let after = self.held.as_ref().map(|it| it.secret.expose());
        Ok(after != before.as_ref().map(Secret::expose))
    }

    async fn log_in(&mut self, client: &Client, now: Instant) -> Result<(), VaultError> {
        let (path, body) = match &self.auth {
            Auth::Given(given) => {
                let secret = given.read()?;
                self.held = Some(looked_up(client, secret, now).await?);
                return Ok(());
            }
            Auth::AppRole { login, role_id, secret_id } => {
                let secret = secret_id.read()?;
                (login, json!({"role_id": role_id, "secret_id": secret.expose()}))
            }
            Auth::Kubernetes { login, role, jwt_file } => {
                let jwt = Given::File(jwt_file.clone()).read()?;
                (login, json!({"role": role, "jwt": jwt.expose()}))
            }
        };
        let body = Some(wiped(body));
        let asked = client.ask::<Answer>(Question { method: Method::POST, path, token: None, body }).await;
        let granted = asked.map_err(|error| match error {
            VaultError::Denied(_) => VaultError::NoEntry(403),
            VaultError::Missing(_) => VaultError::NoEntry(404),
            other => other,
        })?;
        let secret = granted.auth.client_token.ok_or(VaultError::Torn)?;
        tracing::info!("logged in to the vault");
        self.held = Some(Token::of(secret, granted.auth.lease_duration, granted.auth.renewable, now));
        Ok(())
    }

    async fn renew(&mut self, client: &Client, now: Instant) -> Result<(), VaultError> {
        let token = self.token()?;
        let body = Some(wiped(json!({})));
        let path = "auth/token/renew-self";
        let answer = client.ask::<Answer>(Question { method: Method::POST, path, token: Some(&token), body }).await?;
        let Granted { client_token, lease_duration, renewable } = answer.auth;
        if lease_duration == 0 {
            return Err(VaultError::Torn);
        }
        tracing::debug!("the vault's token is renewed");
        self.held = Some(Token::of(client_token.unwrap_or(token), lease_duration, renewable, now));
        Ok(())
    }

    fn rest(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.renew_from = Some(held.valid_until.map_or(now + REST, |end| end.min(now + REST)));
        }
    }
}

/// How long a token that was given to us lasts. One that may not ask after itself is taken as it is.
async fn looked_up(client: &Client, secret: Secret, now: Instant) -> Result<Token, VaultError> {
    let path = "auth/token/lookup-self";
    let asked = client.ask::<Looked>(Question { method: Method::GET, path, token: Some(&secret), body: None }).await;
    match asked {
        Ok(Looked { data }) => Ok(Token::of(secret, data.ttl, data.renewable, now)),
        Err(error) if error.is_outage() => Err(error),
        Err(_) => Ok(Token::of(secret, 0, false, now)),
    }
}

impl Token {
    /// No seconds at all: it lasts for ever.
    fn of(secret: Secret, seconds: u64, renewable: bool, now: Instant) -> Token {
        let lasts = Some(Duration::from_secs(seconds.min(u64::from(u32::MAX)))).filter(|it| !it.is_zero());
        Token { secret, renewable, renew_from: lasts.map(|it| now + it * 2 / 3), valid_until: lasts.map(|it| now + it) }
    }
}

impl Given {
    fn read(&self) -> Result<Secret, VaultError> {
        match self {
            Given::Fixed(secret) => Ok(secret.clone()),
            Given::File(path) => {
                let unread = |why: &str| VaultError::Unprepared(format!("the file {} {why}", path.display()));
                let text = std::fs::read_to_string(path).map(Zeroizing::new);
                let text = text.map_err(|e| unread(&format!("cannot be read: {}", e.kind())))?;
                super::super::trimmed(&text).ok_or_else(|| unread("is empty"))
            }
        }
    }
}

fn given(path: &str, source: &KeySource, env: &dyn Fn(&str) -> Option<String>) -> Result<Given, Vec<Fault>> {
    if source.vault.is_some() {
        return Err(vec![Fault::new(
            format!("{path}.vault"),
            "who we are in the vault cannot stand in the vault: use env or file",
        )]);
    }
    match begin("(vault)", path, source, env) {
        Ok((Whence::Elsewhere(Origin::File(file)), _)) => Ok(Given::File(file)),
        Ok((_, Some(secret))) => Ok(Given::Fixed(secret)),
        Ok((_, None)) => Err(vec![Fault::new(path, "give env or file")]),
        Err(fault) => Err(vec![fault]),
    }
}

/// A body that is wiped when it was sent.
fn wiped(body: serde_json::Value) -> Zeroizing<String> {
    let text = Zeroizing::new(body.to_string());
    if let serde_json::Value::Object(members) = body {
        for (_, value) in members {
            if let serde_json::Value::String(text) = value {
                drop(Zeroizing::new(text));
            }
        }
    }
    text
}
