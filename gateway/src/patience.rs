//! A call that does not fit only because of what others hold may wait for them: so long, so many, in order.
//!
//! There is a line for each wallet that said no. Its first tries again whenever a call of that organisation has ended; the
//! others wait for their turn, and new calls on a wallet that is in a line join it behind them. Nobody takes money past the first.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::{Id, Money, Order, Org, OverLimit, Reserved, Wallet};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::case::Case;
use crate::close::written;
use crate::refusal::Refusal;

/// More are refused at once: each keeps a place among the calls in flight, and its request in memory.
const MOST_WAITING: usize = 1_024;
/// What other processes, operators or the calendar set free is seen by looking.
const GLANCE: Duration = Duration::from_millis(200);

/// Sets money aside; waits for it if the house is set up so, and nothing else is in the way.
pub async fn reserve(app: &App, order: Order, gone: &CancellationToken, case: &mut Case) -> Result<Reserved, Refusal> {
    let wait = app.patience.wait.min(case.total.saturating_sub(case.started.elapsed()));
    if wait.is_zero() {
        return app.reserve(order).await;
    }
    let (org, wallet) = (order.org, order.wallet);
    // What costs nothing takes nothing from those who wait. What has a claim may have been answered before, or never will be: to
    // know that it is tried once.
    let joins = order.amount > Money::ZERO && order.claim.is_none();
    let behind = if joins { app.patience.join_behind(org, wallet) } else { None };
    let place = match behind {
        Some(Ok(place)) => place,
        Some(Err(full)) => return Err(turned_away(app, &order, full, case).await),
        None => {
            let over = match app.try_reserve(order.clone()).await? {
                Ok(reserved) => return Ok(reserved),
                Err(over) => over,
            };
            match app.patience.join(over, org, wallet) {
                Some(place) => place,
                None if app.patience.has_line(over.wallet) => return Err(turned_away(app, &order, over, case).await),
                None => return app.reserve(order).await,
            }
        }
    };
    let began = Instant::now();
    let reserved = wait_for(app, &place, wait, order, gone, case).await;
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
    case: &mut Case,
) -> Result<Reserved, Refusal> {
    let time_is_up = tokio::time::sleep(wait);
    tokio::pin!(time_is_up);
    loop {
        tokio::select! {
            biased;
            // Whoever is not there to be answered takes nothing, not even what is free.
            () = gone.cancelled() => return Err(written(app, case, Refusal::ClientLeft).await),
            () = app.stopping.cancelled() => return Err(written(app, case, Refusal::Overloaded).await),
            () = &mut time_is_up => break,
            () = place.turn() => {}
        }
        match app.try_reserve(order.clone()).await? {
            Ok(reserved) => return Ok(reserved),
            Err(over) => place.told(over),
        }
    }
    match place.last_word() {
        // The last try is a plain one, so that its refusal is written down.
        None => app.reserve(order).await,
        Some(over) => Err(turned_away(app, &order, over, case).await),
    }
}

/// A refusal without another try: that could take money past those who were first.
async fn turned_away(app: &App, order: &Order, over: OverLimit, case: &mut Case) -> Refusal {
    let asked = order.estimate.map_or(order.amount, |estimate| estimate.amount.min(order.amount));
    written(app, case, Refusal::OverBudget(Box::new(OverLimit { asked, ..over }))).await
}

/// Who waits, and for which wallet.
pub struct Patience {
    wait: Duration,
    /// How many may wait in all, and of one organisation: an answer needs a place among the calls in flight as well.
    most: usize,
    most_of_one: usize,
    /// So that nobody looks further while nobody waits.
    waiting: AtomicUsize,
    lines: Mutex<HashMap<Id<Wallet>, Line>>,
}

struct Line {
    org: Id<Org>,
    /// What the line's wallet said last.
    over: OverLimit,
    waiting: VecDeque<Arc<Waiter>>,
}

struct Waiter {
    /// The caller's own wallet: the line's, or one below it.
    wallet: Id<Wallet>,
    /// Only the first is called.
    called: Notify,
}

impl Patience {
    /// Half of the calls in flight may wait, and a quarter of those in one organisation.
    pub fn new(wait: Duration, max_in_flight: usize) -> Patience {
        let most = (max_in_flight / 2).clamp(1, MOST_WAITING);
        Patience { wait, most, most_of_one: (most / 4).max(1), waiting: AtomicUsize::new(0), lines: Mutex::default() }
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

    /// A place at the end of the line for the wallet that said no, unless too many wait already.
    fn join(&self, over: OverLimit, org: Id<Org>, wallet: Id<Wallet>) -> Option<Place<'_>> {
        self.enter(&mut self.lines(), over, org, wallet)
    }

