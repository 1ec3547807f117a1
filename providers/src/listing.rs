//! A provider's own list of models, in whatever shape it is told, and how it differs from what is known here.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use crate::fleet::Target;

/// Longer than any model's name.
const LONGEST_NAME: usize = 256;
/// Where lists keep what goes in and out together.
const CONTEXT: [&str; 8] = [
    "context_length",
    "context_window",
    "max_context_length",
    "max_model_len",
    "max_input_tokens",
    "inputTokenLimit",
    "context_size",
    "max_context_tokens",
];
/// Where lists keep the longest answer.
const MAX_OUTPUT: [&str; 5] =
    ["max_output_tokens", "max_completion_tokens", "outputTokenLimit", "max_output_length", "max_tokens"];

/// A model as its provider lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// The provider's own name of it.
    pub id: String,
    /// Tokens in and out together, if it says so.
    pub context: Option<u64>,
    /// Tokens out, if it says so.
    pub max_output: Option<u64>,
}

/// How a provider's list differs from what is known here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Listed there, not known here.
    pub lacking: Vec<String>,
    /// Known here, not listed there.
    pub gone: Vec<String>,
    /// In both with another context: name, here, there.
    pub contexts: Vec<(String, u64, u64)>,
    /// In both with another longest answer: name, here, there.
    pub outputs: Vec<(String, u64, u64)>,
}

/// OpenAI's `data`, Google's and Cohere's `models`, a bare array. Names that could not be printed safely are left out.
pub(crate) fn read(body: &[u8]) -> Option<Vec<ListedModel>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let list = [&body, &body["data"], &body["models"], &body["result"]].into_iter().find_map(Value::as_array)?;
    let mut seen = HashSet::new();
    let models = list.iter().filter_map(model).filter(|it| seen.insert(it.id.clone()));
    Some(models.collect())
}

fn model(entry: &Value) -> Option<ListedModel> {
    let id = entry.as_str().or_else(|| entry["id"].as_str()).or_else(|| entry["name"].as_str())?;
    // Google names its models by their place.
    let id = id.strip_prefix("models/").unwrap_or(id);
    let fits = !id.is_empty() && id.len() <= LONGEST_NAME && !id.chars().any(char::is_control);
    let number = |names: &[&str]| {
        let places = [entry, &entry["top_provider"], &entry["metadata"], &entry["limits"]];
        let found = places.into_iter().flat_map(|place| names.iter().map(move |name| &place[*name]));
        found.filter_map(Value::as_u64).find(|it| *it > 0)
    };
    fits.then(|| ListedModel { id: id.to_owned(), context: number(&CONTEXT), max_output: number(&MAX_OUTPUT) })
}

