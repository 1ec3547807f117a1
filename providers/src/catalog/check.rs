//! What an entry of the catalogue must be like: found before a call goes astray or is priced wrong.

use url::Url;

use super::{CatalogPrice, DialectName, Model, Provider};
use crate::config::Fault;
use crate::request::Task;

/// No token costs a thousand dollars a million: whoever writes so has slipped by some digits.
const DEAREST: u64 = 1_000 * 1_000_000_000;

/// Everything that is wrong with the entry of this kind.
pub(super) fn faults(kind: &str, provider: &Provider) -> Vec<Fault> {
    let mut faults = Vec::new();
    let at = |what: &str| format!("catalog/{kind}.yaml: {what}");
    if provider.kind != kind {
        faults.push(Fault::new(at("kind"), "must be the name of the file"));
    }
    if let Some(fault) = address(provider) {
        faults.push(Fault::new(at("base_url"), fault));
    }
    if provider.models_of.as_deref().is_some_and(|it| !super::kinds().any(|known| known == it)) {
        faults.push(Fault::new(at("models_of"), "there is no such kind"));
    }
    for (i, entry) in provider.models.iter().enumerate() {
        let place = at(&format!("models[{i}] {}", entry.id));
        if provider.models[..i].iter().any(|it| it.id == entry.id) {
            faults.push(Fault::new(&*place, "given twice"));
        }
        faults.extend(model(entry).into_iter().map(|fault| Fault::new(&*place, fault)));
    }
    let is_day = |text: &str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if provider.models.iter().any(|model| model.price.is_some()) && !is_day(&provider.revised) {
        faults.push(Fault::new(
            at("revised"),
            "must be the day of the last change of a price, such as 2026-11-20: it names their version",
        ));
    }
    faults
}

/// A key goes over TLS or stays in the house; an entry without an address says so by having none.
fn address(provider: &Provider) -> Option<String> {
    let template = provider.base_url.as_deref()?;
    let filled = match super::fill(template, |_| Some("x")) {
        Ok(filled) => filled,
        Err(fault) => return Some(fault.to_string()),
    };
    let url = match Url::parse(&filled) {
        Ok(url) => url,
        Err(e) => return Some(e.to_string()),
    };
    let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
    match (url.scheme(), here) {
        _ if provider.dialect == DialectName::Sim => Some("what is built in has no address".to_owned()),
        ("https", false) => None,
        ("http", true) if provider.keyless && provider.region == "local" => None,
        ("http", true) => Some("what runs here is keyless and its region is local".to_owned()),
        _ => Some("must be https, or http on this machine".to_owned()),
    }
}

fn model(model: &Model) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    must(!model.id.is_empty() && !model.id.chars().any(char::is_whitespace), "the id must be a word");
    must(model.context != Some(0) && model.max_output != Some(0), "a limit of nothing");
    let within = model.context.zip(model.max_output).is_none_or(|(context, output)| output <= context);
    must(within || !converses(model), "max_output is more than the context");
    must(model.image_tokens.is_none() || model.images, "image_tokens of a model that takes no images");
    let Some(price) = &model.price else { return faults };
    faults.extend(price.faults());
    if faults.is_empty() {
        faults.extend(plausible(price));
    }
    faults
}

fn converses(model: &Model) -> bool {
    model.tasks.is_empty() || model.tasks.contains(&Task::Chat)
}

/// What no price list has ever had.
fn plausible(price: &CatalogPrice) -> Vec<String> {
    let (input, output) = (nanos(&price.input), nanos(&price.output));
    let above = |part: &Option<String>, whole: u64| part.as_deref().is_some_and(|it| nanos(it) > whole);
    let dear = [input, output]
        .into_iter()
        .chain([&price.audio_input, &price.audio_output].into_iter().flatten().map(|it| nanos(it)));
    let mut faults = Vec::new();
    if above(&price.cached_input, input) {
        faults.push("cached_input costs more than input".to_owned());
    }
    if above(&price.batch, 1_000_000_000) {
        faults.push("a batch costs more than single calls".to_owned());
    }
    if dear.max().is_some_and(|it| it > DEAREST) {
        faults.push("costs more than a thousand dollars per million tokens".to_owned());
    }
    if price.cache_write.is_none() && price.cache_write_1h.is_some() {
        faults.push("cache_write_1h without cache_write".to_owned());
    }
    faults
}

/// A price that was found to be one, in billionths.
fn nanos(price: &str) -> u64 {
    let (whole, part) = price.split_once('.').unwrap_or((price, ""));
    let part = format!("{part:0<9}");
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX >> 32);
    number(whole).saturating_mul(1_000_000_000).saturating_add(number(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: &[&str]) {
        let provider: Provider = serde_yaml_ng::from_str(yaml).expect("an entry");
        let found: Vec<String> = faults("a", &provider).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (fault, part) in found.iter().zip(expected) {
            assert!(fault.contains(part), "{fault} should name {part}");
        }
    }

    #[test]
    fn an_entry_that_is_not_whole_is_found() {
        check("{ kind: a, dialect: openai }", &[]);
        check("{ kind: b, dialect: openai, models_of: nobody }", &["kind", "models_of"]);
        check("{ kind: a, dialect: openai, base_url: 'http://a.test/v1' }", &["https"]);
        check("{ kind: a, dialect: openai, base_url: 'http://127.0.0.1:1/v1' }", &["keyless"]);
        check("{ kind: a, dialect: openai, base_url: 'https://{account}.a.test/v1' }", &[]);
        check("{ kind: a, dialect: openai, base_url: 'https://{account.a.test/v1' }", &["base_url"]);
    }

    #[test]
    fn a_model_that_cannot_be_is_found() {
        let with = |model: &str| format!("{{ kind: a, dialect: openai, revised: 2026-11-20, models: [{model}] }}");
        check(&with("{ id: m, context: 10, max_output: 10 }"), &[]);
        check(&with("{ id: m, context: 10, max_output: 11 }"), &["max_output"]);
        check(&with("{ id: m }, { id: m }"), &["twice"]);
        check(&with("{ id: m, image_tokens: 5 }"), &["image_tokens"]);
        check(&with("{ id: m, price: { input: '1', cached_input: '1.1', output: '2' } }"), &["cached_input"]);
        check(&with("{ id: m, price: { input: '1', output: '2000' } }"), &["thousand"]);
        check(&with("{ id: m, price: { input: '1', output: '2', batch: '1.5' } }"), &["batch"]);
        check(&with("{ id: m, price: { input: '1', output: x } }"), &["not a price"]);
        check("{ kind: a, dialect: openai, models: [{ id: m, price: { input: '1', output: '2' } }] }", &["revised"]);
    }
}
