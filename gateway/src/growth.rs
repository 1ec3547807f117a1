//! A hold that grows while the answer comes: asked ahead of the tokens, so that nothing waits for money that is there, and none is
//! taken long before it is needed.
//!
//! A growth is asked when the count comes within a quarter step of what is held for; each step is twice the last, so an answer of
//! 64,000 tokens takes nine growths from a first guess of 1,024. A refusal is asked again, for as much as is free, as tokens go on.
//! Only at the very end, a hundredth above what is held, does a stream wait for the answer; refused there, it is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ledger::{Hold, Money, ReserveError};
use serde_json::json;

use crate::app::App;
use crate::cover::Cover;

/// The first step is an eighth of what is held for, and no less than this.
const LEAST_STEP: u64 = 64;
/// However large the steps have become, they are asked no more tokens ahead than this: seconds of any stream.
const LONGEST_LEAD: u64 = 256;
/// Less than this is not worth a transaction while there is still something held.
const LEAST_WORTH: u64 = 8;
/// At the end a stream takes no more turns than this, half of them asking; a ledger that cannot say yes or no is left this pause.
const MOST_TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(100);

type Grown = (Hold, Result<(), ReserveError>);

/// The hold of a call that is being answered.
pub struct Growth {
    cover: Cover,
    purse: Purse,
    /// Output tokens that are held for; all there are where nothing has to grow.
    covered: u64,
    /// The next step, in tokens.
    step: u64,
    /// What was free when a step was refused.
    free: Option<u64>,
    /// Not asked before so many tokens have come.
    not_before: u64,
    refused: Option<ReserveError>,
}

enum Purse {
    Resting(Hold),
    Growing(BoxFuture<'static, Grown>),
    /// Between the two.
    Open,
}

impl Growth {
    pub fn new(hold: Hold, cover: Cover) -> Growth {
        let covered = covered(&cover, &hold);
        let step = (covered / 8).max(LEAST_STEP);
        Growth { cover, purse: Purse::Resting(hold), covered, step, free: None, not_before: 0, refused: None }
    }

    /// All that the target can bill under its cap is held, or the hold is not one that grows: nothing is ever cut.
    pub fn is_whole(&self) -> bool {
        self.covered == u64::MAX
    }

    /// Asks for more if `count` comes near what is held for. Never waits.
    pub fn look_ahead(&mut self, app: &Arc<App>, count: u64) {
        if self.is_whole() {
            return;
        }
        self.glance(count);
        if matches!(self.purse, Purse::Resting(_)) && count >= self.not_before && count + self.lead() >= self.covered {
            let step = self.free.take().unwrap_or(self.step);
            self.ask(app, step.max(LEAST_WORTH), true);
            self.glance(count);
        }
    }

    /// Whether so many tokens may pass. Waits for the ledger only where they are beyond what is held.
    pub async fn admits(&mut self, app: &Arc<App>, count: u64) -> bool {
        let mut last_word = false;
        for _ in 0..MOST_TRIES {
            if count <= self.most() {
                return true;
            }
            if let Purse::Growing(growing) = &mut self.purse {
                let grown = growing.await;
                self.grown(grown, count);
                continue;
            }
            match &self.refused {
                Some(ReserveError::Busy | ReserveError::Store(_)) => {
                    last_word = false;
                    tokio::time::sleep(PAUSE).await;
                }
                Some(_) if last_word => return false,
                None | Some(ReserveError::OverLimit(_) | ReserveError::Held(_)) => {}
                Some(_) => self.free = Some(0),
            }
            let needed = count - self.covered;
            match self.free.take() {
                // What is free, if that is enough to go on.
                Some(free) if free >= needed => self.ask(app, free, true),
                // The last word is written down.
                Some(_) => {
                    last_word = true;
                    self.ask(app, needed, false);
                }
                None => self.ask(app, self.step.max(needed), true),
            }
        }
        false
    }

    /// Why it was refused, as a JSON object for the client.
    pub fn note(&self) -> String {
        let (note, message) = match &self.refused {
            Some(ReserveError::OverLimit(over) | ReserveError::Held(over)) => (
                "budget_exceeded",
                format!(
                    "the answer ends here: wallet {} has nothing left of its {} USD to hold for more of it",
                    over.wallet, over.limit
                ),
            ),
            Some(ReserveError::Suspended { wallet }) => {
                ("wallet_suspended", format!("the answer ends here: wallet {wallet} is suspended"))
            }
            _ => ("ledger_unavailable", "the answer ends here: more of it could not be accounted for".to_owned()),
        };
        json!({"note": note, "message": message}).to_string()
    }

    /// The hold, once nothing is on its way any more.
    pub async fn into_hold(self) -> Hold {
        match self.purse {
            Purse::Resting(hold) => hold,
            Purse::Growing(growing) => growing.await.0,
            Purse::Open => unreachable!("only while a step is asked"),
        }
    }

    /// The most tokens that may pass on what is held: our own count is no better than that.
    fn most(&self) -> u64 {
        self.covered.saturating_add((self.covered / 100).max(2))
    }

    fn lead(&self) -> u64 {
        (self.step / 4).min(LONGEST_LEAD)
    }

    fn ask(&mut self, app: &Arc<App>, tokens: u64, quietly: bool) {
        let Purse::Resting(mut hold) = std::mem::replace(&mut self.purse, Purse::Open) else {
            unreachable!("a hold grows one step at a time");
        };
        let to = self.covered.saturating_add(tokens).min(self.cover.whole());
        let (amount, app) = (self.cover.amount(to), Arc::clone(app));
        self.purse = Purse::Growing(Box::pin(async move {
            let grown = match amount {
                Some(amount) => app.grow(&mut hold, amount, quietly).await,
                None => Err(ReserveError::Amount(Money::MAX)),
            };
            (hold, grown)
        }));
    }

    /// Sees whether the ledger has answered. The first look is what sends the question.
    fn glance(&mut self, count: u64) {
        if let Purse::Growing(growing) = &mut self.purse
            && let Some(grown) = growing.now_or_never()
        {
            self.grown(grown, count);
        }
    }

    fn grown(&mut self, (hold, grown): Grown, count: u64) {
        self.refused = grown.err();
        let before = std::mem::replace(&mut self.covered, covered(&self.cover, &hold));
        match &self.refused {
            None => {
                // What was scarce a moment ago is taken in small steps still.
                if self.covered - before >= self.step {
                    self.step = self.step.saturating_mul(2);
                }
            }
            Some(ReserveError::OverLimit(over) | ReserveError::Held(over)) => {
                let free = over.limit.minus(over.spent).and_then(|left| left.minus(over.held)).unwrap_or(Money::ZERO);
                let held = hold.amount().plus(free.max(Money::ZERO)).unwrap_or(Money::MAX);
                let free = self.cover.tokens(held).saturating_sub(self.covered);
                self.free = Some(free);
                if free < LEAST_WORTH {
                    self.free = (count > self.covered).then_some(free);
                    self.not_before = count + (self.lead() / 4).max(LEAST_WORTH);
                }
            }
            Some(_) => {
                self.free = None;
                self.not_before = count + (self.lead() / 4).max(LEAST_WORTH);
            }
        }
        self.purse = Purse::Resting(hold);
    }
}

fn covered(cover: &Cover, hold: &Hold) -> u64 {
    if cover.is_whole(hold.amount()) { u64::MAX } else { cover.tokens(hold.amount()) }
}