/// What the list has otherwise than `known`, which are the described models of that provider.
pub fn compare(known: &[&Arc<Target>], listed: &[ListedModel]) -> Comparison {
    let mut comparison = Comparison::default();
    for model in listed {
        // A list names a dated release where the catalogue may name the model, and the other way about: names are compared as they are.
        let Some(target) = known.iter().find(|it| it.model == model.id) else {
            comparison.lacking.push(model.id.clone());
            continue;
        };
        let differing = |here: Option<u64>, there: Option<u64>| here.zip(there).filter(|(here, there)| here != there);
        let name = || model.id.clone();
        comparison.contexts.extend(differing(target.context, model.context).map(|(a, b)| (name(), a, b)));
        comparison.outputs.extend(differing(target.max_output, model.max_output).map(|(a, b)| (name(), a, b)));
    }
    let there: HashSet<&str> = listed.iter().map(|it| &*it.id).collect();
    let gone = known.iter().filter(|it| !there.contains(&*it.model));
    comparison.gone = gone.map(|it| it.model.clone()).collect();
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::AnthropicDialect;
    use crate::bedrock::BedrockDialect;
    use crate::cohere::CohereDialect;
    use crate::gemini::GeminiDialect;
    use crate::openai::OpenAiDialect;
    use crate::{Aim, Dialect, Fleet, ProviderConfig, Quirks};

    fn listed(id: &str, context: Option<u64>, max_output: Option<u64>) -> ListedModel {
        ListedModel { id: id.to_owned(), context, max_output }
    }

    #[test]
    fn every_shape_of_a_list_is_read() {
        for (body, expected) in [
            (r#"{"object":"list","data":[{"id":"a","object":"model"},{"id":"a"}]}"#, vec![listed("a", None, None)]),
            (
                r#"{"data":[{"id":"a","context_window":8,"max_completion_tokens":2}]}"#,
                vec![listed("a", Some(8), Some(2))],
            ),
            (
                r#"{"data":[{"id":"a","context_length":8,"top_provider":{"max_completion_tokens":2}}]}"#,
                vec![listed("a", Some(8), Some(2))],
            ),
            (r#"[{"id":"a","context_length":8},"b"]"#, vec![listed("a", Some(8), None), listed("b", None, None)]),
            (
                r#"{"models":[{"name":"models/g","inputTokenLimit":8,"outputTokenLimit":2}]}"#,
                vec![listed("g", Some(8), Some(2))],
            ),
            (r#"{"data":[{"id":"a\u001b[2J"},{"id":""},{"id":7},{}]}"#, vec![]),
        ] {
            assert_eq!(read(body.as_bytes()), Some(expected), "{body}");
        }
        for no_list in ["{}", "", "<html>", r#"{"data":{"a":1}}"#, "7"] {
            assert_eq!(read(no_list.as_bytes()), None, "{no_list}");
        }
    }

    #[test]
    fn each_dialect_asks_in_its_own_way() {
        let (url, quirks) = (url::Url::parse("https://a.test/v1?x=1").unwrap(), Quirks::default());
        let aim = Aim::at(&url, "", 0, &quirks);
        let openai = OpenAiDialect.list_models(&aim).unwrap().unwrap();
        assert_eq!((openai.url.as_str(), openai.method.as_str()), ("https://a.test/v1/models?x=1", "GET"));
        assert!(openai.body.is_empty() && openai.headers.is_empty(), "{:?}", openai.headers);
        let anthropic = AnthropicDialect.list_models(&aim).unwrap().unwrap();
        assert_eq!(anthropic.url.query(), Some("x=1&limit=1000"), "all on one page");
        assert!(anthropic.headers.contains_key("anthropic-version"));
        let asked = |dialect: &dyn Dialect, url: &str| {
            let url = url::Url::parse(url).unwrap();
            let request = dialect.list_models(&Aim::at(&url, "", 0, &quirks))?.unwrap();
            Some(request.url.to_string())
        };
        for (dialect, base_url, expected) in [
            (
                &GeminiDialect as &dyn Dialect,
                "https://g.test/v1beta",
                Some("https://g.test/v1beta/models?pageSize=1000"),
            ),
            (&CohereDialect, "https://c.test/v2", Some("https://c.test/v1/models?page_size=1000")),
            (&BedrockDialect, "https://b.test", None),
        ] {
            assert_eq!(asked(dialect, base_url).as_deref(), expected);
        }
    }

    #[test]
    fn a_list_is_compared_with_what_is_known_here() {
        let config: ProviderConfig = serde_yaml_ng::from_str(
            "{ id: up, kind: vllm, models: [{ id: a, context: 8, max_output: 4 }, { id: b, context: 8 }, { id: old }] }",
        )
        .unwrap();
        let fleet = Fleet::build(&[config], &|_| None).unwrap();
        let known: Vec<_> = fleet.models().iter().collect();
        let there = [listed("a", Some(16), Some(2)), listed("b", None, Some(3)), listed("new", None, None)];
        let expected = Comparison {
            lacking: vec!["new".to_owned()],
            gone: vec!["old".to_owned()],
            contexts: vec![("a".to_owned(), 8, 16)],
            outputs: vec![("a".to_owned(), 4, 2)],
        };
        assert_eq!(compare(&known, &there), expected);
    }
}
