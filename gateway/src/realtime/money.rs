//! Money for one response at a time: held before it may begin, grown while it is said, settled at what the provider bills.
//!
//! How long a conversation is that a response reads is known from what the last one was billed, and bounded by what was said since;
//! so a hold covers that, and about as much output as such responses have lately had.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{Charge, Estimate, Hold, Markup, Money, Order, Rates, Release, Reserved, Timestamp};
use providers::{Formats, Target, Task, Usage};

use super::{Lasting, Session};
use crate::app::App;
use crate::approvals::none_needed;
use crate::case::{Caller, Case, Ending, millis};
use crate::close::in_time;
use crate::cover::Cover;
use crate::growth::Growth;
use crate::limits::Drawing;
use crate::meter::Meter;
use crate::permit::permit;
use crate::pricing::{Buyer, bills_on};
use crate::quote::{names_what_is_billed, too_much};
use crate::refusal::Refusal;
use crate::scan::Found;
use crate::snapshot::Snapshot;
use crate::telemetry::{Answer, Marks};

/// What a response may say whose model's maximum nobody knows.
const UNKNOWN_CAP: u64 = 4_096;
/// Instructions that the provider gives where the client gives none, and what frames a conversation.
const FRAME: u64 = 1_000;
/// More than an image is billed as, whatever its size.
const IMAGE: u64 = 2_000;
/// The context of a model of which nobody knows it.
const UNKNOWN_CONTEXT: u64 = 128_000;
/// A hold outlives the deadline of its response by so much before anybody may call it orphaned.
const GRACE: Duration = Duration::from_secs(60);

/// How much a response has to read: what the last one was billed, and what was said since.
#[derive(Debug, Default)]
pub struct Context {
    known: u64,
    text: u64,
    sound: u64,
    images: u64,
    pub formats: Formats,
}

impl Context {
    /// Something was said by the client: bytes of text, of sound as base64, and images.
    pub fn said(&mut self, text: u64, sound: u64, images: u64) {
        self.text = self.text.saturating_add(text);
        self.sound = self.sound.saturating_add(sound);
        self.images = self.images.saturating_add(images);
    }

    /// A response has read and said so much. One beside the conversation may be shorter, and says nothing of it.
    fn billed(&mut self, usage: &Usage) {
        let all = usage.all_input().saturating_add(usage.output);
        if all >= self.known {
            *self = Context { known: all, formats: self.formats, ..Context::default() };
        }
    }

    fn heard(&self) -> u64 {
        self.sound.div_ceil(self.formats.heard)
    }

    /// No count of the next response's input is above it.
    fn bound(&self, target: &Target) -> u64 {
        let said = self.text.saturating_add(self.heard()).saturating_add(self.images.saturating_mul(IMAGE));
        self.known.saturating_add(said).saturating_add(FRAME).min(target.context.unwrap_or(UNKNOWN_CONTEXT))
    }

    /// About what it is.
    fn likely(&self) -> ledger::Usage {
        let input = self.known + self.text / 4;
        ledger::Usage { input, audio_input: self.heard(), estimated: true, ..Default::default() }
    }
}

/// What is held for a response that may begin.
pub struct Purse {
    /// Taken where it is resolved.
    pub hold: Option<Hold>,
    pub case: Case,
    rates: Arc<Rates>,
    price_version: Arc<str>,
    markup: Markup,
    elastic: bool,
    /// When something last happened that it is held for.
    pub wanted_at: Instant,
    pub made_at: Instant,
}

/// A response that is being said.
pub struct Turn {
    pub id: String,
    case: Case,
    growth: Growth,
    rates: Arc<Rates>,
    price_version: Arc<str>,
    markup: Markup,
    pub began: Instant,
    text: u64,
    sound: u64,
    spoken: u64,
}

/// The target's rates for this caller, if it has any that name what a conversation is billed in.
pub fn rates<'a>(
    snapshot: &'a Snapshot,
    target: &Target,
    caller: &Caller,
    at: Timestamp,
) -> Option<&'a ledger::prices::Listed> {
    let listed = snapshot.price(target, &Buyer::new(caller, at))?;
    names_what_is_billed(Task::Realtime, &listed.rates).then_some(listed)
}

