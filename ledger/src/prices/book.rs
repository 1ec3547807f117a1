//! The stored price list as one view in memory: which price is in force for whom, and when. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::pattern;
use super::{MarkupRow, OrgPricing, PriceRow};
use crate::clock::Timestamp;
use crate::id::{Id, Org, Team};
use crate::price::{Markup, Rates};

/// A price, and what its receipts call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub version: Arc<str>,
    pub rates: Arc<Rates>,
}

/// Every stored price, markup and default.
#[derive(Debug, Default)]
pub struct PriceBook {
    platform: Scope,
    orgs: HashMap<Id<Org>, Scope>,
    markups: HashMap<Id<Org>, Vec<Rule>>,
    defaults: HashMap<Id<Org>, Listed>,
    rows: [usize; 3],
}

#[derive(Debug, Default)]
struct Scope {
    names: HashMap<String, History>,
    /// From the most specific on.
    patterns: Vec<(String, History)>,
}

/// The prices of one name, by the time from which they hold; of equal times the one made last comes last.
#[derive(Debug, Default)]
struct History(Vec<(Timestamp, Listed)>);

#[derive(Debug)]
struct Rule {
    team: Option<Id<Team>>,
    model: Option<String>,
    factor: Markup,
}

impl PriceBook {
    /// The view of these rows, in whatever order they come.
    pub fn new(mut prices: Vec<PriceRow>, mut markups: Vec<MarkupRow>, mut defaults: Vec<OrgPricing>) -> PriceBook {
        let rows = [prices.len(), markups.len(), defaults.len()];
        let mut book = PriceBook { rows, ..PriceBook::default() };
        prices.sort_by_key(|row| (row.effective_from, row.created_at, row.id));
        for row in prices {
            let scope = row.org.map_or(&mut book.platform, |org| book.orgs.entry(org).or_default());
            let history = scope.names.entry(row.target).or_default();
            let version = row.id.to_string().into();
            history.0.push((row.effective_from, Listed { version, rates: Arc::new(row.rates) }));
        }
        std::iter::once(&mut book.platform).chain(book.orgs.values_mut()).for_each(Scope::arrange);
        markups.sort_by_key(|row| (row.created_at, row.id));
        for row in markups {
            let rules = book.markups.entry(row.org).or_default();
            rules.retain(|rule| (rule.team, &rule.model) != (row.team, &row.model));
            if let Some(factor) = row.factor {
                rules.push(Rule { team: row.team, model: row.model, factor });
            }
        }
        for rules in book.markups.values_mut() {
            // A team's before the organisation's, and within each a model's before all models'.
            rules.sort_by_cached_key(|rule| (rule.team.is_none(), pattern::rank(rule.model.as_deref().unwrap_or("*"))));
        }
        defaults.sort_by_key(|row| (row.at, row.id));
        for row in defaults {
            match row.default_rates {
                None => drop(book.defaults.remove(&row.org)),
                Some(rates) => {
                    let version = format!("default:{}", row.org).into();
                    book.defaults.insert(row.org, Listed { version, rates: Arc::new(rates) });
                }
            }
        }
        book
    }

    /// What a target costs this organisation at that time: its own price before the platform's, a name before a pattern,
    /// the target's own name (the first of `names`) before the others that it goes by.
    pub fn price(&self, org: Id<Org>, names: &[&str], at: Timestamp) -> Option<&Listed> {
        self.orgs.get(&org).and_then(|scope| scope.find(names, at)).or_else(|| self.platform.find(names, at))
    }

    /// What was said of this very name, for this organisation or for all of them.
    pub(super) fn of_name(&self, org: Option<Id<Org>>, name: &str, at: Timestamp) -> Option<&Listed> {
        let scope = org.map_or(Some(&self.platform), |org| self.orgs.get(&org))?;
        scope.names.get(name)?.at(at)
    }

    /// How many rows of each kind it was made of.
    pub(crate) fn rows(&self) -> [usize; 3] {
        self.rows
    }

    /// What a target without any price costs this organisation, if it has said so.
    pub fn default_rates(&self, org: Id<Org>) -> Option<&Listed> {
        self.defaults.get(&org)
    }

    /// What the tenant pays for a dollar of cost, if it was said for any of these: the team and a model, the team, the
    /// organisation and a model, the organisation.
    pub fn markup(&self, org: Id<Org>, team: Option<Id<Team>>, names: &[&str]) -> Option<Markup> {
        let meant = |rule: &&Rule| {
            let model = rule.model.as_deref().is_none_or(|it| names.iter().any(|name| pattern::matches(it, name)));
            (rule.team.is_none() || rule.team == team) && model
        };
        self.markups.get(&org)?.iter().find(meant).map(|rule| rule.factor)
    }
}

impl Scope {
    fn arrange(&mut self) {
        let (patterns, names) = std::mem::take(&mut self.names).into_iter().partition(|it| pattern::is_pattern(&it.0));
        self.names = names;
        self.patterns = Vec::from_iter::<HashMap<_, _>>(patterns);
        self.patterns.sort_by(|(a, _), (b, _)| pattern::rank(a).cmp(&pattern::rank(b)).then_with(|| a.cmp(b)));
    }

    fn find(&self, names: &[&str], at: Timestamp) -> Option<&Listed> {
        let by_name = names.iter().find_map(|name| self.names.get(*name)?.at(at));
        let matches = |it: &&(String, History)| names.iter().any(|name| pattern::matches(&it.0, name));
        by_name.or_else(|| self.patterns.iter().filter(matches).find_map(|(_, history)| history.at(at)))
    }
}

