//! The rules that are in force in this process: which layers they are made of, and how they follow the ledger and the configuration.
//! What compiles does so while calls go on; only the swap is made with the lock of the snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use admin_api::rules::counted;
use arc_swap::ArcSwap;
use ledger::{Ledger, PolicyError, PolicyInForce, PolicyScope, PolicySource, StoreError, Timestamp};
use policies::{Pack, PackLimits, Rulebook, Scope};

use super::Shadow;
use super::desk::{PollFault, PollFaults};
use super::loader::Layers;
use super::poll::{self, Answer};
use super::source::{House, HousePlan, Terms};
use crate::app::App;
use crate::config::Fault;
use crate::snapshot::Snapshot;

/// Rules that are known to be old for so long let nobody through any more.
const LONGEST_BEHIND: Duration = Duration::from_secs(60);
/// Well below the five seconds in which a change is in force everywhere.
const GLANCE: Duration = Duration::from_millis(250);

pub struct Rules {
    layers: ArcSwap<Layers>,
    /// One at a time reads and compiles.
    loading: tokio::sync::Mutex<()>,
    /// The ledger's `config_revision` that the layers are known to be of.
    read_at: AtomicI64,
    /// Since when they are known to be older than the keys, in microseconds; 0: they are not.
    behind_since: AtomicI64,
    pub poll_fault: PollFaults,
}