impl Session {
    /// The most output that the next response may have.
    fn whole(&self) -> u64 {
        let most = self.target.max_output.unwrap_or(UNKNOWN_CAP);
        self.cap.unwrap_or(most).min(most).min(self.allowed.unwrap_or(u64::MAX))
    }

    /// The cap that has to be sent: policy's, where it is below what the model can.
    pub fn governed(&self) -> Option<u64> {
        self.allowed.filter(|allowed| *allowed < self.target.max_output.unwrap_or(UNKNOWN_CAP))
    }

    fn cover(&self, rates: &Arc<Rates>, markup: Markup, elastic: bool) -> Cover {
        Cover::new(Arc::clone(rates), markup, self.context.bound(&self.target), 1, self.whole(), elastic)
    }

    /// Sees to it that there is money for the next response. `exactly`: it is about to begin, so what was held earlier is brought up to
    /// what was said since; else only where it has fallen far behind.
    pub async fn hold_for(&mut self, exactly: bool) -> Result<(), Refusal> {
        let Some(mut purse) = self.ready.take() else {
            let purse = self.reserve().await?;
            self.ready = Some(purse);
            return Ok(());
        };
        purse.wanted_at = Instant::now();
        let cover = self.cover(&purse.rates, purse.markup, purse.elastic);
        let needed = cover.amount(self.likely_output(&purse.case, &cover)).ok_or_else(too_much)?;
        let topped = match &mut purse.hold {
            Some(hold) if exactly || needed.nanos() / 2 > hold.amount().nanos() => {
                self.app.cover(hold, needed, false).await
            }
            _ => Ok(()),
        };
        self.ready = Some(purse);
        topped
    }

    fn likely_output(&self, case: &Case, cover: &Cover) -> u64 {
        let Some(caller) = &case.caller else { return cover.whole() };
        match cover.elastic() {
            true => self.app.estimates.get().estimate(caller.credential.key, &self.target.name, cover.whole()),
            false => cover.whole(),
        }
    }

    /// Lets the next response in as if it were a call of its own: key, limits, policy, price, wallet.
    async fn reserve(&mut self) -> Result<Purse, Refusal> {
        let app = Arc::clone(&self.app);
        if self.case.tried > 0 {
            // What was found in the client's texts since the last response is told with this one.
            let findings = std::mem::take(&mut self.case.findings);
            self.case = Case { findings, ..successor(&self.case, &app) };
        }
        let snapshot = app.snapshot()?;
        let caller = snapshot.caller(&self.key, app.clock().now()).ok_or(Refusal::InvalidKey)?;
        let caller = self.case.called_by(caller);
        let model = snapshot.routes.model_limits.get(self.asked.model());
        if self.lasting.is_none() {
            let seat = app.admission.enter(&caller)?;
            let place = app.limits.place(&caller, model, &mut self.case).await?;
            self.lasting = Some(Lasting { _seat: seat, _place: place });
        }
        app.limits.look(&caller, &mut self.case)?;
        let health = app.health.view(app.millis());
        self.case.left = app.headroom.left(&app, &snapshot, &caller).await;
        let permit = permit(&snapshot, &caller, &self.asked, &Found::default(), &health, &mut self.case);
        app.decisions.take(&mut self.case, &app.ledger);
        let permit = permit?;
        none_needed(&permit, "a conversation")?;
        if !permit.targets.iter().any(|target| target.name == self.target.name) {
            let reasons = vec!["The model of this conversation may not be used any more.".to_owned()];
            return Err(Refusal::Denied { code: "policy_denied", reasons });
        }
        self.allowed = permit.max_output();
        let unpriced = || Refusal::Unpriced { model: self.asked.model().to_owned() };
        let listed = rates(&snapshot, &self.target, &caller, self.case.at).ok_or_else(unpriced)?;
        let (rates, price_version) = (Arc::clone(&listed.rates), Arc::clone(&listed.version));
        let markup = snapshot.markup(&self.target, &Buyer::new(&caller, self.case.at), self.asked.model());
        // Responses stop when they are told to, unless the price says otherwise.
        let elastic = !bills_on(&self.target, &rates);
        let cover = self.cover(&rates, markup, elastic);
        let output = self.likely_output(&self.case, &cover);
        self.case.input_tokens = self.context.bound(&self.target);
        let likely = self.context.likely().all_input().saturating_add(output);
        app.limits.draw(&caller, &mut self.case, Drawing { model, tokens: likely, place: false }).await?;
        let amount = cover.amount(cover.whole()).ok_or_else(too_much)?;
        permit.affords(amount)?;
        let mut order = Order {
            call: self.case.id,
            org: caller.credential.org,
            key: caller.credential.key,
            wallet: caller.credential.wallet,
            extra: permit.extra.clone(),
            amount,
            estimate: Some(Estimate { amount: cover.amount(output).ok_or_else(too_much)?, elastic }),
            patient: false,
            downgraded: false,
            expires_at: self.case.at.after(self.case.total * 2 + GRACE),
            claim: None,
            record: self.case.record(Ending::Running, None),
        };
        let mut reserved = app.reserve(order.clone()).await;
        if let Err(Refusal::WantsLess) = reserved {
            // A conversation stays with its model: the soft limit warns only.
            order.downgraded = true;
            reserved = app.reserve(order).await;
        }
        let Reserved::New(hold) = reserved? else { return Err(Refusal::Internal) };
        self.case.warnings = hold.warnings().to_vec();
        let now = Instant::now();
        let next = successor(&self.case, &app);
        let case = std::mem::replace(&mut self.case, next);
        Ok(Purse { hold: Some(hold), case, rates, price_version, markup, elastic, wanted_at: now, made_at: now })
    }

