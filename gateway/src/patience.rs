//! A call that does not fit only because of what others hold may wait for them: so long, so many, in order.
//!
//! There is a line for each wallet that said no. Its first tries again whenever a call of that organisation has ended; the
//! others wait for their turn, and new calls on a wallet that is in a line join it behind them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::{Id, Money, Order, Org, Reserved, Wallet};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::case::Case;
use crate::refusal::Refusal;

/// More are refused at once: each keeps a place among the calls in flight, and its request in memory.
const MOST_WAITING: usize = 1_024;
/// What other processes, operators or the calendar set free is seen by looking.
const GLANCE: Duration = Duration::from_millis(200);

/// Sets money aside; waits for it if the house is set up so, and nothing else is in the way.
pub async fn reserve(app: &App, order: Order, gone: &CancellationToken, case: &mut Case) -> Result<Reserved, Refusal> {
    let wait = app.patience.wait.min(app.deadlines.total().saturating_sub(case.started.elapsed()));
    if wait.is_zero() {
        return app.reserve(order).await;
    }
    let (org, wallet) = (order.org, order.wallet);
    // What costs nothing takes nothing from those who wait.
    let behind = (order.amount > Money::ZERO).then(|| app.patience.join_behind(org, wallet)).flatten();
    let place = match behind {
        Some(place) => place,
        None => {
            let over = match app.try_reserve(order.clone()).await? {
                Ok(reserved) => return Ok(reserved),
                Err(over) => over,
            };
            match app.patience.join(over.wallet, org, wallet) {
                Some(place) => place,
                None => return app.reserve(order).await,
            }
        }
    };
    let began = Instant::now();
    let reserved = wait_for(app, &place, wait, order, gone).await;
    // It was others' time, not ours.
    case.upstream += began.elapsed();
    reserved
}

async fn wait_for(
    app: &App,
    place: &Place<'_>,
    wait: Duration,
    order: Order,
    gone: &CancellationToken,
) -> Result<Reserved, Refusal> {
    let over = tokio::time::sleep(wait);
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            () = &mut over => break,
            () = gone.cancelled() => break,
            () = app.stopping.cancelled() => break,
            () = place.turn() => {}
        }
        if let Ok(reserved) = app.try_reserve(order.clone()).await? {
            return Ok(reserved);
        }
    }
    // The last try is a plain one, so that its refusal is written down.
    app.reserve(order).await
}

/// Who waits, and for which wallet.
pub struct Patience {
    wait: Duration,
    /// So that nobody looks further while nobody waits.
    waiting: AtomicUsize,
    lines: Mutex<HashMap<Id<Wallet>, Line>>,
}

struct Line {
    org: Id<Org>,
    waiting: VecDeque<Arc<Waiter>>,
}

struct Waiter {
    /// The caller's own wallet: the line's, or one below it.
    wallet: Id<Wallet>,
    /// Only the first is called.
    called: Notify,
}

impl Patience {
    pub fn new(wait: Duration) -> Patience {
        Patience { wait, waiting: AtomicUsize::new(0), lines: Mutex::default() }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Something in this organisation is no longer held.
    pub fn freed(&self, org: Id<Org>) {
        if self.waiting() == 0 {
            return;
        }
        for line in self.lines().values().filter(|line| line.org == org) {
            line.call_first();
        }
    }

    /// A place at the end of a line, unless too many wait already.
    fn join(&self, line: Id<Wallet>, org: Id<Org>, wallet: Id<Wallet>) -> Option<Place<'_>> {
        self.enter(&mut self.lines(), line, org, wallet)
    }

