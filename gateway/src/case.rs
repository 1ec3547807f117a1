//! A call as it came, what is known of it so far, and how it ended.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use ledger::{AttemptRecord, CallRecord, Claim, Credential, Exact, FindingRecord, Id, SoftWarning, Timestamp};
use policies::{Decided, Facts, LogLevel};
use providers::{Shape, Target};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::admission::Seat;
use crate::approvals::Shown;
use crate::authenticate::Presented;
use crate::headroom::Left;
use crate::hops::Outside;
use crate::limits::{RateState, Ticket};
use crate::telemetry::{Marks, Parent, Step};

/// A call as it came: the head is read, the body still waits on the wire.
pub struct Call {
    pub id: Id<ledger::Call>,
    pub shape: Shape,
    /// What the receipt calls it: `chat.completions`, `messages`.
    pub kind: &'static str,
    pub started: Instant,
    pub presented: Presented,
    pub idempotency_key: Option<String>,
    /// `x-alfred-tags` and its synonyms, as they stood.
    pub tags: Vec<String>,
    /// `x-alfred-approval`.
    pub approvals: Shown,
    pub content_length: Option<u64>,
    /// The body is compressed, or says so.
    pub compressed: bool,
    /// What the address and the head say of the request.
    pub outside: providers::Outside,
    /// The client's trace that it belongs to.
    pub parent: Option<Parent>,
    pub body: Body,
    /// The client left before its answer began.
    pub gone: CancellationToken,
}

/// Who asks, whatever the credential was.
#[derive(Clone)]
pub struct Caller {
    pub credential: Arc<Credential>,
}

/// One question to the rules, and its answer.
pub struct Judged {
    pub facts: Facts,
    pub decided: Decided,
    /// How much of it the decision log may keep.
    pub log: LogLevel,
    /// How long the rules took.
    pub took: Duration,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Not at all, yet.
    Running,
    /// The answer was complete.
    Finished,
    /// The answer came from the cache.
    Cached,
    /// The first answer to the same Idempotency-Key was given again.
    Replayed,
    /// The provider stopped in the middle of its answer.
    UpstreamBroke,
    /// The client went away before the end.
    ClientLeft,
    /// The call's total deadline passed.
    DeadlinePassed,
    /// Its wallet could hold no more for the rest of the answer.
    OutOfMoney,
    /// The gateway was shut down before the end.
    ShutDown,
    /// No target answered.
    ProviderFailed,
    /// It was turned down.
    Refused,
    /// What was held for a response that never began was given back.
    Unused,
}

impl Ending {
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Running => "running",
            Ending::Finished => "finished",
            Ending::Cached => "cached",
            Ending::Replayed => "replayed",
            Ending::UpstreamBroke => "upstream_broke",
            Ending::ClientLeft => "client_left",
            Ending::DeadlinePassed => "deadline_passed",
            Ending::OutOfMoney => "out_of_money",
            Ending::ShutDown => "shut_down",
            Ending::ProviderFailed => "provider_failed",
            Ending::Refused => "refused",
            Ending::Unused => "unused",
        }
    }
}

/// How the cache took part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheState {
    Hit,
    Miss,
    Bypass,
}

impl CacheState {
    pub fn as_str(self) -> &'static str {
        match self {
            CacheState::Hit => "hit",
            CacheState::Miss => "miss",
            CacheState::Bypass => "bypass",
        }
    }
}

