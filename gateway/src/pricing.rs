//! What a target's tokens cost a caller, and what the caller pays for a dollar of it. The first word counts: the
//! configuration's, the organisation's own price list, the platform's, the catalogue's, the organisation's default.

use std::collections::HashMap;
use std::sync::Arc;

use ledger::prices::Listed;
use ledger::{Classes, Id, LongContext, Markup, Money, Org, Rates, Team, Timestamp};
use providers::{CatalogPrice, CatalogTier, Target};
use sha2::{Digest, Sha256};

use crate::case::Caller;
use crate::snapshot::Snapshot;

/// Whose price it is, and of when.
#[derive(Debug, Clone, Copy)]
pub struct Buyer {
    pub org: Id<Org>,
    pub team: Option<Id<Team>>,
    pub at: Timestamp,
}

impl Buyer {
    /// The caller, at the time of the call.
    pub fn new(caller: &Caller, at: Timestamp) -> Buyer {
        Buyer { org: caller.credential.org, team: caller.credential.team, at }
    }
}

/// The prices that only a new configuration changes.
#[derive(Debug, Default)]
pub struct ListPrices {
    /// By target; before all others.
    pub configured: HashMap<String, Listed>,
    /// The built-in catalogue's, by target.
    pub catalogue: HashMap<String, Listed>,
}

impl ListPrices {
    /// What a target's tokens cost where no database is asked.
    pub fn of(&self, target: &Target) -> Option<Arc<Rates>> {
        let listed = self.configured.get(&target.name).or_else(|| self.catalogue.get(&target.name))?;
        Some(Arc::clone(&listed.rates))
    }
}

impl Snapshot {
    /// What the target's tokens cost this buyer; nothing if nobody has said.
    pub fn price(&self, target: &Target, buyer: &Buyer) -> Option<&Listed> {
        let lists = &self.routes.prices;
        let as_kind = format!("{}/{}", target.kind, target.model);
        lists
            .configured
            .get(&target.name)
            .or_else(|| self.book.price(buyer.org, &[&target.name, &as_kind], buyer.at))
            .or_else(|| lists.catalogue.get(&target.name))
            .or_else(|| self.book.default_rates(buyer.org))
    }

    /// What this buyer pays for a dollar of cost at the target, which was asked for as `model`.
    pub fn markup(&self, target: &Target, buyer: &Buyer, model: &str) -> Markup {
        let as_kind = format!("{}/{}", target.kind, target.model);
        let stored = self.book.markup(buyer.org, buyer.team, &[model, &target.name, &as_kind, &target.model]);
        stored.unwrap_or(self.routes.markup)
    }
}

/// Whether hanging up saves nothing: the target bills what is not streamed, or goes on when the connection is dropped.
pub fn bills_on(target: &Target, rates: &Rates) -> bool {
    rates.hidden_output.unwrap_or(target.hidden_output) || rates.bills_after_cancel.unwrap_or(target.bills_after_cancel)
}

/// The catalogue's price of a target, if it has one.
pub fn catalogued(target: &Target) -> Option<Listed> {
    let rates = rates(target.price.as_ref()?).ok()?;
    Some(Listed { version: format!("catalog:{}", target.revised).into(), rates: Arc::new(rates) })
}

/// A price of the configuration. What it says is its version: other words are another price.
pub fn configured(target: &str, rates: Rates) -> Listed {
    let said = format!("{target}\n{}", serde_json::to_string(&rates).unwrap_or_default());
    let version = format!("config:{}", hex::encode(&Sha256::digest(said)[..4]));
    Listed { version: version.into(), rates: Arc::new(rates) }
}

/// A fault of a price, with the member that it is in.
pub struct PriceFault {
    pub member: String,
    pub message: String,
}

/// Decimal texts as prices.
///
/// # Errors
/// The first member that is no price.
pub fn rates(price: &CatalogPrice) -> Result<Rates, PriceFault> {
    let base = |member: &'static str| member.to_owned();
    let more = classes([
        (base("cached_input"), &price.cached_input),
        (base("cache_write"), &price.cache_write),
        (base("cache_write_1h"), &price.cache_write_1h),
        (base("audio_input"), &price.audio_input),
        (base("image_input"), &price.image_input),
        (base("reasoning"), &price.reasoning),
        (base("audio_output"), &price.audio_output),
        (base("image_output"), &price.image_output),
        (base("request"), &price.request),
        (base("search"), &price.search),
        (base("image"), &price.image),
        (base("second"), &price.second),
        (base("characters"), &price.characters),
    ])?;
    let batch = price.batch.as_deref().map(str::parse).transpose();
    let rates = Rates {
        more,
        batch: batch.map_err(|error| PriceFault { member: "batch".to_owned(), message: format!("{error}") })?,
        long_context: price.long_context.iter().enumerate().map(tier).collect::<Result<_, _>>()?,
        ..Rates::new(money("input".to_owned(), &price.input)?, money("output".to_owned(), &price.output)?)
    };
    rates.check().map_err(|fault| PriceFault { member: fault.member, message: fault.message.to_owned() })?;
    Ok(rates)
}