    /// A response begins: what is ready is its. One that nobody asked for here is held for now.
    pub async fn begin(&mut self, id: String) -> Result<Turn, Refusal> {
        let mut purse = match self.ready.take() {
            Some(purse) => purse,
            None => self.reserve().await?,
        };
        let cover = self.cover(&purse.rates, purse.markup, purse.elastic);
        let hold = purse.hold.take().ok_or(Refusal::Internal)?;
        purse.case.target = Some(Arc::clone(&self.target));
        Ok(Turn {
            id,
            case: purse.case,
            growth: Growth::new(hold, cover),
            rates: purse.rates,
            price_version: purse.price_version,
            markup: purse.markup,
            began: Instant::now(),
            text: 0,
            sound: 0,
            spoken: self.context.formats.spoken,
        })
    }

    /// A call of its own beside the next response, for what is refused.
    pub fn aside(&mut self) -> Case {
        let findings =
            std::mem::take(&mut self.ready.as_mut().map_or(&mut self.case, |purse| &mut purse.case).findings);
        Case { findings, ..successor(&self.case, &self.app) }
    }

    /// Gives back what no response was begun on.
    pub async fn give_back(&self, mut purse: Purse, ending: Ending) {
        let Some(hold) = purse.hold.take() else { return };
        let record = purse.case.record(ending, None);
        let why = Release { reason: "unused".to_owned(), cost: Money::ZERO, record };
        purse.case.resolved = true;
        if in_time(&self.app, &purse.case, self.app.ledger.release(hold, why)).await.is_none() {
            tracing::warn!(call = %purse.case.id, "a release is late");
        }
        self.app.telemetry.closed(&purse.case, ending.as_str());
    }

