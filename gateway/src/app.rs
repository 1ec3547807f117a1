//! The house under one roof: the only place where concrete parts are chosen and put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ledger::{
    Clock, Confirmed, Hold, Ledger, Money, Order, OverLimit, PolicyError, PolicyInForce, ReserveError, Reserved,
    StoreError, Timestamp,
};
use policies::Rulebook;
use providers::{Calibration, Health, Keeper, Outbound};
use safety::{Action, Actions, Kind, Scanner};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::cache::Cache;
use crate::config::{Config, Fault};
use crate::connections::ConnectionConfig;
use crate::estimator::Estimates;
use crate::headroom::Headroom;
use crate::limits::Door;
use crate::managed::{State, Stored};
use crate::patience::Patience;
use crate::policy::{DECISION_PLACES, DecisionLog, House, Rules, Shadow};
use crate::recall::Replays;
use crate::refusal::Refusal;
use crate::reload::{LiveDeadlines, Unadopted, Unrecorded};
use crate::snapshot::{Routes, Snapshot, compose};
use crate::telemetry::Telemetry;
use crate::trust::Trust;

/// A view of the keys that nobody has confirmed for so long lets nobody in.
pub const STALE: Duration = Duration::from_secs(5);
/// A reservation that takes longer is refused; the ledger gives it back.
const RESERVE_DEADLINE: Duration = Duration::from_secs(10);