fn tier((i, tier): (usize, &CatalogTier)) -> Result<LongContext, PriceFault> {
    let place = |member: &str| format!("long_context[{i}].{member}");
    let more = classes([
        (place("cached_input"), &tier.cached_input),
        (place("cache_write"), &tier.cache_write),
        (place("cache_write_1h"), &tier.cache_write_1h),
        (place("audio_input"), &tier.audio_input),
        (place("image_input"), &tier.image_input),
        (place("reasoning"), &tier.reasoning),
        (place("audio_output"), &tier.audio_output),
        (place("image_output"), &tier.image_output),
        (place("request"), &tier.request),
        (place("search"), &tier.search),
        (place("image"), &tier.image),
        (place("second"), &tier.second),
        (place("characters"), &tier.characters),
    ])?;
    let input = maybe(place("input"), &tier.input)?;
    Ok(LongContext { above: tier.above, input, output: maybe(place("output"), &tier.output)?, more })
}

fn classes(texts: [(String, &Option<String>); 13]) -> Result<Classes, PriceFault> {
    let mut prices = [None; 13];
    for (price, (member, text)) in prices.iter_mut().zip(texts) {
        *price = maybe(member, text)?;
    }
    let [
        cached_input,
        cache_write,
        cache_write_1h,
        audio_input,
        image_input,
        reasoning,
        audio_output,
        image_output,
        request,
        search,
        image,
        second,
        characters,
    ] = prices;
    Ok(Classes {
        cached_input,
        cache_write,
        cache_write_1h,
        audio_input,
        image_input,
        reasoning,
        audio_output,
        image_output,
        request,
        search,
        image,
        second,
        characters,
    })
}

fn maybe(member: String, text: &Option<String>) -> Result<Option<Money>, PriceFault> {
    text.as_deref().map(|text| money(member, text)).transpose()
}

fn money(member: String, text: &str) -> Result<Money, PriceFault> {
    text.parse().map_err(|error: ledger::MoneyError| PriceFault { member, message: error.to_string() })
}