    /// A response has ended: charged at what the provider says, else at our own count.
    pub async fn settle(&mut self, turn: Turn, billed: Option<Usage>, ending: Ending) {
        let app = Arc::clone(&self.app);
        let Turn { mut case, growth, rates, price_version, markup, began, text, sound, spoken, .. } = turn;
        let hold = growth.into_hold().await;
        let mut meter = Meter::default();
        // Nothing at all for what was said is no count.
        let billed = billed.filter(|it| it.all_input() + it.output > 0 || text + sound == 0);
        if let Some(billed) = billed {
            meter.billed(billed);
        }
        let usage = match meter.is_reported() {
            true => meter.usage(&self.target, &self.asked, true),
            // Nothing said, and nothing billed: a response that failed before it began.
            false if text == 0 && sound == 0 && ending == Ending::Finished => ledger::Usage::default(),
            false => ledger::Usage { output: text / 4, audio_output: sound / spoken, ..self.context.likely() },
        };
        if let (Some(billed), true) = (&billed, meter.is_reported()) {
            self.context.billed(billed);
        }
        let answered = rates.exact(&usage);
        let price = answered.with_markup(markup).rounded_up();
        let cost = answered.plus(case.failed_cost).rounded_up();
        if case.attempts.is_empty() {
            case.attempts.push(attempt(&self.target));
        }
        if let Some(attempt) = case.attempts.last_mut() {
            attempt.cost = answered.rounded_up().unwrap_or(Money::MAX);
            attempt.latency_ms = millis(began.elapsed());
        }
        if let Some(ticket) = &mut case.ticket {
            ticket.used(usage.all_input().saturating_add(usage.all_output()), app.clock().now());
        }
        if let (Some(caller), Ending::Finished, true) = (&case.caller, ending, meter.is_reported()) {
            app.estimates.get().learn(caller.credential.key, &self.target.name, usage.all_output());
        }
        let mut record = case.record(ending, None);
        record.usage = usage;
        record.price_version = price_version.to_string();
        record.markup = Some(markup).filter(|it| *it != Markup::NONE);
        let error = (ending != Ending::Finished).then(|| ending.as_str());
        app.telemetry.used(case.kind, &self.target, &usage, began.elapsed(), error);
        let charge = Charge { cost: cost.unwrap_or(Money::MAX), price: price.unwrap_or(Money::MAX), record };
        case.attempted(&self.target, (began, began.elapsed()), "answered", None);
        let settled = in_time(&app, &case, app.ledger.settle(hold, charge)).await;
        case.marks.answer = Some(Answer { usage, model: None, price: settled.map(|receipt| receipt.price) });
        app.telemetry.closed(&case, ending.as_str());
    }
}

impl Turn {
    /// More of it came. False where no more of it can be held for.
    pub async fn heard(&mut self, app: &Arc<App>, text: u64, sound: u64) -> bool {
        if self.case.first_byte.is_none() {
            self.case.first_byte = Some(self.began.elapsed());
            if let Some(target) = &self.case.target {
                app.telemetry.first_token(self.case.kind, target, self.began.elapsed());
            }
        }
        self.text += text;
        self.sound += sound;
        // Three bytes a token is more than any text has.
        let count = self.text.div_ceil(3) + self.sound.div_ceil(self.spoken);
        self.growth.look_ahead(app, count);
        self.growth.admits(app, count).await
    }

    /// Why it may not go on.
    pub fn note(&self) -> String {
        self.growth.note()
    }
}

fn attempt(target: &Target) -> ledger::AttemptRecord {
    ledger::AttemptRecord {
        target: target.name.clone(),
        outcome: "answered".to_owned(),
        status: Some(101),
        latency_ms: 0,
        cost: Money::ZERO,
    }
}

/// The next call of the same caller in the same conversation.
fn successor(case: &Case, app: &App) -> Case {
    Case {
        id: app.ledger.new_id(),
        at: app.clock().now(),
        started: Instant::now(),
        caller: case.caller.clone(),
        model: case.model.clone(),
        claims: case.claims.clone(),
        policy: case.policy.clone(),
        judged: Vec::new(),
        decided: false,
        routing: case.routing.clone(),
        target: case.target.clone(),
        findings: Vec::new(),
        attempts: Vec::new(),
        warnings: Vec::new(),
        last_frame: bytes::Bytes::new(),
        upstream: Duration::ZERO,
        failed_cost: ledger::Exact::ZERO,
        claim: None,
        rate: None,
        token_rate: None,
        counted: false,
        ticket: None,
        seat: None,
        place: None,
        room: None,
        first_byte: None,
        resolved: false,
        tried: 1,
        downgraded: false,
        marks: Marks::within(case.marks.parent.clone()),
        grants: Vec::new(),
        ..*case
    }
}