/// Everything that a call needs.
pub struct App {
    pub ledger: Ledger,
    pub scanner: Scanner,
    pub cache: Cache,
    pub replays: Replays,
    pub limits: Door,
    pub outbound: Outbound,
    pub health: Health,
    /// How the targets' own counts compare with ours.
    pub calibration: Calibration,
    /// How long answers have been lately.
    pub estimates: Estimates,
    /// Calls that wait for money that others hold.
    pub patience: Patience,
    /// What wallets have left, for rules that ask.
    pub headroom: Headroom,
    pub telemetry: Telemetry,
    /// What rules decided, on its way to the ledger.
    pub decisions: DecisionLog,
    /// Provider keys and certificates, kept as their sources have them.
    pub trust: Trust,
    /// Calls in flight and their streams: shutdown waits for them.
    pub tasks: TaskTracker,
    /// New calls are no longer taken.
    pub stopping: CancellationToken,
    /// Whatever still runs must end now, settled at what is known.
    pub stop_now: CancellationToken,
    pub deadlines: LiveDeadlines,
    pub connections: ConnectionConfig,
    /// Room for request bodies, in pieces.
    pub bodies: Arc<Semaphore>,
    /// Places for calls in flight.
    pub places: Arc<Semaphore>,
    pub most_in_flight: usize,
    /// Whose calls are shed when there are too many.
    pub admission: Admission,
    /// What the rules of the snapshot are made of.
    pub rules: Rules,
    snapshot: ArcSwap<Snapshot>,
    /// One refresh at a time.
    refreshing: tokio::sync::Mutex<()>,
    revision: watch::Receiver<Confirmed>,
    /// When the snapshot was last known to be current, in microseconds.
    confirmed_at: AtomicI64,
    masking: Actions,
    began: Instant,
}

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the keys or rules cannot be read, or the house's rules not be put on record.
    pub async fn build(
        config: &Config,
        ledger: Ledger,
        routes: Routes,
        house: House,
        telemetry: Telemetry,
        trust: Trust,
    ) -> Result<Arc<App>, PolicyError> {
        let set = ledger.tenants().credentials().await?;
        let confirmed_at = ledger.clock().now();
        let book = Arc::new(ledger.prices().book().await?);
        let stored = Arc::new(stored(&ledger).await?);
        let routes = with_stored(Arc::new(routes), stored).await;
        let (rules, rulebook) = Rules::open(&ledger, house, set.revision).await?;
        let shadow = rules.layers().shadow(&rulebook);
        let mut snapshot = Snapshot::new(set, book, routes, Arc::new(rulebook));
        snapshot.shadow = shadow;
        let deadlines = LiveDeadlines::new(config.deadlines.clone());
        let bodies = usize::try_from(config.limits.max_bodies_bytes.max(config.limits.max_body_bytes) / 4_096 + 1);
        let limits = Door::new(config, &ledger.new_id::<ledger::Instance>().to_string());
        let app = App {
            revision: ledger.revision(),
            ledger,
            scanner: Scanner::new(),
            cache: Cache::new(config.cache.max_bytes),
            replays: Replays::new(config.cache.replay_bytes),
            limits,
            outbound: Outbound::new(deadlines.outbound()),
            health: Health::new(),
            calibration: Calibration::new(),
            estimates: Estimates::default(),
            headroom: Headroom::new(),
            patience: Patience::new(config.holds.patience(), config.limits.max_in_flight),
            telemetry,
            decisions: DecisionLog::new(DECISION_PLACES),
            trust,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            stop_now: CancellationToken::new(),
            deadlines,
            connections: config.connections.clone(),
            bodies: Arc::new(Semaphore::new(bodies.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS))),
            places: Arc::new(Semaphore::new(config.limits.max_in_flight)),
            most_in_flight: config.limits.max_in_flight,
            admission: Admission::new(config.limits.max_in_flight, config.limits.shed_from),
            rules,
            snapshot: ArcSwap::from_pointee(snapshot),
            refreshing: tokio::sync::Mutex::new(()),
            confirmed_at: AtomicI64::new(confirmed_at.micros()),
            masking: Actions::from(
                Kind::ALL.into_iter().map(|kind| (kind, Action::Redact)).collect::<std::collections::BTreeMap<_, _>>(),
            ),
            began: Instant::now(),
        };
        Ok(Arc::new(app))
    }

    pub fn clock(&self) -> &Clock {
        self.ledger.clock()
    }

    /// Milliseconds since the start, for what only measures distances.
    pub fn millis(&self) -> u64 {
        crate::case::millis(self.began.elapsed())
    }

    /// The present view, if it is known to be current.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = self.snapshot.load_full();
        let confirmed = *self.revision.borrow();
        if confirmed.revision == snapshot.revision {
            self.confirmed_at.fetch_max(confirmed.at.micros(), Ordering::Relaxed);
        }
        let now = self.clock().now();
        let since = now.since(Timestamp::from_micros(self.confirmed_at.load(Ordering::Relaxed)));
        let is_stale = since > STALE || self.rules.are_stale(now);
        if is_stale { Err(Refusal::LedgerUnavailable) } else { Ok(snapshot) }
    }

    /// The routes as they are, however old: to look after them, never to let anybody in.
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.snapshot.load().routes)
    }

    /// Reads keys and rules again if the ledger has newer ones.
    ///
    /// # Errors
    /// When they cannot be read; the old view stays until it is stale.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.refresh_keys().await?;
        self.follow_rules().await
    }

    /// The same of all that is read quickly: rules follow when they are compiled.
    ///
    /// # Errors
    /// When it cannot be read; the old view stays until it is stale.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        let _one = self.refreshing.lock().await;
        let old = self.snapshot.load_full();
        let now = self.clock().now();
        let set = self.ledger.tenants().credentials().await?;
        if set.revision != old.revision {
            // Read after the revision: what commits meanwhile is in it already, and is read again.
            let book = match self.ledger.prices().is_current(&old.book).await? {
                true => Arc::clone(&old.book),
                false => Arc::new(self.ledger.prices().book().await?),
            };
            let routes = match self.ledger.definitions().count().await? == old.routes.made.stored.count {
                true => Arc::clone(&old.routes),
                false => with_stored(Arc::clone(&old.routes), Arc::new(stored(&self.ledger).await?)).await,
            };
            if !Arc::ptr_eq(&routes, &old.routes) {
                self.trust.renew(&routes.fleet).await;
                self.telemetry.meters.knows(routes.known.clone());
            }
            let mut new = Snapshot::new(set, book, routes, Arc::clone(&old.policies));
            new.shadow.clone_from(&old.shadow);
            self.rules.expect(new.revision, now);
            self.snapshot.store(Arc::new(new));
        }
        self.confirmed_at.fetch_max(now.micros(), Ordering::Relaxed);
        Ok(())
    }

    /// Puts other routes and rules into force, with what is stored beside them, once that is on record. Calls that run go on with
    /// what they began with.
    ///
    /// # Errors
    /// Every fault that these routes have together with what is stored, or that they are not on record; then the old ones stay.
    pub async fn adopt(
        &self,
        routes: Arc<Routes>,
        house: Arc<House>,
        keeper: Option<Keeper>,
        on_record: impl Future<Output = Result<PolicyInForce, Unrecorded>>,
    ) -> Result<(), Unadopted> {
        let _one = self.refreshing.lock().await;
        let old = self.snapshot.load_full();
        let (stored, present) = (Arc::clone(&old.routes.made.stored), Arc::clone(&old.routes));
        let routes = on_the_side(move || {
            let made = &routes.made;
            let routes = compose(&made.file, &made.config, &stored, &[&routes, &present], &variable)?;
            routes.fleet.warm();
            Ok(Arc::new(routes))
        })
        .await
        .map_err(Unadopted::Faults)?;
        let row = on_record.await.map_err(|Unrecorded| Unadopted::Unrecorded)?;
        if let Some(keeper) = keeper {
            self.trust.keeper.follow(keeper).await;
        }
        // Keys that are kept elsewhere are there when the first call comes.
        self.trust.renew(&routes.fleet).await;
        told_faults(&routes);
        self.telemetry.meters.knows(routes.known.clone());
        let (policies, shadow) = self.rules.housed(&old, house, row);
        let mut new = old.under(routes, policies);
        new.shadow = shadow;
        self.snapshot.store(Arc::new(new));
        Ok(())
    }

    /// Whoever holds this swaps snapshots.
    pub async fn swapping(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.refreshing.lock().await
    }

    /// Puts other rules into force.
    pub async fn swap_rules(&self, made: impl FnOnce(&Snapshot) -> (Arc<Rulebook>, Option<Arc<Shadow>>)) {
        let _one = self.swapping().await;
        let old = self.snapshot.load_full();
        let (rulebook, shadow) = made(&old);
        self.store_rules(&old, rulebook, shadow);
    }

    /// The same view under these rules. Only for whoever is [`App::swapping`].
    pub fn store_rules(&self, old: &Snapshot, rulebook: Arc<Rulebook>, shadow: Option<Arc<Shadow>>) {
        let mut new = old.under(Arc::clone(&old.routes), rulebook);
        new.shadow = shadow;
        self.snapshot.store(Arc::new(new));
    }

    /// The view as it is, however old: to say what is in force, never to let anybody in.
    pub fn present(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The ledger has seen a newer revision than this view has.
    pub fn is_behind(&self) -> bool {
        self.revision.borrow().revision != self.snapshot.load().revision
    }

    /// Sets money aside, and says what it means if that cannot be done.
    pub async fn reserve(&self, order: Order) -> Result<Reserved, Refusal> {
        self.ask(order).await?.map_err(refusal)
    }

    /// The same for whoever will ask again: refused only because of what others hold, nothing is written down.
    pub async fn try_reserve(&self, order: Order) -> Result<Result<Reserved, OverLimit>, Refusal> {
        match self.ask(Order { patient: true, ..order }).await? {
            Ok(reserved) => Ok(Ok(reserved)),
            Err(ReserveError::Held(over)) => Ok(Err(over)),
            Err(error) => Err(refusal(error)),
        }
    }

    async fn ask(&self, order: Order) -> Result<Result<Reserved, ReserveError>, Refusal> {
        let began = Instant::now();
        let reserved = tokio::time::timeout(RESERVE_DEADLINE, self.ledger.reserve(order)).await;
        self.telemetry.reserved(began.elapsed());
        self.admission.observe(began.elapsed());
        reserved.map_err(|_| Refusal::LedgerUnavailable)
    }

    /// Makes a hold cover `amount`. A refusal is written down; with `quietly` it is not.
    pub async fn cover(&self, hold: &mut Hold, amount: Money, quietly: bool) -> Result<(), Refusal> {
        match tokio::time::timeout(RESERVE_DEADLINE, self.grow(hold, amount, quietly)).await {
            Ok(grown) => grown.map_err(refusal),
            Err(_) => Err(Refusal::LedgerUnavailable),
        }
    }

    /// The same without a deadline, and with the ledger's own words.
    pub async fn grow(&self, hold: &mut Hold, amount: Money, quietly: bool) -> Result<(), ReserveError> {
        grow(&self.ledger, hold, amount, quietly).await
    }

    /// A client's own words with everything personal masked.
    pub fn masked(&self, text: &str) -> String {
        let findings = self.scanner.find(text);
        let applied = safety::apply(text, &findings, &self.masking);
        match (applied.blocked, applied.text) {
            // What cannot be masked is not kept at all.
            (Some(_), _) => "[REDACTED]".to_owned(),
            (None, Some(masked)) => masked,
            (None, None) => text.to_owned(),
        }
    }
}

