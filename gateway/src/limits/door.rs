//! The limits of one process put together: who may come in, how often, how much at a time, and who was turned away.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use ledger::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::{Network, client_address};
use super::chain::{Chain, Cost, ModelLimit};
use super::failed::FailedVerifications;
use super::limiter::Limiter;
use super::memory::{Told, Turned};
use super::shared::{Notes, Shared};
use super::tally::{Counted, Subject, Tally};
use super::ticket::Ticket;
use crate::case::{Caller, Case};
use crate::config::Config;
use crate::refusal::Refusal;

/// The door limit of one process.
pub struct Door {
    limiter: Arc<Limiter>,
    failed: FailedVerifications,
    tally: Mutex<Tally>,
    trusted: Vec<Network>,
    max_body_bytes: u64,
    shared: Option<Arc<Shared>>,
    /// Taken by whoever tells the store.
    notes: Mutex<Option<Notes>>,
}

/// What a call is about to draw.
#[derive(Clone, Copy)]
pub struct Drawing<'a> {
    /// The limits of the model that it asks for, if it has any.
    pub model: Option<&'a ModelLimit>,
    /// What it will likely use, prompt and answer.
    pub tokens: u64,
    /// It takes a place among the calls in flight.
    pub place: bool,
}

impl Door {
    /// `me`: a name of this process that no other has.
    pub fn new(config: &Config, me: &str) -> Door {
        // The configuration was checked when it was read.
        let (shared, notes) = match config.limits.shared.as_ref().and_then(|it| Shared::new(it, me).ok()) {
            Some((shared, notes)) => (Some(Arc::new(shared)), Some(notes)),
            None => (None, None),
        };
        Door {
            limiter: Arc::new(Limiter::new(shared.clone())),
            failed: FailedVerifications::new(config.limits.failed_verifications_per_minute),
            tally: Mutex::new(Tally::new()),
            trusted: config.trusted_proxies.iter().filter_map(|network| network.parse().ok()).collect(),
            max_body_bytes: config.limits.max_body_bytes,
            shared,
            notes: Mutex::new(notes),
        }
    }

    /// Meets the shared store, where there is one, and stays in touch with it until `ended`.
    pub async fn open(&self, tasks: &TaskTracker, ended: &CancellationToken) {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(shared), Some(notes)) = (self.shared.clone(), notes) else { return };
        // The first calls shall be counted there, too; a store that is not there does not keep the house closed.
        shared.beat(false).await;
        if !shared.is_up() {
            tracing::warn!("the store of shared limits cannot be reached: each process keeps its part until it can");
        }
        let ended = ended.clone();
        tasks.spawn(async move { shared.keep(notes, ended).await });
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

    /// Turns away whoever has no request left, before anything is read of it. Draws nothing. What is left is told either way.
    pub fn look(&self, caller: &Caller, case: &mut Case) -> Result<(), Refusal> {
        let chain = Chain::of(&caller.credential, None);
        if chain.is_empty() {
            return Ok(());
        }
        told(self.limiter.look(&chain, case.at).map(|told| (told, ())), case)
    }

    /// Draws from every limit that the call is under, or from none. What is left is told either way.
    pub async fn draw(&self, caller: &Caller, case: &mut Case, what: Drawing<'_>) -> Result<(), Refusal> {
        let chain = Chain::of(&caller.credential, what.model);
        case.counted = true;
        if chain.is_empty() {
            return Ok(());
        }
        let cost = Cost { requests: 1, tokens: what.tokens, place: what.place };
        let drawn = self.limiter.draw(chain, cost, case.at).await;
        case.ticket = Some(told(drawn, case)?);
        Ok(())
    }

    /// A place alone, for what lasts longer than a call.
    pub async fn place(
        &self,
        caller: &Caller,
        model: Option<&ModelLimit>,
        case: &mut Case,
    ) -> Result<Option<Ticket>, Refusal> {
        let chain = Chain::of(&caller.credential, model);
        if !chain.is_parallel() {
            return Ok(None);
        }
        told(self.limiter.draw(chain, Cost::PLACE, case.at).await, case).map(Some)
    }

    /// Draws one request for what no model answers.
    pub async fn question(&self, caller: &Caller, case: &mut Case) -> Result<(), Refusal> {
        self.draw(caller, case, Drawing { model: None, tokens: 0, place: false }).await
    }

    /// The same for what leaves no receipt.
    pub async fn question_alone(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal> {
        let chain = Chain::of(&caller.credential, None);
        if chain.is_empty() {
            return Ok(());
        }
        self.limiter.draw(chain, Cost::QUESTION, now).await.map(drop).map_err(|turned| refusal(&turned))
    }

    /// A verification failed: 401, or 429 once the address has failed too often.
    pub fn failed_verification(&self, address: IpAddr, now: Timestamp) -> Refusal {
        match self.failed.failed(address, now) {
            None => Refusal::InvalidKey,
            Some(retry_after) => {
                Refusal::RateLimited { retry_after, what: "failed key verifications from this address".into() }
            }
        }
    }

    /// A call was refused for what it says: a request all the same.
    pub fn refused(&self, case: &Case) {
        let Some(caller) = case.caller.as_ref().filter(|_| !case.counted) else { return };
        let chain = Chain::of(&caller.credential, None);
        if !chain.is_empty() {
            self.limiter.count(&chain, case.at);
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
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refusal says what is left, too, and is no call that could be refused for something else.
fn told<T>(drawn: Result<(Told, T), Box<Turned>>, case: &mut Case) -> Result<T, Refusal> {
    let told = match &drawn {
        Ok((told, _)) => told,
        Err(turned) => {
            case.counted = true;
            &turned.told
        }
    };
    case.rate = told.requests.or(case.rate);
    case.token_rate = told.tokens.or(case.token_rate);
    drawn.map(|(_, it)| it).map_err(|turned| refusal(&turned))
}

fn refusal(turned: &Turned) -> Refusal {
    let what = format!("{} of this {} (limit {})", turned.which.words(), turned.who.word(), turned.limit);
    Refusal::RateLimited { retry_after: turned.retry_after, what: what.into() }
}
