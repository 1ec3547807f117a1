//! Who is let in when there is too much to do. Below a floor everybody; above it, calls of low priority go first, then those of the
//! tenant that has more than its share, and all sooner when the ledger is slow. Decided by one pure function; refused early, so that
//! queues stay short for those who are let in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::{Id, Org, Priority};
use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::case::Caller;
use crate::refusal::Refusal;

/// A reservation that takes longer even at the best moment of a while waits behind a queue that does not drain.
const STANDING: Duration = Duration::from_millis(250);
/// All that is above the floor is open at first; closed and opened again in steps, as networks do: quickly down, slowly up.
const OPEN: u32 = 1_000;
const OPENED_BY: u32 = 50;

/// What is known when somebody wants to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Calls in flight, and those of the one who asks.
    pub all: usize,
    pub own: usize,
    /// Tenants with calls in flight, the one who asks among them.
    pub tenants: usize,
    /// Below it nothing is shed; above `most` nobody is let in.
    pub floor: usize,
    pub most: usize,
    /// How much of what lies between is open, of [`OPEN`].
    pub open: u32,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// There is no place at all.
    Full,
    /// What is left is kept for calls of higher priority.
    Priority,
    /// It has its share, and others need what is left.
    Share,
}

impl Shed {
    fn word(self) -> &'static str {
        match self {
            Shed::Full => "full",
            Shed::Priority => "priority",
            Shed::Share => "share",
        }
    }
}

/// Whether a call of this priority is let in.
///
/// A tenant that has less than its share (an equal part of all places) comes in as long as its priority does. One that has more
/// borrows what nobody needs, up to half of what lies above the floor; and a tenant alone leaves an eighth of all places for whoever
/// comes next.
///
/// # Errors
/// Why not.
pub fn admit(load: Load, priority: Priority) -> Result<(), Shed> {
    if load.all >= load.most {
        return Err(Shed::Full);
    }
    if load.all < load.floor {
        return Ok(());
    }
    let above = (load.most - load.floor) * load.open.min(OPEN) as usize / OPEN as usize;
    let ceiling = match priority {
        Priority::Low => load.floor + above / 2,
        Priority::Normal => load.floor + above * 7 / 8,
        Priority::High => load.floor + above,
    };
    if load.all >= ceiling {
        return Err(Shed::Priority);
    }
    let places = load.floor + above;
    let share = if load.tenants > 1 { places / load.tenants } else { places - places / 8 };
    if load.own >= share && (load.tenants <= 1 || load.all >= load.floor + above / 2) {
        return Err(Shed::Share);
    }
    Ok(())
}

/// How open the house is after a while in which the quickest reservation took `best` (none was made) and so many waited at its end.
pub fn opened(open: u32, best: Option<Duration>, waiting: usize) -> u32 {
    let stands = best.map_or(waiting > 0, |best| best > STANDING);
    if stands { open * 7 / 10 } else { (open + OPENED_BY).min(OPEN) }
}

/// The tenants' calls in flight.
pub struct Admission {
    seats: Arc<Mutex<Seats>>,
    floor: usize,
    most: usize,
    open: AtomicU32,
    /// The quickest reservation since the last look, in microseconds.
    best: AtomicU64,
}

#[derive(Debug, Default)]
struct Seats {
    all: usize,
    by_tenant: HashMap<Id<Org>, usize>,
}

/// A call's place among its tenant's. Given back when it is dropped, with the call.
pub struct Seat {
    seats: Arc<Mutex<Seats>>,
    tenant: Id<Org>,
}

impl Admission {
    /// For so many calls at most, of which those below `shed_from` are never shed.
    pub fn new(most: usize, shed_from: usize) -> Admission {
        describe_counter!("alfred_shed_total", "calls refused under overload, by reason and priority");
        describe_gauge!("alfred_admission_open", "how much of the places above the floor is open, 0 to 1");
        gauge!("alfred_admission_open").set(1);
        Admission {
            seats: Arc::default(),
            floor: shed_from.min(most),
            most,
            open: AtomicU32::new(OPEN),
            best: AtomicU64::new(u64::MAX),
        }
    }

    /// Lets a call in, or says that there is too much to do.
    pub fn enter(&self, caller: &Caller) -> Result<Seat, Refusal> {
        let credential = &caller.credential;
        self.seat(credential.org, credential.priority).map_err(|shed| {
            let (reason, priority) = (shed.word(), credential.priority.as_str());
            counter!("alfred_shed_total", "reason" => reason, "priority" => priority).increment(1);
            Refusal::Overloaded
        })
    }

