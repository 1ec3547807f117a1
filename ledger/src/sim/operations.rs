//! What may happen next. One row an operation: how often, and what it does. A new kind of operation is a row here, a step in
//! `step.rs`, and its meaning in `model.rs`.

use std::time::Duration;

use crate::audit::{Actor, Entry, seal};
use crate::book::{Leg, Terms};
use crate::clock::Timestamp;
use crate::id::{Id, Wallet};
use crate::life::CLAIM_MICROS;
use crate::money::Money;
use crate::order::{Claim, Estimate};
use crate::rows::{ChainId, HoldRow};
use crate::sim::Verdict;
use crate::sim::image::{Purse, head_or_none};
use crate::sim::step::{Step, Who};
use crate::sim::world::{Live, World};
use crate::soft::SoftAction;

type Operation = fn(&mut World) -> Verdict;

const OPERATIONS: [(u64, Operation); 21] = [
    (310, reserve),
    (240, settle),
    (90, grow),
    (40, release),
    (50, refund),
    (40, fund),
    (30, charge),
    (25, correct),
    (10, confirm),
    (25, refuse),
    (15, note),
    (70, repeat),
    (40, repeat_otherwise),
    (15, expire_of_others),
    (8, expire_orphans),
    (4, settle_what_is_not_there),
    (20, change_wallet),
    (12, help_out),
    (30, pass_time),
    (2, crash),
    (2, forget),
];

pub(super) fn one(world: &mut World) -> Verdict {
    let whole = OPERATIONS.iter().map(|(weight, _)| weight).sum();
    let mut lot = world.chance.below(whole);
    for (weight, operation) in OPERATIONS {
        if lot < weight {
            return operation(world);
        }
        lot -= weight;
    }
    Ok(())
}

/// Where nobody is inside a transaction; for what is written by no process.
const NOBODY: usize = usize::MAX;

fn reserve(world: &mut World) -> Verdict {
    if world.live.len() > 150 {
        return settle(world);
    }
    let who = *world.chance.of(&world.people);
    let amount = amount(world, &who);
    let estimate = world.chance.permille(400).then(|| Estimate {
        amount: Money::from_nanos(world.chance.nanos(amount.min(world.scale))),
        elastic: world.chance.permille(500),
    });
    let patient = world.chance.permille(150);
    let extra = if world.chance.permille(120) { beside(world, &who) } else { Vec::new() };
    let downgraded = world.chance.permille(300);
    let claim = world.chance.permille(200).then(|| claim(world));
    let (call, expires_at) = (world.new_id(), world.now.after(Duration::from_secs(660)));
    let process = world.any_process();
    world.ask(process, Step::Reserve { call, who, extra, amount, estimate, patient, downgraded, claim, expires_at });
    Ok(())
}

/// Scopes that cover the call, in any order; now and then one of another organisation, which cannot be.
fn beside(world: &mut World, who: &Who) -> Vec<Id<Wallet>> {
    let foreign = world.chance.permille(50);
    let mut scopes: Vec<Id<Wallet>> =
        world.scopes.iter().filter(|(_, org)| foreign || *org == who.org).map(|(wallet, _)| *wallet).collect();
    if scopes.len() > 1 && world.chance.permille(500) {
        scopes.reverse();
    }
    if scopes.len() > 1 && world.chance.permille(500) {
        scopes.pop();
    }
    scopes
}

/// A few names and bodies for each key, so that they meet.
fn claim(world: &mut World) -> Claim {
    let (name, body) = (world.chance.below(8), world.chance.below(5) / 4);
    Claim { name: [u8::try_from(name).unwrap_or(0); 32], body: [u8::try_from(body).unwrap_or(0); 32] }
}

fn amount(world: &mut World, who: &Who) -> i64 {
    let scale = world.scale;
    match world.chance.below(100) {
        0..4 => 0,
        4..6 => 1,
        6 => i64::MAX,
        7..9 => free(world, who),
        9..13 => free(world, who).saturating_add(1),
        13 => free(world, who) / 3,
        14..18 => world.chance.nanos(scale * 8),
        _ => world.chance.nanos(scale),
    }
}

