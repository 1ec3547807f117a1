//! A body of Gemini's own shape for a target of that shape: all stays but the cap, what is the gateway's own, and signatures that
//! Google did not write. The model is in the address.

use bytes::Bytes;

use super::signature::SKIP;
use crate::dialect::Aim;
use crate::request::ModelRequest;
use crate::splice::Splice;

/// The body for `models/{model}:generateContent` and its stream.
pub(crate) fn spliced(request: &ModelRequest, _aim: &Aim<'_>, cap: u64) -> Bytes {
    let view = request.view();
    let mut splice = Splice::new(request);
    splice.remove("fallbacks");
    splice.remove("model");
    let told = format!("\"maxOutputTokens\":{cap}");
    // Google reads both spellings; the reader has refused a body that has both.
    let name = if request.member("generation_config").is_some() { "generation_config" } else { "generationConfig" };
    match (&view.cap, request.member(name)) {
        (Some(span), _) => splice.inside(span.clone(), &cap.to_string()),
        (None, None) => splice.set(name, &format!("{{{told}}}")),
        (None, Some(object)) => {
            let rest = object[1..].trim_start();
            let comma = if rest.starts_with('}') { "" } else { "," };
            splice.set(name, &format!("{{{told}{comma}{}", &object[1..]));
        }
    }
    for span in &view.signatures {
        splice.inside(span.clone(), &format!("\"{SKIP}\""));
    }
    splice.finish()
}