/// Whether a configured provider could serve a target that this name or pattern means.
pub fn serves(snapshot: &Snapshot, target: &str) -> bool {
    let fleet = &snapshot.routes.fleet;
    if fleet.target(target).is_some() {
        return true;
    }
    let Some((provider, _)) = target.split_once('/') else { return target.contains('*') };
    provider.contains('*') || fleet.has_provider(provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::snapshot::routes;
    use ledger::CredentialSet;
    use ledger::prices::{MarkupRow, OrgPricing, PriceBook, PriceRow};
    use providers::ProviderConfig;

    fn id<K: ledger::Kind>(n: u8) -> Id<K> {
        Id::new(Timestamp::from_micros(0), [n; 10])
    }

    fn snapshot(prices: Vec<PriceRow>, markups: Vec<MarkupRow>, terms: Vec<OrgPricing>) -> Snapshot {
        let text = "providers: [{id: sim, kind: sim}, {id: eu, kind: openai, base_url: 'http://x.test/v1', api_key: {env: K}}]\n\
                    prices: {eu/gpt-4o: {input: '9', output: '9', hidden_output: true}}\nmarkup: '1.1'";
        let config = config::parse("alfred.yaml", text, &[]).config;
        let routes = routes("alfred.yaml", &config, &|_| Some("secret".to_owned()));
        let routes = routes.unwrap_or_else(|faults| panic!("{faults:?}"));
        let policies =
            policies::PolicySet::compile(&policies::shipped(), serde_json::json!({}), policies::Limits::default());
        let policies = policies.unwrap_or_else(|faults| panic!("{faults:?}"));
        let book = Arc::new(PriceBook::new(prices, markups, terms));
        let policies = Arc::new(policies::Rulebook::new(Arc::new(policies)));
        Snapshot::new(CredentialSet::default(), book, Arc::new(routes), policies)
    }

    fn row(n: u8, org: Option<u8>, target: &str) -> PriceRow {
        PriceRow {
            id: id(n),
            org: org.map(id),
            target: target.into(),
            effective_from: Timestamp::from_micros(10),
            rates: Rates::new(Money::from_nanos(n.into()), Money::ZERO),
            source: "a test".into(),
            created_at: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn the_first_word_about_a_price_counts_and_says_whose_it_is() {
        let terms = OrgPricing {
            id: id(1),
            org: id(2),
            default_rates: Some(Rates::new(Money::from_nanos(77), Money::ZERO)),
            at: Timestamp::from_micros(0),
        };
        let prices = vec![
            row(1, None, "sim/echo"),
            row(2, Some(1), "sim/*"),
            row(3, None, "eu/gpt-4o"),
            row(4, None, "openai/gpt-4.1"),
        ];
        let snapshot = snapshot(prices, vec![], vec![terms]);
        let listed = |n| id::<ledger::Price>(n).to_string();
        for (org, at, target, expected, why) in [
            (1, 10, "eu/gpt-4o", "config:", "the configuration before the list"),
            (1, 10, "sim/echo", &*listed(2), "the organisation's own, if only by a pattern"),
            (2, 10, "sim/echo", &*listed(1), "the platform's"),
            (2, 9, "sim/echo", "catalog:", "the catalogue's, until the list begins"),
            (2, 10, "eu/gpt-4.1", &*listed(4), "by its kind, whatever the provider is called"),
            (2, 10, "eu/gpt-4o-mini", "catalog:", "the catalogue's"),
            (2, 10, "eu/something-new", "default:org_", "the organisation's default"),
            (1, 10, "eu/something-new", "", "nobody's: unknown is not free"),
        ] {
            let target = snapshot.resolve(target).expect(target).targets.remove(0);
            let buyer = Buyer { org: id(org), team: None, at: Timestamp::from_micros(at) };
            let version = snapshot.price(&target, &buyer).map_or("", |it| &*it.version);
            assert!(version.starts_with(expected) && version.is_empty() == expected.is_empty(), "{why}: {version}");
        }
    }

    #[test]
    fn a_stored_markup_comes_before_the_configured_one_and_billing_is_the_prices_word_before_the_catalogues() {
        let rule = MarkupRow {
            id: id(1),
            org: id(1),
            team: None,
            model: Some("fast".into()),
            factor: Some("1.5".parse().unwrap()),
            created_at: Timestamp::from_micros(0),
        };
        let snapshot = snapshot(vec![], vec![rule], vec![]);
        let target = snapshot.resolve("eu/gpt-4o").unwrap().targets.remove(0);
        let buyer = |org| Buyer { org: id(org), team: None, at: Timestamp::from_micros(0) };
        assert_eq!(snapshot.markup(&target, &buyer(1), "fast").to_string(), "1.5", "by the name that was asked for");
        assert_eq!(snapshot.markup(&target, &buyer(1), "slow").to_string(), "1.1");
        assert_eq!(snapshot.markup(&target, &buyer(2), "fast").to_string(), "1.1");
        let rates = &snapshot.price(&target, &buyer(1)).unwrap().rates;
        assert!(bills_on(&target, rates) && !bills_on(&target, &Rates::new(Money::ZERO, Money::ZERO)));
    }

    #[test]
    fn the_catalogue_holds_prices_only() {
        let yaml = "[{id: openai, kind: openai, api_key: {env: K}}, {id: anthropic, kind: anthropic, api_key: {env: K}},\
                    {id: gemini, kind: gemini, api_key: {env: K}}, {id: sim, kind: sim}]";
        let providers: Vec<ProviderConfig> = serde_yaml_ng::from_str(yaml).unwrap();
        let fleet = providers::Fleet::build(&providers, &|_| Some("k".into())).unwrap();
        for target in fleet.models().iter().filter(|it| it.price.is_some()) {
            let listed = catalogued(target).unwrap_or_else(|| panic!("{}", target.name));
            assert!(listed.version.len() == "catalog:2026-11-20".len(), "{}", listed.version);
        }
        let sonnet = catalogued(&fleet.target("anthropic/claude-sonnet-4-5").unwrap()).unwrap().rates;
        assert_eq!(sonnet.dearest_input().to_string(), "12", "an hour of cache, in a long context");
    }
}
