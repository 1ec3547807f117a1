//! The matrix of `docs/providers`: what each caller's dialect can ask of each target's, as it turned out in this run. A cell is
//! what came back whole and streamed; a refusal counts only if it names what cannot be told.

use std::collections::BTreeMap;

use qa::tools;
use serde_json::{Value, json};

use crate::asks::{CALLERS, Caller, FEATURES, Feature};
use crate::house::{House, TARGETS, model};
use crate::reads::{Said, read};

/// By target, caller and feature.
type Matrix = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

#[tokio::test]
async fn every_caller_gets_from_every_target_what_the_matrix_says() {
    let house = House::build().await;
    let (mut matrix, mut faults) = (Matrix::new(), Vec::new());
    for target in TARGETS {
        for caller in CALLERS {
            for feature in FEATURES {
                let whole = cell(&house, caller, target, feature, false).await;
                let streamed = cell(&house, caller, target, feature, true).await;
                let outcome = match (whole, streamed) {
                    (Ok(whole), Ok(streamed)) if whole == streamed => whole,
                    (Ok(whole), Ok(streamed)) => {
                        faults.push(format!(
                            "{} → {target}, {}: {whole} whole, {streamed} streamed",
                            caller.name(),
                            feature.name()
                        ));
                        continue;
                    }
                    (whole, streamed) => {
                        let told = [("whole", whole.err()), ("streamed", streamed.err())];
                        for (how, fault) in told.into_iter().filter_map(|(how, fault)| Some((how, fault?))) {
                            faults.push(format!("{} → {target}, {}, {how}: {fault}", caller.name(), feature.name()));
                        }
                        continue;
                    }
                };
                let row = matrix.entry(target.to_owned()).or_default().entry(caller.name().to_owned()).or_default();
                row.insert(feature.name().to_owned(), outcome);
            }
        }
    }
    assert!(faults.is_empty(), "{} cells are wrong:\n{}", faults.len(), faults.join("\n"));
    house.world.at_rest(&house.tenant.wallet, std::time::Duration::from_secs(20)).await;
    house.world.assert_balanced(&house.tenant).await;
    let found = format!("{}\n", serde_json::to_string_pretty(&matrix).expect("texts"));
    let page = tools::repository().join("docs/providers/matrix.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&page, &found).expect("the page can be written");
    }
    let told = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(told == found, "docs/providers/matrix.json is not what this run found: run again with UPDATE=1\n{found}");
}

/// What becomes of one question: what the matrix says of it, or what is wrong.
async fn cell(house: &House, caller: Caller, target: &str, feature: Feature, stream: bool) -> Result<String, String> {
    let name = model(target);
    let Some(body) = caller.ask(feature, &name, stream) else { return Ok("no words for it".to_owned()) };
    let answer = house.world.call(&house.tenant.key, &caller.path(&name, stream), &[], &body).await;
    if answer.status != 200 {
        return refusal(&answer.json()).ok_or_else(|| format!("{} {}", answer.status, answer.text()));
    }
    let text = answer.text();
    let mut said = read(caller, &answer, stream);
    if target == "cohere" && feature == Feature::Reasoning {
        // The script says Cohere's thoughts as plain text, which Cohere does not: what is its own must still come through.
        said.text = said.text.strip_prefix("Six times seven is forty-two.").unwrap_or(&said.text).to_owned();
    }
    right(feature, &said).map_err(|why| format!("{why}: {said:?} in {text}"))?;
    Ok(match feature {
        Feature::Reasoning if said.reasoning.is_empty() => "answered, not shown".to_owned(),
        _ => "yes".to_owned(),
    })
}

/// A refusal that says what the target cannot be told.
fn refusal(body: &Value) -> Option<String> {
    let error = &body["error"];
    let place = match error["details"].as_array() {
        Some(details) => details.first().filter(|it| it["reason"] == "unsupported_by_target")?["param"].as_str(),
        None if error["code"] == "unsupported_by_target" => error["param"].as_str().or(error["message"].as_str()),
        None => None,
    };
    place.filter(|it| !it.is_empty()).map(|_| "refused by name".to_owned())
}

fn right(feature: Feature, said: &Said) -> Result<(), String> {
    let paris = ("weather".to_owned(), json!({"city": "Paris"}));
    let rome = ("weather".to_owned(), json!({"city": "Rome"}));
    let is = |so: bool, what: &str| if so { Ok(()) } else { Err(what.to_owned()) };
    match feature {
        Feature::Text | Feature::System | Feature::Sampling => {
            is(said.text == "Hello there, traveller!", "not the text")?;
        }
        Feature::Tool | Feature::ForcedTool => is(said.calls == [paris], "not the call")?,
        Feature::ParallelTools => is(said.calls == [paris, rome], "not the two calls")?,
        Feature::ToolResult => is(said.text == "It is sunny in Paris.", "not the answer to the result")?,
        Feature::Schema => {
            let object: Value = serde_json::from_str(&said.text).unwrap_or_default();
            is(object == json!({"city": "Paris", "celsius": 21}), "not the object")?;
        }
        Feature::Image | Feature::Pdf | Feature::Audio => is(said.text == "A red square.", "not the description")?,
        Feature::Reasoning => {
            is(said.text == "Forty-two.", "not the answer")?;
            let thought = said.reasoning == "Six times seven is forty-two.";
            is(thought || said.reasoning.is_empty(), "not the thought")?;
        }
        Feature::Length => {
            let cut = ["length", "incomplete", "max_tokens", "MAX_TOKENS"].contains(&said.ending.as_str());
            is(said.text == "And so it went on" && cut, "not cut")?;
        }
    }
    is((said.input, said.output) == (10, 5), "not the usage that the provider told")
}
