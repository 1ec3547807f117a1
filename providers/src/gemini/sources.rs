//! Where an answer comes from and how sure it is: citations and grounding as OpenAI's annotations, and its log probabilities.

use serde_json::{Value, json};

use super::wire::{Candidate, Logprobs, Token};

/// `url_citation`s of what the candidate quotes. `text` is what it has said so far: Gemini counts places in bytes of it, OpenAI
/// in characters.
pub(super) fn annotations(candidate: &Candidate<'_>, text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for citation in candidate.citation_metadata.iter().flat_map(|it| &it.citations) {
        if let Some(url) = &citation.uri {
            let place = (citation.start_index, citation.end_index);
            found.push(annotation(url, citation.title.as_deref(), place, text));
        }
    }
    let Some(grounding) = &candidate.grounding_metadata else { return found };
    for support in &grounding.grounding_supports {
        let place = (support.segment.start_index, support.segment.end_index);
        for index in &support.grounding_chunk_indices {
            let Some(chunk) = grounding.grounding_chunks.get(*index) else { continue };
            let source = [&chunk.web, &chunk.retrieved_context, &chunk.maps].into_iter().flatten().next();
            let Some((source, url)) = source.and_then(|it| it.uri.as_ref().map(|url| (it, url))) else { continue };
            found.push(annotation(url, source.title.as_deref(), place, text));
        }
    }
    found
}

fn annotation(url: &str, title: Option<&str>, (start, end): (u64, u64), text: &str) -> Value {
    json!({"type": "url_citation", "url_citation": {"url": url, "title": title.unwrap_or(url),
        "start_index": characters(text, start), "end_index": characters(text, end)}})
}

/// The place of a byte in characters. Past what was kept, as it was told.
fn characters(text: &str, bytes: u64) -> u64 {
    let Some(before) = usize::try_from(bytes).ok().and_then(|at| text.as_bytes().get(..at)) else { return bytes };
    // Every byte but those that go on with a character begins one.
    before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64
}

/// Log probabilities as OpenAI writes them.
pub(super) fn logprobs(told: &Logprobs) -> Value {
    let content: Vec<Value> = told
        .chosen_candidates
        .iter()
        .enumerate()
        .map(|(at, chosen)| {
            let mut entry = token(chosen);
            let top = told.top_candidates.get(at).map(|top| top.candidates.as_slice()).unwrap_or_default();
            entry["top_logprobs"] = top.iter().map(token).collect();
            entry
        })
        .collect();
    json!({"content": content, "refusal": null})
}

fn token(token: &Token) -> Value {
    json!({"token": token.token, "logprob": token.log_probability, "bytes": token.token.as_bytes()})
}
