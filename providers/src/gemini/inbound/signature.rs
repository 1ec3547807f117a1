//! The signatures that the gateway writes into `thoughtSignature`: what another provider signed, kept by the caller until the next
//! turn. Google's clients decode them and may send them back in base64's other alphabet, so they are bytes of ours.
//!
//! Only what is opaque is in them; the thought itself stands beside in clear, where the guards read it when it comes back.
//!
//! Google's own signatures are for Google's eyes: they reach Gemini's servers untouched, and are left out elsewhere.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};

/// Nine bytes, so that what follows does not change how they are written: `request/read_gemini.rs` knows them in base64.
const SIGNED: &[u8] = b"alfred/t/";
const SEALED: &[u8] = b"alfred/r/";

/// What stands in for a signature of ours at Google's servers: the value that Google documents for calls that its models did not make.
pub(super) const SKIP: &str = "skip_thought_signature_validator";

/// What a signature of ours holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The signature of the thought beside it.
    Signature(String),
    /// A sealed thought.
    Sealed(String),
}

impl Kept {
    /// As the caller gets it.
    pub(super) fn write(&self) -> String {
        let (tag, inside) = match self {
            Kept::Signature(signature) => (SIGNED, signature),
            Kept::Sealed(data) => (SEALED, data),
        };
        STANDARD.encode([tag, inside.as_bytes()].concat())
    }

    /// As the caller sent it back; none if it is not one of ours, or holds what could be a text.
    pub(super) fn read(signature: &str) -> Option<Kept> {
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&alphabet::STANDARD, config).decode(standard(signature)).ok()?;
        let inside = |tag| bytes.strip_prefix(tag).and_then(|inside| String::from_utf8(inside.to_vec()).ok());
        let opaque = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-.:".contains(&b));
        let signed = inside(SIGNED).filter(opaque).map(Kept::Signature);
        signed.or_else(|| inside(SEALED).filter(opaque).map(Kept::Sealed))
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
        for kept in [Kept::Signature("EqQB+/8=".to_owned()), Kept::Sealed("Em:?".replace('?', "_"))] {
            let written = kept.write();
            assert!(written.starts_with("YWxmcmVkL"), "the reader of requests knows it by its beginning");
            for sent in [written.clone(), written.replace('+', "-").replace('/', "_"), written.replace('=', "")] {
                assert_eq!(Kept::read(&sent).as_ref(), Some(&kept));
            }
        }
        let smuggled = Kept::Signature("call me at home".to_owned()).write();
        assert_eq!(Kept::read(&smuggled), None, "a text is no signature");
        for foreign in ["", "CpYBAdHtim8=", "skip_thought_signature_validator", "YWxmcmVkL", "%%%"] {
            assert_eq!(Kept::read(foreign), None, "{foreign}");
        }
    }
}