    fn seat(&self, tenant: Id<Org>, priority: Priority) -> Result<Seat, Shed> {
        let mut seats = held(&self.seats);
        let own = seats.by_tenant.get(&tenant).copied().unwrap_or_default();
        let tenants = seats.by_tenant.len() + usize::from(own == 0);
        let open = self.open.load(Ordering::Relaxed);
        admit(Load { all: seats.all, own, tenants, floor: self.floor, most: self.most, open }, priority)?;
        seats.all += 1;
        *seats.by_tenant.entry(tenant).or_default() += 1;
        Ok(Seat { seats: Arc::clone(&self.seats), tenant })
    }

    /// A reservation took so long.
    pub fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX - 1);
        self.best.fetch_min(took, Ordering::Relaxed);
    }

    /// Looks at how the ledger keeps up, with so many waiting for it now.
    pub fn tick(&self, waiting: usize) {
        let best = Some(self.best.swap(u64::MAX, Ordering::Relaxed)).filter(|best| *best < u64::MAX);
        let old = self.open.load(Ordering::Relaxed);
        let new = opened(old, best.map(Duration::from_micros), waiting);
        self.open.store(new, Ordering::Relaxed);
        if new != old {
            gauge!("alfred_admission_open").set(f64::from(new) / f64::from(OPEN));
        }
        if old == OPEN && new < OPEN {
            tracing::warn!(waiting, "the ledger does not keep up: calls above the floor are shed sooner");
        }
        if old < OPEN && new == OPEN {
            tracing::info!("the ledger keeps up again");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = held(&self.seats);
        seats.all = seats.all.saturating_sub(1);
        if let Some(own) = seats.by_tenant.get_mut(&self.tenant) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                seats.by_tenant.remove(&self.tenant);
            }
        }
    }
}

