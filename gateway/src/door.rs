//! How often: the limits of keys and addresses, and the count of those who were turned away.

use std::net::IpAddr;
use std::sync::Mutex;

use axum::http::HeaderMap;
use ledger::Timestamp;

use crate::case::{Caller, Case};
use crate::config::Config;
use crate::limits::{
    Counted, FailedVerifications, KeyLimits, Network, RateState, Refused, Subject, Tally, TokenLimits, client_address,
};
use crate::refusal::Refusal;

/// The door limit of one process.
pub struct Door {
    keys: KeyLimits,
    tokens: TokenLimits,
    failed: FailedVerifications,
    tally: Mutex<Tally>,
    trusted: Vec<Network>,
    max_body_bytes: u64,
}

impl Door {
    pub fn new(config: &Config) -> Door {
        Door {
            keys: KeyLimits::new(),
            tokens: TokenLimits::new(),
            failed: FailedVerifications::new(config.limits.failed_verifications_per_minute),
            tally: Mutex::new(Tally::new()),
            // The configuration was checked when it was read.
            trusted: config.trusted_proxies.iter().filter_map(|network| network.parse().ok()).collect(),
            max_body_bytes: config.limits.max_body_bytes,
        }
    }

    pub fn max_body_bytes(&self) -> u64 {
        self.max_body_bytes
    }

    /// The other end, seen through the proxies that are trusted.
    pub fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).collect();
        let forwarded = forwarded.join(",");
        client_address(peer, Some(forwarded.as_str()).filter(|text| !text.is_empty()), &self.trusted)
    }

    /// Draws from the key's allowances, where it has any. What is left is told either way.
    pub fn admit(&self, caller: &Caller, case: &mut Case) -> Result<(), Refusal> {
        let credential = &caller.credential;
        if let Some(tpm) = credential.tpm {
            let admitted = self.tokens.admit(credential.key, tpm, case.at);
            case.token_rate = Some(told(admitted, "tokens per minute of this key", &mut case.token_rate)?);
        }
        if let Some(rpm) = credential.rpm {
            let admitted = self.keys.admit(credential.key, rpm, case.at);
            case.rate = Some(told(admitted, "requests per minute of this key", &mut case.rate)?);
        }
        Ok(())
    }

    /// Draws one request for a question that is answered here and leaves no receipt.
    pub fn admit_count(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal> {
        let Some(rpm) = caller.credential.rpm else { return Ok(()) };
        let admitted = self.keys.admit(caller.credential.key, rpm, now);
        told(admitted, "requests per minute of this key", &mut None).map(drop)
    }

    /// Draws what an answered call has used.
    pub fn spend(&self, caller: &Caller, tokens: u64, now: Timestamp) {
        if let Some(tpm) = caller.credential.tpm {
            self.tokens.spend(caller.credential.key, tpm, tokens, now);
        }
    }

    /// A verification failed: 401, or 429 once the address has failed too often.
    pub fn failed_verification(&self, address: IpAddr, now: Timestamp) -> Refusal {
        match self.failed.failed(address, now) {
            None => Refusal::InvalidKey,
            Some(retry_after) => {
                Refusal::RateLimited { retry_after, what: "failed key verifications from this address" }
            }
        }
    }

    /// Counts somebody turned away, for one audit entry a minute.
    pub fn count(&self, caller: Option<&Caller>, address: IpAddr, code: &'static str, now: Timestamp) {
        let subject = match caller {
            Some(caller) => Subject::Key(caller.credential.key, caller.credential.org),
            None => Subject::Address(address),
        };
        self.tally().count(subject, code, now);
    }

    /// The minutes that are over, or with `all` also the one that is not.
    pub fn counted(&self, now: Timestamp, all: bool) -> Vec<Counted> {
        if all { self.tally().drain_all() } else { self.tally().drain(now) }
    }

    /// Takes back what could not be written down.
    pub fn put_back(&self, counted: Vec<Counted>) {
        self.tally().put_back(counted);
    }

    // A count is whole at any moment: a panic elsewhere leaves nothing half done in it.
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A refusal says what is left, too.
fn told(
    admitted: Result<RateState, Refused>,
    what: &'static str,
    left: &mut Option<RateState>,
) -> Result<RateState, Refusal> {
    admitted.map_err(|refused| {
        *left = Some(refused.state);
        Refusal::RateLimited { retry_after: refused.retry_after, what }
    })
}