/// What operators have stored.
async fn stored(ledger: &Ledger) -> Result<Stored, StoreError> {
    // Counted first: what commits meanwhile is in the rows already, and is read again.
    let count = ledger.definitions().count().await?;
    Ok(Stored { count, rows: ledger.definitions().in_force().await? })
}

/// The routes of the same configuration with what is stored by now.
async fn with_stored(routes: Arc<Routes>, stored: Arc<Stored>) -> Arc<Routes> {
    let known = Arc::clone(&routes);
    let composed = on_the_side(move || {
        let made = &routes.made;
        let routes = compose(&made.file, &made.config, &stored, &[&routes], &variable)?;
        routes.fleet.warm();
        Ok(Arc::new(routes))
    });
    match composed.await {
        Ok(routes) => {
            told_faults(&routes);
            routes
        }
        // The configuration was built before, from the same words.
        Err(faults) => {
            faults
                .iter()
                .for_each(|fault| tracing::error!(%fault, "the configuration cannot be built with what is stored"));
            known
        }
    }
}

/// Says what of the stored providers and models does not serve here: its variable or file may be missing in this process alone.
fn told_faults(routes: &Routes) {
    for (kind, known) in [("provider", &routes.made.providers), ("model", &routes.made.models)] {
        for it in known {
            if let State::Faulty(faults) = &it.state {
                let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::error!(kind, id = it.id, faults, "it is stored and cannot be built here");
            }
        }
    }
}

