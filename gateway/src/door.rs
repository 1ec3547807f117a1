//! How often: the limits of keys and addresses, and the count of those who were turned away.

use std::net::IpAddr;
use std::sync::Mutex;

use axum::http::HeaderMap;
use ledger::Timestamp;

use crate::case::Caller;
use crate::config::Config;
use crate::limits::{Counted, FailedVerifications, KeyLimits, Network, RateState, Subject, Tally, client_address};
use crate::refusal::Refusal;

/// The door limit of one process.
pub struct Door {
    keys: KeyLimits,
    failed: FailedVerifications,
    tally: Mutex<Tally>,
    trusted: Vec<Network>,
    max_body_bytes: u64,
}

impl Door {
    pub fn new(config: &Config) -> Door {
        Door {
            keys: KeyLimits::new(),
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

    /// Draws from the key's allowance, where it has one.
    pub fn admit(&self, caller: &Caller, now: Timestamp) -> Result<Option<RateState>, Refusal> {
        let Some(rpm) = caller.credential.rpm else { return Ok(None) };
        match self.keys.admit(caller.credential.key, rpm, now) {
            Ok(state) => Ok(Some(state)),
            Err(refused) => {
                Err(Refusal::RateLimited { retry_after: refused.retry_after, what: "requests per minute of this key" })
            }
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

    // A count is whole at any moment: a panic elsewhere leaves nothing half done in it.
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
