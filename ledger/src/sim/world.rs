//! A small economy: organisations, wallets, keys, processes on one database, and all that goes on between them.

use std::collections::{BTreeSet, VecDeque};

use crate::batch::{Answer, Taken};
use crate::book::Terms;
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::error::{OverLimit, ReserveError};
use crate::id::{Call, Id, Kind, Org, Wallet};
use crate::money::Money;
use crate::rows::ChainId;
use crate::sim::chance::Chance;
use crate::sim::check::{Checker, trail};
use crate::sim::image::{Fault, Image, Purse};
use crate::sim::mirror::Mirror;
use crate::sim::model::Books;
use crate::sim::process::Process;
use crate::sim::step::{Desk, Step, Who};
use crate::sim::{Verdict, operations};
use crate::soft::{SoftAction, Threshold, Thresholds};
use crate::window::{Calendar, Window};

/// How many calls, operations and batches are remembered, to be repeated, refunded, or told when something is wrong.
const REMEMBERED: usize = 256;
const SHOWN: usize = 24;
/// Operations between two looks at everything.
const WHOLE: u64 = 10_000;
/// 2026-03-11 12:00, a Wednesday.
const NOON: Timestamp = Timestamp::from_micros(1_773_230_400_000_000);

/// A hold that its caller has in hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    pub process: usize,
    pub call: Id<Call>,
    pub who: Who,
    pub chain: ChainId,
    pub amount: i64,
}

/// How large a world is made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    pub fault: Option<Fault>,
    /// One process only, as on SQLite.
    pub alone: bool,
}