/// What is known of a call so far. Grows along the pipeline, becomes its receipt.
pub struct Case {
    pub id: Id<ledger::Call>,
    pub kind: &'static str,
    pub shape: Shape,
    pub at: Timestamp,
    pub address: IpAddr,
    pub started: Instant,
    /// How long it may take in all, whatever a reload says meanwhile: its hold was made for so long.
    pub total: Duration,
    pub caller: Option<Caller>,
    pub model: String,
    pub stream: bool,
    pub claims: BTreeMap<String, String>,
    pub findings: Vec<FindingRecord>,
    /// The prompt's length by the first candidate's tokenizer.
    pub input_tokens: u64,
    pub policy: String,
    /// What the rules were asked and answered, the last that counts.
    pub judged: Vec<Judged>,
    /// What its wallets have left, where a rule asks.
    pub left: Option<Left>,
    /// The places beside its targets that nothing of it must reach.
    pub outside: Outside,
    /// A decision of this call is with the log already.
    pub decided: bool,
    pub routing: String,
    pub cache: CacheState,
    pub warnings: Vec<SoftWarning>,
    /// Approvals that were used for it, until what it cost is known.
    pub grants: Vec<Id<ledger::Approval>>,
    /// A wallet is past a soft limit that wants a cheaper plan: one is looked for.
    pub downgraded: bool,
    /// Every target of the plan that was asked or set aside.
    pub attempts: Vec<AttemptRecord>,
    /// How many were asked.
    pub tried: u32,
    pub target: Option<Arc<Target>>,
    pub first_byte: Option<Duration>,
    /// What a caller whose events are numbered was told last.
    pub last_frame: bytes::Bytes,
    /// Time spent waiting for providers, or for money that others hold: what is left of the total is ours.
    pub upstream: Duration,
    /// The Idempotency-Key's claim: the answer is kept for whoever repeats it.
    pub claim: Option<Claim>,
    /// The hold was resolved already: closing has nothing left to write.
    pub resolved: bool,
    /// What failed attempts cost the platform.
    pub failed_cost: Exact,
    /// What the key's limits have left: requests, tokens.
    pub rate: Option<RateState>,
    pub token_rate: Option<RateState>,
    /// It was counted as a request.
    pub counted: bool,
    /// What it drew from limits, to be corrected and given back at its end.
    pub ticket: Option<Ticket>,
    /// Its place among its tenant's calls.
    pub seat: Option<Seat>,
    /// A place among the calls in flight, and room for the body.
    pub place: Option<OwnedSemaphorePermit>,
    pub room: Option<OwnedSemaphorePermit>,
    /// What is measured on the way.
    pub marks: Marks,
}

impl Case {
    pub fn open(call: &Call, place: OwnedSemaphorePermit, total: Duration) -> Case {
        Case {
            id: call.id,
            kind: call.kind,
            shape: call.shape,
            at: call.presented.at,
            address: call.presented.address,
            started: call.started,
            total,
            caller: None,
            model: String::new(),
            stream: false,
            claims: BTreeMap::new(),
            findings: Vec::new(),
            input_tokens: 0,
            policy: String::new(),
            judged: Vec::new(),
            left: None,
            outside: Outside::default(),
            decided: false,
            routing: String::new(),
            cache: CacheState::Bypass,
            warnings: Vec::new(),
            grants: Vec::new(),
            downgraded: false,
            attempts: Vec::new(),
            tried: 0,
            target: None,
            first_byte: None,
            last_frame: bytes::Bytes::new(),
            upstream: Duration::ZERO,
            claim: None,
            resolved: false,
            failed_cost: Exact::ZERO,
            rate: None,
            token_rate: None,
            counted: false,
            ticket: None,
            seat: None,
            place: Some(place),
            room: None,
            marks: Marks::within(call.parent.clone()),
        }
    }

    /// A target was asked, and has failed or begun to answer.
    pub fn attempted(
        &mut self,
        target: &Arc<Target>,
        (asked_at, took): (Instant, Duration),
        outcome: &'static str,
        status: Option<u16>,
    ) {
        let from = asked_at.saturating_duration_since(self.started);
        self.marks.attempted(target, (from, took), outcome, status);
    }

    /// A step of the pipeline begins.
    pub fn enter(&mut self, step: Step) {
        self.marks.enter(step, self.started.elapsed());
    }

    /// Remembers who asks.
    pub fn called_by(&mut self, caller: Caller) -> Caller {
        self.caller.insert(caller).clone()
    }

    /// The time that Alfred itself took so far.
    pub fn overhead(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.upstream)
    }

    /// The receipt's account of the call.
    pub fn record(&self, ending: Ending, code: Option<&str>) -> CallRecord {
        let credential = self.caller.as_ref().map(|caller| &caller.credential);
        CallRecord {
            kind: self.kind.to_owned(),
            model: self.model.clone(),
            target: self.target.as_ref().map(|target| target.name.clone()),
            model_version: None,
            routing: self.routing.clone(),
            ending: ending.as_str().to_owned(),
            code: code.map(str::to_owned),
            usage: ledger::Usage::default(),
            counted: None,
            price_version: String::new(),
            markup: None,
            stream: self.stream,
            started_at: Some(self.at),
            latency_ms: millis(self.started.elapsed()),
            first_byte_ms: self.first_byte.map(millis),
            attempts: self.attempts.clone(),
            policy: self.policy.clone(),
            findings: self.findings.clone(),
            cache: self.cache.as_str().to_owned(),
            claims: self.claims.clone(),
            team: credential.and_then(|c| c.team),
            user: credential.and_then(|c| c.user),
            batch: None,
            charge: None,
        }
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