/// Reads keys and vocabularies where nothing waits for it.
async fn on_the_side<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Vec<Fault>> + Send + 'static,
) -> Result<T, Vec<Fault>> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let message = "could not be built: the log has the cause".to_owned();
        Err(vec![Fault { file: String::new(), line: None, path: String::new(), message }])
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn grow(ledger: &Ledger, hold: &mut Hold, amount: Money, quietly: bool) -> Result<(), ReserveError> {
    for _ in 0..2 {
        match grow_to(ledger, hold, amount, quietly).await {
            Ok(()) if hold.amount() >= amount => return Ok(()),
            // The answer to an earlier growth was lost, so more was held than this hold knew of. Now it knows how much.
            Ok(()) => {}
            // To grow by nothing tells how much.
            Err(ReserveError::Conflict(_)) => ledger.try_grow(hold, Money::ZERO).await?,
            Err(error) => return Err(error),
        }
    }
    Err(ReserveError::Conflict(hold.call()))
}

async fn grow_to(ledger: &Ledger, hold: &mut Hold, amount: Money, quietly: bool) -> Result<(), ReserveError> {
    match amount.minus(hold.amount()) {
        Some(more) if more > Money::ZERO && quietly => ledger.try_grow(hold, more).await,
        Some(more) if more > Money::ZERO => ledger.grow(hold, more).await,
        _ => Ok(()),
    }
}

fn refusal(error: ReserveError) -> Refusal {
    match error {
        ReserveError::OverLimit(over) | ReserveError::Held(over) => Refusal::OverBudget(Box::new(over)),
        ReserveError::Suspended { wallet } => Refusal::Suspended { wallet: wallet.to_string() },
        ReserveError::Closed { wallet } => Refusal::Closed { wallet: wallet.to_string() },
        ReserveError::IdempotencyMismatch => Refusal::IdempotencyMismatch,
        ReserveError::IdempotencyInProgress => Refusal::IdempotencyInProgress,
        ReserveError::Busy => Refusal::Overloaded,
        ReserveError::Downgrade { .. } => Refusal::WantsLess,
        ReserveError::Conflict(_) | ReserveError::UnknownWallet(_) | ReserveError::Amount(_) => {
            tracing::error!(%error, "a reservation that cannot be");
            Refusal::Internal
        }
        ReserveError::Store(error) => {
            tracing::error!(%error, "the ledger cannot reserve");
            Refusal::LedgerUnavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use ledger::{Actor, CallRecord, NewKey, NewOrg, NewWallet, WalletKind};

    use super::*;

    #[tokio::test]
    async fn a_growth_whose_answer_was_lost_is_known_to_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::open(ledger::Options::new(url)).await.expect("a ledger");
        let tenants = ledger.tenants();
        let org = NewOrg { id: ledger.new_id(), name: "org".into(), attributes: ledger::Attributes::new() };
        let org = tenants.create_org(org, &Actor::System).await.expect("an org").id;
        let wallet = NewWallet::new(ledger.new_id(), org, "wallet", WalletKind::Org);
        let wallet = tenants.create_wallet(wallet, &Actor::System).await.expect("a wallet").id;
        let key = NewKey::new(ledger.new_id(), "key", wallet);
        let key = tenants.create_key(key, &Actor::System).await.expect("a key").0.id;
        let nanos = Money::from_nanos;
        // What is asked next is above or below what the lost growth has taken.
        for next in [300, 200, 150] {
            let order = Order {
                call: ledger.new_id(),
                org,
                key,
                wallet,
                extra: Vec::new(),
                amount: nanos(100),
                estimate: None,
                patient: false,
                downgraded: false,
                expires_at: ledger.clock().now().after(Duration::from_secs(60)),
                claim: None,
                record: CallRecord::default(),
            };
            let Ok(Reserved::New(mut hold)) = ledger.reserve(order).await else { panic!("a hold") };
            // Sent, and never waited for.
            assert!(ledger.try_grow(&mut hold, nanos(100)).now_or_never().is_none());
            grow(&ledger, &mut hold, nanos(next), true).await.expect("a growth");
            assert_eq!(hold.amount(), nanos(next.max(200)));
        }
        ledger.close().await;
    }
}
