//! Thinking as a reasoning item, and back.
//!
//! A provider signs what its model thought, and wants it back unchanged to go on after a tool call. The signature goes out as the
//! item's `encrypted_content`, marked as ours, the thought itself in clear as its `summary`, where the guards read it when it returns.

/// Goes before a signature.
const SIGNED: &str = "alfred-thinking-1.";
/// Goes before what a provider showed only sealed.
const SEALED: &str = "alfred-redacted-1.";

/// What an `encrypted_content` of ours holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept<'a> {
    /// The signature of a thought.
    Signature(&'a str),
    /// A sealed thought.
    Sealed(&'a str),
}

pub(super) fn signed(signature: &str) -> String {
    format!("{SIGNED}{signature}")
}

pub(super) fn sealed(data: &str) -> String {
    format!("{SEALED}{data}")
}

/// None if it is not ours: another provider's, which only that one can read.
pub(super) fn read(encrypted: &str) -> Option<Kept<'_>> {
    let signature = encrypted.strip_prefix(SIGNED).map(Kept::Signature);
    signature.or_else(|| encrypted.strip_prefix(SEALED).map(Kept::Sealed))
}

/// Whether a text may hold one of ours at all.
pub(super) fn may_be_in(text: &str) -> bool {
    text.contains(SIGNED) || text.contains(SEALED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_comes_back_and_what_is_anothers_is_left_alone() {
        assert_eq!(read(&signed("Eq+/=")), Some(Kept::Signature("Eq+/=")));
        assert_eq!(read(&sealed("Em")), Some(Kept::Sealed("Em")));
        assert_eq!(read("gAAAAABo"), None);
        assert!(may_be_in(&format!("[{}]", signed("x"))) && !may_be_in("gAAAA"));
    }
}