/// What the chain has free at the moment, to the nano-dollar; of chains without a limit an ordinary amount.
fn free(world: &mut World, who: &Who) -> i64 {
    let leg = |wallet: &Id<Wallet>| Leg { wallet: *wallet, window: world.books.terms[wallet].window.period(world.now) };
    let chain = world.books.chains[&who.wallet].iter();
    let free = chain.map(|wallet| world.books.admitting(&leg(wallet))).min().unwrap_or(0);
    i64::try_from(free).ok().filter(|free| *free < world.scale * 1_000).map_or(world.scale, |free| free.max(0))
}

fn pick(world: &mut World) -> Option<Live> {
    let at = world.chance.index(world.live.len());
    (!world.live.is_empty()).then(|| world.live.swap_remove(at))
}

fn settle(world: &mut World) -> Verdict {
    let Some(live) = pick(world) else { return Ok(()) };
    let price = match world.chance.below(20) {
        0 => 0,
        1..4 => live.amount,
        4..6 => live.amount.saturating_add(1 + world.chance.nanos(20)),
        6 => live.amount.saturating_add(world.chance.nanos(world.scale * 30)),
        7 => live.amount.saturating_add(free(world, &live.who)).saturating_add(world.chance.nanos(world.scale)),
        8..12 => world.chance.nanos(live.amount),
        _ => world.chance.nanos(live.amount.min(world.scale / 2)),
    };
    let price = price.min(1_000_000_000_000_000); // sums of overruns have to be told in 64 bits
    let cost = if world.chance.permille(700) { price } else { world.chance.nanos(world.scale) };
    let record = *world.chance.of(&["{}", r#"{"model":"gpt-4o"}"#, r#"{"model":"gpt-4o","ending":"finished"}"#]);
    world.ask(live.process, Step::Settle { call: live.call, who: live.who, chain: live.chain, cost, price, record });
    Ok(())
}

fn release(world: &mut World) -> Verdict {
    let Some(live) = pick(world) else { return Ok(()) };
    let reason = *world.chance.of(&["provider_error", "provider_timeout"]);
    let cost = if world.chance.permille(200) { world.chance.nanos(world.scale) } else { 0 };
    world.ask(live.process, Step::Release { call: live.call, who: live.who, chain: live.chain, cost, reason });
    Ok(())
}

fn grow(world: &mut World) -> Verdict {
    if world.live.is_empty() {
        return Ok(());
    }
    let live = *world.chance.of(&world.live);
    let by = match world.chance.below(8) {
        0 => 0,
        1 => free(world, &live.who),
        2 => free(world, &live.who).saturating_add(1),
        _ => world.chance.nanos(world.scale / 4),
    };
    let stale = world.chance.permille(80);
    let from = if stale { live.amount.saturating_sub(world.chance.nanos(live.amount)) } else { live.amount };
    let Some(to) = from.checked_add(by) else { return Ok(()) };
    let patient = world.chance.permille(300);
    world.ask(live.process, Step::Grow { call: live.call, who: live.who, chain: live.chain, from, to, patient });
    Ok(())
}

fn refund(world: &mut World) -> Verdict {
    if world.ended.is_empty() {
        return Ok(());
    }
    let at = world.chance.index(world.ended.len());
    let (call, who, chain) = world.ended[at];
    let amount = match world.chance.below(6) {
        0..2 => None,
        2 => Some(1 + world.chance.nanos(world.scale * 20)),
        _ => Some(1 + world.chance.nanos(world.scale / 10)),
    };
    let reason = *world.chance.of(&["wrong answer", "goodwill"]);
    let (id, process) = (world.new_id(), world.any_process());
    world.ask(process, Step::Refund { id, call, who, chain, amount, reason });
    Ok(())
}

fn fund(world: &mut World) -> Verdict {
    world.numbered += 1;
    let prepaid: Vec<_> = world.wallets.iter().copied().filter(|(it, _)| world.books.terms[it].prepaid).collect();
    let of = if prepaid.is_empty() || world.chance.permille(200) { &world.wallets } else { &prepaid };
    let (mut wallet, org) = *world.chance.of(of);
    let reference = format!("payment {}", world.numbered);
    let amount = if world.chance.permille(2) { i64::MAX } else { 1 + world.chance.nanos(world.scale * 100) };
    if world.chance.permille(20) {
        wallet = world.new_id();
    } else if world.chance.permille(50) && amount < i64::MAX {
        // The same payment is told to two processes at once, for what may be two wallets.
        let ((wallet, org), process) = (*world.chance.of(&world.wallets), world.any_process());
        world.ask(process, Step::Fund { org, wallet, amount: world.scale, reference: reference.clone() });
        world.processes[process].others.rotate_right(1);
        world.turn(process)?;
    }
    let process = world.any_process();
    world.ask(process, Step::Fund { org, wallet, amount, reference });
    Ok(())
}

/// Mostly for a reference of its own.
fn charge(world: &mut World) -> Verdict {
    world.numbered += 1;
    let who = *world.chance.of(&world.people);
    let price = amount(world, &who);
    let cost = world.chance.nanos(world.scale);
    let (call, keyed, process) = (world.new_id(), world.chance.permille(500), world.any_process());
    // Another organisation, or another charge, may have used it.
    let reference = format!("ticket {}", world.numbered - u64::from(world.chance.permille(100)));
    world.ask(process, Step::Charge { call, who, keyed, cost, price, reference });
    Ok(())
}

fn correct(world: &mut World) -> Verdict {
    if world.ended.is_empty() {
        return Ok(());
    }
    let at = world.chance.index(world.ended.len());
    let (call, who, chain) = world.ended[at];
    let price = match world.chance.below(4) {
        0 => 0,
        1 => free(world, &who).saturating_add(world.chance.nanos(world.scale * 2)),
        _ => world.chance.nanos(world.scale),
    };
    let reason = *world.chance.of(&["a price was wrong", "usage was wrong"]);
    let (id, cost, process) = (world.new_id(), world.chance.nanos(world.scale), world.any_process());
    world.ask(process, Step::Correct { id, call, who, chain, cost, price, reason });
    Ok(())
}

fn confirm(world: &mut World) -> Verdict {
    if world.ended.is_empty() {
        return Ok(());
    }
    let at = world.chance.index(world.ended.len());
    let (call, who, chain) = world.ended[at];
    let process = world.any_process();
    world.ask(process, Step::Confirm { call, who, chain });
    Ok(())
}

fn refuse(world: &mut World) -> Verdict {
    let who = *world.chance.of(&world.people);
    let code = *world.chance.of(&["policy_denied", "content_policy_violation"]);
    let (call, process) = (world.new_id(), world.any_process());
    world.ask(process, Step::Refuse { call, who, code });
    Ok(())
}

fn note(world: &mut World) -> Verdict {
    world.numbered += 1;
    let (org, number, process) = (world.chance.of(&world.people).org, world.numbered, world.any_process());
    world.ask(process, Step::Record { org, number });
    Ok(())
}

fn remembered(world: &mut World) -> Option<Step> {
    let at = world.chance.index(world.history.len());
    // A note has no id of its own.
    world.history.get(at).filter(|step| !matches!(step, Step::Record { .. })).cloned()
}

/// The same once more, of whatever process.
fn repeat(world: &mut World) -> Verdict {
    let Some(step) = remembered(world) else { return Ok(()) };
    let process = world.any_process();
    world.ask(process, step);
    Ok(())
}

/// The same id with other content.
fn repeat_otherwise(world: &mut World) -> Verdict {
    let Some(mut step) = remembered(world) else { return Ok(()) };
    let half = world.chance.permille(500);
    match &mut step {
        // A call that was told is known to the database: then even another wallet may be named.
        Step::Reserve { call, who, extra, amount, claim, .. } => {
            let told = world.live.iter().any(|live| live.call == *call) || world.ended.iter().any(|it| it.0 == *call);
            match world.chance.below(3) {
                0 if told && extra.is_empty() => *who = *world.chance.of(&world.people),
                1 => *claim = None,
                _ => *amount = amount.saturating_add(1),
            }
        }
        Step::Grow { to, .. } => *to = to.saturating_add(1),
        Step::Settle { cost, price, .. } => *(if half { cost } else { price }) += 1,
        Step::Release { call, who, chain, cost, .. } if half => {
            step = Step::Settle { call: *call, who: *who, chain: *chain, cost: *cost, price: *cost, record: "{}" };
        }
        Step::Release { reason, .. } => *reason = "provider_unavailable",
        Step::Refuse { who, .. } => *who = *world.chance.of(&world.people),
        Step::Refund { amount, .. } if half => *amount = Some(amount.unwrap_or(0) + 1),
        Step::Refund { reason, .. } => *reason = "another reason",
        Step::Charge { cost, price, .. } => *(if half { cost } else { price }) /= 2,
        Step::Correct { price, .. } if half => *price = price.saturating_add(1),
        Step::Correct { reason, .. } => *reason = "another reason",
        Step::Fund { amount, .. } if half => *amount = amount.saturating_sub(1).max(1),
        Step::Fund { org, wallet, .. } if world.books.orgs.contains_key(wallet) => {
            (*wallet, *org) = *world.chance.of(&world.wallets);
        }
        _ => {}
    }
    let process = world.any_process();
    world.ask(process, step);
    Ok(())
}

/// A process that lives is thought lost: its settlement will come late.
fn expire_of_others(world: &mut World) -> Verdict {
    if world.live.is_empty() {
        return Ok(());
    }
    let live = *world.chance.of(&world.live);
    let process = world.any_process();
    world.ask(process, Step::Expire { call: live.call, who: live.who, chain: live.chain });
    Ok(())
}

fn expire_orphans(world: &mut World) -> Verdict {
    let orphans = world.image.orphans(&world.alive(), world.now);
    let process = world.any_process();
    for HoldRow { call, org, key, wallet, chain, .. } in orphans {
        world.ask(process, Step::Expire { call, who: Who { org, key, wallet }, chain });
    }
    Ok(())
}

fn settle_what_is_not_there(world: &mut World) -> Verdict {
    let who = *world.chance.of(&world.people);
    let (call, process) = (world.new_id(), world.any_process());
    let (cost, price) = (0, world.chance.nanos(world.scale));
    world.ask(process, Step::Settle { call, who, chain: ChainId::leaf(who.wallet), cost, price, record: "{}" });
    Ok(())
}

/// An operator changes limits, window or status, in a transaction of its own.
fn change_wallet(world: &mut World) -> Verdict {
    let (wallet, _) = *world.chance.of(&world.wallets);
    change(world, wallet, false)
}

/// The wallet that refused last may spend again: without this an economy comes to a stop.
fn help_out(world: &mut World) -> Verdict {
    let Some(wallet) = world.starved.take() else { return Ok(()) };
    if world.books.terms[&wallet].prepaid {
        world.numbered += 1;
        let (org, reference) = (world.image.wallets[&wallet].org, format!("payment {}", world.numbered));
        let (amount, process) = (world.scale.saturating_mul(200), world.any_process());
        world.ask(process, Step::Fund { org, wallet, amount, reference });
    }
    change(world, wallet, true)
}

fn change(world: &mut World, wallet: Id<Wallet>, generous: bool) -> Verdict {
    let org = world.image.wallets[&wallet].org;
    let chain = org.to_string();
    if world.processes.len() == 1 && world.processes[0].is_deciding() {
        return Ok(()); // on SQLite one transaction writes at a time
    }
    if world.image.is_locked(wallet, NOBODY) || world.image.is_head_locked(&chain, NOBODY) {
        return Ok(()); // it waits; another one will come
    }
    let old = Terms::clone(&world.books.terms[&wallet]);
    let leg = Leg { wallet, window: old.window.period(world.now) };
    let pot = world.books.pots.get(&leg).copied().unwrap_or_default();
    let used = i64::try_from(pot.spent + pot.held).unwrap_or(0).clamp(0, i64::MAX / 2);
    let fresh = world.terms(used);
    if old.closed {
        return Ok(());
    }
    let busy = |hold: &HoldRow| world.image.is_in(wallet, hold.chain);
    let parent = world.image.wallets.values().any(|purse| purse.chain[1..].contains(&wallet));
    let closes = world.chance.permille(5) && !parent && !world.image.holds.values().any(|(hold, _)| busy(hold));
    let new = match world.chance.below(16) {
        _ if generous => Terms {
            suspended: false,
            hard_limit: Some(Money::from_nanos(used.saturating_add(world.scale.saturating_mul(500)))),
            soft_action: SoftAction::Warn,
            ..old
        },
        _ if closes => Terms { suspended: true, closed: true, ..old },
        0 => Terms { suspended: true, ..old },
        1..4 => Terms { suspended: false, ..old },
        4..6 => Terms { window: fresh.window, ..old },
        6..8 => Terms { soft_limit: fresh.soft_limit, thresholds: fresh.thresholds, ..old },
        8 => Terms { soft_action: fresh.soft_action, ..old },
        _ => Terms { hard_limit: fresh.hard_limit, suspended: false, ..old },
    };
    world.tell(|| format!("{wallet} is changed to {new:?}"));
    let entry = Entry::new(Some(org), "WALLET_CHANGED", Actor::System).text("wallet_id", wallet);
    let (seq, hash) = head_or_none(world.image.head(&chain));
    let at_text = format!("\"{}\"", world.now);
    let sealed = seal(&entry, "WALLET_CHANGED", &[], (world.now, &at_text), seq + 1, hash);
    if let Some(mirror) = &mut world.mirror {
        let purse = Purse { terms: Terms::clone(&new), ..world.image.wallets[&wallet].clone() };
        mirror.change(wallet, &purse, &entry, world.now, sealed.seq, &sealed.hash)?;
    }
    world.image.append(sealed);
    world.books.terms.insert(wallet, Terms::clone(&new));
    if let Some(purse) = world.image.wallets.get_mut(&wallet) {
        purse.terms = new;
    }
    Ok(())
}

/// Mostly moments, sometimes the edge of a day, sometimes weeks.
fn pass_time(world: &mut World) -> Verdict {
    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;
    let by = match world.chance.below(100) {
        0 => world.chance.nanos(20 * DAY),
        1..4 => DAY - world.now.micros().rem_euclid(DAY) - SECOND + world.chance.nanos(2 * SECOND),
        4..12 => world.chance.nanos(3_600 * SECOND),
        _ => world.chance.nanos(2 * SECOND),
    };
    world.now = Timestamp::from_micros(world.now.micros() + by.max(0));
    Ok(())
}

fn crash(world: &mut World) -> Verdict {
    let process = world.any_process();
    world.tell(|| format!("process {process} crashes"));
    world.crash(process)
}

/// Old idempotency keys are forgotten; those that bind by no process's clock.
fn forget(world: &mut World) -> Verdict {
    if world.processes.iter().any(super::process::Process::is_deciding) {
        return Ok(());
    }
    let before = Timestamp::from_micros(world.now.micros() - CLAIM_MICROS - 5_000_000);
    world.image.claims.retain(|_, row| row.at >= before);
    world.books.forget(before);
    match &mut world.mirror {
        Some(mirror) => mirror.forget(before),
        None => Ok(()),
    }
}