impl History {
    fn at(&self, at: Timestamp) -> Option<&Listed> {
        let in_force = self.0.partition_point(|(from, _)| *from <= at);
        self.0[..in_force].last().map(|(_, listed)| listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{MarkupRule, Price};
    use crate::money::Money;

    fn id<K: crate::id::Kind>(n: u8) -> Id<K> {
        Id::new(Timestamp::from_micros(0), [n; 10])
    }

    fn at(n: i64) -> Timestamp {
        Timestamp::from_micros(n)
    }

    fn price(n: u8, org: Option<u8>, target: &str, from: i64, made: i64) -> PriceRow {
        let rates = Rates::new(Money::from_nanos(n.into()), Money::ZERO);
        PriceRow {
            id: id::<Price>(n),
            org: org.map(id),
            target: target.into(),
            effective_from: at(from),
            rates,
            source: "a test".into(),
            created_at: at(made),
        }
    }

    #[test]
    fn the_price_in_force_is_the_orgs_own_the_exact_and_the_latest_that_has_come() {
        let book = PriceBook::new(
            vec![
                price(1, None, "openai/gpt-4o", 100, 1),
                price(3, None, "openai/gpt-4o", 200, 3), // a correction of 2: the same time, made later
                price(2, None, "openai/gpt-4o", 200, 2),
                price(4, None, "openai/*", 50, 4),
                price(5, None, "*", 0, 5),
                price(6, Some(9), "openai/gpt-4o", 150, 6),
                price(7, Some(9), "azure/*", 0, 7),
                price(8, None, "openai/gpt-4o", 300, 1), // made long ago, for later
            ],
            vec![],
            vec![],
        );
        for (org, names, time, expected, why) in [
            (1, vec!["openai/gpt-4o"], 49, Some(5), "only the widest pattern is in force"),
            (1, vec!["openai/gpt-4o"], 99, Some(4), "a pattern, until the name has a price"),
            (1, vec!["openai/gpt-4o"], 100, Some(1), "from its first moment"),
            (1, vec!["openai/gpt-4o"], 199, Some(1), "until the next"),
            (1, vec!["openai/gpt-4o"], 200, Some(3), "corrected"),
            (1, vec!["openai/gpt-4o"], 300, Some(8), "what was announced is in force"),
            (9, vec!["openai/gpt-4o"], 149, Some(1), "the platform's until the org's own begins"),
            (9, vec!["openai/gpt-4o"], 400, Some(6), "the org's own outranks a later one of the platform"),
            (9, vec!["azure/gpt-4o"], 400, Some(7), "the org's pattern outranks any of the platform"),
            (1, vec!["eu/gpt-4o", "openai/gpt-4o"], 100, Some(1), "by the kind's name"),
            (1, vec!["eu/gpt-4o"], -1, None, "before all"),
        ] {
            let found = book.price(id(org), &names, at(time)).map(|it| it.rates.input.nanos());
            assert_eq!(found, expected, "{why}");
        }
        assert!(book.price(id(1), &["openai/gpt-4o"], at(100)).unwrap().version.starts_with("prc_"));
    }

    #[test]
    fn the_most_specific_markup_wins_and_the_last_of_its_kind_counts() {
        let row = |n: u8, team: Option<u8>, model: Option<&str>, factor: Option<&str>, made: i64| MarkupRow {
            id: id::<MarkupRule>(n),
            org: id(1),
            team: team.map(id),
            model: model.map(str::to_owned),
            factor: factor.map(|it| it.parse().unwrap()),
            created_at: at(made),
        };
        let book = PriceBook::new(
            vec![],
            vec![
                row(1, None, None, Some("1.1"), 1),
                row(2, None, Some("openai/*"), Some("1.2"), 2),
                row(3, None, Some("openai/gpt-4o"), Some("1.25"), 3),
                row(4, Some(5), None, Some("1.3"), 4),
                row(5, Some(5), Some("claude"), Some("1.4"), 5),
                row(6, Some(6), None, Some("9"), 6),
                row(8, Some(6), None, None, 8),
                row(7, Some(6), None, Some("8"), 7),
            ],
            vec![],
        );
        for (team, names, expected, why) in [
            (None, vec!["openai/gpt-4o"], "1.25", "a name before a pattern"),
            (None, vec!["openai/o3"], "1.2", "a model before the organisation"),
            (None, vec!["groq/x"], "1.1", "the organisation"),
            (Some(5), vec!["openai/gpt-4o"], "1.3", "a team before a model"),
            (Some(5), vec!["claude", "anthropic/claude-opus-4-5"], "1.4", "team and model before all"),
            (Some(6), vec!["groq/x"], "1.1", "what was withdrawn is as if it had not been"),
        ] {
            assert_eq!(book.markup(id(1), team.map(id), &names).unwrap().to_string(), expected, "{why}");
        }
        assert_eq!(book.markup(id(2), None, &["openai/gpt-4o"]), None, "another organisation");
    }

    #[test]
    fn an_org_has_default_rates_when_it_says_so_and_until_it_takes_them_back() {
        let row = |n: u8, org: u8, rates: Option<i64>, made: i64| OrgPricing {
            id: id(n),
            org: id(org),
            default_rates: rates.map(|it| Rates::new(Money::from_nanos(it), Money::ZERO)),
            at: at(made),
        };
        let rows = vec![row(2, 1, Some(7), 2), row(1, 1, None, 1), row(3, 2, Some(5), 1), row(4, 2, None, 2)];
        let book = PriceBook::new(vec![], vec![], rows);
        let found = book.default_rates(id(1)).unwrap();
        assert_eq!((found.rates.input.nanos(), &*found.version), (7, &*format!("default:{}", id::<Org>(1))));
        assert_eq!(book.default_rates(id(2)), None);
        assert_eq!(book.default_rates(id(3)), None);
    }
}