impl Rules {
    /// At the start: the house's layer is put on record, and what is uploaded is read.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn open(ledger: &Ledger, house: House, revision: i64) -> Result<(Rules, Rulebook), PolicyError> {
        let house = Arc::new(house);
        let row = Arc::new(recorded(ledger, &house).await?);
        let bare = Layers::of_house(Arc::clone(&house), row);
        let layers = bare.renewed(ledger).await?.unwrap_or_else(|| bare.clone());
        let rulebook = layers.over(&Rulebook::new(Arc::clone(&house.set)), &bare);
        layers.measure();
        let rules = Rules {
            layers: ArcSwap::from_pointee(layers),
            loading: tokio::sync::Mutex::new(()),
            read_at: AtomicI64::new(revision),
            behind_since: AtomicI64::new(0),
            poll_fault: PollFaults::default(),
        };
        Ok((rules, rulebook))
    }

    /// What the rules in force are made of.
    pub fn layers(&self) -> Arc<Layers> {
        self.layers.load_full()
    }

    /// Keys of this revision are in force: rules have to follow.
    pub fn expect(&self, revision: i64, now: Timestamp) {
        if self.read_at.load(Ordering::Relaxed) < revision {
            // Behind already: since then.
            let _ = self.behind_since.compare_exchange(0, now.micros(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// They have been behind for too long to be believed.
    pub fn are_stale(&self, now: Timestamp) -> bool {
        match self.behind_since.load(Ordering::Relaxed) {
            0 => false,
            since => now.since(Timestamp::from_micros(since)) > LONGEST_BEHIND,
        }
    }

    /// A snapshot's rules with this layer of the house's. Whoever stores it holds the lock of snapshots.
    pub fn housed(
        &self,
        old: &Snapshot,
        house: Arc<House>,
        row: PolicyInForce,
    ) -> (Arc<Rulebook>, Option<Arc<Shadow>>) {
        let present = self.layers();
        let set = Arc::clone(&house.set);
        let layers = Layers { house, house_row: Arc::new(row), ..Layers::clone(&present) };
        // The same rules remember what they decided.
        let rulebook = match set.revision() == present.house.set.revision() {
            true => Arc::clone(&old.policies),
            false => Arc::new(old.policies.with(Scope::House, Some(set))),
        };
        let shadow = layers.shadow(&rulebook);
        layers.measure();
        self.layers.store(Arc::new(layers));
        (rulebook, shadow)
    }

    /// A snapshot's rules with these uploaded layers. Whoever stores it holds the lock of snapshots.
    fn uploaded(&self, old: &Snapshot, new: Layers) -> (Arc<Rulebook>, Option<Arc<Shadow>>) {
        let present = self.layers();
        // The house's may have changed while these were compiled.
        let (house, house_row) = (Arc::clone(&present.house), Arc::clone(&present.house_row));
        let layers = Layers { house, house_row, ..new };
        let rulebook = match layers.differs(&present) {
            true => Arc::new(layers.over(&old.policies, &present)),
            false => Arc::clone(&old.policies),
        };
        let shadow = layers.shadow(&rulebook);
        layers.measure();
        self.layers.store(Arc::new(layers));
        (rulebook, shadow)
    }
}

impl App {
    /// Reads and compiles uploaded layers where newer ones may be there, and puts them into force.
    ///
    /// # Errors
    /// When the ledger cannot be read; the rules of before stay until they are stale.
    pub async fn follow_rules(&self) -> Result<(), StoreError> {
        if !self.rules_are_behind() {
            return Ok(());
        }
        let _one = self.rules.loading.lock().await;
        // Read before the layers: what commits meanwhile is of a later revision, and is read again.
        let revision = self.present().revision;
        if self.rules.read_at.load(Ordering::Relaxed) >= revision {
            return Ok(());
        }
        if let Some(new) = self.rules.layers().renewed(&self.ledger).await? {
            let summary = new.summary();
            self.swap_rules(|old| self.rules.uploaded(old, new)).await;
            tracing::info!(
                layers = summary,
                revision = self.present().policies.revision(),
                "uploaded rules are in force"
            );
        }
        self.rules.read_at.fetch_max(revision, Ordering::Relaxed);
        if !self.rules_are_behind() {
            self.rules.behind_since.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn rules_are_behind(&self) -> bool {
        self.rules.read_at.load(Ordering::Relaxed) < self.present().revision
    }

    /// Puts a polled layer of the house's into force, once it is on record; false where the configuration has changed meanwhile.
    ///
    /// # Errors
    /// When it cannot be put on record.
    pub async fn adopt_house(&self, new: House) -> Result<bool, PolicyError> {
        let _one = self.swapping().await;
        if !Arc::ptr_eq(&self.rules.layers().house.terms, &new.terms) {
            return Ok(false);
        }
        let row = recorded(&self.ledger, &new).await?;
        let old = self.present();
        let (rulebook, shadow) = self.rules.housed(&old, Arc::new(new), row);
        tracing::info!(revision = rulebook.revision(), "the house's rules are those of the bundle that was polled");
        self.store_rules(&old, rulebook, shadow);
        Ok(true)
    }
}

/// Runs until the house stops: rules follow keys, and no call waits for their compiler.
pub async fn follow(app: Arc<App>) {
    let mut glance = tokio::time::interval(GLANCE);
    glance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = glance.tick() => {}
            () = app.stopping.cancelled() => return,
        }
        let followed = tokio::select! {
            followed = app.follow_rules() => followed,
            () = app.stop_now.cancelled() => return,
        };
        if let Err(error) = followed {
            tracing::error!(%error, "uploaded rules cannot be read again");
        }
    }
}

/// Puts the house's layer on record, if the last word does not say so already.
///
/// # Errors
/// When the ledger cannot be read or written.
pub async fn recorded(ledger: &Ledger, house: &House) -> Result<PolicyInForce, PolicyError> {
    let policies = ledger.policies();
    let last = policies.in_force_of(PolicyScope::House).await?;
    let new = house.on_record(ledger.new_id());
    let before = match &last {
        Some(last) if last.revision.digest == new.digest => return Ok(last.clone()),
        Some(last) => policies.bundle(last.revision.id).await?,
        None => None,
    };
    // What cannot be read any more is as good as nothing to compare with.
    let before = before.and_then(|bundle| Pack::read(&bundle, &PackLimits::default()).ok());
    policies.house(new, counted(&before.unwrap_or_default(), &house.pack)).await
}

/// The house's rules at the start: what lies behind an address is fetched. Where that cannot be had, those that were in force before
/// are, and it is asked for again.
///
/// # Errors
/// What was wrong, where nothing is on record either.
pub async fn first(plan: HousePlan, ledger: &Ledger) -> Result<(House, Option<PollFault>), Vec<Fault>> {
    // Its weights are read with its first guess; no call is the one to wait for that.
    let _learnt = tokio::task::spawn_blocking(|| policies::intent::classify(&policies::Asked::default())).await;
    let (terms, address) = match plan {
        HousePlan::Ready(house) => return Ok((warmed(*house).await, None)),
        HousePlan::ToFetch(terms, address) => (terms, address),
    };
    let faults = match fetched(&terms, &address).await {
        Ok(house) => return Ok((house, None)),
        Err(faults) => faults,
    };
    match of_record(&terms, ledger).await {
        Some(house) => Ok((house, Some(PollFault::new(ledger.clock().now(), faults)))),
        None => Err(faults),
    }
}

/// The same while the house runs, where nothing but the address will do.
///
/// # Errors
/// What was wrong.
pub async fn now(plan: HousePlan) -> Result<House, Vec<Fault>> {
    match plan {
        HousePlan::Ready(house) => Ok(warmed(*house).await),
        HousePlan::ToFetch(terms, address) => fetched(&terms, &address).await,
    }
}

/// With every engine that it can use made before a call comes: all calls meet at these rules.
async fn warmed(house: House) -> House {
    let set = Arc::clone(&house.set);
    if tokio::task::spawn_blocking(move || set.warm()).await.is_err() {
        tracing::warn!("the engines of rules could not all be made: they are made beside the calls");
    }
    house
}

async fn fetched(terms: &Arc<Terms>, address: &poll::Address) -> Result<House, Vec<Fault>> {
    match address.ask(None).await {
        Ok(Answer::New { bytes, etag }) => poll::taken(terms, address, bytes, etag).await,
        Ok(Answer::Same) => Err(vec![poll::said(address, "answered 304 to whoever has nothing yet".into())]),
        Err(message) => Err(vec![poll::said(address, message)]),
    }
}

async fn of_record(terms: &Arc<Terms>, ledger: &Ledger) -> Option<House> {
    let policies = ledger.policies();
    let last = policies.in_force_of(PolicyScope::House).await.ok()??;
    // Rules that came from elsewhere are not those of this address.
    if last.revision.source != PolicySource::Url {
        return None;
    }
    let bundle = policies.bundle(last.revision.id).await.ok()??;
    let terms = Arc::clone(terms);
    match tokio::task::spawn_blocking(move || House::of_record(&terms, &bundle)).await.ok()? {
        Ok(house) => {
            let house = warmed(house).await;
            let (policy, since) = (last.revision.id.to_string(), last.activation.at.to_string());
            tracing::warn!(policy, since, "the bundle of rules cannot be had: those on record are in force");
            Some(house)
        }
        Err(faults) => {
            faults.iter().for_each(|fault| tracing::error!(%fault, "the rules on record cannot be compiled"));
            None
        }
    }
}
