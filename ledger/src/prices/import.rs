//! Takes a community price list over into the stored one: what is new, once; what is the same, not at all.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::community::{self, Offered};
use super::{NewPrice, PriceRow, Prices, check_price, content, created, kind, listed, pattern};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Id, Org, Price};
use crate::money::Money;
use crate::store::prices as rows;
use crate::store::tenants::Change;
use crate::tenants::people::check_org;
use crate::tenants::{TenantError, check};

pub use super::community::Skipped;

/// So many prices are made durable at a time: settlements wait for a transaction, not for a file.
const AT_A_TIME: usize = 100;

/// Providers as the file calls them, and the kinds of ours that they are.
const KINDS: [(&str, &str); 17] = [
    ("openai", "openai"),
    ("text-completion-openai", "openai"),
    ("azure", "azure"),
    ("azure_text", "azure"),
    ("anthropic", "anthropic"),
    ("gemini", "gemini"),
    ("mistral", "mistral"),
    ("groq", "groq"),
    ("deepseek", "deepseek"),
    ("together_ai", "together"),
    ("fireworks_ai", "fireworks"),
    ("fireworks_ai-embedding-models", "fireworks"),
    ("xai", "xai"),
    ("openrouter", "openrouter"),
    ("ollama", "ollama"),
    ("ollama_chat", "ollama"),
    ("hosted_vllm", "vllm"),
];

/// How to take a file over.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// For this organisation alone; else for all.
    pub org: Option<Id<Org>>,
    /// Further providers: as the file calls them, and their kind or their id in the configuration.
    pub providers: BTreeMap<String, String>,
    /// Now, unless said.
    pub effective_from: Option<Timestamp>,
    /// Take a price of nothing for one. A file says 0 where it does not know: unless this is said, a model whose input or
    /// output costs 0 is left out (of embeddings the input), and other prices of 0 fall back on those two.
    pub free: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    pub imported: Vec<NewlyPriced>,
    /// How many have this price already.
    pub unchanged: usize,
    pub skipped: Vec<Skipped>,
}

/// A price that was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewlyPriced {
    pub id: Id<Price>,
    pub target: String,
    /// What was rounded up or could not be taken over.
    pub notes: Vec<String>,
}

impl Prices<'_> {
    /// Takes over a file in the layout of `model_prices_and_context_window.json`. Doing it again changes nothing; begun and
    /// broken off, it goes on where it was.
    pub async fn import(&self, file: &str, how: &Import, actor: &Actor) -> Result<Imported, TenantError> {
        if let Some(org) = how.org {
            check_org(&mut Change::begin(self.db()).await?, org).await?;
        }
        let (chosen, skipped, digest) = read(file.to_owned(), how.clone()).await?;
        let effective_from = how.effective_from.unwrap_or_else(|| self.now());
        let book = self.book().await?;
        let source = format!("community price list sha256:{}", hex::encode(&digest[..8]));
        let mut done = Imported { skipped, ..Imported::default() };
        let mut wanted = Vec::new();
        for (target, offer) in chosen {
            if book.of_name(how.org, &target, effective_from).is_some_and(|it| *it.rates == offer.rates) {
                done.unchanged += 1;
                continue;
            }
            let id = self.ledger.new_id();
            let new = NewPrice {
                id,
                org: how.org,
                target,
                effective_from: Some(effective_from),
                rates: offer.rates,
                source: source.clone(),
            };
            if let Err(TenantError::Invalid { field, message }) = check_price(&new) {
                done.skipped.push(Skipped { name: offer.name, reason: format!("{field} {message}") });
                continue;
            }
            done.imported.push(NewlyPriced { id, target: new.target.clone(), notes: offer.notes });
            wanted.push(new);
        }
        done.skipped.sort_by(|a, b| a.name.cmp(&b.name));
        if how.dry_run {
            return Ok(done);
        }
        // Each part says what it is a part of: whoever asked may be gone before the next one.
        for part in wanted.chunks(AT_A_TIME) {
            let summary = Entry::new(how.org, kind::PRICES_IMPORTED, *actor)
                .with("file_sha256", hex::encode(digest))
                .with("imported", part.len())
                .with("of", wanted.len())
                .with("unchanged", done.unchanged)
                .with("skipped", done.skipped.len());
            self.add(part, actor, summary).await?;
        }
        Ok(done)
    }

    async fn add(&self, part: &[NewPrice], actor: &Actor, summary: Entry) -> Result<(), TenantError> {
        let mut change = Change::begin(self.db()).await?;
        if let Some(org) = part.first().and_then(|new| new.org) {
            check_org(&mut change, org).await?;
        }
        let at = self.now();
        let mut entries = Vec::with_capacity(part.len() + 1);
        for new in part {
            let row: PriceRow = listed(new.clone(), at);
            rows::insert_price(&mut change.tx, &row, content(new)).await?;
            entries.push(created(&row, actor));
        }
        entries.push(summary);
        self.commit(change, at, &entries).await
    }
}

