//! The signatures that the gateway writes into `thoughtSignature`: what another provider signed, kept by the caller until the next
//! turn. Google's clients decode them and may send them back in base64's other alphabet, so they are bytes of ours.
//!
//! Google's own signatures are for Google's eyes: they reach Gemini's servers untouched, and are left out elsewhere.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};

/// Nine bytes, so that what follows does not change how they are written: `request/read_gemini.rs` knows them in base64.
const THINKING: &[u8] = b"alfred/t/";
const GOOGLE: &[u8] = b"alfred/g/";

/// What stands in for a signature of ours at Google's servers: the value that Google documents for calls that its models did not make.
pub(super) const SKIP: &str = "skip_thought_signature_validator";

/// What a signature of ours holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The hub's `thinking_blocks`, as JSON.
    Thinking(String),
    /// The hub's `extra_content.google.thought_signature`.
    Google(String),
}

impl Kept {
    /// As the caller gets it.
    pub(super) fn write(&self) -> String {
        let (tag, inside) = match self {
            Kept::Thinking(json) => (THINKING, json),
            Kept::Google(signature) => (GOOGLE, signature),
        };
        STANDARD.encode([tag, inside.as_bytes()].concat())
    }

    /// As the caller sent it back; none if it is not one of ours.
    pub(super) fn read(signature: &str) -> Option<Kept> {
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&alphabet::STANDARD, config).decode(standard(signature)).ok()?;
        let inside = |tag| bytes.strip_prefix(tag).and_then(|inside| String::from_utf8(inside.to_vec()).ok());
        inside(THINKING).map(Kept::Thinking).or_else(|| inside(GOOGLE).map(Kept::Google))
    }
}

/// Base64 in its usual alphabet: Google takes either, others only this one.
pub(super) fn standard(base64: &str) -> String {
    base64.replace('-', "+").replace('_', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_comes_back_in_either_alphabet() {
        for kept in [Kept::Thinking("[{\"thinking\":\"hm?>~ÿ\"}]".to_owned()), Kept::Google("c2ln+/8=".to_owned())] {
            let written = kept.write();
            assert!(written.starts_with("YWxmcmVkL"), "the reader of requests knows it by its beginning");
            for sent in [written.clone(), written.replace('+', "-").replace('/', "_"), written.replace('=', "")] {
                assert_eq!(Kept::read(&sent).as_ref(), Some(&kept));
            }
        }
        for foreign in ["", "CpYBAdHtim8=", "skip_thought_signature_validator", "YWxmcmVkL", "%%%"] {
            assert_eq!(Kept::read(foreign), None, "{foreign}");
        }
    }
}
