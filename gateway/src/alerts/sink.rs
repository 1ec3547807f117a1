//! Telling one alert to one sink: a signed webhook, a Slack-compatible one, or a mail.

use std::collections::BTreeSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use ledger::{AlertRow, Id, Org, Timestamp, alert as kind};
use providers::Secret;
use reqwest::{Client, Url, redirect};
use serde_json::{Value, json};
use sha2::Sha256;

use super::mail::Mailer;

/// A delivery that takes longer has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Somebody to be told, and what of.
#[derive(Debug)]
pub struct Sink {
    pub id: String,
    pub orgs: Option<BTreeSet<Id<Org>>>,
    pub events: Option<BTreeSet<String>>,
    pub means: Means,
}

pub enum Means {
    Webhook { http: Client, url: Url, secret: Secret },
    Slack { http: Client, url: Url },
    Smtp(Box<Mailer>),
}

/// Addresses of webhooks may be secrets.
impl std::fmt::Debug for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Means::Webhook { .. } => "Webhook(…)",
            Means::Slack { .. } => "Slack(…)",
            Means::Smtp(_) => "Smtp(…)",
        })
    }
}

impl Sink {
    /// Whether this alert is for this sink.
    pub fn wants(&self, alert: &AlertRow) -> bool {
        self.orgs.as_ref().is_none_or(|orgs| orgs.contains(&alert.org))
            && self.events.as_ref().is_none_or(|events| events.contains(&alert.kind))
    }

    /// Tells it. What it says of a failure is for an operator: it names no address and repeats nothing that was answered.
    pub(super) async fn tell(&self, alert: &AlertRow, now: Timestamp) -> Result<(), String> {
        let told = async {
            match &self.means {
                Means::Webhook { http, url, secret } => {
                    let body = document(alert).to_string();
                    let unix = now.micros() / 1_000_000;
                    let signature = format!("t={unix},v1={}", sign(secret, unix, &body));
                    let request = http
                        .post(url.clone())
                        .header("content-type", "application/json")
                        .header("x-alfred-signature", signature)
                        .header("x-alfred-event", alert.kind.as_str())
                        .header("idempotency-key", alert.id.to_string())
                        .body(body);
                    send(request).await
                }
                Means::Slack { http, url } => {
                    let body = json!({"text": sentence(alert)}).to_string();
                    send(http.post(url.clone()).header("content-type", "application/json").body(body)).await
                }
                Means::Smtp(mailer) => mailer.send(&self.id, alert).await,
            }
        };
        tokio::time::timeout(DEADLINE, told).await.unwrap_or_else(|_| Err(late()))
    }
}

/// The client of a sink. It follows no redirect and no proxy: it speaks to whom the configuration names, or to nobody.
///
/// # Errors
/// When the system's certificates cannot be read.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_DEADLINE)
        .timeout(DEADLINE)
        .user_agent("alfred")
        .build()
}

fn late() -> String {
    format!("no answer within {} s", DEADLINE.as_secs())
}

async fn send(request: reqwest::RequestBuilder) -> Result<(), String> {
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("answered {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Err(late()),
        Err(error) if error.is_connect() => Err("cannot connect".to_owned()),
        Err(_) => Err("the connection broke".to_owned()),
    }
}

/// HMAC-SHA256 of `t.body`, in hexadecimal: what a receiver computes anew to know who it was and when.
pub(super) fn sign(secret: &Secret, unix: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("any length is a key");
    mac.update(unix.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The alert as a webhook gets it: the same bytes at each attempt.
fn document(alert: &AlertRow) -> Value {
    json!({
        "id": alert.id,
        "at": alert.at,
        "org_id": alert.org,
        "wallet_id": alert.wallet,
        "kind": alert.kind,
        "text": sentence(alert),
        "content": content(alert),
    })
}

fn content(alert: &AlertRow) -> Value {
    serde_json::from_str(&alert.content).unwrap_or(Value::Null)
}

/// What happened, in a few words.
pub(super) fn title(event: &str) -> &str {
    match event {
        kind::SOFT_LIMIT => "Soft limit passed",
        kind::HARD_LIMIT => "Hard limit reached: calls are refused",
        kind::BREAKER => "Spending unlike before",
        kind::FORECAST => "A limit will be reached early",
        kind::REFUND_FAILED => "A refund failed",
        other => other,
    }
}

/// The alert in one line: ids and amounts, nothing else is in it.
pub(super) fn sentence(alert: &AlertRow) -> String {
    let mut text = format!("{}: {}", title(&alert.kind), alert.org);
    if let Some(wallet) = alert.wallet {
        text.push_str(&format!(", {wallet}"));
    }
    if let Value::Object(members) = content(alert) {
        for (name, value) in members {
            match value {
                Value::Null => {}
                Value::String(value) => text.push_str(&format!(", {name} {value}")),
                value => text.push_str(&format!(", {name} {value}")),
            }
        }
    }
    text
}