type Chosen = BTreeMap<String, Offered>;

/// A file takes its time, which no other call should wait for.
async fn read(file: String, how: Import) -> Result<(Chosen, Vec<Skipped>, [u8; 32]), TenantError> {
    let read = tokio::task::spawn_blocking(move || {
        let offered = community::read(&file, how.free)?;
        let (chosen, skipped) = choose(offered, &how);
        Ok((chosen, skipped, Sha256::digest(&file).into()))
    });
    let read: Result<_, serde_json::Error> = read.await.map_err(|_| StoreError::Closed)?;
    read.map_err(|error| {
        check::invalid("file", format!("is not in the layout of model_prices_and_context_window.json: {error}"))
    })
}

/// What is to be kept, by target; and what is not, with the reasons.
fn choose(offered: Vec<Result<Offered, Skipped>>, how: &Import) -> (Chosen, Vec<Skipped>) {
    let kinds: HashMap<&str, &str> = KINDS.into_iter().collect();
    let mut chosen = Chosen::new();
    let mut skipped = Vec::new();
    for offer in offered {
        let offer = match offer {
            Ok(offer) => offer,
            Err(skip) => {
                skipped.push(skip);
                continue;
            }
        };
        let ours = how.providers.get(&offer.provider).map(String::as_str).or(kinds.get(&*offer.provider).copied());
        let Some(ours) = ours else {
            let reason = format!("{} is no provider here; say which of yours it is to take it over", offer.provider);
            skipped.push(Skipped { name: offer.name, reason });
            continue;
        };
        let (input, output) = (offer.rates.input == Money::ZERO, offer.rates.output == Money::ZERO);
        let costs_0 = match (input, output && !offer.input_only) {
            _ if offer.by_piece => None,
            (false, false) => None,
            (true, false) => Some("its input costs 0"),
            (false, true) => Some("its output costs 0"),
            (true, true) => Some("costs 0"),
        };
        if let Some(what) = costs_0.filter(|_| !how.free) {
            let reason = format!("{what}, which may mean that nobody knows; say that it is free to take it over");
            skipped.push(Skipped { name: offer.name, reason });
            continue;
        }
        let target = format!("{ours}/{}", offer.model);
        if pattern::is_pattern(&target) {
            skipped.push(Skipped { name: offer.name, reason: "its name would be a pattern".to_owned() });
            continue;
        }
        // The file has some models twice, with and without their provider before the name: the full name is kept.
        match chosen.get(&target) {
            Some(known) if known.rates != offer.rates => {
                let full = offer.name.len() > known.name.len();
                let (keep, leave) = if full { (offer, known.clone()) } else { (known.clone(), offer) };
                let reason = format!("is {target} again, with another price than {}", keep.name);
                skipped.push(Skipped { name: leave.name, reason });
                chosen.insert(target, keep);
            }
            Some(_) => {}
            None => drop(chosen.insert(target, offer)),
        }
    }
    (chosen, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_0_on_either_side_is_left_out_unless_it_is_to_be_free() {
        for (mode, input, output, left_out) in [
            ("chat", "1e-6", "2e-6", None),
            ("chat", "1e-6", "0", Some("its output costs 0")),
            ("chat", "0", "2e-6", Some("its input costs 0")),
            ("completion", "0", "0.0", Some("costs 0")),
            ("responses", "1e-6", "0e-9", Some("its output costs 0")),
            ("embedding", "1e-6", "0", None),
            ("embedding", "0", "0", Some("its input costs 0")),
        ] {
            let file = format!(
                r#"{{"m": {{"litellm_provider": "openai", "mode": "{mode}", "input_cost_per_token": {input},
                    "output_cost_per_token": {output}}}}}"#
            );
            let taken = |free| {
                let how = Import { free, ..Import::default() };
                choose(community::read(&file, free).unwrap(), &how)
            };
            let (chosen, skipped) = taken(false);
            assert_eq!(chosen.is_empty(), left_out.is_some(), "{mode} {input} {output}");
            let reason = skipped.first().map(|it| it.reason.split(',').next().unwrap());
            assert_eq!(reason, left_out, "{mode} {input} {output}");
            assert_eq!(taken(true).0.len(), 1, "{mode} {input} {output}");
        }
    }
}