    /// A place in the line that this wallet is in already; where too many wait, what that line's wallet said last.
    fn join_behind(&self, org: Id<Org>, wallet: Id<Wallet>) -> Option<Result<Place<'_>, OverLimit>> {
        if self.waiting() == 0 {
            return None;
        }
        let mut lines = self.lines();
        let is_in = |line: &Line| line.org == org && line.waiting.iter().any(|waiter| waiter.wallet == wallet);
        let over = lines.iter().find(|(of, line)| **of == wallet || is_in(line)).map(|(_, line)| line.over)?;
        Some(self.enter(&mut lines, over, org, wallet).ok_or(over))
    }

    /// Whether anybody waits for this wallet.
    fn has_line(&self, wallet: Id<Wallet>) -> bool {
        self.lines().contains_key(&wallet)
    }

    fn enter(
        &self,
        lines: &mut HashMap<Id<Wallet>, Line>,
        over: OverLimit,
        org: Id<Org>,
        wallet: Id<Wallet>,
    ) -> Option<Place<'_>> {
        let line = over.wallet;
        let of_one: usize = lines.values().filter(|line| line.org == org).map(|line| line.waiting.len()).sum();
        if self.waiting() >= self.most || of_one >= self.most_of_one {
            return None;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiter = Arc::new(Waiter { wallet, called: Notify::new() });
        let joined = lines.entry(line).or_insert_with(|| Line { org, over, waiting: VecDeque::new() });
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
    fn is_led_by(&self, waiter: &Arc<Waiter>) -> bool {
        self.waiting.front().is_some_and(|first| Arc::ptr_eq(first, waiter))
    }

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
        self.patience.lines().get(&self.line).is_some_and(|line| line.is_led_by(&self.waiter))
    }

    /// Remembers what was said to a try, for those behind.
    fn told(&self, over: OverLimit) {
        if over.wallet == self.line
            && let Some(line) = self.patience.lines().get_mut(&self.line)
        {
            line.over = over;
        }
    }

    /// What is answered to this one when its time is up; nothing for the first, who may try once more.
    fn last_word(&self) -> Option<OverLimit> {
        let lines = self.patience.lines();
        lines.get(&self.line).filter(|line| !line.is_led_by(&self.waiter)).map(|line| line.over)
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

    fn over(line: u128) -> OverLimit {
        OverLimit {
            wallet: wallet(line),
            limit: Money::from_nanos(10),
            spent: Money::ZERO,
            held: Money::from_nanos(9),
            asked: Money::from_nanos(2),
            window: ledger::Window::None,
            resets_at: None,
        }
    }

    fn patience(max_in_flight: usize) -> Patience {
        Patience::new(Duration::from_secs(1), max_in_flight)
    }

    fn is_called(place: &Place<'_>) -> bool {
        place.turn().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_first_is_called_when_money_is_freed_and_the_next_when_it_has_gone() {
        let patience = patience(1_000);
        let join = |of| patience.join(over(1), org(1), wallet(of)).expect("room");
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
        let patience = patience(1_000);
        assert!(patience.join_behind(org(1), wallet(2)).is_none(), "nobody waits");
        let first = patience.join(over(1), org(1), wallet(2)).expect("room");
        let join = |of| patience.join_behind(org(1), wallet(of)).expect("a line").expect("room");
        let behind = join(2);
        let on_the_line = join(1);
        assert!(patience.join_behind(org(1), wallet(3)).is_none(), "a wallet that nobody refused");
        drop(first);
        assert!(is_called(&behind) && !is_called(&on_the_line));
    }

    #[test]
    fn only_the_first_may_try_when_its_time_is_up_and_others_are_told_what_it_was_told() {
        let patience = patience(1_000);
        let first = patience.join(over(1), org(1), wallet(2)).expect("room");
        let second = patience.join(over(1), org(1), wallet(3)).expect("room");
        assert_eq!((first.last_word(), second.last_word()), (None, Some(over(1))));
        let less = OverLimit { held: Money::from_nanos(10), ..over(1) };
        first.told(less);
        first.told(over(2));
        assert_eq!(second.last_word(), Some(less), "and nothing of a wallet that may not be its own");
        drop(first);
        assert_eq!(second.last_word(), None, "now it is the first");
    }

    #[test]
    fn so_many_wait_and_no_more() {
        for (in_flight, most, most_of_one) in
            [(1, 1, 1), (8, 4, 1), (100, 50, 12), (4_096, 1_024, 256), (9_999, 1_024, 256)]
        {
            let patience = patience(in_flight);
            let join = |n: usize| patience.join(over(n as u128), org((n / most_of_one) as u128), wallet(n as u128));
            let mut places: Vec<_> = (0..most_of_one).map(|n| join(n).expect("room")).collect();
            assert!(join(0).is_none(), "{in_flight}: as many of one organisation as may wait");
            let behind = patience.join_behind(org(0), wallet(0)).map(|joined| joined.map(drop));
            assert_eq!(behind, Some(Err(over(0))), "{in_flight}: told what the line was told");
            places.extend((most_of_one..most).map(|n| join(n).expect("room")));
            assert!(join(9_999).is_none(), "{in_flight}: as many as may wait");
            places.pop();
            assert!(join(9_999).is_some(), "{in_flight}: room again");
        }
    }
}