/// What happened, to see that all of it did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub operations: u64,
    pub batches: u64,
    pub held: u64,
    pub refused: u64,
    pub replays: u64,
    pub resolved: u64,
    pub refunded: u64,
    pub funded: u64,
    pub errors: u64,
    pub failures: u64,
    pub doubts: u64,
    pub collisions: u64,
    pub crashes: u64,
    pub overruns: u64,
    pub adjusted: u64,
    pub charged: u64,
    pub corrected: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        let Tally { operations, batches, held, refused, replays, resolved, refunded, funded, .. } = other;
        let Tally { errors, failures, doubts, collisions, crashes, overruns, adjusted, charged, corrected, .. } = other;
        let pairs = [
            (&mut self.operations, operations),
            (&mut self.batches, batches),
            (&mut self.held, held),
            (&mut self.refused, refused),
            (&mut self.replays, replays),
            (&mut self.resolved, resolved),
            (&mut self.refunded, refunded),
            (&mut self.funded, funded),
            (&mut self.errors, errors),
            (&mut self.failures, failures),
            (&mut self.doubts, doubts),
            (&mut self.collisions, collisions),
            (&mut self.crashes, crashes),
            (&mut self.overruns, overruns),
            (&mut self.adjusted, adjusted),
            (&mut self.charged, charged),
            (&mut self.corrected, corrected),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

pub(super) struct World {
    pub chance: Chance,
    pub now: Timestamp,
    pub image: Image,
    pub books: Books,
    pub checker: Checker,
    pub desk: Desk,
    pub entropy: Entropy,
    pub processes: Vec<Process>,
    pub people: Vec<Who>,
    pub wallets: Vec<(Id<Wallet>, Id<Org>)>,
    /// Wallets beside the chains.
    pub scopes: Vec<(Id<Wallet>, Id<Org>)>,
    /// What an ordinary call is held for, at most.
    pub scale: i64,
    pub live: Vec<Live>,
    pub ended: VecDeque<(Id<Call>, Who, ChainId)>,
    /// The wallet that refused last.
    pub starved: Option<Id<Wallet>>,
    pub history: VecDeque<Step>,
    pub mirror: Option<Mirror>,
    pub tally: Tally,
    pub numbered: u64,
    shown: VecDeque<String>,
    showing: bool,
}

impl World {
    pub fn new(seed: u64, shape: Shape) -> World {
        let mut chance = Chance::new(seed);
        let scale = 10_i64.pow(3 + u32::try_from(chance.below(7)).unwrap_or(0));
        let mut world = World {
            now: NOON,
            image: Image::new(shape.fault),
            books: Books::default(),
            checker: Checker::default(),
            desk: Desk::new(),
            entropy: Entropy::seeded(seed),
            processes: Vec::new(),
            people: Vec::new(),
            wallets: Vec::new(),
            scopes: Vec::new(),
            scale,
            live: Vec::new(),
            ended: VecDeque::new(),
            starved: None,
            history: VecDeque::new(),
            mirror: None,
            tally: Tally::default(),
            numbered: 0,
            shown: VecDeque::new(),
            showing: false,
            chance,
        };
        for _ in 0..=world.chance.index(3) {
            world.organisation();
        }
        let processes = if shape.alone { 1 } else { 2 + world.chance.index(3) };
        for _ in 0..processes {
            let (instance, skew) = (world.new_id(), world.chance.nanos(4_000_000) - 2_000_000);
            world.processes.push(Process::new(instance, skew));
        }
        world
    }

    /// An organisation with a few wallets, up to five deep, and keys on most of them.
    fn organisation(&mut self) {
        let org: Id<Org> = self.new_id();
        let mut made: Vec<Id<Wallet>> = Vec::new();
        for _ in 0..3 + self.chance.index(7) {
            let wallet: Id<Wallet> = self.new_id();
            let parent = (!made.is_empty() && !self.chance.permille(120)).then(|| *self.chance.of(&made));
            let above = parent.map(|parent| self.image.wallets[&parent].chain.clone()).unwrap_or_default();
            if above.len() >= 5 {
                continue;
            }
            let chain: Vec<Id<Wallet>> = std::iter::once(wallet).chain(above).collect();
            self.wallet(wallet, org, chain);
            made.push(wallet);
            if made.len() < 3 || self.chance.permille(700) {
                let key = self.new_id();
                self.people.push(Who { org, key, wallet });
            }
        }
        for _ in 0..self.chance.index(3) {
            let wallet: Id<Wallet> = self.new_id();
            self.wallet(wallet, org, vec![wallet]);
            self.scopes.push((wallet, org));
        }
    }

    fn wallet(&mut self, wallet: Id<Wallet>, org: Id<Org>, chain: Vec<Id<Wallet>>) {
        let terms = Terms { prepaid: self.chance.permille(200), ..self.terms(0) };
        self.books.orgs.insert(wallet, org);
        self.books.chains.insert(wallet, chain.clone());
        self.books.terms.insert(wallet, Terms::clone(&terms));
        self.image.make(wallet, Purse { org, chain, terms });
        self.wallets.push((wallet, org));
    }

    /// What a wallet may allow, that has used so much already.
    pub fn terms(&mut self, used: i64) -> Terms {
        let hard = match self.chance.below(20) {
            0..6 => None,
            6 => Some(if used == 0 { self.scale } else { self.chance.nanos(used) }),
            7 => Some(used + self.chance.nanos(1)),
            _ => Some(used + self.chance.nanos(self.scale * 400)),
        };
        let most = hard.unwrap_or(used + self.scale * 20);
        let soft = self.chance.permille(500).then(|| Money::from_nanos(self.chance.nanos(most)));
        let action = match self.chance.below(8) {
            0 => SoftAction::Block,
            1..3 => SoftAction::Downgrade,
            _ => SoftAction::Warn,
        };
        let thresholds = if self.chance.permille(300) {
            let amount = Threshold::Amount(Money::from_nanos(self.chance.nanos(most)));
            let percent = ["50%", "80%", "99.5%", "100%"].map(|text| text.parse().expect("a percentage"));
            Thresholds::new(&[amount, *self.chance.of(&percent), *self.chance.of(&percent)]).expect("three")
        } else {
            Thresholds::default()
        };
        Terms {
            hard_limit: hard.map(Money::from_nanos),
            soft_limit: soft,
            thresholds,
            soft_action: action,
            window: self.calendar(),
            ..Terms::default()
        }
    }

    fn calendar(&mut self) -> Calendar {
        let (kind, days) = *self.chance.of(&[
            (Window::None, 1),
            (Window::Day, 1),
            (Window::Day, 1),
            (Window::Week, 7),
            (Window::Month, 31),
        ]);
        let zone = *self.chance.of(&["UTC", "UTC", "Europe/Berlin", "America/Santiago", "Asia/Kolkata"]);
        let anchor = u8::try_from(1 + self.chance.below(days)).ok().filter(|_| self.chance.permille(300));
        Calendar::new(kind, zone.parse().expect("a zone"), anchor).expect("a day of the window")
    }

    pub fn new_id<K: Kind>(&mut self) -> Id<K> {
        Id::new(self.now, self.chance.bytes())
    }

    /// Runs so many operations, lets everything come to its end, and looks at all of it.
    pub fn run(&mut self, operations: u64) -> Verdict {
        for number in 1..=operations {
            self.tally.operations = number;
            self.operation().map_err(|told| self.report(number, &told))?;
            if number.is_multiple_of(WHOLE) {
                self.checker.whole(&self.image, &self.books).map_err(|told| self.report(number, &told))?;
            }
        }
        self.settle_down().map_err(|told| self.report(operations, &told))
    }

    fn operation(&mut self) -> Verdict {
        operations::one(self)?;
        while self.chance.permille(300) {
            let process = self.chance.index(self.processes.len());
            self.turn(process)?;
        }
        Ok(())
    }

    fn settle_down(&mut self) -> Verdict {
        for _ in 0..1_000_000 {
            if self.processes.iter().all(Process::is_idle) {
                self.checker.whole(&self.image, &self.books)?;
                trail(&self.image, &self.books)?;
                return match self.mirror.take() {
                    Some(mirror) => mirror.compare(&self.image, &self.books),
                    None => Ok(()),
                };
            }
            for process in 0..self.processes.len() {
                self.turn(process)?;
            }
        }
        Err("the processes never come to an end".to_owned())
    }

    /// From here on what happens is remembered in words.
    pub fn show(&mut self) {
        self.showing = true;
    }

    fn report(&self, number: u64, told: &str) -> String {
        let shown: Vec<&str> = self.shown.iter().map(String::as_str).collect();
        format!("operation {number}: {told}\n{}", shown.join("\n"))
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.showing {
            self.shown.push_back(what());
            if self.shown.len() > SHOWN {
                self.shown.pop_front();
            }
        }
    }

    /// Hands a step to a process. Now and then it overtakes others.
    pub fn ask(&mut self, process: usize, step: Step) {
        self.tell(|| format!("process {process} is asked for {step:?}"));
        remember(&mut self.history, step.clone());
        let of = &mut self.processes[process];
        let lane = if step.is_resolution() { &mut of.resolutions } else { &mut of.others };
        lane.push_back(step);
        let length = lane.len();
        if self.chance.permille(150) {
            lane.swap(self.chance.index(length), length - 1);
        }
    }

    pub fn any_process(&mut self) -> usize {
        self.chance.index(self.processes.len())
    }

    pub fn alive(&self) -> BTreeSet<Id<crate::id::Instance>> {
        self.processes.iter().map(|process| process.instance).collect()
    }

    /// The callers hear their answers.
    pub fn deliver(&mut self, process: usize, steps: Vec<Step>, answers: Vec<Answer>) -> Verdict {
        for (step, answer) in steps.into_iter().zip(answers) {
            match (step, answer) {
                (step @ Step::Reserve { .. }, Answer::Reserve(told)) => self.hear(process, step, told),
                (Step::Grow { call, .. }, Answer::Grow(told)) => {
                    let live = self.live.iter_mut().find(|live| live.call == call);
                    match (live, told) {
                        (Some(live), Ok(grown)) => live.amount = grown.amount.nanos(),
                        (_, Err(ReserveError::OverLimit(_))) => self.tally.refused += 1,
                        _ => {}
                    }
                }
                (step, Answer::Resolve(Ok(receipt))) => {
                    self.tally.resolved += 1;
                    self.tally.overruns += u64::from(receipt.overrun > Money::ZERO);
                    let who = Who { org: receipt.org, key: receipt.key, wallet: receipt.wallet };
                    if let Some(call) = step.call() {
                        remember(&mut self.ended, (call, who, receipt.chain));
                    }
                }
                (Step::Charge { who, .. }, Answer::Charge(Ok(call))) => {
                    self.tally.charged += 1;
                    remember(&mut self.ended, (call, who, ChainId::leaf(who.wallet)));
                }
                (_, Answer::Correct(Ok(_)) | Answer::Confirm(Ok(_))) => self.tally.corrected += 1,
                (_, Answer::Refund(Ok(_))) => self.tally.refunded += 1,
                (_, Answer::Fund(Ok(()))) => self.tally.funded += 1,
                (Step::Expire { call, who, chain }, Answer::Done(Ok(()))) => {
                    remember(&mut self.ended, (call, who, chain));
                }
                (_, Answer::Done(Ok(()))) => {}
                _ => self.tally.errors += 1,
            }
        }
        Ok(())
    }

    fn hear(&mut self, process: usize, step: Step, told: Result<Taken, ReserveError>) {
        let Step::Reserve { call, who, extra, amount, estimate, patient, claim, expires_at, .. } = step else { return };
        let chain = ChainId::of(who.wallet, &extra);
        match told {
            Ok(Taken::New { amount, .. }) => {
                self.tally.held += 1;
                if self.live.iter().any(|live| live.call == call) {
                    return; // told again
                }
                if self.chance.permille(10) {
                    // Its caller has left meanwhile.
                    self.processes[process].resolutions.push_back(Step::GiveBack { call, who, chain });
                    return;
                }
                self.live.push(Live { process, call, who, chain, amount: amount.nanos() });
            }
            Ok(Taken::Replay(_)) => self.tally.replays += 1,
            Err(ReserveError::Held(_)) => {
                // It waits, and asks once more.
                let (patient, downgraded) = (self.chance.permille(500), true);
                let again =
                    Step::Reserve { call, who, extra, amount, estimate, patient, downgraded, claim, expires_at };
                self.ask(process, again);
            }
            Err(ReserveError::Downgrade { .. }) => {
                // With a cheaper plan, or with the same for want of one.
                let (amount, downgraded) = if self.chance.permille(500) { (amount / 3, true) } else { (amount, true) };
                let again =
                    Step::Reserve { call, who, extra, amount, estimate, patient, downgraded, claim, expires_at };
                self.ask(process, again);
            }
            Err(
                ref error @ (ReserveError::OverLimit(OverLimit { wallet, .. })
                | ReserveError::Suspended { wallet }
                | ReserveError::Closed { wallet }),
            ) => {
                self.tally.refused += 1;
                self.starved = Some(wallet).filter(|_| !matches!(error, ReserveError::Closed { .. }));
                remember(&mut self.ended, (call, who, ChainId::leaf(who.wallet)));
            }
            Err(_) => self.tally.errors += 1,
        }
    }
}

fn remember<T>(ring: &mut VecDeque<T>, item: T) {
    ring.push_back(item);
    if ring.len() > REMEMBERED {
        ring.pop_front();
    }
}