    /// A place in the line that this wallet is in already.
    fn join_behind(&self, org: Id<Org>, wallet: Id<Wallet>) -> Option<Place<'_>> {
        if self.waiting() == 0 {
            return None;
        }
        let mut lines = self.lines();
        let is_in = |line: &Line| line.org == org && line.waiting.iter().any(|waiter| waiter.wallet == wallet);
        let line = lines.iter().find(|(of, line)| **of == wallet || is_in(line)).map(|(of, _)| *of)?;
        self.enter(&mut lines, line, org, wallet)
    }

    fn enter(
        &self,
        lines: &mut HashMap<Id<Wallet>, Line>,
        line: Id<Wallet>,
        org: Id<Org>,
        wallet: Id<Wallet>,
    ) -> Option<Place<'_>> {
        if self.waiting() >= MOST_WAITING {
            return None;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiter = Arc::new(Waiter { wallet, called: Notify::new() });
        let joined = lines.entry(line).or_insert_with(|| Line { org, waiting: VecDeque::new() });
        joined.waiting.push_back(Arc::clone(&waiter));
        // What was freed since the first of a line was refused would never be heard of.
        if joined.waiting.len() == 1 {
            joined.call_first();
        }
        Some(Place { patience: self, line, waiter })
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Id<Wallet>, Line>> {
        // Nothing between lock and unlock can fail half-way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn call_first(&self) {
        if let Some(first) = self.waiting.front() {
            first.called.notify_one();
        }
    }
}

/// A place in a line. Given up, the next one moves up.
struct Place<'a> {
    patience: &'a Patience,
    line: Id<Wallet>,
    waiter: Arc<Waiter>,
}

impl Place<'_> {
    /// Returns when it is worth trying: this one is the first, and something may have been freed.
    async fn turn(&self) {
        let called = self.waiter.called.notified();
        if self.is_first() {
            let _ = tokio::time::timeout(GLANCE, called).await;
        } else {
            called.await;
        }
    }

    fn is_first(&self) -> bool {
        let lines = self.patience.lines();
        let first = lines.get(&self.line).and_then(|line| line.waiting.front());
        first.is_some_and(|first| Arc::ptr_eq(first, &self.waiter))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.patience.lines();
        self.patience.waiting.fetch_sub(1, Ordering::SeqCst);
        let Some(line) = lines.get_mut(&self.line) else { return };
        let Some(at) = line.waiting.iter().position(|waiter| Arc::ptr_eq(waiter, &self.waiter)) else { return };
        line.waiting.remove(at);
        match line.waiting.is_empty() {
            true => drop(lines.remove(&self.line)),
            false if at == 0 => line.call_first(),
            false => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn wallet(n: u128) -> Id<Wallet> {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn org(n: u128) -> Id<Org> {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn is_called(place: &Place<'_>) -> bool {
        place.turn().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_first_is_called_when_money_is_freed_and_the_next_when_it_has_gone() {
        let patience = Patience::new(Duration::from_secs(1));
        let root = wallet(1);
        let join = |of| patience.join(root, org(1), wallet(of)).expect("room");
        let (first, second, third) = (join(2), join(3), join(2));
        assert!(is_called(&first), "what was freed before it stood in line");
        for place in [&first, &second, &third] {
            assert!(!is_called(place), "nothing was freed");
        }
        patience.freed(org(2));
        assert!(!is_called(&first), "another organisation's money");
        patience.freed(org(1));
        assert!(!is_called(&second) && !is_called(&third), "not their turn");
        assert!(is_called(&first));
        drop(second);
        assert!(!is_called(&first) && !is_called(&third), "one less between them");
        drop(first);
        assert!(is_called(&third), "there may be more than the first needed");
        drop(third);
        assert!(patience.lines().is_empty());
        patience.freed(org(1));
    }

    #[tokio::test]
    async fn a_new_call_on_a_wallet_that_waits_joins_behind_and_others_do_not() {
        let patience = Patience::new(Duration::from_secs(1));
        assert!(patience.join_behind(org(1), wallet(2)).is_none(), "nobody waits");
        let first = patience.join(wallet(1), org(1), wallet(2)).expect("room");
        let behind = patience.join_behind(org(1), wallet(2)).expect("its wallet is in line");
        let on_the_line = patience.join_behind(org(1), wallet(1)).expect("the line's own wallet");
        assert!(patience.join_behind(org(1), wallet(3)).is_none(), "a wallet that nobody refused");
        drop(first);
        assert!(is_called(&behind) && !is_called(&on_the_line));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let patience = Patience::new(Duration::from_secs(1));
        let join = |n| patience.join(wallet(n % 7), org(1), wallet(n));
        let mut places: Vec<_> = (0..MOST_WAITING as u128).map(|n| join(n).expect("room")).collect();
        assert!(join(1).is_none() && patience.join_behind(org(1), wallet(1)).is_none());
        places.pop();
        assert!(join(1).is_some());
    }
}