// Two numbers, changed together: a panic elsewhere leaves nothing half done in them.
fn held(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Load = Load { all: 0, own: 0, tenants: 1, floor: 1_024, most: 4_096, open: OPEN };

    #[test]
    fn low_priority_is_shed_first_then_whoever_has_its_share_and_nobody_below_the_floor() {
        use Priority::{High, Low, Normal};
        for (load, priority, expected, why) in [
            (Load { all: 1_023, own: 1_023, open: 0, tenants: 9, ..QUIET }, Low, Ok(()), "below the floor"),
            (Load { all: 4_096, ..QUIET }, High, Err(Shed::Full), "no place at all"),
            (Load { all: 2_559, own: 0, tenants: 2, ..QUIET }, Low, Ok(()), "half of what is above the floor"),
            (Load { all: 2_560, own: 0, tenants: 2, ..QUIET }, Low, Err(Shed::Priority), "the rest is for others"),
            (Load { all: 2_560, own: 0, tenants: 2, ..QUIET }, Normal, Ok(()), "such as this one"),
            (Load { all: 3_712, own: 0, tenants: 2, ..QUIET }, Normal, Err(Shed::Priority), "seven eighths"),
            (Load { all: 4_095, own: 0, tenants: 2, ..QUIET }, High, Ok(()), "to the last place"),
            (Load { all: 2_559, own: 2_400, tenants: 2, ..QUIET }, Normal, Ok(()), "what nobody needs is lent"),
            (Load { all: 2_560, own: 2_048, tenants: 2, ..QUIET }, High, Err(Shed::Share), "more than its half"),
            (Load { all: 2_560, own: 2_047, tenants: 2, ..QUIET }, High, Ok(()), "less than its half"),
            (Load { all: 3_583, own: 3_583, ..QUIET }, Normal, Ok(()), "alone"),
            (Load { all: 3_584, own: 3_584, ..QUIET }, High, Err(Shed::Share), "but somebody may come"),
            (
                Load { all: 1_024, own: 1, tenants: 9, open: 0, ..QUIET },
                High,
                Err(Shed::Priority),
                "a ledger that stands",
            ),
            (Load { all: 1_300, own: 9, tenants: 9, open: 200, ..QUIET }, Normal, Ok(()), "a ledger that is slow"),
            (
                Load { all: 1_600, own: 9, tenants: 9, open: 200, ..QUIET },
                Normal,
                Err(Shed::Priority),
                "and what it opens",
            ),
        ] {
            assert_eq!(admit(load, priority), expected, "{why}: {load:?} {priority:?}");
        }
        let small = Load { floor: 2, most: 2, ..QUIET };
        assert_eq!(admit(Load { all: 1, own: 1, ..small }, Priority::Low), Ok(()), "few places, all below the floor");
        assert_eq!(admit(Load { all: 2, own: 2, ..small }, Priority::High), Err(Shed::Full));
    }

    #[test]
    fn a_queue_that_stands_closes_quickly_and_a_burst_that_drains_does_not() {
        let millis = |ms| Some(Duration::from_millis(ms));
        for (open, best, waiting, expected, why) in [
            (1_000, millis(3), 900, 1_000, "a burst: somebody was quick"),
            (1_000, millis(251), 0, 700, "nobody was quick"),
            (1_000, None, 5, 700, "nothing was done, and somebody waits"),
            (1_000, None, 0, 1_000, "nothing was to be done"),
            (700, millis(1), 5, 750, "slowly up"),
            (980, millis(1), 0, 1_000, "no further than open"),
            (1, millis(900), 0, 0, "closed but for the floor"),
            (0, millis(1), 0, 50, "and open again"),
        ] {
            assert_eq!(opened(open, best, waiting), expected, "{why}");
        }
        let admission = Admission::new(4_096, 1_024);
        admission.observe(Duration::from_secs(3));
        admission.observe(Duration::from_secs(1));
        admission.tick(10);
        assert_eq!(admission.open.load(Ordering::Relaxed), 700);
        admission.observe(Duration::from_secs(1));
        admission.observe(Duration::from_millis(1));
        admission.tick(10);
        assert_eq!(admission.open.load(Ordering::Relaxed), 750, "the best counts, and each while by itself");
    }

    /// Chance that is handed in: xorshift.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, most: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % most
        }
    }

    /// What became of a tenant's calls.
    #[derive(Default)]
    struct Fate {
        shed: u64,
        /// Shed while the tenant had less than its share.
        wronged: u64,
        served: u64,
    }

    /// Tenants whose calls come at their own rates; each call takes 5 to 15 ticks.
    fn simulate(seed: u64, most: usize, floor: usize, arrivals: &[u64], ticks: u64) -> Vec<Fate> {
        let (admission, mut chance) = (Admission::new(most, floor), Chance(seed));
        let tenant = |n: usize| Id::from_uuid(uuid::Uuid::from_u128(n as u128 + 1));
        let mut running: Vec<(u64, Seat)> = Vec::new();
        let mut fates: Vec<Fate> = arrivals.iter().map(|_| Fate::default()).collect();
        for tick in 0..ticks {
            running.retain(|(end, _)| *end > tick);
            let mut calls: Vec<usize> =
                arrivals.iter().enumerate().flat_map(|(n, count)| vec![n; *count as usize]).collect();
            for n in (1..calls.len()).rev() {
                calls.swap(n, chance.below(n as u64 + 1) as usize);
            }
            for n in calls {
                let (all, own, tenants) = {
                    let seats = held(&admission.seats);
                    let own = seats.by_tenant.get(&tenant(n)).copied().unwrap_or_default();
                    (seats.all, own, seats.by_tenant.len() + usize::from(own == 0))
                };
                match admission.seat(tenant(n), Priority::High) {
                    Ok(seat) => {
                        running.push((tick + 5 + chance.below(11), seat));
                        fates[n].served += 1;
                    }
                    Err(shed) => {
                        assert!(all >= floor, "seed {seed}: {shed:?} below the floor at {all}");
                        fates[n].shed += 1;
                        fates[n].wronged += u64::from(own < most / tenants);
                    }
                }
            }
            assert!(held(&admission.seats).all <= most);
        }
        assert_eq!(held(&admission.seats).all, running.len());
        fates
    }

    #[test]
    fn a_greedy_tenant_never_takes_a_fair_one_below_its_share() {
        for seed in 1..=40 {
            // Four fair tenants want an eighth of the places each; the greedy one ten times what all places could serve.
            let fates = simulate(seed * 0x9e37_79b9, 256, 64, &[256, 3, 3, 3, 3], 200);
            assert!(fates[0].shed > fates[0].served, "seed {seed}: the greedy one is held back");
            for (n, fate) in fates.iter().enumerate().skip(1) {
                assert_eq!((fate.shed, fate.wronged), (0, 0), "seed {seed}: tenant {n} had no more than its share");
            }
        }
    }

    #[test]
    fn a_newcomer_finds_room_in_a_house_that_another_has_filled() {
        let admission = Admission::new(256, 64);
        let greedy = Id::from_uuid(uuid::Uuid::from_u128(1));
        let seats: Vec<Seat> = std::iter::from_fn(|| admission.seat(greedy, Priority::High).ok()).collect();
        assert_eq!(seats.len(), 224, "an eighth is left");
        let others: Vec<Seat> = (2..34)
            .map(|n| admission.seat(Id::from_uuid(uuid::Uuid::from_u128(n)), Priority::High).expect("room"))
            .collect();
        assert!(admission.seat(greedy, Priority::High).is_err());
        drop((seats, others));
        assert!(held(&admission.seats).by_tenant.is_empty(), "nobody is remembered who has no call");
    }
}
